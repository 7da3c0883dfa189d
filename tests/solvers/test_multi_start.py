import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.solvers import Budget, MultiStart
from srnc_manifold.solvers.base import Run
from srnc_manifold.solvers.multi_start import _Functions


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYQA"])
@pytest.mark.parametrize(("shape", "size"), [((3,), (16,)), ((2, 2), (5, 6)), ((2, 2, 2), (5,)), ((2, 3), ())])
def test_reducing_is_solved(method, shape, size, random_problem):
    problem = random_problem(shape, size)
    result = srnc.solve(problem, MultiStart(method, n_starts=6), rng=0)
    assert result.evaluation.feasible, result.message
    if srnc.solvers.Exact().supports(problem)[0]:
        best = srnc.solve(problem).evaluation.objective
        # trust-constr and COBYQA stop at about 1e-8 in the constraints.
        assert result.evaluation.objective == pytest.approx(best, abs=1e-6 * problem.squared_norm)
    if method != "COBYQA":  # which has no gradients and stops where two singular values tie
        assert result.gradient_norm < 1e-3


def test_raising_is_solved():
    kernel = np.random.default_rng(1).standard_normal(4)
    own = float(srnc.stable_rank(kernel, 16))
    problem = srnc.SRNProblem(kernel, 16, stable_rank=(own + 16) / 2)
    results = [srnc.solve(problem, MultiStart(method, n_starts=10), rng=0) for method in ("SLSQP", "trust-constr")]
    assert all(r.evaluation.feasible for r in results)
    one, other = (r.evaluation.objective for r in results)
    assert one == pytest.approx(other, abs=1e-5 * problem.squared_norm)


def test_processes_change_nothing(random_problem):
    problem = random_problem((3, 3), (8, 8))
    alone, together = (srnc.solve(problem, MultiStart(n_starts=6, n_jobs=n), rng=3) for n in (1, 2))
    assert np.array_equal(alone.kernel, together.kernel)
    assert alone.details == together.details
    assert alone.n_evaluations == together.n_evaluations


@pytest.mark.parametrize("regime", ["reduce", "raise"])
def test_jacobians_have_the_right_slope(regime):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((2, 3, 3))
    own = srnc.SRNProblem(kernel, 8, stable_rank_fraction=1.0)
    end = own.feasible_range[regime == "raise"]
    problem = srnc.SRNProblem(kernel, 8, stable_rank=(own.kernel_stable_rank + end) / 2)
    functions = _Functions(problem, Run(problem, "test", None, None))
    x, v = rng.standard_normal((2, kernel.size))
    for value, jacobian in (
        (functions.objective, functions.objective_gradient),
        (functions.norms, functions.norms_jacobian),
        (functions.gain, functions.gain_jacobian),
    ):
        t = 1e-6
        difference = (np.atleast_1d(value(x + t * v)) - np.atleast_1d(value(x - t * v))) / (2 * t)
        # Central differences: t² and rounding / t, both about 1e-10 of the value.
        np.testing.assert_allclose(np.atleast_2d(jacobian(x)) @ v, difference, rtol=1e-6, atol=1e-7)


def test_the_given_start_is_the_first(random_problem):
    problem = random_problem((3,), (16,))
    best = srnc.solve(problem).kernel
    result = srnc.solve(problem, MultiStart(n_starts=1, max_iterations=50), start=best)
    assert result.evaluation.relative_distance == pytest.approx(problem.evaluate(best).relative_distance, rel=1e-6)


def test_every_start_is_told(random_problem):
    result = srnc.solve(random_problem((3,), (16,)), MultiStart(n_starts=4), rng=0)
    assert len(result.details["starts"]) == 4
    feasible = [s["cost"] for s in result.details["starts"] if s["violation"] <= 2.5e-7]
    assert result.cost == min(feasible)


def test_an_interrupt_keeps_the_starts_that_are_done(random_problem, monkeypatch):
    problem = random_problem((3,), (16,))
    from srnc_manifold.solvers import multi_start

    original, calls = multi_start._minimize, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(multi_start, "_minimize", interrupted)
    result = srnc.solve(problem, MultiStart(n_starts=5), rng=0)
    assert (result.status, result.message) == (srnc.Status.LIMIT, "interrupted")
    assert len(result.details["starts"]) == 3
    assert result.evaluation.feasible


def test_too_many_entries_are_refused():
    problem = srnc.SRNProblem(np.random.default_rng(0).standard_normal((10, 10, 6)), 8, stable_rank_fraction=1.0)
    supported, reason = MultiStart().supports(problem)
    assert not supported
    assert "600; limited to 500" in reason


def test_a_budget_is_shared(random_problem):
    result = srnc.solve(random_problem((3,), (16,)), MultiStart(n_starts=4), rng=0, budget=Budget(max_evaluations=40))
    assert result.n_evaluations <= 40
