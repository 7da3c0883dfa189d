"""The exact penalty method on spheres, with smoothing (Liu and Boumal, 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.costs.exact_penalty import SMOOTHINGS, ExactPenaltyCost
from srnc_manifold.problem import Problem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.optimality import binding_side, objective_weight
from srnc_manifold.solvers.oracle import ConstrainedOracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.quasi_newton import lbfgs
from srnc_manifold.validation import require_choice, require_count, require_positive

# If the constraints are still violated, the penalty is multiplied by _GROWTH in the next round. _LARGEST limits it
# relative to the first penalty.
_GROWTH, _LARGEST = 3.0, 1e6

# Gradient norms at which the first and the last round end.
_FIRST_TOLERANCE, _LAST_TOLERANCE = 1e-2, 1e-7


@dataclass(frozen=True)
class ExactPenalty(SphereSolver):
    """Riemannian exact penalty method by smoothing, for the paper's (15) on the sphere.

    C. Liu, N. Boumal, *Simple algorithms for optimization on Riemannian manifolds with constraints*, Appl. Math. Optim.
    82 (2020), algorithm 2. The violations are penalized by hinges, smoothed by log-sum-exp or Huber. The smoothing
    decreases in every round. Each round is minimized by L-BFGS, starting at the end of the last one. The penalty
    increases if the constraints are still violated.

    If the rounds end in a local minimum of the violation, they are repeated from the start with a larger penalty. If
    the stable rank is raised, they are always repeated, because a larger penalty leads to other local minima.

    The history has the columns ``epsilon`` and ``penalty``.

    Parameters
    ----------
    smoothing : str
        ``"huber"`` or ``"log-sum-exp"``.
    penalty : float
        The first penalty parameter, for the objective in units of ``‖C(a)‖_F²``.
    epsilon, last_epsilon : float
        The first and last smoothing parameter, for constraints relative to ``c``.
    n_rounds : int
        Number of rounds from the first smoothing to the last. More rounds follow while the constraints are violated.
    max_iterations : int
        Largest number of iterations of each round.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.ExactPenalty(), rng=0)
    >>> result.evaluation.feasible
    True
    """

    smoothing: str = "huber"
    penalty: float = 1.0
    epsilon: float = 1e-1
    last_epsilon: float = 1e-6
    n_rounds: int = 20
    max_iterations: int = 500

    def __post_init__(self) -> None:
        require_choice(SMOOTHINGS, smoothing=self.smoothing)
        require_positive(penalty=self.penalty, epsilon=self.epsilon, last_epsilon=self.last_epsilon)
        require_count(n_rounds=self.n_rounds, max_iterations=self.max_iterations)
        if self.last_epsilon > self.epsilon:
            raise ValueError(f"last_epsilon: {self.last_epsilon!r} given, expected at most epsilon = {self.epsilon!r}")

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        oracle = ConstrainedOracle(run, self._costs(run.problem, self.penalty, self.epsilon))
        return oracle.attempt(lambda penalty: self._rounds(oracle, penalty), self.penalty)

    def _costs(self, problem: Problem, penalty: float, epsilon: float) -> list[ExactPenaltyCost]:
        return [
            ExactPenaltyCost(binding_side(regime), objective_weight(problem, part), penalty, epsilon, self.smoothing)
            for part, regime in zip(problem.parts, problem.regimes, strict=True)
        ]

    def _rounds(self, oracle: ConstrainedOracle, penalty: float) -> tuple[Status, str]:
        z, largest, epsilon, inner = oracle.start, _LARGEST * penalty, self.epsilon, _FIRST_TOLERANCE
        steps = max(1, self.n_rounds - 1)
        sharper = (self.last_epsilon / self.epsilon) ** (1 / steps)
        tighter = (_LAST_TOLERANCE / _FIRST_TOLERANCE) ** (1 / steps)
        rounds = 0
        while True:
            oracle.pose(self._costs(oracle.problem, penalty, epsilon), epsilon=epsilon, penalty=penalty)
            z, norm, _ = lbfgs(oracle, z, tolerance=inner, max_iterations=self.max_iterations, memory=10)
            violation, rounds = oracle.violation(z), rounds + 1
            message = f"{rounds} rounds, ε = {epsilon:.0e}, penalty {penalty:.3g}, violation {violation:.1e}"
            if rounds >= self.n_rounds and violation <= FEASIBILITY_TOLERANCE:
                return Status.CONVERGED, f"{message}, gradient norm {norm:.1e}"
            # Smoothed hinges are violated by about ε.
            if violation > max(epsilon, FEASIBILITY_TOLERANCE):
                penalty *= _GROWTH
                if penalty > largest:
                    return Status.STALLED, f"{message}: local minimum of the constraint violation"
            elif rounds >= self.n_rounds:
                return Status.STALLED, f"{message}: the violation that remains with the last smoothing"
            epsilon, inner = max(sharper * epsilon, self.last_epsilon), max(tighter * inner, _LAST_TOLERANCE)
