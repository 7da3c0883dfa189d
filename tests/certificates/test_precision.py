"""Near the least feasible stable rank bounds are held against optima of sixty digits: rounding must not beat them.

There only the blocks with ``lower = 0`` and as many taps as there are have caps, where the Lemma is exact
(docs/theory.md, proposition 5): the optimum is a closed form in the largest singular value of real matrices.
"""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from tiers import slow, times

import srnc_manifold as srnc
from srnc_manifold.operators import atoms

DIGITS = 60

# As a part of ‖C(a)‖²: what is left between bound and objective. An ulp of the target changes the optimum by more.
GAP = 1e-8


def singular_value(matrix):
    """The largest one of a small real matrix."""
    gram = matrix * matrix.T if matrix.rows <= matrix.cols else matrix.T * matrix
    if gram.rows == 1:
        return mp.sqrt(gram[0, 0])
    half, apart = (gram[0, 0] + gram[1, 1]) / 2, (gram[0, 0] - gram[1, 1]) / 2
    return mp.sqrt(half + mp.sqrt(apart**2 + gram[0, 1] ** 2))


def squared_norm_of_block(kernel, size, frequency):
    """``‖X_l‖₂²`` of a kernel with at most two rows or columns, or one channel."""
    c_out, c_in, q = kernel.shape
    angles = [2 * mp.pi * frequency * j / size for j in range(q)]
    parts = [
        mp.matrix([[mp.fsum(mp.mpf(float(kernel[o, i, j])) * f(t) for j, t in enumerate(angles)) for i in range(c_in)]
                   for o in range(c_out)])
        for f in (mp.cos, mp.sin)
    ]  # fmt: skip
    real, imag = parts
    block = real - mp.mpc(0, 1) * imag
    gram = block * block.H if c_out <= c_in else block.H * block
    if gram.rows == 1:
        return mp.re(gram[0, 0])
    half, apart = mp.re(gram[0, 0] + gram[1, 1]) / 2, mp.re(gram[0, 0] - gram[1, 1]) / 2
    return half + mp.sqrt(apart**2 + abs(gram[0, 1]) ** 2)


