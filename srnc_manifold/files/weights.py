"""Files of weights that are written anew with some of their arrays changed, and all others bit for bit as they were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from srnc_manifold.files import safetensors_files, torch_files
from srnc_manifold.files.reading import Contents, read_entries
from srnc_manifold.writing import replacing

SUFFIXES = (".safetensors", ".pt", ".pth")

#: safetensors' names of the types that are fine enough for a weight to have a stable rank that is asked for.
KINDS = ("F64", "F32", "F16", "BF16")


class WeightsFile:
    """A file of weights, read as a whole. It is never written to.

    Parameters
    ----------
    path : path
        A file of safetensors, for which torch is not needed, or of PyTorch.

    Attributes
    ----------
    path : Path
    contents : Contents
    others : list of str
        Names of what the file has beside tensors, such as numbers and texts; they are not written.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        As in :func:`srnc_manifold.files.read_file`; also if an entry cannot be carried over.

    Examples
    --------
    >>> from safetensors.numpy import save_file
    >>> from srnc_manifold import files
    >>> import numpy as np
    >>> save_file({"conv": np.ones((2, 3, 3, 3), np.float32)}, "weights.safetensors")
    >>> weights = files.WeightsFile("weights.safetensors")
    >>> weights.kind("conv")
    'F32'
    >>> weights.write("new.safetensors", {"conv": np.zeros((2, 3, 3, 3))})
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.suffix not in SUFFIXES:
            raise ValueError(f"file: {str(path)!r} given, expected a name ending in {', '.join(SUFFIXES)}")
        self._is_torch = self.path.suffix != ".safetensors"
        self._state = self._look() if self.path.is_file() else None
        entries = read_entries(path)
        self.contents = Contents(entries.arrays, entries.skipped)
        self.others, self._sources = entries.others, entries.sources
        if self._is_torch:
            self._require_carried()

    def kind(self, name: str) -> str:
        """The type of an array as safetensors names it, for those that can be changed."""
        source = self._sources[name]
        return torch_files.kind_of(source) if self._is_torch else source.kind

    def rounded(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Values as they will be read from the file that is written: rounded to the type of an array."""
        return safetensors_files.rounded(values, self.kind(name))

    def same_memory(self, name: str) -> tuple[str, ...]:
        """Names of the arrays that are one and the same, as tied weights are in a file of PyTorch.

        Raises
        ------
        ValueError
            If another array shares only some of its memory, or in another shape: it would change, too.
        """
        if not self._is_torch:
            return (name,)
        others = [other for other in self._sources if torch_files.overlap(self._sources[name], self._sources[other])]
        for other in others:
            if not torch_files.same(self._sources[name], self._sources[other]):
                raise ValueError(f"{name}: it shares memory with {other}, in another shape or type")
        return tuple(others)

    def write(self, path: str | os.PathLike[str], new: Mapping[str, NDArray[Any]]) -> None:
        """Write a file of safetensors with the values of some arrays replaced, as a whole.

        Names, shapes and types stay. So does what a file of safetensors has beside its tensors.

        Parameters
        ----------
        path : path
        new : dict of arrays
            By name; of the type's values, as :meth:`rounded` gives them.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the file that was read has changed since.
        """
        with replacing(path) as file:
            if self._is_torch:
                torch_files.write(self._sources, new, file)
                return
            if self._look() != self._state:
                raise ValueError(f"file: {str(self.path)!r} has changed since it was read, expected the same")
            safetensors_files.write(self.path, {self._sources[name]: values for name, values in new.items()}, file)

    def _look(self) -> tuple[int, ...]:
        found = self.path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _require_carried(self) -> None:
        reasons = dict(self.contents.skipped)
        for name in self.contents.arrays:
            reason = torch_files.why_not_written(self._sources[name])
            if reason:
                reasons[name] = reason
        if reasons:
            name, reason = next(iter(reasons.items()))
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise ValueError(f"file: {name!r} of {str(self.path)!r} cannot be carried over: {reason}{more}")
