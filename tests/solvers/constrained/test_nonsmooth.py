"""Continuation, exact penalty, subgradient and gradient sampling methods."""

import numpy as np
import pytest
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.costs import ExactMax, ExactPenaltyCost, SphereFunction
from srnc_manifold.numerics import shortest_in_hull
from srnc_manifold.solvers import Continuation, ExactPenalty, GradientSampling, Subgradient

SHAPES = [((3,), (64,)), ((5,), (12,)), ((3, 3), (8, 9)), ((2, 2, 3), (8,)), ((3, 4), ())]
START = [0.9, 0.3, 0.2]


def best_gap(solver, problem, starts):
    """Of the feasible results, in units of ``‖C(a)‖²``."""
    optimum = srnc.solve(problem).evaluation.objective
    results = [srnc.solve(problem, solver, rng=seed) for seed in range(starts)]
    gaps = [(r.evaluation.objective - optimum) / problem.squared_norm for r in results if r.evaluation.feasible]
    assert all(gap >= -1e-6 for gap in gaps)  # bought by the violation allowed
    return min(gaps, default=np.inf)


@pytest.mark.parametrize(
    ("solver", "enough"),
    some([(ExactPenalty(), 4), (ExactPenalty("log-sum-exp", last_epsilon=1e-7), 3), (Continuation(), 4)], 1),
)
def test_they_mostly_find_the_optimum(solver, enough, random_problem):
    # How often is in benchmarks/riemannian.py; a method that did not work would find none. What log-sum-exp leaves of a
    # violation is a few times ε.
    found = [best_gap(solver, random_problem(shape, size), 5) < 1e-5 for shape, size in SHAPES]
    assert sum(found) >= enough


@pytest.mark.parametrize("solver", [ExactPenalty(), ExactPenalty("log-sum-exp"), Continuation()])
def test_they_solve_the_paper_s_instance(solver, paper):
    result = srnc.solve(paper(32), solver, start=START)
    assert result.status is srnc.Status.CONVERGED
    assert result.evaluation.violation < 1e-6
    # The slope of the optimum by the stable rank is 1/3: as much as a violation of 1e-6 of 32 is worth.
    assert result.evaluation.objective == pytest.approx(32 / 3, abs=2e-5)
    np.testing.assert_allclose(result.kernel, [2 / 3, 1 / 6, 1 / 6], atol=1e-5)


def test_histories_tell_what_is_changed(paper):
    problem = paper(32)
    history = srnc.solve(problem, Continuation(), start=START).history
    assert history["alpha"][0] == pytest.approx(10)
    assert history["alpha"][-1] == pytest.approx(1e7)
    assert np.all(np.diff(history["penalty"]) >= 0)
    history = srnc.solve(problem, ExactPenalty(), start=START).history
    assert history["epsilon"][0] == pytest.approx(0.1)
    assert history["epsilon"][-1] == pytest.approx(1e-6)
    assert np.all(np.diff(history["epsilon"]) <= 0)
    assert {"objective", "stable_rank_error", "spectral_norm_error", "penalty"} <= set(history.columns)
    history = srnc.solve(problem, GradientSampling(), start=START).history
    assert np.all(np.diff(history["radius"]) <= 0)


def test_the_bias_of_a_fixed_alpha_is_what_continuation_removes(paper):
    problem = paper(32)
    fixed = srnc.solve(problem, srnc.solvers.Riemannian(), start=START)
    assert fixed.evaluation.stable_rank_error > 0.1  # 42.56 for 32, as in the paper's setting
    assert srnc.solve(problem, Continuation(), start=START).evaluation.stable_rank_error < 1e-6


