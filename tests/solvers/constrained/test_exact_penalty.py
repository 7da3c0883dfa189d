"""Exact penalty methods: the smoothed hinges, and what the method finds with them."""

import numpy as np
import pytest
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.costs import ExactPenaltyCost, SphereFunction
from srnc_manifold.solvers import ExactPenalty

START = [0.9, 0.3, 0.2]


@slow
@pytest.mark.parametrize(
    ("solver", "enough"), [(ExactPenalty("log-sum-exp", last_epsilon=1e-7), 3), (ExactPenalty(), 4)]
)
def test_the_optimum_is_mostly_found(solver, enough, solved_shapes):
    # How often is in benchmarks/riemannian.py; a method that did not work would find none. What log-sum-exp leaves of a
    # violation is a few times ε.
    assert solved_shapes(solver) >= enough


@pytest.mark.parametrize("solver", [ExactPenalty(), ExactPenalty("log-sum-exp")])
def test_the_paper_s_instance_is_solved(solver, assert_solves_the_paper_s_instance):
    assert_solves_the_paper_s_instance(solver)


def test_the_history_tells_what_is_changed(paper):
    history = srnc.solve(paper(32), ExactPenalty(), start=START).history
    assert history["epsilon"][0] == pytest.approx(0.1)
    assert history["epsilon"][-1] == pytest.approx(1e-6)
    assert np.all(np.diff(history["epsilon"]) <= 0)
    assert {"objective", "stable_rank_error", "spectral_norm_error", "penalty"} <= set(history.columns)


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
        (lambda: ExactPenalty("smooth"), "smoothing: 'smooth' given"),
        (lambda: ExactPenalty(last_epsilon=1.0), "last_epsilon: 1.0 given, expected at most"),
        (lambda: ExactPenaltyCost("above"), "side: 'above' given"),
        (lambda: ExactPenaltyCost(epsilon=-1.0), "epsilon: -1.0 given"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
