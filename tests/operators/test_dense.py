"""Operators that are no circular convolutions: nothing else assumes a grid. Ground truth is the matrix itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.costs import ExactMax, LogSumExp, Penalty
from srnc_manifold.operators import Circular, Dense
from srnc_manifold.solvers import AugmentedLagrangian, Exact, ExactPenalty, MultiStart, Riemannian, Subgradient
from srnc_manifold.testing import check_cost

seeds = st.integers(0, 2**31)


def replicate_padded(channels, taps, n):
    """``T`` of a convolution in 1-D whose borders are repeated: its Gram matrix is full near the diagonal's end."""
    c_out, c_in = channels
    matrices = np.zeros((c_out, c_in, taps, c_out * n, c_in * n))
    for o, i, j, place in np.ndindex(c_out, c_in, taps, n):
        source = min(max(place + j - taps // 2, 0), n - 1)
        matrices[o, i, j, o * n + place, i * n + source] += 1
    return matrices


def random_matrices(rng, shape=(2, 3), rows=4, columns=5):
    return rng.standard_normal((*shape, rows, columns)) + 2 * rng.standard_normal((rows, columns))


def matrix_of(matrices, x):
    return np.tensordot(x, matrices, axes=x.ndim)


CASES = {
    "full": lambda rng: random_matrices(rng),
    "replicate": lambda _: replicate_padded((2, 2), 3, 6),
    "one row": lambda rng: rng.standard_normal((3, 1, 4)),
}


@pytest.mark.parametrize("case", CASES)
@given(seeds)
def test_an_operator_is_its_matrix(case, seed):
    rng = np.random.default_rng(seed)
    matrices = CASES[case](rng)
    operator = Dense(matrices)
    x, other = rng.standard_normal((2, *operator.kernel_shape))
    matrix, y = matrix_of(matrices, x), operator.coordinates(x)
    size = np.linalg.norm(matrix)
    # Square roots of the Gram matrix lose the digits of its condition, which is below 1e4 here.
    assert operator.gram_weight * np.sum(y**2) == pytest.approx(size**2, rel=1e-10)
    np.testing.assert_allclose(operator.blocks(y)[0], matrix, atol=1e-10 * size)
    np.testing.assert_allclose(operator.kernel(y), x, atol=1e-10 * np.linalg.norm(x))
    assert operator.gain(y) == pytest.approx(np.linalg.norm(matrix, 2) ** 2, rel=1e-10)
    covector = rng.standard_normal((1, *operator.block_shape))
    assert np.sum(operator.adjoint(covector) * operator.coordinates(other)) == pytest.approx(
        np.sum(covector[0] * matrix_of(matrices, other)), abs=1e-9 * size * np.linalg.norm(covector)
    )
    atom = operator.dominant_atom(y)
    assert np.sum(atom * y) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-10)


def test_a_circular_operator_is_an_operator(dense):
    rng = np.random.default_rng(0)
    geometry = srnc.Geometry.of((4, 2, 3), (6,), groups=2, stride=2)
    operator = Circular(geometry)
    x = rng.standard_normal(operator.kernel_shape)
    matrix = dense(x, (6,), groups=2, stride=2)
    assert (operator.input_shape, operator.output_shape) == ((4, 6), (4, 3))
    assert operator.gram_weight * np.sum(operator.coordinates(x) ** 2) == pytest.approx(np.linalg.norm(matrix) ** 2)
    assert operator.gain(x) == pytest.approx(np.linalg.norm(matrix, 2) ** 2)
    values = np.sort(np.repeat(operator.squared_singular_values(x).ravel(), operator.value_multiplicities.astype(int)))
    np.testing.assert_allclose(values[::-1], np.linalg.svd(matrix, compute_uv=False)[: len(values)] ** 2, atol=1e-12)


def test_a_convolution_written_out_is_the_same_problem(dense):
    """The same layer as both operators: every score agrees, and so does the solution."""
    kernel = np.random.default_rng(1).standard_normal((2, 2, 2))
    units = np.eye(kernel.size).reshape(-1, *kernel.shape)
    matrices = np.stack([dense(unit, (5,)) for unit in units]).reshape(*kernel.shape, 10, 10)
    one = srnc.SRNProblem(kernel, 5, stable_rank_fraction=0.85)
    other = srnc.SRNProblem(kernel, Dense(matrices), stable_rank=one.stable_rank)
    assert other.kernel_stable_rank == pytest.approx(one.kernel_stable_rank, rel=1e-12)
    assert other.squared_norm == pytest.approx(one.squared_norm, rel=1e-12)
    x = np.random.default_rng(2).standard_normal(kernel.shape)
    for scored in (x, one.restore(x).kernel):
        a, b = one.evaluate(scored), other.evaluate(scored)
        assert b.objective == pytest.approx(a.objective, rel=1e-10)
        assert b.stable_rank == pytest.approx(a.stable_rank, rel=1e-10)
    best = srnc.solve(one).evaluation.objective
    found = [srnc.solve(other, solver, rng=0) for solver in (MultiStart(n_starts=10), AugmentedLagrangian())]
    assert found[0].evaluation.feasible
    assert found[0].evaluation.objective == pytest.approx(best, rel=1e-5)  # SLSQP's tolerance
    assert found[1].restored.objective >= best * (1 - 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_scores_and_restoration_are_those_of_the_matrix(case):
    rng = np.random.default_rng(3)
    matrices = CASES[case](rng)
    kernel = rng.standard_normal(matrices.shape[:-2])
    own = srnc.SRNProblem(kernel, Dense(matrices), stable_rank_fraction=1.0)
    problem = srnc.SRNProblem(kernel, Dense(matrices), stable_rank=max(1.0, 0.9 * own.kernel_stable_rank))
    x = kernel + 0.3 * rng.standard_normal(kernel.shape)
    for scored in (x, problem.restore(x).kernel):
        matrix, scores = matrix_of(matrices, scored), problem.evaluate(scored)
        assert scores.spectral_norm == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-10)
        assert scores.stable_rank == pytest.approx((np.linalg.norm(matrix) / np.linalg.norm(matrix, 2)) ** 2, rel=1e-10)
        difference = np.linalg.norm(matrix_of(matrices, scored - kernel)) ** 2
        assert scores.objective == pytest.approx(difference, abs=1e-10 * problem.squared_norm)
    if case != "one row":  # where every kernel has the stable rank 1
        restored = problem.restore(x)
        assert restored.success
        assert problem.evaluate(restored.kernel).violation < 1e-9


@pytest.mark.parametrize("cost", [LogSumExp(), Penalty(), ExactMax()], ids=str)
def test_costs_have_the_right_slopes(cost):
    check_cost(cost)  # a full Gram matrix is among its problems


@pytest.fixture(scope="module")
def searched():
    """The matrices of a problem, the problem, and the best of a local search from many starts."""
    rng = np.random.default_rng(4)
    matrices = random_matrices(rng, (3,), 4, 4)
    kernel = rng.standard_normal(3)
    own = srnc.SRNProblem(kernel, Dense(matrices), stable_rank_fraction=1.0)
    problem = srnc.SRNProblem(kernel, Dense(matrices), stable_rank=0.5 * (1.05 + own.kernel_stable_rank))
    return matrices, problem, srnc.solve(problem, MultiStart(n_starts=10), rng=0)


@pytest.mark.parametrize(
    "solver", some([Riemannian(Penalty(20, 1e-4)), Subgradient(), ExactPenalty(), AugmentedLagrangian()]), ids=str
)
def test_solvers_score_as_the_matrix_does(solver, searched):
    matrices, problem, best = searched
    result = min((srnc.solve(problem, solver, rng=seed) for seed in range(3)), key=lambda r: r.evaluation.violation)
    matrix = matrix_of(matrices, result.kernel)
    assert result.evaluation.stable_rank == pytest.approx((np.linalg.norm(matrix) / np.linalg.norm(matrix, 2)) ** 2)
    assert result.restored is not None
    assert best.evaluation.feasible
    # A local search from many starts: nothing is better than it, and the others come near.
    assert result.restored.objective >= best.restored.objective - 1e-6 * problem.squared_norm
    assert result.restored.objective <= best.restored.objective + 0.05 * problem.squared_norm


@pytest.mark.parametrize("library", ["autograd", "torch"])
def test_other_libraries_see_the_same_values(library):
    xp = namespace(library)
    operator = Dense(random_matrices(np.random.default_rng(5)))
    y = np.random.default_rng(6).standard_normal(6)
    found = xp.to_numpy(operator.squared_singular_values(xp.asarray(y), xp))
    np.testing.assert_allclose(found, operator.squared_singular_values(y), rtol=1e-12)


def test_what_needs_frequencies_says_so():
    problem = srnc.SRNProblem(
        np.ones((2, 3)), Dense(random_matrices(np.random.default_rng(7))), stable_rank_fraction=0.99
    )
    for solver in ("srn-c", "matrix-srn", "atom-search", "spectral-normalization", "reshape-then-srn"):
        with pytest.raises(ValueError, match=f"solver: {solver} does not support .* circular padding"):
            srnc.solve(problem, solver)
    assert srnc.solvers.supported(Exact(), problem)[0]
    raised = srnc.SRNProblem(problem.kernel, problem.operator, stable_rank=1.1 * problem.kernel_stable_rank)
    with pytest.raises(ValueError, match="exact does not support this problem: it raises the stable rank from"):
        srnc.solve(raised)
    for bounded, method in ((problem, "sdp"), (raised, None)):
        with pytest.raises(ValueError, match="bounds are by the method 'caps' and where the stable rank is reduced"):
            srnc.bound(bounded, method)
    with pytest.raises(TypeError, match="has no frequencies"):
        _ = problem.geometry


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dense(np.ones((2, 3, 3))), ValueError, "expected independent matrices"),
        (lambda: Dense(np.ones(3)), ValueError, r"shape \(3,\) given, expected"),
        (lambda: Dense(np.ones((2, 2), complex)), TypeError, "dtype complex128 given"),
        (lambda: Dense(np.full((1, 2, 2), np.nan)), ValueError, "not finite"),
        (
            lambda: srnc.SRNProblem(np.ones(2), Dense(np.eye(9).reshape(9, 3, 3)[:3]), stable_rank=1.5),
            ValueError,
            r"kernel: shape \(2,\) given, expected that of the operator, \(3,\)",
        ),
        (
            lambda: srnc.SRNProblem(np.ones(3), Dense(np.eye(3)[:, :, None] * np.ones(2)), stable_rank=1, stride=2),
            TypeError,
            "stride: 2 given, but input_size is an operator",
        ),
    ],
)
def test_bad_operators_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
