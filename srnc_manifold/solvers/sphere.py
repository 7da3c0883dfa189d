"""The unit sphere as a manifold: projection, retraction and the line search along it."""

from __future__ import annotations

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.solvers.base import SphereRun

# Decrease asked for, as a part of what the slope promises; factor by which a step is shortened; how often.
_DECREASE, _SHORTEN, _MAX_SHORTENINGS = 1e-4, 0.5, 60


def projected(vector: Array, z: Array) -> Array:
    """Part of a vector in the tangent space of the sphere at ``z`` (paper, (18))."""
    return vector - (vector @ z) * z


def retracted(z: Array, tangent: Array) -> Array:
    """The point of the sphere that a tangent vector leads to (paper, (19))."""
    moved = z + tangent
    return moved / np.linalg.norm(moved)


def backtrack(run: SphereRun, z: Array, along: Array, step: float, ceiling: float, slope: float) -> float | None:
    """The first of ever shorter steps after which the cost is below a ceiling by enough (Armijo); None if none is."""
    for _ in range(_MAX_SHORTENINGS):
        if run.value(retracted(z, step * along)) <= ceiling + _DECREASE * step * slope:
            return step
        step *= _SHORTEN
    return None
