"""The contract tests: the package's own solvers and bounds pass, and whatever breaks a rule is told which."""

import contextlib
import time
from dataclasses import replace

import numpy as np
import pytest
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.registry import COST_NAMES, SOLVER_NAMES, solver_from_name
from srnc_manifold.solvers import Budget, GradientDescent, Solver, Stop
from srnc_manifold.testing import check_bound, check_solver
from srnc_manifold.testing import solvers as testing

WITH_OTHER_COSTS = [f"trust-regions:{cost}" for cost in COST_NAMES if cost != "lse"]


# Of every kind one; the others differ by a setting.
KINDS = (
    "exact",
    "slsqp[n_starts=3]",
    "atom-search",
    "exact-penalty",
    "subgradient",
    "srn-c-repaired",
    "matrix-srn",
    "conjugate-gradient",
)
OTHERS = [pytest.param(name, marks=slow) for name in (*SOLVER_NAMES, *WITH_OTHER_COSTS) if name not in KINDS]


@pytest.mark.parametrize("name", [*KINDS, *OTHERS])
def test_built_in_solvers_keep_the_contract(name):
    check_solver(solver_from_name(name))


def test_contracts_are_for_instances_of_solvers():
    with pytest.raises(TypeError, match="solver: 'exact' given, expected an instance of a solver"):
        check_solver("exact")


# -- check_solver catches what is wrong ---------------------------------------------------------------------------


class Good(GradientDescent):
    """What the broken ones below would be without their fault: changed before and after their run."""

    name = "good"

    def __init__(self, **settings):
        super().__init__(**({"step_rule": "armijo"} | settings))

    def run(self, run):
        self.before(run)
        try:
            return super().run(run)
        finally:
            self.after(run)

    def before(self, run):
        """What goes wrong first."""

    def after(self, run):
        """What goes wrong in the end."""


class Flat(Good):
    def after(self, run):
        run.offer(run.best.ravel()[:-1], -np.inf)


class NotFinite(Good):
    def after(self, run):
        run.offer(np.nan * run.best, -np.inf)


class OnlyTheKernel(Good):
    def run(self, run):
        with contextlib.suppress(Stop):
            super().run(run)
        return run.best


class OtherStatus(Good):
    def run(self, run):
        with contextlib.suppress(Stop):
            super().run(run)
        return "great", "indeed"


class Raises(Good):
    def before(self, run):
        raise OSError("no more memory")


class Exits(Good):
    def before(self, run):
        raise SystemExit(3)


class Fails(Good):
    def run(self, run):
        with contextlib.suppress(Stop):
            super().run(run)
        return srnc.Status.FAILED, "no"


class Prints(Good):
    def after(self, run):
        print("done")


class Renamed(Good):
    @property
    def name(self):  # type: ignore[override]
        return f"good {time.perf_counter()}"


class Unseeded(Good):
    def before(self, run):
        run.rng = np.random.default_rng()


class GlobalState(Good):
    def after(self, run):
        np.random.seed(0)  # noqa: NPY002


class ScalesTheProblem(Good):
    def after(self, run):
        for part in run.problem.parts:
            part.unit_kernel = 2 * part.unit_kernel  # its entries are read-only


class ScalesTheStart(Good):
    def after(self, run):
        if run.start is not None:
            run.start *= 2


class IgnoresEvaluations(Good):
    def before(self, run):
        run.budget = Budget(max_evaluations=100)


class NeverCutShort(Good):
    def run(self, run):
        with contextlib.suppress(Stop):
            super().run(run)
        return srnc.Status.STALLED, "stuck"


class IgnoresTime(Good):
    def before(self, run):
        if run.budget.max_time is not None:
            time.sleep(0.2)


class CountsNothing(Good):
    def after(self, run):
        run.n_evaluations = 0


class CountsLess(Good):
    def after(self, run):
        run.n_evaluations = 1


class LacksColumns(Good):
    def after(self, run):
        del run.history.columns["stable_rank"]


class LongerColumns(Good):
    def after(self, run):
        run.history.columns["cost"].append(0.0)


class Backwards(Good):
    def after(self, run):
        run.history.columns["time"].reverse()


