"""The augmented Lagrangian method and L-BFGS on the sphere."""

import numpy as np
import pytest
from tiers import slow, some, times

import srnc_manifold as srnc
from srnc_manifold.costs import AugmentedLagrangianCost, ExactMax, LogSumExp
from srnc_manifold.solvers import AugmentedLagrangian, Budget, RiemannianLBFGS
from srnc_manifold.solvers.optimality import stationarity

SHAPES = [((3,), (64,)), ((5,), (12,)), ((3, 3), (8, 9)), ((2, 2, 3), (8,)), ((3, 2, 2, 2), (4, 5)), ((3, 4), ())]


@slow
def test_reducing_it_ends_in_stationary_points_among_which_is_mostly_the_optimum(random_problem):
    found = 0
    for shape, size in SHAPES:
        problem = random_problem(shape, size)
        optimum = srnc.solve(problem).evaluation.objective
        results = [srnc.solve(problem, AugmentedLagrangian(), rng=seed) for seed in range(10)]
        good = [r for r in results if r.status is srnc.Status.CONVERGED]
        assert good
        for result in good:
            assert result.evaluation.violation < 1e-6
            # Bought by the violation allowed.
            assert result.evaluation.objective >= optimum - 1e-6 * problem.squared_norm
            assert result.gradient_norm < 1e-4 or np.isnan(result.gradient_norm)
        found += min(r.evaluation.objective for r in good) <= optimum + 1e-5 * problem.squared_norm
    assert found >= 5  # of six: starts that end in one local minimum all miss one


@pytest.mark.parametrize(("shape", "size"), some(SHAPES[1:4], 1))
def test_raising_it_is_as_good_as_many_starts_of_slsqp(shape, size):
    kernel = np.random.default_rng(3).standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    target = 0.5 * (own.kernel_stable_rank + own.feasible_range[1])
    problem = srnc.SRNProblem(kernel, size, stable_rank=target)
    results = [srnc.solve(problem, AugmentedLagrangian(), rng=seed) for seed in range(5)]
    best = min(r.evaluation.objective for r in results if r.evaluation.feasible)
    other = srnc.solve(problem, srnc.solvers.MultiStart(n_starts=times(7, 20)), rng=0)
    assert best <= other.restored.objective + 1e-6 * problem.squared_norm
    assert best >= srnc.bound(problem).objective - 1e-6 * problem.squared_norm


def test_the_history_tells_penalties_and_multipliers(paper):
    problem = paper(32)
    result = srnc.solve(problem, AugmentedLagrangian(), start=[0.9, 0.3, 0.2])
    assert result.status is srnc.Status.CONVERGED
    assert result.evaluation.objective == pytest.approx(32 / 3, abs=1e-5)
    history = result.history
    assert np.all(np.diff(history["penalty"]) >= 0)
    assert history["multiplier"][0] == 0
    # ηz − θBz = a with z = √2 (2/3, 1/6, 1/6), B = 11ᵀ: θ = √2/6; and the multiplier is c ρ θ / ‖a‖ = 2 √½ √2/6.
    assert history["multiplier"][-1] == pytest.approx(1 / 3, abs=1e-4)
    assert len(history.to_frame()) == len(history)
    assert history["stable_rank_error"][-1] < 1e-6


def test_where_no_penalty_helps_it_says_so():
    # Started at a frequency whose kernels cannot reach the target, though others can.
    stalled = []
    problem = srnc.partway(np.random.default_rng(1).standard_normal((3, 3)), (13, 15), 0.05)
    for seed in range(5):
        result = srnc.solve(problem, AugmentedLagrangian(), rng=seed)
        if result.status is not srnc.Status.CONVERGED:
            stalled.append(result)
    for result in stalled:
        assert result.status is srnc.Status.STALLED
        assert "local minimum" in result.message


def test_l_bfgs_finds_what_trust_regions_find_with_fewer_evaluations_than_descent(paper, random_problem):
    for problem, start in ((paper(32), [0.9, 0.3, 0.2]), (random_problem((2, 2, 3), (8,)), None)):
        ours = srnc.solve(problem, RiemannianLBFGS(), start=start, rng=0)
        theirs = srnc.solve(problem, srnc.solvers.Riemannian(), start=start, rng=0)
        assert ours.status is theirs.status is srnc.Status.CONVERGED
        assert ours.cost <= theirs.cost + 1e-10 * abs(theirs.cost) or ours.gradient_norm <= 1e-6
        assert np.all(np.diff(ours.history["cost"]) <= 1e-14 * np.abs(ours.history["cost"][:-1]))
        slow = srnc.solvers.GradientDescent(step_rule="armijo")
        assert ours.n_evaluations < srnc.solve(problem, slow, start=start, rng=0).n_evaluations


def test_l_bfgs_converges_superlinearly():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((3, 3)), (16, 16), 0.5)
    result = srnc.solve(problem, RiemannianLBFGS(LogSumExp(fidelity_weight=1.0), tolerance=1e-9), rng=0)
    norms = result.history["gradient_norm"]
    assert result.status is srnc.Status.CONVERGED
    assert len(norms) < 60
    assert norms[-1] <= 1e-3 * norms[-6]


def test_l_bfgs_stalls_at_a_kink(paper):
    result = srnc.solve(paper(63), RiemannianLBFGS(ExactMax(1e-4)), rng=3)
    assert result.status in (srnc.Status.STALLED, srnc.Status.CONVERGED)
    assert np.isfinite(result.cost)


@pytest.mark.parametrize("make", [AugmentedLagrangian, RiemannianLBFGS])
def test_contract(make, random_problem):
    problem = random_problem((4,), (11,))
    first, second = (srnc.solve(problem, make(), rng=5) for _ in range(2))
    assert np.array_equal(first.kernel, second.kernel)
    assert not np.array_equal(first.kernel, srnc.solve(problem, make(), rng=6, budget=Budget(max_evaluations=3)).kernel)
    short = srnc.solve(problem, make(), rng=5, budget=Budget(max_evaluations=4))
    assert (short.n_evaluations, short.status) == (4, srnc.Status.LIMIT)
    rows = []

    def callback(row):
        rows.append(row)
        if len(rows) == 2:
            raise StopIteration

    stopped = srnc.solve(problem, make(), rng=5, callback=callback)
    assert stopped.message == "stopped by the callback"
    again = srnc.Result.from_json(first.to_json())
    np.testing.assert_array_equal(again.history["cost"], first.history["cost"])


def test_an_interrupt_leaves_the_best_point(random_problem, monkeypatch):
    problem = random_problem((4,), (11,))
    calls = []
    constraints = AugmentedLagrangianCost.constraints

    def interrupted(self, view, *xp):
        calls.append(1)
        if len(calls) == 60:
            raise KeyboardInterrupt
        return constraints(self, view, *xp)

    monkeypatch.setattr(AugmentedLagrangianCost, "constraints", interrupted)
    result = srnc.solve(problem, AugmentedLagrangian(), rng=0)
    assert (result.status, result.message) == (srnc.Status.LIMIT, "interrupted")
    violations = result.history["stable_rank_error"]
    assert result.evaluation.stable_rank_error <= np.min(violations) + 1e-12
    assert np.isfinite(stationarity(problem, problem.to_sphere(result.kernel))) or len(violations) < 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AugmentedLagrangian(penalty=0), "penalty"),
        (lambda: AugmentedLagrangian(max_rounds=0), "max_rounds"),
        (lambda: RiemannianLBFGS(memory=0), "memory"),
        (lambda: AugmentedLagrangianCost("above"), "side"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
