"""Subgradient and gradient sampling methods for the exact maximum."""

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.costs import ExactMax
from srnc_manifold.numerics import shortest_in_hull
from srnc_manifold.solvers import GradientSampling, Subgradient

START = [0.9, 0.3, 0.2]


def test_the_radius_never_grows(paper):
    history = srnc.solve(paper(32), GradientSampling(), start=START).history
    assert np.all(np.diff(history["radius"]) <= 0)


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


def test_gradient_sampling_says_what_is_too_large():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((4, 4, 3, 3)), 8, 0.5)
    supported, reason = GradientSampling().supports(problem)
    assert not supported
    assert "144 gradients" in reason


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Subgradient("fixed"), "step_rule: 'fixed' given"),
        (lambda: Subgradient("polyak-certified", cost=ExactMax()), "cost: given, but the optimum is only certified"),
        (lambda: GradientSampling(radius=0.0), "radius: 0.0 given, expected a positive"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(TypeError, match="cost"):
        GradientSampling(cost="max")
