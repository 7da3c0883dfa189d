"""Problems in files: ``.npz`` or ``.json``, which read back bit for bit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.writing import FilePath, replacing, write_text

P = TypeVar("P")


def write(path: FilePath, kernel: NDArray, fields: Mapping[str, Any]) -> None:
    """Write a kernel and what else its problem is made of.

    Raises
    ------
    ValueError
        If the name has another ending.
    """
    path = Path(path)
    if path.suffix == ".npz":
        with replacing(path) as file:
            np.savez(file, kernel=kernel, **{name: np.array(value) for name, value in fields.items()})  # type: ignore[arg-type]
    elif path.suffix == ".json":
        write_text(path, json.dumps({"kernel": kernel.tolist(), **fields}))
    else:
        raise ValueError(f"path: {str(path)!r} given, expected a name ending in .npz or .json")


def read(path: FilePath, make: Callable[..., P]) -> P:
    """Read what :func:`write` wrote, and make a problem of it.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as data:
                fields = {name: data[name] if name == "kernel" else data[name].tolist() for name in data.files}
        else:
            fields = json.loads(path.read_text(encoding="utf-8"))
        kernel = np.asarray(fields["kernel"], fields.get("dtype", "float64"))
        layout = {name: fields[name] for name in ("groups", "stride", "dilation") if name in fields}
        return make(kernel, fields["input_size"], stable_rank=float(fields["stable_rank"]), **layout)
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"path: {str(path)!r} is not a saved SRNProblem ({error})") from None
