"""Problems in files: ``.npz`` or ``.json``, from which they are read back bit for bit.

A problem is described by a dictionary of JSON values and arrays (:meth:`Problem.to_fields`). In ``.npz`` files the
arrays are apart, and the entry ``problem`` is the JSON text of the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from srnc_manifold.exchange import UNREADABLE, apart, from_json, npz_entries, reason, to_json, together
from srnc_manifold.writing import FilePath, replacing, write_text


def write(path: FilePath, fields: Mapping[str, Any]) -> None:
    """Write the description of a problem.

    Raises
    ------
    ValueError
        If the name has another ending.
    """
    path = Path(path)
    if path.suffix == ".json":
        write_text(path, to_json(fields))
    elif path.suffix == ".npz":
        arrays, text = apart(fields)
        with replacing(path) as file:
            np.savez(file, problem=np.array(text), **arrays)  # type: ignore[arg-type]
    else:
        raise ValueError(f"path: {str(path)!r} given, expected a name ending in .npz or .json")


def read(path: FilePath) -> dict[str, Any]:
    """Read what :func:`write` wrote. Arrays of ``.json`` files are lists.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds something else.
    """
    path = Path(path)
    try:
        fields = _from_npz(path) if path.suffix == ".npz" else from_json(path.read_text(encoding="utf-8"))
        if not isinstance(fields["kind"], str):
            raise ValueError("it has no kind")
        return dict(fields)
    except UNREADABLE as error:
        raise not_a_problem(path, error) from None


def _from_npz(path: Path) -> Any:
    arrays: dict[str, np.ndarray] = {}
    for name, entry in npz_entries(path):
        if isinstance(entry, str):
            raise ValueError(f"{name!r}: {entry}")
        if name in arrays:
            raise ValueError(f"{name!r} is given twice")
        arrays[name] = entry
    return together(from_json(str(arrays["problem"])), arrays.__getitem__)


def not_a_problem(path: FilePath, error: Exception | str) -> ValueError:
    """The error for a file that does not hold a problem."""
    return ValueError(f"path: {str(path)!r} is not a saved problem ({reason(error)})")


def digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of the description of a problem, 64 hexadecimal digits."""
    arrays, text = apart(fields)
    total = hashlib.sha256(text.encode())
    for array in arrays.values():
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
