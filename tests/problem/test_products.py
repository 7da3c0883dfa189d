"""Stacks of kernels and separable kernels: embeddings, scores, every solver, and optima found by brute force."""

import itertools
import pickle

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from tiers import slow, some, times

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.costs import LogSumExp, SphereFunction
from srnc_manifold.solvers import AugmentedLagrangian, Budget, Exact, MultiStart, Riemannian, RiemannianLBFGS
from srnc_manifold.solvers.constrained.multi_start import _Functions
from srnc_manifold.solvers.optimality import stationarity
from srnc_manifold.solvers.sphere.riemannian import OPTIMIZERS
from srnc_manifold.testing import taylor_slope

seeds = st.integers(0, 2**31)
shapes = st.sampled_from([(2, 2), (3, 2), (1, 4), (3, 1), (2, 3, 2), (2, 2, 2, 3)])


def part(shape, size, seed, raising=False, scale=1.0):
    """A problem half of the way to one end of its feasible range."""
    kernel = scale * np.random.default_rng(seed).standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    target = 0.5 * (own.kernel_stable_rank + own.feasible_range[raising])
    return srnc.SRNProblem(kernel, size, stable_rank=target)


def separable(shape, size, seed=0, fraction=0.8):
    return srnc.SeparableProblem(
        np.random.default_rng(seed).standard_normal(shape), size, stable_rank_fraction=fraction
    )


@pytest.fixture
def stack():
    """Kernels of unequal shapes, norms and regimes, one of them with a single entry."""
    parts = [part((3,), (16,), 0, scale=5.0), part((2, 2, 2), (5,), 1), part((2, 2), (4, 5), 2, raising=True)]
    return srnc.StackProblem([*parts, srnc.SRNProblem([2.0], 4, stable_rank=4)])


@pytest.fixture
def equal():
    """Kernels of one shape."""
    return srnc.StackProblem([part((2, 3), (6, 5), seed) for seed in range(3)])


# -- the embedding of separable kernels ---------------------------------------------------------------------------


@given(shapes, seeds)
def test_separable_kernels_are_outer_products(shape, seed):
    problem, rng = separable(shape, tuple(n + 2 for n in shape), fraction=1.0), np.random.default_rng(seed)
    z = problem.spheres.random_point(rng)
    product = np.ones(())
    for factor in problem.spheres.split(z):
        product = np.multiply.outer(product, factor)
    np.testing.assert_allclose(problem.embed(z), product.ravel(), atol=1e-15)  # products in another order
    for name in ("autograd", "torch"):
        xp = namespace(name)
        np.testing.assert_allclose(xp.to_numpy(problem.embed(xp.asarray(z), xp)), product.ravel(), atol=1e-15)


@given(shapes, seeds)
def test_derivatives_of_the_embedding_are_autograd_s(shape, seed):
    problem, rng = separable(shape, tuple(n + 2 for n in shape), fraction=1.0), np.random.default_rng(seed)
    z, vector = rng.standard_normal((2, problem.spheres.size))
    covector = rng.standard_normal(problem.kernel.size)
    xp = namespace("autograd")
    jacobian = autograd.jacobian(lambda p: problem.embed(p, xp))(z)
    hessian = autograd.hessian(lambda p: xp.sum(covector * problem.embed(p, xp)))(z)
    # Sums of a few dozen products of numbers of size one.
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(problem.embed_derivative(z, vector), jacobian @ vector, **tolerance)
    np.testing.assert_allclose(problem.embed_adjoint(z, covector), jacobian.T @ covector, **tolerance)
    np.testing.assert_allclose(problem.embed_curvature(z, vector, covector), hessian @ vector, **tolerance)


@given(shapes, seeds)
def test_adjoint_and_curvature_belong_to_the_derivative(shape, seed):
    problem, rng = separable(shape, tuple(n + 2 for n in shape), fraction=1.0), np.random.default_rng(seed)
    z, x, y = rng.standard_normal((3, problem.spheres.size))
    covector = rng.standard_normal(problem.kernel.size)
    pairing = covector @ problem.embed_derivative(z, x)
    assert problem.embed_adjoint(z, covector) @ x == pytest.approx(pairing, abs=1e-12)
    curvature = problem.embed_curvature(z, x, covector)
    # A second derivative is symmetric.
    assert curvature @ y == pytest.approx(problem.embed_curvature(z, y, covector) @ x, abs=1e-12)
    first = problem.embed_adjoint(z, covector)

    def remainder(t):
        return np.linalg.norm(problem.embed_adjoint(z + t * x, covector) - first - t * curvature)

    slope = taylor_slope(remainder, 1e-12)  # above the rounding of numbers of size ten
    assert slope == np.inf or slope >= 1.9  # quadratic, or exact for two factors


