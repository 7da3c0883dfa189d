"""Spectral norms of many matrices, most of which are not computed."""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.operators import autocorrelation, symbol
from srnc_manifold.operators.geometry import Geometry


def squared_norms(matrices: Any, xp: Namespace = NUMPY) -> Any:
    """Squared spectral norms of stacked matrices."""
    if min(matrices.shape[-2:]) == 1:
        return symbol.energies(matrices, xp)
    return xp.singular_values(matrices)[..., 0] ** 2


class NormTests:
    """Which of many matrices have a spectral norm above a level, at a fraction of the cost of their decompositions.

    ``σ₁(X)² < μ`` if and only if ``μ I − X X*`` is positive definite, which a Cholesky factorization tells. Where
    ``‖X X*‖_F < μ`` already, as for most matrices of trained layers, none is needed.

    Parameters
    ----------
    matrices : complex array, shape ``(n, rows, columns)``
    xp : Namespace, optional
    """

    #: Below this size decomposing a stack of matrices costs less than factorizing one after the other.
    SMALL = 12

    def __init__(self, matrices: Any, xp: Namespace = NUMPY) -> None:
        self.matrices, self.xp, self.size = matrices, xp, min(matrices.shape[-2:])
        self._grams = _grams(matrices, xp)
        # A factorization is exact for a matrix that differs by this part of the level (Higham 2002, theorem 10.3).
        self.margin = 1 + 2.0**-50 * (self.size + 4) ** 1.5

    @cached_property
    def estimates(self) -> Any:
        """Lower bounds on the squared norms by a few steps of power iteration, each from the same vector."""
        phase, norm = np.arange(self.size) * (0.5 * np.sqrt(5.0) - 0.5), self.xp.linalg.vector_norm
        vectors = self.xp.constant(np.exp(2j * np.pi * phase)[:, None], self._grams)
        vectors = vectors + 0.0 * self._grams[:, :, :1]
        norms = norm(vectors, axis=1, keepdims=True)
        for _ in range(4):
            vectors = self.xp.matmul(self._grams, vectors / self.xp.where(norms > 0, norms, 1.0))
            norms = norm(vectors, axis=1, keepdims=True)
        return norms[:, 0, 0]

    @cached_property
    def _ceilings(self) -> Any:
        """Upper bounds on the squared norms: ``‖X X*‖_F``, the square of Schatten's 4-norm."""
        entries = self.xp.parts(self._grams)
        return self.xp.sqrt(self.xp.vecdot(entries, entries))

    def dominant(self) -> tuple[int, float]:
        """Index of the matrix with the largest norm, and that norm squared."""
        best, largest, left = 0, 0.0, np.argsort(-self.estimates, kind="stable")
        while len(left):
            first, left = left[0], left[1:]
            value = float(squared_norms(self.matrices[[first]])[0])
            if value > largest:
                best, largest = int(first), value
                left = left[~self._alike(left, best, largest)]
                left = left[~self.below(left, np.full(len(left), largest / self.margin))]
        return best, largest

    def dominant_of(self, count: int) -> tuple[Any, Any]:
        """Of each of ``count`` equal parts of the matrices the index with the largest norm, and that norm squared."""
        if self.xp.name == "numpy":
            return self._one_part_after_the_other(count)
        xp, per = self.xp, len(self.matrices) // count
        everywhere = xp.arange(count * per, device=self.matrices.device)
        starts = everywhere[:count] * per
        first = starts + xp.argmax(xp.reshape(self.estimates, (count, per)), axis=1)
        known = squared_norms(self.matrices[first], xp)
        doubtful = ~self.below(everywhere, xp.repeat(known / self.margin, per))
        doubtful[first] = True
        left = xp.nonzero(doubtful)[0]
        values = squared_norms(self.matrices[left], xp)
        largest = -xp.least_by_group(-values, left // per, count)
        reach = left[values >= largest[left // per]]
        return reach[xp.searchsorted(reach, starts)], largest

    def _one_part_after_the_other(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        places, squares = [], []
        per = len(self.matrices) // count
        for first in range(0, len(self.matrices), per):
            part, rows = copy(self), slice(first, first + per)
            part.matrices, part._grams = self.matrices[rows], self._grams[rows]
            part.estimates, part._ceilings = self.estimates[rows], self._ceilings[rows]
            place, square = part.dominant()
            places.append(first + place)
            squares.append(square)
        return np.array(places, np.int64), np.array(squares)

    def _alike(self, index: NDArray[Any], best: int, largest: float) -> NDArray[np.bool_]:
        """Which of the matrices have the norm of another but for rounding: of few taps, those of all frequencies."""
        nearby = np.abs(self.estimates[index] - self.estimates[best]) <= 1e-9 * largest
        apart = np.linalg.norm(self._grams[index[nearby]] - self._grams[best], axis=(1, 2))
        nearby[nearby] = apart <= (self.margin - 1) * largest
        return nearby

    def below(self, index: Any, levels: Any) -> Any:
        """Which of the matrices at ``index`` surely have a squared norm below ``levels · margin``."""
        xp, below = self.xp, self._ceilings[index] <= levels
        left = xp.nonzero(~below & (self.estimates[index] < levels))[0]
        size = max(1, xp.at_once(levels) // (8 * self.size**2))
        for part in (left[first : first + size] for first in range(0, len(left), size)):
            below[part] = xp.exceed(levels[part], self._grams, index[part])
        return below


def _grams(matrices: Any, xp: Namespace) -> Any:
    """:func:`symbol.grams`, as many at a time as stay in the cache."""
    size = max(1, xp.at_once(matrices) // (4 * math.prod(matrices.shape[1:])))
    if len(matrices) <= size:
        return symbol.grams(matrices)
    side = min(matrices.shape[1:])
    found = xp.empty((len(matrices), side, side), dtype=matrices.dtype, device=matrices.device)
    for first in range(0, len(matrices), size):
        found[first : first + size] = symbol.grams(matrices[first : first + size])
    return found


class KnownNorms:
    """What :class:`NormTests` does for small matrices, which are all decomposed."""

    margin = 1.0

    def __init__(self, matrices: NDArray[Any]) -> None:
        self.matrices, self.estimates = matrices, squared_norms(matrices)

    def dominant_of(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        by_part = self.estimates.reshape(count, -1)
        places = np.argmax(by_part, axis=1) + by_part.shape[1] * np.arange(count)
        return places, self.estimates[places]

    def below(self, index: NDArray[Any], levels: NDArray[Any]) -> NDArray[np.bool_]:
        return self.estimates[index] < levels


def tests_of(matrices: Any, xp: Namespace) -> NormTests | KnownNorms:
    """The tests that cost least."""
    if xp.name == "numpy" and min(matrices.shape[-2:]) <= NormTests.SMALL:
        return KnownNorms(matrices)
    return NormTests(matrices, xp)


def gain(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Largest squared singular value of the operator of one kernel, ``‖C(x)‖₂²``.

    In NumPy most frequencies are discarded by a bound; where it is to be differentiated all are decomposed.
    """
    if xp.name != "numpy" or geometry.block_rank <= NormTests.SMALL:
        return xp.max(symbol.squared_singular_values(kernel, geometry, xp))
    return NormTests(symbol.of(kernel, geometry)).dominant()[1]


class NearbyGains:
    """:func:`gain` of kernels one after the other, of which many are near an earlier one.

    From a kernel to another at a distance ``d`` no norm of a block changes by more than ``√q d``, with the most taps
    ``q`` of a phase. So only those blocks are looked at that may have the largest norm, unless the kernel is too far.

    Parameters
    ----------
    geometry : Geometry
    """

    # Parts by which the norms of the blocks that are not looked at are smaller, and how many others are not too many.
    _SMALLER, _MOST = (0.03, 0.003), 64

    def __init__(self, geometry: Geometry) -> None:
        self.geometry, self._reach = geometry, math.sqrt(max(geometry.squares_per_phase))
        self._near: tuple[NDArray[Any], NDArray[Any], float] | None = None

    def gain(self, kernel: NDArray[Any]) -> float:
        """Largest squared singular value of the operator."""
        matrices = symbol.of(kernel, self.geometry)
        if self._near is not None:
            known, blocks, ceiling = self._near
            largest = NormTests(matrices[blocks]).dominant()[1]
            if math.sqrt(largest) >= ceiling + self._reach * float(np.linalg.norm(kernel - known)):
                return largest
        tests = NormTests(matrices)
        largest, blocks = tests.dominant()[1], np.arange(len(matrices))
        for part in self._SMALLER:
            level = largest * (1 - part) ** 2
            near = blocks[~tests.below(blocks, np.full(len(blocks), level))]
            if len(near) <= self._MOST:
                break
        self._near = np.array(kernel), near, math.sqrt(level * tests.margin)
        return largest


def dominant_blocks(kernels: Any, geometry: Geometry, xp: Namespace) -> tuple[Any, Any]:
    """The block with the largest norm of each of many kernels, shape ``(K,)``, and its matrix.

    Nothing is differentiated but the matrices.
    """
    plain = xp.detached(kernels)
    if geometry.block_rank == 1:
        blocks = autocorrelation.dominant_blocks(plain, geometry, xp)
    else:
        size = max(1, xp.at_once(plain) // (geometry.n_blocks * math.prod(geometry.block_shape)))
        blocks = xp.concatenate(
            [_dominant(plain[first : first + size], geometry, xp) for first in range(0, len(plain), size)], axis=0
        )
    owners = xp.arange(len(kernels), device=blocks.device)
    return blocks, symbol.at(kernels, owners, blocks, geometry, xp)


def _dominant(kernels: Any, geometry: Geometry, xp: Namespace) -> Any:
    """The block with the largest norm of each of some kernels."""
    matrices = xp.reshape(symbol.of(kernels, geometry, xp), (-1, *geometry.block_shape))
    return tests_of(matrices, xp).dominant_of(len(kernels))[0] % geometry.n_blocks


def gains(kernels: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Largest squared singular value of the operators of many kernels, shape ``(K,)``."""
    if geometry.block_rank == 1 and not xp.needs_gradient(kernels):
        return autocorrelation.gains(kernels, geometry, xp)
    matrices = dominant_blocks(kernels, geometry, xp)[1]
    if geometry.block_rank == 1:
        return symbol.energies(matrices, xp)
    return xp.singular_values(matrices)[..., 0] ** 2


def dominant_block(matrices: NDArray[Any]) -> tuple[int, float]:
    """Index of the matrix with the largest spectral norm in a stack, and that norm squared."""
    if min(matrices.shape[-2:]) > NormTests.SMALL:
        return NormTests(matrices).dominant()
    values = squared_norms(matrices)
    return int(np.argmax(values)), float(np.max(values))


def size_factor(geometry: Geometry) -> float:
    """Bound on how much the spectral norm of a kernel can grow when the grid does.

    Along an axis with ``N`` frequencies and taps at ``0 … k - 1`` the smaller of ``(1 - (k - 1)/N)^(-1/2)`` and
    ``1 / cos(π (k - 1) / 2N)`` (docs/theory.md, proposition 16).
    """
    factor = 1.0
    for offsets, n in zip(geometry.axis_offsets, geometry.grid, strict=True):
        step = math.gcd(*(int(o) for o in offsets)) or 1  # a dilated kernel is a smaller one on fewer frequencies
        degree, n = int(max(offsets)) // step, n // math.gcd(n, step)
        if degree >= n:  # taps that wrap around at this size and not at others
            return math.inf
        factor *= min((1 - degree / n) ** -0.5, 1 / math.cos(math.pi * degree / (2 * n)))
    return factor
