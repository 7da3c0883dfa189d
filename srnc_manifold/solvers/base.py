"""What a solver is, and the bookkeeping that every run shares: counting, recording, stopping."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import spectrum
from srnc_manifold.costs import Cost, ExactPenaltyCost, SphereFunction
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.result import FEASIBILITY_TOLERANCE, Bound, History, Result, Status
from srnc_manifold.validation import require_count, require_positive

P = TypeVar("P", bound=Problem)

Rng = int | np.random.Generator | None
Callback = Callable[[dict[str, float]], Any]

STOPPED_BY_CALLBACK = "stopped by the callback"

# A run without gradients makes progress where its cost falls by more than this part of it.
_NO_PROGRESS = 1e-12

# Iterates of larger kernels are not kept in the history: they would outweigh everything else in it.
MAX_RECORDED_SIZE = 100


@dataclass(frozen=True)
class Budget:
    """When to end a run, beside a solver's own settings; ``None`` is never.

    Two limits, after which the status is ``LIMIT``, and three goals, at which it is ``CONVERGED`` with that iterate as
    the result; the message says which. What a limit cut short and what reached a goal are told apart.

    Attributes
    ----------
    max_evaluations : int
        Kernels whose singular values may be computed.
    max_time : float
        Seconds.
    gradient_norm : float
        Goal for the norm of the Riemannian gradient of what the solver minimizes.
    violation : float
        Goal for the larger relative error of stable rank and spectral norm; with a goal for the gap only both together.
    gap : float
        Goal for the distance of the objective to ``bound``, as a part of ``‖C(a)‖_F²``, of an iterate that is feasible
        (to ``violation``, or 1e-6).
    bound : Bound or float
        On the objective; see :func:`srnc_manifold.bound`. Needed for ``gap``.
    """

    max_evaluations: int | None = None
    max_time: float | None = None
    gradient_norm: float | None = None
    violation: float | None = None
    gap: float | None = None
    bound: Bound | float | None = None

    def __post_init__(self) -> None:
        if self.max_evaluations is not None:
            require_count(max_evaluations=self.max_evaluations)
        names = ("max_time", "gradient_norm", "violation", "gap")
        require_positive(**{name: getattr(self, name) for name in names if getattr(self, name) is not None})
        if (self.gap is None) != (self.bound is None):
            given = "gap" if self.bound is None else "bound"
            raise ValueError(f"{given}: given alone, expected gap and bound together")
        if self.bound is not None and not np.isfinite(self.bound_on_objective):
            raise ValueError(f"bound: {self.bound!r} given, expected a Bound or a finite number")

    @property
    def bound_on_objective(self) -> float:
        """``bound`` as a number."""
        return self.bound.objective if isinstance(self.bound, Bound) else float(self.bound or 0.0)

    def reached(self, row: dict[str, float], squared_norm: float) -> str:
        """Which goal a row of a history reaches, in words; empty if none."""
        violation = max(row["stable_rank_error"], row["spectral_norm_error"])
        if self.gradient_norm is not None and row["gradient_norm"] <= self.gradient_norm:
            return f"gradient norm {row['gradient_norm']:.1e} is within the goal of {self.gradient_norm:g}"
        if self.gap is not None:
            gap = (row["objective"] - self.bound_on_objective) / squared_norm
            allowed = FEASIBILITY_TOLERANCE if self.violation is None else self.violation
            if violation <= allowed and gap <= self.gap:
                return f"gap {gap:.1e} to the bound is within the goal of {self.gap:g}, violation {violation:.1e}"
        elif self.violation is not None and violation <= self.violation:
            return f"violation {violation:.1e} is within the goal of {self.violation:g}"
        return ""


class Solver(ABC):
    """A method with its settings; a frozen dataclass. A new one is one file with ``supports`` and ``run``."""

    #: Whether the result depends on the start or on ``rng``; if not, a comparison runs it once, not once a seed.
    stochastic: ClassVar[bool] = True

    #: Whether ``run`` takes every :class:`srnc_manifold.problem.Problem`, not those of a single free kernel only.
    products: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name and settings, as shown in tables."""
        return type(self).__name__

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        """Whether the solver takes this problem, and if not, why."""
        return True, ""

    @abstractmethod
    def run(
        self,
        problem: SRNProblem,
        start: Array | None = None,
        *,
        budget: Budget | None = None,
        rng: Rng = None,
        callback: Callback | None = None,
    ) -> Result:
        """Solve, without printing and without scoring; :func:`srnc_manifold.solve` checks, calls this and scores."""


