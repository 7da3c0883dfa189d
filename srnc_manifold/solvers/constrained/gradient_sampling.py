"""Riemannian gradient sampling (Hosseini and Uschmajew, 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.costs import Cost
from srnc_manifold.costs.base import require_cost
from srnc_manifold.numerics import Array, shortest_in_hull
from srnc_manifold.problem import Problem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.optimality import nonsmooth_costs
from srnc_manifold.solvers.oracle import ConstrainedOracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.line_search import backtrack
from srnc_manifold.validation import require_count, require_positive

# Radius and tolerance are multiplied by this factor when the convex hull of the gradients comes close to zero.
_SHRINK = 0.1

# Largest number of entries of a point: each step computes as many gradients as a point has entries.
_MAX_SIZE = 100


@dataclass(frozen=True)
class GradientSampling(SphereSolver):
    """Riemannian gradient sampling for the exact maximum.

    S. Hosseini, A. Uschmajew, *A Riemannian gradient sampling algorithm for nonsmooth optimization on manifolds*, SIAM
    J. Optim. 27 (2017). Gradients are computed at random points near the iterate and transported by projection. The
    step goes along the shortest vector in their convex hull. If this vector is short, the points are drawn closer to
    the iterate. The default cost is the exact penalty ``‖C(x) − C(a)‖²/‖C(a)‖² + p |max σ²/c − 1|``.

    The history has the column ``radius``.

    Parameters
    ----------
    cost : Cost, optional
    penalty : float
        ``p``.
    radius, last_radius : float
        The first and last radius of the ball in the tangent space from which points are drawn.
    tolerance : float
        A vector of at most this length counts as short, for the first radius. The tolerance decreases with the radius.
    max_iterations : int

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> solver = srnc.solvers.GradientSampling()
    >>> result = srnc.solve(problem, solver, rng=0, budget=srnc.Budget(max_evaluations=200))
    >>> result.n_evaluations
    200
    """

    cost: Cost | None = None
    penalty: float = 3.0
    radius: float = 1e-1
    last_radius: float = 1e-7
    tolerance: float = 1e-1
    max_iterations: int = 300

    def __post_init__(self) -> None:
        if self.cost is not None:
            require_cost(self.cost)
        require_positive(
            penalty=self.penalty, radius=self.radius, last_radius=self.last_radius, tolerance=self.tolerance
        )
        require_count(max_iterations=self.max_iterations)

    def supports(self, problem: Problem) -> tuple[bool, str]:
        if problem.spheres.size > _MAX_SIZE:
            return False, f"it needs {problem.spheres.size} gradients in every step; the limit is {_MAX_SIZE} entries"
        return super().supports(problem)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        oracle = ConstrainedOracle(run, nonsmooth_costs(run.problem, self.penalty) if self.cost is None else self.cost)
        z, radius, tolerance = oracle.start, self.radius, self.tolerance
        for _ in range(self.max_iterations):
            oracle.parameters = {"radius": radius}
            gradient = oracle.gradient(z)
            samples = [self._sample(oracle, z, radius, run.rng) for _ in range(z.size)]
            direction = -shortest_in_hull(np.stack([gradient, *samples]))
            length = float(np.linalg.norm(direction))
            step = None
            if length > tolerance:
                step = backtrack(oracle, z, direction / length, radius, oracle.cost_at(z), -length)
            if step is not None:
                z = oracle.spheres.retracted(z, step * direction / length)
                continue
            if radius <= self.last_radius:
                text = f"the convex hull of the gradients within {radius:.0e} has distance {length:.1e} from zero"
                return (Status.CONVERGED if length <= tolerance else Status.STALLED), text
            radius, tolerance = max(_SHRINK * radius, self.last_radius), _SHRINK * tolerance
        return Status.LIMIT, f"{self.max_iterations} iterations, radius {radius:.0e}"

    def _sample(self, oracle: ConstrainedOracle, z: Array, radius: float, rng: np.random.Generator) -> Array:
        """The gradient at a random point near ``z``, as a tangent vector at ``z``."""
        tangent = oracle.spheres.projected(rng.standard_normal(z.size), z)
        tangent *= radius * rng.random() ** (1 / oracle.spheres.dimension) / np.linalg.norm(tangent)
        return oracle.spheres.projected(oracle.gradient(oracle.spheres.retracted(z, tangent), iterate=False), z)
