"""The best atom as a smooth problem on a product of two spheres: derivatives, and agreement with the alternation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.solvers import AtomSearch, Budget
from srnc_manifold.solvers.sphere.atom_search import Angle, angles
from srnc_manifold.testing import taylor_slope

LAYOUTS = [
    ((2, 2, 3), (7,), {}),
    ((2, 3, 4), (8,), {"dilation": 3}),
    ((3, 2, 2, 2), (4, 5), {}),
    ((4, 2, 3), (6,), {"groups": 2}),
    ((2, 2, 3), (8,), {"stride": 2}),
    ((3, 4), (), {}),
    ((5,), (9,), {}),
]
layouts, seeds, fractions = st.sampled_from(LAYOUTS), st.integers(0, 2**31), st.floats(0.02, 0.98)

SIZES = [
    ((2, 2, 3), (8,)),
    ((2, 3, 4), (9,)),
    ((4, 3, 3), (7,)),
    ((3, 2, 2, 2), (4, 5)),
    ((2, 2, 3, 3), (6, 5)),
    ((4, 4, 3), (10,)),
    ((3, 3, 2, 2), (4, 4)),
]


def instance(number):
    """One of fifty: kernels of two to four channels, every third symmetric, every third antisymmetric; any target."""
    rng = np.random.default_rng(number)
    shape, size = SIZES[number % len(SIZES)]
    kernel = rng.standard_normal(shape)
    kernel = kernel + (0, 1, -1)[number % 3] * np.flip(kernel, axis=tuple(range(2, kernel.ndim)))
    return srnc.partway(kernel, size, rng.uniform(0.02, 0.98))


def hard():
    """The best atom is not reached from the top pair of the frequency with the largest singular value."""
    kernel = np.zeros((2, 2, 5))
    kernel[0, 0] = (-0.4982, 0.2765, 0, -0.2765, 0.4982)
    kernel[1, 1] = (0.1833, -0.2649, 0.294, -0.2649, 0.1833)
    return srnc.SRNProblem(kernel, 7, stable_rank=7 / 3.0609)


def excess(problem, result):
    """Of the objective over the certified solution's, as a part of ``‖C(a)‖²``."""
    return (result.evaluation.objective - srnc.solve(problem).evaluation.objective) / problem.squared_norm


# -- the function --------------------------------------------------------------------------------------------------


@given(layouts, seeds, fractions)
def test_the_angle_is_that_of_the_atom_s_nearest_point(layout, seed, fraction):
    rng = np.random.default_rng(seed)
    shape, size, more = layout
    problem = srnc.partway(rng.standard_normal(shape), size, fraction, **more)
    level = problem.target_gain
    for block, function in enumerate(angles(problem)):
        z = function.spheres.random_point(rng)
        atom = atoms.atom(problem.geometry, block, *function.pair(z))
        if atom.norm**2 > level * (1 + 1e-9):
            nearest = atoms.nearest_in_cap(problem.direction, atom.tensor, np.sqrt(level))
            # The cosine of an angle of size one, rounded.
            assert np.cos(function.value(z)) == pytest.approx(np.sum(nearest * problem.direction), abs=1e-7)
            assert function.value(z) >= function.bound - 1e-7
        elif atom.norm**2 < level * (1 - 1e-9):
            assert function.value(z) == pytest.approx(np.pi + 1 - atom.norm**2 / level)


@given(layouts, seeds, fractions)
def test_gradient_and_hessian_have_the_right_taylor_slopes(layout, seed, fraction):
    rng = np.random.default_rng(seed)
    shape, size, more = layout
    problem = srnc.partway(rng.standard_normal(shape), size, fraction, **more)
    for function in angles(problem):
        spheres = function.spheres
        z = spheres.random_point(rng)
        tangent = spheres.projected(rng.standard_normal(z.size), z)
        tangent /= max(1.0, np.linalg.norm(tangent))
        _, g = function._sizes(z)
        # Steps that stay off the rim, where the slope is infinite: γ² changes by at most 3 max n_p times their length.
        scale = 0.1 * abs(g - problem.target_gain) / np.max(function.counts)
        if scale < 0.003:
            continue
        value, gradient = function.value(z), function.gradient(z)
        product = spheres.riemannian_hessian(z, gradient, function.hessian(z, tangent), tangent)
        first, second = gradient @ tangent, 0.5 * tangent @ product

        def along(t, function=function, z=z, tangent=tangent, scale=scale):
            return function.value(function.spheres.retracted(z, scale * t * tangent))

        def linear(t, value=value, first=first, scale=scale, along=along):
            return along(t) - value - scale * t * first

        def quadratic(t, second=second, scale=scale, linear=linear):
            return linear(t) - (scale * t) ** 2 * second

        # Angles of size one, rounded; a hundred times more stands out.
        slopes = taylor_slope(linear, 1e-13), taylor_slope(quadratic, 1e-13)
        assert slopes[0] == np.inf or slopes[0] >= 1.9
        assert slopes[1] == np.inf or slopes[1] >= 2.8


