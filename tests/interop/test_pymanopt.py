"""pymanopt, both ways: problems on its own manifolds, kernels of its points, and its optimizers as solvers."""

import copy
import pickle
import re

import numpy as np
import pymanopt
import pytest
from pymanopt.manifolds import Oblique, Product, Sphere
from pymanopt.optimizers import ConjugateGradient, NelderMead, ParticleSwarm, SteepestDescent, TrustRegions
from pymanopt.optimizers.line_search import BackTrackingLineSearcher
from pymanopt.optimizers.optimizer import Optimizer, OptimizerResult
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.costs import ExactMax, LogSumExp, Penalty, SphereFunction
from srnc_manifold.interop import from_pymanopt, to_pymanopt
from srnc_manifold.registry import solver_from_name
from srnc_manifold.solvers import Riemannian

BACKENDS = ("numpy", "autograd", "torch")
SMOOTH = LogSumExp(alpha=3.0)
GRADIENT_METHODS = {
    "steepest-descent": SteepestDescent,
    "conjugate-gradient": ConjugateGradient,
    "trust-regions": TrustRegions,
}


def one(shape=(2, 3, 3), size=8, seed=0):
    return srnc.partway(np.random.default_rng(seed).standard_normal(shape), size, 0.5)


def stack_of(*shapes):
    return srnc.StackProblem([one(shape, 8, seed) for seed, shape in enumerate(shapes)])


def separable(shape=(3, 3), seed=0, size=8):
    kernel = np.random.default_rng(seed).standard_normal(shape)
    return srnc.SeparableProblem(kernel, (size,) * len(shape), stable_rank_fraction=0.8)


# Problems of all kinds, on each manifold that they have.
CASES = {
    "kernel, sphere": (one(), "product"),
    "matrix, sphere": (one((3, 4), ()), "product"),
    "kernel, oblique": (one(), "oblique"),
    "stack, product": (stack_of((3,), (2, 2, 3), (4,)), "product"),
    "stack, oblique": (stack_of((2, 1, 3), (6,)), "oblique"),
    "separable, product": (separable((3, 4, 2), size=4), "product"),
    "separable, oblique": (separable(), "oblique"),
}


def own_point(problem, manifold, z):
    """A flat point or vector in the form that pymanopt has for it."""
    parts = problem.spheres.split(z)
    if manifold == "oblique":
        return np.stack(parts, axis=1)
    if isinstance(problem, srnc.SRNProblem):
        return z.reshape(problem.kernel.shape)
    if isinstance(problem, srnc.StackProblem):
        return [factor.reshape(part.kernel.shape) for factor, part in zip(parts, problem.parts, strict=True)]
    return list(parts)


def flat(point):
    """The inverse of it."""
    if isinstance(point, list | tuple):
        return np.concatenate([np.ravel(factor) for factor in point])
    return np.ravel(point)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# -- problems taken out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [4, pytest.param(100, marks=slow)])
def test_values_gradients_and_hessians_are_ours(case, backend, count):
    problem, manifold = CASES[case]
    spheres, rng = problem.spheres, np.random.default_rng(1)
    for k in range(count):
        cost = (LogSumExp(), ExactMax(), Penalty(), SMOOTH)[k % 4]
        taken, function = to_pymanopt(problem, cost, backend, manifold=manifold), SphereFunction(problem, cost, backend)
        z = spheres.random_point(rng)
        vector = spheres.projected(rng.standard_normal(spheres.size), z)
        point, tangent = own_point(problem, manifold, z), own_point(problem, manifold, vector)
        gradient, product = function.gradient(z), function.hessian(z, vector)
        # The same functions of the same points; only the projections are computed in another order.
        assert taken.cost(point) == pytest.approx(function.value(z), rel=1e-12)
        flattened = (lambda x: flat(x.T)) if manifold == "oblique" else flat
        assert relative(flattened(taken.euclidean_gradient(point)), gradient) <= 1e-12
        assert relative(flattened(taken.riemannian_gradient(point)), spheres.projected(gradient, z)) <= 1e-12
        assert relative(flattened(taken.euclidean_hessian(point, tangent)), product) <= 1e-12
        expected = spheres.riemannian_hessian(z, gradient, product, vector)
        assert relative(flattened(taken.riemannian_hessian(point, tangent)), expected) <= 1e-12


