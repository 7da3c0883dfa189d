"""The singular pairs of a weight, followed while the weight changes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from srnc_manifold.nn.feature_maps import FeatureMaps
from srnc_manifold.nn.pairs import PairIteration, Pairs
from srnc_manifold.nn.state import State, write


class Following(State):
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
    longest : buffer, of the kernel's shape
        That of a pair no cap of whose atom is empty, to go on from where that of the top one is.
    turn : integer buffer
        The next one in turn.
    """

    floats: ClassVar[tuple[str, ...]] = ("u", "v", "sizes", "gradient", "longest")
    integers: ClassVar[tuple[str, ...]] = ("blocks",)

    blocks: Tensor
    u: Tensor
    v: Tensor
    sizes: Tensor
    gradient: Tensor
    longest: Tensor
    turn: Tensor

    def __init__(self) -> None:
        super().__init__()
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

    def start_as(self, other: Following, iteration: PairIteration, kernel: Tensor) -> None:
        """Start from the pairs of another weight, which a kernel has."""
        for part in (*self.floats, *self.integers):
            self._buffers[part] = getattr(other, part).clone()
        self._buffers["longest"] = iteration.longest(kernel, Pairs(self.blocks, self.u, self.v))

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
        self._keep(*iteration.improved(kernel, old, steps), places)
        write(self.gradient, iteration.gradient(self.top()))

    def half_step(self, iteration: FeatureMaps, kernel: Tensor, steps: int, to_left: bool) -> None:
        """As many steps for all pairs, without the last product or with it alone."""
        pairs, _ = iteration.improved(kernel, Pairs(self.blocks, self.u, self.v), steps - 1)
        self._keep(*iteration.half_improved(kernel, pairs, to_left))
        if not to_left:
            write(self.gradient, iteration.gradient(self.top()))

    def _keep(self, pairs: Pairs, sizes: Tensor, places: Tensor | None = None) -> None:
        for buffer, new in zip((self.u, self.v, self.sizes), (pairs.u, pairs.v, sizes), strict=True):
            write(buffer, new if places is None else buffer.index_copy(0, places, new))

    def _next(self, count: int) -> Tensor | None:
        if 2 * count >= len(self.blocks):
            return None
        in_turn = (self.turn + torch.arange(count, device=self.turn.device)) % len(self.blocks)
        torch.remainder(self.turn + count, len(self.blocks), out=self.turn)
        return torch.cat([torch.topk(self.sizes, count).indices, in_turn])
