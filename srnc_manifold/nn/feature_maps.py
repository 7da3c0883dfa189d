"""A convolution with any padding in torch, by its products with feature maps (docs/theory.md, section 17)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srnc_manifold.nn.pairs import PairIteration, Pairs, normalized
from srnc_manifold.operators import brackets
from srnc_manifold.operators.padded import Padded
from srnc_manifold.operators.padding import Axis

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}

#: Singular pairs that are followed. The largest one converges as the first to the last but one of their values.
MAPS = 2

# Random starts of the search for a layer's longest atom, steps from each, and the growth in one of them, relatively, at
# which there are no more; power steps for the channels of such an atom.
_LIFTED, _LIFTS, _GROWTH, _CHANNEL_STEPS = 4, 1000, 1e-9, 4

# Tolerances of singular pairs above which single precision is enough.
_SINGLE = 1e-5


class FeatureMaps(PairIteration):
    """Some singular pairs of the whole operator.

    A transposed convolution has the singular values of the convolution whose adjoint it is, with the same weight. So
    everything here is of the latter.

    Parameters
    ----------
    operator : Padded
    """

    mixes = True

    def __init__(self, operator: Padded) -> None:
        super().__init__()
        if operator.unseen(np.ones(operator.kernel_shape)) is not None:
            raise ValueError("input_size: some taps of the weight meet no entry of such an input")
        self.operator = operator
        shapes = operator.input_shape, operator.output_shape
        self._in, self._out = shapes[::-1] if operator.transposed else shapes
        self.blocks = torch.arange(min(MAPS, math.prod(self._in), math.prod(self._out)))
        self.pair_shapes = (math.prod(self._out),), (math.prod(self._in),)
        self.gram_weight = operator.gram_weight
        axes = operator.axes
        self._is_diagonal = all(axis.is_diagonal for axis in axes)
        self._steps, self._spacing = [axis.stride for axis in axes], [axis.dilation for axis in axes]

    def _made_constants(self, like: Tensor) -> tuple[Tensor, ...]:
        """``W`` and its inverse, by taps; for each axis which entry each padded one repeats, and 0 if it is none."""
        root = self.operator.inverse_gram_root
        grams = [torch.tensor(part, dtype=like.dtype, device=like.device) for part in (self.operator.gram, root @ root)]
        places = []
        for axis in self.operator.axes:
            source = torch.tensor(axis.padded, device=like.device)
            places += [source.clamp(min=0), (source >= 0).to(like.dtype)]
        return (*grams, *places)

    # -- products -----------------------------------------------------------------------------------------------

    def _padded(self, maps: Tensor) -> Tensor:
        for place, axis in enumerate(self.operator.axes):
            if _is_plain(axis):
                rest = [0, 0] * (len(self._steps) - 1 - place)
                maps = functional.pad(maps, [*rest, axis.left, axis.right])
            else:
                source, inside = self._places(place, maps)
                maps = maps.index_select(2 + place, source) * inside
        return maps

    def _folded(self, maps: Tensor) -> Tensor:
        """The adjoint of padding, of what transposed convolutions give."""
        for place, axis in enumerate(self.operator.axes):
            # What no output reads is left over at the end.
            rest = [0, 0] * (len(self._steps) - 1 - place)
            maps = functional.pad(maps, [*rest, 0, len(axis.padded) - maps.shape[2 + place]])
            if _is_plain(axis):
                maps = maps.narrow(2 + place, axis.left, axis.n_in)
            else:
                source, inside = self._places(place, maps)
                shape = (*maps.shape[: 2 + place], axis.n_in, *maps.shape[3 + place :])
                maps = maps.new_zeros(shape).index_add(2 + place, source, maps * inside)
        return maps

    def _places(self, place: int, maps: Tensor) -> tuple[Tensor, Tensor]:
        source, inside = self._constants(maps)[2 + 2 * place : 4 + 2 * place]
        return source, inside.reshape(-1, *[1] * (len(self._steps) - 1 - place))

    def apply(self, kernel: Tensor, maps: Tensor) -> Tensor:
        """``C(x) v`` of flat maps, shape ``(R, points)``."""
        padded = self._padded(maps.reshape(-1, *self._in))
        convolution = _CONVOLUTIONS[len(self._steps)]
        return convolution(padded, kernel, None, self._steps, 0, self._spacing, self.operator.groups).flatten(1)

    def transpose(self, kernel: Tensor, maps: Tensor) -> Tensor:
        """``C(x)ᵀ u``."""
        given, groups = maps.reshape(-1, *self._out), self.operator.groups
        found = _TRANSPOSED[len(self._steps)](given, kernel, None, self._steps, 0, 0, groups, self._spacing)
        return self._folded(found).flatten(1)

    # -- pairs --------------------------------------------------------------------------------------------------

    def improved(self, kernel: Tensor, pairs: Pairs, steps: int) -> tuple[Pairs, Tensor]:
        """Steps of subspace iteration for all pairs together, which are then in the order of their values."""
        sizes = torch.zeros(len(pairs.v), dtype=kernel.dtype, device=kernel.device)
        for _ in range(steps):
            pairs, _ = self.half_improved(kernel, pairs, to_left=True)
            pairs, sizes = self.half_improved(kernel, pairs, to_left=False)
        return pairs, sizes

    def half_improved(self, kernel: Tensor, pairs: Pairs, to_left: bool) -> tuple[Pairs, Tensor]:
        """One product: the ``u`` that belong to the span of all ``v``, or the ``v`` to that of all ``u``."""
        product, given = (self.apply, pairs.v) if to_left else (self.transpose, pairs.u)
        images = product(kernel, given)
        # The vectors given are orthonormal but for rounding; these are orthogonal whether they are or not.
        turns = torch.linalg.eigh(images @ images.T)[1].T.flip(0)
        found, sizes = normalized(turns @ images, pairs.u if to_left else pairs.v)
        turned = turns @ given
        u, v = (found, turned) if to_left else (turned, found)
        return Pairs(pairs.blocks, u, v), sizes

    # -- geometry of kernels --------------------------------------------------------------------------------------

    def squared_size(self, kernel: Tensor) -> Tensor:
        return torch.sum(self._by_tap(kernel, self._constants(kernel)[0]) * kernel)

    def raised(self, gradient: Tensor) -> Tensor:
        return self._by_tap(gradient, self._constants(gradient)[1])

    def _by_tap(self, kernel: Tensor, matrix: Tensor) -> Tensor:
        if self._is_diagonal:  # much faster than a product with so small a matrix
            return kernel * matrix.diagonal().reshape(kernel.shape[2:])
        return (kernel.flatten(2) @ matrix).reshape(kernel.shape)

    def gradient(self, pair: Pairs) -> Tensor:
        zero = pair.u.new_zeros(self.operator.kernel_shape)
        none = [0] * len(self._steps)
        _, gradient, _ = torch.ops.aten.convolution_backward(
            pair.u.reshape(-1, *self._out),
            self._padded(pair.v.reshape(-1, *self._in)),
            zero,
            None,
            self._steps,
            none,
            self._spacing,
            False,
            none,
            self.operator.groups,
            [False, True, False],
        )
        return gradient

    @cached_property
    def _longest_of_one(self) -> tuple[Tensor, float]:
        words = {**self.operator.to_fields(), "groups": 1}
        return _longest_of_one(tuple(self.operator.kernel_shape[2:]), tuple(words.items()))

    @property
    def stable_rank_range(self) -> tuple[float, float]:  # type: ignore[override]
        """Of stable ranks that kernels have: the operator's own lower end is a bound."""
        least, most = self.operator.stable_rank_range
        return max(least, self.gram_weight / self._longest_of_one[1]), most

    def longest(self, kernel: Tensor, pairs: Pairs) -> Tensor:
        """That of a layer with one channel, times two vectors of channels: those with the largest value, roughly."""
        groups, shape = self.operator.groups, self.operator.kernel_shape
        taps = self._longest_of_one[0].to(kernel)
        matrices = torch.tensordot(kernel, taps, dims=len(self._steps)).reshape(groups, -1, shape[1])
        u = matrices.new_full(matrices.shape[:2], matrices.shape[1] ** -0.5)
        v = matrices.new_full((groups, shape[1]), shape[1] ** -0.5)
        values = u[:, 0]
        for _ in range(_CHANNEL_STEPS):
            u, _ = normalized(torch.einsum("goi,gi->go", matrices, v), u)
            v, values = normalized(torch.einsum("goi,go->gi", matrices, u), v)
        chosen = torch.arange(groups, device=u.device) == torch.argmax(values)
        outer = torch.einsum("go,gi->goi", u * chosen[:, None], v).reshape(shape[:2])
        return outer.reshape(*shape[:2], *[1] * len(self._steps)) * taps

    def converged(self, kernel: Any, tolerance: float) -> tuple[Any, Any, Any, Any]:
        operator, count, blocks = self.operator, len(self.blocks), self.blocks.numpy()
        if operator.is_decomposed:
            found = operator.pairs(operator.coordinates(kernel), count)
            left, right = (found.v, found.u) if operator.transposed else (found.u, found.v)
            return blocks, left, right, found.values
        # Products in single precision take a quarter of the time.
        taps = torch.tensor(kernel, dtype=torch.float32 if tolerance > _SINGLE else torch.float64)

        def on_host(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any], Any]:
            return lambda maps: product(taps, torch.from_numpy(maps)[None].to(taps))[0].double().numpy()

        shape = math.prod(self._out), math.prod(self._in)
        found = brackets.largest_pairs(
            on_host(self.apply),
            on_host(self.transpose),
            shape,
            count,
            brackets.start(min(shape)),
            brackets.NEARBY,
            tolerance=tolerance,
        )
        return blocks, found.u, found.v, found.values


