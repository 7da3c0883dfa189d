"""Contract tests for anyone's costs, solvers and bounds: do they do what the package relies on?"""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.backends import namespace
from srnc_manifold.costs import Cost, SphereFunction, View
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.products import SeparableProblem, StackProblem
from srnc_manifold.result import Bound, Result, Status
from srnc_manifold.solvers import Budget, Solver, solve

# Relative disagreement of libraries that is rounding: sums of a few hundred terms in double precision.
_AGREEMENT = 1e-8

# Columns of every history; see :class:`srnc_manifold.History`.
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

# Enough to leave the start, few enough for many runs; one that cuts nearly every method short.
_SOME, _FEW = Budget(max_evaluations=30), Budget(max_evaluations=2)

# A short time, and the seconds after it in which a run has to end: one step of the slowest method on a busy machine.
_SHORT, _GRACE = Budget(max_time=0.01), 2.0

# A power of two changes no rounding, so that a solver which works in units of the kernel takes the same steps.
_FACTOR = 1024.0

# Relative difference of kernels and of bounds, in units of the kernel's norm and its square, that is rounding.
_ROUNDING = 1e-9


def check_cost(cost: Cost, *, rng: int | np.random.Generator = 0) -> None:
    """Assert that a cost keeps the contract of :class:`srnc_manifold.costs.Cost`.

    On problems in 1-D, 2-D, with channels and dense, reducing and raising, and on products of spheres (a stack,
    separable kernels): the value is a finite number; the gradient's Taylor remainder along the spheres has a slope of 2
    or more (less 0.1), and the Hessian's one of 3 (less 0.2) where the cost calls itself smooth; NumPy, autograd and
    torch (if installed) agree; and the value depends on the operator alone: not on the order of the singular values,
    nor on whether a repeated one is listed twice or with multiplicity, nor on the kernel's scale.

    Raises
    ------
    AssertionError
        Naming the property, the problem and the numbers.
    """
    generator = np.random.default_rng(rng)
    for problem in (*_kernel_problems(generator), *_product_problems(generator)):
        z = problem.spheres.random_point(generator)
        vector = problem.spheres.projected(generator.standard_normal(z.size), z)
        vector /= np.linalg.norm(vector)
        _check_value(cost, problem, z)
        _check_backends(cost, problem, z, vector)
        _check_derivatives(cost, problem, z, vector)
        if isinstance(problem, SRNProblem):
            _check_invariance(cost, problem, z, generator)


def check_solver(solver: Solver, *, rng: int | np.random.Generator = 0) -> None:
    """Assert that a solver keeps the contract of :class:`srnc_manifold.solvers.Solver`.

    On those small problems that it supports, of the kinds that :func:`check_cost` uses, products of spheres among them
    if it says that it takes these:

    - It returns a :class:`srnc_manifold.Result` with a finite kernel of the right shape, and has not failed; it prints
      nothing, leaves the global random state, the problem and a given start as they are.
    - The same ``rng``, as an integer or a generator, gives the same kernel bit for bit; so does every other one if the
      solver says that nothing random enters it.
    - The history has its columns, and the callback sees them. If the callback raises ``StopIteration``, or Ctrl-C is
      pressed, the run ends with the status ``LIMIT`` and what was found; ``details["interrupted"]`` tells Ctrl-C.
    - Budgets are kept: evaluations to the letter, with the status ``LIMIT`` where they cut the run short; time within
      two seconds.
    - The result reads back from JSON, the solver from a pickle, with the same name.
    - A kernel 1024 times as large gives a result 1024 times as large, up to 1e-9 of its norm.

    Whether evaluations are counted truly, and whether a given start is used, which not every method can, is not tested.

    Raises
    ------
    AssertionError
        Naming the property, the problem and the numbers.
    TypeError
        If it is no instance of a solver.
    """
    from threadpoolctl import threadpool_limits

    if not isinstance(solver, Solver):
        raise TypeError(f"solver: {solver!r} given, expected an instance of a solver, such as srnc.solvers.Exact()")
    generator = np.random.default_rng(rng)
    candidates: list[Any] = [*_kernel_problems(generator), *(_product_problems(generator) if solver.products else ())]
    problems = [problem for problem in candidates if _supported(solver, problem)]
    assert problems, f"{solver.name}: supports none of the problems of the test"
    seed = int(generator.integers(2**32))
    with threadpool_limits(1):  # as :func:`srnc_manifold.solve`: sums of another order lead to another point
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


