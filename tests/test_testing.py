"""The contract tests: the package's own solvers and bounds pass, and whatever breaks a rule is told which."""

import contextlib
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.registry import COSTS, SOLVER_NAMES, solver_from_name
from srnc_manifold.solvers import Budget, GradientDescent, Run, Solver
from srnc_manifold.testing import check_bound, check_solver
from srnc_manifold.testing import solvers as testing

WITH_OTHER_COSTS = [f"trust-regions:{cost}" for cost in COSTS if cost != "lse"]


@pytest.mark.parametrize("name", [*SOLVER_NAMES, *WITH_OTHER_COSTS])
def test_built_in_solvers_keep_the_contract(name):
    check_solver(solver_from_name(name))


def test_contracts_are_for_instances_of_solvers():
    with pytest.raises(TypeError, match="solver: 'exact' given, expected an instance of a solver"):
        check_solver("exact")


# -- check_solver catches what is wrong ---------------------------------------------------------------------------


class Good(GradientDescent):
    """What the broken ones below would be without their fault."""

    name = "good"


class Wrapped(Solver):
    """A good solver whose arguments and result are changed."""

    name = "good"

    def run(self, problem, start=None, **arguments):
        good = Good(step_rule="armijo")
        return self.altered(good.run(problem, start, **self.passed(**arguments)), problem)

    def passed(self, **arguments):
        return arguments

    def altered(self, result, problem):
        return result


class Flat(Wrapped):
    def altered(self, result, problem):
        return replace(result, kernel=result.kernel.ravel()[:-1])


class NotFinite(Wrapped):
    def altered(self, result, problem):
        return replace(result, kernel=np.nan * result.kernel)


class OnlyTheKernel(Wrapped):
    def altered(self, result, problem):
        return result.kernel


class Raises(Wrapped):
    def passed(self, **arguments):
        raise OSError("no more memory")


class Fails(Wrapped):
    def altered(self, result, problem):
        return replace(result, status=srnc.Status.FAILED, message="ValueError: no")


class Prints(Wrapped):
    def altered(self, result, problem):
        print("done")
        return result


class Renamed(Wrapped):
    def altered(self, result, problem):
        return replace(result, solver=f"good {time.perf_counter()}")


class Unseeded(Wrapped):
    def passed(self, **arguments):
        return arguments | {"rng": None}


class IntegersOnly(Wrapped):
    def passed(self, rng, **arguments):
        return arguments | {"rng": rng if isinstance(rng, int) else 0}


class GlobalState(Wrapped):
    def altered(self, result, problem):
        np.random.seed(0)  # noqa: NPY002
        return result


class ScalesTheProblem(Wrapped):
    def altered(self, result, problem):
        problem.unit_kernel *= 2
        return result


class ScalesTheStart(Wrapped):
    def run(self, problem, start=None, **arguments):
        result = super().run(problem, start, **arguments)
        if start is not None:
            start *= 2
        return result


class IgnoresEvaluations(Wrapped):
    def passed(self, budget, **arguments):
        return arguments | {"budget": Budget(max_evaluations=100)}


class NeverCutShort(Wrapped):
    def altered(self, result, problem):
        return replace(result, status=srnc.Status.STALLED)


class IgnoresTime(Wrapped):
    def passed(self, budget, **arguments):
        if budget.max_time is not None:
            time.sleep(0.2)
        return arguments | {"budget": budget}


class CountsNothing(Wrapped):
    def altered(self, result, problem):
        return replace(result, n_evaluations=0)


class CountsLess(Wrapped):
    def altered(self, result, problem):
        return replace(result, n_evaluations=1)


class LacksColumns(Wrapped):
    def altered(self, result, problem):
        del result.history.columns["stable_rank"]
        return result


class LongerColumns(Wrapped):
    def altered(self, result, problem):
        result.history.columns["cost"].append(0.0)
        return result


class Backwards(Wrapped):
    def altered(self, result, problem):
        result.history.columns["time"].reverse()
        return result


class NoHistory(Wrapped):
    def altered(self, result, problem):
        return replace(result, history=srnc.History({name: [] for name in result.history.columns}))


class NoCallback(Wrapped):
    def passed(self, callback, **arguments):
        return arguments


class ShowsNumbers(Wrapped):
    def passed(self, callback, **arguments):
        return arguments | {"callback": callback and (lambda row: callback({"cost": row["cost"]}))}


class GoesOn(Wrapped):
    def passed(self, callback, **arguments):
        def deaf(row):
            with contextlib.suppress(StopIteration):
                callback(row)

        return arguments | {"callback": callback and deaf}


class NotJson(Wrapped):
    def altered(self, result, problem):
        return replace(result, details={"problem": problem})


class KeysOfIntegers(Wrapped):
    def altered(self, result, problem):
        return replace(result, details={1: "one", "1": "another one"})


class SaysNothingIsRandom(Wrapped):
    stochastic = False


class RefusesAll(Wrapped):
    def supports(self, problem):
        return False, "never"


class RefusesWithoutReason(Wrapped):
    def supports(self, problem):
        return False, ""


class AbsoluteSteps(Wrapped):
    def run(self, problem, start=None, **arguments):
        return replace(Good(step_size=0.01 * problem.spectral_norm).run(problem, start, **arguments), solver=self.name)