@pytest.mark.parametrize("make", [lambda: separable((3, 2), (6, 5)), lambda: separable((2, 3, 2), (4, 3, 5))])
def test_functions_of_scipy_have_the_right_derivatives_on_products(make, stack):
    for problem in (make(), stack):
        functions = _Functions(problem, srnc.solvers.Run(problem, "test"))
        rng, t = np.random.default_rng(1), 1e-6
        x, v = problem.spheres.random_point(rng), rng.standard_normal(problem.spheres.size)
        for value, jacobian in (
            (functions.objective, functions.objective_gradient),
            (functions.norms, functions.norms_jacobian),
            (functions.gain, functions.gain_jacobian),
            (functions.objective_gradient, functions.objective_hessian),
        ):
            difference = (np.atleast_1d(value(x + t * v)) - np.atleast_1d(value(x - t * v))) / (2 * t)
            # Central differences: t² and rounding / t, both about 1e-10 of the value.
            np.testing.assert_allclose(np.atleast_2d(jacobian(x)) @ v, difference, rtol=1e-6, atol=1e-7)


# -- points and kernels -------------------------------------------------------------------------------------------


@given(shapes, seeds)
def test_separable_kernels_are_recovered(shape, seed):
    problem, rng = separable(shape, tuple(n + 2 for n in shape), fraction=1.0), np.random.default_rng(seed)
    kernel = problem.free.to_kernel(problem.embed(problem.spheres.random_point(rng)))
    for given_kernel, tolerance in ((-3 * kernel, 1e-14), (kernel.astype("float32"), 1e-6)):  # their roundings
        z = problem.to_sphere(given_kernel)
        np.testing.assert_allclose(problem.spheres.inner(z, z), 1, atol=1e-14)
        direction = given_kernel / np.linalg.norm(given_kernel)
        np.testing.assert_allclose(problem.embed(z), direction.ravel(), atol=tolerance)
    np.testing.assert_allclose(problem.nearest_separable(kernel), kernel, atol=1e-14 * problem.free.radius)


def test_the_nearest_separable_kernel_is_the_leading_singular_pair():
    problem = separable((3, 4), (6, 7))
    u, s, vh = np.linalg.svd(problem.kernel)
    nearest = problem.nearest_separable(problem.kernel)
    assert np.linalg.norm(nearest) == pytest.approx(problem.free.radius)
    # An error of the factors is the square root of that of what alternation improves, 1e-15.
    np.testing.assert_allclose(nearest / problem.free.radius, np.outer(u[:, 0], vh[0]), atol=1e-7)
    assert np.sum(nearest * problem.kernel) / problem.free.radius == pytest.approx(s[0], rel=1e-12)


@given(seeds)
def test_no_factor_alone_improves_the_nearest_separable_kernel(seed):
    kernel = np.random.default_rng(seed).standard_normal((2, 3, 2))
    problem = srnc.SeparableProblem(kernel, (4, 4, 4), stable_rank_fraction=1.0)
    z = problem.to_sphere(problem.nearest_separable(kernel))
    pull = problem.embed_adjoint(z, kernel.ravel())
    assert problem.embed(z) @ kernel.ravel() > 0.1 * np.linalg.norm(kernel)
    # Stationary, to the square root of what alternation improves.
    np.testing.assert_allclose(problem.spheres.projected(pull, z), 0, atol=1e-5 * np.linalg.norm(kernel))


def test_the_approximation_of_a_kernel_whose_unfoldings_mislead():
    # The leading singular vectors of the three unfoldings have a product that is orthogonal to the kernel, and a single
    # entry is a stationary point of cosine 1/√3.
    kernel = np.zeros((2, 2, 2))
    kernel[0, 1, 1] = kernel[1, 0, 1] = kernel[1, 1, 0] = 1.0
    kernel[0, 0, 0] = 1e-3
    problem = srnc.SeparableProblem(kernel, (3, 3, 3), stable_rank_fraction=1.0)
    nearest = problem.nearest_separable(kernel)
    # The best one has cosine 2/3 up to the small entry: of (s, c)³ with 3 s c² / √3 largest.
    assert np.sum(nearest * problem.free.direction) / problem.free.radius == pytest.approx(2 / 3, abs=1e-3)


def test_kernels_that_are_not_separable_are_refused():
    problem = separable((3, 3), (6, 5))
    for action in (problem.to_sphere, problem.restore, lambda x: srnc.solve(problem, RiemannianLBFGS(), start=x)):
        with pytest.raises(ValueError, match=r"not separable \(relative error .* see nearest_separable"):
            action(problem.kernel)
    near = problem.nearest_separable(problem.kernel)
    assert srnc.solve(problem, RiemannianLBFGS(), start=near).status is srnc.Status.CONVERGED


