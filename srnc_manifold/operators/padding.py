"""Padding, stride and dilation along one axis: which entry of the input each tap of each output reads.

All that a padded layer is beside its channels is a product over its axes. Integers only, up to the Gram matrices.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import PerAxis
from srnc_manifold.validation import require_choice

MODES = ("zeros", "circular", "reflect", "replicate")

#: An amount on both sides, one for each axis, or one of PyTorch's words ``"same"`` and ``"valid"``.
Amount = PerAxis | str

# A Gram matrix is singular where an eigenvalue is below this part of the largest one. It is a matrix of small integers,
# whose eigenvalues are zero but for rounding, or not nearly.
_SINGULAR = 1e-10

# Entries of an axis above which eigenvalues of matrices of this size are only bounded.
_DECOMPOSED = 512


class PaddingWords(TypedDict, total=False):
    """What PyTorch's layers have beside groups, stride and dilation; see :func:`operator_of`."""

    padding: Amount | None
    padding_mode: str
    transposed: bool
    output_padding: PerAxis


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution. Of a transposed one it is that of the convolution whose adjoint it is.

    Attributes
    ----------
    n_in, n_out, taps, stride, dilation : int
    left, right : int
        Entries that are padded on either side.
    mode : str
    """

    n_in: int
    n_out: int
    taps: int
    stride: int
    dilation: int
    left: int
    right: int
    mode: str

    @cached_property
    def padded(self) -> NDArray[np.int64]:
        """The entry of the input that each entry of the padded input repeats, or -1 for a zero."""
        return _padded(self.n_in, self.left, self.right, self.mode)

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """The entry that each tap of each output reads, or -1; shape ``(n_out, taps)``."""
        return self.padded[self._places]

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        return self.stride * np.arange(self.n_out)[:, None] + self.dilation * np.arange(self.taps)

    @cached_property
    def selection(self) -> Array:
        """The same as zeros and ones, shape ``(taps, n_out, n_in)``: an output is a sum of taps times these."""
        return (self.sources.T[:, :, None] == np.arange(self.n_in)).astype(float)

    @cached_property
    def gram(self) -> Array:
        """How many outputs read one entry with the taps ``j`` and ``j'``, shape ``(taps, taps)``."""
        rows, counts = self.sources, np.zeros((self.taps, self.taps))
        for tap in range(self.taps):
            counts[tap] = np.sum((rows == rows[:, [tap]]) & (rows >= 0), axis=0)
        return counts

    @cached_property
    def roots(self) -> tuple[Array, Array, Array]:
        """Square root of the Gram matrix, its pseudoinverse, and the projection onto their range."""
        if self.is_diagonal:
            values, vectors = np.diag(self.gram), np.eye(self.taps)
        else:
            values, vectors = np.linalg.eigh(self.gram)
        seen = values > _SINGULAR * np.max(values)
        root = np.sqrt(np.where(seen, values, 0.0))
        inverse = np.where(seen, 1 / np.where(seen, root, 1.0), 0.0)
        return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T, (vectors * seen) @ vectors.T

    @cached_property
    def is_diagonal(self) -> bool:
        """Whether no output reads an entry twice; always so with zeros."""
        return bool(np.all(self.gram == np.diag(np.diag(self.gram))))

    @cached_property
    def longest_atom(self) -> float:
        """The factor of this axis in a bound on ``γ²`` of all atoms, rounded up (docs/theory.md, proposition 29)."""
        inverse, n, rows = self.roots[1] @ self.roots[1], self.n_in, self.sources
        first, second = rows[:, :, None] + 0 * rows[:, None, :], rows[:, None, :] + 0 * rows[:, :, None]
        real = (first >= 0) & (second >= 0) & (inverse != 0)
        places, which = np.unique(first[real] * n + second[real], return_inverse=True)
        entries = np.bincount(which.ravel(), weights=np.broadcast_to(inverse, first.shape)[real], minlength=len(places))
        if self.is_diagonal or n > _DECOMPOSED:  # the largest sum of a row is a bound, too
            largest = np.max(np.bincount(places // n, weights=np.abs(entries)), initial=0.0)
        else:
            matrix = np.zeros(n * n)
            matrix[places] = entries
            largest = np.linalg.eigvalsh(matrix.reshape(n, n))[-1]
        return float(largest) * (1 + 1e-12)

    @cached_property
    def most_copies(self) -> int:
        """How often an entry of the input is repeated among those of the padded input that some tap reads."""
        return _copies(self.padded[np.unique(self._places)])

    @cached_property
    def most_copies_at_any_size(self) -> int:
        """The same of inputs that are as large or larger: an entry may be near both borders of some of them."""
        sizes = range(self.n_in, self.n_in + self.left + self.right + 2)
        return max(_copies(_padded(n, self.left, self.right, self.mode)) for n in sizes)

    @cached_property
    def is_circulant(self) -> bool:
        """Whether the layer is block-circulant along this axis, so that it has a symbol."""
        total = self.left + self.right
        around = self.mode == "circular" or total == 0
        return around and total == self.dilation * (self.taps - 1) and self.n_in % self.stride == 0


def _padded(n: int, left: int, right: int, mode: str) -> NDArray[np.int64]:
    place = np.arange(-left, n + right)
    if mode == "zeros":
        return np.where((place >= 0) & (place < n), place, -1)
    if mode == "circular":
        return place % n
    if mode == "reflect":
        return np.where(place < 0, -place, np.where(place >= n, 2 * (n - 1) - place, place))
    return np.clip(place, 0, n - 1)


def _copies(entries: NDArray[np.int64]) -> int:
    return int(np.max(np.bincount(entries[entries >= 0]), initial=1))


def axes_of(
    taps: tuple[int, ...],
    input_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    words: PaddingWords,
) -> tuple[Axis, ...]:
    """The axes of a layer from PyTorch's words for it.

    Raises
    ------
    TypeError, ValueError
        If a word is not one of PyTorch's, or if the sizes do not fit together.
    """
    mode, transposed = words.get("padding_mode", "zeros"), words.get("transposed", False)
    require_choice(MODES, padding_mode=mode)
    if not isinstance(transposed, bool):
        raise TypeError(f"transposed: {transposed!r} given, expected True or False")
    if transposed and mode != "zeros":
        raise ValueError(f"padding_mode: {mode!r} given for a transposed convolution, expected 'zeros'")
    amounts = _amounts(words.get("padding", 0), taps, stride, dilation, transposed)
    extra = _per_axis("output_padding", words.get("output_padding", 0), len(taps))
    if any(extra) and not transposed:
        raise ValueError(f"output_padding: {extra} given, expected 0 where the convolution is not transposed")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"output_padding: {extra} given, expected less than the stride {stride} or dilation {dilation}"
        )
    axes = []
    for axis, (k, n, s, d, (left, right)) in enumerate(zip(taps, input_size, stride, dilation, amounts, strict=True)):
        span = d * (k - 1) + 1
        if transposed:
            n_in, n_out = (n - 1) * s - left - right + span + extra[axis], n
        else:
            n_in, n_out = n, (n + left + right - span) // s + 1
        if min(n_in, n_out) < 1:
            raise ValueError(
                f"input_size: {input_size} given, which leaves no output along axis {axis} with {k} taps, "
                f"dilation {d} and padding {(left, right)}"
            )
        most = {"reflect": n_in - 1, "circular": n_in}.get(mode)
        if most is not None and max(left, right) > most:
            raise ValueError(
                f"padding: {max(left, right)} given along axis {axis}, where padding_mode {mode!r} "
                f"has at most {most} on input_size {input_size}"
            )
        axes.append(Axis(n_in, n_out, k, s, d, left, right, mode))
    return tuple(axes)


def _amounts(
    padding: Any, taps: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], transposed: bool
) -> list[tuple[int, int]]:
    """What is padded on the two sides of each axis."""
    if isinstance(padding, str):
        if padding not in ("same", "valid") or transposed:
            expected = "amounts" if transposed else "amounts, 'same' or 'valid'"
            raise ValueError(f"padding: {padding!r} given, expected {expected}")
        if padding == "valid":
            return [(0, 0)] * len(taps)
        if any(s != 1 for s in stride):
            raise ValueError(f"padding: 'same' given with the stride {stride}, expected stride 1")
        totals = [d * (k - 1) for k, d in zip(taps, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(n, n) for n in _per_axis("padding", padding, len(taps))]


def _per_axis(name: str, given: Any, n_axes: int) -> tuple[int, ...]:
    """Numbers ``>= 0`` for each axis, from one for all of them or from a sequence."""
    values = tuple(given) if isinstance(given, Sequence | np.ndarray) else (given,) * n_axes
    try:
        if any(isinstance(n, bool | np.bool_) for n in values):
            raise TypeError
        numbers = tuple(operator.index(n) for n in values)
    except TypeError:
        raise TypeError(f"{name}: {given!r} given, expected an int or a sequence of ints") from None
    if len(numbers) != n_axes or any(n < 0 for n in numbers):
        raise ValueError(f"{name}: {given!r} given, expected an int >= 0, or {n_axes} of them, one for each axis")
    return numbers
