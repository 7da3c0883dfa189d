"""Derivatives of the solution against differences of solutions."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

import srnc_manifold as srnc

CASES = [
    ((4,), (9,), {}),
    ((3, 3), (8, 7), {}),
    ((2, 3, 3), (8,), {}),
    ((3, 2, 2, 2), (5, 5), {}),
    ((3, 5), (), {}),
    ((4, 1, 3), (8,), {"groups": 4}),
    ((4, 2, 3), (8,), {"groups": 2, "stride": 2}),
    ((2, 2, 3), (9,), {"dilation": 2}),
]
STEP = 1e-5
# Central differences are off by STEP² times third derivatives, which are of size 10 here, and by rounding / STEP.
TOLERANCE = 1e-6


def solve(kernel, size, stable_rank, layout):
    problem = srnc.SRNProblem(kernel, size, stable_rank=stable_rank, **layout)
    return problem, srnc.solve(problem)


@pytest.mark.parametrize(("shape", "size", "layout"), CASES)
@pytest.mark.parametrize("fraction", [0.4, 0.8])
def test_derivatives_are_those_of_solutions(shape, size, layout, fraction):
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal(shape)
    low = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0, **layout).feasible_range[0]
    own = float(srnc.stable_rank(kernel, size, **layout))
    target = low + fraction * (own - low)
    problem, result = solve(kernel, size, target, layout)
    found = srnc.sensitivity(problem, result)
    assert found.distance_to_tie > 0
    scale = np.linalg.norm(kernel)

    step = STEP * target
    (_, up), (_, down) = (solve(kernel, size, target + sign * step, layout) for sign in (1, -1))
    np.testing.assert_allclose(
        found.by_stable_rank, (up.kernel - down.kernel) / (2 * step), atol=TOLERANCE * scale / target * 10
    )
    slope = (up.evaluation.objective - down.evaluation.objective) / (2 * step)
    assert found.objective_by_stable_rank == pytest.approx(slope, abs=TOLERANCE * problem.squared_norm / target * 10)

    change = rng.standard_normal(shape)
    (_, up), (_, down) = (solve(kernel + sign * STEP * change, size, target, layout) for sign in (1, -1))
    difference = (up.kernel - down.kernel) / (2 * STEP)
    np.testing.assert_allclose(found.along(change), difference, atol=10 * TOLERANCE * np.linalg.norm(change))
    assert not np.any(found.along(np.zeros(shape)))


@pytest.mark.parametrize(("shape", "size", "layout"), CASES)
def test_a_fraction_follows_the_kernel(shape, size, layout):
    rng = np.random.default_rng(4)
    kernel, change = rng.standard_normal(shape), rng.standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0, **layout)
    fraction = (0.4 * own.feasible_range[0] + 0.6 * own.kernel_stable_rank) / own.kernel_stable_rank

    def solved(kernel):
        problem = srnc.SRNProblem(kernel, size, stable_rank_fraction=fraction, **layout)
        return problem, srnc.solve(problem)

    found = pickle.loads(pickle.dumps(srnc.sensitivity(*solved(kernel))))
    (_, up), (_, down) = (solved(kernel + sign * STEP * change) for sign in (1, -1))
    difference = (up.kernel - down.kernel) / (2 * STEP)
    np.testing.assert_allclose(found.along(change), difference, atol=10 * TOLERANCE * np.linalg.norm(change))
    # The problem is homogeneous: the solution of a scaled kernel is the scaled solution.
    np.testing.assert_allclose(found.along(kernel), solved(kernel)[1].kernel, atol=1e-7 * np.linalg.norm(kernel))


def test_where_there_is_no_derivative_it_says_why(paper):
    tied = paper(32)
    with pytest.raises(ValueError, match="1 other minimizers are tied"):
        srnc.sensitivity(tied, srnc.solve(tied))
    assert srnc.solve(tied).details["distance_to_tie"] == 0.0
    kernel = np.random.default_rng(0).standard_normal(5)
    lowest = srnc.partway(kernel, 16, 0.0)
    with pytest.raises(ValueError, match="single point"):
        srnc.sensitivity(lowest, srnc.solve(lowest))
    raised = srnc.SRNProblem(kernel, 16, stable_rank=15.0)
    with pytest.raises(ValueError, match="regime is 'raise'"):
        srnc.sensitivity(raised, srnc.solve(raised))
    half = srnc.partway(kernel, 16, 0.5)
    with pytest.raises(ValueError, match="what Exact"):
        srnc.sensitivity(half, srnc.solve(half, srnc.solvers.MultiStart(n_starts=1), rng=0))
    matrix = srnc.partway(np.random.default_rng(0).standard_normal((3, 3)), (), 0.5)
    equal = replace(srnc.solve(matrix), kernel=np.diag([2.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="two singular values of its dominant frequency are equal"):
        srnc.sensitivity(matrix, equal)
    with pytest.raises(ValueError, match="expected the kernel's shape"):
        srnc.sensitivity(half, srnc.solve(half)).along(np.ones(4))


def test_the_kernel_s_own_norm_must_be_differentiable():
    # Two frequencies share the largest singular value of the kernel, but not that of the solution.
    kernel = np.array([1.0, 0.0, 0.3])
    problem = srnc.partway(kernel, 8, 0.3)
    result = srnc.solve(problem)
    if result.alternatives:  # DC and Nyquist tie for the solution, too: then there is nothing to differentiate
        with pytest.raises(ValueError, match="tied"):
            srnc.sensitivity(problem, result)
    else:
        with pytest.raises(ValueError, match="spectral norm is not differentiable"):
            srnc.sensitivity(problem, result).along(np.ones(3))


def test_flat_directions_and_other_problems_are_refused():
    # At DC an antisymmetric kernel has no part: every pair of real channel vectors is as good as any other.
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(40):
        k = int(rng.integers(2, 6))
        kernel = rng.standard_normal((3, 3, k))
        kernel = kernel - kernel[..., ::-1]
        problem = srnc.partway(kernel, k, 0.5)
        if problem.regime != "reduce":
            continue
        result = srnc.solve(problem)
        if result.details["blocks"] == [0]:
            found += 1
            with pytest.raises(ValueError, match=r"tied|to second order|equal"):
                srnc.sensitivity(problem, result)
    assert found >= 1
    first, second = (srnc.partway(np.random.default_rng(seed).standard_normal((3, 3)), 8, 0.5) for seed in (0, 1))
    with pytest.raises(ValueError, match="not of this problem"):
        srnc.sensitivity(first, srnc.solve(second))
    with pytest.raises(TypeError, match="expected both"):
        srnc.sensitivity(first, None)
    with pytest.raises(ValueError, match="expected the kernel's shape"):
        srnc.sensitivity(first, srnc.solve(first)).along(np.zeros(7))
