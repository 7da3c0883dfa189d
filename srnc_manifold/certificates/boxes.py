"""Reduce regime: bounds on parts of the atoms of a block, between two values of ``p = |uᵀu|``.

For real atoms, ``p = 1``, and the smallest that ``p`` can be is 0. In a part, ``γ²`` is almost a quadratic form in
``v`` alone, so that few eigenvalues bound what is convex in the hull of all atoms (docs/theory.md, proposition 26).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import caps
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.atoms import Level, as_level
from srnc_manifold.operators.geometry import Geometry

# The numbers of a part: κ, its ends, t, μ₁, μ₂, ω.
NUMBERS = 7

# Smallest eigenvalue of the matrix M that is inverted, relative to the largest.
_MARGIN = 1e-10


def box_bounds(
    matrices: NDArray[Any],
    blocks: NDArray[Any],
    shifts: NDArray[Any],
    geometry: Geometry,
    levels: Level | Array,
    numbers: Array,
) -> Array:
    """Lower bounds on ``‖z − a‖²`` over the caps of the atoms of a block with ``p`` between two ends.

    The bounds are for ``R`` pairs of a kernel and a block. A bound is zero for numbers that are not admissible.

    Parameters
    ----------
    matrices : complex array, shape ``(R, *block_shape)``
        Turned symbols of ``a``.
    blocks : integer array, shape ``(R,)``
    shifts : complex array, shape ``(R, *block_shape)``
        ``iT`` with real ``T``.
    numbers : array, shape ``(R, 7)``
        ``κ > 0``, the ends, ``t >= 0`` and the entries of ``M = [[μ₁, ω], [ω, μ₂]]``, a positive definite matrix.
    """
    frame = atoms.frame(geometry)
    valid, shifts, costs = caps.shift_costs(shifts, frame.spread[blocks])
    valid &= np.all(np.isfinite(numbers) & (np.abs(numbers) <= 1 / caps.TINY), axis=1)
    kappa, low, high, t, first, second, mixed = np.where(valid[:, None], numbers, 0.0).T
    trace, determinant = first + second, first * second - mixed**2
    valid &= (kappa > 0) & (t >= 0) & (first > 0) & (determinant > _MARGIN * trace**2)
    valid &= (costs == 0) | (t >= caps.TINY)
    kappa, t = np.where(valid, kappa, 1.0), np.where(valid, t, 0.0)
    inner = np.stack([np.stack([first, mixed], axis=1), np.stack([mixed, second], axis=1)], axis=1)
    inner = np.where(valid[:, None, None], inner, np.eye(2))
    real_form = _real_form(np.where(valid[:, None, None], matrices + shifts, 0.0))
    # B_Tᵀ (M ⊗ I)⁻¹ B_T, with the rows of B_T in two halves.
    halves = real_form.reshape(len(blocks), 2, -1, real_form.shape[2])
    form = np.einsum("rimp,rij,rjmq->rpq", halves, np.linalg.inv(inner), halves, optimize=True)
    taps, spread = frame.upper[blocks] + frame.lower[blocks], frame.upper[blocks] - frame.lower[blocks]
    place = np.arange(form.shape[1])
    largest = np.full(len(blocks), -np.inf)
    for p in (np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)):
        whole = form.copy()
        whole[:, place, place] += np.concatenate(
            [
                0.5 * (kappa[:, None] * (taps + sign * p[:, None] * spread))
                + 0.5 * (t * (1 - sign * p))[:, None] * spread
                for sign in (1.0, -1.0)
            ],
            axis=1,
        )
        size = 0.5 * (inner[:, 0, 0] * (1 + p) + inner[:, 1, 1] * (1 - p))
        largest = np.maximum(largest, size + np.linalg.eigvalsh(whole)[:, -1])
    largest = largest + np.where(costs > 0, costs / np.where(t > 0, t, 1.0), 0.0)
    # Rounding errors of the eigenvalues, and those of the symbol, which add to 2⟨a, G⟩.
    scale = np.einsum("rpp->r", form) + np.trace(inner, axis1=1, axis2=2) + (kappa + t) * np.max(taps, axis=1)
    order = form.shape[1]
    largest = largest * (1 + 4 * caps.ROUNDING) + 4 * caps.ROUNDING * (order * scale + 2 * geometry.n_taps**0.5)
    root, level = np.sqrt(1 + kappa * np.maximum(largest, 0.0)), np.sqrt(as_level(levels).value)
    cosine = (root - kappa * level) + 4 * caps.ROUNDING * (root + kappa * level)
    return np.where(valid, caps.lowered(2 - 2 * np.minimum(cosine, 1.0), NUMPY), 0.0)


def of_whole_blocks(blocks: NDArray[Any], numbers: Array, bounds: Array) -> Array:
    """The least bound of the parts of a block for all of its rows, or zeros if the parts do not cover ``[0, 1]``."""
    found = np.zeros(len(blocks))
    for block in np.unique(blocks):
        mine = np.flatnonzero(blocks == block)
        ends = np.clip(numbers[mine, 1:3][np.argsort(numbers[mine, 1])], 0.0, 1.0)
        reached = np.concatenate([[0.0], np.maximum.accumulate(ends[:, 1])])
        if np.all(ends[:, 0] <= reached[:-1]) and reached[-1] == 1.0:
            found[mine] = np.min(bounds[mine])
    return found


def _real_form(matrices: NDArray[Any]) -> Array:
    """``[[Re, −Im], [Im, Re]]``, the complex matrices as real ones of vectors of real and imaginary parts."""
    return np.concatenate(
        [
            np.concatenate([matrices.real, -matrices.imag], axis=2),
            np.concatenate([matrices.imag, matrices.real], axis=2),
        ],
        axis=1,
    )
