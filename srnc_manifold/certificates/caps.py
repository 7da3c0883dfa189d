"""Reduce regime: lower bounds on the distance from ``a`` to the caps, block by block (docs/theory.md, sections 4 to 8).

There are several bounds on ``‖z − a‖²`` for unit vectors ``z`` with ``‖Z_b‖₂² >= c`` in some block: the closed form of
the Lemma, for every block; the dual of the S-lemma, for a block of rank one; and for any other block the Lemma after a
shift of the symbol, a shift together with weights of the columns, and bounds on parts of the atoms
(:mod:`srnc_manifold.certificates.boxes`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.atoms import Level, as_level
from srnc_manifold.operators.geometry import Geometry

# A cap is empty if its largest atom is shorter than the level by more than this rounding error.
EMPTY = 1e-12

# Multipliers below this number, or above its inverse, give no useful bound and could overflow.
TINY = 1e-100

# One ulp, the unit of the errors of squared distances of size one, of the symbol and of a spectral norm.
ROUNDING = 2.0**-52


def repeated(level: Level | float, count: int) -> Level:
    """The same level for several blocks."""
    level = as_level(level)
    return Level(np.full(count, level.value), np.full(count, level.rest))


def safe_heights(heights: Any, geometry: Geometry) -> Any:
    """Upper bounds on the spectral norms of the symbol of a unit vector: computed values plus their rounding errors."""
    return heights * (1 + 4 * ROUNDING * sum(geometry.block_shape)) + 4 * ROUNDING * geometry.n_taps**0.5


def lemma(heights: Any, geometry: Geometry, levels: Any, xp: Namespace = NUMPY) -> Any:
    """The Lemma's lower bounds on ``‖z − a‖²``. They are infinite for blocks whose caps are empty.

    Parameters
    ----------
    heights : array, shape ``(*batch, n_blocks)``
        Upper bounds on ``σ₁(A_b)``.
    levels : array, shape ``(*batch,)``
        ``c``.
    """
    return lemma_of(heights, xp.constant(atoms.frame(geometry).safe_top, heights), as_level(levels)[..., None], xp)


def lemma_of(heights: Any, top: Any, levels: Any, xp: Namespace) -> Any:
    """The Lemma for blocks with given upper bounds ``top`` on their largest ``γ²``."""
    levels = as_level(levels)
    distances = atoms.squared_distance(heights, top, levels.at_most(top, xp), xp=xp)
    return xp.where(top >= levels.value * (1 - EMPTY), lowered(distances, xp), np.inf)


def needed_heights(squared_distances: Any, levels: Any, top: Any, xp: Namespace) -> Any:
    """The converse use of the Lemma: the least ``σ₁(A_b)`` for which a block can have points within a given distance.

    It is zero if every value of ``σ₁(A_b)`` allows such points.
    """
    cosine, sine = angle(squared_distances, xp)
    levels = as_level(levels)
    deep = xp.sqrt(xp.maximum(levels.below(top), 0.0 * top))
    return xp.maximum(cosine * xp.sqrt(levels.value) - sine * deep, 0.0 * deep)


def angle(squared_distances: Any, xp: Namespace) -> tuple[Any, Any]:
    """Cosine and sine of the angle between unit vectors at a given squared distance."""
    sine = xp.sqrt(squared_distances * xp.maximum(1 - 0.25 * squared_distances, 0.0 * squared_distances))
    return 1 - 0.5 * squared_distances, sine


def rank_one_bounds(
    matrices: Any, blocks: Any, multipliers: Any, geometry: Geometry, levels: Any, xp: Namespace = NUMPY
) -> Any:
    """Lower bounds on ``‖z − a‖²`` from weak duality, for ``R`` pairs of a kernel and a block of rank one.

    The problem is ``max ⟨a, z⟩`` subject to ``‖z‖ = 1`` and ``zᵀBz >= c``, with ``θ = η(1 − τ)/λ₁``. It satisfies
    ``⟨a, z⟩ <= ½ aᵀ(ηI − θB)⁻¹a + ½(η − θc)`` for every ``θ >= 0`` and ``η > θλ₁``, that is, for every ``η > 0`` and
    ``0 < τ <= 1``. The bound is zero for multipliers outside this range.
    """
    levels = as_level(levels)
    eta, tau = multipliers[:, 0], multipliers[:, 1]
    valid = (eta >= TINY) & (eta <= 1 / TINY) & (tau >= TINY) & (tau <= 1)
    eta, tau = xp.where(valid, eta, 1.0), xp.where(valid, tau, 1.0)
    frame = atoms.frame(geometry)
    upper, lower, largest = (xp.constant(values, eta)[blocks] for values in (frame.upper, frame.lower, frame.top))
    ceiling = xp.constant(frame.safe_top, eta)[blocks]
    seen = 0.0 * eta
    used = 0.0 * eta
    for values, part in ((upper, xp.real(matrices)), (lower, xp.imag(matrices))):
        squares = xp.where(values > 0, xp.sum(part**2, axis=1) / xp.where(values > 0, values, 1.0), 0.0)
        used = used + xp.sum(squares, axis=1)
        span = (largest[:, None] - values) + tau[:, None] * values  # in this order a tiny τ is not lost to rounding
        seen = seen + xp.sum(squares / span, axis=1) * largest
    rest = xp.maximum(1.0 - used, 0.0 * used) + 8 * ROUNDING
    room = xp.maximum(levels.below(ceiling), 0.0 * eta)
    half = (seen + rest) / eta + eta * (room + tau * levels.value) / largest
    return xp.where(valid, lowered(2.0 - half, xp), 0.0)


def shifted_bounds(
    matrices: NDArray[Any], blocks: NDArray[Any], shifts: NDArray[Any], geometry: Geometry, levels: Level | Array
) -> Array:
    """Lower bounds from the Lemma for the symbol ``A + T``, with a slack that accounts for ``T``.

    Source: docs/theory.md, proposition 6. The bounds are for ``R`` pairs of a kernel and a block. A bound is zero if
    its shift is not finite, or has a nonzero entry where it must be zero.
    """
    frame = atoms.frame(geometry)
    top = frame.safe_top[blocks]
    valid = _usable(shifts)
    shifts = np.where(valid[:, None, None], shifts, 0.0)
    slack = np.zeros(len(blocks))
    with np.errstate(divide="ignore", invalid="ignore"):
        for part, weights in ((shifts.real, frame.upper[blocks]), (shifts.imag, frame.lower[blocks])):
            squares = np.sum(part**2, axis=1)
            slack += np.sum(np.where(squares == 0, 0.0, squares / (frame.top[blocks][:, None] - weights)), axis=1)
    valid &= slack <= 1 / TINY  # infinite if an entry of the shift must be zero and is not
    safe = np.where(valid[:, None, None], matrices + shifts, 0.0)
    heights = safe_heights(np.linalg.svd(safe, compute_uv=False)[:, 0], geometry)
    level = as_level(levels).at_most(top, NUMPY)
    bounds = atoms.squared_distance(heights, top, level, np.where(valid, slack, 0.0))
    return np.where(valid, lowered(bounds, NUMPY), 0.0)


def weighted_bounds(
    matrices: NDArray[Any],
    blocks: NDArray[Any],
    shifts: NDArray[Any],
    geometry: Geometry,
    levels: Level | Array,
    rests: Array,
) -> Array:
    """Lower bounds from the symbol ``A + T`` with weighted columns; ``T`` is imaginary.

    Source: docs/theory.md, proposition 25. The bounds are for ``R`` pairs of a kernel and a block. A bound is zero if
    its shift is not finite, has a real part, or a nonzero entry where it must be zero.

    Parameters
    ----------
    rests : array, shape ``(R,)``
        ``1 − τ · top``, in which a ``τ`` near its limit ``1 / top`` has all its digits; between 0 and 1.
    """
    frame = atoms.frame(geometry)
    top, upper = frame.safe_top[blocks], frame.safe_upper[blocks]
    valid, shifts, slack = shift_costs(shifts, frame.spread[blocks])
    valid &= (rests >= TINY) & (rests <= 1)
    rests = np.where(valid, rests, 1.0)
    tau = (1 - rests) / top
    scales = 1 / np.sqrt(rests[:, None] + tau[:, None] * (top[:, None] - upper))
    weighted = (matrices + shifts) * scales[:, None, :]
    largest = np.max(scales, axis=1)
    heights = largest * safe_heights(np.linalg.svd(weighted, compute_uv=False)[:, 0] / largest, geometry)
    level = as_level(levels).at_most(top, NUMPY)
    spare = rests + tau * np.maximum(level.below(top), 0.0)  # 1 − τc
    sine = tau * level.value - spare * (tau * heights**2 + slack) * (1 + 16 * ROUNDING)
    sine = np.clip(sine, 0.0, 1.0)  # sin² of the least angle
    return np.where(valid, lowered(2 * sine / (1 + np.sqrt(1 - sine)), NUMPY), 0.0)


def shift_costs(shifts: NDArray[Any], spread: Array) -> tuple[NDArray[np.bool_], NDArray[Any], Array]:
    """Which imaginary shifts are admissible, these (zeros for the others), and ``Σ Im(T)² / (upper − lower)``."""
    valid = _usable(shifts) & ~np.any(shifts.real, axis=(1, 2))
    shifts = np.where(valid[:, None, None], shifts, 0.0)
    squares = np.sum(shifts.imag**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = np.sum(np.where(squares == 0, 0.0, squares / spread), axis=1)
    valid &= costs <= 1 / TINY  # infinite if an entry of the shift must be zero and is not
    return valid, np.where(valid[:, None, None], shifts, 0.0), np.where(valid, costs, 0.0)


def _usable(shifts: NDArray[Any]) -> NDArray[np.bool_]:
    return np.max(np.abs(shifts.real) + np.abs(shifts.imag), axis=(1, 2)) <= 1 / TINY  # false for NaN


def lowered(squared_distances: Any, xp: Namespace) -> Any:
    """A computed lower bound minus its rounding error."""
    values = squared_distances * (1 - 1e-12) - 8 * ROUNDING
    return xp.where(values > 0, values, 0.0)