@pytest.mark.parametrize("case", CASES)
def test_the_manifolds_are_those_of_pymanopt(case):
    problem, manifold = CASES[case]
    space = to_pymanopt(problem, LogSumExp(), manifold=manifold).manifold
    assert type(space) is {"sphere": Sphere, "product": Product, "oblique": Oblique}[case.partition(", ")[2]]
    assert space.dim == problem.spheres.dimension
    np.random.seed(0)  # noqa: NPY002 - pymanopt's own source of points
    kernel = from_pymanopt(problem, space.random_point())
    assert kernel.shape == problem.kernel.shape
    kernels = problem.kernels(kernel) if isinstance(problem, srnc.StackProblem) else [kernel]
    for part, own in zip(problem.parts, kernels, strict=True):
        assert np.linalg.norm(own) == pytest.approx(part.radius, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case):
    problem, manifold = CASES[case]
    z = problem.spheres.random_point(np.random.default_rng(2))
    point = own_point(problem, manifold, z)
    kernel = from_pymanopt(problem, tuple(point) if isinstance(point, list) else point)
    np.testing.assert_allclose(kernel, problem.from_units(problem.unit_kernels_at(z)), rtol=1e-14)
    again = problem.to_sphere(kernel).ravel()
    # The signs of the factors of an outer product are not determined by it.
    np.testing.assert_allclose(problem.embed(again), problem.embed(z), atol=1e-14)


def test_the_precision_is_that_of_results():
    kernel = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    problem = srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.8)
    assert from_pymanopt(problem, problem.to_sphere(kernel)).dtype == np.float32


TEN = [
    *(one(shape, size) for shape, size in [((3,), 32), ((2, 3), ()), ((3, 3), 8), ((2, 2, 3), 8), ((1, 2, 3, 3), 6)]),
    *(stack_of(*shapes) for shapes in [((3,), (4,)), ((2, 2, 3), (3, 3)), ((5,),)]),
    *(separable(shape, seed) for shape, seed in [((3, 3), 0), ((3, 4), 3)]),
]


@pytest.mark.parametrize("k", some(range(10)))
@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_pymanopt_ends_where_we_end(method, k):
    problem = TEN[k]
    # The cost is smooth, so at a gradient norm of 1e-6 it is within about 1e-12 of the minimum. Rounding may lead two
    # long runs to different minima (steepest descent, 1 of 36 separable problems): these problems have no such runs.
    settings = {"min_gradient_norm": 1e-6, "max_iterations": 5000, "verbosity": 0}
    optimizer = GRADIENT_METHODS[method](**settings)
    z = problem.spheres.random_point(np.random.default_rng(k))
    point = own_point(problem, "product", z)
    # Inner steps as few as ours; see the interface.
    inner = {"mininner": 0} if method == "trust-regions" else {}
    found = optimizer.run(to_pymanopt(problem, SMOOTH), initial_point=point, **inner)
    start = from_pymanopt(problem, point)
    named = Riemannian(SMOOTH, method, max_iterations=5000, tolerance=1e-6)
    for solver in (named, Riemannian(SMOOTH, optimizer)):
        result = srnc.solve(problem, solver, start=start, rng=0)
        assert result.status is srnc.Status.CONVERGED, result.message
        assert found.cost == pytest.approx(result.cost, abs=1e-8)
        value = SphereFunction(problem, SMOOTH).value(problem.to_sphere(from_pymanopt(problem, found.point)).ravel())
        assert value == pytest.approx(result.cost, abs=1e-8)


