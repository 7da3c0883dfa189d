"""Backtracking line search on a product of spheres."""

from __future__ import annotations

from srnc_manifold.numerics import Array
from srnc_manifold.solvers.oracle import Oracle

# Required decrease as a fraction of the decrease that the slope predicts; factor that shortens a step; number of times.
_DECREASE, _SHORTEN, _MAX_SHORTENINGS = 1e-4, 0.5, 60


def backtrack(oracle: Oracle, z: Array, along: Array, step: float, ceiling: float, slope: float) -> float | None:
    """Shorten a step until the cost is sufficiently below a ceiling (Armijo). Return its length, or None on failure."""
    for _ in range(_MAX_SHORTENINGS):
        if oracle.value(oracle.spheres.retracted(z, step * along)) <= ceiling + _DECREASE * step * slope:
            return step
        step *= _SHORTEN
    return None