class NoHistory(Good):
    def after(self, run):
        run.history = srnc.History({name: [] for name in run.history.columns})


class NoCallback(Good):
    def before(self, run):
        run.callback = None


class ShowsNumbers(Good):
    def before(self, run):
        callback = run.callback
        run.callback = callback and (lambda row: callback({"cost": row["cost"]}))


class GoesOn(Good):
    def before(self, run):
        callback = run.callback

        def deaf(row):
            with contextlib.suppress(StopIteration):
                callback(row)

        run.callback = callback and deaf


class NotJson(Good):
    def after(self, run):
        run.details["problem"] = run.problem


class KeysOfIntegers(Good):
    def after(self, run):
        run.details |= {1: "one", "1": "another one"}


class SaysNothingIsRandom(Good):
    stochastic = False


class RefusesAll(Good):
    def supports(self, problem):
        return False, "never"


class RefusesWithoutReason(Good):
    def supports(self, problem):
        return False, ""


class AbsoluteSteps(Good):
    def run(self, run):
        return GradientDescent(step_size=0.01 * run.problem.parts[0].spectral_norm).run(run)


class CannotBePickled(Good):
    def __init__(self):
        super().__init__()
        object.__setattr__(self, "make", lambda: None)


class Forgetful(Good):
    """Loses its setting in a pickle."""

    def __reduce__(self):
        return Forgetful._other, ()

    @staticmethod
    def _other():
        return Forgetful(step_rule="fixed", step_size=0.2)


class Renames(Good):
    def __reduce__(self):
        return Bad, ()


class Bad(Good):
    name = "bad"


class Rows(Solver):
    """Records a few kernels."""

    name = "rows"

    def run(self, run):
        best = run.problem.unit_kernel
        for step in range(5):
            run.count_evaluation()
            run.offer((1 + step) * best, -step)
            run.record(best, run.problem.gain(best), cost=-step, gradient_norm=np.nan)
        return srnc.Status.CONVERGED, "five rows"


class InterruptedSilently(Rows):
    def run(self, run):
        try:
            return super().run(run)
        except KeyboardInterrupt:
            return srnc.Status.LIMIT, "something came up"


class InterruptedWithLoss(Rows):
    def run(self, run):
        try:
            return super().run(run)
        except KeyboardInterrupt:
            run.best = run.problem.unit_kernel
            raise


class ConvergedWhenStopped(Rows):
    def run(self, run):
        try:
            return super().run(run)
        except Stop as stop:
            return (srnc.Status.CONVERGED if "callback" in stop.message else stop.status), stop.message


def test_the_good_ones_pass():
    check_solver(Good())
    check_solver(Rows())


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Flat(), "failed: ValueError: unit_kernel: 3 entries given, expected 4"),
        (NotFinite(), "failed: ValueError: unit_kernel: entries given that are not finite"),
        (OnlyTheKernel(), "failed: TypeError: run: ndarray returned, expected a status and a message"),
        (OtherStatus(), "failed: TypeError: run: 'great' and 'indeed' returned, expected a status and a message"),
        (Raises(), "failed: OSError: no more memory"),
        (Exits(), "failed: SystemExit: 3"),
        (Fails(), "failed: no"),
        (Prints(), r"printed 'done\\n'"),
        (Renamed(), "name of the solver is not stable: its result says 'good "),
        (Unseeded(), "the same rng gives different kernels, integer and generator; they differ by up to"),
        (GlobalState(), "changed the global random state"),
        (ScalesTheProblem(), "changed the problem"),
        (ScalesTheStart(), "changed the start that it was given"),
        (IgnoresEvaluations(), "the budget of 30 evaluations is not kept: 100 were used"),
        (NeverCutShort(), "status is stalled after a budget of 2 evaluations, expected limit"),
        (CountsNothing(), "evaluations are not counted: 0 in the result"),
        (CountsLess(), r"evaluations are \d+ in the history and 1 in the result"),
        (LacksColumns(), "history lacks the columns stable_rank"),
        (LongerColumns(), "history has columns of lengths"),
        (Backwards(), "history has a column 'time' that decreases"),
        (NoHistory(), r"history has columns of lengths \[0\]"),
        (NoCallback(), "the callback is never called"),
        (ShowsNumbers(), "the callback is shown {'cost': .*expected a row of the history"),
        (GoesOn(), "stopped by its callback, it went on: .* calls, expected 2"),
        (NotJson(), "result cannot be written as JSON: SRNProblem"),
        (KeysOfIntegers(), "result is different after it is written to JSON and read back"),
        (SaysNothingIsRandom(), "stochastic is False, but another rng matters"),
        (RefusesAll(), "supports none of the problems"),
        (RefusesWithoutReason(), "refuses without a reason"),
        (AbsoluteSteps(), "depends on the scale of the kernel: with 1024 times the kernel the result differs by"),
        (CannotBePickled(), "solver does not survive pickling"),
        (Forgetful(), "the same rng gives different kernels, before and after pickling"),
        (Renames(), "name of the solver is 'bad' after pickling"),
        (InterruptedSilently(), "interrupted, it does not say so in details"),
        (InterruptedWithLoss(), "interrupted, it keeps another kernel than if stopped by its callback"),
        (ConvergedWhenStopped(), "stopped by its callback, its status is converged, expected limit"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Solver) else "",
)
def test_check_solver_finds_what_is_wrong(solver, message):
    with pytest.raises(AssertionError, match=rf"^(good|rows)[ .\d]*: {message}"):
        check_solver(solver)


