from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.numerics import Array
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.base import Budget, Callback, Rng, Solver, SphereRun, require_cost
from srnc_manifold.validation import as_generator, require_count, require_nonnegative, require_positive


@dataclass(frozen=True)
class GradientDescent(Solver):
    """The paper's Riemannian gradient descent (17)-(19), with a fixed step.

    ``d = ∇h(z)``; ``d̃ = d − ⟨d, z⟩ z``; ``z ← (z − η d̃) / ‖z − η d̃‖``. Every iterate is in the history.

    Parameters
    ----------
    cost : Cost
        ``h``; the paper's :class:`LogSumExp` by default.
    step_size : float
        ``η``, the paper's ``1e-5`` by default.
    max_iterations : int
    tolerance : float
        Riemannian gradient norm at which the run has converged.
    """

    cost: Cost = field(default_factory=LogSumExp)
    step_size: float = 1e-5
    max_iterations: int = 100_000
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require_cost(self.cost)
        require_positive(step_size=self.step_size)
        require_nonnegative(tolerance=self.tolerance)
        require_count(max_iterations=self.max_iterations)

    @property
    def name(self) -> str:
        return f"gradient-descent η={self.step_size:g} [{self.cost}]"

    def run(
        self,
        problem: SRNProblem,
        start: Array | None = None,
        *,
        budget: Budget | None = None,
        rng: Rng = None,
        callback: Callback | None = None,
    ) -> Result:
        run = SphereRun(
            problem,
            self.cost,
            self.name,
            start,
            budget=budget,
            rng=as_generator(rng),
            callback=callback,
        )

        def descend() -> tuple[Status, str]:
            z = run.start
            for _ in range(self.max_iterations):
                tangent = run.gradient(z)
                norm = float(np.linalg.norm(tangent))
                if norm <= self.tolerance:
                    return Status.CONVERGED, f"gradient norm {norm:.1e} is within the tolerance"
                z = z - self.step_size * tangent
                z = z / np.linalg.norm(z)
            return Status.LIMIT, f"{self.max_iterations} iterations, gradient norm {norm:.1e}"

        return run.finish(descend)
