"""What the paper's Figures 1 to 3 show, and what is to be seen in them, for its own parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import slow, times

import srnc_manifold as srnc
from srnc_manifold import plots
from srnc_manifold.figures.paper import figure_3
from srnc_manifold.figures.runs import ALPHAS, DESCENT, INSTANCE, STEPS, WEIGHTS, Runs, settled_at
from srnc_manifold.solvers import GradientDescent

N, Q, ALPHA, WEIGHT, TARGET = 64, 3, 10.0, 0.1, 32.0


def forms(q, n):
    """``B_l`` of section 3.1, by its definition."""
    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(q)) / n
    cos, sin = np.cos(angles), np.sin(angles)
    return cos[:, :, None] * cos[:, None, :] + sin[:, :, None] * sin[:, None, :]


def lse(z, alpha=ALPHA):
    """(14), and its gradient, for unit kernels of three taps."""
    b = forms(Q, N)
    gains = np.einsum("lij,i,j->l", b, z, z)
    weights = np.exp(alpha * (gains - gains.max()))
    value = gains.max() + np.log(weights.sum()) / alpha
    return value, 2 * np.einsum("l,lij,j->i", weights / weights.sum(), b, z), gains.max()


def test_the_figures_have_the_paper_s_parameters():
    assert (INSTANCE.kernel.tolist(), INSTANCE.input_size, INSTANCE.stable_rank) == ([1, 0, 0], (N,), TARGET)
    assert (DESCENT.step_size, DESCENT.step_rule, DESCENT.momentum) == (1e-5, "fixed", 0.0)
    assert (DESCENT.cost.alpha, DESCENT.cost.fidelity_weight) == (ALPHA, WEIGHT)


# -- Figure 1 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("q", "n"), [(Q, N), (2, 6), (4, 9), (5, 32)])
def test_the_largest_eigenvalue_is_q_at_dc_and_nyquist_and_nowhere_above(q, n):
    problem = srnc.SRNProblem([1.0, *[0.0] * (q - 1)], n, stable_rank=n)
    (axes,) = plots.eigenvalues(problem).axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}
    largest, second = lines["largest eigenvalue of B_l"], lines["second eigenvalue of B_l"]
    # Eigenvalues of matrices of norm q are right to a few roundings of q.
    np.testing.assert_allclose(largest, np.linalg.eigvalsh(forms(q, n))[:, -1], rtol=1e-13, atol=1e-13 * q)
    np.testing.assert_allclose(largest + second, q, rtol=1e-13)  # the trace; the rank is at most two
    at = np.flatnonzero(largest > q * (1 - 1e-12))
    assert at.tolist() == ([0, n // 2] if n % 2 == 0 else [0])
    assert np.max(np.delete(largest, at)) < q - 1e-3
    np.testing.assert_allclose(second[at], 0, atol=1e-13 * q)  # there B_l has rank one


@pytest.mark.parametrize(("q", "n"), [(Q, N), (4, 9), (5, 32)])
def test_the_stable_rank_is_at_least_n_over_q_and_this_is_attained(q, n, dense):
    def stable_rank(kernel):
        values = np.linalg.svd(dense(kernel, (n,)), compute_uv=False)
        return np.sum(values**2) / values[0] ** 2

    flat = np.ones(q)
    assert stable_rank(flat) == pytest.approx(n / q, rel=1e-12)
    if n % 2 == 0:
        assert stable_rank((-1.0) ** np.arange(q)) == pytest.approx(n / q, rel=1e-12)
    for kernel in np.random.default_rng(0).standard_normal((20, q)):
        assert stable_rank(kernel) >= n / q * (1 - 1e-12)
    assert srnc.SRNProblem([1.0, *[0.0] * (q - 1)], n, stable_rank=n).feasible_range[0] == pytest.approx(n / q)


# -- Figures 2 and 3: the descent -----------------------------------------------------------------------------------


def descent_by_the_formulas(z, steps):
    """(16) to (19), written out."""
    radius = np.sqrt(TARGET / N)  # M = 1
    costs, points = [], [z]
    a = np.array([1.0, 0, 0])
    for _ in range(steps):
        smooth, gradient, _ = lse(z)
        miss = smooth - N / TARGET
        costs.append(miss**2 + WEIGHT * N * np.sum((radius * z - a) ** 2))
        d = 2 * miss * gradient + 2 * WEIGHT * N * radius * (radius * z - a)
        z = z - 1e-5 * (d - (d @ z) * z)
        z = z / np.linalg.norm(z)
        points.append(z)
    return np.array(costs), np.array(points)


@pytest.mark.parametrize("seed", range(2))
def test_the_loss_decreases_in_each_step(seed):
    steps = times(800, 8000)
    found = srnc.solve(INSTANCE, GradientDescent(DESCENT.cost, step_size=1e-5, max_iterations=steps), rng=seed)
    points, costs = np.array(found.history.points), found.history["cost"]
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-14)
    assert len(costs) == steps
    assert np.all(np.diff(costs) < 0)
    expected, path = descent_by_the_formulas(points[0], 50)
    # Fifty steps of about 1e-4 with roundings of 1e-16 in the gradient.
    np.testing.assert_allclose(costs[:50], expected, rtol=1e-12)
    np.testing.assert_allclose(points[:50], path[:50], atol=1e-13)


# -- where the stable rank settles ----------------------------------------------------------------------------------


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda z: np.linalg.norm(z) > 0.1), st.floats(1, 1e4))
def test_log_sum_exp_is_above_the_maximum_by_at_most_log_n_over_alpha(z, alpha):
    smooth, _, most = lse(np.array(z) / np.linalg.norm(z), alpha)
    assert 0 <= smooth - most <= np.log(N) / alpha * (1 + 1e-12)


def test_the_stable_rank_settles_a_third_above_the_target_for_two_reasons():
    """``N/r − g = (N/r − g_lse) + (g_lse − g)``: what the fidelity pulls, and what log-sum-exp is above the maximum."""
    found = settled_at(ALPHA, WEIGHT)
    assert found.stable_rank == pytest.approx(42.561, abs=1e-3)  # also in the README's table
    result = srnc.solve(INSTANCE, GradientDescent(DESCENT.cost, step_rule="armijo"), rng=0)
    assert result.evaluation.stable_rank == pytest.approx(found.stable_rank, abs=1e-3)
    z = result.kernel / np.linalg.norm(result.kernel)
    smooth, gradient, most = lse(z)
    assert N / most == pytest.approx(result.evaluation.stable_rank, rel=1e-12)
    pulled, above = N / TARGET - smooth, smooth - most
    assert pulled == pytest.approx(0.2908, abs=1e-3)
    assert above == pytest.approx(0.2055, abs=1e-3)
    assert above < np.log(N) / ALPHA
    # The fidelity holds the balance: at the end the two gradients cancel on the sphere.
    radius = np.sqrt(TARGET / N)
    balance = -2 * pulled * gradient + 2 * WEIGHT * N * radius * (radius * z - [1, 0, 0])
    assert np.linalg.norm(balance - (balance @ z) * z) < 2e-6  # the tolerance of the descent is 1e-6


def test_the_bias_vanishes_as_alpha_grows_and_the_weight_falls():
    weights = WEIGHTS[:: times(4, 1)]
    ranks = np.array([[settled_at(alpha, weight).stable_rank for weight in weights] for alpha in ALPHAS[::3]])
    assert np.all(np.diff(ranks, axis=1) < 1e-3)  # less weight, less bias; to what trust regions converge to
    assert np.all(ranks > TARGET - 1e-3)
    # With little weight, g_lse is N/r: the bias of log-sum-exp alone remains, which is at most log(N)/α.
    for alpha, rank in zip(ALPHAS[::3], ranks[:, -1], strict=True):
        assert N / TARGET - N / rank <= np.log(N) / alpha
    assert ranks[0, -1] == pytest.approx(35.15, abs=0.01)  # not the target, however small λ
    assert ranks[-1, 0] == pytest.approx(38.49, abs=0.01)  # nor however large α
    assert ranks[-1, -1] == pytest.approx(TARGET, abs=2e-3)


@slow
def test_the_whole_descent_of_the_figures(tmp_path):
    runs = Runs(tmp_path / "runs.db")
    assert np.all(np.diff(runs.descent.history["cost"]) < 0)
    assert len(runs.descent.history) == STEPS
    assert runs.settled.status is srnc.Status.CONVERGED
    # It has come near: what is left of the loss is below a percent.
    assert 0 < runs.descent.history["cost"][-1] / runs.settled.cost - 1 < 0.02
    assert runs.descent.evaluation.stable_rank == pytest.approx(42.4, abs=0.05)
    figure_3(tmp_path / "figure.svg", runs)
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "where the stable rank settles: 42.56" in text
