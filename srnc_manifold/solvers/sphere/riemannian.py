from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from srnc_manifold.backends import NAMES as BACKENDS
from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.interop import pymanopt as pymanopt_optimizers
from srnc_manifold.interop.pymanopt import OPTIMIZERS, uses_gradients
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.base import Rng, SphereSolver, require_cost
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.runs import Callback, SphereRun
from srnc_manifold.validation import as_generator, require_choice, require_count, require_nonnegative

# Evaluations without progress, per entry of a point, after which an optimizer without gradients is stopped;
# pymanopt's run on to their limits.
_PATIENCE = 200


@dataclass(frozen=True)
class Riemannian(SphereSolver):
    """A cost minimized on the unit sphere, or a product of spheres, by one of pymanopt's optimizers.

    Parameters
    ----------
    cost : Cost
        The formulation; the paper's :class:`LogSumExp` by default.
    optimizer : str
        ``"steepest-descent"``, ``"conjugate-gradient"``, ``"trust-regions"``, ``"nelder-mead"`` or
        ``"particle-swarm"``.
    max_iterations : int
    tolerance : float
        Riemannian gradient norm at which the run has converged.
    backend : str
        What differentiates: ``"numpy"`` (the cost's own gradient and the chain rule), ``"autograd"`` or ``"torch"``.
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

    @property
    def name(self) -> str:
        return f"{self.optimizer} [{self.cost}]"

    def supports(self, problem: Problem) -> tuple[bool, str]:
        if self.optimizer == "nelder-mead" and problem.spheres.size > 200:
            return False, f"Nelder-Mead keeps a simplex of {problem.spheres.size} points; it is limited to 200 entries"
        return super().supports(problem)

    def run(
        self,
        problem: Problem,
        start: Array | None = None,
        *,
        budget: Budget | None = None,
        rng: Rng = None,
        callback: Callback | None = None,
    ) -> Result:
        pymanopt_optimizers.load()
        generator, with_gradients = as_generator(rng), uses_gradients(self.optimizer)
        run = SphereRun(
            problem,
            self.cost,
            self.name,
            start,
            budget=budget,
            rng=generator,
            callback=callback,
            backend=self.backend,
            patience=None if with_gradients else _PATIENCE * problem.spheres.size,
        )
        result = run.finish(lambda: self._optimize(run, generator))
        if result.status is Status.STALLED and self.cost.smooth and result.gradient_norm <= self.tolerance:
            message = f"gradient norm {result.gradient_norm:.1e} is within the tolerance, though none was used"
            return replace(result, status=Status.CONVERGED, message=message)
        return result

    def _optimize(self, run: SphereRun, generator: np.random.Generator) -> tuple[Status, str]:
        outcome = pymanopt_optimizers.minimize(
            pymanopt_optimizers.Objective(run.value, run.gradient, run.hessian),
            run.spheres,
            run.start,
            self.optimizer,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            rng=generator,
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
