"""Reading kernels from files: ``.npy``, ``.npz``, ``.safetensors`` and PyTorch's ``.pt`` / ``.pth``."""

from __future__ import annotations

import json
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.display import Shown, short
from srnc_manifold.exchange import npz_entries, reason, room
from srnc_manifold.process import alone

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")

# A file that holds more than this was made to harm: deep nesting and repeated references cost it nothing.
_DEEPEST, _MOST = 100, 10**5


@dataclass(frozen=True, repr=False, eq=False)
class Contents(Shown):
    """What a file holds.

    Attributes
    ----------
    arrays : dict of arrays
        By name, in the order of the file.
    skipped : dict of str
        Why an entry is not among the arrays, by name.
    """

    arrays: dict[str, NDArray[Any]]
    skipped: dict[str, str]

    def summary(self) -> dict[str, str]:
        left_out = {"skipped": short(f"{len(self.skipped)}: {', '.join(self.skipped)}")} if self.skipped else {}
        return {"arrays": short(f"{len(self.arrays)}: {', '.join(self.arrays)}"), **left_out}


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; those of :func:`read_file`, which also tells what was left out.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        As in :func:`read_file`.
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

    Raises
    ------
    ValueError
        If the file has another ending, if it cannot be read in the format of its ending, or if no entry can be read.
    FileNotFoundError
        If there is no such file.
    ImportError
        If a PyTorch file is given and torch is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"file: {str(path)!r} given, expected a name ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"file: {str(path)!r} {'is a folder' if path.is_dir() else 'does not exist'}")
    reader = {".npy": _read_npy, ".npz": _read_npz, ".safetensors": _read_safetensors}.get(path.suffix, _read_torch)
    try:
        found = _Entries(room(path))
        with alone():
            warnings.simplefilter("ignore")  # about how the file was written, which does not help the user
            reader(path, found)
    except ImportError as error:
        raise ImportError(f"file: reading {str(path)!r} needs {error.name}: pip install torch==2.13.0") from None
    except Exception as error:  # there is no list of what the libraries raise for files that were damaged or forged
        raise ValueError(f"file: {str(path)!r} cannot be read ({reason(error)})") from None
    if not found.arrays:
        because = "; ".join(f"{name!r}: {text}" for name, text in list(found.skipped.items())[:3])
        raise ValueError(f"file: {str(path)!r} holds no arrays{f' that can be read: {because}' if because else ''}")
    return Contents(found.arrays, found.skipped)


class _Entries:
    """The entries of a file, each under a name of its own."""

    def __init__(self, size: int) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.skipped: dict[str, str] = {}
        self._visited = 0
        self._room = size

    def add(self, name: str, read: Callable[[], NDArray[Any]]) -> None:
        """Read an entry. If that fails, it is left out, with the reason."""
        name = self._unused(name)
        try:
            self.arrays[name] = _numbers(read())
        except Exception as error:
            self.skipped[name] = reason(error)

    def skip(self, name: str, why: str) -> None:
        """Leave out an entry."""
        self.skipped[self._unused(name)] = why

    def count(self) -> None:
        """Count an entry, so that their number is bounded."""
        self._visited += 1
        if self._visited > _MOST:
            raise ValueError(f"more than {_MOST} entries")

    def take(self, size: int) -> None:
        """Use some of the room that a file may take in memory."""
        if size > self._room:
            raise ValueError(f"it takes {size} bytes, far more than its file")
        self._room -= size

    def _unused(self, name: str) -> str:
        found, number = name, 1
        while found in self.arrays or found in self.skipped:
            number += 1
            found = f"{name} ({number})"
        return found


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "biufc":
        raise ValueError(f"dtype {array.dtype}, not numbers that NumPy knows")
    return array


def _read_npy(path: Path, found: _Entries) -> None:
    with open(path, "rb") as file:
        found.arrays[path.stem] = _numbers(np.lib.format.read_array(file, allow_pickle=False))


def _read_npz(path: Path, found: _Entries) -> None:
    for name, entry in npz_entries(path):
        if isinstance(entry, str):
            found.skip(name, entry)
        else:
            found.add(name, partial(np.asarray, entry))


# -- safetensors ------------------------------------------------------------------------------------------------

_PLAIN = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip

# Of floating point of 8 bits: bits of the exponent and of the mantissa, the bias, and the codes without a number.
_BYTES = {
    "F8_E4M3": (4, 3, 7, {0x7F: np.nan, 0xFF: np.nan}),
    "F8_E4M3FNUZ": (4, 3, 8, {0x80: np.nan}),
    "F8_E5M2": (
        5, 2, 15, {0x7C: np.inf, 0xFC: -np.inf} | dict.fromkeys([0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF], np.nan)
    ),
    "F8_E5M2FNUZ": (5, 2, 16, {0x80: np.nan}),
}  # fmt: skip


