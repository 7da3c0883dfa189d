"""Random problems of every geometry, solved, bounded, solved in batches and transformed, against dense matrices.

Ten thousand cases are in the second tier, fifty in the first.
"""

import numpy as np
import pytest
import torch
from tiers import some

import srnc_manifold as srnc

CASES = 50
# A returned kernel is feasible up to rounding; near the least target its stable rank is known to the root of an ulp.
VIOLATION = 2e-7
# Objectives are compared in units of ‖C(a)‖². A violation is worth about as much; both searches end within 1e-9.
SAME = 1e-6

# What is checked holds whenever a search is stopped: a stopped one has a larger gap.
LIMIT = srnc.Budget(max_time=0.3)


def divisors(n):
    return [k for k in range(1, n + 1) if n % k == 0]


def draw(rng):
    """A kernel, an input size and a layout whose dense matrix is small."""
    d = int(rng.choice([0, 1, 1, 1, 2, 2, 3]))
    size = tuple(int(rng.integers(2, {0: 1, 1: 13, 2: 5, 3: 3}[d] + 1)) for _ in range(d))
    stride = tuple(int(rng.choice(divisors(n))) if rng.random() < 0.3 and n < 13 else 1 for n in size)
    dilation = tuple(int(rng.integers(1, 4)) if rng.random() < 0.3 else 1 for _ in size)
    taps = tuple(int(rng.integers(1, min(4, n // np.gcd(n, step)) + 1)) for n, step in zip(size, dilation, strict=True))
    groups = int(rng.choice([1, 1, 2, 3])) if d else 1
    single = d > 0 and groups == 1 and rng.random() < 0.4
    channels = () if single else (groups * int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    kernel = rng.standard_normal((*channels, *taps))
    kind = rng.integers(5)
    if kind == 0:
        kernel *= rng.random(kernel.shape) < 0.5
    if kind == 1:
        axes = tuple(range(kernel.ndim - d, kernel.ndim))
        kernel = kernel + rng.choice([-1, 1]) * np.flip(kernel, axis=axes)
    if kind == 2:
        kernel = np.round(kernel)
    if not np.any(kernel):
        kernel.flat[0] = 1.0
    kernel = kernel * 10.0 ** rng.choice([0, 0, 0, -100, 100])
    return kernel, size, {"groups": groups, "stride": stride or 1, "dilation": dilation or 1}


def dense_operator(kernel, size, groups, stride, dilation):
    """The matrix of ``y(m) = Σ_t x(t) u(s m − d t)``, tap by tap, with indices modulo the size."""
    d = len(size)
    steps, spacing = (np.broadcast_to(np.array(value, int), (d,)) for value in (stride, dilation))
    taps = kernel.shape[kernel.ndim - d :]
    rows, columns = kernel.shape[:2] if kernel.ndim == d + 2 else (1, 1)
    blocks = kernel.reshape(groups, rows // groups, columns, *taps)
    grid = tuple(n // s for n, s in zip(size, steps, strict=True))
    places = np.indices(grid).reshape(d, int(np.prod(grid)))
    n_out, n_in = places.shape[1], int(np.prod(size))
    matrix = np.zeros((groups, rows // groups, n_out, groups, columns, n_in))
    for tap in np.ndindex(*taps):
        shifted = [(s * m - k * t) % n for s, m, k, t, n in zip(steps, places, spacing, tap, size, strict=True)]
        where = np.ravel_multi_index(shifted, size) if d else np.zeros(1, int)
        for g in range(groups):
            for m in range(n_out):
                matrix[g, :, m, g, :, where[m]] += blocks[(g, slice(None), slice(None), *tap)]
    return matrix.reshape(rows * n_out, groups * columns * n_in)


def scores(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sum(values**2)), float(values[0])


def transformed(rng, kernel, size, layout):
    """The kernel under a symmetry of the problem, and the factor of its objective."""
    d, groups = len(size), layout["groups"]
    channels = kernel.ndim == d + 2
    spatial = tuple(range(kernel.ndim - d, kernel.ndim))
    kind = rng.choice(["reflect", "scale", "sign", "translate", "permute", "mix"])
    if kind == "reflect":
        return np.flip(kernel, axis=spatial), 1.0
    if kind == "scale":
        factor = float(np.exp(rng.normal()))
        return factor * kernel, factor**2
    if kind == "sign":
        return -kernel, 1.0
    if kind == "translate":  # a symmetry of the support only where it is the whole axis
        whole = [
            axis for axis, n, step, dil in zip(spatial, size, np.broadcast_to(layout["stride"], d),
                                               np.broadcast_to(layout["dilation"], d), strict=True)
            if kernel.shape[axis] == n and step == 1 and dil == 1
        ]  # fmt: skip
        return np.roll(kernel, 1, axis=whole[0]) if whole else kernel, 1.0
    if not channels:
        return kernel, 1.0
    rows, columns = kernel.shape[0] // groups, kernel.shape[1]
    blocks = kernel.reshape(groups, rows, columns, -1)
    if kind == "permute":
        blocks = blocks[rng.permutation(groups)][:, rng.permutation(rows)][:, :, rng.permutation(columns)]
    else:
        left, right = (np.linalg.qr(rng.standard_normal((groups, n, n)))[0] for n in (rows, columns))
        blocks = np.einsum("gij,gjkt,glk->gilt", left, blocks, right)
    return blocks.reshape(kernel.shape), 1.0


def check(seed):
    rng = np.random.default_rng(seed)
    kernel, size, layout = draw(rng)
    unit = float(np.max(np.abs(kernel)))
    dense = dense_operator(kernel / unit, size, **layout)
    squared, norm = scores(dense)
    values = srnc.singular_values(kernel, size, **layout) / unit
    expected = np.linalg.svd(dense, compute_uv=False)
    count = min(len(values), len(expected))
    np.testing.assert_allclose(values[:count], expected[:count], atol=1e-12 * norm)
    assert np.all(values[count:] <= 1e-12 * norm)
    assert np.all(expected[count:] <= 1e-12 * norm)

    fraction = float(rng.choice([0.0, 1.0, rng.random(), rng.random(), rng.random()]))
    increase = bool(kernel.size <= 4 and size and rng.random() < 0.1)
    problem = srnc.partway(kernel, size, fraction, increase=increase, **layout)
    assert problem.kernel_stable_rank == pytest.approx(squared / norm**2, rel=1e-12)
    result = srnc.solve(problem, budget=LIMIT)
    found = dense_operator(result.kernel / unit, size, **layout)
    frobenius, spectral = scores(found)
    violation = max(abs(frobenius / spectral**2 / problem.stable_rank - 1), abs(spectral / norm - 1))
    objective = float(np.sum((found - dense) ** 2)) / squared
    scored = result.evaluation
    assert scored.objective / problem.squared_norm == pytest.approx(objective, abs=1e-12)
    assert scored.violation == pytest.approx(violation, abs=1e-9)
    assert violation <= (VIOLATION if problem.regime != "raise" else 1e-6)

    bounds = [srnc.bound(problem), result.bound]
    for bound in bounds:
        value = bound.objective / problem.squared_norm
        assert value <= objective + SAME * violation / VIOLATION + 1e-12
        assert bound.verify(problem) / problem.squared_norm == pytest.approx(value, abs=1e-12)
    if increase:
        return
    gap = objective - result.bound.objective / problem.squared_norm

    other, factor = transformed(rng, kernel, size, layout)
    again = srnc.solve(srnc.SRNProblem(other, size, stable_rank=problem.stable_rank, clip=True, **layout), budget=LIMIT)
    value = again.evaluation.objective / problem.squared_norm / factor
    other_gap = max(0.0, again.gap or 0.0)
    assert abs(value - objective) <= max(gap, 0.0) + other_gap + SAME

    if gap > 1e-9 and rng.random() < 0.95:
        return  # a batch has no limit of time, and an open problem takes seconds
    stack = np.stack([kernel, other / np.sqrt(factor), -kernel])
    for library in (np.asarray, torch.tensor) if problem.operator.block_rank == 1 else (np.asarray,):
        batch = srnc.solve_batch(library(stack), size, stable_rank=problem.stable_rank, clip=True, **layout)
        for k in range(3):
            value = float(batch.objectives[k]) / problem.squared_norm
            assert abs(value - objective) <= max(gap, 0.0) + max(0.0, float(batch.gaps[k])) + SAME
            assert float(batch.violations[k]) <= VIOLATION
        first = dense_operator(np.asarray(batch.kernels[0]) / unit, size, **layout)
        assert scores(first)[1] == pytest.approx(norm, rel=VIOLATION)
        assert float(np.sum((first - dense) ** 2)) / squared == pytest.approx(
            float(batch.objectives[0]) / problem.squared_norm, abs=1e-12
        )
        assert batch.bound(0).verify(problem) == pytest.approx(float(batch.bounds[0]), abs=1e-12 * problem.squared_norm)


@pytest.mark.parametrize("block", some(range(200), 1))
def test_random_problems_agree_with_dense_matrices(block):
    for seed in range(CASES * block, CASES * (block + 1)):
        try:
            check(seed)
        except Exception as error:
            raise AssertionError(f"case {seed}: {type(error).__name__}: {error}") from error
