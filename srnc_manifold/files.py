"""Reading kernels from files: ``.npy``, ``.npz``, ``.safetensors`` and PyTorch's ``.pt`` / ``.pth``."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    RuntimeError,
    MemoryError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name. A single array without a name gets the name of the file, without its ending.

    No code in a file is executed: pickled objects are refused, and PyTorch files are read with ``weights_only=True``.

    Raises
    ------
    ValueError
        If the file has another ending, or if it cannot be read in the format of its ending.
    FileNotFoundError
        If there is no such file.
    ImportError
        If a PyTorch file is given and torch is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"file: {str(path)!r} given, expected a name ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"file: {str(path)!r} does not exist")
    reader = {".npy": _read_npy, ".npz": _read_npz, ".safetensors": _read_safetensors}.get(path.suffix, _read_torch)
    try:
        arrays = reader(path)
    except ImportError as error:
        raise ImportError(f"file: reading {str(path)!r} needs {error.name}: pip install torch==2.13.0") from None
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"file: {str(path)!r} cannot be read ({reason})") from None
    if not arrays:
        raise ValueError(f"file: {str(path)!r} holds no arrays")
    return arrays


def _read_npy(path: Path) -> dict[str, NDArray[Any]]:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("not an .npy file")
    return {path.stem: array}


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    import safetensors
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from None
    except TypeError:  # a data type that NumPy lacks, for example bfloat16
        import torch  # noqa: F401 - if torch is missing, the error names it
        from safetensors.torch import load_file as load_tensors

        return dict(_tensors(load_tensors(path), ""))


def _read_torch(path: Path) -> dict[str, NDArray[Any]]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how the file was pickled, which does not help the user
        data = torch.load(path, map_location="cpu", weights_only=True)
    return dict(_tensors(data, "" if isinstance(data, Mapping) else path.stem))


def _tensors(data: Any, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Tensors in nested mappings, with dotted names. Other objects in the file are skipped."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif hasattr(data, "detach"):
        dense = data.detach().to_dense()
        # NumPy has no bfloat16. The conversion to single precision is exact.
        yield name, (dense.float() if dense.is_floating_point() and dense.itemsize < 4 else dense).numpy()
