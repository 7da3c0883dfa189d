"""Dual points from cone programs: sharp where theory says so, and harmless from a solver that stops early or fails."""

import subprocess
import sys

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.bounds import cone_programs
from srnc_manifold.bounds.cone_programs import compiled
from srnc_manifold.certificates import ball
from srnc_manifold.exact.increase import search as raising
from srnc_manifold.operators import symbol

# Clarabel stops at 1e-8 in residuals of numbers of size one.
ACCURACY = 1e-6


def raise_problem(shape, size, fraction, seed):
    """A random kernel whose stable rank is to rise a fraction of the way to its upper end."""
    kernel = np.random.default_rng(seed).standard_normal(shape)
    own = float(srnc.stable_rank(kernel, size))
    high = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0).feasible_range[1]
    return srnc.SRNProblem(kernel, size, stable_rank=own + fraction * (high - own))


CASES = [
    ((3,), (16,), 0.3, 0),
    ((5,), (32,), 0.8, 1),
    ((3, 3), (6, 7), 0.5, 2),
    ((2, 2, 2), (6,), 0.6, 3),
    ((3, 2, 2), (5,), 0.6, 4),
    ((1, 3, 3), (8,), 0.6, 5),
]


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request):
    """A problem, and the value of the best point that a local search finds."""
    problem = raise_problem(*request.param)
    found = raising.raise_gain(problem.direction, problem.geometry, problem.target_gain, effort=0.4, moments=False)
    assert problem.gain(found.z) <= problem.target_gain * (1 + 1e-9)
    return problem, found.value


def bounds(problem, **options):
    a, geometry, c = problem.direction, problem.geometry, problem.target_gain
    _, y = cone_programs.ball_maximizer(a, geometry, c, **options)
    _, theta = cone_programs.sphere_dual(a, geometry, c, **options)
    return ball.ball_bound(a, geometry, c, y), ball.sphere_bound(a, geometry, c, theta)


def test_dual_points_are_as_good_as_the_programs(case):
    problem, value = case
    a, geometry, c = problem.direction, problem.geometry, problem.target_gain
    z, _ = cone_programs.ball_maximizer(a, geometry, c)
    assert np.linalg.norm(z) <= 1 + ACCURACY
    assert problem.gain(z) <= c * (1 + ACCURACY)
    of_ball, of_sphere = bounds(problem)
    # Strong duality: the bound is the maximum over the ball.
    assert of_ball == pytest.approx(float(np.sum(a * z)), abs=ACCURACY)
    # The ball is Shor's relaxation with η >= 0. A feasible kernel may exceed its gain by 1e-9.
    assert value - 1e-8 <= of_sphere <= of_ball + ACCURACY


@pytest.mark.parametrize("options", [{"solver": "SCS", "eps": 1e-2}, {"max_iter": 5}, {"max_iter": 1}], ids=str)
def test_bounds_from_a_solver_that_stops_early_hold(case, options):
    problem, value = case
    for bound in bounds(problem, **options):
        assert value - 1e-8 <= bound <= 1 + 1e-12  # ‖a‖ = 1, rounded upwards


def test_a_solver_that_fails_leaves_the_trivial_bound(case, monkeypatch):
    import cvxpy as cp

    def fail(*_, **__):
        raise cp.SolverError("out of luck")

    monkeypatch.setattr(cp.Problem, "solve", fail)
    assert bounds(case[0]) == pytest.approx((1, 1), abs=1e-12)


def test_programs_are_compiled_once():
    geometry = srnc.SRNProblem([3.0, 1.0, 1.0], 16, stable_rank=10).geometry
    again = srnc.SRNProblem([1.0, 2.0, 1.0], 16, stable_rank=12).geometry
    assert compiled.ball_program(geometry) is compiled.ball_program(again)
    program = compiled.sphere_program(geometry)
    assert program is compiled.sphere_program(again)
    assert program.problem.is_dpp()
    assert compiled.ball_program(geometry).problem.is_dpp()


@pytest.mark.parametrize("seed", range(8))
def test_the_dual_of_a_cap_agrees_with_the_explicit_solution(seed, random_problem):
    shape, size = [((3,), (8,)), ((4,), (9,)), ((2, 2), (5, 4)), ((1, 2, 3), (6,))][seed % 4]
    problem = random_problem(shape, size, 0.2 + 0.09 * seed, seed)
    assert problem.regime == "reduce"
    a, c, geometry = problem.direction.ravel(), problem.target_gain, problem.geometry
    symbols = symbol.of(np.eye(a.size).reshape(a.size, *geometry.kernel_shape), geometry)
    best = -np.inf
    for block in range(geometry.n_blocks):
        rows = symbols[:, block].reshape(a.size, -1)
        form = (rows @ rows.conj().T).real
        if np.linalg.eigvalsh(form)[-1] <= c:
            continue  # the cap is empty
        eta, theta = cone_programs.cap_dual(problem.direction, geometry, c, block)
        eta = max(eta, theta * np.linalg.eigvalsh(form)[-1] + 1e-12)
        matrix = eta * np.eye(a.size) - theta * form
        best = max(best, 0.5 * float(a @ np.linalg.solve(matrix, a)) + 0.5 * (eta - theta * c))
    exact = problem.to_sphere(srnc.solve(problem).kernel)
    assert best == pytest.approx(float(np.sum(problem.direction * exact)), abs=ACCURACY)


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 4)])
def test_the_multiplier_of_a_cap_minimizes_its_objective(shape):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    upper = rng.uniform(1.5, 3, shape[1])
    lower = upper * rng.uniform(0, 1, shape[1])
    lower[-1] = upper[-1] = top = 3.0  # no freedom in this column
    level, sine = 2.0, 0.7

    def cost(t):
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(t.real != 0, t.real**2 / (top - upper), 0) + np.where(
                t.imag != 0, t.imag**2 / (top - lower), 0
            )
        return np.linalg.norm(matrix + t, 2) + np.sqrt(top - level) * np.sqrt(sine**2 + np.sum(terms))

    t = cone_programs.cap_multiplier(matrix, upper, lower, level, sine)
    assert np.all(t[:, -1] == 0)
    assert cost(t) < cost(np.zeros(shape)) - 1e-3
    free = np.arange(shape[1]) < shape[1] - 1
    for _ in range(200):  # the cost is convex: a local minimum is the minimum, up to the solver's accuracy
        step = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * free * 10.0 ** rng.uniform(-3, 0)
        assert cost(t) <= cost(t + step) + ACCURACY


def test_cvxpy_is_imported_when_it_is_needed():
    code = "import sys, srnc_manifold, srnc_manifold.bounds.cone_programs; assert 'cvxpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