def exact_optimum(kernel, size, target):
    """The optimum over ``‖C(a)‖²`` for the kernel and the target as they are stored, and the exact stable rank."""
    q = kernel.shape[-1]
    squares = [squared_norm_of_block(kernel, size, f) for f in range(size // 2 + 1)]
    gain, squared_size = max(squares), mp.fsum(mp.mpf(float(x)) ** 2 for x in kernel.ravel())
    own, r = size * squared_size / gain, mp.mpf(target)
    level = mp.mpf(size) / r
    real = [0] if size % 2 else [0, size // 2]
    height = max(mp.sqrt(squares[f] / squared_size) for f in real)
    angle = mp.acos(min(height / mp.sqrt(q), mp.mpf(1))) - mp.acos(mp.sqrt(level / q))
    radius = mp.sqrt(gain * r / size / squared_size)
    return (radius - 1) ** 2 + radius * (2 - 2 * mp.cos(angle)), own


def others_have_no_caps(shape, size, target):
    """Whether the level exceeds the largest ``γ²`` of every block that is not real."""
    q = shape[-1]
    sums = [abs(np.sum(np.exp(-4j * np.pi * f * np.arange(q) / size))) for f in range(1, (size + 1) // 2)]
    return max(sums, default=0) / 2 + q / 2 < (size / target) * (1 - 1e-9)


def problems(count, seed):
    """Kernels near a constant one, and targets near the least feasible: shape, size, kernel, target."""
    rng = np.random.default_rng(seed)
    while count:
        q = int(rng.integers(2, 6))
        shape = [(1, 1, q), (1, 2, q), (2, 1, q), (2, 2, q)][rng.choice(4, p=[0.55, 0.15, 0.1, 0.2])]
        size = int(rng.integers(q, 14))
        rough = 10.0 ** rng.uniform(-6, -0.5)
        kernel = rng.standard_normal((*shape[:2], 1)) * np.ones(shape) if shape[:2] != (1, 1) else np.ones(shape)
        kernel = kernel + rough * rng.standard_normal(shape)
        target = size / q * (1 + 10.0 ** rng.uniform(-16.3, -1))
        while mp.mpf(target) * q < size:  # rounded to what is not feasible
            target = math.nextafter(target, math.inf)
        if others_have_no_caps(shape, size, target) and target < srnc.stable_rank(kernel, (size,)):
            count -= 1
            yield size, kernel, target


def check(problem, bound, objective, optimum, gap=GAP):
    unit = problem.squared_norm
    assert mp.mpf(bound) <= optimum * exact_squared_norm(problem)
    assert (objective - bound) / unit < gap


def exact_squared_norm(problem):
    return problem.geometry.n_points * mp.fsum(mp.mpf(float(x)) ** 2 for x in problem.kernel.ravel())


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=slow)])
def test_no_bound_exceeds_the_optimum_near_the_least_stable_rank(count):
    with mp.workdps(DIGITS):
        for size, kernel, target in problems(count, 0):
            optimum, _ = exact_optimum(kernel, size, target)
            problem = srnc.SRNProblem(kernel, (size,), stable_rank=target)
            assert problem.stable_rank == target
            result = srnc.solve(problem)
            assert result.evaluation.violation < 1e-12  # rounding
            check(problem, result.bound.objective, result.evaluation.objective, optimum)
            check(problem, result.bound.verify(problem), result.evaluation.objective, optimum)
            if problem.regime == "reduce":  # the Lemma alone is exact here, too
                check(problem, srnc.bound(problem).objective, result.evaluation.objective, optimum)


@pytest.mark.parametrize("array", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_no_bound_of_a_batch_exceeds_the_optimum(array):
    with mp.workdps(DIGITS):
        for size, kernel, target in problems(100, 1):
            found = srnc.solve_batch(array(kernel[None]), (size,), stable_rank=target)
            optimum, _ = exact_optimum(kernel, size, target)
            problem = srnc.SRNProblem(kernel, (size,), stable_rank=target)
            check(problem, float(found.bounds[0]), float(found.objectives[0]), optimum)


def test_no_bound_exceeds_the_optimum_where_two_taps_are_raised():
    """On the circle of two taps the gain is ``1 + |sin 2t|`` with DC and Nyquist: four feasible points."""
    rng = np.random.default_rng(2)
    with mp.workdps(DIGITS):
        for _ in range(times(15, 40)):
            size = 2 * int(rng.integers(1, 7))
            kernel = 1 + 10.0 ** rng.uniform(-8, -0.5) * rng.standard_normal(2)
            own = srnc.stable_rank(kernel, size)
            target = min(own * (1 + 10.0 ** rng.uniform(-15, -1)), float(size))
            problem = srnc.SRNProblem(kernel, size, stable_rank=target)
            a = [mp.mpf(float(x)) for x in kernel]
            gain, squared_size = (abs(a[0]) + abs(a[1])) ** 2, a[0] ** 2 + a[1] ** 2
            radius = mp.sqrt(gain * mp.mpf(target) / size / squared_size)
            t = mp.asin(size / mp.mpf(target) - 1) / 2
            heights = [s * (a[i] * mp.cos(t) + a[1 - i] * mp.sin(t)) for s in (1, -1) for i in (0, 1)]
            cosine = max(heights) / mp.sqrt(squared_size)
            optimum = (radius - 1) ** 2 + radius * (2 - 2 * cosine)
            result = srnc.solve(problem)
            for bound in (result.bound.objective, result.bound.verify(problem), srnc.bound(problem).objective):
                assert mp.mpf(bound) <= optimum * exact_squared_norm(problem)


@pytest.mark.parametrize("n_points", [1, 7, 64, 224 * 224])
def test_a_level_has_twice_the_digits_of_a_double(n_points):
    ranks = n_points / np.random.default_rng(0).uniform(1, 9, 100)
    levels = atoms.Level.of_target(n_points, ranks)
    with mp.workdps(DIGITS):
        for k, rank in enumerate(ranks):
            exact = mp.mpf(n_points) / mp.mpf(float(rank))
            assert abs(mp.mpf(float(levels.value[k])) + mp.mpf(float(levels.rest[k])) - exact) < 1e-31 * exact