def check_bound(bound: Callable[[SRNProblem], Bound], *, rng: int | np.random.Generator = 0) -> None:
    """Assert that a function of a problem gives lower bounds as :class:`srnc_manifold.Bound` promises them.

    On the problems that :func:`check_cost` uses, but for those that it refuses with a ``ValueError``: the bound is a
    finite number that exceeds the objective of no feasible kernel, neither of the exact solution nor of random kernels
    after :meth:`srnc_manifold.SRNProblem.restore`; its certificate proves it, also after a trip through JSON and
    through pickle; and for a kernel 1024 times as large it is 1024² times as large. Up to 1e-9 of ``‖C(a)‖_F²``.

    Raises
    ------
    AssertionError
        Naming the property, the problem and the numbers.
    """
    generator = np.random.default_rng(rng)
    name, refusals, bounded = getattr(bound, "__name__", repr(bound)), [], 0
    for problem in _kernel_problems(generator):
        try:
            found = bound(problem)
        except ValueError as error:
            refusals.append(str(error))
            continue
        bounded += 1
        _check_bound_value(name, problem, found, generator)
        _check_certificate(name, problem, found)
        expected, scaled = _FACTOR**2 * found.objective, bound(_scaled(problem, _FACTOR)).objective
        assert abs(scaled - expected) <= _ROUNDING * _FACTOR**2 * problem.squared_norm, (
            f"{name}: depends on the scale of the kernel: with {_FACTOR:g} times the kernel {scaled!r} instead of "
            f"{expected!r}, on {problem}"
        )
    assert bounded, f"{name}: refuses every problem of the test, the last one with: {refusals[-1]}"


def taylor_slope(remainder: Callable[[float], float], floor: float) -> float:
    """Slope of ``log remainder(t)`` against ``log t`` at the smallest steps where it stands out from rounding.

    Infinite if it never does, that is, if the expansion is exact.
    """
    steps = np.logspace(-1, -7, 25)
    errors = np.array([abs(remainder(float(t))) for t in steps])
    seen = errors > floor
    if seen.sum() < 5:
        return np.inf
    # Contiguous from the largest step down; the last ones are closest to the limit.
    last = int(np.argmin(seen)) if not seen.all() else len(seen)
    window = slice(max(0, last - 5), last)
    if last < 5:
        return np.inf
    return float(np.polyfit(np.log(steps[window]), np.log(errors[window]), 1)[0])


def _kernel_problems(rng: np.random.Generator) -> Iterator[SRNProblem]:
    for shape, size in (((4,), (9,)), ((3, 3), (6, 5)), ((2, 3, 3), (8,)), ((3, 2, 2, 2), (4, 5)), ((3, 4), ())):
        kernel = rng.standard_normal(shape)
        own = SRNProblem(kernel, size, stable_rank_fraction=1.0)
        low, high = own.feasible_range
        for end in (low, high):
            yield SRNProblem(kernel, size, stable_rank=(own.kernel_stable_rank + end) / 2)


def _product_problems(rng: np.random.Generator) -> Iterator[Problem]:
    yield StackProblem(list(_kernel_problems(rng))[1:5])
    yield SeparableProblem(rng.standard_normal((3, 2)), (6, 5), stable_rank_fraction=0.8)
    yield SeparableProblem(rng.standard_normal((2, 3, 2)), (4, 3, 5), stable_rank=24.0)


def _check_value(cost: Cost, problem: Problem, z: Array) -> None:
    view = View.at(problem.parts[0], problem.embed(z)[problem.kernel_slices[0]], namespace("numpy"))
    value = cost.value(view, namespace("numpy"))
    assert np.ndim(value) == 0, f"{cost}: value has shape {np.shape(value)}, expected a scalar, on {problem}"
    assert np.isfinite(value), f"{cost}: value is {value} on {problem}"


