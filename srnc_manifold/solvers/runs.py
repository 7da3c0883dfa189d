"""One run of a solver: counting, recording, stopping. The driver opens it, a solver is given it."""

from __future__ import annotations

import contextlib
import numbers
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.arrays import as_kernel, real
from srnc_manifold.display import short
from srnc_manifold.exchange import to_json
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem
from srnc_manifold.result import Bound, History, Result, Status
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.validation import Rng, as_generator
from srnc_manifold.writing import writable

P = TypeVar("P", bound=Problem)

Callback = Callable[[dict[str, float]], Any]

STOPPED_BY_CALLBACK = "stopped by the callback"

# Iterates of larger kernels are not kept in the history: they would outweigh everything else in it.
MAX_RECORDED_SIZE = 100


class Stop(Exception):  # noqa: N818 - it ends a run, it is not an error
    """Raised inside a run to end it with a status.

    Parameters
    ----------
    status : Status
    message : str
        Why, in words.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> class Never(srnc.solvers.Solver):
    ...     def run(self, run):
    ...         raise srnc.solvers.Stop(srnc.Status.STALLED, "there is nothing to do")
    ...
    >>> srnc.solve(problem, Never()).message
    'there is nothing to do'
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Run(Generic[P]):
    """One run of a solver: it counts evaluations, keeps the history and the best point, and watches the budget.

    Kernels are given to it in units of the spectral norm of ``a``.

    Parameters
    ----------
    problem : Problem
    solver : str
        Name of the solver.
    start : array, optional
        Kernel to start from, if the user gave one.
    rng : int or numpy.random.Generator, optional
        Source of everything random.
    budget : Budget, optional
    callback : callable, optional
        Shown each row of the history.
    whole : Budget, optional
        The budget of which this run has a share, as the user gave it. It is named in messages.

    Attributes
    ----------
    history : History
    n_evaluations, n_gradients, n_hessians : int
    conclude : callable or None
        Called with the status when the method has ended. An oracle has the last word on the kernel, its cost and its
        gradient norm.
    bound, alternatives, cost, gradient_norm, details
        What else the solver has to say; see :class:`srnc_manifold.Result`.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> run = srnc.solvers.Run(problem, "mine", budget=srnc.Budget(max_evaluations=10))
    >>> run.count_evaluation()
    >>> run.offer(problem.unit_kernel, 0.0)
    >>> run.n_evaluations, run.kernel
    (1, array([1., 0., 0.]))
    """

    def __init__(
        self,
        problem: P,
        solver: str,
        *,
        start: Array | None = None,
        rng: Rng = None,
        budget: Budget | None = None,
        callback: Callback | None = None,
        whole: Budget | None = None,
    ) -> None:
        self._began = time.perf_counter()
        self.problem: P = problem
        self.solver, self.start = solver, start
        self.rng = as_generator(rng)
        self.budget, self.callback = budget or Budget(), callback
        self.whole = whole or self.budget
        self.history = History()
        self.n_evaluations = self.n_gradients = self.n_hessians = 0
        self._best: Array | Callable[[], Array] | None = None
        self.best_key: tuple[float, ...] = (np.inf,)
        self.conclude: Callable[[Status], None] | None = None
        self.bound: Bound | None = None
        self.alternatives: tuple[NDArray[Any], ...] = ()
        self.cost = self.gradient_norm = np.nan
        self.details: dict[str, Any] = {}

    @property
    def runtime(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    @property
    def best(self) -> Array | None:
        """The kernel that is returned: the one offered with the least key, or that of a goal; None before any."""
        if callable(self._best):
            self._best = self._checked(self._best())
        return self._best

    @best.setter
    def best(self, unit_kernel: Array) -> None:
        self._best = self._checked(unit_kernel)

    @property
    def kernel(self) -> Array:
        """The best kernel so far, in its own units; the given one if there is none."""
        if self.best is None:
            return self.problem.from_units(np.concatenate([part.unit_kernel.ravel() for part in self.problem.parts]))
        return self.problem.from_units(self.best.ravel())

    def first_point(self) -> Array:
        """The point of the spheres that the run starts from: that of ``start`` or a random one."""
        if self.start is None:
            return self.problem.spheres.random_point(self.rng)
        return self.problem.to_sphere(self.start).ravel()

    def count_evaluation(self, count: int = 1) -> None:
        """Count one evaluation, or as many as are made at once; or end the run if the budget has not so many left."""
        limit = self.budget.max_evaluations
        if limit is not None and self.n_evaluations + count > limit:
            raise Stop(Status.LIMIT, self._used_up(f"{limit}", f"{self.whole.max_evaluations} evaluations"))
        self.require_time()
        self.n_evaluations += count

    def offer(self, unit_kernel: Array | Callable[[], Array], *key: float) -> None:
        """Remember a kernel, or what gives it if it is asked for, if its key is the least so far.

        Raises
        ------
        TypeError, ValueError
            If it is not an array of real numbers, has not as many entries as the problem's, or one that is not finite.
        """
        if self._best is not None and not key < self.best_key:
            return
        if callable(unit_kernel):
            self._best, self.best_key = unit_kernel, key
            return
        self._best, self.best_key = self._checked(unit_kernel), key

    def _require_valid(self) -> None:
        """Refuse what a method has set and a result cannot hold."""
        self.cost, self.gradient_norm = float(self.cost), float(self.gradient_norm)
        for name, (kind, _) in _HELD.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"run.{name}: {short(repr(getattr(self, name)))} set, expected {_named(kind)}")
        self.alternatives = tuple(self._alternative(kernel) for kernel in self.alternatives)
        to_json(self.details)

    def _alternative(self, kernel: Any) -> Array:
        checked, shape = as_kernel(kernel, "run.alternatives"), self.problem.kernel.shape
        if checked.shape != shape:
            raise ValueError(f"run.alternatives: shape {checked.shape} set, expected the kernel's shape {shape}")
        return checked

    def _drop_what_is_not_valid(self) -> None:
        """Keep of a method that failed only what a result can hold."""
        self.cost, self.gradient_norm = (
            float(number) if isinstance(number, numbers.Real) else np.nan for number in (self.cost, self.gradient_norm)
        )
        for name, (kind, none) in _HELD.items():
            if not isinstance(getattr(self, name), kind):
                setattr(self, name, none())
        try:
            self.alternatives = tuple(self._alternative(kernel) for kernel in self.alternatives)
        except (TypeError, ValueError):
            self.alternatives = ()
        kept: dict[str, Any] = {}  # a new one: the old one may be the solver's own
        for name, value in self.details.items():
            with contextlib.suppress(TypeError, ValueError, RecursionError):
                to_json({name: value})
                kept[name] = value
        self.details = kept

    def _checked(self, unit_kernel: Any) -> Array:
        """A copy of a kernel that a method gives, which may be anything."""
        given = real(unit_kernel, "unit_kernel")
        kernel = np.array(given.xp.to_numpy(given.values))
        if kernel.size != self.problem.kernel.size:
            raise ValueError(f"unit_kernel: {kernel.size} entries given, expected {self.problem.kernel.size}")
        if not np.all(np.isfinite(kernel)):
            raise ValueError("unit_kernel: entries given that are not finite")
        return kernel

    def record(self, unit_kernel: Array, *gains: float, cost: float, gradient_norm: float, **more: float) -> None:
        """Add an iterate to the history; ``more`` are columns of one solver, the same in every row.

        A gain is the square of the iterate's own spectral norm, of which a problem with several parts has as many.
        """
        unit_kernel = unit_kernel.ravel()
        scores = self.problem.scores(unit_kernel, gains)
        row = {
            "iteration": len(self.history),
            "evaluations": self.n_evaluations,
            "time": self.runtime,
            "cost": cost,
            "gradient_norm": gradient_norm,
            **scores,
            "violation": max(scores["stable_rank_error"], scores["spectral_norm_error"]),
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
        """The kernel of a method that has no others: remembered and recorded."""
        self.offer(unit_kernel, 0.0)
        gain = self.problem.parts[0].operator.gain(unit_kernel)
        self.record(unit_kernel, gain, cost=np.nan, gradient_norm=np.nan)

    def time_is_left(self) -> bool:
        """Whether the budget leaves time for another step."""
        return self.budget.max_time is None or self.runtime < self.budget.max_time

    def require_time(self) -> None:
        """End the run if the budget leaves no time for another step."""
        if not self.time_is_left():
            whole = f"{self.whole.max_time:g} s" if self.whole.max_time is not None else ""
            raise Stop(Status.LIMIT, self._used_up(f"{self.budget.max_time:.3g}", whole))

    def _used_up(self, share: str, whole: str) -> str:
        if self.whole == self.budget:
            return f"the budget of {whole} is used up"
        return f"its share of {share} of the budget of {whole} is used up"

    def notify(self, row: dict[str, float]) -> None:
        """Show a row to the callback, which may end the run."""
        if self.callback is not None:
            try:
                self.callback(row)
            except StopIteration:
                raise Stop(Status.LIMIT, STOPPED_BY_CALLBACK) from None

    def carry_out(self, method: Callable[[Run[P]], tuple[Status, str]], *, throw: bool = False) -> Result:
        """Run a solver's method and pack up, whatever happens in it: nothing found so far is lost.

        An exception, ``SystemExit`` among them, becomes the status ``FAILED``, with the traceback in the details; with
        ``throw`` it is raised.
        """
        try:
            status, message = _checked(method(self))
            self._require_valid()
        except Stop as stop:
            status, message = stop.status, stop.message
        except KeyboardInterrupt:
            status, message = Status.LIMIT, "interrupted"
            self.details["interrupted"] = True
        except (Exception, SystemExit) as error:
            if throw:
                raise
            self._drop_what_is_not_valid()
            status, message = Status.FAILED, writable(f"{type(error).__name__}: {error}")
            self.details["traceback"] = traceback.format_exc()
        if self.conclude is not None:
            self.conclude(status)
        return Result(
            kernel=self.kernel,
            status=status,
            message=message,
            solver=self.solver,
            runtime=self.runtime,
            n_evaluations=self.n_evaluations,
            n_gradients=self.n_gradients,
            n_hessians=self.n_hessians,
            gradient_norm=self.gradient_norm,
            cost=self.cost,
            history=self.history,
            alternatives=self.alternatives,
            bound=self.bound,
            details=self.details,
        )


# What a method may set, of which type it is, and what makes one that says nothing.
_HELD: dict[str, tuple[Any, Callable[[], Any]]] = {
    **dict.fromkeys(("n_evaluations", "n_gradients", "n_hessians"), (numbers.Integral, int)),
    "history": (History, History),
    "alternatives": ((list, tuple), tuple),
    "bound": ((Bound, type(None)), lambda: None),
    "details": (dict, dict),
}


def _named(kind: Any) -> str:
    """A type, or several, in words."""
    return " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))


def _checked(outcome: Any) -> tuple[Status, str]:
    """What a solver's method returned."""
    if not isinstance(outcome, tuple) or len(outcome) != 2:
        raise TypeError(f"run: {type(outcome).__name__} returned, expected a status and a message")
    status, message = outcome
    if not isinstance(status, Status) or not isinstance(message, str):
        raise TypeError(f"run: {status!r} and {message!r} returned, expected a status and a message")
    return status, writable(message)
