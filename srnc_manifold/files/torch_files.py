"""PyTorch's files, of which only tensors are read. They are written anew as files of safetensors."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.exchange import room
from srnc_manifold.files.entries import Entries

# Deeper nesting was made to harm: it costs a file nothing.
_DEEPEST = 100


def read(path: Path, found: Entries) -> None:
    """Read all tensors, which are their own sources."""
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > room(path):
            raise ValueError(f"it unpacks to {total} bytes, far more than its size")
    data = torch.load(path, map_location="cpu", weights_only=True)
    _visit(data, "" if isinstance(data, dict | list | tuple) else path.stem, found, ())


def _visit(data: Any, name: str, found: Entries, above: tuple[int, ...]) -> None:
    """Add the tensors in nested mappings and lists, with dotted names. Other objects in the file are passed over."""
    if isinstance(data, sys.modules["torch"].Tensor):
        found.count()
        found.add(name, partial(_values_of, data, found), data)
    elif isinstance(data, dict | list | tuple):
        found.count()
        if id(data) in above or len(above) >= _DEEPEST:
            found.skip(name, f"nested in itself, or more than {_DEEPEST} deep")
            return
        parts = data.items() if isinstance(data, dict) else enumerate(data)
        for key, part in parts:
            _visit(part, f"{name}.{key}" if name else str(key), found, (*above, id(data)))
    else:
        found.others.append(name)


def _values_of(tensor: Any, found: Entries) -> NDArray[Any]:
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


# -- writing ----------------------------------------------------------------------------------------------------

_KINDS = {"torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16"}


def kind_of(tensor: Any) -> str:
    """safetensors' name of its type if that is a real one of 16 bits or more, otherwise torch's."""
    return _KINDS.get(str(tensor.dtype), str(tensor.dtype).removeprefix("torch."))


def why_not_written(tensor: Any) -> str:
    """Why safetensors cannot hold a tensor as it is; empty if it can."""
    import torch
    from safetensors.torch import save

    if tensor.layout is not torch.strided:
        return "it is sparse"
    try:
        save({"": torch.empty(0, dtype=tensor.dtype)})
    except Exception:  # there is no list of the types
        return f"safetensors has no type {kind_of(tensor)}"
    return ""


def overlap(one: Any, other: Any) -> bool:
    """Whether two tensors share memory. Those whose entries lie between each other's are taken to do so."""
    places = [_memory_of(tensor) for tensor in (one, other)]
    (first, start, end), (second, begin, stop) = places
    return first == second and max(start, begin) < min(end, stop)


def same(one: Any, other: Any) -> bool:
    """Whether two tensors that share memory are one and the same."""
    kinds = [(_memory_of(t), t.dtype, t.shape, t.stride(), t.is_conj(), t.is_neg()) for t in (one, other)]
    return kinds[0] == kinds[1]


def _memory_of(tensor: Any) -> tuple[int, int, int]:
    """Its storage, and the first byte that it uses there and the one after the last."""
    if tensor.numel() == 0:
        return 0, 0, 0
    steps = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.storage_offset() * tensor.itemsize
    return tensor.untyped_storage().data_ptr(), first, first + (steps + 1) * tensor.itemsize


def write(tensors: Mapping[str, Any], new: Mapping[str, NDArray[Any]], file: IO[bytes]) -> None:
    """Write a file of safetensors, with the values of some tensors replaced."""
    import torch
    from safetensors.torch import save

    def stored(name: str, tensor: Any) -> Any:
        if name in new:
            return torch.from_numpy(np.array(new[name])).to(tensor.dtype).reshape(tensor.shape)
        # A copy of its own: the format has no shared memory.
        return tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)

    file.write(save({name: stored(name, tensor) for name, tensor in tensors.items()}, {"format": "pt"}))