@dataclass(frozen=True)
class CannotBePickled(Wrapped):
    make: object = field(default_factory=lambda: lambda: None)


class Forgetful(Wrapped):
    """Loses its setting in a pickle."""

    step_size = 0.1

    def run(self, problem, start=None, **arguments):
        return Good(step_size=self.step_size).run(problem, start, **arguments)

    def __reduce__(self):
        return Forgetful._other, ()

    @staticmethod
    def _other():
        other = Forgetful()
        other.step_size = 0.2
        return other


class Renames(Wrapped):
    def __init__(self, name="good"):
        self.name = name

    def __reduce__(self):
        return Renames, ("bad",)


class Rows(Solver):
    """Records a few kernels; ``packed`` says what becomes of the run."""

    name = "rows"

    def run(self, problem, start=None, *, budget=None, rng=None, callback=None):
        run = Run(problem, self.name, budget, callback)
        best = problem.unit_kernel

        def body():
            for step in range(5):
                run.count_evaluation()
                run.offer((1 + step) * best, -step)
                run.record(best, problem.gain(best), cost=-step, gradient_norm=np.nan)
            return srnc.Status.CONVERGED, "five rows"

        return self.packed(run, body)

    def packed(self, run, body):
        return run.finish(body)


class LetsInterruptsThrough(Rows):
    def packed(self, run, body):
        interrupts = []

        def watched():
            try:
                return body()
            except KeyboardInterrupt as error:
                interrupts.append(error)
                raise

        result = run.finish(watched)
        if interrupts:
            raise interrupts[0]
        return result


class InterruptedSilently(Rows):
    def packed(self, run, body):
        return replace(run.finish(body), details={})


class InterruptedWithLoss(Rows):
    def packed(self, run, body):
        result = run.finish(body)
        return replace(result, kernel=run.problem.kernel) if result.details.get("interrupted") else result


class ConvergedWhenStopped(Rows):
    def packed(self, run, body):
        result = run.finish(body)
        return replace(result, status=srnc.Status.CONVERGED) if "callback" in result.message else result


def test_the_good_ones_pass():
    check_solver(Wrapped())
    check_solver(Rows())


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Flat(), r"returned a kernel of shape \(3,\), on SRNProblem"),
        (NotFinite(), "returned a kernel that is not finite"),
        (OnlyTheKernel(), "returned ndarray, expected a Result"),
        (Raises(), "raised OSError: no more memory; expected a Result whose status tells"),
        (Fails(), "failed: ValueError: no"),
        (Prints(), r"printed 'done\\n'"),
        (Renamed(), "name of the solver is not stable: its result says 'good "),
        (Unseeded(), "the same rng gives different kernels, integer and generator; they differ by up to"),
        (IntegersOnly(), "the same rng gives different kernels, integer and generator"),
        (GlobalState(), "changed the global random state"),
        (ScalesTheProblem(), "changed the problem"),
        (ScalesTheStart(), "changed the start that it was given"),
        (IgnoresEvaluations(), "the budget of 30 evaluations is not kept: 100 were used"),
        (NeverCutShort(), "status is stalled after a budget of 2 evaluations, expected limit"),
        (CountsNothing(), "evaluations are not counted: 0 in the result"),
        (CountsLess(), "evaluations are 30 in the history and 1 in the result"),
        (LacksColumns(), "history lacks the columns stable_rank"),
        (LongerColumns(), "history has columns of lengths"),
        (Backwards(), "history has a column 'time' that falls"),
        (NoHistory(), r"history has columns of lengths \[0\]"),
        (NoCallback(), "the callback is never called"),
        (ShowsNumbers(), "the callback is shown {'cost': .*expected a row of the history"),
        (GoesOn(), "stopped by its callback, it went on: .* calls, expected 2"),
        (NotJson(), "result cannot be written as JSON: SRNProblem"),
        (KeysOfIntegers(), "result is another one after a trip through JSON"),
        (SaysNothingIsRandom(), "stochastic is False, but another rng matters"),
        (RefusesAll(), "supports none of the problems"),
        (RefusesWithoutReason(), "refuses without a reason"),
        (AbsoluteSteps(), "depends on the scale of the kernel: with 1024 times the kernel the result differs by"),
        (CannotBePickled(), "solver does not survive pickling"),
        (Forgetful(), "the same rng gives different kernels, before and after pickling"),
        (Renames(), "name of the solver is 'bad' after pickling"),
        (LetsInterruptsThrough(), "interrupted, raised _Interrupt"),
        (InterruptedSilently(), "interrupted, it does not say so in details"),
        (InterruptedWithLoss(), "interrupted, it keeps another kernel than if stopped by its callback"),
        (ConvergedWhenStopped(), "stopped by its callback, its status is converged, expected limit"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Solver) else "",
)
def test_check_solver_finds_what_is_wrong(solver, message):
    with pytest.raises(AssertionError, match=f"^(good|rows): {message}"):
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
        (single, "the bound is another one after pickling"),
        (of_small_kernels, "depends on the scale of the kernel: with 1024 times the kernel .* instead of"),
        (refuses, "refuses every problem of the test, the last one with: not for this problem"),
    ],
)
def test_check_bound_finds_what_is_wrong(bound, message):
    with pytest.raises(AssertionError, match=f"{bound.__name__}: {message}"):
        check_bound(bound)
