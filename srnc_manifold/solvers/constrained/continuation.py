"""Continuation: the paper's log-sum-exp formulation with increasing ``α`` and decreasing ``λ``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.costs import LogSumExp
from srnc_manifold.interop import pymanopt as pymanopt_optimizers
from srnc_manifold.interop.pymanopt import OPTIMIZERS, uses_gradients
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.oracle import ConstrainedOracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.validation import require_choice, require_count, require_positive

# Gradient norm at which a round ends, relative to the weight of the distance.
_ACCURACY = 1e-3


@dataclass(frozen=True)
class Continuation(SphereSolver):
    """The paper's log-sum-exp formulation (16), with parameters that change from round to round.

    In each round ``α`` increases and ``λ`` decreases by a constant factor. One of pymanopt's optimizers minimizes the
    cost, starting at the end of the last round. Increasing ``α`` removes the bias of the smooth maximum, which is at
    most ``log(L)/α``. Decreasing ``λ`` removes the bias of a finite penalty. The idea is from S. Boyd, L. Vandenberghe,
    *Convex Optimization*, 2004, section 11.3; the two biases are in docs/theory.md, section 15.

    The history has the columns ``alpha`` and ``penalty`` (``1/λ``).

    Parameters
    ----------
    alpha, last_alpha : float
        The first and last ``α``, which multiplies squared singular values of unit kernels.
    fidelity_weight, last_fidelity_weight : float
        The first and last ``λ``.
    n_rounds : int
    optimizer : str
        An optimizer that uses gradients; see :class:`srnc_manifold.solvers.Riemannian`.
    max_iterations : int
        Largest number of iterations of each round.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.Continuation(), rng=0)
    >>> result.evaluation.violation < 1e-4
    True
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

    def load(self) -> None:
        pymanopt_optimizers.load()

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        oracle = ConstrainedOracle(run, LogSumExp(self.alpha, self.fidelity_weight))
        z = oracle.start
        alphas = np.geomspace(self.alpha, self.last_alpha, self.n_rounds).tolist()
        weights = np.geomspace(self.fidelity_weight, self.last_fidelity_weight, self.n_rounds).tolist()
        for alpha, weight in zip(alphas, weights, strict=True):
            oracle.pose(LogSumExp(alpha, weight), alpha=alpha, penalty=1 / weight)
            outcome = pymanopt_optimizers.minimize(
                pymanopt_optimizers.Objective(oracle.value, oracle.gradient, oracle.hessian),
                oracle.spheres,
                z,
                self.optimizer,
                tolerance=_ACCURACY * weight,
                max_iterations=self.max_iterations,
                rng=run.rng,
            )
            z = outcome.point
        violation = oracle.violation(z)
        message = f"{self.n_rounds} rounds to α = {self.last_alpha:g}, λ = {self.last_fidelity_weight:g}, "
        if outcome.gradient_norm > _ACCURACY * self.last_fidelity_weight:
            return Status.STALLED, f"{message}gradient norm {outcome.gradient_norm:.1e}, violation {violation:.1e}"
        status = Status.CONVERGED if violation <= FEASIBILITY_TOLERANCE else Status.STALLED
        return status, f"{message}violation {violation:.1e}"