def _check_backends(cost: Cost, problem: Problem, z: Array, vector: Array) -> None:
    names = ["autograd"]
    with contextlib.suppress(ImportError):  # torch is not needed, but used where it is
        names.append(namespace("torch").name)
    ours = SphereFunction(problem, cost)
    for name in names:
        try:
            theirs = SphereFunction(problem, cost, name)
            pairs = [
                ("value", np.array(ours.value(z)), np.array(theirs.value(z))),
                ("gradient", ours.gradient(z), theirs.gradient(z)),
            ]
            if cost.smooth:
                pairs.append(("Hessian", ours.hessian(z, vector), theirs.hessian(z, vector)))
        except Exception as error:
            raise AssertionError(
                f"{cost}: {name} raised {type(error).__name__}: {error}; does value use only functions of xp?"
            ) from error
        for what, expected, found in pairs:
            difference = float(np.max(np.abs(expected - found)) / max(1e-300, float(np.max(np.abs(found)))))
            assert difference <= _AGREEMENT, (
                f"{cost}: {what} by {name} differs from the cost's own by {difference:.1e} (relative), on {problem}"
            )


def _check_derivatives(cost: Cost, problem: Problem, z: Array, vector: Array) -> None:
    function = SphereFunction(problem, cost)
    value, gradient = function.value(z), function.gradient(z)
    first = float(gradient @ vector)
    # Values of the size of the cost's terms are rounded to this; a hundred times more stands out.
    floor = 100 * np.finfo(float).eps * max(abs(value), abs(first))

    def along(t: float) -> float:
        return function.value(problem.spheres.retracted(z, t * vector))  # to second order a geodesic

    slope = taylor_slope(lambda t: along(t) - value - t * first, floor)
    assert slope >= 1.9, (  # more where the next derivative almost vanishes
        f"{cost}: gradient is wrong, its Taylor remainder has slope {slope:.2f}, expected 2 or more, on {problem}"
    )
    if cost.smooth:
        product = problem.spheres.riemannian_hessian(z, gradient, function.hessian(z, vector), vector)
        second = float(vector @ product)
        slope = taylor_slope(lambda t: along(t) - value - t * first - 0.5 * t**2 * second, floor)
        assert slope >= 2.8, (
            f"{cost}: Hessian is wrong, its Taylor remainder has slope {slope:.2f}, expected 3 or more, on {problem}"
        )


def _check_invariance(cost: Cost, problem: SRNProblem, z: Array, rng: np.random.Generator) -> None:
    xp = namespace("numpy")
    view = View.at(problem, z, xp)
    values, counts = view.squared_singular_values, view.multiplicities
    order = rng.permutation(len(values))
    one_by_one = np.repeat(values, counts.astype(int))
    for what, changed in (
        ("the order of the singular values", View(values[order], counts[order], view.fidelity, view.target)),
        (
            "how repeated singular values are listed",
            View(one_by_one, np.ones_like(one_by_one), view.fidelity, view.target),
        ),
        ("the scale of the kernel", View.at(_scaled(problem, 1e3), z, xp)),
    ):
        before, after = float(cost.value(view, xp)), float(cost.value(changed, xp))
        assert abs(before - after) <= 1e-9 * max(abs(before), abs(after)), (
            f"{cost}: value depends on {what}: {before!r} became {after!r}, on {problem}"
        )


def _scaled(problem: Any, factor: float) -> Any:
    if isinstance(problem, StackProblem):
        return StackProblem(_scaled(part, factor) for part in problem.parts)
    if isinstance(problem, SeparableProblem):
        free = problem.free
        return SeparableProblem(factor * free.kernel, free.input_size, stable_rank=free.stable_rank)
    return SRNProblem(factor * problem.kernel, problem.input_size, stable_rank=problem.stable_rank)


# -- solvers ----------------------------------------------------------------------------------------------------


class _Interrupt(KeyboardInterrupt):
    """Ctrl-C, told apart from that of the person who runs the test."""


