"""Continuation: the parameters of log-sum-exp are changed during the run, so that their biases vanish."""

import numpy as np
import pytest
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.solvers import Continuation

START = [0.9, 0.3, 0.2]


@slow
def test_the_optimum_is_mostly_found(solved_shapes):
    assert solved_shapes(Continuation()) >= 4  # how often is in benchmarks/riemannian.py


def test_the_paper_s_instance_is_solved(assert_solves_the_paper_s_instance):
    assert_solves_the_paper_s_instance(Continuation())


def test_the_history_tells_what_is_changed(paper):
    history = srnc.solve(paper(32), Continuation(), start=START).history
    assert history["alpha"][0] == pytest.approx(10)
    assert history["alpha"][-1] == pytest.approx(1e7)
    assert np.all(np.diff(history["penalty"]) >= 0)


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Continuation(optimizer="nelder-mead"), "optimizer: 'nelder-mead' given"),
        (lambda: Continuation(last_alpha=1.0), "last_alpha: 1.0 given, expected at least 10.0"),
        (lambda: Continuation(fidelity_weight=1e-9), "fidelity_weight: 1e-09 given"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
