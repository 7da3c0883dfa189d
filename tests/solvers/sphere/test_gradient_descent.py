import numpy as np
import pytest
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.costs import LogSumExp, SphereFunction


def test_it_is_the_paper_s_iteration(paper):
    problem = paper(32)
    start = np.array([0.2, -0.5, 0.9])
    z = start / np.linalg.norm(start)
    function = SphereFunction(problem, LogSumExp(alpha=10, fidelity_weight=0.1), "torch")
    expected = []
    for _ in range(20):
        expected.append((z, function.value(z)))
        d = function.gradient(z)  # (17)
        tangent = d - (d @ z) * z  # (18)
        z = (z - 1e-5 * tangent) / np.linalg.norm(z - 1e-5 * tangent)  # (19)
    solver = srnc.solvers.GradientDescent(max_iterations=20)
    history = srnc.solve(problem, solver, start=start).history
    np.testing.assert_allclose(history.points, [point for point, _ in expected], atol=1e-14)
    np.testing.assert_allclose(history["cost"], [value for _, value in expected], rtol=1e-12)


def test_every_iterate_s_loss_stable_rank_and_distance_are_recorded(paper):
    problem = paper(32)
    result = srnc.solve(problem, srnc.solvers.GradientDescent(max_iterations=50, step_size=1e-3), rng=0)
    assert len(result.history) == len(result.history.points) == 50
    for k, z in enumerate(result.history.points):
        scores = problem.evaluate(problem.to_kernel(z))
        assert result.history["stable_rank"][k] == pytest.approx(scores.stable_rank, rel=1e-12)
        assert result.history["objective"][k] == pytest.approx(scores.objective, rel=1e-12)
        assert result.history["spectral_norm"][k] == pytest.approx(scores.spectral_norm, rel=1e-12)
        assert result.history["distance"][k] == pytest.approx(scores.relative_distance * 1.0, rel=1e-12)
    assert np.all(np.diff(result.history["cost"]) < 0)
    assert list(result.history.to_frame().columns)[:3] == ["iteration", "evaluations", "time"]


def test_it_converges_to_what_trust_regions_find(paper):
    problem, start = paper(32), [0.9, 0.3, 0.2]
    slow = srnc.solve(problem, srnc.solvers.GradientDescent(step_size=1e-3), start=start)
    fast = srnc.solve(problem, srnc.solvers.Riemannian(), start=start)
    assert slow.status is fast.status is srnc.Status.CONVERGED
    np.testing.assert_allclose(slow.kernel, fast.kernel, atol=1e-6)  # gradient norms of 1e-6, curvatures of order one


@pytest.mark.parametrize(("asked", "got"), [(32.0, 42.56), (128 / 3, 64.0)])
def test_what_the_paper_s_formulation_really_gives(paper, asked, got):
    """Theory, section 4: α = 10, λ = 0.1, the best of five converged starts."""
    problem = paper(asked)
    solver = srnc.solvers.Riemannian(cost=LogSumExp(alpha=10, fidelity_weight=0.1), max_iterations=500)
    results = [srnc.solve(problem, solver, rng=seed) for seed in range(5)]
    assert all(r.status is srnc.Status.CONVERGED for r in results)
    best = min(results, key=lambda r: r.cost)
    assert best.evaluation.stable_rank == pytest.approx(got, abs=0.01)  # the digits given there
    assert not best.evaluation.feasible


def test_the_exact_maximum_with_a_small_weight_comes_closer(paper):
    """Theory, section 4: λ = 10⁻³ and the exact maximum give 32.09."""
    solver = srnc.solvers.Riemannian(cost=srnc.costs.ExactMax(fidelity_weight=1e-3))
    best = min((srnc.solve(paper(32), solver, rng=seed) for seed in range(5)), key=lambda r: r.cost)
    assert best.evaluation.stable_rank == pytest.approx(32.09, abs=0.01)


@pytest.mark.parametrize("rule", ["armijo", "barzilai-borwein"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(("shape", "size"), some([((3,), (64,)), ((3, 3), (8, 9)), ((2, 2, 3), (8,))]))
def test_chosen_steps_reach_the_tolerance_with_far_fewer_gradients(rule, momentum, shape, size, random_problem):
    problem = random_problem(shape, size)
    cost = LogSumExp(fidelity_weight=0.01)
    solver = srnc.solvers.GradientDescent(cost, step_rule=rule, momentum=momentum)
    result = srnc.solve(problem, solver, rng=0)
    assert result.status is srnc.Status.CONVERGED, result.message
    assert result.gradient_norm <= 1e-6
    fixed = srnc.solvers.GradientDescent(cost, step_size=1e-4, max_iterations=5 * result.n_gradients)
    assert srnc.solve(problem, fixed, rng=0).gradient_norm > 1e-6
    costs = result.history["cost"]
    if rule == "armijo":
        assert np.all(np.diff(costs) < 0)
    else:  # below the largest of the last ten
        assert all(costs[k + 1] < max(costs[max(0, k - 9) : k + 1]) for k in range(len(costs) - 1))


def test_momentum_is_polyak_s(paper):
    problem, start = paper(32), np.array([0.2, -0.5, 0.9])
    z, velocity = start / np.linalg.norm(start), np.zeros(3)
    function = SphereFunction(problem, LogSumExp(), "torch")
    expected = []
    for _ in range(15):
        expected.append(z)
        d = function.gradient(z)
        velocity = 0.8 * (velocity - (velocity @ z) * z) - (d - (d @ z) * z)
        z = (z + 1e-3 * velocity) / np.linalg.norm(z + 1e-3 * velocity)
    solver = srnc.solvers.GradientDescent(step_size=1e-3, momentum=0.8, max_iterations=15)
    np.testing.assert_allclose(srnc.solve(problem, solver, start=start).history.points, expected, atol=1e-13)


def test_a_kink_ends_a_line_search():
    # Of the exact maximum at a tie no step along the mean of the gradients helps.
    problem = srnc.SRNProblem([1.0, 0.0, 0.0], 64, stable_rank=63.0)
    solver = srnc.solvers.GradientDescent(srnc.costs.ExactMax(1e-4), step_rule="armijo", max_iterations=3000)
    result = srnc.solve(problem, solver, rng=3)
    assert result.status in (srnc.Status.STALLED, srnc.Status.LIMIT)
    assert np.all(np.diff(result.history["cost"]) <= 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"step_rule": "newton"}, "step_rule"), ({"momentum": 1.0}, "momentum"), ({"momentum": -0.1}, "momentum")],
)
def test_step_rules_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        srnc.solvers.GradientDescent(**settings)