@pytest.mark.parametrize("alpha", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("weight", [1e-1, 1e-3])
def test_minimizers_are_as_near_as_the_two_biases_allow(alpha, weight, paper):
    # docs/theory.md, proposition 23, for the global minimizer: the best of several starts.
    problem = paper(32)
    cost = srnc.costs.LogSumExp(alpha, weight)
    results = [srnc.solve(problem, srnc.solvers.Riemannian(cost), rng=seed) for seed in range(5)]
    best = min(results, key=lambda result: result.cost)
    z, optimum = problem.to_sphere(best.kernel), 32 / 3
    bias = np.log(64) / alpha
    gains = srnc.singular_values(z, 64) ** 2
    smooth = gains.max() + np.log(np.sum(np.exp(alpha * (gains - gains.max())))) / alpha
    assert gains.max() <= smooth <= gains.max() + bias
    # The cost's gradient vanishes to 1e-6: less than 1e-5 in its values.
    assert best.evaluation.objective <= optimum + bias**2 / weight + 1e-5
    assert abs(smooth - problem.target_gain) <= np.sqrt(bias**2 + weight * optimum) + 1e-5


def test_diminishing_steps_are_as_long_as_the_rule_says(paper):
    result = srnc.solve(paper(32), Subgradient("diminishing", step_size=0.2, max_iterations=30), start=START)
    steps = result.history["step"][1:]
    np.testing.assert_allclose(steps, 0.2 / np.sqrt(np.arange(1, 30)))
    z = np.stack(result.history.points)
    # A retraction along the tangent: a step of length t turns by arctan(t).
    turns = np.arccos(np.clip(np.sum(z[1:] * z[:-1], axis=1), -1, 1))
    np.testing.assert_allclose(turns, np.arctan(steps), atol=1e-7)


@pytest.mark.parametrize("rule", ["diminishing", "polyak"])
def test_subgradients_come_near_the_optimum(rule, paper):
    problem = paper(32)
    result = srnc.solve(problem, Subgradient(rule), start=START)
    assert result.evaluation.violation < 1e-2
    assert result.evaluation.objective == pytest.approx(32 / 3, rel=3e-2)


def test_the_certified_level_is_a_variant_of_its_own(paper):
    problem = paper(32)
    result = srnc.solve(problem, Subgradient("polyak-certified", max_iterations=300), start=START)
    assert "polyak-certified" in result.solver
    history = result.history
    lengths = (history["cost"] - 32 / 3 / problem.squared_norm) / history["gradient_norm"]
    np.testing.assert_allclose(history["step"][1:], lengths[:-1], rtol=1e-6)  # of differences of numbers of size one
    assert history["cost"][-1] < history["cost"][0]
    done = srnc.solve(problem, Subgradient("polyak-certified", tolerance=0.1), start=START)
    assert done.status is srnc.Status.CONVERGED
    assert "certified optimum is reached" in done.message
    raising = srnc.SRNProblem([1.0, 2.0, 3.0], 8, stable_rank=7.2)
    assert not Subgradient("polyak-certified").supports(raising)[0]
    separable = srnc.SeparableProblem(np.eye(3) + 0.1, 8, stable_rank_fraction=0.9)
    assert not Subgradient("polyak-certified").supports(separable)[0]


def test_gradient_sampling_ends_at_a_stationary_point_of_the_exact_maximum(paper):
    result = srnc.solve(paper(32), GradientSampling(), start=START, rng=0)
    assert result.status is srnc.Status.CONVERGED
    assert "convex hull of the gradients" in result.message
    assert result.evaluation.objective == pytest.approx(32 / 3, rel=1e-4)
    with_cost = srnc.solve(paper(32), GradientSampling(cost=ExactMax()), start=START, rng=0)
    assert "exact-max" in with_cost.solver
    assert np.all(np.diff(with_cost.history["cost"]) <= 0)
    assert with_cost.history["cost"][-1] < 0.9 * with_cost.history["cost"][0]


def test_the_shortest_vector_of_a_hull():
    rng = np.random.default_rng(0)
    for count, n in [(1, 3), (2, 2), (5, 3), (30, 10), (8, 20)] * 5:
        vectors = rng.standard_normal((count, n)) + 0.5 * rng.standard_normal(n)
        shortest = shortest_in_hull(vectors)
        for size in (1e-9, 1e9):
            np.testing.assert_allclose(shortest_in_hull(size * vectors), size * shortest, atol=1e-9 * size)
        squared = shortest @ shortest
        # The optimality condition: no vector lies further back along it; to rounding of the largest squared length.
        scale = np.max(np.sum(vectors**2, axis=1))
        assert np.min(vectors @ shortest) >= squared - 1e-10 * scale
        weights = rng.dirichlet(np.ones(count), 200)
        assert np.min(np.linalg.norm(weights @ vectors, axis=1)) >= np.sqrt(squared) - 1e-9
    np.testing.assert_allclose(
        shortest_in_hull(np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])), [1.0, 0.0], atol=1e-12
    )
    np.testing.assert_allclose(shortest_in_hull(np.array([[1.0, 0.0], [-1.0, 0.0]])), [0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("smoothing", ["log-sum-exp", "huber"])
@pytest.mark.parametrize("side", ["reach", "stay-below", "equal"])
def test_smoothed_hinges_tend_to_the_exact_penalty(side, smoothing, random_problem):
    problem = random_problem((3, 3), (6, 5))
    z = problem.spheres.random_point(np.random.default_rng(1))
    exact = SphereFunction(problem, ExactPenaltyCost(side)).value(z)
    errors = [
        abs(SphereFunction(problem, ExactPenaltyCost(side, epsilon=e, smoothing=smoothing)).value(z) - exact)
        for e in (1e-2, 1e-3)
    ]
    counts = 30 if side == "stay-below" else 2
    # At most ε log 2, or ε/2, of every hinge, times the penalty.
    assert errors[0] <= counts * 3 * 1e-2
    assert errors[1] <= 0.1 * counts * 3 * 1e-2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Continuation(optimizer="nelder-mead"), "optimizer: 'nelder-mead' given"),
        (lambda: Continuation(last_alpha=1.0), "last_alpha: 1.0 given, expected at least 10.0"),
        (lambda: Continuation(fidelity_weight=1e-9), "fidelity_weight: 1e-09 given"),
        (lambda: ExactPenalty("smooth"), "smoothing: 'smooth' given"),
        (lambda: ExactPenalty(last_epsilon=1.0), "last_epsilon: 1.0 given, expected at most"),
        (lambda: Subgradient("fixed"), "step_rule: 'fixed' given"),
        (lambda: Subgradient("polyak-certified", cost=ExactMax()), "cost: given, but the optimum is only certified"),
        (lambda: GradientSampling(radius=0.0), "radius: 0.0 given, expected a positive"),
        (lambda: ExactPenaltyCost("above"), "side: 'above' given"),
        (lambda: ExactPenaltyCost(epsilon=-1.0), "epsilon: -1.0 given"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(TypeError, match="cost"):
        GradientSampling(cost="max")


def test_gradient_sampling_says_what_is_too_large():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((4, 4, 3, 3)), 8, 0.5)
    supported, reason = GradientSampling().supports(problem)
    assert not supported
    assert "144 gradients" in reason
