"""The Riemannian subgradient method (Ferreira and Oliveira, 1998)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.costs import Cost
from srnc_manifold.costs.base import require_cost
from srnc_manifold.exact import reduce
from srnc_manifold.operators.circular import Circular
from srnc_manifold.problem import KernelProblem, Problem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.optimality import nonsmooth_costs
from srnc_manifold.solvers.oracle import ConstrainedOracle
from srnc_manifold.solvers.runs import Run
from srnc_manifold.validation import require_choice, require_count, require_positive

STEP_RULES = ("diminishing", "polyak", "polyak-certified")

# If a level is not reached on a path of this length (in units of the longest step), it is too low; see Goffin and
# Kiwiel.
_PATH = 1.0


@dataclass(frozen=True)
class Subgradient(SphereSolver):
    """Riemannian subgradient method for the exact maximum: ``z ← R_z(−η g)``, ``g`` a subgradient of a nonsmooth cost.

    O. P. Ferreira, P. R. Oliveira, *Subgradient algorithm on Riemannian manifolds*, J. Optim. Theory Appl. 97 (1998).
    The default cost is the exact penalty ``‖C(x) − C(a)‖²/‖C(a)‖² + p |max σ²/c − 1|``.

    The history has the column ``step``, the length of the last step.

    Parameters
    ----------
    step_rule : str
        ``"diminishing"``: steps of length ``step_size / √(k + 1)``.
        ``"polyak"``: ``η = (f − level) / ‖g‖²`` (B. T. Polyak, 1969; on manifolds: G. C. Bento, O. P. Ferreira, J. G.
        Melo, J. Optim. Theory Appl. 173, 2017). The level is below the best value by a certain depth. This depth is
        halved if the path since the last success has become too long (J. L. Goffin, K. C. Kiwiel, Math. Program. 85,
        1999).
        ``"polyak-certified"``: the level is the certified optimum, which is not known in practice. This shows the best
        that the rule can achieve; it should not be compared with other solvers. It is for reducing the stable rank with
        the default cost only.
    cost : Cost, optional
    penalty : float
        ``p``.
    step_size : float
        Length of the first step. For ``"polyak"``, the first level is below the first value by the decrease that the
        first subgradient predicts for this step.
    tolerance : float
        The run ends if the length of a step or the norm of a subgradient is at most this.
    max_iterations : int

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> solver = srnc.solvers.Subgradient()
    >>> srnc.solve(problem, solver, rng=0, budget=srnc.Budget(max_evaluations=100)).n_evaluations
    100
    """

    step_rule: str = "polyak"
    cost: Cost | None = None
    penalty: float = 3.0
    step_size: float = 0.3
    tolerance: float = 1e-9
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        require_choice(STEP_RULES, step_rule=self.step_rule)
        require_positive(penalty=self.penalty, step_size=self.step_size, tolerance=self.tolerance)
        require_count(max_iterations=self.max_iterations)
        if self.cost is not None:
            require_cost(self.cost)
            if self.step_rule == "polyak-certified":
                raise ValueError("cost: given, but the optimum is only certified for the default cost")

    def supports(self, problem: Problem) -> tuple[bool, str]:
        if self.step_rule == "polyak-certified":
            if not problem.linear:
                return False, "the optimum is only certified for kernels without additional constraints"
            if not all(isinstance(part.operator, Circular) for part in problem.parts):
                return False, "the optimum is certified for convolutions with circular padding only"
            if any(part.regime == "raise" for part in problem.parts):
                return False, "the optimum is only certified for reducing the stable rank"
        return super().supports(problem)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        oracle = ConstrainedOracle(run, nonsmooth_costs(run.problem, self.penalty) if self.cost is None else self.cost)
        z, step, rule = oracle.start, np.nan, self._rule(run.problem)
        for _ in range(self.max_iterations):
            oracle.parameters = {"step": step}
            subgradient = oracle.gradient(z)
            norm = float(np.linalg.norm(subgradient))
            if norm <= self.tolerance:
                return Status.CONVERGED, f"subgradient norm {norm:.1e} is within the tolerance"
            step = rule.length(oracle.cost_at(z), norm)
            if step <= self.tolerance:
                return rule.reached, f"steps of length {step:.1e}: {rule.end}"
            z = oracle.spheres.retracted(z, -step / norm * subgradient)
        return Status.LIMIT, f"{self.max_iterations} iterations, steps of length {step:.1e}"

    def _rule(self, problem: Problem) -> _Rule:
        if self.step_rule == "diminishing":
            return _Diminishing(self.step_size)
        if self.step_rule == "polyak":
            return _Levels(self.step_size)
        return _Certified(sum(_certified_objective(part) for part in problem.parts) / problem.squared_norm)


class _Rule:
    """The length of the next step, and the outcome of the run if this length is zero."""

    reached, end = Status.STALLED, "no lower level is within reach"

    def length(self, value: float, norm: float) -> float:
        """Length of the step from a point with this cost and norm of a subgradient."""
        raise NotImplementedError


class _Diminishing(_Rule):
    def __init__(self, first: float) -> None:
        self._first, self._count = first, 0

    def length(self, value: float, norm: float) -> float:
        self._count += 1
        return self._first / self._count**0.5


class _Certified(_Rule):
    reached, end = Status.CONVERGED, "the certified optimum is reached"

    def __init__(self, optimum: float) -> None:
        self._optimum = optimum

    def length(self, value: float, norm: float) -> float:
        return max(value - self._optimum, 0.0) / norm


class _Levels(_Rule):
    """Levels below the best value. The depth stays the same after a success, and is halved if the path is too long."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._best = self._base = np.inf
        self._depth, self._path = np.nan, 0.0

    def length(self, value: float, norm: float) -> float:
        if np.isnan(self._depth):
            self._base, self._depth = value, self._longest * norm
        self._best = min(self._best, value)
        if self._best <= self._base - 0.5 * self._depth:
            self._base, self._path = self._best, 0.0
        elif self._path > _PATH * self._longest:
            self._base, self._depth, self._path = self._best, 0.5 * self._depth, 0.0
        step = min((value - self._base + self._depth) / norm, self._longest)
        self._path += step
        return step


def _certified_objective(part: KernelProblem) -> float:
    if part.regime == "none":
        return part.objective_at(0.0)
    single = reduce.nearest_to_one(part.direction, part.level, part.geometry, tests=part.norm_tests)
    return part.objective_at(single.squared_distance)
