"""The driver opens a run and packs it up: clock, exceptions, what a method may return."""

import time

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.solvers import Oracle, Run, Solver, Stop
from srnc_manifold.solvers.oracle import ConstrainedOracle
from srnc_manifold.solvers.stacks import carry_out

PROBLEM = srnc.SRNProblem([1.0, 2.0, 3.0], 8, stable_rank=3)


class Sleeps(Solver):
    def run(self, run):
        time.sleep(0.05)
        run.deliver(run.problem.unit_kernel)
        return srnc.Status.CONVERGED, "well rested"


class Fails(Solver):
    def __init__(self, error, after=False):
        self.error, self.after = error, after

    def run(self, run):
        if self.after:
            run.deliver(2 * run.problem.unit_kernel)
        raise self.error


def test_the_driver_measures_the_time():
    assert srnc.solve(PROBLEM, Sleeps()).runtime >= 0.05
    rows = srnc.compare(PROBLEM, {"sleeps": Sleeps(), "exact": "exact"}, [0]).rows
    assert rows["time"][0] >= 0.05


@pytest.mark.parametrize("error", [OSError("no more memory"), SystemExit(3), KeyError("x"), RecursionError("deep")])
def test_an_exception_is_a_status_with_its_traceback(error):
    result = srnc.solve(PROBLEM, Fails(error))
    assert result.status is srnc.Status.FAILED
    assert result.message == f"{type(error).__name__}: {error}"
    assert "raise self.error" in result.details["traceback"]
    np.testing.assert_allclose(result.kernel, PROBLEM.kernel, rtol=1e-15)
    assert srnc.Result.from_json(result.to_json()).details == result.details
    with pytest.raises(type(error)):
        srnc.solve(PROBLEM, Fails(error), throw=True)


def test_what_was_found_before_an_exception_is_kept():
    result = srnc.solve(PROBLEM, Fails(OSError("late"), after=True))
    np.testing.assert_allclose(result.kernel, 2 * PROBLEM.kernel, rtol=1e-15)
    assert len(result.history) == 1


def test_an_exception_in_a_part_of_a_stack():
    stack = srnc.StackProblem([PROBLEM, PROBLEM])
    result = srnc.solve(stack, Fails(OSError("no")))
    assert result.status is srnc.Status.FAILED
    assert "raise self.error" in result.details["traceback"]
    with pytest.raises(OSError, match="no"):
        srnc.solve(stack, Fails(OSError("no")), throw=True)


@pytest.mark.parametrize(
    "outcome", [None, "great", ("great", "really"), (srnc.Status.CONVERGED, None), (srnc.Status.CONVERGED,)]
)
def test_only_a_status_and_a_message_are_an_outcome(outcome):
    class Says(Solver):
        def run(self, run):
            run.deliver(run.problem.unit_kernel)
            return outcome

    result = srnc.solve(PROBLEM, Says())
    assert result.status is srnc.Status.FAILED
    assert "expected a status and a message" in result.message


@pytest.mark.parametrize("kernel", [np.ones(2), np.array([1.0, np.nan, 1.0]), np.array([np.inf, 1.0, 1.0])])
def test_kernels_that_are_none_are_refused(kernel):
    run = Run(PROBLEM, "test")
    with pytest.raises(ValueError, match="unit_kernel"):
        run.offer(kernel, 0.0)


def test_a_stop_is_the_end():
    class Stops(Solver):
        def run(self, run):
            raise Stop(srnc.Status.STALLED, "enough")

    result = srnc.solve(PROBLEM, Stops())
    assert (result.status, result.message) == (srnc.Status.STALLED, "enough")


def test_an_oracle_counts_remembers_and_records():
    run = Run(PROBLEM, "test", rng=np.random.default_rng(0))
    oracle = Oracle(run, srnc.costs.LogSumExp())
    value = oracle.value(oracle.start)
    assert oracle.cost_at(oracle.start) == value  # remembered, not counted again
    assert run.n_evaluations == 1
    gradient = oracle.gradient(oracle.start)
    assert (run.n_evaluations, run.n_gradients, len(run.history)) == (1, 1, 1)
    oracle.hessian(oracle.start, gradient)
    assert run.n_hessians == 1
    assert abs(gradient @ oracle.start) < 1e-12
    assert run.best_key == (value,)


def test_solvers_are_carried_out_without_scores():
    result = carry_out(srnc.solvers.Exact(), PROBLEM)
    assert result.evaluation is None
    assert result.status is srnc.Status.CONVERGED


@pytest.mark.parametrize(
    ("problem", "solver", "budget", "message"),
    [
        (PROBLEM, "gradient-descent", srnc.Budget(3), "the budget of 3 evaluations is used up"),
        (
            PROBLEM,
            "slsqp[n_starts=10]",
            srnc.Budget(100),
            "its share of 10 of the budget of 100 evaluations is used up",
        ),
        (PROBLEM, "slsqp[n_starts=1]", srnc.Budget(3), "the budget of 3 evaluations is used up"),
        (
            srnc.StackProblem([PROBLEM] * 2),
            "slsqp[n_starts=1]",
            srnc.Budget(3),
            "the budget of 3 evaluations is used up",
        ),
    ],
)
def test_messages_name_the_budget_that_was_given(problem, solver, budget, message):
    if solver == "slsqp[n_starts=10]":
        problem = srnc.partway(np.random.default_rng(0).standard_normal((3, 3)), 9, 0.5)
    result = srnc.solve(problem, solver, rng=0, budget=budget)
    assert message in result.message


def test_a_cost_that_is_posed_forgets_the_values_of_the_one_before():
    oracle = ConstrainedOracle(Run(PROBLEM, "test", rng=np.random.default_rng(0)), srnc.costs.ExactMax(0.1))
    z = oracle.start
    first = oracle.value(z)
    assert oracle.cost_at(z) == first
    oracle.pose(srnc.costs.ExactMax(10.0))
    assert oracle.cost_at(z) == oracle.value(z) != first
    assert not np.allclose(oracle.gradient(z), srnc.costs.SphereFunction(PROBLEM, srnc.costs.ExactMax(0.1)).gradient(z))
