"""The closed form for matrices against a numerical solver, and against the explicit solution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.solvers.literature.matrix import least_stable_rank, matrix_srn, matrix_stable_rank


@given(st.integers(0, 2**31), st.sampled_from([(3, 3), (4, 6), (5, 2), (1, 4)]), st.floats(0, 1))
def test_the_constraints_hold(seed, shape, fraction):
    matrix = np.random.default_rng(seed).standard_normal(shape)
    values = np.linalg.svd(matrix, compute_uv=False)
    for k in range(1, min(shape) + 1):
        low, own = least_stable_rank(matrix, k), matrix_stable_rank(matrix)
        target = low + fraction * (own - low)
        found = matrix_srn(matrix, target, k)
        np.testing.assert_allclose(np.linalg.svd(found, compute_uv=False)[:k], values[:k], rtol=1e-12)
        assert matrix_stable_rank(found) == pytest.approx(target, rel=1e-12)


def by_solver(matrix, target, k, rng, starts=12):
    """Problem (2) by SLSQP over the entries of the matrix, its singular values as constraints."""
    m, n = matrix.shape
    values = np.linalg.svd(matrix, compute_uv=False)

    def constraints(x):
        s = np.linalg.svd(x.reshape(m, n), compute_uv=False)
        return np.concatenate([s[:k] - values[:k], [np.sum(s**2) / values[0] ** 2 - target]])

    best = np.inf
    for start in range(starts):
        x0 = matrix + rng.standard_normal((m, n)) * (0.3 if start % 2 else 0.03)
        done = optimize.minimize(
            lambda x: np.sum((x - matrix.ravel()) ** 2),
            x0.ravel(),
            jac=lambda x: 2 * (x - matrix.ravel()),
            constraints={"type": "eq", "fun": constraints},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-13},
        )
        if np.max(np.abs(constraints(done.x))) < 1e-8:
            best = min(best, done.fun)
    return best


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", some(range(3), keep=1))
def test_optimal_among_what_a_solver_finds(seed, k):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((4, 5))
    low, own = least_stable_rank(matrix, k), matrix_stable_rank(matrix)
    target = low + 0.4 * (own - low)
    ours = np.sum((matrix_srn(matrix, target, k) - matrix) ** 2)
    theirs = by_solver(matrix, target, k, rng)
    # The solver's constraints hold to 1e-8; it is as good, and not better.
    assert theirs == pytest.approx(ours, abs=1e-6)
    assert theirs >= ours - 1e-7


@given(st.integers(0, 2**31), st.floats(0.02, 0.98))
def test_one_value_kept_is_the_explicit_solution(seed, fraction):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal(tuple(rng.integers(2, 7, 2)))
    problem = srnc.partway(matrix, (), fraction)
    exact, closed = srnc.solve(problem), srnc.solve(problem, srnc.solvers.MatrixSRN())
    assert closed.evaluation.violation < 1e-12
    np.testing.assert_allclose(closed.kernel, exact.kernel, atol=1e-10 * np.max(np.abs(matrix)))


def test_low_rank_and_equal_singular_values():
    low_rank = np.outer([1.0, 2.0], [3.0, 4.0, 5.0])
    np.testing.assert_allclose(matrix_srn(low_rank, 1.0), low_rank, atol=1e-14)
    identity = np.eye(3)
    found = matrix_srn(identity, 2.0)
    assert np.linalg.norm(found, 2) == pytest.approx(1, abs=1e-14)
    assert matrix_stable_rank(found) == pytest.approx(2, abs=1e-14)
    assert np.sum((found - identity) ** 2) == pytest.approx(2 * (1 - np.sqrt(0.5)) ** 2, abs=1e-14)


@pytest.mark.parametrize(
    ("stable_rank", "k", "error", "message"),
    [
        (1.5, 2, ValueError, "from the 2 largest singular values"),
        (5.0, 1, ValueError, "the stable rank of the matrix"),
        (0.5, 1, ValueError, "stable_rank"),
        (float("nan"), 1, ValueError, "stable_rank"),
        (2.0, 4, ValueError, "expected at most 3"),
        (2.0, 1.5, TypeError, "k"),
    ],
)
def test_what_is_not_feasible_is_refused(stable_rank, k, error, message):
    with pytest.raises(error, match=message):
        matrix_srn(np.diag([3.0, 2.9, 1.0]), stable_rank, k)
