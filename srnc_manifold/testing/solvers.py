"""The contract test for solvers."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.problem import Problem
from srnc_manifold.process import exclusive, one_thread
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers import Budget, Solver
from srnc_manifold.solvers.stacks import carry_out
from srnc_manifold.testing.problems import FACTOR, ROUNDING, kernel_problems, other_problems, pickled, scaled

# Columns that every history has; see :class:`srnc_manifold.History`.
_COLUMNS = (
    "iteration",
    "evaluations",
    "time",
    "cost",
    "gradient_norm",
    "objective",
    "stable_rank",
    "spectral_norm",
    "distance",
    "stable_rank_error",
    "spectral_norm_error",
)

# _SOME is enough to leave the start, and small enough for many runs. _FEW stops nearly every run before its end.
_SOME, _FEW = Budget(max_evaluations=30), Budget(max_evaluations=2)

# A short time limit, and the seconds within which the run must end: one step of the slowest method on a busy machine.
_SHORT, _GRACE = Budget(max_time=0.01), 2.0


@exclusive
def check_solver(solver: Solver, *, rng: int | np.random.Generator = 0) -> None:
    """Assert that a solver keeps the contract of :class:`srnc_manifold.solvers.Solver`.

    The problems are small and of the kinds that :func:`check_cost` uses; products of spheres are included if the solver
    supports them. On each problem that the solver supports:

    - The solver returns a :class:`srnc_manifold.Result` with a finite kernel of the right shape, and its status is not
      ``FAILED``. It prints nothing, and it does not change the global random state, the problem or a given start.
    - The same ``rng``, given as an integer or as a generator, gives the same kernel, bit for bit. If the solver is
      declared deterministic (``stochastic = False``), every ``rng`` gives the same kernel.
    - The history has its columns, and the callback receives them. If the callback raises ``StopIteration``, or if
      Ctrl-C is pressed, the run ends with the status ``LIMIT`` and the best kernel so far. After Ctrl-C,
      ``details["interrupted"]`` is true.
    - Budgets are kept. The number of evaluations never exceeds its limit, and the status is ``LIMIT`` if this limit
      stops the run. The time limit is kept within two seconds.
    - The result can be written to JSON and read back, the solver can be pickled, and its name stays the same.
    - A kernel 1024 times as large gives a result 1024 times as large, up to 1e-9 of its norm.

    Two properties are not tested: that evaluations are counted correctly, and that a given start is used (not every
    method can use one).

    Parameters
    ----------
    solver : Solver
        An instance.
    rng : int or numpy.random.Generator, optional
        Source of the problems.

    Raises
    ------
    AssertionError
        If a property does not hold. The message gives the property, the problem and the numbers.
    TypeError
        If ``solver`` is not an instance of a solver.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> from srnc_manifold.testing import check_solver
    >>> check_solver(srnc.solvers.MatrixSRN())
    """
    if not isinstance(solver, Solver):
        raise TypeError(f"solver: {solver!r} given, expected an instance of a solver, such as srnc.solvers.Exact()")
    generator = np.random.default_rng(rng)
    candidates: list[Any] = [*kernel_problems(generator), *(other_problems(generator) if solver.products else ())]
    problems = [problem for problem in candidates if _supported(solver, problem)]
    assert problems, f"{solver.name}: supports none of the problems of the test"
    seed = int(generator.integers(2**32))
    with one_thread():  # as in :func:`srnc_manifold.solve`: with another order of summation the result differs
        for problem in problems:
            trial = _Trial(solver, solver.name, problem, seed)
            rows: list[dict[str, float]] = []
            result = trial.run(callback=rows.append)
            _check_history(trial, result, rows)
            _check_files(trial, result)
            _check_repetition(trial, result)
            _check_budgets(trial, result)
            _check_endings(trial, last=min(2, len(rows)))
            _check_start(trial, generator)
            _check_scale(trial, result)


class _Interrupt(KeyboardInterrupt):
    """A simulated Ctrl-C, which is different from a real Ctrl-C of the user."""


@dataclass(frozen=True)
class _Trial:
    """A solver on a problem, which is run several times with the same seed."""

    solver: Solver
    name: str
    problem: Any
    seed: int

    def require(self, holds: bool, message: str) -> None:
        """Assert, with the solver and the problem in the message."""
        assert holds, f"{self.name}: {message}, on {self.problem}"

    def run(
        self,
        case: str = "",
        *,
        start: Any = None,
        rng: Any = None,
        budget: Budget = _SOME,
        callback: Any = None,
    ) -> Result:
        """One run, with the checks that apply to every run. ``case`` names the run in messages."""
        before, printed = _protected_data(self.problem), io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                result = carry_out(
                    self.solver,
                    self.problem,
                    start=start,
                    budget=budget,
                    rng=self.seed if rng is None else rng,
                    callback=callback,
                )
        except (Exception, _Interrupt) as error:
            message = f"{case}raised {type(error).__name__}: {error}; expected a Result with a status"
            raise AssertionError(f"{self.name}: {message}, on {self.problem}") from error
        self.require(not printed.getvalue(), f"{case}printed {printed.getvalue()!r}")
        for what, value in _protected_data(self.problem).items():
            self.require(value == before[what], f"{case}changed {what}")
        self.require(isinstance(result, Result), f"{case}returned {type(result).__name__}, expected a Result")
        shape = np.shape(result.kernel)
        self.require(shape == self.problem.kernel.shape, f"{case}returned a kernel of shape {shape}")
        self.require(bool(np.all(np.isfinite(result.kernel))), f"{case}returned a kernel that is not finite")
        self.require(result.status is not Status.FAILED, f"{case}failed: {result.message}")
        self.require(result.solver == self.name, f"name of the solver is not stable: its result says {result.solver!r}")
        limit = budget.max_evaluations
        self.require(
            limit is None or result.n_evaluations <= limit,
            f"{case}the budget of {limit} evaluations is not kept: {result.n_evaluations} were used",
        )
        return result

    def require_same(self, result: Result, other: Result, message: str) -> None:
        """Assert that two kernels are the same bit for bit."""
        difference = float(np.max(np.abs(result.kernel - other.kernel)))
        self.require(np.array_equal(result.kernel, other.kernel), f"{message}; they differ by up to {difference:.1e}")


def _protected_data(problem: Problem) -> dict[str, bytes]:
    """The data that a solver must not change, as bytes."""
    arrays = [problem.kernel]
    for part in problem.parts:
        arrays += [part.kernel, part.unit_kernel, part.direction]
    state = random.getstate(), np.random.get_state()  # noqa: NPY002
    return {"the global random state": pickle.dumps(state), "the problem": b"".join(a.tobytes() for a in arrays)}


def _supported(solver: Solver, problem: Any) -> bool:
    supported, reason = solver.supports(problem)
    assert supported or reason, f"{solver.name}: refuses without a reason, {problem}"
    return supported


def _check_history(trial: _Trial, result: Result, rows: list[dict[str, float]]) -> None:
    columns = result.history.columns
    missing = [name for name in _COLUMNS if name not in columns]
    trial.require(not missing, f"history lacks the columns {', '.join(missing)}")
    lengths = {len(column) for column in columns.values()}
    trial.require(len(lengths) == 1 and lengths != {0}, f"history has columns of lengths {sorted(lengths)}")
    for name in ("evaluations", "time"):
        trial.require(bool(np.all(np.diff(columns[name]) >= 0)), f"history has a column {name!r} that decreases")
    counted, seen = result.n_evaluations, int(columns["evaluations"][-1])
    trial.require(counted >= 1, "evaluations are not counted: 0 in the result")
    trial.require(seen <= counted, f"evaluations are {seen} in the history and {counted} in the result")
    trial.require(bool(rows), "the callback is never called")
    trial.require(set(_COLUMNS) <= set(rows[0]), f"the callback is shown {rows[0]}, expected a row of the history")


def _check_files(trial: _Trial, result: Result) -> None:
    try:
        text = result.to_json()
        again = Result.from_json(text)
    except (TypeError, ValueError, AttributeError) as error:
        raise AssertionError(f"{trial.name}: result cannot be written as JSON: {error}, on {trial.problem}") from error
    trial.require(again.to_json() == text, "result is different after it is written to JSON and read back")
    trial.require_same(result, again, "kernel is different after it is written to JSON and read back")


def _check_repetition(trial: _Trial, result: Result) -> None:
    same = "the same rng gives different kernels"
    trial.require_same(result, trial.run(rng=np.random.default_rng(trial.seed)), f"{same}, integer and generator")
    copy = pickled(trial.solver, f"{trial.name}: solver")
    trial.require(copy.name == trial.name, f"name of the solver is {copy.name!r} after pickling")
    theirs = _Trial(copy, trial.name, trial.problem, trial.seed).run("pickled, it ")
    trial.require_same(result, theirs, f"{same}, before and after pickling")
    if not trial.solver.stochastic:
        trial.require_same(result, trial.run(rng=trial.seed + 1), "stochastic is False, but another rng matters")


def _check_budgets(trial: _Trial, result: Result) -> None:
    cut = trial.run(budget=_FEW)
    trial.require(
        result.n_evaluations <= cut.n_evaluations or cut.status is Status.LIMIT,
        f"status is {cut.status} after a budget of {_FEW.max_evaluations} evaluations, expected limit: "
        f"with more of them it uses {result.n_evaluations}",
    )
    began = time.perf_counter()
    trial.run(budget=_SHORT)
    took = time.perf_counter() - began
    trial.require(took <= _GRACE, f"the budget of {_SHORT.max_time} s is not kept: the run took {took:.2g} s")


def _check_endings(trial: _Trial, last: int) -> None:
    """The callback ends the run at a row in two ways. Both runs return the same kernel."""
    stopped = _ended(trial, last, "stopped by its callback, ", StopIteration)
    interrupted = _ended(trial, last, "interrupted, ", _Interrupt)
    trial.require(interrupted.details.get("interrupted") is True, "interrupted, it does not say so in details")
    trial.require_same(stopped, interrupted, "interrupted, it keeps another kernel than if stopped by its callback")


def _ended(trial: _Trial, last: int, case: str, error: type[BaseException]) -> Result:
    calls = 0

    def callback(_: dict[str, float]) -> None:
        nonlocal calls
        calls += 1
        if calls >= last:
            raise error

    result = trial.run(case, callback=callback)
    trial.require(calls == last, f"{case}it went on: {calls} calls, expected {last}")
    trial.require(result.status is Status.LIMIT, f"{case}its status is {result.status}, expected limit")
    return result


def _check_start(trial: _Trial, rng: np.random.Generator) -> None:
    problem = trial.problem
    start = problem.from_units(problem.unit_kernels_at(problem.spheres.random_point(rng)))
    before = start.copy()
    trial.run("with a start ", start=start)
    trial.require(np.array_equal(start, before), "changed the start that it was given")


def _check_scale(trial: _Trial, result: Result) -> None:
    other = _Trial(trial.solver, trial.name, scaled(trial.problem, FACTOR), trial.seed).run()
    difference = float(np.linalg.norm(other.kernel / FACTOR - result.kernel) / np.linalg.norm(result.kernel))
    trial.require(
        difference <= ROUNDING,
        f"depends on the scale of the kernel: with {FACTOR:g} times the kernel the result differs by {difference:.1e} "
        "of its norm",
    )
