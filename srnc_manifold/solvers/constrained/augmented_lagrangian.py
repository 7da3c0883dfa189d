"""The augmented Lagrangian method on spheres (Liu and Boumal, 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.costs.augmented import AugmentedLagrangianCost
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.optimality import binding_side, objective_weight, stationarity
from srnc_manifold.solvers.oracle import ConstrainedOracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.quasi_newton import lbfgs
from srnc_manifold.validation import require_count, require_positive

# ENOUGH: the penalty is not increased if the violation is at most this fraction of the last one. GROWTH: factor by
# which the penalty increases. SHARPER: factor by which the inner tolerance decreases. LARGEST: limit of the penalty
# relative to the first one; if this does not help, a larger one does not help either.
ENOUGH, GROWTH, SHARPER, LARGEST = 0.5, 4.0, 0.1, 1e6
FIRST_TOLERANCE = 1e-2


@dataclass(frozen=True)
class AugmentedLagrangian(SphereSolver):
    """Riemannian augmented Lagrangian method for the paper's (15) on the sphere.

    C. Liu, N. Boumal, *Simple algorithms for optimization on Riemannian manifolds with constraints*, Appl. Math. Optim.
    82 (2020), algorithm 1. Only the binding half of the constraint ``max_l g_l = c`` is used. When the stable rank is
    reduced, it is "some singular value reaches ``√c``", with the exact maximum and one multiplier. When the stable rank
    is raised, it is "no singular value exceeds ``√c``", with one multiplier for each singular value. The subproblems
    are solved by L-BFGS on the sphere.

    If the rounds end in a local minimum of the violation, they are repeated from the start with a larger penalty. If
    the stable rank is raised, they are always repeated, because a larger penalty leads to other local minima.

    The history has the columns ``penalty`` and ``multiplier`` (the sum of the multipliers).

    Parameters
    ----------
    penalty : float
        The first penalty parameter, for the objective in units of ``‖C(a)‖_F²``.
    tolerance : float
        The run has converged if the violation and the norm of the Lagrangian's gradient are at most this.
    max_rounds : int
        Largest number of updates of the multipliers.
    max_iterations : int
        Largest number of iterations for each subproblem.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.AugmentedLagrangian(), rng=0)
    >>> result.evaluation.feasible
    True
    """

    penalty: float = 1.0
    tolerance: float = 1e-8
    max_rounds: int = 60
    max_iterations: int = 500

    def __post_init__(self) -> None:
        require_positive(penalty=self.penalty, tolerance=self.tolerance)
        require_count(max_rounds=self.max_rounds, max_iterations=self.max_iterations)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        problem = run.problem
        oracle = ConstrainedOracle(run, self._costs(problem, self.penalty, [0.0] * len(problem.parts)))
        return oracle.attempt(lambda penalty: self._rounds(oracle, penalty), self.penalty)

    def _costs(self, problem: Problem, penalty: float, multipliers: list[Any]) -> list[AugmentedLagrangianCost]:
        """The augmented Lagrangian of each part. Their sum is the augmented Lagrangian of the problem."""
        return [
            AugmentedLagrangianCost(binding_side(regime), objective_weight(problem, part), penalty, values)
            for part, regime, values in zip(problem.parts, problem.regimes, multipliers, strict=True)
        ]

    def _rounds(self, oracle: ConstrainedOracle, penalty: float) -> tuple[Status, str]:
        z, largest, inner, before = oracle.start, LARGEST * penalty, FIRST_TOLERANCE, np.inf
        multipliers: list[Any] = [0.0] * len(
            oracle.problem.parts
        )  # arrays, where a part has many, from the second round
        for rounds in range(self.max_rounds):
            costs = self._costs(oracle.problem, penalty, multipliers)
            oracle.pose(costs, penalty=penalty, multiplier=float(sum(np.sum(values) for values in multipliers)))
            z, _, _ = lbfgs(oracle, z, tolerance=inner, max_iterations=self.max_iterations, memory=10)
            pairs = zip(costs, oracle.function.views(z), strict=True)
            h = [cost.constraints(view) for cost, view in pairs]
            missing = max(
                float(np.max(np.abs(np.maximum(own, -values / penalty))))
                for own, values in zip(h, multipliers, strict=True)
            )
            if missing <= self.tolerance and inner <= self.tolerance:
                return self._outcome(oracle, z, rounds + 1)
            multipliers = [np.maximum(values + penalty * own, 0.0) for own, values in zip(h, multipliers, strict=True)]
            if missing > ENOUGH * before and missing > self.tolerance:
                penalty *= GROWTH
                if penalty > largest and missing > FEASIBILITY_TOLERANCE:
                    return self._outcome(oracle, z, rounds + 1)
            before, inner = missing, max(SHARPER * inner, self.tolerance)
        return Status.LIMIT, f"{self.max_rounds} rounds, violation {oracle.violation(z):.1e}"

    def _outcome(self, oracle: ConstrainedOracle, z: Array, rounds: int) -> tuple[Status, str]:
        violation = oracle.violation(z)
        if violation > FEASIBILITY_TOLERANCE:
            return Status.STALLED, f"local minimum of the constraint violation, {violation:.1e}"
        residual = stationarity(oracle.problem, z)
        return Status.CONVERGED, f"{rounds} rounds, violation {violation:.1e}, projected gradient {residual:.1e}"