def test_check_solver_finds_what_takes_too_long(monkeypatch):
    monkeypatch.setattr(testing, "_GRACE", 0.1)
    with pytest.raises(AssertionError, match=r"good: the budget of 0.01 s is not kept: the run took"):
        check_solver(IgnoresTime())


# -- bounds -------------------------------------------------------------------------------------------------------


def lemma(problem):
    return srnc.bound(problem, "caps")


def of_exact(problem):
    return srnc.solve(problem).bound


@pytest.mark.parametrize("bound", [srnc.bound, lemma, of_exact])
def test_built_in_bounds_keep_the_contract(bound):
    check_bound(bound)


def a_number(_):
    return 0.0


def infinite(problem):
    return replace(srnc.bound(problem), objective=-np.inf)


def too_high(problem):
    found = of_exact(problem)
    return replace(found, objective=found.objective + 1e-6 * problem.squared_norm)


def unproved(problem):
    found = srnc.bound(problem)
    return replace(found, objective=0.9 * found.objective)


def without_certificate(problem):
    return replace(lemma(problem), certificate={})


def not_json(problem):
    return replace(lemma(problem), method=np.random.default_rng())


def not_pickled(problem):
    return replace(lemma(problem), method=lambda: "the Lemma")


def single(problem):
    """Its certificate is rounded in a pickle."""
    found = lemma(problem)
    return Rounded(found.objective, found.method, found.kind, found.certificate)


class Rounded(srnc.Bound):
    def __reduce__(self):
        return srnc.Bound, (float(np.float32(self.objective)), self.method, self.kind, self.certificate)


def of_small_kernels(problem):
    if problem.spectral_norm < 100:
        return lemma(problem)
    return srnc.Bound(problem.objective_at(0.0), "the norms alone", "trivial")


def refuses(_):
    raise ValueError("not for this problem")


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (a_number, "float returned, expected a Bound, on SRNProblem"),
        (infinite, "the bound is -inf"),
        (too_high, "the bound .* exceeds the objective .* of a feasible kernel"),
        (unproved, "the certificate proves .*, the bound says"),
        (without_certificate, "the certificate cannot be verified: ValueError: problem: the certificate is not"),
        (not_json, "the bound cannot be written as JSON: Generator"),
        (not_pickled, "the bound does not survive pickling"),
        (single, "the bound is different after pickling"),
        (of_small_kernels, "depends on the scale of the kernel: with 1024 times the kernel .* instead of"),
        (refuses, "refuses every problem of the test, the last one with: not for this problem"),
    ],
)
def test_check_bound_finds_what_is_wrong(bound, message):
    with pytest.raises(AssertionError, match=f"{bound.__name__}: {message}"):
        check_bound(bound)
