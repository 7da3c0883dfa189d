"""Files of safetensors, which are read without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.files.entries import Entries

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


@dataclass(frozen=True)
class Place:
    """Where the values of a tensor are in its file, and what they are.

    Attributes
    ----------
    kind : str
        safetensors' name of their type.
    first, last : int
        Bytes of the file.
    shape : tuple of int
    """

    kind: str
    first: int
    last: int
    shape: tuple[int, ...]


def read(path: Path, found: Entries) -> None:
    """Read all tensors; their sources are :class:`Place`."""
    import safetensors

    # It checks the header. The values are read here: which types it reads depends on what else is imported.
    with safetensors.safe_open(path, framework="np"):
        pass
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length), object_pairs_hook=_unique)
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = (8 + length + place for place in entry["data_offsets"])
                place = Place(entry["dtype"], first, last, tuple(entry["shape"]))
                found.add(name, partial(_stored, file, place), place)


def write(path: Path, new: Mapping[Place, NDArray[Any]], file: IO[bytes]) -> None:
    """Copy a file, bit for bit but for the values of some tensors."""
    with open(path, "rb") as source:
        for place, values in sorted(new.items(), key=lambda one: one[0].first):
            file.write(source.read(place.first - source.tell()))
            file.write(_bits(values, place.kind).tobytes())
            source.seek(place.last)
        shutil.copyfileobj(source, file)


def rounded(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Values as they are after they have been stored in a type: one of F64, F32, F16 and BF16."""
    bits = _bits(values, kind)
    return _widened(bits) if kind == "BF16" else bits


def _bits(values: NDArray[Any], kind: str) -> NDArray[Any]:
    if kind != "BF16":
        return values.astype(_PLAIN[kind])
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")  # to the nearest, ties to the even one


def _widened(bits: NDArray[Any]) -> NDArray[np.float32]:
    """bfloat16 as numbers: the upper half of single precision."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a name is given twice in its header")
    return mapping


def _stored(file: Any, place: Place) -> NDArray[Any]:
    kind = place.kind
    if kind not in _PLAIN and kind not in _BYTES and kind not in ("BF16", "F8_E8M0"):
        raise ValueError(f"dtype {kind}, not numbers that NumPy knows")
    file.seek(place.first)
    raw = np.fromfile(file, np.uint8, place.last - place.first)
    if kind == "BF16":
        flat: NDArray[Any] = _widened(raw.view("<u2"))
    elif kind in _PLAIN:
        flat = raw.view(_PLAIN[kind])
    else:
        flat = _values_of_bytes(kind)[raw]
    return flat.reshape(place.shape)


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