def test_stacks_and_kernels_are_inverse(stack, equal):
    assert stack.kernel.shape == (3 + 8 + 4 + 1,)
    assert equal.kernel.shape == (3, 2, 3)
    for problem in (stack, equal):
        kernels = problem.kernels(problem.kernel)
        for kernel, own in zip(kernels, problem.parts, strict=True):
            np.testing.assert_array_equal(kernel, own.kernel)
        np.testing.assert_array_equal(problem.stack(kernels), problem.kernel)
        z = problem.to_sphere(problem.kernel)
        np.testing.assert_allclose(problem.spheres.inner(z, z), 1, atol=1e-14)
        expected = problem.stack(own.to_kernel(own.direction) for own in problem.parts)
        np.testing.assert_allclose(problem.from_units(problem.unit_kernels_at(z)), expected, rtol=1e-14)


def test_pickled_problems_are_the_same(stack):
    for problem in (stack, separable((3, 2), (6, 5))):
        again = pickle.loads(pickle.dumps(problem))
        assert again.evaluate(problem.kernel) == problem.evaluate(problem.kernel)
        assert (again.spheres, again.regimes, repr(again)) == (problem.spheres, problem.regimes, repr(problem))
        assert not again.kernel.flags.writeable


SRN = srnc.SRNProblem([1.0, 2.0], 4, stable_rank_fraction=1.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: srnc.StackProblem([]), ValueError, "problems: none given"),
        (lambda: srnc.StackProblem(SRN), TypeError, "problems: SRNProblem given, expected several"),
        (lambda: srnc.StackProblem([SRN, "kernel"]), TypeError, "problems: str given, expected SRNProblems"),
        (lambda: srnc.StackProblem([SRN, separable((2, 2), 4)]), TypeError, "problems: SeparableProblem given"),
        (lambda: srnc.StackProblem([SRN]).evaluate([1.0, 2.0]), ValueError, r"x: shape \(2,\) .* stack, \(1, 2\)"),
        (lambda: srnc.StackProblem([SRN]).evaluate([["a", "b"]]), TypeError, "x: dtype"),
        (lambda: srnc.StackProblem([SRN]).evaluate([[1.0, np.nan]]), ValueError, "x: some entries are NaN"),
        (lambda: srnc.StackProblem([SRN, SRN]).evaluate([[1.0, 2.0], [0, 0]]), ValueError, "x: all entries are zero"),
        (lambda: srnc.StackProblem([SRN, SRN]).stack([[1.0, 2.0]]), ValueError, r"kernels: shapes \[\(2,\)\] given"),
        (lambda: separable((2, 2, 3, 3), (5, 5)), ValueError, r"kernel: shape \(2, 2, 3, 3\) .* a single channel"),
        (lambda: separable((3,), (5,)), ValueError, r"kernel: shape \(3,\) .* at least two axes"),
        (lambda: separable((3, 3), (5, 5)).evaluate(np.ones((3, 2))), ValueError, r"x: shape \(3, 2\) given"),
        (lambda: srnc.SeparableProblem(np.eye(2), (4, 4)), ValueError, "target: expected exactly one"),
        (lambda: srnc.solve(separable((3, 3), (5, 5))), ValueError, "exact does not support .* entries are free"),
    ],
)
def test_what_is_given_is_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_stack_refuses_a_solver_that_refuses_a_part(equal):
    raising = srnc.StackProblem([*equal.parts, part((2, 2), (4, 5), 0, raising=True)])
    with pytest.raises(ValueError, match="does not support this problem: part 4: "):
        srnc.solve(raising, srnc.solvers.SRNC(repair="iterated"))


# -- scores ------------------------------------------------------------------------------------------------------


def test_scores_of_a_stack_are_sums_and_the_worst(stack):
    rng = np.random.default_rng(0)
    x = stack.stack(own.kernel + 0.1 * rng.standard_normal(own.kernel.shape) for own in stack.parts)
    scores = stack.evaluate(x)
    own = [problem.evaluate(kernel) for problem, kernel in zip(stack.parts, stack.kernels(x), strict=True)]
    worst = max(own, key=lambda e: e.violation)
    assert scores.objective == pytest.approx(sum(e.objective for e in own))
    assert (scores.stable_rank_error, scores.spectral_norm_error) == (
        worst.stable_rank_error,
        worst.spectral_norm_error,
    )
    assert scores.violation == worst.violation
    # ‖C(x) − C(a)‖ / ‖C(a)‖ of the block-diagonal operator.
    assert scores.relative_distance == pytest.approx(np.sqrt(scores.objective / stack.squared_norm))
    assert stack.squared_norm == pytest.approx(sum(problem.squared_norm for problem in stack.parts))


