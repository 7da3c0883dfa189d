"""Reduce regime: how near to ``a`` a point of the caps can be, block by block (docs/theory.md, sections 4 to 8).

Three bounds on ``‖z − a‖²``, of unit vectors ``z`` with ``‖Z_b‖₂² >= c`` in some block: the Lemma's closed form for
every block; for a block of rank one the dual of the S-lemma; for any other the Lemma after a shift of the symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms
from srnc_manifold.operators.atoms import Level, as_level
from srnc_manifold.operators.geometry import Geometry

# A cap whose largest atom is shorter than the level by more than rounding is empty.
EMPTY = 1e-12

# Multipliers beyond it, and beyond its inverse, prove nothing that matters and overflow.
_TINY = 1e-100

# Errors of squared distances of size one, of the symbol and of a spectral norm, in ulps.
_ROUNDING = 2.0**-52


@dataclass(frozen=True)
class CapsCertificate:
    """Multipliers of the blocks that the Lemma alone does not exclude.

    Attributes
    ----------
    blocks : integer array, shape ``(R,)``
    values : array
        For blocks of rank one ``(η, τ)``, shape ``(R, 2)``; otherwise shifts ``T``, complex, ``(R, *block_shape)``.
    """

    blocks: NDArray[np.int64]
    values: NDArray

    def squared_distance(self, direction: Array, geometry: Geometry, level: Level | float) -> float:
        """Lower bound on ``‖z − a‖²`` over all blocks, from dense decompositions of every one of them."""
        matrices = atoms.turned_symbol(direction, geometry)
        heights = safe_heights(np.sqrt(norms.squared_norms(matrices)), geometry)
        bounds = lemma(heights, geometry, level)
        if len(self.blocks):
            sharpen = rank_one_bounds if geometry.block_rank == 1 else shifted_bounds
            levels = repeated(level, len(self.blocks))
            sharper = sharpen(matrices[self.blocks], self.blocks, self.values, geometry, levels)
            bounds[self.blocks] = np.maximum(bounds[self.blocks], sharper)
        return float(np.min(bounds))


def repeated(level: Level | float, count: int) -> Level:
    """The same level for several blocks."""
    level = as_level(level)
    return Level(np.full(count, level.value), np.full(count, level.rest))


def safe_heights(heights: Any, geometry: Geometry) -> Any:
    """Computed spectral norms of the symbol of a unit vector, raised above their rounding errors."""
    return heights * (1 + 4 * _ROUNDING * sum(geometry.block_shape)) + 4 * _ROUNDING * geometry.n_taps**0.5


def lemma(heights: Any, geometry: Geometry, levels: Any, xp: Namespace = NUMPY) -> Any:
    """The Lemma's lower bounds on ``‖z − a‖²``; infinite where the caps of a block are empty.

    Parameters
    ----------
    heights : array, shape ``(*batch, n_blocks)``
        Upper bounds on ``σ₁(A_b)``.
    levels : array, shape ``(*batch,)``
        ``c``.
    """
    return lemma_of(heights, xp.constant(atoms.frame(geometry).safe_top, heights), as_level(levels)[..., None], xp)


def lemma_of(heights: Any, top: Any, levels: Any, xp: Namespace) -> Any:
    """The Lemma for blocks whose largest ``γ²``, raised above rounding errors, are given."""
    levels = as_level(levels)
    distances = atoms.squared_distance(heights, top, levels.at_most(top, xp), xp=xp)
    return xp.where(top >= levels.value * (1 - EMPTY), lowered(distances, xp), np.inf)


def needed_heights(squared_distances: Any, levels: Any, top: Any, xp: Namespace) -> Any:
    """The Lemma turned round: what ``σ₁(A_b)`` must be for points within a distance; zero where it may be anything."""
    cosine, sine = angle(squared_distances, xp)
    levels = as_level(levels)
    deep = xp.sqrt(xp.maximum(levels.below(top), 0.0 * top))
    return xp.maximum(cosine * xp.sqrt(levels.value) - sine * deep, 0.0 * deep)


def angle(squared_distances: Any, xp: Namespace) -> tuple[Any, Any]:
    """Cosine and sine of the angle between unit vectors at a distance."""
    sine = xp.sqrt(squared_distances * xp.maximum(1 - 0.25 * squared_distances, 0.0 * squared_distances))
    return 1 - 0.5 * squared_distances, sine


def rank_one_bounds(
    matrices: Any, blocks: Any, multipliers: Any, geometry: Geometry, levels: Any, xp: Namespace = NUMPY
) -> Any:
    """Weak duality of ``max ⟨a, z⟩`` subject to ``‖z‖ = 1``, ``zᵀBz >= c``, with ``θ = η(1 − τ)/λ₁``.

    ``⟨a, z⟩ <= ½ aᵀ(ηI − θB)⁻¹a + ½(η − θc)`` for every ``θ >= 0`` and ``η > θλ₁``, that is, every ``η > 0`` and
    ``0 < τ <= 1``; of ``R`` pairs of a kernel and a block. Zero for multipliers outside that range.
    """
    levels = as_level(levels)
    eta, tau = multipliers[:, 0], multipliers[:, 1]
    valid = (eta >= _TINY) & (eta <= 1 / _TINY) & (tau >= _TINY) & (tau <= 1)
    eta, tau = xp.where(valid, eta, 1.0), xp.where(valid, tau, 1.0)
    frame = atoms.frame(geometry)
    upper, lower, largest = (xp.constant(values, eta)[blocks] for values in (frame.upper, frame.lower, frame.top))
    ceiling = xp.constant(frame.safe_top, eta)[blocks]
    seen = 0.0 * eta
    used = 0.0 * eta
    for values, part in ((upper, xp.real(matrices)), (lower, xp.imag(matrices))):
        squares = xp.where(values > 0, xp.sum(part**2, axis=1) / xp.where(values > 0, values, 1.0), 0.0)
        used = used + xp.sum(squares, axis=1)
        span = (largest[:, None] - values) + tau[:, None] * values  # without losing a tiny τ
        seen = seen + xp.sum(squares / span, axis=1) * largest
    rest = xp.maximum(1.0 - used, 0.0 * used) + 8 * _ROUNDING
    room = xp.maximum(levels.below(ceiling), 0.0 * eta)
    half = (seen + rest) / eta + eta * (room + tau * levels.value) / largest
    return xp.where(valid, lowered(2.0 - half, xp), 0.0)


def shifted_bounds(
    matrices: NDArray, blocks: NDArray, shifts: NDArray, geometry: Geometry, levels: Level | Array
) -> Array:
    """The Lemma for the symbol ``A + T`` and a slack that pays for ``T`` (docs/theory.md, proposition 6).

    Of ``R`` pairs of a kernel and a block; zero for a shift that is not finite or not zero where it must be.
    """
    frame = atoms.frame(geometry)
    top = frame.safe_top[blocks]
    size = np.max(np.abs(shifts.real) + np.abs(shifts.imag), axis=(1, 2))
    valid = size <= 1 / _TINY  # false for NaN
    shifts = np.where(valid[:, None, None], shifts, 0.0)
    slack = np.zeros(len(blocks))
    with np.errstate(divide="ignore", invalid="ignore"):
        for part, weights in ((shifts.real, frame.upper[blocks]), (shifts.imag, frame.lower[blocks])):
            squares = np.sum(part**2, axis=1)
            slack += np.sum(np.where(squares == 0, 0.0, squares / (frame.top[blocks][:, None] - weights)), axis=1)
    valid &= slack <= 1 / _TINY  # infinite where a shift must be zero and is not
    safe = np.where(valid[:, None, None], matrices + shifts, 0.0)
    heights = safe_heights(np.linalg.svd(safe, compute_uv=False)[:, 0], geometry)
    level = as_level(levels).at_most(top, NUMPY)
    bounds = atoms.squared_distance(heights, top, level, np.where(valid, slack, 0.0))
    return np.where(valid, lowered(bounds, NUMPY), 0.0)


def lowered(squared_distances: Any, xp: Namespace) -> Any:
    """A computed lower bound, lowered by its rounding errors."""
    values = squared_distances * (1 - 1e-12) - 8 * _ROUNDING
    return xp.where(values > 0, values, 0.0)
