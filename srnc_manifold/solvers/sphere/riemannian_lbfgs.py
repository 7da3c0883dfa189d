"""Minimization of a cost on a product of spheres by limited-memory BFGS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.costs.base import require_cost
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.oracle import Oracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.quasi_newton import lbfgs
from srnc_manifold.validation import require_count, require_nonnegative


@dataclass(frozen=True)
class RiemannianLBFGS(SphereSolver):
    """Minimizes a cost on the unit sphere, or on a product of spheres, by limited-memory BFGS.

    The method is in :mod:`srnc_manifold.solvers.steps.quasi_newton`.

    Parameters
    ----------
    cost : Cost
        The formulation; the paper's :class:`srnc_manifold.costs.LogSumExp` by default.
    memory : int
        Number of pairs (step, change of the gradient) that are kept.
    max_iterations : int
    tolerance : float
        The run has converged if the norm of the Riemannian gradient is at most this.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> srnc.solve(problem, srnc.solvers.RiemannianLBFGS(srnc.costs.Penalty()), rng=0).status
    <Status.CONVERGED: 'converged'>
    """

    cost: Cost = field(default_factory=LogSumExp)
    memory: int = 10
    max_iterations: int = 1000
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require_cost(self.cost)
        require_count(memory=self.memory, max_iterations=self.max_iterations)
        require_nonnegative(tolerance=self.tolerance)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        oracle = Oracle(run, self.cost)
        _, norm, going = lbfgs(
            oracle, oracle.start, tolerance=self.tolerance, max_iterations=self.max_iterations, memory=self.memory
        )
        if norm <= self.tolerance:
            return Status.CONVERGED, f"gradient norm {norm:.1e} is within the tolerance"
        if not going:
            return Status.STALLED, f"no step decreases the cost; gradient norm {norm:.1e}"
        return Status.LIMIT, f"{self.max_iterations} iterations, gradient norm {norm:.1e}"
