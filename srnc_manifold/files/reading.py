"""Reading kernels from files: ``.npy``, ``.npz``, ``.safetensors`` and PyTorch's ``.pt`` / ``.pth``."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.display import Shown, short
from srnc_manifold.exchange import npz_entries, reason, room
from srnc_manifold.files import safetensors_files, torch_files
from srnc_manifold.files.entries import Entries, numbers
from srnc_manifold.process import alone

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")


@dataclass(frozen=True, repr=False, eq=False)
class Contents(Shown):
    """What a file holds.

    Attributes
    ----------
    arrays : dict of arrays
        By name, in the order of the file.
    skipped : dict of str
        Why an entry is not among the arrays, by name.

    Examples
    --------
    >>> from srnc_manifold import files
    >>> import numpy as np
    >>> np.save("kernel.npy", np.ones((3, 3)))
    >>> files.read_file("kernel.npy")
    Contents(arrays: 1: kernel)
    """

    arrays: dict[str, NDArray[Any]]
    skipped: dict[str, str]

    def summary(self) -> dict[str, str]:
        left_out = {"skipped": short(f"{len(self.skipped)}: {', '.join(self.skipped)}")} if self.skipped else {}
        return {"arrays": short(f"{len(self.arrays)}: {', '.join(self.arrays)}"), **left_out}


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; those of :func:`srnc_manifold.files.read_file`, which also tells what was left out.

    Parameters
    ----------
    path : path
        A file ``.npy``, ``.npz``, ``.safetensors``, ``.pt`` or ``.pth``.

    Returns
    -------
    dict of arrays
        By name, in the order of the file.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        As in :func:`srnc_manifold.files.read_file`.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> import numpy as np
    >>> np.savez("weights.npz", conv=np.ones((2, 3, 3, 3)))
    >>> {name: array.shape for name, array in srnc.read_arrays("weights.npz").items()}
    {'conv': (2, 3, 3, 3)}
    """
    return read_file(path).arrays


def read_file(path: str | os.PathLike[str]) -> Contents:
    """The arrays of a file by name, and why other entries are not among them.

    Mappings and lists are entered: ``layers.0.weight``. A single array without a name gets the name of the file,
    without its ending. If two entries have one name, both are kept, and the second is called ``name (2)``.

    An array is read as it is stored. What NumPy lacks is read in single precision, which is exact: bfloat16, and
    floating point of 8 bits. An entry that cannot be read exactly (for example, a quantized tensor, or one without
    values) is left out, and hides no other entry.

    No code in a file is executed: pickled objects are refused, and PyTorch files are read with ``weights_only=True``.
    What would take a hundred times the size of the file, and more than 256 MiB, is refused.

    Parameters
    ----------
    path : path
        A file ``.npy``, ``.npz``, ``.safetensors``, ``.pt`` or ``.pth``.

    Returns
    -------
    Contents

    Raises
    ------
    ValueError
        If the file has another ending, if it cannot be read in the format of its ending, or if no entry can be read.
    FileNotFoundError
        If there is no such file.
    ImportError
        If a PyTorch file is given and torch is not installed.

    Examples
    --------
    >>> from srnc_manifold import files
    >>> import numpy as np
    >>> np.savez("weights.npz", conv=np.ones((2, 3)), words=np.array(["a text"]))
    >>> contents = files.read_file("weights.npz")
    >>> list(contents.arrays), list(contents.skipped)
    (['conv'], ['words'])
    """
    found = read_entries(path)
    return Contents(found.arrays, found.skipped)


def read_entries(path: str | os.PathLike[str]) -> Entries:
    """What :func:`srnc_manifold.files.read_file` reads, with what it was read from."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"file: {str(path)!r} given, expected a name ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"file: {str(path)!r} {'is a folder' if path.is_dir() else 'does not exist'}")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".safetensors": safetensors_files.read}
    try:
        found = Entries(room(path))
        with alone():
            warnings.simplefilter("ignore")  # about how the file was written, which does not help the user
            readers.get(path.suffix, torch_files.read)(path, found)
    except ImportError as error:
        raise ImportError(f"file: reading {str(path)!r} needs {error.name}: pip install torch==2.13.0") from None
    except Exception as error:  # there is no list of what the libraries raise for files that were damaged or forged
        raise ValueError(f"file: {str(path)!r} cannot be read ({reason(error)})") from None
    if not found.arrays:
        because = "; ".join(f"{name!r}: {text}" for name, text in list(found.skipped.items())[:3])
        raise ValueError(f"file: {str(path)!r} holds no arrays{f' that can be read: {because}' if because else ''}")
    return found


def _read_npy(path: Path, found: Entries) -> None:
    with open(path, "rb") as file:
        found.arrays[path.stem] = numbers(np.lib.format.read_array(file, allow_pickle=False))


def _read_npz(path: Path, found: Entries) -> None:
    for name, entry in npz_entries(path):
        if isinstance(entry, str):
            found.skip(name, entry)
        else:
            found.add(name, partial(np.asarray, entry))
