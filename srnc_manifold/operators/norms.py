"""Spectral norms of many matrices, most of which are not computed."""

from __future__ import annotations

import contextlib
import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.operators import autocorrelation, symbol
from srnc_manifold.operators.geometry import Geometry

# Squarings of a Gram matrix, and what their roundings may add to the logarithm of a norm.
_SQUARINGS, _MARGIN = 6, 1e-10


def squared_norms(matrices: NDArray[Any]) -> NDArray[Any]:
    """Squared spectral norms of stacked matrices."""
    if min(matrices.shape[-2:]) == 1:
        return symbol.energies(matrices)
    return np.linalg.svd(matrices, compute_uv=False)[..., 0] ** 2


class NormTests:
    """Which of many matrices have a spectral norm above a level, at a fraction of the cost of their decompositions.

    ``σ₁(X)² < μ`` if and only if ``μ I − X X*`` is positive definite, which a Cholesky factorization tells. Where
    ``‖X X*‖_F < μ`` already, as for most matrices of trained layers, none is needed.

    Parameters
    ----------
    matrices : complex array, shape ``(n, rows, columns)``
    """

    #: Below this size decomposing a stack of matrices costs less than factorizing one after the other.
    SMALL = 12

    def __init__(self, matrices: NDArray[Any]) -> None:
        self.matrices, self.size = matrices, min(matrices.shape[-2:])
        adjoints = matrices.conj().swapaxes(-1, -2)
        self._grams = matrices @ adjoints if matrices.shape[-2] <= matrices.shape[-1] else adjoints @ matrices
        # A factorization is exact for a matrix that differs by this part of the level (Higham 2002, theorem 10.3).
        self.margin = 1 + 2.0**-50 * (self.size + 4) ** 1.5

    @cached_property
    def estimates(self) -> NDArray[Any]:
        """Lower bounds on the squared norms by a few steps of power iteration, each from the same vector."""
        phase = np.arange(self.size) * (0.5 * np.sqrt(5.0) - 0.5)
        vectors = np.tile(np.exp(2j * np.pi * phase)[:, None], (len(self._grams), 1, 1))
        norms = np.zeros((len(vectors), 1, 1))
        for _ in range(4):
            sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = self._grams @ (vectors / np.where(sizes > 0, sizes, 1.0))
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return norms[:, 0, 0]

    @cached_property
    def _ceilings(self) -> NDArray[Any]:
        """Upper bounds on the squared norms: ``‖X X*‖_F``, the square of Schatten's 4-norm."""
        entries = self._grams.view(float)
        return np.sqrt(np.einsum("ijk,ijk->i", entries, entries))

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

    def _alike(self, index: NDArray[Any], best: int, largest: float) -> NDArray[np.bool_]:
        """Which of the matrices have the norm of another but for rounding: of few taps, those of all frequencies."""
        nearby = np.abs(self.estimates[index] - self.estimates[best]) <= 1e-9 * largest
        apart = np.linalg.norm(self._grams[index[nearby]] - self._grams[best], axis=(1, 2))
        nearby[nearby] = apart <= (self.margin - 1) * largest
        return nearby

    def below(self, index: NDArray[Any], levels: NDArray[Any]) -> NDArray[Any]:
        """Which of the matrices at ``index`` surely have a squared norm below ``levels · margin``."""
        diagonal = np.arange(self.size)
        below = self._ceilings[index] <= levels
        for k in np.flatnonzero(~below):
            shifted = -self._grams[index[k]]
            shifted[diagonal, diagonal] += levels[k]
            with contextlib.suppress(np.linalg.LinAlgError):
                np.linalg.cholesky(shifted)
                below[k] = True
        return below


def gain(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Largest squared singular value of the operator of one kernel, ``‖C(x)‖₂²``.

    In NumPy most frequencies are discarded by a bound; where it is to be differentiated all are decomposed.
    """
    if xp.name != "numpy" or geometry.block_rank <= NormTests.SMALL:
        return xp.max(symbol.squared_singular_values(kernel, geometry, xp))
    return NormTests(symbol.of(kernel, geometry)).dominant()[1]


def dominant_blocks(kernels: Any, geometry: Geometry, xp: Namespace) -> tuple[Any, Any]:
    """The block with the largest norm of each of many kernels, shape ``(K,)``, and its matrix.

    Nothing is differentiated but the matrices.
    """
    plain = xp.detached(kernels)
    if geometry.block_rank == 1:
        blocks = autocorrelation.dominant_blocks(plain, geometry, xp)
    else:
        size = max(1, autocorrelation.CHUNK // (geometry.n_blocks * math.prod(geometry.block_shape)))
        parts = [plain[first : first + size] for first in range(0, len(plain), size)]
        blocks = xp.concatenate([_dominant(symbol.of(part, geometry, xp), xp) for part in parts], axis=0)
    owners = xp.constant(np.arange(len(kernels)), blocks)
    return blocks, symbol.at(kernels, owners, blocks, geometry, xp)


def _dominant(matrices: Any, xp: Namespace) -> Any:
    """Place of the matrix with the largest norm, shape ``(K,)`` from ``(K, n_blocks, *block_shape)``."""
    if xp.name == "numpy":
        return np.array([dominant_block(of_one)[0] for of_one in matrices], dtype=np.int64)
    ceilings = _gram_bounds(matrices, xp)
    size = min(matrices.shape[-2:])
    floors = xp.max(ceilings, axis=1) - math.log(size) / 2 ** (_SQUARINGS + 1)
    owners, blocks = xp.nonzero(ceilings >= floors[:, None] - _MARGIN)
    values = xp.singular_values(matrices[owners, blocks])[:, 0]
    largest = -xp.least_by_group(-values, owners, len(matrices))
    there = xp.nonzero(values >= largest[owners])[0]
    return blocks[there[xp.searchsorted(owners[there], xp.constant(np.arange(len(matrices)), owners))]]


def _gram_bounds(matrices: Any, xp: Namespace) -> Any:
    """Upper bounds on the logarithms of the squared norms, products only: of ``‖(X X*)^(2ᵏ)‖_F^(1 / 2ᵏ)``.

    They exceed them by at most ``log(size) / 2ᵏ⁺¹``.
    """
    adjoints = xp.conj(xp.swapaxes(matrices, -1, -2))
    grams = xp.matmul(matrices, adjoints) if matrices.shape[-2] <= matrices.shape[-1] else xp.matmul(adjoints, matrices)
    logarithms = 0.0
    for k in range(_SQUARINGS + 1):
        sizes = xp.sqrt(xp.sum(xp.sum(xp.real(grams) ** 2 + xp.imag(grams) ** 2, axis=-1), axis=-1))
        logarithms = logarithms + xp.log(xp.maximum(sizes, 0.0 * sizes + 1e-300)) / 2**k
        if k < _SQUARINGS:
            scaled = grams / xp.where(sizes > 0, sizes, 1.0)[..., None, None]
            grams = xp.matmul(scaled, scaled)
    return logarithms


def gains(kernels: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Largest squared singular value of the operators of many kernels, shape ``(K,)``."""
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
