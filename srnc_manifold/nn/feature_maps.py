"""A convolution with any padding in torch, by its products with feature maps (docs/theory.md, section 17)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srnc_manifold.backends import namespace
from srnc_manifold.nn.pairs import Pairs, normalized
from srnc_manifold.operators import atoms
from srnc_manifold.operators.padded import Padded
from srnc_manifold.operators.padding import Axis

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}

#: Singular pairs that are followed. The largest one converges as the first to the last but one of their values.
MAPS = 4


class FeatureMaps:
    """Singular pairs and rim points of the kernels of one operator.

    A transposed convolution has the singular values of the convolution whose adjoint it is, with the same weight. So
    everything here is of the latter.

    Parameters
    ----------
    operator : Padded
    """

    def __init__(self, operator: Padded) -> None:
        if operator.unseen(np.ones(operator.kernel_shape)) is not None:
            raise ValueError("input_size: some taps of the weight meet no entry of such an input")
        self.operator, self._known = operator, {}  # type: tuple[Padded, dict[Any, tuple[Tensor, Tensor]]]
        shapes = operator.input_shape, operator.output_shape
        self._in, self._out = shapes[::-1] if operator.transposed else shapes
        self.n_blocks = min(MAPS, math.prod(self._in), math.prod(self._out))
        self.pair_shapes = (math.prod(self._out),), (math.prod(self._in),)
        self.gram_weight, self.stable_rank_range = operator.gram_weight, operator.stable_rank_range

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}

    # -- products -----------------------------------------------------------------------------------------------

    def _padded(self, maps: Tensor) -> Tensor:
        for place, axis in enumerate(self.operator.axes, 2):
            source, inside = self._places(axis, maps, place)
            maps = maps.index_select(place, source) * inside
        return maps

    def _folded(self, maps: Tensor) -> Tensor:
        """The adjoint of padding, of what transposed convolutions give."""
        for place, axis in enumerate(self.operator.axes, 2):
            # What no output reads is left over at the end.
            rest = [0, 0] * (maps.ndim - 1 - place) + [0, len(axis.padded) - maps.shape[place]]
            source, inside = self._places(axis, maps, place)
            shape = (*maps.shape[:place], axis.n_in, *maps.shape[place + 1 :])
            maps = maps.new_zeros(shape).index_add(place, source, functional.pad(maps, rest) * inside)
        return maps

    @staticmethod
    def _places(axis: Axis, maps: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Which entry each padded one repeats, and 0 where it repeats none."""
        source = torch.as_tensor(axis.padded, device=maps.device)
        inside = (source >= 0).to(maps.dtype).reshape(-1, *[1] * (maps.ndim - place - 1))
        return source.clamp(min=0), inside

    def apply(self, kernel: Tensor, maps: Tensor) -> Tensor:
        """``C(x) v`` of flat maps, shape ``(R, points)``."""
        axes, operator = self.operator.axes, self.operator
        padded = self._padded(maps.reshape(-1, *self._in))
        steps, spacing = [axis.stride for axis in axes], [axis.dilation for axis in axes]
        found = _CONVOLUTIONS[len(axes)](padded, kernel, None, steps, 0, spacing, operator.groups)
        return found.reshape(len(maps), -1)

    def transpose(self, kernel: Tensor, maps: Tensor) -> Tensor:
        """``C(x)ᵀ u``."""
        axes, operator = self.operator.axes, self.operator
        steps, spacing = [axis.stride for axis in axes], [axis.dilation for axis in axes]
        given = maps.reshape(-1, *self._out)
        found = _TRANSPOSED[len(axes)](given, kernel, None, steps, 0, 0, operator.groups, spacing)
        return self._folded(found).reshape(len(maps), -1)

    # -- pairs --------------------------------------------------------------------------------------------------

    def improved(self, kernel: Tensor, pairs: Pairs, steps: int) -> tuple[Pairs, Tensor]:
        """Steps of subspace iteration for all pairs together, and their values, descending."""
        u, v, sizes = pairs.u, pairs.v, torch.zeros(len(pairs.v), dtype=kernel.dtype, device=kernel.device)
        for _ in range(steps):
            basis = torch.linalg.qr(self.transpose(kernel, self.apply(kernel, v)).T)[0].T
            images = self.apply(kernel, basis)
            squares, turns = torch.linalg.eigh(images @ images.T)
            sizes = torch.sqrt(torch.clamp(squares, min=0.0)).flip(0)
            v = turns.T.flip(0) @ basis
            u, _ = normalized(turns.T.flip(0) @ images, u)
        return Pairs(pairs.blocks, u, v), sizes

    def value(self, kernel: Tensor, pairs: Pairs) -> Tensor:
        """``uᵀ C(x) v`` of each pair, shape ``(R,)``."""
        return torch.sum(pairs.u * self.apply(kernel, pairs.v), dim=1)

    # -- geometry of kernels --------------------------------------------------------------------------------------

    def _grams(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """``W`` and its inverse, by taps."""
        key = like.device, like.dtype
        if key not in self._known:
            root = self.operator.inverse_gram_root
            self._known[key] = tuple(
                torch.tensor(part, dtype=like.dtype, device=like.device) for part in (self.operator.gram, root @ root)
            )  # type: ignore[assignment]
        return self._known[key]

    def squared_size(self, kernel: Tensor) -> Tensor:
        """``‖C(x)‖_F²``."""
        rows = kernel.flatten(2).flatten(0, 1)
        return torch.sum((rows @ self._grams(kernel)[0]) * rows)

    def atom(self, pair: Pairs) -> tuple[Tensor, Tensor]:
        """``W⁻¹ ∇_x(uᵀ C(x) v)`` of a single pair, and its squared size: the atom in the geometry of ``W``."""
        gradient = self._gradient(pair)
        rows = gradient.flatten(2).flatten(0, 1)
        atom = rows @ self._grams(gradient)[1]
        return atom.reshape(gradient.shape), torch.sum(atom * rows)

    def _gradient(self, pair: Pairs) -> Tensor:
        axes, operator = self.operator.axes, self.operator
        zero = pair.u.new_zeros(operator.kernel_shape)
        _, gradient, _ = torch.ops.aten.convolution_backward(
            pair.u.reshape(-1, *self._out),
            self._padded(pair.v.reshape(-1, *self._in)),
            zero,
            None,
            [axis.stride for axis in axes],
            [0] * len(axes),
            [axis.dilation for axis in axes],
            False,
            [0] * len(axes),
            operator.groups,
            [False, True, False],
        )
        return gradient

    def nearest(self, direction: Tensor, pair: Pairs, level: Tensor) -> Tensor:
        """The point of the cap of an atom that is nearest to a kernel of size one, of size one."""
        atom, norm = self.atom(pair)
        height = self.value(direction, pair)[0]
        push, pull = atoms.rim_coordinates(height, norm, level, norm - level, namespace("torch"))
        point = push * atom + pull * direction
        return point / torch.sqrt(self.squared_size(point))
