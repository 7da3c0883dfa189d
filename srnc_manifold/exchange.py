"""JSON that every tool reads, and that comes back bit for bit; ``.npz`` files of others.

In JSON, numbers that are not finite are written as ``{"nonfinite": "nan"}``, because it has none.
"""

from __future__ import annotations

import json
import math
import os
import warnings
import zipfile
from collections.abc import Mapping
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
)

_NONFINITE = "nonfinite"

# What every file may take in memory, in bytes, and how many times its size. More is unpacked from a file only if it was
# made to harm: real arrays are not compressed to a hundredth.
_ROOM, _GROWTH = 2**28, 100


def to_json(value: Any) -> str:
    """JSON text of mappings, sequences, arrays, numbers and texts.

    Raises
    ------
    TypeError
        If a value is none of these.
    """
    return json.dumps(_plain(value), allow_nan=False)


def from_json(text: str) -> Any:
    """What :func:`to_json` wrote; arrays and tuples are lists."""
    return json.loads(text, object_hook=_number)


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


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {_NONFINITE: str(value)}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _number(mapping: dict[str, Any]) -> Any:
    text = mapping.get(_NONFINITE) if len(mapping) == 1 else None
    return float(text) if text in ("nan", "inf", "-inf") else mapping
