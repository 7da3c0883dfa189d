from itertools import product

import numpy as np
import pytest
from tiers import times

import srnc_manifold as srnc
from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.interop.pymanopt import OPTIMIZERS
from srnc_manifold.solvers import Budget, GradientDescent, GradientSampling, MultiStart, Riemannian, Subgradient
from srnc_manifold.solvers.constrained.multi_start import METHODS
from srnc_manifold.solvers.constrained.subgradient import STEP_RULES

SOLVERS = [
    srnc.solvers.Exact(),
    GradientDescent(max_iterations=300),
    GradientDescent(step_rule="barzilai-borwein", max_iterations=60),
    *[Riemannian(optimizer=name, max_iterations=60) for name in OPTIMIZERS],
    *[MultiStart(method=name, n_starts=2, max_iterations=10) for name in METHODS],
    srnc.solvers.RiemannianLBFGS(),
    srnc.solvers.AugmentedLagrangian(),
    srnc.solvers.ExactPenalty(),
    srnc.solvers.Continuation(n_rounds=5),
    *[Subgradient(step_rule=rule, max_iterations=60) for rule in STEP_RULES],
    GradientSampling(max_iterations=10),
]
names = [solver.name for solver in SOLVERS]
random_solvers = pytest.mark.parametrize("solver", SOLVERS[1:], ids=names[1:])
all_solvers = pytest.mark.parametrize("solver", SOLVERS, ids=names)


@all_solvers
def test_same_rng_same_result_and_the_global_state_is_left_alone(solver, random_problem):
    problem = random_problem((4,), (11,))
    np.random.seed(123)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = srnc.solve(problem, solver, rng=5)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(9)  # noqa: NPY002
    second = srnc.solve(problem, solver, rng=5)
    assert np.array_equal(first.kernel, second.kernel)
    assert first.n_evaluations == second.n_evaluations
    generator = np.random.default_rng(5)
    assert np.array_equal(srnc.solve(problem, solver, rng=generator).kernel, first.kernel)


@random_solvers
def test_different_rng_different_start(solver, random_problem):
    problem = random_problem((4,), (11,))
    one, other = (srnc.solve(problem, solver, rng=seed, budget=Budget(max_evaluations=4)) for seed in (0, 1))
    assert not np.array_equal(one.kernel, other.kernel)


@all_solvers
def test_scores_are_the_problem_s(solver, random_problem):
    problem = random_problem((4,), (11,))
    result = srnc.solve(problem, solver, rng=0)
    assert result.evaluation == problem.evaluate(result.kernel)
    if result.restored is not None:
        assert result.restored.violation < 1e-12
        assert result.restored == problem.evaluate(result.restored_kernel)
    else:
        assert "cannot be restored" in result.restore_message
    assert result.solver == solver.name
    assert result.runtime > 0
    assert result.gradient_norm >= 0
    assert len(result.history) > 0
    assert result.history["evaluations"][-1] <= result.n_evaluations


class Counting(LogSumExp):
    """Counts what really happens."""

    calls = 0

    def value(self, view, xp):
        Counting.calls += 1
        return super().value(view, xp)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_evaluations_are_counted_truly(optimizer, random_problem):
    Counting.calls = 0
    solver = Riemannian(cost=Counting(), optimizer=optimizer, max_iterations=20)
    result = srnc.solve(random_problem((4,), (11,)), solver, rng=0)
    # Hessian products differentiate the value once each; everything else is an evaluation.
    assert result.n_evaluations == Counting.calls - result.n_hessians


@random_solvers
def test_a_budget_of_evaluations_is_kept(solver, random_problem):
    problem = random_problem((4,), (11,))
    assert srnc.solve(problem, solver, rng=0, budget=Budget(max_evaluations=2)).n_evaluations <= 2
    result = srnc.solve(problem, solver, rng=0, budget=Budget(max_evaluations=6))
    assert result.n_evaluations <= 6
    assert result.status is srnc.Status.LIMIT
    assert "budget of" in result.message


