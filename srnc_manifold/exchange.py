"""JSON that every tool reads, and that comes back bit for bit.

Numbers that are not finite are written as ``{"nonfinite": "nan"}``, because JSON has none.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What can go wrong when text or a file that holds something else is read.
UNREADABLE = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)

_NONFINITE = "nonfinite"


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
    """
    kind = np.dtype(dtype)
    if kind.kind not in "fciu":
        raise TypeError(f"dtype {dtype!r}")
    return np.asarray(value, kind)


def reason(error: Exception | str) -> str:
    """The first line of an error message."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


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
    return float(mapping[_NONFINITE]) if mapping.keys() == {_NONFINITE} else mapping
