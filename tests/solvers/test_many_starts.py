"""Many starts at once: the same ends as one by one, the certified optimum, and no questions to the device."""

import re

import numpy as np
import pytest
import torch
from own_costs import Hinge, PNorm
from questions import Questions
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.costs import Cost, ExactMax, LogSumExp, Penalty, SphereFunction
from srnc_manifold.costs.rows import Family
from srnc_manifold.registry import solver_from_name
from srnc_manifold.solvers import AugmentedLagrangian, Batch, Budget, GradientDescent, RiemannianLBFGS
from srnc_manifold.solvers.many.loop import STRIDE
from srnc_manifold.testing import check_solver

DESCENT = GradientDescent(step_rule="barzilai-borwein", max_iterations=2000)
METHODS = [AugmentedLagrangian(), RiemannianLBFGS(), DESCENT]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
some_methods = pytest.mark.parametrize("method", some(METHODS, 1), ids=lambda method: method.name)

# As near to the certified optimum as the augmented Lagrangian method comes, which ends with violations below 1e-7.
NEAR = 1e-6


class Spread(Cost):
    def value(self, view, xp):
        count = xp.sum(view.multiplicities)
        mean = xp.sum(view.multiplicities * view.squared_singular_values) / count
        variance = xp.sum(view.multiplicities * (view.squared_singular_values - mean) ** 2) / count
        return (variance - view.target_gain) ** 2 + 0.1 * view.fidelity


def raised(shape, size):
    """A problem half of the way up from the kernel's own stable rank."""
    kernel = np.random.default_rng(0).standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    return srnc.SRNProblem(kernel, size, stable_rank=(own.kernel_stable_rank + own.feasible_range[1]) / 2)


def gap_of(problem, result):
    return (result.evaluation.objective - srnc.solve(problem).bound.objective) / problem.squared_norm


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "size"), some([((3,), 64), ((2, 3, 3), (8,)), ((3, 3), (8, 6)), ((3, 2, 3, 3), (6, 6))], 3)
)
def test_the_certified_optimum_is_found(shape, size, random_problem):
    problem = random_problem(shape, size)
    # For one of them only one start in a hundred ends in the optimum.
    result = srnc.solve(problem, Batch(starts=300 if shape == (3, 3) else 30), rng=0)
    assert result.status is srnc.Status.CONVERGED
    assert result.evaluation.feasible
    assert abs(gap_of(problem, result)) <= NEAR


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: method.name)
@pytest.mark.parametrize(
    "cost", some([LogSumExp(), PNorm(), Spread(), Hinge()], 2), ids=lambda cost: type(cost).__name__
)
def test_one_start_ends_where_the_method_does(method, cost, random_problem):
    problem = random_problem((3, 2), (6, 5))
    method = type(method)(**{**vars(method), "cost": cost, "tolerance": 1e-8})
    # Near a minimum: from afar the two may end in different ones, as their steps differ.
    near = problem.to_sphere(srnc.solve(problem, method, rng=0).kernel)
    start = problem.to_kernel(near + 1e-3 * np.random.default_rng(1).standard_normal(near.shape))
    ours, theirs = (srnc.solve(problem, solver, start=start) for solver in (Batch(method, starts=1), method))
    assert ours.status is theirs.status is srnc.Status.CONVERGED
    assert ours.gradient_norm <= 1e-8
    # Both are stationary to 1e-8 in the same basin, where costs differ by its square over the least curvature.
    assert ours.cost == pytest.approx(theirs.cost, rel=1e-10)


@pytest.mark.parametrize("method", some(METHODS[1:], 1), ids=lambda method: method.name)
@pytest.mark.parametrize("cost", [Hinge(), PNorm(), Spread()], ids=lambda cost: type(cost).__name__)
def test_own_costs_run_unchanged(method, cost, random_problem):
    problem = random_problem((2, 3, 3), (8,))
    method = type(method)(**{**vars(method), "cost": cost})
    result = srnc.solve(problem, Batch(method, starts=5), rng=0, budget=Budget(max_evaluations=1000))
    function = SphereFunction(problem, cost)
    # Sums in another order, and the kernel is scaled on its way to the sphere.
    assert result.cost == pytest.approx(function.value(problem.to_sphere(result.kernel).ravel()), rel=1e-12)
    single = srnc.solve(problem, method, rng=0)
    assert result.cost <= single.cost + 1e-9  # the first start is that of the method, and its end is at least as good