@random_solvers
def test_a_budget_of_time_is_kept(solver, random_problem):
    result = srnc.solve(random_problem((4,), (11,)), solver, rng=0, budget=Budget(max_time=1e-9))
    assert result.status is srnc.Status.LIMIT
    assert result.evaluation is not None


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_time": 0}, "max_time: 0 given, expected a positive number"),
        ({"max_evaluations": -1}, "max_evaluations: -1 given, expected at least 1"),
        ({"violation": 0}, "violation: 0 given, expected a positive number"),
        ({"gap": 1e-3}, "gap: given alone, expected gap and bound together"),
        ({"bound": 1.0}, "bound: given alone, expected gap and bound together"),
        ({"gap": 1e-3, "bound": float("nan")}, "bound: nan given, expected a Bound or a finite number"),
    ],
)
def test_budgets_are_checked(budget, message):
    with pytest.raises(ValueError, match=message):
        Budget(**budget)


GOALS = {
    "gradient norm": Budget(gradient_norm=1e-2),
    "violation": Budget(violation=1e-3),
    "gap": Budget(gap=1e-2, bound=32 / 3, violation=1e-3),
}


GOAL_SOLVERS = [
    Riemannian(cost=srnc.costs.LogSumExp(alpha=1e4, fidelity_weight=1e-5)),
    srnc.solvers.RiemannianLBFGS(cost=srnc.costs.LogSumExp(alpha=1e4, fidelity_weight=1e-5)),
    srnc.solvers.AugmentedLagrangian(),
    srnc.solvers.ExactPenalty(),
    srnc.solvers.Continuation(),
    MultiStart(n_starts=1),
]


@pytest.mark.parametrize(
    ("solver", "goal"),
    # SciPy's optimizers have no Riemannian gradient.
    [pair for pair in product(GOAL_SOLVERS, GOALS) if pair != (GOAL_SOLVERS[-1], "gradient norm")],
)
def test_a_goal_ends_the_run_with_the_iterate_that_reached_it(solver, goal, paper):
    problem, budget = paper(32), GOALS[goal]
    start = [0.9, 0.3, 0.2]
    result = srnc.solve(problem, solver, start=start, budget=budget)
    assert result.status is srnc.Status.CONVERGED
    assert result.message.startswith(goal)
    last = {name: column[-1] for name, column in result.history.columns.items()}
    assert result.evaluation.objective == pytest.approx(last["objective"], rel=1e-12)
    assert result.evaluation.stable_rank_error == pytest.approx(last["stable_rank_error"], abs=1e-12)
    assert budget.reached(last, problem.squared_norm) == result.message
    before = {name: column[-2] for name, column in result.history.columns.items()}
    assert not budget.reached(before, problem.squared_norm)
    if goal == "gap":
        assert result.evaluation.violation <= 1e-3
        assert result.evaluation.objective <= 32 / 3 + 1e-2 * problem.squared_norm
    full = srnc.solve(problem, solver, start=start)
    assert full.n_evaluations > result.n_evaluations


def test_a_bound_is_a_goal(paper):
    problem = paper(32)
    budget = Budget(gap=1e-4, bound=srnc.bound(problem))
    result = srnc.solve(problem, srnc.solvers.AugmentedLagrangian(), start=[0.9, 0.3, 0.2], budget=budget)
    assert result.message.startswith("gap")
    gap = (result.evaluation.objective - srnc.bound(problem).objective) / problem.squared_norm
    assert gap <= 1e-4
    assert srnc.solve(problem, budget=budget).status is srnc.Status.CONVERGED


class After(LogSumExp):
    """Behaves for a while, then does what ``what`` says."""

    def __init__(self, what, calls=5):
        super().__init__()
        object.__setattr__(self, "what", what)
        object.__setattr__(self, "left", calls)

    def value(self, view, xp):
        if xp.name != "numpy":  # being differentiated, not evaluated
            return super().value(view, xp)
        object.__setattr__(self, "left", self.left - 1)
        if self.left < 0:
            if isinstance(self.what, BaseException):
                raise self.what
            return self.what
        return super().value(view, xp)