def test_a_history_has_the_scores_of_its_iterates(stack):
    for problem in (stack, separable((3, 2), (6, 5))):
        result = srnc.solve(problem, RiemannianLBFGS(), rng=0)
        assert result.history["objective"][-1] == pytest.approx(result.evaluation.objective)
        assert result.history["stable_rank_error"][-1] == pytest.approx(result.evaluation.stable_rank_error)
        assert result.history["spectral_norm_error"][-1] == pytest.approx(result.evaluation.spectral_norm_error)
        distance = np.linalg.norm(result.kernel - problem.kernel)
        assert result.history["distance"][-1] == pytest.approx(distance)


def test_restoring_a_stack_restores_every_kernel(stack):
    near = srnc.solve(stack).kernel * (1 + 1e-4 * np.random.default_rng(0).standard_normal(stack.kernel.shape))
    moved = stack.restore(near)
    assert moved.success
    assert stack.evaluate(moved).violation < 1e-12
    assert 0 < moved.distance < 1e-2
    delta = srnc.SRNProblem([1.0, 0.0, 0.0], 64, stable_rank=32)
    both = srnc.StackProblem([delta, delta])
    best = srnc.solve(delta).kernel
    # Towards a kernel that lies opposite nothing moves.
    failed = both.restore(both.stack([best, [-0.999, 1e-20, 0.0]]))
    expected = delta.restore([-0.999, 1e-20, 0.0])
    assert failed.success == expected.success
    np.testing.assert_allclose(failed.kernel[0], best, rtol=1e-12)


def test_restoring_a_separable_kernel_keeps_it_separable():
    for shape, size in (((3, 2), (6, 5)), ((2, 3, 2), (4, 3, 5))):
        problem = separable(shape, size)
        best = srnc.solve(problem, AugmentedLagrangian(), rng=0).kernel
        z = problem.to_sphere(best)
        shifted = problem.spheres.retracted(z, 1e-3 * np.random.default_rng(0).standard_normal(z.size))
        moved = problem.restore(problem.free.to_kernel(problem.embed(shifted)))
        assert moved.success
        assert problem.evaluate(moved).violation < 1e-12
        problem.to_sphere(moved.kernel)  # separable, or it would be refused
        assert 0 < moved.distance < 0.1
        again = problem.restore(moved)
        assert (again.success, again.distance) == (True, 0.0)


def test_where_a_separable_kernel_cannot_be_restored_it_says_why():
    problem = srnc.SeparableProblem(np.ones((2, 2)) + np.eye(2), (3, 3), stable_rank=3)
    saddle = np.outer([1.0, -1.0], [1.0, -1.0])  # a local maximum of the gain, 9/4 where 3 is asked
    stays = problem.restore(saddle)
    assert not stays.success
    assert "its gain does not reach the target" in stays.message
    np.testing.assert_allclose(stays.kernel, problem.free.radius / 2 * saddle, rtol=1e-12)


@given(seeds, st.floats(0.02, 0.98), st.sampled_from([((2, 2), (4, 3)), ((3, 3), (6, 5)), ((2, 3, 2), (4, 3, 5))]))
def test_where_the_gain_is_too_high_every_separable_kernel_is_restored(seed, fraction, shape_size):
    rng = np.random.default_rng(seed)
    own = srnc.SeparableProblem(rng.standard_normal(shape_size[0]), shape_size[1], stable_rank_fraction=1.0)
    low, high = own.free.feasible_range
    problem = srnc.SeparableProblem(own.kernel, shape_size[1], stable_rank=low + fraction * (high - low))
    tried = 0
    for _ in range(5):
        z = problem.spheres.random_point(rng)
        if problem.free.gain(problem.embed(z)) > problem.free.target_gain:
            moved = problem.restore(problem.free.to_kernel(problem.embed(z)))
            assert moved.success
            assert problem.evaluate(moved).violation < 1e-11  # a few times the accuracy of its root
            tried += 1
    assert tried or fraction < 0.9


# -- bounds --------------------------------------------------------------------------------------------------------


def test_the_bound_of_a_stack_is_a_sum_that_verifies(stack):
    result = srnc.solve(stack)
    again = srnc.Result.from_json(result.to_json())
    for bound in (result.bound, again.bound, srnc.bound(stack)):
        assert bound.kind == "sum"
        assert bound.objective == pytest.approx(float(np.sum([summand.objective for summand in bound.parts])))
        assert bound.verify(stack) == pytest.approx(bound.objective, rel=1e-9)
        assert bound.objective <= result.evaluation.objective + 1e-9 * stack.squared_norm
    assert again.bound.verify(stack) == result.bound.verify(stack)
    np.testing.assert_array_equal(again.kernel, result.kernel)
    with pytest.raises(ValueError, match="1 parts given, the certificate is of 4"):
        result.bound.verify(stack.parts[0])