def test_the_best_of_the_ends_is_returned(random_problem):
    problem = random_problem((4,), (11,))
    result = srnc.solve(problem, Batch(starts=20), rng=0)
    ends = {name: np.array(column) for name, column in result.details["starts"].items()}
    assert {len(column) for column in ends.values()} == {20}
    feasible = ends["violation"] <= 1e-6
    assert feasible.any()
    assert result.evaluation.objective == pytest.approx(np.min(ends["objective"][feasible]), rel=1e-9)
    missed = srnc.solve(problem, Batch(RiemannianLBFGS(), starts=20), rng=0)
    assert not missed.evaluation.feasible
    assert missed.cost == pytest.approx(np.min(missed.details["starts"]["cost"]), rel=1e-12)


@some_methods
def test_single_precision_is_polished(method, random_problem):
    problem = random_problem((3, 3), (8, 6))
    double, single = (srnc.solve(problem, Batch(method, 20, dtype=dtype), rng=0) for dtype in (None, "float32"))
    assert single.status is double.status is srnc.Status.CONVERGED
    assert single.kernel.dtype == double.kernel.dtype
    # The same minimizer to the tolerances of the methods, which are 1e-6 and less.
    assert np.linalg.norm(single.kernel - double.kernel) <= 1e-5 * np.linalg.norm(double.kernel)
    assert len(single.details["starts"]["cost"]) == 20


@slow
def test_stable_ranks_are_raised():
    problem = raised((4,), (11,))
    result = srnc.solve(problem, Batch(starts=15), rng=0)
    assert result.evaluation.feasible
    assert gap_of(problem, result) <= 1e-4  # within the gap that the bound leaves where stable ranks are raised


def test_stacks(random_problem):
    stack = srnc.StackProblem([random_problem((4,), (11,)), random_problem((2, 2, 2), (6,))])
    result = srnc.solve(stack, Batch(starts=8, patience=2), rng=0)
    assert result.evaluation.feasible
    assert abs(gap_of(stack, result)) <= NEAR


@slow
def test_stacks_whose_parts_differ_in_what_binds(random_problem):
    stack = srnc.StackProblem([random_problem((4,), (11,)), raised((3,), (9,))])
    result = srnc.solve(stack, Batch(starts=15), rng=0)
    single = srnc.solve(stack, AugmentedLagrangian(), rng=0)
    assert result.evaluation.feasible
    assert result.evaluation.objective <= single.evaluation.objective + NEAR * stack.squared_norm


def test_separable_kernels():
    kernel = np.random.default_rng(3).standard_normal((3, 2))
    separable = srnc.SeparableProblem(kernel, (6, 5), stable_rank_fraction=0.8)
    found = srnc.solve(separable, Batch(starts=8), rng=0)
    single = srnc.solve(separable, AugmentedLagrangian(), rng=0)
    assert found.evaluation.feasible
    assert found.evaluation.objective <= single.evaluation.objective + NEAR * separable.squared_norm


@slow
def test_many_problems_with_some_starts_each():
    rng = np.random.default_rng(0)
    parts = [srnc.partway(rng.standard_normal((2, 3)), (6, 5), 0.5) for _ in range(4)]
    directions = np.stack([part.direction.ravel() for part in parts])
    family = Family.of_kernels(parts[0].operator, directions, np.array([part.target_gain for part in parts]))
    starts = rng.standard_normal((4, 20, 6))
    points, objectives, violations = Batch(patience=2).best_points(family, starts)
    assert points.shape == (4, 6)
    for part, point, objective, violation in zip(parts, points, objectives, violations, strict=True):
        found = part.evaluate(part.to_kernel(point))
        assert found.feasible
        assert violation <= 1e-6
        assert objective == pytest.approx(found.objective / part.squared_norm, rel=1e-10)
        assert abs(found.objective - srnc.solve(part).bound.objective) <= NEAR * part.squared_norm
    with pytest.raises(ValueError, match="target_gains: some reduce and others raise"):
        Family.of_kernels(parts[0].operator, directions[:2], np.array([parts[0].target_gain, 0.1]))