COST_SOLVERS = [
    lambda cost: srnc.solvers.RiemannianLBFGS(cost=cost),
    lambda cost: GradientDescent(cost=cost),
    lambda cost: GradientDescent(cost=cost, step_rule="armijo", momentum=0.5),
    lambda cost: GradientDescent(cost=cost, step_rule="barzilai-borwein"),
] + [(lambda cost, name=name: Riemannian(cost=cost, optimizer=name)) for name in OPTIMIZERS]


@pytest.mark.parametrize("make", COST_SOLVERS)
@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        (float("nan"), srnc.Status.NONFINITE, "the cost is nan"),
        (float("inf"), srnc.Status.NONFINITE, "the cost is inf"),
        (RuntimeError("out of order"), srnc.Status.FAILED, "RuntimeError: out of order"),
        (KeyboardInterrupt(), srnc.Status.LIMIT, "interrupted"),
    ],
)
def test_the_best_point_survives_whatever_happens(make, what, status, message, random_problem):
    problem = random_problem((4,), (11,))
    result = srnc.solve(problem, make(After(what)), rng=0)
    assert result.status is status
    assert message in result.message
    good = srnc.solve(problem, make(After(what, calls=10**9)), rng=0, budget=Budget(max_evaluations=5))
    np.testing.assert_array_equal(result.kernel, good.kernel)
    assert np.all(np.isfinite(result.kernel))


# Those that rank points by the constraint, whatever the cost.
@pytest.mark.parametrize(
    "make", [lambda cost: Subgradient("diminishing", cost=cost), lambda cost: GradientSampling(cost=cost)]
)
@pytest.mark.parametrize(
    ("what", "status"),
    [
        (float("nan"), srnc.Status.NONFINITE),
        (RuntimeError("out of order"), srnc.Status.FAILED),
        (KeyboardInterrupt(), srnc.Status.LIMIT),
    ],
)
def test_the_least_violation_survives_whatever_happens(make, what, status, random_problem):
    problem = random_problem((4,), (11,))
    result = srnc.solve(problem, make(After(what, calls=20)), rng=0)
    good = srnc.solve(problem, make(After(what, calls=10**9)), rng=0, budget=Budget(max_evaluations=20))
    assert result.status is status
    np.testing.assert_array_equal(result.kernel, good.kernel)
    start = srnc.solve(problem, make(After(what, calls=1)), rng=0)
    assert result.evaluation.violation < start.evaluation.violation


@pytest.mark.parametrize("solver", SOLVERS[1:], ids=names[1:])
def test_an_interrupt_keeps_the_best_so_far(solver, random_problem):
    rows = []

    def callback(row):
        rows.append(row)
        if len(rows) == 3:
            raise KeyboardInterrupt

    problem = random_problem((4,), (11,))
    result = srnc.solve(problem, solver, rng=0, callback=callback)
    assert result.status is srnc.Status.LIMIT
    assert result.details["interrupted"]
    assert result.message == "interrupted"
    assert len(result.history) == 3
    assert np.all(np.isfinite(result.kernel))


@pytest.mark.parametrize(
    "make",
    [
        srnc.solvers.AugmentedLagrangian,
        srnc.solvers.ExactPenalty,
        srnc.solvers.Continuation,
        Subgradient,
        GradientSampling,
    ],
)
def test_from_a_critical_point_of_a_constrained_problem_it_ends_well(make):
    # The optimum of two equal taps is a critical point of every formulation, by symmetry.
    problem = srnc.SRNProblem([1, 1], 8, stable_rank=5.0)
    result = srnc.solve(problem, make(), start=[1.0, 1.0])
    assert result.status in (srnc.Status.CONVERGED, srnc.Status.STALLED)
    assert np.all(np.isfinite(result.kernel))
    np.testing.assert_allclose(np.abs(result.kernel), np.abs(result.kernel[::-1]), rtol=0.5)


