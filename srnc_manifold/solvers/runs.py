"""One run of a solver: counting, recording, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from srnc_manifold.costs import Cost, SphereFunction
from srnc_manifold.numerics import Array
from srnc_manifold.operators import norms
from srnc_manifold.problem import Problem
from srnc_manifold.result import FEASIBILITY_TOLERANCE, History, Result, Status
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.optimality import objective_weight, stationarity

P = TypeVar("P", bound=Problem)


Callback = Callable[[dict[str, float]], Any]


STOPPED_BY_CALLBACK = "stopped by the callback"


# A run without gradients makes progress where its cost falls by more than this part of it.
_NO_PROGRESS = 1e-12


# Iterates of larger kernels are not kept in the history: they would outweigh everything else in it.
MAX_RECORDED_SIZE = 100


class Stop(Exception):  # noqa: N818 - it ends a run, it is not an error
    """Raised inside a run to end it with a status."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Run(Generic[P]):
    """One run of a solver: counts evaluations, keeps the history and the best point, watches the budget."""

    def __init__(self, problem: P, solver: str, budget: Budget | None, callback: Callback | None) -> None:
        self.problem: P = problem
        self.solver = solver
        self.budget, self.callback = budget or Budget(), callback
        self.history = History()
        self.n_evaluations = self.n_gradients = self.n_hessians = 0
        self.best: Array | None = None
        self.best_key: tuple[float, ...] = (np.inf,)
        self._began = time.perf_counter()

    @property
    def runtime(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    def count_evaluation(self) -> None:
        """Count one evaluation, or end the run if the budget has none left."""
        limit = self.budget.max_evaluations
        if limit is not None and self.n_evaluations >= limit:
            raise Stop(Status.LIMIT, f"the budget of {limit} evaluations is used up")
        if self.budget.max_time is not None and self.runtime > self.budget.max_time:
            raise Stop(Status.LIMIT, f"the budget of {self.budget.max_time:g} s is used up")
        self.n_evaluations += 1

    def offer(self, unit_kernel: Array, *key: float) -> None:
        """Remember a kernel (in units of the spectral norm) if its key is the least so far."""
        if self.best is None or key < self.best_key:
            self.best, self.best_key = np.array(unit_kernel), key

    def record(self, unit_kernel: Array, *gains: float, cost: float, gradient_norm: float, **more: float) -> None:
        """Add an iterate to the history; ``more`` are columns of one solver, the same in every row.

        In units of the spectral norm of ``a``; a gain is the square of the iterate's own spectral norm, of which a
        problem with several parts has as many.
        """
        unit_kernel = unit_kernel.ravel()
        row = {
            "iteration": len(self.history),
            "evaluations": self.n_evaluations,
            "time": self.runtime,
            "cost": cost,
            "gradient_norm": gradient_norm,
            **self.problem.scores(unit_kernel, gains),
            **more,
        }
        self.history.append(**row)
        norm = float(np.linalg.norm(unit_kernel))
        if unit_kernel.size <= MAX_RECORDED_SIZE and norm > 0:
            self.history.points.append(unit_kernel / norm)
        goal = self.budget.reached(row, self.problem.squared_norm)
        if goal:
            self.best = np.array(unit_kernel)
        self.notify(row)
        if goal:
            raise Stop(Status.CONVERGED, goal)

    def deliver(self, unit_kernel: Array) -> None:
        """The kernel (in units of the spectral norm) of a method that has no others: remembered and recorded."""
        self.offer(unit_kernel, 0.0)
        gain = float(norms.gain(unit_kernel, self.problem.parts[0].geometry))
        self.record(unit_kernel, gain, cost=np.nan, gradient_norm=np.nan)

    def time_is_left(self) -> bool:
        """Whether the budget leaves time for another step."""
        return self.budget.max_time is None or self.runtime < self.budget.max_time

    def notify(self, row: dict[str, float]) -> None:
        """Show a row to the callback, which may end the run."""
        if self.callback is not None:
            try:
                self.callback(row)
            except StopIteration:
                raise Stop(Status.LIMIT, STOPPED_BY_CALLBACK) from None

    def finish(self, body: Callable[[], tuple[Status, str]], **extra: Any) -> Result:
        """Run the body and pack up, whatever happens in it: nothing found so far is lost."""
        interrupted = False
        try:
            status, message = body()
        except Stop as stop:
            status, message = stop.status, stop.message
        except KeyboardInterrupt:
            status, message, interrupted = Status.LIMIT, "interrupted", True
        except Exception as error:
            status, message = Status.FAILED, f"{type(error).__name__}: {error}"
        problem = self.problem
        if self.best is None:
            best = np.concatenate([part.unit_kernel.ravel() for part in problem.parts])
        else:
            best = self.best.ravel()
        result = Result(
            kernel=problem.from_units(best),
            status=status,
            message=message,
            solver=self.solver,
            runtime=self.runtime,
            n_evaluations=self.n_evaluations,
            n_gradients=self.n_gradients,
            n_hessians=self.n_hessians,
            history=self.history,
            **extra,
        )
        return replace(result, details={**result.details, "interrupted": True}) if interrupted else result


class SphereRun(Run[Problem]):
    """A run that minimizes a cost on the unit sphere: the functions it hands out are watched.

    Iterates are the points where gradients are taken or, for optimizers that take none, each improvement; those are
    given a patience, the number of evaluations without progress after which they are stopped.
    """

    def __init__(
        self,
        problem: Problem,
        cost: Cost | Sequence[Cost],
        solver: str,
        start: Array | None,
        *,
        budget: Budget | None,
        rng: np.random.Generator,
        callback: Callback | None,
        backend: str = "numpy",
        patience: int | None = None,
    ) -> None:
        super().__init__(problem, solver, budget, callback)
        self.function = SphereFunction(problem, cost, backend)
        self.spheres = problem.spheres
        self.start = self.spheres.random_point(rng) if start is None else problem.to_sphere(start).ravel()
        self.best_point = self.start
        self.offer(problem.unit_kernels_at(self.start), np.inf)
        self.parameters: dict[str, float] = {}
        self._patience, self._improved_at = patience, 0
        self._last: tuple[bytes, float] | None = None
        self._iterate: tuple[Array, float] | None = None

    def value(self, z: Array) -> float:
        """The cost at a point, counted."""
        if not np.all(np.isfinite(z)):
            raise Stop(Status.NONFINITE, "the optimizer proposed a point that is not finite")
        self.count_evaluation()
        value = self.function.value(z)
        if not np.isfinite(value):
            raise Stop(Status.NONFINITE, f"the cost is {value} at a point of the sphere")
        self._last = z.tobytes(), value
        before, key = self.best_key[0], self.rank(z, value)
        if key < self.best_key:
            self.best_point = np.array(z)
            self.offer(self.problem.unit_kernels_at(z), *key)
        if self._patience is not None:
            self._watch_progress(z, before, value)
        return value

    def rank(self, z: Array, value: float) -> tuple[float, ...]:
        """What the best point has the least of."""
        return (value,)

    def gradient(self, z: Array, *, iterate: bool = True) -> Array:
        """Riemannian gradient at a point, counted; unless said otherwise the point is an iterate of the history."""
        value = self.cost_at(z)
        self.n_gradients += 1
        gradient = self.function.gradient(z)
        if not np.all(np.isfinite(gradient)):
            raise Stop(Status.NONFINITE, "the gradient of the cost is not finite")
        tangent = self.spheres.projected(gradient, z)
        if not iterate:
            return tangent
        self._iterate = np.array(z), value
        if self._patience is None:
            self._record(z, value, float(np.linalg.norm(tangent)))
        return tangent

    def gains(self, z: Array) -> list[float]:
        """The largest squared singular value of each part's unit kernel at a point."""
        return [float(np.max(view.squared_singular_values)) for view in self.function.views(z)]

    def cost_at(self, z: Array) -> float:
        """The cost at a point; not counted again where it was the last to be evaluated."""
        return self._last[1] if self._last is not None and self._last[0] == z.tobytes() else self.value(z)

    def hessian(self, z: Array, vector: Array) -> Array:
        """Riemannian Hessian at a point times a tangent vector, counted."""
        self.n_hessians += 1
        product = self.function.hessian(z, vector)
        if not np.all(np.isfinite(product)):
            raise Stop(Status.NONFINITE, "the Hessian of the cost is not finite")
        return self.spheres.riemannian_hessian(z, self.function.gradient(z), product, vector)

    def finish(self, body: Callable[[], tuple[Status, str]], **extra: Any) -> Result:
        """As :meth:`Run.finish`, with cost and gradient norm at the point that is returned.

        That is the iterate that passed the test of optimality or reached a goal, if one did, else that of least cost.
        """

        def settled() -> tuple[Status, str]:
            try:
                status, message = body()
            except Stop as stop:
                status, message = stop.status, stop.message
            if status is Status.CONVERGED and self._iterate is not None:
                self.best_point, value = self._iterate
                self.best, self.best_key = self.problem.unit_kernels_at(self.best_point), (value,)
            return status, message

        result = super().finish(settled, **extra)
        cost, gradient_norm = self.best_key[0], np.nan
        if np.isfinite(cost):
            try:
                gradient = self.function.gradient(self.best_point)
                gradient_norm = float(np.linalg.norm(self.spheres.projected(gradient, self.best_point)))
            except Exception:  # a cost that raises has ended the run already, with its own message
                gradient_norm = np.nan
        return replace(result, cost=float(cost) if np.isfinite(cost) else np.nan, gradient_norm=gradient_norm)

    def _watch_progress(self, z: Array, before: float, value: float) -> None:
        """Without gradients an iterate is an improvement, and long without one the run has stalled."""
        assert self._patience is not None
        if value < before:
            self._record(z, value, np.nan)
        if not before - value <= _NO_PROGRESS * max(1.0, abs(value)):
            self._improved_at = self.n_evaluations
        elif self.n_evaluations - self._improved_at >= self._patience:
            raise Stop(Status.STALLED, f"no progress in the last {self._patience} evaluations")

    def _record(self, z: Array, value: float, gradient_norm: float) -> None:
        scaled = [part.unit_radius**2 * gain for part, gain in zip(self.problem.parts, self.gains(z), strict=True)]
        kernels = self.problem.unit_kernels_at(z)
        self.record(kernels, *scaled, cost=value, gradient_norm=gradient_norm, **self.parameters)


class ConstrainedRun(SphereRun):
    """A run that minimizes several costs in turn: points are ranked by the problem's constraint, then by distance."""

    #: Below it, violations are not told apart.
    NEGLIGIBLE = 0.1 * FEASIBILITY_TOLERANCE

    def pose(self, cost: Cost | Sequence[Cost], **parameters: float) -> None:
        """Go on with another cost, or one for each part of the problem.

        The parameters are columns of the history, the same for every cost of a run.
        """
        self.function = SphereFunction(self.problem, cost, self.function.xp.name)
        self.parameters, self._last = parameters, None

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
        for factor in (1.0, 100.0) if raising else (1.0, 10.0, 100.0):
            before, found = self.best_key, rounds(factor * penalty)
            outcome = found if self.best_key < before or not outcome[1] else outcome
            if not raising and self.best_key[0] <= FEASIBILITY_TOLERANCE:
                break
        return outcome

    def violation(self, z: Array) -> float:
        """Relative error of the stable rank; that of the norm is half of it, as kernels have the right radius.

        Of several parts the largest.
        """
        parts = zip(self.problem.parts, self.gains(z), strict=True)
        return max(abs(part.target_gain / gain - 1) if gain > 0 else np.inf for part, gain in parts)

    def finish(self, body: Callable[[], tuple[Status, str]], **extra: Any) -> Result:
        """As :meth:`Run.finish`, with the objective as the cost and stationarity in the constrained problem."""
        result = Run.finish(self, body, **extra)
        assert self.best is not None  # the start, at least
        scores = self.problem.scores(self.best, np.ones(len(self.problem.parts)))  # whatever the gains
        point = self.problem.to_sphere(result.kernel)
        return replace(result, cost=scores["objective"], gradient_norm=stationarity(self.problem, point))

    def _objective(self, z: Array) -> float:
        """As a part of ``‖C(a)‖²``."""
        pairs = zip(self.problem.parts, self.function.views(z), strict=True)
        return sum(objective_weight(self.problem, part) * float(view.fidelity) for part, view in pairs)