def test_the_bound_of_separable_kernels_is_that_of_all():
    problem = separable((3, 2), (6, 5))
    bound = srnc.bound(problem)
    assert bound.verify(problem) == pytest.approx(bound.objective)
    assert bound.objective == srnc.bound(problem.free).objective
    free = srnc.solve(problem.free).evaluation.objective
    assert bound.objective <= free <= best_of(problem, AugmentedLagrangian(), range(5))


# -- solvers -------------------------------------------------------------------------------------------------------


def best_of(problem, solver, seeds, start=None):
    """The least objective of feasible results, restored; the given start counts as one more seed."""
    results = [srnc.solve(problem, solver, rng=seed) for seed in seeds]
    if start is not None:
        results.append(srnc.solve(problem, solver, start=start, rng=0))
    return min(r.restored.objective for r in results if r.evaluation.feasible)


@pytest.mark.parametrize("name", ["stack", "equal"])
def test_solved_exactly_a_stack_is_its_parts(name, request):
    problem = request.getfixturevalue(name)
    result = srnc.solve(problem, Exact())
    alone = [srnc.solve(own) for own in problem.parts]
    np.testing.assert_array_equal(result.kernel, problem.stack(r.kernel for r in alone))
    assert result.status is srnc.Status.CONVERGED
    assert result.evaluation.objective == pytest.approx(float(np.sum([r.evaluation.objective for r in alone])))
    assert result.cost == pytest.approx(result.evaluation.objective, abs=1e-6 * problem.squared_norm)
    assert result.evaluation.feasible
    assert abs(result.gap) <= 1e-6
    assert [p["status"] for p in result.details["parts"]] == ["converged"] * len(alone)
    assert result.n_evaluations == sum(r.n_evaluations for r in alone)


@pytest.mark.parametrize("solver", [RiemannianLBFGS(tolerance=1e-8), Riemannian(tolerance=1e-8)], ids=["lbfgs", "rtr"])
def test_the_minimum_of_a_smooth_cost_is_the_sum_of_the_parts_minima(solver, equal):
    rng = np.random.default_rng(0)
    for problem in (equal, srnc.StackProblem([part((3,), (16,), 0), part((2, 2, 2), (5,), 1)])):
        # Near the kernels themselves, so that all end in the same valleys.
        starts = [own.kernel + 0.05 * rng.standard_normal(own.kernel.shape) for own in problem.parts]
        together = srnc.solve(problem, solver, start=problem.stack(starts))
        alone = [srnc.solve(own, solver, start=x) for own, x in zip(problem.parts, starts, strict=True)]
        assert together.status is srnc.Status.CONVERGED
        # At a gradient of 1e-8 a minimum is known to far better.
        assert together.cost == pytest.approx(sum(r.cost for r in alone), rel=1e-10)
        np.testing.assert_allclose(together.kernel, problem.stack(r.kernel for r in alone), atol=1e-6)


@pytest.mark.parametrize("solver", some([AugmentedLagrangian(), MultiStart(n_starts=1)], 1), ids=["al", "slsqp"])
def test_constrained_solvers_reach_the_optimum_of_a_stack(solver, equal):
    rng = np.random.default_rng(0)
    small = srnc.StackProblem([part((3,), (8,), 0, scale=3.0), part((2, 2), (4, 5), 2, raising=True)])
    for problem in (equal, small):
        optimum = srnc.solve(problem)
        # A start must be in the right valley of every part at once, which random ones are seldom.
        near = optimum.kernel * (1 + 0.1 * rng.standard_normal(problem.kernel.shape))
        result = srnc.solve(problem, solver, start=near)
        assert result.status is srnc.Status.CONVERGED
        # Bought by the violation allowed, or lost to the tolerance of the solver.
        tolerance = 1e-6 * problem.squared_norm
        assert result.evaluation.objective == pytest.approx(optimum.evaluation.objective, abs=tolerance)
        assert result.restored.objective == pytest.approx(optimum.evaluation.objective, abs=tolerance)
        assert result.gradient_norm < 1e-3
        for seed in range(3):
            other = srnc.solve(problem, solver, rng=seed)
            assert not other.evaluation.feasible or other.evaluation.objective >= optimum.bound.objective - tolerance


def test_stationarity_is_told_part_by_part():
    sharp, free = part((3,), (8,), 0), part((2, 2), (4, 5), 2)
    solved = [srnc.solve(own).kernel for own in (sharp, free)]
    both = srnc.StackProblem([sharp, free])
    assert stationarity(both, both.to_sphere(both.stack(solved))) < 1e-6
    assert stationarity(both, both.to_sphere(both.stack([solved[0], free.kernel * [[1.3, 1.0], [0.9, 1.0]]]))) > 1e-3
    # At the least feasible stable rank the active constraints have parallel gradients.
    flat = srnc.SRNProblem([1.0, 2.0, 0.5], 8, stable_rank=8 / 3)
    mixed = srnc.StackProblem([flat, free])
    assert np.isnan(stationarity(flat, flat.to_sphere(srnc.solve(flat).kernel)))
    assert np.isnan(stationarity(mixed, mixed.to_sphere(mixed.stack([srnc.solve(flat).kernel, solved[1]]))))


