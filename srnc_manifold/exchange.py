"""JSON that every tool reads, and that comes back bit for bit; ``.npz`` files of others; JSON and arrays as bytes.

In JSON, numbers that are not finite are written as ``{"nonfinite": "nan"}``, because it has none.
"""

from __future__ import annotations

import json
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.printing import printable
from srnc_manifold.process import alone

# What can go wrong when text or a file that holds something else is read.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)

_NONFINITE, _ARRAY = "nonfinite", "array in this file"

# Kinds of values, named once: every run that is kept has hundreds of values. Most mappings are dicts, which are told at
# once.
_AS_IT_IS, _MAPPINGS, _SEQUENCES, _MADE = (str, int), (dict, Mapping), (list, tuple), (float, list)

# What every file may take in memory, in bytes, and how many times its size. More is unpacked from a file only if it was
# made to harm: real arrays are not compressed to a hundredth.
_ROOM, _GROWTH = 2**28, 100


def to_json(value: Any, array: Callable[[NDArray[Any]], Any] = np.ndarray.tolist) -> str:
    """JSON text of mappings, sequences, arrays, numbers and texts.

    Parameters
    ----------
    value : Any
    array : callable, optional
        What is written for an array; by default its entries.

    Raises
    ------
    TypeError
        If a value is none of these.
    """
    return json.dumps(_plain(value, array), allow_nan=False)


def from_json(text: str) -> Any:
    """What :func:`to_json` wrote; arrays and tuples are lists."""
    return json.loads(text, object_hook=_number)


def apart(fields: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays of a description, by name, and the JSON text of the rest, where they are named."""
    arrays: dict[str, NDArray[Any]] = {}

    def name(array: NDArray[Any]) -> dict[str, str]:
        key = f"array{len(arrays)}" if arrays else "kernel"  # of a single kernel, the array is the kernel
        arrays[key] = array
        return {_ARRAY: key}

    text = to_json(dict(sorted(fields.items())), name)
    return arrays, text


def together(value: Any, array: Callable[[Any], NDArray[Any]]) -> Any:
    """A description whose arrays are apart, from its text as :func:`from_json` reads it, and what gives an array."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return array(value[_ARRAY])
        return {key: together(part, array) for key, part in value.items()}
    return [together(part, array) for part in value] if isinstance(value, list) else value


def pack(fields: Mapping[str, Any]) -> bytes:
    """JSON values and arrays as compressed bytes: a line of JSON, and the contents of the arrays in their order."""
    contents: list[bytes] = []

    def mark(array: NDArray[Any]) -> dict[str, Any]:
        contents.append(array.tobytes())
        return {_ARRAY: (array.dtype.str, array.shape)}

    def other(value: Any) -> Any:  # than what Python's own module writes: nearly always an array
        return mark(value) if isinstance(value, np.ndarray) else _plain(value, mark)

    # Only :func:`unpack` reads it, so numbers that are not finite may be as Python's own module writes them, and the
    # values need not be looked at one by one: that took half the time that keeping a run takes.
    text = json.dumps(fields, default=other)
    return zlib.compress(b"".join((text.encode(), b"\n", *contents)), 1)  # more effort saves nothing: digits are random


def unpack(content: bytes) -> dict[str, Any]:
    """What :func:`pack` wrote.

    Raises
    ------
    One of ``UNREADABLE``
        If it is anything else.
    """
    unpacking = zlib.decompressobj()
    plain = unpacking.decompress(content, max(_ROOM, _GROWTH * len(content)))
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError("it is cut off, or unpacks to far more than its size")
    text, _, buffer = plain.partition(b"\n")
    place = 0

    def next_array(mark: Any) -> NDArray[Any]:
        nonlocal place
        dtype, shape = np.dtype(mark[0]), tuple(mark[1])
        if dtype.kind not in "bfciu":
            raise TypeError(f"dtype {mark[0]!r}")
        array = np.frombuffer(buffer, dtype, math.prod(shape), place).reshape(shape).copy()
        place += array.nbytes
        return array

    fields = together(from_json(text.decode()), next_array)
    if not isinstance(fields, dict):
        raise ValueError("it is no description")
    return fields


def array_from(value: Any, dtype: Any) -> NDArray[Any]:
    """An array of numbers of the given type.

    Raises
    ------
    TypeError
        If the type is not one of real, complex or whole numbers.
    ArithmeticError
        If a number is too large for the type.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "fciu":
        raise TypeError(f"dtype {dtype!r}")
    with np.errstate(over="raise", invalid="raise"):
        return np.asarray(value, kind)


def reason(error: Exception | str) -> str:
    """The first line of an error message, as it may be printed: libraries put escape sequences into theirs."""
    return printable((str(error).splitlines() or [""])[0])[:200] or type(error).__name__


def room(path: str | os.PathLike[str]) -> int:
    """Bytes that the arrays of a file may take in memory."""
    return max(_ROOM, _GROWTH * os.path.getsize(path))


def npz_entries(path: str | os.PathLike[str]) -> list[tuple[str, NDArray[Any] | str]]:
    """The names in an ``.npz`` file, which may repeat, each with its array, or with the reason why it is not read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file.
    """
    entries: list[tuple[str, NDArray[Any] | str]] = []
    left = room(path)
    with alone():
        warnings.simplefilter("ignore")  # about how the file was written, which does not help the user
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    entry = _npz_entry(archive, member, left)
                    left -= 0 if isinstance(entry, str) else entry.nbytes
                    entries.append((member.filename.removesuffix(".npy"), entry))
        except FileNotFoundError:
            raise
        except Exception as error:  # there is no list of what a forged archive raises
            raise ValueError(reason(error)) from None
    return entries


def _npz_entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> NDArray[Any] | str:
    if member.file_size > left:
        return f"it unpacks to {member.file_size} bytes, far more than its file"
    try:
        with archive.open(member) as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            file.read()  # what follows the array, so that the checksum is compared
            return array
    except Exception as error:
        return reason(error)


def _plain(value: Any, array: Callable[[NDArray[Any]], Any]) -> Any:
    if value is None or isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_NONFINITE: str(float(value))}
    if isinstance(value, _MAPPINGS):
        return {key: _plain(part, array) for key, part in value.items()}
    if isinstance(value, _SEQUENCES):
        return [_plain(part, array) for part in value]
    if isinstance(value, np.ndarray):
        made = array(value)
        return _plain(made, array) if isinstance(made, _MADE) else made
    if isinstance(value, np.generic):
        return _plain(value.tolist(), array)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _number(mapping: dict[str, Any]) -> Any:
    text = mapping.get(_NONFINITE) if len(mapping) == 1 else None
    return float(text) if text in ("nan", "inf", "-inf") else mapping
