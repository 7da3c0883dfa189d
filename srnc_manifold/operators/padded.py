"""Convolutions with any padding, stride and dilation, and transposed ones (docs/theory.md, section 17).

They have no frequencies. What is known of them is their Frobenius norm, exactly, by a Gram matrix that is a Kronecker
product over the axes, and their products with feature maps.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators import brackets, grids, norms
from srnc_manifold.operators.base import DominantAtom, Operator, Relaxation
from srnc_manifold.operators.brackets import NormBracket, Pairs
from srnc_manifold.operators.geometry import Geometry, InputSize, PerAxis, Shapes, Weighted
from srnc_manifold.operators.padding import Amount, Axis, PaddingWords, axes_of

# Above so many rows or columns (the fewer of the two), and entries, singular values are found by the Lanczos method.
_DECOMPOSED, _MATRIX = 256, 2**19

# The same where a norm is wanted with a proof: below this a decomposition takes less time than the symbol's bound.
_PROVED, _PROVED_MATRIX = 1024, 2**21

# Entries of the blocks, and of what makes them, above which they are not written out: a quarter of a gigabyte.
_WRITTEN_OUT = 2**25

# Frequencies on which the supremum of the symbol is bounded, and entries of the symbol, if that is fewer.
_FREQUENCIES, _SYMBOL = 4096, 2**23


class Padded(Operator):
    """A layer of PyTorch, ``Conv1d`` to ``Conv3d`` or ``ConvTranspose1d`` to ``ConvTranspose3d``, on one input size.

    Its blocks are the matrices of its groups. In the coordinates ``y = W^½ x`` the Frobenius norm is that of ``y``.

    Parameters
    ----------
    kernel_shape : tuple of int
        PyTorch's ``weight``: ``(c_out, c_in / groups, *taps)``, and ``(c_in, c_out / groups, *taps)`` if transposed; or
        ``taps`` for one channel.
    input_size : int or sequence of int
    groups, stride, dilation : optional
    padding : int, sequence of int, ``"same"`` or ``"valid"``, optional
    padding_mode : ``"zeros"``, ``"circular"``, ``"reflect"`` or ``"replicate"``, optional
    transposed : bool, optional
    output_padding : int or sequence of int, optional
        All with PyTorch's meaning and defaults.

    Attributes
    ----------
    axes : tuple of Axis
        Those of the convolution, or of that which the transposed convolution is the adjoint of.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or they do not fit together.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> operator = srnc.Padded((4, 2, 3), 8, padding=1)
    >>> operator.input_shape, operator.output_shape
    ((2, 8), (4, 8))
    """

    gram_weight = 1.0

    def __init__(
        self,
        kernel_shape: tuple[int, ...],
        input_size: InputSize,
        *,
        groups: int = 1,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        padding: Amount = 0,
        padding_mode: str = "zeros",
        transposed: bool = False,
        output_padding: PerAxis = 0,
    ) -> None:
        layout = Shapes.of(kernel_shape, input_size, groups=groups, stride=stride, dilation=dilation)
        words: PaddingWords = {
            "padding": padding,
            "padding_mode": padding_mode,
            "transposed": transposed,
            "output_padding": output_padding,
        }
        self.kernel_shape, self.channels, self.groups = layout.kernel_shape, layout.channels, layout.groups
        self.axes = axes_of(layout.taps, layout.input_size, layout.stride, layout.dilation, words)
        self.transposed = transposed
        sided = all(axis.left == axis.right for axis in self.axes)
        self._words = {
            "input_size": layout.input_size,
            "groups": layout.groups,
            "stride": layout.stride,
            "dilation": layout.dilation,
            "padding": tuple(axis.left for axis in self.axes) if sided else "same",
            "padding_mode": padding_mode,
            "transposed": transposed,
            "output_padding": tuple(np.broadcast_to(output_padding, len(self.axes)).tolist()),
        }
        # Feature maps of the convolution, by groups.
        c_out, c_in = self.channels
        self._in = (self.groups, c_in, *(axis.n_in for axis in self.axes))
        self._out = (self.groups, c_out // self.groups, *(axis.n_out for axis in self.axes))
        shapes = ((c_in * self.groups, *self._in[2:]), (c_out, *self._out[2:]))
        self.input_shape, self.output_shape = shapes[::-1] if transposed else shapes
        rows, columns = math.prod(self._out[1:]), math.prod(self._in[1:])
        self.block_shape = (columns, rows) if transposed else (rows, columns)
        self.multiplicities = np.ones(self.groups)
        if not np.any(self.gram):
            raise ValueError(
                f"padding: {padding!r} given, with which no tap of a kernel of shape {self.kernel_shape} meets an "
                f"input of size {layout.input_size}"
            )
        least = max(1.0, 1 / math.prod(axis.longest_atom for axis in self.axes))
        self.stable_rank_range = (least, float(max(self.groups * min(self.block_shape), math.ceil(least))))

    def to_fields(self) -> dict[str, Any]:
        return dict(self._words)

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_fields, (self.kernel_shape, self._words)  # what is cached is soon made again

    # -- feature maps ---------------------------------------------------------------------------------------

    def apply(self, x: Array, maps: Array) -> Array:
        """``C(x) v``: the layer, of a kernel ``x`` and feature maps of the input shape."""
        convolved = self._spread if self.transposed else self._convolved
        return convolved(x, maps).reshape(self.output_shape)

    def transpose(self, x: Array, maps: Array) -> Array:
        """``C(x)ᵀ u``: its adjoint, of feature maps of the output shape."""
        spread = self._convolved if self.transposed else self._spread
        return spread(x, maps).reshape(self.input_shape)

    def gradient(self, u: Array, v: Array) -> Array:
        """``∇_x (uᵀ C(x) v)``: the ``G`` with ``⟨x, G⟩ = uᵀ C(x) v`` for all kernels ``x``."""
        outer, inner = (v, u) if self.transposed else (u, v)
        product = outer.reshape(*self._out[:2], -1) @ self._windows(inner).swapaxes(1, 2)
        return product.reshape(self.kernel_shape)

    def _convolved(self, x: Array, maps: Array) -> Array:
        return x.reshape(*self._out[:2], -1) @ self._windows(maps)

    def _windows(self, maps: Array) -> Array:
        """What each output of the convolution reads, shape ``(groups, c_in · q, outputs)``."""
        padded = maps.reshape(self._in)
        for place, axis in enumerate(self.axes, 2):
            padded = padded.take(axis.padded, axis=place)
            if axis.mode == "zeros":
                padded *= (axis.padded >= 0).reshape(-1, *[1] * (padded.ndim - place - 1))
        steps = [axis.dilation * padded.strides[place] for place, axis in enumerate(self.axes, 2)]
        moves = [axis.stride * padded.strides[place] for place, axis in enumerate(self.axes, 2)]
        shape = (*self._in[:2], *(axis.taps for axis in self.axes), *self._out[2:])
        strides = (*padded.strides[:2], *steps, *moves)
        windows = np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)
        return windows.reshape(self.groups, -1, math.prod(self._out[2:]))

    def _spread(self, x: Array, maps: Array) -> Array:
        """The adjoint of :meth:`_convolved`: each output gives its taps' shares to the entries that it read."""
        shares = x.reshape(*self._out[:2], -1).swapaxes(1, 2) @ maps.reshape(*self._out[:2], -1)
        taps = tuple(axis.taps for axis in self.axes)
        shares = shares.reshape(*self._in[:2], *taps, *self._out[2:])
        result = np.zeros((*self._in[:2], *(len(axis.padded) for axis in self.axes)))
        for tap in np.ndindex(*taps):
            places = tuple(
                slice(axis.dilation * j, axis.dilation * j + axis.stride * (axis.n_out - 1) + 1, axis.stride)
                for axis, j in zip(self.axes, tap, strict=True)
            )
            result[(slice(None), slice(None), *places)] += shares[(slice(None), slice(None), *tap)]
        for place, axis in enumerate(self.axes, 2):
            result = _folded(result, axis, place)
        return result

    # -- coordinates ----------------------------------------------------------------------------------------

    @cached_property
    def gram(self) -> Array:
        """``W``, shape ``(q, q)``: ``‖C(x)‖_F² = Σ x_oiᵀ W x_oi``, integers."""
        return _kronecker([axis.gram for axis in self.axes])

    def squared_frobenius_norm(self, x: Any, xp: Namespace = NUMPY) -> Any:
        """``‖C(x)‖_F²`` of a kernel, without roots of ``W``."""
        rows = xp.reshape(x, (-1, len(self.gram)))
        return xp.sum(xp.matmul(rows, xp.constant(self.gram, rows)) * rows)

    @cached_property
    def _roots(self) -> tuple[Array, ...]:
        """``W^½``, its pseudoinverse, and the projection onto its range."""
        return tuple(_kronecker(list(parts)) for parts in zip(*(a.roots for a in self.axes), strict=True))

    @property
    def inverse_gram_root(self) -> Array:
        """The pseudoinverse of ``W^½``, shape ``(q, q)``."""
        return self._roots[1]

    def coordinates(self, x: Array) -> Array:
        return self._by_tap(x, self._roots[0])

    def kernel(self, y: Array) -> Array:
        return self._by_tap(y, self._roots[1])

    def unseen(self, x: Array) -> Array | None:
        if all(np.all(np.diag(axis.roots[2]) > 0.999) for axis in self.axes):
            return None
        return x - self._by_tap(x, self._roots[2])

    def coordinate_rows(self, rows: Any, xp: Namespace) -> Any:
        by_tap = xp.reshape(rows, (-1, len(self.gram)))
        return xp.reshape(xp.matmul(by_tap, xp.constant(self._roots[0], rows)), tuple(rows.shape))

    def _by_tap(self, x: Array, matrix: Array) -> Array:
        return (np.reshape(x, (-1, len(matrix))) @ matrix).reshape(self.kernel_shape)

    # -- matrices -------------------------------------------------------------------------------------------

    @cached_property
    def _written_out(self) -> Array:
        """What a tap of ``y`` adds to the matrix of a pair of channels, shape ``(q, outputs · inputs)``."""
        points = math.prod(axis.n_in * axis.n_out for axis in self.axes)
        if max(math.prod(self.block_shape) * self.groups, len(self.gram) * points) > _WRITTEN_OUT:
            rows, columns = self.block_shape
            raise ValueError(
                f"input_size: {self._words['input_size']} given, where the matrix of the layer has {rows} × {columns} "
                "entries, too many to write out; only its norms and its k largest singular values can be computed"
            )
        taps, (rows, columns) = np.ones((1, 1, 1)), (1, 1)
        for axis in self.axes:
            rows, columns = rows * axis.n_out, columns * axis.n_in
            taps = np.einsum("jab,kcd->jkacbd", taps, axis.selection).reshape(-1, rows, columns)
        return self._roots[1] @ taps.reshape(len(self.gram), -1)

    def blocks(self, y: Any, xp: Namespace = NUMPY) -> Any:
        return self._block_rows(xp.reshape(y, (1, -1)), xp.constant(self._written_out, y), xp)[0]

    def _block_rows(self, rows: Any, matrix: Any, xp: Namespace) -> Any:
        """The blocks of many ``y``, shape ``(B, groups, *block_shape)``."""
        count, q = len(rows), len(self.gram)
        outputs, inputs = math.prod(self._out[2:]), math.prod(self._in[2:])
        values = xp.matmul(xp.reshape(rows, (-1, q)), matrix)
        values = xp.reshape(values, (count, *self._out[:2], self._in[1], outputs, inputs))
        order = (0, 1, 3, 5, 2, 4) if self.transposed else (0, 1, 2, 4, 3, 5)
        return xp.reshape(xp.permute_dims(values, order), (count, self.groups, *self.block_shape))

    def adjoint(self, matrices: NDArray[Any]) -> Array:
        return self._adjoint_rows(np.real(matrices)[None], self._written_out, NUMPY).reshape(self.kernel_shape)

    def _adjoint_rows(self, matrices: Any, matrix: Any, xp: Namespace) -> Any:
        count, (groups, m), c_in = len(matrices), self._out[:2], self._in[1]
        outputs, inputs = math.prod(self._out[2:]), math.prod(self._in[2:])
        if self.transposed:
            values = xp.permute_dims(
                xp.reshape(matrices, (count, groups, c_in, inputs, m, outputs)), (0, 1, 4, 2, 5, 3)
            )
        else:
            values = xp.permute_dims(
                xp.reshape(matrices, (count, groups, m, outputs, c_in, inputs)), (0, 1, 2, 4, 3, 5)
            )
        return xp.reshape(xp.matmul(xp.reshape(values, (-1, outputs * inputs)), matrix.T), (count, -1))

    @property
    def row_matrix(self) -> Array:
        return self._written_out

    def block_rows(self, rows: Any, matrix: Any, xp: Namespace) -> Any:
        blocks = self._block_rows(rows, matrix, xp)[:, None]
        return xp.concatenate([blocks, 0.0 * blocks], axis=1)

    def adjoint_rows(self, matrices: Any, matrix: Any, xp: Namespace) -> Any:
        return self._adjoint_rows(matrices[:, 0], matrix, xp)

    # -- norms ----------------------------------------------------------------------------------------------

    @property
    def is_decomposed(self) -> bool:
        """Whether the layer is so small that its singular values are those of its matrices."""
        return min(self.block_shape) <= _DECOMPOSED and math.prod(self.block_shape) <= _MATRIX

    def gain(self, y: Array) -> float:
        if self.is_decomposed:
            return float(np.max(np.linalg.svd(self.blocks(y), compute_uv=False)[:, 0]) ** 2)
        return float(self.pairs(y, 1).values[0] ** 2)

    def pairs(self, y: Array, count: int, seed: int = 0, near: Array | None = None, *, complete: bool = False) -> Pairs:
        """The largest singular pairs of the layer, as flat feature maps; see :meth:`dominant_atoms`.

        Where they are found by iteration, copies of multiple singular values may be missing if ``complete`` is not set.
        """
        if self.is_decomposed:
            return self._decomposed_pairs(y, count)
        x, rows, columns = self.kernel(y), math.prod(self.output_shape), math.prod(self.input_shape)
        find = brackets.complete_pairs if complete else brackets.largest_pairs
        return find(
            lambda v: self.apply(x, v).ravel(),
            lambda u: self.transpose(x, u).ravel(),
            (rows, columns),
            count,
            brackets.start(min(rows, columns), seed, near),
            krylov=brackets.KRYLOV if near is None else brackets.NEARBY,
        )

    def _decomposed_pairs(self, y: Array, count: int) -> Pairs:
        u, s, vh = np.linalg.svd(self.blocks(y), full_matrices=False)
        order = np.argsort(-s, axis=None, kind="stable")[:count]
        groups, places = np.unravel_index(order, s.shape)
        left, right = np.zeros((len(order), self.groups, len(u[0]))), np.zeros((len(order), self.groups, vh.shape[2]))
        for k, (group, place) in enumerate(zip(groups, places, strict=True)):
            left[k, group], right[k, group] = u[group, :, place], vh[group, place]
        return Pairs(left.reshape(len(order), -1), s.ravel()[order], right.reshape(len(order), -1))

    def dominant_atoms(self, y: Array, count: int, seed: int = 0, near: Array | None = None) -> list[DominantAtom]:
        pairs = self.pairs(y, count, seed, near)
        shorter = pairs.v if pairs.v.shape[1] <= pairs.u.shape[1] else pairs.u
        return [
            DominantAtom(self.kernel(self.gradient(u, v)), start)
            for u, v, start in zip(pairs.u, pairs.v, shorter, strict=True)
        ]

    def dominant_atom(self, y: Array) -> Array:
        return self.dominant_atoms(y, 1)[0].tensor

    def norm_bracket(self, y: Array) -> NormBracket:
        if min(self.block_shape) <= _PROVED and math.prod(self.block_shape) <= _PROVED_MATRIX:
            return super().norm_bracket(y)
        pair, x = self.pairs(y, 1), self.kernel(y)
        lower = float(pair.values[0])
        gap = math.hypot(
            float(np.linalg.norm(self.apply(x, pair.v[0]).ravel() - lower * pair.u[0])),
            float(np.linalg.norm(self.transpose(x, pair.u[0]).ravel() - lower * pair.v[0])),
        )
        upper = max(self.symbol_bound(x), lower)
        likely = brackets.likely_upper(lower, min(math.prod(self.output_shape), math.prod(self.input_shape)))
        return NormBracket(lower, gap / lower, upper, "symbol", min(likely, upper))

    def symbol_bound(self, x: Array) -> float:
        """An upper bound on the norm, from the symbol and the padding (docs/theory.md, proposition 28)."""
        grid = self.grid
        return math.sqrt(float(norms.gain(np.reshape(x, grid.kernel_shape), grid))) * self.symbol_factor

    @cached_property
    def symbol_factor(self) -> float:
        """By how much the norm can exceed that of the symbol on :attr:`grid`."""
        return self._factor(self.grid, [axis.most_copies for axis in self.axes])

    @cached_property
    def symbol_factor_at_any_size(self) -> float:
        """The same for this padding of all inputs that are at least as large."""
        return self._factor(self.grid, [axis.most_copies_at_any_size for axis in self.axes])

    def _factor(self, grid: Geometry, copies: list[int]) -> float:
        return norms.size_factor(grid) * math.sqrt(math.prod(copies)) * (1 + 2.0**-40)

    def relaxation(self, input_size: tuple[int, ...] | None = None) -> Relaxation:
        """The kernels whose symbol is large enough, in the coordinates. It proves if ``W`` is diagonal, as with zeros.

        Otherwise the diagonal of ``W`` stands for it.
        """
        squares, grid = np.diag(self.gram), self.grid if input_size is None else self._grid_of(input_size)
        scales = np.where(squares > 0, 1 / np.sqrt(np.maximum(squares, 1.0)), 0.0)
        proves = all(axis.is_diagonal for axis in self.axes)
        return Relaxation(
            Weighted.weighing(grid, scales), self._factor(grid, [axis.most_copies for axis in self.axes]), proves
        )

    @cached_property
    def grid(self) -> Geometry:
        """A circular grid on which the symbol of the same kernel has a maximum near its supremum."""
        entries = math.prod(self._out[:2]) * self._in[1] * min(math.prod(a.stride for a in self.axes), len(self.gram))
        each = round(min(_FREQUENCIES, max(1, _SYMBOL // entries)) ** (1 / max(1, len(self.axes))))
        sizes = []
        for axis in self.axes:
            n = max(each, 4 * (axis.dilation * (axis.taps - 1) // axis.stride + 1))
            while math.gcd(n, axis.dilation) > 1:  # a common factor makes the grid a coarser one
                n += 1
            sizes.append(axis.stride * n)
        return self._grid_of(tuple(sizes))

    def _grid_of(self, input_size: tuple[int, ...]) -> Geometry:
        shape = (*self.channels, *(axis.taps for axis in self.axes))
        steps = {name: tuple(getattr(axis, name) for axis in self.axes) for name in ("stride", "dilation")}
        return Geometry.of(shape, input_size, groups=self.groups, **steps)


def _from_fields(kernel_shape: tuple[int, ...], words: dict[str, Any]) -> Padded:
    return Padded(kernel_shape, **words)


def _folded(maps: Array, axis: Axis, place: int) -> Array:
    """The adjoint of padding along an axis: what was repeated is added to its source, zeros are left out."""
    inside = [slice(None)] * maps.ndim
    inside[place] = slice(axis.left, axis.left + axis.n_in)
    result = np.array(maps[tuple(inside)])
    ahead: tuple[Any, ...] = (slice(None),) * place
    for position in (*range(axis.left), *range(axis.left + axis.n_in, len(axis.padded))):
        source = int(axis.padded[position])
        if source >= 0:
            result[(*ahead, source)] += maps[(*ahead, position)]
    return result


def _kronecker(matrices: list[Array]) -> Array:
    product: Array = np.ones((1, 1))
    for matrix in matrices:
        product = np.asarray(np.kron(product, matrix), float)
    return grids.frozen(product)
