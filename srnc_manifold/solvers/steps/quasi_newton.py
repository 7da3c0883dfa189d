"""Limited-memory BFGS on a product of spheres, also for solvers that minimize several smooth costs in sequence."""

from __future__ import annotations

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.solvers.oracle import Oracle
from srnc_manifold.solvers.steps.line_search import backtrack

# The method stops after this many steps that decrease neither the cost nor the least norm of the gradient.
IDLE = 5

# Least curvature of a pair that is kept, relative to the squared length of its step.
CURVATURE = 1e-10


def lbfgs(oracle: Oracle, z: Array, *, tolerance: float, max_iterations: int, memory: int) -> tuple[Array, float, bool]:
    """Minimize the oracle's cost, starting from ``z``.

    The method uses the two-loop recursion in the tangent space and a backtracking line search. Pairs are transported by
    projection, and pairs with too little curvature are left out. Source: W. Huang, K. Gallivan, P.-A. Absil, SIAM J.
    Optim. 25 (2015), in its limited-memory form.

    Returns
    -------
    (array, float, bool)
        The last iterate, its Riemannian gradient norm, and whether the method could still make progress.
    """
    projected, gradient = oracle.spheres.projected, oracle.gradient(z)
    pairs: list[tuple[Array, Array]] = []
    least, idle = np.inf, 0
    for _ in range(max_iterations):
        norm = float(np.linalg.norm(gradient))
        if norm <= tolerance:
            break
        idle, least = (0, norm) if norm < least else (idle + 1, least)
        direction = -_inverse_hessian(gradient, pairs)
        if direction @ gradient > -1e-12 * norm * np.linalg.norm(direction):
            pairs, direction = [], -gradient
        cost = oracle.cost_at(z)
        # A decrease smaller than the rounding errors of the cost cannot be detected.
        ceiling = cost + 4 * np.finfo(float).eps * abs(cost)
        first = 1.0 if pairs else min(1.0, 0.1 / norm)
        length = backtrack(oracle, z, direction, first, ceiling, float(direction @ gradient))
        if length is None:
            if not pairs:
                return z, norm, False
            pairs = []
            continue
        moved = oracle.spheres.retracted(z, length * direction)
        if oracle.cost_at(moved) < cost:
            idle = 0
        elif idle > IDLE:
            return z, norm, False
        step = projected(moved - z, moved)
        new = oracle.gradient(moved)
        change = new - projected(gradient, moved)
        carried = [(projected(s, moved), projected(y, moved)) for s, y in pairs]
        pairs = [pair for pair in carried if pair[0] @ pair[1] > CURVATURE * (pair[0] @ pair[0])]
        if step @ change > CURVATURE * (step @ step):
            pairs = [*pairs, (step, change)][-memory:]
        z, gradient = moved, new
    return z, float(np.linalg.norm(gradient)), True


def _inverse_hessian(vector: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """Approximate inverse Hessian times a vector, by the two-loop recursion."""
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
