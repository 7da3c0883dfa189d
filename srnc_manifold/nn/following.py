"""The singular pairs of a weight, followed while the weight changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srnc_manifold.nn.pairs import PairIteration, Pairs

_STATE = ("u", "v", "sizes", "gradient")


class Following(nn.Module):
    """Singular pairs as buffers, in single precision at least.

    Attributes
    ----------
    blocks : integer buffer, shape ``(T,)``
        Whose pairs they are.
    u, v : buffers, shapes ``(T, *pair_shapes[0])`` and ``(T, *pair_shapes[1])``
    sizes : buffer, shape ``(T,)``
        Their values as last seen.
    gradient : buffer, of the kernel's shape
        That of the value of the top pair, see :class:`srnc_manifold.nn.pairs.Atom`.
    turn : integer buffer
        The next one in turn.
    """

    blocks: Tensor
    u: Tensor
    v: Tensor
    sizes: Tensor
    gradient: Tensor
    turn: Tensor

    def __init__(self) -> None:
        super().__init__()
        for part in _STATE:
            self.register_buffer(part, torch.zeros(0))
        self.register_buffer("blocks", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def begin(self, iteration: PairIteration, like: Tensor) -> None:
        """Start from random pairs, the same ones each time."""
        generator, count = torch.Generator().manual_seed(0), len(iteration.blocks)
        self._buffers["blocks"] = iteration.blocks.to(like.device)
        for part, shape in zip(("u", "v"), iteration.pair_shapes, strict=True):
            random = torch.randn(count, *shape, generator=generator)
            lengths = torch.linalg.vector_norm(random.flatten(1), dim=1)
            self._buffers[part] = (random / lengths.reshape(-1, *[1] * len(shape))).to(like)
        self._buffers["sizes"] = like.new_zeros(count)
        self._buffers["gradient"] = torch.zeros_like(like)

    def start_as(self, other: Following) -> None:
        """Start from the pairs of another weight."""
        for part in (*_STATE, "blocks"):
            self._buffers[part] = getattr(other, part).clone()

    def settle(self, iteration: PairIteration, kernel: Any, tolerance: float = 1e-14) -> None:
        """Set the pairs to the top ones of a kernel in NumPy, in double precision; see ``converged``."""
        found = iteration.converged(kernel, tolerance)
        for buffer, values in zip((self.blocks, self.u, self.v, self.sizes), found, strict=True):
            buffer.copy_(torch.from_numpy(np.ascontiguousarray(values)))
        self.gradient.copy_(iteration.gradient(self.top()))

    def top(self) -> Pairs:
        """The pair with the largest value, as last seen."""
        return self.at(torch.argmax(self.sizes)[None])

    def at(self, places: Tensor) -> Pairs:
        # Copies: the state may change before the backward pass.
        return Pairs(self.blocks[places], self.u[places], self.v[places])

    def step(self, iteration: PairIteration, kernel: Tensor, steps: int, count: int | None = None) -> None:
        """Steps of power iteration for a ``count`` of pairs, the largest, and as many in turn; or for all."""
        places = None if count is None or iteration.mixes else self._next(count)
        old = Pairs(self.blocks, self.u, self.v) if places is None else self.at(places)
        pairs, sizes = iteration.improved(kernel, old, steps)
        for buffer, new in zip((self.u, self.v, self.sizes), (pairs.u, pairs.v, sizes), strict=True):
            _write(buffer, new if places is None else buffer.index_copy(0, places, new))
        _write(self.gradient, iteration.gradient(self.top()))

    def _next(self, count: int) -> Tensor | None:
        if 2 * count >= len(self.blocks):
            return None
        in_turn = (self.turn + torch.arange(count, device=self.turn.device)) % len(self.blocks)
        torch.remainder(self.turn + count, len(self.blocks), out=self.turn)
        return torch.cat([torch.topk(self.sizes, count).indices, in_turn])

    # -- moving and loading ---------------------------------------------------------------------------------------

    def _apply(self, fn: Any, recurse: bool = True) -> Following:
        """Move the state; in half precision the pairs would not follow."""
        before = {part: self._buffers[part] for part in _STATE}
        super()._apply(fn, recurse)
        for part, state in before.items():
            moved = self._buffers[part]
            if state is not None and moved is not None and torch.finfo(moved.dtype).bits < 32:
                self._buffers[part] = state.to(moved.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for part in (*_STATE, "blocks"):
            given = state_dict.get(prefix + part)
            if given is not None:
                self._buffers[part] = torch.empty_like(given, device=self.turn.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _write(buffer: Tensor, values: Tensor) -> None:
    # Not copied into it: under torch.func.grad a buffer takes nothing but the output of an operation.
    torch.mul(values, 1.0, out=buffer)
