"""The paper's Riemannian gradient descent, also with other step rules and momentum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.costs.base import require_cost
from srnc_manifold.numerics import Array
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.oracle import Oracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.line_search import backtrack
from srnc_manifold.spheres import Spheres
from srnc_manifold.validation import require_choice, require_count, require_nonnegative, require_positive

STEP_RULES = ("fixed", "armijo", "barzilai-borwein")

# A Barzilai-Borwein step must end below the largest cost of this many iterates; and the range of its steps.
_MEMORY, _SHORTEST, _LONGEST = 10, 1e-12, 1e6


@dataclass(frozen=True)
class GradientDescent(SphereSolver):
    """The paper's Riemannian gradient descent (17)-(19), with its fixed step size or with another step rule.

    ``d = ∇h(z)``; ``d̃ = d − ⟨d, z⟩ z``; ``z ← (z − η d̃) / ‖z − η d̃‖``. Every iterate is in the history.

    Parameters
    ----------
    cost : Cost
        ``h``; the paper's :class:`srnc_manifold.costs.LogSumExp` by default.
    step_size : float
        ``η``, by default the paper's ``1e-5``. For the other rules it is the first step size that is tried.
    step_rule : str
        ``"fixed"``: the paper's rule.
        ``"armijo"``: backtracking from twice the last step size, until the cost decreases enough (Absil, Mahony,
        Sepulchre, *Optimization Algorithms on Matrix Manifolds*, 2008, section 4.2).
        ``"barzilai-borwein"``: the quotient ``⟨s, s⟩ / |⟨s, y⟩|`` of the last step and the last change of the gradient,
        both projected onto the new tangent space. The step is shortened until the cost is sufficiently below the
        largest of the last ten costs (Iannazzo, Porcelli, IMA J. Numer. Anal. 38, 2018).
    momentum : float
        Fraction ``0 <= μ < 1`` of the last direction that is added to ``−d̃`` after projection onto the new tangent
        space (Polyak's heavy ball). If the sum is not a descent direction and the rule is not ``"fixed"``, ``−d̃`` is
        used alone.
    max_iterations : int
    tolerance : float
        The run has converged if the norm of the Riemannian gradient is at most this.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.GradientDescent(max_iterations=20), rng=0)
    >>> result.status
    <Status.LIMIT: 'limit'>
    """

    cost: Cost = field(default_factory=LogSumExp)
    step_size: float = 1e-5
    max_iterations: int = 100_000
    tolerance: float = 1e-6
    step_rule: str = "fixed"
    momentum: float = 0.0

    def __post_init__(self) -> None:
        require_cost(self.cost)
        require_choice(STEP_RULES, step_rule=self.step_rule)
        require_positive(step_size=self.step_size)
        require_nonnegative(tolerance=self.tolerance, momentum=self.momentum)
        require_count(max_iterations=self.max_iterations)
        if self.momentum >= 1:
            raise ValueError(f"momentum: {self.momentum!r} given, expected 0 <= momentum < 1")

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        oracle = Oracle(run, self.cost)
        z, velocity, step = oracle.start, np.zeros_like(oracle.start), self.step_size
        costs: list[float] = []
        last: tuple[Array, Array] | None = None  # gradient and displacement of the last step
        for _ in range(self.max_iterations):
            gradient = oracle.gradient(z)
            norm = float(np.linalg.norm(gradient))
            if norm <= self.tolerance:
                return Status.CONVERGED, f"gradient norm {norm:.1e} is within the tolerance"
            costs = [*costs, oracle.cost_at(z)][-_MEMORY if self.step_rule == "barzilai-borwein" else -1 :]
            velocity = self.momentum * oracle.spheres.projected(velocity, z) - gradient
            if self.step_rule != "fixed":
                if velocity @ gradient >= 0:
                    velocity = -gradient
                step = self._first_step(oracle.spheres, step, gradient, last, z)
                shortened = backtrack(oracle, z, velocity, step, max(costs), float(velocity @ gradient))
                if shortened is None:
                    return Status.STALLED, f"no step decreases the cost; gradient norm {norm:.1e}"
                step = shortened
            moved = oracle.spheres.retracted(z, step * velocity)
            last, z = (gradient, step * velocity), moved
        return Status.LIMIT, f"{self.max_iterations} iterations, gradient norm {norm:.1e}"

    def _first_step(
        self, spheres: Spheres, step: float, gradient: Array, last: tuple[Array, Array] | None, z: Array
    ) -> float:
        if last is None:
            return step
        if self.step_rule == "armijo":
            return 2 * step
        moved, change = spheres.projected(last[1], z), gradient - spheres.projected(last[0], z)
        curvature = abs(float(moved @ change))
        quotient = float(moved @ moved) / curvature if curvature > 0 else _LONGEST
        return float(np.clip(quotient, _SHORTEST, _LONGEST))
