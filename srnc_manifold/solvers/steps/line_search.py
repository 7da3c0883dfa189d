"""The line search along a product of spheres."""

from __future__ import annotations

from srnc_manifold.numerics import Array
from srnc_manifold.solvers.oracle import Oracle

# Decrease asked for, as a part of what the slope promises; factor by which a step is shortened; how often.
_DECREASE, _SHORTEN, _MAX_SHORTENINGS = 1e-4, 0.5, 60


def backtrack(oracle: Oracle, z: Array, along: Array, step: float, ceiling: float, slope: float) -> float | None:
    """The first of ever shorter steps after which the cost is below a ceiling by enough (Armijo); None if none is."""
    for _ in range(_MAX_SHORTENINGS):
        if oracle.value(oracle.spheres.retracted(z, step * along)) <= ceiling + _DECREASE * step * slope:
            return step
        step *= _SHORTEN
    return None
