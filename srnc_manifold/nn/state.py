"""Buffers that keep at least single precision, and whose shapes are those of what is loaded."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn


class State(nn.Module):
    """What a parametrization remembers between forwards.

    Attributes
    ----------
    floats, integers : tuple of str
        Names of buffers. In half precision those of the first kind would not follow small changes of a weight.
    """

    floats: ClassVar[tuple[str, ...]]
    integers: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        for part in self.floats:
            self.register_buffer(part, torch.zeros(0))
        for part in self.integers:
            self.register_buffer(part, torch.zeros(0, dtype=torch.int64))

    def _apply(self, fn: Any, recurse: bool = True) -> State:
        before = {part: self._buffers[part] for part in self.floats}
        super()._apply(fn, recurse)
        for part, state in before.items():
            moved = self._buffers[part]
            if state is not None and moved is not None and torch.finfo(moved.dtype).bits < 32:
                self._buffers[part] = state.to(moved.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for part in (*self.floats, *self.integers):
            given, own = state_dict.get(prefix + part), self._buffers[part]
            if given is not None and own is not None:
                self._buffers[part] = torch.empty_like(given, device=own.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def write(buffer: torch.Tensor, values: torch.Tensor) -> None:
    """Set a buffer in place."""
    # Not copied into it: under torch.func.grad a buffer takes nothing but the output of an operation.
    torch.mul(values, 1.0, out=buffer)
