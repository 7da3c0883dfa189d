from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srnc_manifold.costs import LogSumExp
from srnc_manifold.interop import pymanopt as pymanopt_optimizers
from srnc_manifold.interop.pymanopt import OPTIMIZERS, uses_gradients
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem
from srnc_manifold.result import FEASIBILITY_TOLERANCE, Result, Status
from srnc_manifold.solvers.base import Rng, SphereSolver
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.runs import Callback, ConstrainedRun
from srnc_manifold.validation import as_generator, require_choice, require_count, require_positive

# Gradient norm at which a round ends, as a part of the weight of the distance, which bounds the gradient there.
_ACCURACY = 1e-3


@dataclass(frozen=True)
class Continuation(SphereSolver):
    """The paper's log-sum-exp formulation (16), sharpened round by round, each started where the last one ended.

    ``α`` grows and ``λ`` falls in equal ratios, by one of pymanopt's optimizers: the first removes the bias of the
    smooth maximum, at most ``log(L)/α``, the second that of a finite penalty (S. Boyd, L. Vandenberghe, *Convex
    Optimization*, 2004, section 11.3, for the idea; docs/theory.md, section 15, for the two biases).

    The history has the columns ``alpha`` and ``penalty`` (``1/λ``).

    Parameters
    ----------
    alpha, last_alpha : float
        The first and last ``α``, which belong to squared singular values of unit kernels.
    fidelity_weight, last_fidelity_weight : float
        The first and last ``λ``.
    n_rounds : int
    optimizer : str
        One that uses gradients; see :class:`srnc_manifold.solvers.Riemannian`.
    max_iterations : int
        Of each round.
    """

    alpha: float = 10.0
    last_alpha: float = 1e7
    fidelity_weight: float = 0.1
    last_fidelity_weight: float = 1e-8
    n_rounds: int = 15
    optimizer: str = "trust-regions"
    max_iterations: int = 200

    def __post_init__(self) -> None:
        require_positive(alpha=self.alpha, last_alpha=self.last_alpha)
        require_positive(fidelity_weight=self.fidelity_weight, last_fidelity_weight=self.last_fidelity_weight)
        require_count(n_rounds=self.n_rounds, max_iterations=self.max_iterations)
        require_choice([name for name in OPTIMIZERS if uses_gradients(name)], optimizer=self.optimizer)
        for name, first, last in (
            ("last_alpha", self.last_alpha, self.alpha),
            ("fidelity_weight", self.fidelity_weight, self.last_fidelity_weight),
        ):
            if first < last:
                raise ValueError(f"{name}: {first!r} given, expected at least {last!r}")

    @property
    def name(self) -> str:
        return f"continuation {self.optimizer}"

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
        generator = as_generator(rng)
        first = LogSumExp(self.alpha, self.fidelity_weight)
        run = ConstrainedRun(problem, first, self.name, start, budget=budget, rng=generator, callback=callback)
        return run.finish(lambda: self._rounds(run, generator))

    def _rounds(self, run: ConstrainedRun, generator: np.random.Generator) -> tuple[Status, str]:
        z = run.start
        alphas = np.geomspace(self.alpha, self.last_alpha, self.n_rounds).tolist()
        weights = np.geomspace(self.fidelity_weight, self.last_fidelity_weight, self.n_rounds).tolist()
        for alpha, weight in zip(alphas, weights, strict=True):
            run.pose(LogSumExp(alpha, weight), alpha=alpha, penalty=1 / weight)
            outcome = pymanopt_optimizers.minimize(
                pymanopt_optimizers.Objective(run.value, run.gradient, run.hessian),
                run.spheres,
                z,
                self.optimizer,
                tolerance=_ACCURACY * weight,
                max_iterations=self.max_iterations,
                rng=generator,
            )
            z = outcome.point
        violation = run.violation(z)
        message = f"{self.n_rounds} rounds to α = {self.last_alpha:g}, λ = {self.last_fidelity_weight:g}, "
        if outcome.gradient_norm > _ACCURACY * self.last_fidelity_weight:
            return Status.STALLED, f"{message}gradient norm {outcome.gradient_norm:.1e}, violation {violation:.1e}"
        status = Status.CONVERGED if violation <= FEASIBILITY_TOLERANCE else Status.STALLED
        return status, f"{message}violation {violation:.1e}"
