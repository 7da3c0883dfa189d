"""Minimization of a cost on a product of spheres by pymanopt's optimizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from srnc_manifold.backends import NAMES as BACKENDS
from srnc_manifold.backends import namespace
from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.interop import pymanopt as pymanopt_optimizers
from srnc_manifold.interop.pymanopt import OPTIMIZERS, uses_gradients
from srnc_manifold.problem import Problem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver, require_cost
from srnc_manifold.solvers.oracle import Oracle
from srnc_manifold.solvers.runs import Run, Stop
from srnc_manifold.validation import require_choice, require_count, require_nonnegative

# An optimizer without gradients is stopped after this many evaluations without progress, per entry of a point.
# Otherwise pymanopt would continue up to its limits.
_PATIENCE = 200


@dataclass(frozen=True)
class Riemannian(SphereSolver):
    """Minimizes a cost on the unit sphere, or on a product of spheres, by one of pymanopt's optimizers.

    Parameters
    ----------
    cost : Cost
        The formulation; the paper's :class:`LogSumExp` by default.
    optimizer : str
        ``"steepest-descent"``, ``"conjugate-gradient"``, ``"trust-regions"``, ``"nelder-mead"`` or
        ``"particle-swarm"``.
    max_iterations : int
    tolerance : float
        The run has converged if the norm of the Riemannian gradient is at most this.
    backend : str
        How derivatives are computed: ``"numpy"`` (the gradient of the cost and the chain rule), ``"autograd"`` or
        ``"torch"``.
    """

    cost: Cost = field(default_factory=LogSumExp)
    optimizer: str = "trust-regions"
    max_iterations: int = 1000
    tolerance: float = 1e-6
    backend: str = "numpy"

    def __post_init__(self) -> None:
        require_cost(self.cost)
        require_choice(OPTIMIZERS, optimizer=self.optimizer)
        require_choice(BACKENDS, backend=self.backend)
        require_nonnegative(tolerance=self.tolerance)
        require_count(max_iterations=self.max_iterations)

    def supports(self, problem: Problem) -> tuple[bool, str]:
        if self.optimizer == "nelder-mead" and problem.spheres.size > 200:
            return False, f"Nelder-Mead needs a simplex of {problem.spheres.size} points; the limit is 200 entries"
        return super().supports(problem)

    def load(self) -> None:
        pymanopt_optimizers.load()
        namespace(self.backend)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        patience = None if uses_gradients(self.optimizer) else _PATIENCE * run.problem.spheres.size
        oracle = Oracle(run, self.cost, backend=self.backend, patience=patience)
        try:
            status, message = self._optimize(oracle)
        except Stop as stop:
            status, message = stop.status, stop.message
        if status is Status.STALLED and self.cost.smooth and oracle.best_gradient_norm() <= self.tolerance:
            oracle.return_best()
            norm = oracle.best_gradient_norm()
            return (
                Status.CONVERGED,
                f"gradient norm {norm:.1e} is within the tolerance (not used by the optimizer)",
            )
        return status, message

    def _optimize(self, oracle: Oracle) -> tuple[Status, str]:
        outcome = pymanopt_optimizers.minimize(
            pymanopt_optimizers.Objective(oracle.value, oracle.gradient, oracle.hessian),
            oracle.spheres,
            oracle.start,
            self.optimizer,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            rng=oracle.run.rng,
        )
        if outcome.gradient_norm <= self.tolerance:
            where = "the starting point is critical, " if outcome.iterations == 0 else ""
            return Status.CONVERGED, f"{where}gradient norm {outcome.gradient_norm:.1e} is within the tolerance"
        if outcome.iterations >= self.max_iterations:
            return Status.LIMIT, f"{self.max_iterations} iterations"
        return Status.STALLED, (
            f"no further progress after {outcome.iterations} iterations; the cost may not be smooth here: try another "
            "start, a smoother cost or a derivative-free optimizer"
        )