@dataclass(frozen=True)
class _Trial:
    """A solver on a problem, run again and again with the same seed."""

    solver: Solver
    name: str
    problem: Any
    seed: int

    def require(self, holds: bool, message: str) -> None:
        """Assert, naming the solver and the problem."""
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
        """One run, with what holds of every run; ``case`` says in messages which one it is."""
        before, printed = _untouchable(self.problem), io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                result = self.solver.run(
                    self.problem, start, budget=budget, rng=self.seed if rng is None else rng, callback=callback
                )
        except (Exception, _Interrupt) as error:
            message = f"{case}raised {type(error).__name__}: {error}; expected a Result whose status tells"
            raise AssertionError(f"{self.name}: {message}, on {self.problem}") from error
        self.require(not printed.getvalue(), f"{case}printed {printed.getvalue()!r}")
        for what, value in _untouchable(self.problem).items():
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


def _untouchable(problem: Problem) -> dict[str, bytes]:
    """What no solver may change, as bytes."""
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
        trial.require(bool(np.all(np.diff(columns[name]) >= 0)), f"history has a column {name!r} that falls")
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
    trial.require(again.to_json() == text, "result is another one after a trip through JSON")
    trial.require_same(result, again, "kernel is another one after a trip through JSON")


def _check_repetition(trial: _Trial, result: Result) -> None:
    same = "the same rng gives different kernels"
    trial.require_same(result, trial.run(rng=np.random.default_rng(trial.seed)), f"{same}, integer and generator")
    copy = _pickled(trial.solver, f"{trial.name}: solver")
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
    """The run is ended by the callback at a row in two ways, and keeps the same kernel."""
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
    scaled = _Trial(trial.solver, trial.name, _scaled(trial.problem, _FACTOR), trial.seed).run()
    difference = float(np.linalg.norm(scaled.kernel / _FACTOR - result.kernel) / np.linalg.norm(result.kernel))
    trial.require(
        difference <= _ROUNDING,
        f"depends on the scale of the kernel: with {_FACTOR:g} times the kernel the result differs by {difference:.1e} "
        "of its norm",
    )


def _pickled(thing: Any, what: str) -> Any:
    """A copy of it as worker processes get it."""
    try:
        return pickle.loads(pickle.dumps(thing))
    except Exception as error:
        raise AssertionError(f"{what} does not survive pickling: {type(error).__name__}: {error}") from error


# -- bounds -----------------------------------------------------------------------------------------------------


def _check_bound_value(name: str, problem: SRNProblem, found: Bound, rng: np.random.Generator) -> None:
    assert isinstance(found, Bound), f"{name}: {type(found).__name__} returned, expected a Bound, on {problem}"
    assert np.isfinite(found.objective), f"{name}: the bound is {found.objective}, on {problem}"
    kernels = [solve(problem).kernel, *rng.standard_normal((20, *problem.kernel.shape))]
    restored = [restoration.kernel for restoration in map(problem.restore, kernels) if restoration.success]
    least = min(problem.evaluate(kernel).objective for kernel in restored)
    assert found.objective <= least + _ROUNDING * problem.squared_norm, (
        f"{name}: the bound {found.objective!r} exceeds the objective {least!r} of a feasible kernel, on {problem}"
    )


def _check_certificate(name: str, problem: SRNProblem, found: Bound) -> None:
    try:
        proved = found.verify(problem)
    except Exception as error:
        message = f"the certificate cannot be verified: {type(error).__name__}: {error}"
        raise AssertionError(f"{name}: {message}, on {problem}") from error
    assert abs(proved - found.objective) <= _ROUNDING * problem.squared_norm, (
        f"{name}: the certificate proves {proved!r}, the bound says {found.objective!r}, on {problem}"
    )
    copies = {"pickling": _pickled(found, f"{name}: the bound"), "JSON": _through_json(name, problem, found)}
    for trip, copy in copies.items():
        assert (copy.objective, copy.verify(problem)) == (found.objective, proved), (
            f"{name}: the bound is another one after {trip}, on {problem}"
        )


def _through_json(name: str, problem: SRNProblem, found: Bound) -> Bound:
    result = Result(problem.kernel, Status.CONVERGED, "", name, bound=found)
    try:
        copy = Result.from_json(result.to_json()).bound
    except (TypeError, ValueError, AttributeError) as error:
        raise AssertionError(f"{name}: the bound cannot be written as JSON: {error}, on {problem}") from error
    assert copy is not None
    return copy