@pytest.mark.parametrize("optimizer", some(OPTIMIZERS, 1))
def test_every_optimizer_of_pymanopt_works_on_products(optimizer):
    stack = srnc.StackProblem([part((3,), (8,), 0), srnc.SRNProblem([2.0], 4, stable_rank=4)])
    for problem in (stack, separable((3, 2), (6, 5)), separable((3, 1), (6, 5))):
        solver = Riemannian(LogSumExp(), optimizer, max_iterations=times(40, 150))
        result = srnc.solve(problem, solver, rng=0)
        assert result.status in (srnc.Status.CONVERGED, srnc.Status.LIMIT, srnc.Status.STALLED), result.message
        function = SphereFunction(problem, LogSumExp())
        z = problem.to_sphere(result.kernel)
        assert result.cost == pytest.approx(function.value(z), rel=1e-10)
        tangent = problem.spheres.projected(function.gradient(z), z)
        assert result.gradient_norm == pytest.approx(np.linalg.norm(tangent), rel=1e-3, abs=1e-9)
        assert result.status is not srnc.Status.CONVERGED or result.gradient_norm <= solver.tolerance
        first = result.history["cost"][0]
        assert result.cost < first
        if optimizer in ("conjugate-gradient", "trust-regions"):
            assert result.status is srnc.Status.CONVERGED
        again = srnc.solve(problem, solver, rng=0)
        np.testing.assert_array_equal(again.kernel, result.kernel)


@pytest.mark.parametrize("optimizer", ["steepest-descent", "conjugate-gradient", "trust-regions"])
def test_backends_lead_to_the_same_point_on_products(optimizer, stack):
    for problem in (stack, separable((3, 2), (6, 5))):
        kernels = [
            srnc.solve(problem, Riemannian(optimizer=optimizer, backend=backend, max_iterations=6), rng=1).kernel
            for backend in ("numpy", "autograd", "torch")
        ]
        # A few iterations amplify differences of rounding.
        np.testing.assert_allclose(kernels[1], kernels[0], atol=1e-8)
        np.testing.assert_allclose(kernels[2], kernels[0], atol=1e-8)


def test_a_budget_of_a_stack_is_shared_by_its_parts(equal):
    result = srnc.solve(equal, Exact(), budget=Budget(max_evaluations=100, max_time=60))
    assert result.status is srnc.Status.CONVERGED
    short = srnc.solve(equal, RiemannianLBFGS(), rng=0, budget=Budget(max_evaluations=5))
    assert (short.status, short.n_evaluations) == (srnc.Status.LIMIT, 5)


@pytest.mark.parametrize(
    ("error", "message"), [(KeyboardInterrupt, "interrupted"), (StopIteration, "stopped by the callback")]
)
def test_ended_between_its_parts_a_stack_keeps_what_is_known(error, message):
    stack = srnc.StackProblem([part((2, 2, 3), (8,), seed) for seed in range(3)])
    alone = [srnc.solve(own) for own in stack.parts[:2]]
    rows = []

    def callback(row):
        rows.append(row)
        if len(rows) > len(alone[0].history):  # the first row of the second part
            raise error

    result = srnc.solve(stack, Exact(), callback=callback)
    assert (result.status, result.message) == (srnc.Status.LIMIT, message)
    assert result.details.get("interrupted", False) == (error is KeyboardInterrupt)
    assert len(result.details["parts"]) == 2
    assert len(rows) == len(alone[0].history) + 1
    first, second, third = stack.kernels(result.kernel)
    np.testing.assert_array_equal(first, alone[0].kernel)
    assert stack.parts[1].evaluate(second).feasible  # the first atom's kernel or a better one
    np.testing.assert_array_equal(third, stack.parts[2].kernel)  # as given
    assert result.bound is None


def test_compare_takes_products_and_its_report_can_be_read(equal):
    problems = {"three kernels": equal, "one separable": separable((3, 2), (6, 5))}
    comparison = srnc.compare(problems, ["exact", "l-bfgs", "augmented-lagrangian", "srn-c"], seeds=[0])
    rows = {(row.problem, row.solver): row for row in comparison.row_list}
    assert rows["three kernels", "exact"].feasible
    assert rows["three kernels", "exact"].bound == pytest.approx(rows["three kernels", "exact"].objective)
    assert rows["three kernels", "srn-c"].status != "unsupported"
    assert rows["one separable", "exact"].status == rows["one separable", "srn-c"].status == "unsupported"
    assert rows["one separable", "augmented-lagrangian"].feasible
    report = comparison.report()
    assert "three kernels: 3 kernels: stable rank" in report
    assert "one separable: separable kernels, stable rank" in report
    assert "proved bound" in report
    assert "exact is a method for kernels whose entries are free" in report
    assert max(map(len, report.splitlines())) <= 130  # a table's width, and the folded title