@pytest.mark.parametrize(
    ("shape", "size", "layout"), some([((4, 1, 3), 6, {"groups": 4}), ((3, 2, 3), 6, {}), ((2, 3), (4, 5), {})], keep=1)
)
def test_batches_are_solved_by_starts_on_each_kernel(shape, size, layout):
    kernels, told = np.random.default_rng(1).standard_normal((2, *shape)), []
    target = {"stable_rank_fraction": 0.8, "clip": True, **layout}
    exact = srnc.solve_batch(kernels, size, **target)
    settings = {"solver": Batch(starts=10, patience=2), "rng": 0}
    given = torch.tensor(kernels, dtype=torch.float32)
    found = srnc.solve_batch(given, size, progress=lambda *done: told.append(done), **settings, **target)
    assert told == [(2, 2)]
    assert found.kernels.dtype == torch.float32
    unit = np.array([srnc.frobenius_norm(kernel, size, **layout) ** 2 for kernel in kernels])
    assert float(found.violations.max()) < 1e-6
    assert np.all(np.abs(found.objectives.numpy() - exact.objectives) <= NEAR * unit)
    for k, kernel in enumerate(kernels):
        bound, least = found.bound(k), exact.objectives[k] + 1e-6 * unit[k]  # of kernels in single precision
        assert bound.objective <= least
        # The norms of all blocks, of which the bound takes the largest, prove at least as much.
        assert bound.objective <= bound.verify(srnc.SRNProblem(kernel, size, **target)) + 1e-6 * unit[k]


def test_what_solves_a_batch_is_checked():
    kernels = np.ones((2, 3)) + np.arange(3)
    with pytest.raises(TypeError, match=r"solver: 'slsqp' given, expected None or srnc\.solvers\.Batch"):
        srnc.solve_batch(kernels, 8, stable_rank_fraction=0.9, solver="slsqp")
    with pytest.raises(TypeError, match="rng: 'x' given"):
        srnc.solve_batch(kernels, 8, stable_rank_fraction=0.9, solver=Batch(), rng="x")
    given = torch.tensor(kernels, requires_grad=True)
    with pytest.raises(TypeError, match="solver: given with tensors that require gradients"):
        srnc.solve_batch(given, 8, stable_rank_fraction=0.9, solver=Batch())