@pytest.mark.parametrize("make", COST_SOLVERS)
def test_a_cost_that_never_works_gives_the_start_back(make, random_problem):
    problem = random_problem((4,), (11,))
    start = np.array([1.0, 2.0, 3.0, 4.0])
    result = srnc.solve(problem, make(After(ValueError("no"), calls=0)), start=start)
    assert result.status is srnc.Status.FAILED
    np.testing.assert_allclose(problem.to_sphere(result.kernel), start / np.linalg.norm(start))


@pytest.mark.parametrize("make", COST_SOLVERS[:7])
def test_a_critical_start_has_converged(make):
    # The cost does not change if the two taps are exchanged, so it is critical where they are equal.
    problem = srnc.SRNProblem([1, 1], 8, stable_rank=5.0)
    result = srnc.solve(problem, make(LogSumExp()), start=[1.0, 1.0])
    assert result.status is srnc.Status.CONVERGED
    np.testing.assert_allclose(result.kernel, problem.radius / np.sqrt(2))


@random_solvers
def test_the_callback_sees_the_history_and_can_stop(solver, random_problem):
    rows = []

    def callback(row):
        rows.append(row)
        if len(rows) == 2:
            raise StopIteration

    result = srnc.solve(random_problem((4,), (11,)), solver, rng=0, callback=callback)
    assert rows[0]["iteration"] == 0
    assert len(rows) == 2
    assert result.message == "stopped by the callback"
    assert result.status is srnc.Status.LIMIT
    assert len(result.history) == 2


def test_solve_checks_its_arguments(paper, random_problem):
    problem = paper(32)
    with pytest.raises(TypeError, match="expected an SRNProblem"):
        srnc.solve("paper")
    with pytest.raises(TypeError, match="expected an instance of a solver"):
        srnc.solve(problem, GradientDescent)
    with pytest.raises(ValueError, match="solver: 'newton' given, expected one of exact"):
        srnc.solve(problem, "newton")
    assert srnc.solve(problem, "exact").solver == "exact"
    with pytest.raises(ValueError, match="expected the kernel's shape"):
        srnc.solve(problem, GradientDescent(), start=[1.0, 2.0])
    with pytest.raises(ValueError, match="does not support this problem"):
        srnc.solve(random_problem((20, 20, 3), (8,)), MultiStart())


def test_settings_are_checked():
    with pytest.raises(ValueError, match="optimizer: 'newton' given, expected one of steepest-descent"):
        Riemannian(optimizer="newton")
    with pytest.raises(TypeError, match="cost: .* expected an instance of a cost"):
        Riemannian(cost=LogSumExp)
    with pytest.raises(ValueError, match="method: 'BFGS' given, expected one of SLSQP"):
        MultiStart(method="BFGS")
    with pytest.raises(ValueError, match="n_starts"):
        MultiStart(n_starts=0)
    with pytest.raises(ValueError, match="step_size"):
        GradientDescent(step_size=0)
    with pytest.raises(TypeError, match="cost: 'lse' given"):
        GradientDescent(cost="lse")
    with pytest.raises(ValueError, match="max_iterations: 0 given"):
        GradientDescent(max_iterations=0)
    with pytest.raises(TypeError, match="n_starts: 2.5 given, expected an integer"):
        MultiStart(n_starts=2.5)
    with pytest.raises(ValueError, match="backend: 'jax' given"):
        Riemannian(backend="jax")
    with pytest.raises(ValueError, match="fidelity_weight: -1 given"):
        LogSumExp(fidelity_weight=-1)


def test_a_new_cost_needs_nothing_but_a_value(random_problem):
    class PNorm(Cost):
        def value(self, view, xp):
            total = xp.sum(view.multiplicities * view.squared_singular_values**16)
            return (total ** (1 / 16) - view.target_gain) ** 2 + 0.01 * view.fidelity

    problem = random_problem((2, 2, 3), (8,))
    for make in COST_SOLVERS:
        result = srnc.solve(problem, make(PNorm()), rng=0, budget=Budget(max_evaluations=times(60, 200)))
        assert result.status is not srnc.Status.FAILED, result.message
        assert result.cost < result.history["cost"][0]