def test_long_stacks_are_described_shortly():
    stack = srnc.StackProblem([part((3,), (8,), seed) for seed in range(20)])
    assert stack.describe().startswith("20 kernels: ")
    assert stack.describe().endswith("; …")
    result = srnc.solve(stack)
    assert len(result.message) < 400
    assert len(srnc.solve(stack, RiemannianLBFGS(), rng=0).restore_message) < 400


# -- the optimum of separable kernels by brute force ----------------------------------------------------------------


def factor_gains(factors, n):
    """``max_l |Z_l|²`` of many kernels of one axis: FFTs, no code of the package."""
    return np.max(np.abs(np.fft.fft(factors, n)) ** 2, axis=-1)


def objective_of(problem, cosine):
    """``‖C(x) − C(a)‖²`` of a kernel of the norm ρ with ``⟨a/‖a‖, z⟩`` as given."""
    radius, size = problem.free.radius, np.linalg.norm(problem.kernel)
    return problem.free.geometry.n_points * (radius**2 + size**2 - 2 * radius * size * cosine)


def brute_force_on_circles(problem):
    """Two factors of two entries are two angles: a scan along both axes, and again around the best point."""
    a, c = problem.free.direction, problem.free.target_gain

    def circle(angle, n):
        points = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return points, factor_gains(points, n)

    center, width = np.array([np.pi / 2, np.pi]), np.array([np.pi / 2, np.pi])  # a change of both signs is none
    best = -np.inf
    for _ in range(7):
        axes = [np.linspace(m - w, m + w, 401) for m, w in zip(center, width, strict=True)]
        for scanned in (0, 1):  # lines of one angle, on which the other one crosses the constraint
            fixed, along = axes[1 - scanned], axes[scanned]
            sizes = problem.free.input_size
            points, gains = circle(fixed, sizes[1 - scanned])
            needed = c / gains
            excess = circle(along, sizes[scanned])[1][None, :] - needed[:, None]
            row, column = np.nonzero((excess[:, :-1] >= 0) != (excess[:, 1:] >= 0))
            low, high = along[column], along[column + 1]
            below = excess[row, column] < 0
            for _ in range(50):  # bisection
                middle = 0.5 * (low + high)
                same = (circle(middle, sizes[scanned])[1] < needed[row]) == below
                low, high = np.where(same, middle, low), np.where(same, high, middle)
            roots = circle(low, sizes[scanned])[0]
            matrix = a if scanned == 1 else a.T
            cosines = np.einsum("ki,ij,kj->k", points[row], matrix, roots)
            if len(cosines) and np.max(cosines) > best:
                k = int(np.argmax(cosines))
                best, center = float(cosines[k]), np.array([fixed[row[k]], low[k]])[:: 1 if scanned == 1 else -1]
        width = width / 40
    return objective_of(problem, best)


def spherical(angles):
    """Points of S² by two angles each, and their derivatives."""
    (st, ct), (sp, cp) = ((np.sin(t), np.cos(t)) for t in np.moveaxis(angles, -1, 0))
    zero = np.zeros_like(st)
    columns = [[st * cp, st * sp, ct], [ct * cp, ct * sp, -st], [-st * sp, st * cp, zero]]
    return [np.stack(column, axis=-1) for column in columns]


