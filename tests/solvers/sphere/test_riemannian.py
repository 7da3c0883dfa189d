import numpy as np
import pymanopt
import pytest
from pymanopt.manifolds import Sphere
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.costs import ExactMax, LogSumExp, Penalty, SphereFunction, View
from srnc_manifold.solvers import Riemannian

SMOOTH = ("steepest-descent", "conjugate-gradient", "trust-regions")


@pytest.mark.parametrize("optimizer", SMOOTH)
@pytest.mark.parametrize("shape_size", [((3,), (64,)), ((3, 3), (8, 8)), ((2, 3, 3), (8,)), ((3, 4), ())])
def test_smooth_costs_converge(optimizer, shape_size, random_problem):
    problem = random_problem(*shape_size)
    result = srnc.solve(problem, Riemannian(optimizer=optimizer, tolerance=1e-5, max_iterations=3000), rng=0)
    assert result.status is srnc.Status.CONVERGED, result.message
    z = problem.to_sphere(result.kernel).ravel()
    gradient = SphereFunction(problem, LogSumExp()).gradient(z)
    assert result.gradient_norm == pytest.approx(np.linalg.norm(gradient - (gradient @ z) * z), rel=1e-3, abs=1e-9)
    assert result.gradient_norm <= 1e-5
    assert result.cost == pytest.approx(SphereFunction(problem, LogSumExp()).value(z), rel=1e-12)
    assert np.linalg.norm(result.kernel) == pytest.approx(problem.radius, rel=1e-12)


@pytest.mark.parametrize("optimizer", some(["nelder-mead", "particle-swarm"], 1))
def test_without_gradients_the_same_minimum_is_found(optimizer, paper):
    problem = paper(32)
    reference = min(srnc.solve(problem, Riemannian(), rng=seed).cost for seed in range(5))
    costs = [srnc.solve(problem, Riemannian(optimizer=optimizer), rng=seed).cost for seed in range(5)]
    assert min(costs) == pytest.approx(reference, rel=1e-8)


@pytest.mark.parametrize("optimizer", SMOOTH)
def test_backends_lead_to_the_same_point(optimizer, random_problem):
    problem = random_problem((2, 2, 3), (8,))
    kernels = [
        srnc.solve(problem, Riemannian(optimizer=optimizer, backend=backend, max_iterations=10), rng=0).kernel
        for backend in ("numpy", "autograd", "torch")
    ]
    # Ten iterations amplify differences of rounding.
    np.testing.assert_allclose(kernels[1], kernels[0], atol=1e-8)
    np.testing.assert_allclose(kernels[2], kernels[0], atol=1e-8)


@pytest.mark.parametrize("cost", [LogSumExp(), ExactMax(), Penalty()], ids=str)
def test_costs_work_in_pymanopt_itself(cost, paper):
    problem, xp = paper(32), namespace("autograd")
    manifold = Sphere(3)

    @pymanopt.function.autograd(manifold)
    def function(z):
        return cost.value(View.at(problem, z, xp), xp)

    start = np.array([0.9, 0.3, -0.2]) / np.linalg.norm([0.9, 0.3, -0.2])
    optimizer = pymanopt.optimizers.ConjugateGradient(verbosity=0, max_iterations=30)
    found = optimizer.run(pymanopt.Problem(manifold, function), initial_point=start)
    assert found.cost < function(start)


def test_a_nonsmooth_cost_that_stalls_says_so(paper):
    results = [
        srnc.solve(paper(128 / 3), Riemannian(cost=ExactMax(), optimizer="steepest-descent"), rng=seed)
        for seed in range(8)
    ]
    stalled = [r for r in results if r.status is srnc.Status.STALLED]
    assert stalled, "steepest descent is expected to stall on the exact maximum from some starts"
    for result in stalled:
        assert result.gradient_norm > 1e-6
        assert "may not be smooth" in result.message


def test_iterates_are_the_history(random_problem):
    problem = random_problem((3,), (16,))
    result = srnc.solve(problem, Riemannian(optimizer="conjugate-gradient"), rng=0)
    assert len(result.history) == result.n_gradients
    assert result.history["cost"][-1] == pytest.approx(result.cost)
    assert np.all(np.diff(result.history["time"]) >= 0)


def test_one_entry_is_nothing_to_optimize():
    problem = srnc.SRNProblem(np.array(2.0), (), stable_rank=1)
    assert Riemannian().supports(problem) == (False, "a kernel with one entry leaves nothing to optimize on a sphere")
    large = srnc.SRNProblem(np.random.default_rng(0).standard_normal((10, 10, 3)), 8, stable_rank_fraction=1.0)
    assert not Riemannian(optimizer="nelder-mead").supports(large)[0]
    assert Riemannian().supports(large)[0]