def _read_safetensors(path: Path, found: _Entries) -> None:
    import safetensors

    # It checks the header. The values are read here: which types it reads depends on what else is imported.
    with safetensors.safe_open(path, framework="np"):
        pass
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length), object_pairs_hook=_unique)
        for name, entry in header.items():
            if name != "__metadata__":
                found.add(name, partial(_stored, file, 8 + length, entry))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a name is given twice in its header")
    return mapping


def _stored(file: Any, start: int, entry: Mapping[str, Any]) -> NDArray[Any]:
    """A tensor of a safetensors file whose values begin at a given place."""
    kind, (first, last) = entry["dtype"], entry["data_offsets"]
    if kind not in _PLAIN and kind not in _BYTES and kind not in ("BF16", "F8_E8M0"):
        raise ValueError(f"dtype {kind}, not numbers that NumPy knows")
    file.seek(start + first)
    raw = np.fromfile(file, np.uint8, last - first)
    if kind == "BF16":  # the upper half of single precision
        flat = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in _PLAIN:
        flat = raw.view(_PLAIN[kind])
    else:
        flat = _values_of_bytes(kind)[raw]
    return flat.reshape(entry["shape"])


@cache
def _values_of_bytes(kind: str) -> NDArray[np.float32]:
    """The numbers that the 256 codes of a floating point of 8 bits stand for."""
    codes = np.arange(256)
    if kind == "F8_E8M0":  # powers of two
        values, special = np.ldexp(1.0, codes - 127), {0xFF: np.nan}
    else:
        exponent_bits, mantissa_bits, bias, special = _BYTES[kind]
        exponent, mantissa = (codes >> mantissa_bits) & (2**exponent_bits - 1), codes & (2**mantissa_bits - 1)
        whole = np.where(exponent > 0, mantissa + 2**mantissa_bits, mantissa)
        values = np.ldexp(whole.astype(float), np.maximum(exponent, 1) - bias - mantissa_bits)
        values = np.where(codes >= 128, -values, values)
    for code, value in special.items():
        values[code] = value
    return values.astype(np.float32)


# -- PyTorch ----------------------------------------------------------------------------------------------------


def _read_torch(path: Path, found: _Entries) -> None:
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > room(path):
            raise ValueError(f"it unpacks to {total} bytes, far more than its size")
    data = torch.load(path, map_location="cpu", weights_only=True)
    _visit(data, "" if isinstance(data, dict | list | tuple) else path.stem, found, ())


def _visit(data: Any, name: str, found: _Entries, above: tuple[int, ...]) -> None:
    """Add the tensors in nested mappings and lists, with dotted names. Other objects in the file are passed over."""
    if isinstance(data, sys.modules["torch"].Tensor):
        found.count()
        found.add(name, partial(_values_of, data, found))
    elif isinstance(data, dict | list | tuple):
        found.count()
        if id(data) in above or len(above) >= _DEEPEST:
            found.skip(name, f"nested in itself, or more than {_DEEPEST} deep")
            return
        parts = data.items() if isinstance(data, dict) else enumerate(data)
        for key, part in parts:
            _visit(part, f"{name}.{key}" if name else str(key), found, (*above, id(data)))


def _values_of(tensor: Any, found: _Entries) -> NDArray[Any]:
    """The values of a tensor, exactly."""
    import torch

    for is_so, kind in (
        (tensor.is_nested, "nested: its rows differ in length"),
        (tensor.is_quantized, "quantized: its numbers are rounded when they are read"),
        (tensor.is_meta, "on the meta device: it has no values"),
    ):
        if is_so:
            raise ValueError(f"a tensor that is {kind}")
    found.take(tensor.numel() * tensor.element_size())
    tensor = tensor.detach()
    dense = (tensor if tensor.layout is torch.strided else _checked(tensor).to_dense()).resolve_conj().resolve_neg()
    if dense.is_complex() and dense.itemsize < 8:
        dense = dense.to(torch.complex64)
    elif dense.is_floating_point() and dense.itemsize < 4:
        dense = dense.float()
    values: NDArray[Any] = dense.numpy()
    return values


def _checked(tensor: Any) -> Any:
    """A sparse tensor whose indices are in their ranges: torch does not check what it loads, and writes anywhere."""
    import torch

    if tensor.layout is torch.sparse_coo:
        return torch.sparse_coo_tensor(tensor._indices(), tensor._values(), tensor.shape, check_invariants=True)
    by_rows = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    place = (tensor.crow_indices(), tensor.col_indices()) if by_rows else (tensor.ccol_indices(), tensor.row_indices())
    return torch.sparse_compressed_tensor(
        *place, tensor.values(), tensor.shape, layout=tensor.layout, check_invariants=True
    )