def test_where_caps_are_empty_descent_leads_to_the_longest_atoms():
    # At one frequency without stride no local maximum of the norm is below the largest.
    geometry = Geometry.of((2, 3, 4), (9,))
    rng = np.random.default_rng(0)
    for block in range(geometry.n_blocks):
        sums = np.repeat(geometry.phase_sums[block], 3)
        top = (4 + abs(sums[0])) / 2
        function = Angle(np.zeros((2, 3), complex), np.full(3, 4.0), sums, 1.01 * top)
        assert function.bound == np.inf
        for _ in range(5):
            z = function.spheres.random_point(rng)
            for _ in range(5000):
                step = function.spheres.projected(function.gradient(z), z)
                z = function.spheres.retracted(z, -0.5 * step)
                if np.linalg.norm(step) < 1e-6:
                    break
            # At a gradient of 1e-6 a maximum is known to about its square.
            assert function.value(z) == pytest.approx(np.pi + 1 - 1 / 1.01, abs=1e-6)


# -- the solver ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_block", some([True, False], 1))
def test_the_best_of_five_starts_is_the_certified_solution(every_block):
    numbers = range(0, 50, 4) if every_block else range(50)
    for problem in (hard(), *map(instance, numbers)):
        result = srnc.solve(problem, AtomSearch(every_block=every_block), rng=0)
        # Both solve it to rounding; this is what the certificates are good for.
        assert abs(excess(problem, result)) <= 1e-7, problem
        assert result.status is srnc.Status.CONVERGED, result.message
        assert result.evaluation.violation < 1e-9
        assert result.gradient_norm < 1e-6 or np.isnan(result.gradient_norm)
        assert result.cost == pytest.approx(float(np.arccos(_cosine(problem, result.kernel))), abs=1e-6)


def _cosine(problem, kernel):
    return np.sum(kernel * problem.direction) / np.linalg.norm(kernel)


def test_the_built_counterexample():
    result = srnc.solve(hard(), AtomSearch(), rng=0)
    assert result.evaluation.objective == pytest.approx(2.7057, abs=1e-4)  # docs give four digits


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS)
def test_every_layout_is_solved(shape, size, layout):
    for seed, fraction in enumerate((0.05, 0.5, 0.95)):
        problem = srnc.partway(np.random.default_rng(seed).standard_normal(shape), size, fraction, **layout)
        result = srnc.solve(problem, AtomSearch(n_starts=8), rng=0)
        assert abs(excess(problem, result)) <= 1e-7
        assert result.evaluation.violation < 1e-9


def test_the_top_pair_alone_may_end_on_a_saddle():
    kernel = np.array([1.37195, -1.41225, -1.41225, 1.37195])
    problem = srnc.SRNProblem(kernel, 5, stable_rank=5 / 1.4985)
    alone = srnc.solve(problem, AtomSearch(n_starts=1), rng=0)
    assert alone.evaluation.objective == pytest.approx(5.191, abs=1e-3)
    several = srnc.solve(problem, AtomSearch(), rng=0)
    assert several.evaluation.objective == pytest.approx(3.620, abs=1e-3)


def test_blocks_that_the_lemma_excludes_are_skipped():
    problem = instance(4)
    few, all_of_them = (srnc.solve(problem, AtomSearch(every_block=every), rng=0) for every in (False, True))
    assert few.details["blocks_searched"] < all_of_them.details["blocks_searched"]
    assert few.n_evaluations < all_of_them.n_evaluations
    assert few.evaluation.objective == pytest.approx(all_of_them.evaluation.objective, rel=1e-9)


def test_contract():
    problem = hard()
    first, second = (srnc.solve(problem, AtomSearch(), rng=3) for _ in range(2))
    np.testing.assert_array_equal(first.kernel, second.kernel)
    assert first.n_evaluations == second.n_evaluations
    assert first.solver == "atom-search"
    assert len(first.history) >= 1
    assert first.history["cost"][-1] == first.cost
    for limit in (1, 4, 40):
        short = srnc.solve(problem, AtomSearch(), rng=3, budget=Budget(max_evaluations=limit))
        assert (short.status, short.n_evaluations) == (srnc.Status.LIMIT, limit)
        assert f"budget of {limit} evaluations" in short.message
        assert short.evaluation.objective >= first.evaluation.objective  # a point of some cap, whatever the budget
        assert short.evaluation.stable_rank <= problem.stable_rank * (1 + 1e-9)

    def callback(_):
        raise StopIteration

    stopped = srnc.solve(problem, AtomSearch(), rng=3, callback=callback)
    assert stopped.message == "stopped by the callback"
    again = srnc.Result.from_json(first.to_json())
    np.testing.assert_array_equal(again.kernel, first.kernel)


def test_an_interrupt_keeps_the_best_atom(monkeypatch):
    problem, calls, value = instance(0), [], Angle.value

    def interrupted(self, z):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return value(self, z)

    monkeypatch.setattr(Angle, "value", interrupted)
    result = srnc.solve(problem, AtomSearch(), rng=0)
    assert (result.status, result.message) == (srnc.Status.LIMIT, "interrupted")
    assert result.n_evaluations == 12
    # A point of a cap: its norm is right, its gain not too low.
    assert np.linalg.norm(result.kernel) == pytest.approx(problem.radius)
    assert result.evaluation.stable_rank <= problem.stable_rank * (1 + 1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AtomSearch(n_starts=0), "n_starts"),
        (lambda: AtomSearch(tolerance=0.0), "tolerance"),
        (lambda: srnc.solve(srnc.SRNProblem([1.0, 2.0, 0.5], 8, stable_rank=6), AtomSearch()), "only if the stable"),
        (lambda: srnc.solve(srnc.SRNProblem([1.0, 2.0, 0.5], 8, stable_rank=8 / 3), AtomSearch()), "least feasible"),
    ],
)
def test_what_is_given_is_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