class SphereSolver(Solver):
    """A method on products of spheres, which takes every problem that leaves something to choose on them."""

    products = True

    def supports(self, problem: Problem) -> tuple[bool, str]:
        """Whether there is anything to optimize."""
        if problem.spheres.dimension < 1:
            return False, "a kernel with one entry leaves nothing to optimize on a sphere"
        return True, ""


def require_cost(cost: Any) -> None:
    """Refuse what is not an instance of a cost."""
    if not isinstance(cost, Cost):
        raise TypeError(f"cost: {cost!r} given, expected an instance of a cost, such as srnc.costs.LogSumExp()")


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
        gain = float(spectrum.gain(unit_kernel, self.problem.parts[0].geometry))
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


def objective_weight(problem: Problem, part: SRNProblem) -> float:
    """What makes a view's distance, in units of the part's spectral norm, the objective over ``‖C(a)‖_F²``."""
    return part.spectral_norm / problem.squared_norm * part.spectral_norm


def binding_side(regime: str) -> str:
    """The half of (15) that binds; see :class:`srnc_manifold.costs.constraints.ConstrainedCost`."""
    return "stay-below" if regime == "raise" else "reach"


def nonsmooth_costs(problem: Problem, penalty: float) -> list[Cost]:
    """The exact penalty with the maximum itself, of every part, for solvers that need no smoothness."""
    return [ExactPenaltyCost("equal", objective_weight(problem, part), penalty) for part in problem.parts]


def stationarity(problem: Problem, z: Array, blocks: Sequence[int] | None = None) -> float:
    """Norm of the objective's gradient after projection onto the tangent space of the active constraints, relative.

    At the kernel that a point of the spheres describes. Active are the norms and, in each part, the singular values
    within 1e-6 of the largest, in the given blocks if some are given. Zero at a Karush-Kuhn-Tucker point; NaN where a
    part's active constraints have parallel gradients, as at the least feasible stable rank, and tell nothing.
    """
    z = np.ravel(z)
    w = problem.embed(z)
    gradient, normals, silent = np.zeros_like(w), [], False
    for part, place in zip(problem.parts, problem.kernel_slices, strict=True):
        share = objective_weight(problem, part) * part.geometry.n_points
        gradient[place] = share * part.unit_radius * (part.unit_radius * w[place] - part.unit_kernel.ravel())
        own = []
        for atom in part.singular_values_at(w[place], _largest, blocks)[1]:
            covector = np.zeros_like(w)
            covector[place] = atom
            own.append(problem.embed_adjoint(z, covector))
        tangents = [np.linalg.norm(problem.spheres.projected(normal, z)) for normal in own]
        steep = (t > FEASIBILITY_TOLERANCE * np.linalg.norm(n) for t, n in zip(tangents, own, strict=True))
        silent |= part.kernel.size > 1 and not any(steep)
        normals += own
    gradient = problem.embed_adjoint(z, gradient)
    size = np.linalg.norm(gradient)
    if size <= 1e-12:
        return 0.0
    if silent:
        return np.nan
    radii = np.zeros((z.size, len(problem.spheres.sizes)))
    for k, place in enumerate(problem.spheres.slices):
        radii[place, k] = z[place]
    basis = np.column_stack([radii, *normals])
    basis /= np.linalg.norm(basis, axis=0)
    directions, sizes, _ = np.linalg.svd(basis, full_matrices=False)
    spanned = directions[:, sizes > 1e-14]
    return float(np.linalg.norm(gradient - spanned @ (spanned.T @ gradient)) / size)


def _largest(singular_values: Array) -> NDArray[np.bool_]:
    """Those that attain the spectral norm."""
    return singular_values >= (1 - FEASIBILITY_TOLERANCE) * np.max(singular_values)
