"""Limited-memory BFGS on the sphere, for the solvers that minimize smooth costs in turn."""

from __future__ import annotations

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.solvers.base import SphereRun

# Armijo's decrease, factor and number of shortenings; least curvature of a pair, relative to its length.
_DECREASE, _SHORTEN, _MAX_SHORTENINGS = 1e-4, 0.5, 40
_CURVATURE = 1e-10


def lbfgs(run: SphereRun, z: Array, *, tolerance: float, max_iterations: int, memory: int) -> tuple[Array, float, bool]:
    """Minimize the run's cost from ``z``.

    Two-loop recursion in the tangent space, pairs carried along by projection, pairs of too little curvature left out,
    backtracking line search: W. Huang, K. Gallivan, P.-A. Absil, SIAM J. Optim. 25 (2015), in its limited-memory form.

    Returns
    -------
    (array, float, bool)
        The last iterate, its Riemannian gradient norm, and whether the line search could still go on.
    """
    gradient = run.gradient(z)
    pairs: list[tuple[Array, Array]] = []
    for _ in range(max_iterations):
        norm = float(np.linalg.norm(gradient))
        if norm <= tolerance:
            break
        direction = -_inverse_hessian(gradient, pairs)
        if direction @ gradient > -1e-12 * norm * np.linalg.norm(direction):
            pairs, direction = [], -gradient
        moved = _search(run, z, direction, float(direction @ gradient), 1.0 if pairs else min(1.0, 0.1 / norm))
        if moved is None:
            if not pairs:
                return z, norm, False
            pairs = []
            continue
        step = _projected(moved - z, moved)
        new = run.gradient(moved)
        change = new - _projected(gradient, moved)
        carried = [(_projected(s, moved), _projected(y, moved)) for s, y in pairs]
        pairs = [pair for pair in carried if pair[0] @ pair[1] > _CURVATURE * (pair[0] @ pair[0])]
        if step @ change > _CURVATURE * (step @ step):
            pairs = [*pairs, (step, change)][-memory:]
        z, gradient = moved, new
    return z, float(np.linalg.norm(gradient)), True


def _inverse_hessian(vector: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """The two-loop recursion."""
    q, coefficients = np.array(vector), []
    for s, y in reversed(pairs):
        a = (s @ q) / (s @ y)
        coefficients.append(a)
        q = q - a * y
    if pairs:
        s, y = pairs[-1]
        q = q * ((s @ y) / (y @ y))
    for (s, y), a in zip(pairs, reversed(coefficients), strict=True):
        q = q + (a - (y @ q) / (s @ y)) * s
    return q


def _search(run: SphereRun, z: Array, direction: Array, slope: float, step: float) -> Array | None:
    """The first of ever shorter steps that decreases the cost by enough."""
    cost = run.cost_at(z)
    # Below the rounding errors of the cost a decrease cannot be seen.
    slack = 4 * np.finfo(float).eps * abs(cost)
    for _ in range(_MAX_SHORTENINGS):
        moved = z + step * direction
        moved = moved / np.linalg.norm(moved)
        if run.value(moved) <= cost + _DECREASE * step * slope + slack:
            return moved
        step *= _SHORTEN
    return None


def _projected(vector: Array, z: Array) -> Array:
    return vector - (vector @ z) * z
