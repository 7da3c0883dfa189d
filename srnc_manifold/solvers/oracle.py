"""What a method on spheres asks for: value, gradient and Hessian product of a cost at a point.

Here, and nowhere else, they are remembered, counted and watched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from srnc_manifold.costs import Cost, SphereFunction
from srnc_manifold.numerics import Array, Memo
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status
from srnc_manifold.solvers.optimality import objective_weight, stationarity
from srnc_manifold.solvers.runs import Run, Stop

# A run without gradients makes progress where its cost falls by more than this part of it.
_NO_PROGRESS = 1e-12


class Oracle:
    """A cost on the problem's product of spheres, in one run.

    Iterates are the points where gradients are taken or, for optimizers that take none, each improvement; those are
    given a patience.

    Parameters
    ----------
    run : Run
    cost : Cost, or one for each part of the problem
    backend : str, optional
        What differentiates; see :class:`srnc_manifold.costs.SphereFunction`.
    patience : int, optional
        Evaluations without progress after which an optimizer that takes no gradients is stopped.

    Attributes
    ----------
    start : array
        The point to start from: the user's or a random one.
    spheres : Spheres
    parameters : dict
        Columns of the history, the same in every row, that the solver sets.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> from srnc_manifold.solvers import Oracle, Run
    >>> run = Run(problem, "mine", start=[0.9, 0.3, 0.1])
    >>> oracle = Oracle(run, srnc.costs.ExactMax())
    >>> value, gradient = oracle.value(oracle.start), oracle.gradient(oracle.start)
    >>> run.n_evaluations, run.n_gradients, abs(float(gradient @ oracle.start)) < 1e-12
    (1, 1, True)
    """

    def __init__(
        self, run: Run[Any], cost: Cost | Sequence[Cost], *, backend: str = "numpy", patience: int | None = None
    ) -> None:
        self.run, self.problem = run, run.problem
        self.function = SphereFunction(run.problem, cost, backend)
        self.spheres = run.problem.spheres
        self.start = run.first_point()
        self.best_point = self.start
        run.conclude = self.conclude
        run.offer(run.problem.unit_kernels_at(self.start), np.inf)
        self.parameters: dict[str, float] = {}
        self._patience, self._improved_at = patience, 0
        self._costs: Memo[float] = Memo()
        self._iterate: tuple[Array, float] | None = None

    def value(self, z: Array) -> float:
        """The cost at a point, counted."""
        if not np.isfinite(z).all():
            raise Stop(Status.NONFINITE, "the optimizer proposed a point that is not finite")
        self.run.count_evaluation()
        value = self.function.value(z)
        if not math.isfinite(value):
            raise Stop(Status.NONFINITE, f"the cost is {value} at a point of the sphere")
        self._costs.remember(z, value)
        before, key = self.run.best_key[0], self.rank(z, value)
        if key < self.run.best_key:
            self.best_point = best = np.array(z)
            self.run.offer(lambda: self.problem.unit_kernels_at(best), *key)
        if self._patience is not None:
            self._watch_progress(z, before, value)
        return value

    def rank(self, z: Array, value: float) -> tuple[float, ...]:
        """What the best point has the least of."""
        return (value,)

    def gradient(self, z: Array, *, iterate: bool = True) -> Array:
        """Riemannian gradient at a point, counted; unless said otherwise the point is an iterate of the history."""
        value = self.cost_at(z)
        self.run.n_gradients += 1
        gradient = self.function.gradient(z)
        if not np.isfinite(gradient).all():
            raise Stop(Status.NONFINITE, "the gradient of the cost is not finite")
        tangent = self.spheres.projected(gradient, z)
        if not iterate:
            return tangent
        self._iterate = np.array(z), value
        if self._patience is None:
            self._record(z, value, float(np.linalg.norm(tangent)))
        return tangent

    def hessian(self, z: Array, vector: Array) -> Array:
        """Riemannian Hessian at a point times a tangent vector, counted."""
        self.run.n_hessians += 1
        product = self.function.hessian(z, vector)
        if not np.isfinite(product).all():
            raise Stop(Status.NONFINITE, "the Hessian of the cost is not finite")
        return self.spheres.riemannian_hessian(z, self.function.gradient(z), product, vector)

    def cost_at(self, z: Array) -> float:
        """The cost at a point; not counted again where it was the last to be evaluated."""
        return self._costs.at(z, lambda: self.value(z))

    def gains(self, z: Array) -> list[float]:
        """The largest squared singular value of each part's unit kernel at a point."""
        return [float(np.max(view.squared_singular_values)) for view in self.function.views(z)]

    def best_gradient_norm(self) -> float:
        """Riemannian gradient norm at the point of least cost, not counted; NaN where the cost has none."""
        try:
            gradient = self.function.gradient(self.best_point)
        except Exception:  # a cost that raises has ended the run already, with its own message
            return np.nan
        return float(np.linalg.norm(self.spheres.projected(gradient, self.best_point)))

    def return_best(self) -> None:
        """Return the point of least cost, even if another iterate passed the test of optimality."""
        self._iterate = None

    def conclude(self, status: Status) -> None:
        """Tell the run which kernel is returned, its cost and its gradient norm.

        It is the iterate that passed the test of optimality or reached a goal, if one did, else that of least cost.
        """
        run = self.run
        if status is Status.CONVERGED and self._iterate is not None:
            self.best_point, value = self._iterate
            run.best, run.best_key = self.problem.unit_kernels_at(self.best_point), (value,)
        if np.isfinite(run.best_key[0]):
            run.cost, run.gradient_norm = float(run.best_key[0]), self.best_gradient_norm()

    def _watch_progress(self, z: Array, before: float, value: float) -> None:
        """Without gradients an iterate is an improvement, and long without one the run has stalled."""
        assert self._patience is not None
        if value < before:
            self._record(z, value, np.nan)
        if not before - value <= _NO_PROGRESS * max(1.0, abs(value)):
            self._improved_at = self.run.n_evaluations
        elif self.run.n_evaluations - self._improved_at >= self._patience:
            raise Stop(Status.STALLED, f"no progress in the last {self._patience} evaluations")

    def _record(self, z: Array, value: float, gradient_norm: float) -> None:
        scaled = [part.unit_radius**2 * gain for part, gain in zip(self.problem.parts, self.gains(z), strict=True)]
        kernels = self.problem.unit_kernels_at(z)
        self.run.record(kernels, *scaled, cost=value, gradient_norm=gradient_norm, **self.parameters)


