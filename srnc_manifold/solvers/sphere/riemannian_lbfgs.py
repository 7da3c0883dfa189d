from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver, require_cost
from srnc_manifold.solvers.oracle import Oracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.quasi_newton import lbfgs
from srnc_manifold.validation import require_count, require_nonnegative


@dataclass(frozen=True)
class RiemannianLBFGS(SphereSolver):
    """A cost minimized on the unit sphere by limited-memory BFGS; see :mod:`srnc_manifold.solvers.steps.quasi_newton`.

    Parameters
    ----------
    cost : Cost
        The formulation; the paper's :class:`LogSumExp` by default.
    memory : int
        Pairs of steps and changes of the gradient that are kept.
    max_iterations : int
    tolerance : float
        Riemannian gradient norm at which the run has converged.
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