# Nelder-Mead of pymanopt 2.2.1 fails on its products.
@pytest.mark.parametrize(
    ("optimizer", "case"),
    [
        (NelderMead(max_iterations=25, verbosity=0), "kernel, sphere"),
        (NelderMead(max_iterations=25, verbosity=0), "stack, oblique"),
        (ParticleSwarm(max_iterations=20, verbosity=0), "kernel, sphere"),
        (ParticleSwarm(max_iterations=20, verbosity=0), "stack, product"),
        (ParticleSwarm(max_iterations=20, verbosity=0), "separable, product"),
    ],
)
def test_methods_without_gradients_run_on_what_is_taken_out(optimizer, case):
    problem, manifold = CASES[case]
    taken = to_pymanopt(problem, LogSumExp(), manifold=manifold)
    np.random.seed(0)  # noqa: NPY002 - pymanopt's own source of points
    found = copy.deepcopy(optimizer).run(taken)
    drawn = [taken.cost(taken.manifold.random_point()) for _ in range(20)]
    assert found.cost < min(drawn)
    assert from_pymanopt(problem, found.point).shape == problem.kernel.shape


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (("kernel", LogSumExp()), {}, TypeError, "problem: str given, expected an SRNProblem"),
        ((one(), "lse"), {}, TypeError, "cost: 'lse' given, expected an instance of a cost"),
        ((one(), LogSumExp), {}, TypeError, "cost: <class .* given, expected an instance of a cost"),
        ((one(), LogSumExp(), "jax"), {}, ValueError, "backend: 'jax' given, expected one of numpy"),
        ((one(), LogSumExp()), {"manifold": "torus"}, ValueError, "manifold: 'torus' given, expected one of product"),
        ((stack_of((3,), (4,)), LogSumExp()), {"manifold": "oblique"}, ValueError, r"have \(3, 4\) entries, expected"),
        ((srnc.SRNProblem([2.0], 4, stable_rank=4), LogSumExp()), {}, ValueError, "leave nothing to optimize"),
    ],
)
def test_what_cannot_be_taken_out_is_told(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        to_pymanopt(*arguments, **settings)


UNIT = np.array([0.6, 0.8, 0.0])


@pytest.mark.parametrize(
    ("problem", "point", "error", "message"),
    [
        ("kernel", UNIT, TypeError, "problem: str given"),
        (one((3,)), UNIT[:2], ValueError, r"point: shape \(2,\) given, expected an array of shape \(3,\) or a matrix"),
        (one((3,)), 2 * UNIT, ValueError, "point: a norm of 2 given, expected 1"),
        (one((3,)), [np.nan, 0, 1], ValueError, "point: some entries are NaN"),
        (one((3,)), None, TypeError, "point: "),
        (one((3,)), OptimizerResult(UNIT, 0.0, 1, "", 0.0), TypeError, "it is the attribute 'point' of a result"),
        (separable(), [UNIT], ValueError, "point: 1 arrays given, expected a list of arrays"),
        (separable(), [UNIT, UNIT[:2]], ValueError, r"point: shapes \[\(3,\), \(2,\)\] given, expected a list"),
        (separable(), [UNIT, 3 * UNIT], ValueError, "point: a norm of factor 2 of 3 given, expected 1"),
        (separable(), [UNIT, "x"], TypeError, r"point\[1\]: "),
        (separable(), UNIT, ValueError, r"point: shape \(3,\) given, .* or a matrix of shape \(3, 2\)"),
        (separable((3, 4)), np.ones((3, 2)), ValueError, r"point: shape \(3, 2\) given, expected a list of arrays"),
    ],
)
def test_what_is_no_point_is_told(problem, point, error, message):
    with pytest.raises(error, match=message) as told:
        from_pymanopt(problem, point)
    assert "\n" not in str(told.value)


# -- instances of optimizers as solvers -----------------------------------------------------------------------------


class Descent(Optimizer):
    """Steps against the gradient; it prints, it may swallow exceptions, and it writes on itself."""

    def __init__(self, step=0.01, swallow=False, **settings):
        super().__init__(**settings)
        self.step, self._swallow, self.runs = step, swallow, 0

    def run(self, problem, *, initial_point=None):
        self.runs += 1
        z = initial_point
        for iteration in range(1, self._max_iterations + 1):
            if self._verbosity:
                print(iteration)
            try:
                gradient = problem.riemannian_gradient(z)
            except Exception:
                if not self._swallow:
                    raise
                continue
            z = problem.manifold.retraction(z, -self.step * gradient)
        return OptimizerResult(z, problem.cost(z), iteration, "max iterations reached", 0.0)


class Search(Optimizer):
    """Random steps that lower the cost. It takes no gradients, and does not call the constructor of its base."""

    def __init__(self, steps):
        self.steps = steps

    def run(self, problem, *, initial_point=None):
        z, value = initial_point, problem.cost(initial_point)
        for k in range(self.steps):
            trial = problem.manifold.retraction(z, 2.0 ** -(k % 10) * problem.manifold.random_tangent_vector(z))
            if problem.cost(trial) < value:
                z, value = trial, problem.cost(trial)
        return OptimizerResult(z, value, self.steps, "all steps are done", 0.0)


class Wrong(Optimizer):
    """One that does what it shall not."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def run(self, problem, *, initial_point=None):
        z = initial_point
        if self.how == "leaves":
            problem.cost(2 * z)
        if self.how == "shape":
            problem.cost(z[:2])
        if self.how == "list":
            problem.cost(list(z))
        if self.how == "nan":
            problem.cost(np.nan * z)
        if self.how == "returns":
            return z
        if self.how == "raises":
            raise RuntimeError("no more")
        return OptimizerResult(2 * z, 0.0, 1, "", 0.0)


def test_an_instance_runs_as_its_name_does():
    problem = one()
    for name, kind in GRADIENT_METHODS.items():
        by_name = srnc.solve(problem, Riemannian(optimizer=name), rng=0)
        by_instance = srnc.solve(problem, Riemannian(optimizer=kind(max_iterations=1000)), rng=0)
        assert by_instance.status is srnc.Status.CONVERGED
        np.testing.assert_array_equal(by_instance.kernel, by_name.kernel)
        assert by_instance.n_evaluations == by_name.n_evaluations
        assert len(by_instance.history) == by_instance.n_gradients == by_name.n_gradients


def test_settings_of_an_instance_count_and_it_is_not_changed(capsys):
    problem = one()
    searcher = BackTrackingLineSearcher(contraction_factor=0.3)
    instances = [
        ConjugateGradient(max_iterations=3),
        ConjugateGradient(min_gradient_norm=1e-2),
        ConjugateGradient(beta_rule="PolakRibiere", line_searcher=searcher, log_verbosity=1),
        ConjugateGradient(max_time=1e-9),
        SteepestDescent(min_step_size=10.0),
        ParticleSwarm(max_iterations=7, population_size=5),
        NelderMead(max_cost_evaluations=30),
    ]
    before = [pickle.dumps(instance) for instance in instances]
    few, loose, other, hasty, coarse, swarm, simplex = (
        srnc.solve(problem, Riemannian(optimizer=instance), rng=0) for instance in instances
    )
    assert [pickle.dumps(instance) for instance in instances] == before
    assert searcher._oldf0 is None
    assert capsys.readouterr().out == ""
    assert (few.status, few.message) == (srnc.Status.LIMIT, "3 iterations")
    assert loose.status is srnc.Status.CONVERGED
    assert 1e-6 < loose.gradient_norm <= 1e-2
    assert other.status is srnc.Status.CONVERGED
    assert other.n_evaluations != srnc.solve(problem, Riemannian(optimizer=ConjugateGradient()), rng=0).n_evaluations
    assert hasty.status is srnc.Status.LIMIT
    assert "max time reached" in hasty.message
    assert coarse.status is srnc.Status.STALLED
    assert "min step_size reached" in coarse.message
    assert swarm.status is srnc.Status.LIMIT
    assert swarm.n_evaluations <= 5 * 8
    assert simplex.status is srnc.Status.LIMIT
    assert "max cost evals" in simplex.message


@pytest.mark.parametrize(
    "optimizer", [ConjugateGradient(), ParticleSwarm(max_iterations=5), Descent(max_iterations=9), Search(50)]
)
def test_a_run_can_be_repeated(optimizer):
    state = np.random.get_state()[1]  # noqa: NPY002 - the global state must not change
    problem, solver = stack_of((3,), (2, 2, 3)), Riemannian(optimizer=optimizer)
    one_run, other = (srnc.solve(problem, solver, rng=5) for _ in range(2))
    np.testing.assert_array_equal(one_run.kernel, other.kernel)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_one_s_own_optimizer_with_gradients(capsys):
    problem, optimizer = one(), Descent(step=0.02, max_iterations=300, min_gradient_norm=1e-4)
    result = srnc.solve(problem, Riemannian(SMOOTH, optimizer), rng=0)
    assert result.status is srnc.Status.CONVERGED, result.message
    assert len(result.history) == result.n_gradients == 300
    assert result.gradient_norm <= 1e-4
    assert optimizer.runs == 0
    assert capsys.readouterr().out == ""
    short = srnc.solve(problem, Riemannian(SMOOTH, Descent(max_iterations=5)), rng=0)
    assert (short.status, short.message) == (srnc.Status.LIMIT, "5 iterations")
    # The point that is returned has the least cost of those in the history, and of the last, which has no gradient.
    assert short.cost <= np.min(short.history["cost"])
    assert short.n_evaluations == 6


def test_one_s_own_optimizer_without_gradients():
    problem = one((3,), 16)
    result = srnc.solve(problem, Riemannian(SMOOTH, Search(400)), rng=0)
    reference = min(srnc.solve(problem, Riemannian(SMOOTH), rng=seed).cost for seed in range(5))
    assert result.cost == pytest.approx(reference, rel=1e-3)
    assert result.status is srnc.Status.STALLED
    assert "all steps are done" in result.message
    assert result.n_gradients == 0
    # The history has every improvement.
    assert np.all(np.diff(result.history["cost"]) < 0)
    assert np.all(np.isnan(result.history["gradient_norm"]))
    assert result.history["cost"][-1] == result.cost
    assert result.evaluation == problem.evaluate(result.kernel)


@pytest.mark.parametrize(
    "optimizer",
    [Descent(), Descent(swallow=True), Search(1000), ConjugateGradient(), pytest.param(NelderMead(), marks=slow)],
)
def test_budgets_and_callbacks_end_it(optimizer):
    problem, solver = one(), Riemannian(SMOOTH, optimizer)
    result = srnc.solve(problem, solver, rng=0, budget=srnc.Budget(max_evaluations=12))
    assert (result.status, result.n_evaluations) == (srnc.Status.LIMIT, 12)
    assert "budget of 12 evaluations" in result.message
    assert srnc.solve(problem, solver, rng=0, budget=srnc.Budget(max_time=1e-9)).status is srnc.Status.LIMIT
    rows = []

    def callback(row):
        rows.append(row)
        if len(rows) == 3:
            raise StopIteration

    result = srnc.solve(problem, solver, rng=0, callback=callback)
    assert (result.status, result.message) == (srnc.Status.LIMIT, "stopped by the callback")
    assert len(rows) == len(result.history) == 3
    goal = srnc.solve(problem, solver, rng=0, budget=srnc.Budget(violation=0.5))
    assert goal.status is srnc.Status.CONVERGED
    assert goal.evaluation.violation <= 0.5


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("leaves", srnc.Status.FAILED, "ValueError: optimizer: Wrong proposed a point off the spheres, expected"),
        ("shape", srnc.Status.FAILED, r"Wrong proposed an array of shape \(2,\), expected an array of shape \(18,\)"),
        ("list", srnc.Status.FAILED, "Wrong proposed list, expected an array"),
        ("nan", srnc.Status.NONFINITE, "proposed a point that is not finite"),
        (
            "returns",
            srnc.Status.FAILED,
            "optimizer: Wrong.run returned ndarray, expected an OptimizerResult",
        ),
        ("raises", srnc.Status.FAILED, "RuntimeError: no more"),
        ("ends outside", srnc.Status.FAILED, "Wrong proposed a point off the spheres"),
    ],
)
def test_what_an_optimizer_does_wrong_is_told(how, status, message):
    result = srnc.solve(one(), Riemannian(optimizer=Wrong(how)), rng=0)
    assert result.status is status
    assert re.search(message, result.message)


def test_an_instance_that_cannot_be_copied_is_told():
    result = srnc.solve(one(), Riemannian(optimizer=Wrong(n for n in ())), rng=0)
    assert result.status is srnc.Status.FAILED
    assert "optimizer: Wrong given, which cannot be copied" in result.message


def test_a_critical_start_ends_at_once():
    problem = one((3,), 16)
    start = srnc.solve(problem, Riemannian(SMOOTH, tolerance=1e-9), rng=0).kernel
    for kind in GRADIENT_METHODS.values():
        result = srnc.solve(problem, Riemannian(SMOOTH, kind()), start=start)
        assert result.status is srnc.Status.CONVERGED
        assert result.message.startswith("the starting point is critical")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"optimizer": ConjugateGradient},
            TypeError,
            "optimizer: the class ConjugateGradient given, expected an instance",
        ),
        ({"optimizer": "newton"}, ValueError, "optimizer: 'newton' given, expected one of steepest-descent"),
        (
            {"optimizer": 3},
            TypeError,
            "optimizer: 3 given, expected an instance of a pymanopt optimizer, or one of steep",
        ),
        ({"optimizer": None}, TypeError, "optimizer: None given"),
        ({"optimizer": print}, TypeError, "optimizer: <built-in function print> given"),
        (
            {"optimizer": ConjugateGradient(), "max_iterations": 5},
            ValueError,
            "max_iterations: 5 given together with an",
        ),
        ({"optimizer": Descent(), "tolerance": 1e-3}, ValueError, "expected min_gradient_norm in the instance"),
    ],
)
def test_what_is_no_optimizer_is_told(settings, error, message):
    with pytest.raises(error, match=message):
        Riemannian(**settings)


def test_nelder_mead_takes_small_kernels_only():
    large = one((10, 10, 3), 8)
    assert not Riemannian(optimizer=NelderMead()).supports(large)[0]
    assert Riemannian(optimizer=ParticleSwarm()).supports(large)[0]


# -- names and comparisons ------------------------------------------------------------------------------------------


class Renamed(Optimizer):
    """Keeps its settings under other names, and one of them refers to itself."""

    def __init__(self, step, table):
        super().__init__()
        self.h, self.values, self.owner = step, table, self

    run = Search.run


def test_names_tell_the_settings_of_instances():
    searcher = BackTrackingLineSearcher(contraction_factor=0.3)
    instances = [
        ConjugateGradient(),
        ConjugateGradient(beta_rule="PolakRibiere"),
        ConjugateGradient(max_iterations=7),
        ConjugateGradient(line_searcher=BackTrackingLineSearcher()),
        ConjugateGradient(line_searcher=searcher),
        SteepestDescent(),
        Descent(),
        Descent(0.5),
        Descent(swallow=True),
        Search(3),
        Search(4),
        Renamed(1, {}),
        Renamed(2, {}),
        Renamed(2, {"a": [1, 2]}),
    ]
    names = [Riemannian(optimizer=instance).name for instance in instances]
    assert len(set(names)) == len(names)
    assert names == [Riemannian(optimizer=copy.deepcopy(instance)).name for instance in instances]
    assert names[0] == "riemannian[optimizer=pymanopt.optimizers.conjugate_gradient.ConjugateGradient]"
    assert "ConjugateGradient[beta_rule=PolakRibiere]" in names[1]
    assert (
        "[line_searcher=pymanopt.optimizers.line_search.BackTrackingLineSearcher[contraction_factor=0.3]]" in names[4]
    )
    assert "Descent[step=0.5]" in names[7]
    with pytest.raises(ValueError, match="expected one of"):
        solver_from_name(names[1])


def test_a_run_elsewhere_does_not_change_the_name():
    optimizer = ConjugateGradient(verbosity=0)
    before = Riemannian(optimizer=optimizer).name
    optimizer.run(to_pymanopt(one((3,)), LogSumExp()))
    assert Riemannian(optimizer=optimizer).name == before


def test_comparisons_take_instances():
    solvers = [
        Riemannian(optimizer=ConjugateGradient()),
        Riemannian(optimizer=ConjugateGradient(beta_rule="PolakRibiere")),
        Riemannian(optimizer=Search(20)),
        Riemannian(optimizer=Descent(max_iterations=20)),
    ]
    rows = srnc.compare(one((3,)), solvers, seeds=[0]).rows
    assert rows["solver"].tolist() == [solver.name for solver in solvers]
    assert not set(rows["status"]) & {"failed"}
    again = srnc.compare(one((3,)), pickle.loads(pickle.dumps(solvers)), seeds=[0]).rows
    columns = ["solver", "status", "objective", "evaluations", "gradients"]
    assert again[columns].equals(rows[columns])


@slow
def test_comparisons_take_instances_in_several_processes():
    solvers = [Riemannian(optimizer=ConjugateGradient()), Riemannian(optimizer=Descent(max_iterations=20))]
    alone, together = (srnc.compare(one((3,)), solvers, seeds=[0, 1], n_jobs=n).rows for n in (1, 2))
    columns = ["solver", "status", "objective", "evaluations", "gradients"]
    assert alone[columns].equals(together[columns])


def test_everything_is_reached_from_the_package():
    assert srnc.interop.to_pymanopt is to_pymanopt
    assert isinstance(srnc.interop.to_pymanopt(one(), LogSumExp()), pymanopt.Problem)
    assert srnc.interop.__all__ == ["from_pymanopt", "to_pymanopt"]