def penalty_factors(raising: bool) -> tuple[float, ...]:
    """By which :meth:`ConstrainedOracle.attempt` multiplies the first penalty, one attempt after another."""
    return (1.0, 100.0) if raising else (1.0, 10.0, 100.0)


class ConstrainedOracle(Oracle):
    """Several costs in turn; points are ranked by how much they violate the problem's constraint, then by distance.

    Parameters
    ----------
    run, cost, backend, patience
        As of :class:`srnc_manifold.solvers.Oracle`.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> from srnc_manifold.solvers import ConstrainedOracle, Run
    >>> run = Run(problem, "mine", start=[0.9, 0.3, 0.1])
    >>> oracle = ConstrainedOracle(run, srnc.costs.ExactMax())
    >>> oracle.rank(oracle.start, 0.0) > (0.0,)
    True
    """

    #: Below it, violations are not told apart.
    NEGLIGIBLE = 0.1 * FEASIBILITY_TOLERANCE

    def pose(self, cost: Cost | Sequence[Cost], **parameters: float) -> None:
        """Go on with another cost, or one for each part of the problem.

        The parameters are columns of the history, the same for every cost of a run.
        """
        self.function = SphereFunction(self.problem, cost, self.function.xp.name)
        self.parameters, self._costs = parameters, Memo()  # those known are of the cost before

    def rank(self, z: Array, value: float) -> tuple[float, ...]:
        violation = self.violation(z)
        return (0.0 if violation <= self.NEGLIGIBLE else violation), self._objective(z)

    def attempt(self, rounds: Callable[[float], tuple[Status, str]], penalty: float) -> tuple[Status, str]:
        """Rounds of a method with a first penalty, and again from the start with larger ones; the best point is kept.

        Under a small penalty the first round forgets the start, and ends near ``a`` from any. Where the stable rank is
        reduced, that is well unless the way from there leads to frequencies that cannot reach the target: larger ones
        are tried until a point is feasible. Where it is raised, a larger one leads to other local minima.
        """
        raising, outcome = "raise" in self.problem.regimes, (Status.STALLED, "")
        for factor in penalty_factors(raising):
            before, found = self.run.best_key, rounds(factor * penalty)
            outcome = found if self.run.best_key < before or not outcome[1] else outcome
            if not raising and self.run.best_key[0] <= FEASIBILITY_TOLERANCE:
                break
        return outcome

    def violation(self, z: Array) -> float:
        """Relative error of the stable rank; that of the norm is half of it, as kernels have the right radius.

        Of several parts the largest.
        """
        parts = zip(self.problem.parts, self.gains(z), strict=True)
        return max(abs(part.target_gain / gain - 1) if gain > 0 else np.inf for part, gain in parts)

    def conclude(self, status: Status) -> None:
        """As :meth:`Oracle.conclude`, of the best point, with the objective as the cost and stationarity there."""
        run, problem = self.run, self.problem
        assert run.best is not None  # the start, at least
        run.cost = problem.scores(run.best, np.ones(len(problem.parts)))["objective"]  # whatever the gains
        run.gradient_norm = stationarity(problem, problem.to_sphere(run.kernel))

    def _objective(self, z: Array) -> float:
        """As a part of ``‖C(a)‖²``."""
        pairs = zip(self.problem.parts, self.function.views(z), strict=True)
        return sum(objective_weight(self.problem, part) * float(view.fidelity) for part, view in pairs)