@slow
@pytest.mark.parametrize("index", range(20))
def test_the_optima_of_the_benchmark_s_problems(index):
    # benchmarks/starts.py counts them with 1,000 starts; these are its problems, with fewer.
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "benchmarks" / "riemannian.py"
    spec = importlib.util.spec_from_file_location("riemannian", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    problem = list(module.problems(20, "reduce"))[index][1]
    result = srnc.solve(problem, Batch(starts=50), rng=0)
    assert result.evaluation.feasible
    assert gap_of(problem, result) <= 1e-5


# -- the contract of a solver -----------------------------------------------------------------------------------------


@slow
@each_method
def test_the_contract_is_kept(method):
    check_solver(Batch(method, starts=4))


@each_method
def test_names_are_read_back(method):
    solver = Batch(method, starts=7, device="cpu", dtype="float32", patience=None)
    assert solver_from_name(solver.name) == solver
    inner = "" if method == AugmentedLagrangian() else f"method={method.name}, "
    assert solver.name == f"batch[{inner}starts=7, device=cpu, dtype=float32, patience=None]"


@pytest.mark.parametrize(
    "method", [srnc.solvers.Exact(), GradientDescent(), GradientDescent(step_rule="armijo"), "l-bfgs", RiemannianLBFGS]
)
def test_other_methods_are_refused(method):
    with pytest.raises(TypeError, match=r"^method: .* given, expected GradientDescent\(step_rule='barzilai-borwein'\)"):
        Batch(method)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"starts": 0}, "starts: 0 given"),
        ({"dtype": "int8"}, "dtype: 'int8' given"),
        ({"patience": 0}, "patience: 0 given"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Batch(**settings)


def test_torch_and_numpy_name_precisions_and_devices():
    assert Batch(dtype=torch.float32, device=torch.device("cpu")) == Batch(dtype="float32", device="cpu")
    assert Batch(dtype=np.float64) == Batch(dtype="float64")


def test_a_device_that_is_not_there_is_told(paper):
    with pytest.raises(ValueError, match="device: 'abacus' given, which torch does not have here"):
        srnc.solve(paper(32), Batch(device="abacus"))


def test_the_history_tells_of_the_best_start_and_of_all(random_problem):
    problem = random_problem((4,), (11,))
    rows = []
    result = srnc.solve(problem, Batch(starts=20), rng=0, callback=rows.append)
    assert len(rows) == len(result.history)
    last = rows[-1]
    assert last["going"] == 0
    assert last["violation_25"] <= last["violation_50"] <= last["violation_75"]
    assert last["cost_25"] <= last["cost_50"] <= last["cost_75"]
    assert last["objective"] == pytest.approx(result.evaluation.objective, rel=1e-9)
    assert {"penalty", "multiplier"} <= set(last)
    assert result.n_evaluations == result.n_gradients >= 20 * STRIDE


def test_starts_are_the_given_one_and_then_random_ones(random_problem):
    problem = random_problem((4,), (11,))
    budget = Budget(max_evaluations=3)  # of three starts, nothing but their first evaluation
    result = srnc.solve(problem, Batch(RiemannianLBFGS()), rng=7, budget=budget)
    assert result.n_evaluations == 3
    assert result.status is srnc.Status.LIMIT
    rng, function = np.random.default_rng(7), SphereFunction(problem, LogSumExp())
    points = [problem.spheres.random_point(rng) for _ in range(3)]
    np.testing.assert_allclose(result.details["starts"]["cost"], [function.value(z) for z in points], rtol=1e-12)
    given = srnc.solve(problem, Batch(RiemannianLBFGS()), rng=7, start=problem.kernel, budget=budget)
    first = function.value(problem.to_sphere(problem.kernel).ravel())
    np.testing.assert_allclose(
        given.details["starts"]["cost"], [first, *(function.value(z) for z in points[:2])], rtol=1e-12
    )


@pytest.mark.parametrize("budget", [Budget(violation=1e-3), Budget(gap=1e-2, bound=32 / 3, violation=1e-3)])
def test_a_goal_ends_the_run_with_the_iterate_that_reached_it(budget, paper):
    problem = paper(32)
    result = srnc.solve(problem, Batch(starts=20), rng=0, budget=budget)
    assert result.status is srnc.Status.CONVERGED
    last = {name: column[-1] for name, column in result.history.columns.items()}
    assert budget.reached(last, problem.squared_norm) == result.message
    assert result.evaluation.objective == pytest.approx(last["objective"], rel=1e-12)


class NotFiniteFarAway(Cost):
    """Not a number where the largest squared singular value is above the target."""

    def value(self, view, xp):
        return xp.log(view.target_gain - xp.max(view.squared_singular_values)) + view.fidelity


def test_starts_whose_cost_is_not_finite_end_as_such(random_problem):
    problem = random_problem((4,), (11,))
    result = srnc.solve(problem, Batch(RiemannianLBFGS(NotFiniteFarAway()), starts=20), rng=0)
    statuses = result.details["starts"]["status"]
    assert "nonfinite" in statuses
    assert np.all(np.isfinite(result.kernel))


def test_stragglers_are_ended(paper):
    # On the paper's instance some starts go to frequencies that cannot reach the target, and stay there for long.
    impatient = srnc.solve(paper(32), Batch(starts=40, patience=1.0), rng=0)
    assert "limit" in impatient.details["starts"]["status"]
    assert impatient.status is srnc.Status.CONVERGED


# -- the device -------------------------------------------------------------------------------------------------------


@some_methods
def test_the_host_asks_once_in_25_steps(method, random_problem, monkeypatch):
    xp, problem, read, looks = namespace("torch"), random_problem((2, 3, 3), (8,)), [], []
    given = type(xp).to_numpy

    def counted(self, array):
        read.append(array)
        return given(self, array)

    monkeypatch.setattr(type(xp), "to_numpy", counted)
    budget = Budget(max_evaluations=8 * 4 * STRIDE)
    with Questions() as questions:
        result = srnc.solve(
            problem, Batch(method, starts=8), rng=0, budget=budget, callback=lambda _: looks.append(len(read))
        )
    assert len(looks) == len(result.history)
    assert np.all(np.diff(looks) <= 1)  # one transfer between two rows, which are 25 steps apart
    assert questions.count == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none")
@each_method
def test_cuda_ends_as_the_cpu_does(method, random_problem):
    for shape, size in (((3, 3), (8, 6)), ((3, 2, 3, 3), (6, 6))):
        problem = random_problem(shape, size)
        ours, theirs = (srnc.solve(problem, Batch(method, 50, device=device), rng=0) for device in ("cuda", "cpu"))
        assert ours.status is theirs.status
        assert ours.details["starts"]["status"] == theirs.details["starts"]["status"]
        assert ours.cost == pytest.approx(theirs.cost, rel=1e-6)  # of the methods' tolerances


@slow
@pytest.mark.parametrize("cost", [ExactMax(), Penalty()], ids=str)
@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: method.name)
def test_the_contract_is_kept_with_other_costs(method, cost):
    check_solver(Batch(type(method)(**{**vars(method), "cost": cost}), starts=4))


def test_more_starts_than_the_memory_holds_are_told(paper):
    result = srnc.solve(paper(32), Batch(starts=10**12), rng=0)
    assert result.status is srnc.Status.FAILED
    assert re.search(r"starts: 1000000000000 given, which needs about .* GB; this machine has", result.message)
    few = srnc.solve(paper(32), Batch(starts=10**12), rng=0, budget=srnc.Budget(max_evaluations=30))
    assert few.status is srnc.Status.LIMIT