def brute_force_on_spheres(problem, n_starts=20):
    """Two factors of three entries, four angles: a scan along meridians for many second factors, for the constraint.

    From the best points a smooth program for the frequencies that attain the gain there.
    """
    a, c = problem.free.direction, problem.free.target_gain
    transforms = [np.fft.fft(np.eye(3), n, axis=-1)[:, : n // 2 + 1] for n in problem.free.input_size]

    def cosine(angles):
        (u, v), *changes = spherical(angles.reshape(2, 2))
        return -u @ a @ v, -np.ravel([[d[0] @ a @ v for d in changes], [u @ a @ d[1] for d in changes]])

    def gains(angles):
        """Of each pair of frequencies, over the target, and their derivatives."""
        points, *changes = spherical(angles.reshape(2, 2))
        values = [point @ f for point, f in zip(points, transforms, strict=True)]
        squares = [np.abs(value) ** 2 for value in values]
        slopes = [
            [2 * (np.conj(value) * (d[k] @ f)).real for d in changes]
            for k, (value, f) in enumerate(zip(values, transforms, strict=True))
        ]
        rows = [np.outer(d, squares[1]) for d in slopes[0]] + [np.outer(squares[0], d) for d in slopes[1]]
        return np.outer(*squares).ravel() / c, np.stack([row.ravel() for row in rows], axis=1) / c

    polar, around = np.linspace(0, np.pi, 40), np.linspace(0, 2 * np.pi, 30, endpoint=False)
    meridians = np.stack(np.meshgrid(around, polar, indexing="ij")[::-1], axis=-1)
    table = factor_gains(spherical(meridians)[0], problem.free.input_size[0])
    others = np.array(list(itertools.product(np.linspace(0.1, 3.04, 12), np.linspace(0, np.pi, 12, endpoint=False))))
    starts = []
    for other in others:
        v = spherical(other)[0]
        excess = table - c / factor_gains(v, problem.free.input_size[1])
        row, column = np.nonzero((excess[:, :-1] >= 0) != (excess[:, 1:] >= 0))
        left, right = excess[row, column], excess[row, column + 1]
        angles = np.stack([polar[column] + left / (left - right) * polar[1], around[row]], axis=-1)
        cosines = spherical(angles)[0] @ a @ v
        starts += [(float(cosines[k]), np.concatenate([angles[k], other])) for k in np.argsort(cosines)[-2:]]
    best = -np.inf
    for _, start in sorted(starts, key=lambda pair: -pair[0])[:n_starts]:
        first = gains(start)[0]
        for k in np.flatnonzero(first > 0.8):  # the one that is equal to the target, where others do not exceed it
            rest = np.delete(np.arange(len(first)), k)
            constraints = [
                {"type": "eq", "fun": lambda t, k=k: gains(t)[0][k] - 1, "jac": lambda t, k=k: gains(t)[1][k]},
                {"type": "ineq", "fun": lambda t, i=rest: 1 - gains(t)[0][i], "jac": lambda t, i=rest: -gains(t)[1][i]},
            ]
            found = optimize.minimize(
                cosine, start, method="SLSQP", jac=True, constraints=constraints, options={"ftol": 1e-13}
            )
            if abs(np.max(gains(found.x)[0]) - 1) < 1e-8:
                best = max(best, -float(found.fun))
    return objective_of(problem, best)


def separable_cases(shape, size, seeds):
    """Targets below and above the stable rank of the nearest separable kernel, and between it and the kernel's own."""
    for seed in seeds:
        kernel = np.random.default_rng(seed).standard_normal(shape)
        own = srnc.SeparableProblem(kernel, size, stable_rank_fraction=1.0)
        low, high = own.free.feasible_range
        nearest = own.evaluate(own.nearest_separable(kernel)).stable_rank
        for target in (
            0.6 * nearest + 0.4 * low,
            0.6 * nearest + 0.4 * high,
            0.5 * nearest + 0.5 * own.free.kernel_stable_rank,
        ):
            yield srnc.SeparableProblem(kernel, size, stable_rank=target)


def assert_found(problem, brute):
    tolerance = 1e-6 * problem.squared_norm
    start = problem.nearest_separable(problem.kernel)
    for solver, seeds in ((AugmentedLagrangian(), range(10)), (MultiStart(n_starts=12), range(1))):
        best = best_of(problem, solver, seeds, start)
        assert best == pytest.approx(brute, abs=tolerance), f"{solver.name} on {problem}"
    if problem.free.regime != "raise":
        assert brute >= srnc.solve(problem.free).evaluation.objective - tolerance


@slow
@pytest.mark.parametrize("size", [(6, 7), (4, 3)])
def test_no_separable_kernel_of_two_by_two_taps_is_better(size):
    regimes = set()
    for problem in separable_cases((2, 2), size, range(3)):
        assert_found(problem, brute_force_on_circles(problem))
        regimes.add((problem.free.regime, *problem.regimes))
    assert len(regimes) >= 3  # among them a target between the two stable ranks


@slow
def test_no_separable_kernel_of_three_by_three_taps_is_better():
    for problem in separable_cases((3, 3), (6, 5), range(2)):
        assert_found(problem, brute_force_on_spheres(problem))


@given(st.sampled_from([((3, 2), (6, 5)), ((2, 3, 2), (4, 3, 5)), ((1, 3), (2, 4))]), seeds)
def test_the_gain_of_a_separable_kernel_is_the_product_of_its_factors_gains(shape_size, seed):
    shape, size = shape_size
    problem = separable(shape, size, fraction=1.0)
    z = problem.spheres.random_point(np.random.default_rng(seed))
    factors = problem.spheres.split(z)
    gains = [factor_gains(factor, n) for factor, n in zip(factors, size, strict=True)]
    assert problem.free.gain(problem.embed(z)) == pytest.approx(np.prod(gains), rel=1e-12)


def test_separable_problems_are_called_so():
    assert repr(srnc.SeparableProblem(np.eye(2), 4, stable_rank_fraction=1.0)).startswith("SeparableProblem(kernel of")
