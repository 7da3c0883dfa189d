import numpy as np
import pytest
from scipy import optimize
from tiers import slow, times

import srnc_manifold as srnc
from srnc_manifold.solvers import Budget, MultiStart
from srnc_manifold.solvers.constrained.multi_start import _Functions
from srnc_manifold.solvers.runs import Run
from srnc_manifold.testing import check_solver

SHAPES = [((2, 3), ()), ((3,), (16,)), ((2, 2), (5, 6)), ((2, 2, 2), (5,))]


@pytest.mark.parametrize(
    ("method", "shape", "size"),
    [
        *(("SLSQP", *shape) for shape in SHAPES),
        ("trust-constr", *SHAPES[2]),
        *(pytest.param(method, *shape, marks=slow) for method in ("trust-constr", "COBYQA") for shape in SHAPES),
    ],
)
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
    results = [
        srnc.solve(problem, MultiStart(method, n_starts=times(4, 10)), rng=0) for method in ("SLSQP", "trust-constr")
    ]
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
    functions = _Functions(problem, Run(problem, "test"))
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
    from srnc_manifold.solvers.constrained import multi_start

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


# -- methods of one's own ---------------------------------------------------------------------------------------


def slsqp_again(fun, x0, args=(), *, jac, constraints, callback, maxiter, tol, **_):
    options = {"maxiter": maxiter, "ftol": tol}
    return optimize.minimize(
        fun, x0, args, "SLSQP", jac=jac, constraints=constraints, callback=callback, options=options
    )


def quadratic_penalty(fun, x0, *, constraints, callback, maxiter, **_):
    """BFGS with ever larger penalties, derivatives by finite differences."""
    x, steps = x0, 0
    for weight in 10.0 ** np.arange(1, 9):

        def penalized(x, weight=weight):
            values = [(np.atleast_1d(c.fun(x)), c.lb, c.ub) for c in constraints]
            excess = [np.minimum(v - low, 0) + np.maximum(v - high, 0) for v, low, high in values]
            return fun(x) + weight * sum(float(np.sum(e**2)) for e in excess)

        result = optimize.minimize(penalized, x, method="BFGS", options={"maxiter": maxiter})
        x, steps = result.x, steps + result.nit
        callback(x)
    return optimize.OptimizeResult(x=x, fun=fun(x), success=True, message="penalties are large", nit=steps)


class Method:
    """A callable without a name."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, *args, **kwargs):
        return slsqp_again(*args, **kwargs)


def test_a_method_that_calls_slsqp_is_slsqp(random_problem):
    problem = random_problem((2, 2, 2), (5,))
    own, known = (srnc.solve(problem, MultiStart(m, n_starts=3), rng=0) for m in (slsqp_again, "SLSQP"))
    assert np.array_equal(own.kernel, known.kernel)
    assert (own.status, own.n_evaluations, own.details) == (known.status, known.n_evaluations, known.details)
    assert own.solver == "multi-start[method=test_multi_start.slsqp_again, n_starts=3]"
    together = srnc.solve(problem, MultiStart(slsqp_again, n_starts=3, n_jobs=2), rng=0)
    assert np.array_equal(together.kernel, own.kernel)


@pytest.mark.parametrize("change", [-0.5, 0.5])
def test_a_penalty_method_solves_it(change):
    kernel = np.random.default_rng(1).standard_normal(3)
    problem = srnc.SRNProblem(kernel, 12, stable_rank=float(srnc.stable_rank(kernel, 12)) + change)
    result = srnc.solve(problem, MultiStart(quadratic_penalty, n_starts=4), rng=0)
    # Violations are of the order of one over the largest penalty.
    assert result.evaluation.violation < 1e-4
    best = srnc.solve(problem).evaluation.objective
    assert result.restored.objective == pytest.approx(best, abs=1e-4 * problem.squared_norm)
    assert len(result.history) == 1 + 8


def test_a_method_that_violates_the_constraints_has_not_converged(random_problem):
    def stay(_, x0, **__):
        return optimize.OptimizeResult(x=x0, success=True, message="fine here")

    result = srnc.solve(random_problem((3,), (16,)), MultiStart(stay, n_starts=2), rng=0)
    assert result.status is srnc.Status.STALLED
    assert "says 'fine here', but the constraints are violated" in result.message


@pytest.mark.parametrize("outcome", [np.ones(3), optimize.OptimizeResult(x=np.ones(3))])
def test_a_method_that_returns_something_else_is_told(outcome, random_problem):
    result = srnc.solve(random_problem((3,), (16,)), MultiStart(lambda *_, **__: outcome, n_starts=2), rng=0)
    assert result.status is srnc.Status.FAILED
    assert "expected an OptimizeResult with x, success and message" in result.message


def test_callables_have_no_limit_of_size_and_need_no_name():
    problem = srnc.SRNProblem(np.random.default_rng(0).standard_normal((10, 10, 6)), 8, stable_rank_fraction=1.0)
    assert MultiStart(Method()).supports(problem) == (True, "")
    assert MultiStart(Method()).name == "multi-start[method=test_multi_start.Method]"
    with pytest.raises(ValueError, match="method: 3 given, expected one of SLSQP, trust-constr, COBYQA or a callable"):
        MultiStart(3)
    result = srnc.solve(srnc.partway([1.0, 2.0, -1.0], 8, 0.5), MultiStart(Method(), n_starts=2), rng=0)
    assert result.evaluation.feasible


def test_methods_of_one_s_own_keep_the_contract():
    check_solver(MultiStart(slsqp_again, n_starts=2))


def test_methods_of_one_s_own_are_compared_in_processes(random_problem):
    solvers = [MultiStart(slsqp_again, n_starts=2), MultiStart(quadratic_penalty, n_starts=2)]
    rows = srnc.compare(random_problem((3,), (16,)), solvers, seeds=[0], n_jobs=2).rows
    assert rows.solver.tolist() == [
        f"multi-start[method=test_multi_start.{name}, n_starts=2]" for name in ("slsqp_again", "quadratic_penalty")
    ]
    assert not set(rows.status) & {"failed"}


def test_numbers_beyond_all_bounds_are_ended_by_a_budget(paper):
    for settings in ({"n_starts": 10**20}, {"max_iterations": 10**20}):
        for budget in (srnc.Budget(max_time=0.2), srnc.Budget(max_evaluations=20)):
            result = srnc.solve(paper(32), MultiStart(**settings), rng=0, budget=budget)
            assert result.status in (srnc.Status.LIMIT, srnc.Status.CONVERGED), result.message
            assert result.runtime < 5