@cache
def _longest_of_one(taps: tuple[int, ...], words: tuple[tuple[str, Any], ...]) -> tuple[Tensor, float]:
    """Gradient and ``‖G‖_W²`` of the longest atom of a layer with one channel that is found.

    Each step is a power step to the top pair of the last atom as a kernel, whose atom is not shorter. No vector has a
    negative entry; with zeros around, no atom is longer than one of such vectors. Where strides or dilations part the
    layer in several, vectors must come to be in one of these: so some starts are random.
    """
    one = FeatureMaps(Padded((1, 1, *taps), **dict(words)))
    generator, even = torch.Generator().manual_seed(0), torch.ones(1, *one.pair_shapes[1], dtype=torch.float64)
    count = _LIFTED if max(*one._steps, *one._spacing) > 1 else 0
    starts = [even, *(torch.randn(even.shape, generator=generator).double().exp() for _ in range(count))]
    return max((_lifted(one, start) for start in starts), key=lambda found: found[1])


def _lifted(one: FeatureMaps, v: Tensor) -> tuple[Tensor, float]:
    """Where the steps lead from a right vector."""
    kernel, size = torch.ones(one.operator.kernel_shape, dtype=torch.float64), 0.0
    pair = Pairs(one.blocks[:1], v.new_zeros(1, *one.pair_shapes[0]), v / torch.linalg.vector_norm(v))
    for _ in range(_LIFTS):
        pair, _ = one.improved(kernel, pair, 1)
        atom = one.atom(one.gradient(pair))
        before, size = size, float(atom.norm)
        if size <= before * (1 + _GROWTH):
            break
        kernel = atom.tensor / math.sqrt(size)
    return atom.gradient[0, 0], size


def _is_plain(axis: Axis) -> bool:
    """Whether every entry of the input appears once among the padded ones, with zeros around."""
    return axis.mode == "zeros" or axis.left == axis.right == 0
