"""Methods of the literature: they do what their sources say, and what that achieves on convolutions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.operators import atoms, symbol
from srnc_manifold.solvers import SRNC, Budget, MatrixSRN, ReshapeThenSRN, Run, SpectralNormalization
from srnc_manifold.solvers.steps.top_pairs import PAIRS, top_pairs
from srnc_manifold.testing import check_solver

SOLVERS = [
    SRNC(),
    SRNC(repair="step"),
    SRNC(repair="iterated"),
    SRNC(pair="symbol"),
    SRNC(repair="step", pair="symbol"),
    SRNC(repair="iterated", pair="symbol"),
    MatrixSRN(),
    ReshapeThenSRN(),
    SpectralNormalization(),
    SpectralNormalization(pair="symbol"),
    SpectralNormalization("flattened"),
]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=[solver.name for solver in SOLVERS])
every_pair = pytest.mark.parametrize("pair", PAIRS)

# Kernels, inputs and layouts: 1-D and 2-D, channels, groups, stride, dilation, dense; the last with large blocks.
CASES = [
    ((5,), (12,), {}),
    ((3, 3), (9, 8), {}),
    ((3, 2, 3), (8,), {}),
    ((4, 2, 3), (9,), {"groups": 2}),
    ((2, 2, 3, 3), (8, 6), {"stride": 2}),
    ((4, 1, 3), (12,), {"groups": 2, "stride": 3, "dilation": 2}),
    ((3, 2, 3), (11,), {"dilation": 3}),
    ((3, 4), (), {}),
    ((14, 16, 3), (8,), {}),
]
every_case = pytest.mark.parametrize(("shape", "size", "layout"), CASES, ids=str)


@pytest.fixture
def layer(random_problem):
    """A layer whose largest singular values are far apart: power iteration is short."""
    return random_problem((4, 3, 3, 3), (8, 8), 0.9, seed=1)


@every_solver
def test_contract(solver, layer):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (srnc.solve(layer, solver, rng=5) for _ in range(2))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert first.status is srnc.Status.CONVERGED, first.message
    assert np.array_equal(first.kernel, second.kernel)
    assert first.evaluation == layer.evaluate(first.kernel)
    assert first.solver == solver.name
    assert len(first.history) > 0
    assert first.history["stable_rank"][-1] == pytest.approx(first.evaluation.stable_rank, rel=1e-6)
    again = srnc.Result.from_json(first.to_json())
    np.testing.assert_array_equal(again.kernel, first.kernel)
    assert again.details == first.details


@every_solver
@pytest.mark.parametrize("factor", some([1e-150, 1e150], keep=1))
def test_the_scale_of_the_kernel_does_not_matter(solver, layer, factor):
    scaled = srnc.SRNProblem(layer.kernel * factor, layer.input_size, stable_rank=layer.stable_rank)
    one, other = (srnc.solve(problem, solver, rng=0).kernel for problem in (layer, scaled))
    np.testing.assert_allclose(other / factor, one, atol=1e-6)


@every_solver
def test_budgets_and_interrupts(solver, layer, monkeypatch):
    assert srnc.solve(layer, solver, rng=0, budget=Budget(max_evaluations=1)).n_evaluations <= 1

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(srnc.solvers.Run, "offer", interrupt)
    result = srnc.solve(layer, solver, rng=0)
    assert (result.status, result.message) == (srnc.Status.LIMIT, "interrupted")


def test_time_is_kept_within_power_iteration():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((32, 32, 3, 3)), (32, 32), 0.9)
    solver = SRNC(repair="iterated", tolerance=1e-15, max_steps=10**6)
    result = srnc.solve(problem, solver, rng=0, budget=Budget(max_time=0.3))
    assert result.status is srnc.Status.LIMIT
    assert result.runtime < 3


@pytest.mark.parametrize(
    ("solver", "shape", "size", "fraction", "reason"),
    [
        (MatrixSRN(k=5), (4, 3, 3, 3), (8, 8), 0.9, "the matrix has only 4 singular values"),
        (MatrixSRN(k=3), (4, 3, 3, 3), (8, 8), 0.1, "it is at least"),
        (MatrixSRN(), (3, 3), (8, 8), 0.5, "it is at least"),
        (MatrixSRN(), (4, 3, 3, 3), (8, 8), None, "can only reduce the stable rank"),
        (ReshapeThenSRN(), (1, 3, 3, 3), (8, 8), 0.9, "always 1"),
        (SRNC(repair="step"), (3, 3), (8, 8), None, "this problem raises it"),
        (SRNC(repair="iterated"), (3, 3), (8, 8), None, "this problem raises it"),
    ],
)
def test_what_is_not_supported_says_why(solver, shape, size, fraction, reason, random_problem):
    problem = random_problem(shape, size, fraction or 0.5)
    if fraction is None:
        problem = srnc.SRNProblem(problem.kernel, size, stable_rank=1.2 * problem.kernel_stable_rank)
    supported, why = solver.supports(problem)
    assert not supported
    assert reason in why
    with pytest.raises(ValueError, match=r"does not support this problem"):
        srnc.solve(problem, solver)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SRNC(repair="all"), "repair"),
        (lambda: SRNC(pair="fft"), "pair"),
        (lambda: SpectralNormalization(pair="fft"), "pair"),
        (lambda: SRNC(tolerance=0), "tolerance"),
        (lambda: MatrixSRN(k=0), "k"),
        (lambda: SpectralNormalization("dense"), "operator"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def pairs_of(problem, pair, seed=0):
    """The singular pairs of one run; power iteration to 12 digits."""
    run = Run(problem, "pairs", rng=np.random.default_rng(seed))
    return top_pairs(run, pair, tolerance=1e-12, max_steps=200_000)


@every_case
def test_a_1_is_the_atom_of_the_top_pair_from_both_sources(shape, size, layout, dense):
    """The value is that of the dense operator. ``a₁`` does not depend on the phase that the start determines."""
    problem = srnc.SRNProblem(np.random.default_rng(0).standard_normal(shape), size, stable_rank_fraction=1.0, **layout)
    norm = np.linalg.norm(dense(problem.direction, size, **layout), 2)
    atom = atoms.dominant_atom(problem.direction, problem.geometry)
    for pair, seed in (("symbol", 0), ("power", 0), ("power", 1)):
        found = pairs_of(problem, pair, seed).top(problem.direction)
        assert found.converged
        assert found.value == pytest.approx(norm, rel=1e-9)
        assert np.sum(problem.direction * found.atom()) == pytest.approx(norm, rel=1e-9)
        np.testing.assert_allclose(found.atom(), atom.tensor, atol=1e-9)


@every_case
def test_constant_and_alternating_maps_have_the_same_pairs_from_both_sources(shape, size, layout):
    problem = srnc.SRNProblem(np.random.default_rng(0).standard_normal(shape), size, stable_rank_fraction=1.0, **layout)
    of_each = [list(pairs_of(problem, pair).constant_or_alternating(problem.direction)) for pair in PAIRS]
    # The frequencies are not in the same order, and among those of the symbol none is like another one.
    for these, others in (of_each, of_each[::-1]):
        assert these
        for one in these:
            other = min(others, key=lambda other: np.linalg.norm(other.atom() - one.atom()))
            np.testing.assert_allclose(other.atom(), one.atom(), atol=1e-8)
            assert other.value == pytest.approx(one.value, rel=1e-9)


@every_case
def test_the_pair_near_another_is_that_of_its_block(shape, size, layout):
    rng = np.random.default_rng(0)
    problem = srnc.SRNProblem(rng.standard_normal(shape), size, stable_rank_fraction=1.0, **layout)
    pairs, other = pairs_of(problem, "symbol"), rng.standard_normal(shape)
    near = pairs.top(other, near=pairs.top(problem.direction))
    matrix = symbol.of(other, problem.geometry)[near.place]
    assert near.value == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)  # rounding


@pytest.mark.parametrize(
    ("kernel", "size"),
    [
        ([1.0, 2.0, 0.5], (12,)),  # constant maps
        ([-1.0, 2.0, -0.5], (12,)),  # alternating maps
        (np.abs(np.random.default_rng(0).standard_normal((3, 3, 3))), (8,)),
        (np.random.default_rng(0).standard_normal((3, 4)), ()),
    ],
    ids=["DC", "Nyquist", "channels", "dense"],
)
def test_where_the_pair_is_unique_up_to_sign_srn_c_is_the_same_from_both_sources(kernel, size):
    problem = srnc.partway(kernel, size, 0.5)
    atom = atoms.dominant_atom(problem.direction, problem.geometry)
    assert problem.geometry.multiplicities[atom.block] == 1
    kernels = [srnc.solve(problem, SRNC(pair=pair, tolerance=1e-12), rng=0).kernel for pair in PAIRS]
    np.testing.assert_allclose(*kernels, atol=1e-9)


@pytest.mark.parametrize("repair", ["none", "step", "iterated"])
@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_srn_c_is_the_same_method_from_both_sources(repair, fraction, random_problem):
    """Also where the feature maps are determined up to a phase only, and where the first cap is empty."""
    empty = False
    for seed in range(6):
        problem = random_problem((3, 3), (8, 9), fraction, seed)
        power, direct = (
            srnc.solve(problem, SRNC(repair, pair, tolerance=1e-11, max_steps=50_000), rng=0) for pair in PAIRS
        )
        assert power.status is direct.status is srnc.Status.CONVERGED, power.message
        assert power.details["empty_cap"] == direct.details["empty_cap"]
        empty |= direct.details["empty_cap"]
        # A stationary point is approached slowly, so its distance is known with fewer digits than its norm.
        np.testing.assert_allclose(direct.kernel, power.kernel, atol=1e-6 * problem.radius)
    assert empty or fraction > 0.5 or repair == "none"


def test_what_is_from_the_symbol_is_not_random():
    solvers = [SRNC(), SRNC(pair="symbol"), SpectralNormalization(), SpectralNormalization(pair="symbol")]
    assert [solver.stochastic for solver in solvers] == [True, False, True, False]
    assert not SpectralNormalization("flattened").stochastic
    assert SRNC("iterated", pair="symbol").name == "srn-c-repaired[pair=symbol]"
    for solver in (SRNC(pair="symbol"), SpectralNormalization(pair="symbol")):
        check_solver(solver)


def test_a_whole_layer_takes_moments_from_the_symbol():
    kernel = np.random.default_rng(0).standard_normal((32, 32, 3, 3))
    problem = srnc.partway(kernel, (32, 32), 0.5)
    result = srnc.solve(problem, SRNC(repair="iterated", pair="symbol"), budget=Budget(max_time=10))
    assert result.status is srnc.Status.CONVERGED, result.message
    assert result.evaluation.violation < 1e-6


@every_pair
def test_on_a_dense_matrix_srn_c_is_the_closed_form(pair, random_problem):
    problem = random_problem((4, 5), (), 0.5)
    closed = srnc.solve(problem).kernel
    for repair in ("none", "step", "iterated"):
        found = srnc.solve(problem, SRNC(repair, pair, tolerance=1e-12), rng=0)
        np.testing.assert_allclose(found.kernel, closed, atol=1e-9)


def test_reshaping_keeps_the_norm_and_the_rank_of_the_matrix_not_of_the_operator(layer):
    kernel = layer.kernel.reshape(4, -1)
    own, norm = np.linalg.norm(kernel) ** 2 / np.linalg.norm(kernel, 2) ** 2, np.linalg.norm(kernel, 2)
    srn = srnc.solve(layer, MatrixSRN())
    matrix = srn.kernel.reshape(4, -1)
    fraction = layer.stable_rank / layer.kernel_stable_rank
    assert np.linalg.norm(matrix, 2) == pytest.approx(norm, rel=1e-12)
    assert np.linalg.norm(matrix) ** 2 / norm**2 == pytest.approx(fraction * own, rel=1e-12)
    assert srn.evaluation.violation > 1e-3
    recipe = srnc.solve(layer, ReshapeThenSRN())
    assert np.linalg.norm(recipe.kernel.reshape(4, -1), 2) == pytest.approx(layer.spectral_norm, rel=1e-12)
    assert recipe.evaluation.violation > 1e-3
    flattened = srnc.solve(layer, SpectralNormalization("flattened"))
    assert np.linalg.norm(flattened.kernel.reshape(4, -1), 2) == pytest.approx(layer.spectral_norm, rel=1e-12)
    assert flattened.evaluation.spectral_norm_error > 1e-2


@every_pair
def test_spectral_normalization_keeps_the_norm_and_the_stable_rank(pair, layer):
    scores = srnc.solve(layer, SpectralNormalization(pair=pair, tolerance=1e-8), rng=0).evaluation
    assert scores.spectral_norm_error < 1e-8
    assert scores.stable_rank == pytest.approx(layer.kernel_stable_rank, rel=1e-12)


@every_pair
@given(
    st.integers(0, 2**31), st.floats(0.05, 0.95), st.sampled_from([((3,), (16,)), ((3, 3), (8, 8)), ((2, 2, 3), (9,))])
)
def test_the_repaired_iteration_meets_both_constraints_and_no_step_goes_back(pair, seed, fraction, case):
    shape, size = case
    problem = srnc.partway(np.random.default_rng(seed).standard_normal(shape), size, fraction)
    if problem.regime != "reduce":
        return
    result = srnc.solve(problem, SRNC("iterated", pair), rng=0)
    assert result.status is srnc.Status.CONVERGED, result.message
    assert result.evaluation.violation < 1e-6
    distances = result.history["distance"]
    assert np.all(np.diff(distances) <= 1e-9 * problem.radius)  # power iteration ends a little early
    optimum = srnc.solve(problem).evaluation.objective
    assert result.evaluation.objective >= optimum - 1e-6 * problem.squared_norm  # the violation allowed buys as much


@every_pair
def test_where_the_first_cap_is_empty_others_are_tried(pair):
    kernel = np.array([1.0, 0.2, -1.0])  # its top frequency has short atoms
    problem = srnc.SRNProblem(kernel, 16, stable_rank=5.6)
    result = srnc.solve(problem, SRNC("iterated", pair), rng=0)
    assert result.details["empty_cap"]
    assert result.evaluation.feasible
    at_the_end = srnc.SRNProblem(kernel, 16, stable_rank=16 / 3)
    assert srnc.solve(at_the_end, SRNC("iterated", pair), rng=0).evaluation.violation < 1e-6
    # Five points have no alternating maps; a constant one has room.
    assert srnc.solve(srnc.partway(kernel, 5, 0.05), SRNC("iterated", pair), rng=0).evaluation.feasible


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [((3,), (16,), {}), ((3, 3), (8, 9), {}), ((2, 3, 3, 3), (8, 8), {}), ((5,), (16,), {"dilation": 3})],
)
def test_maps_that_are_mapped_to_zero_have_the_largest_atoms_too(shape, size, layout):
    """Differences, such as Sobel's, are zero on constant maps. But kernels near the cap of such a map are not."""
    kernel = np.random.default_rng(0).standard_normal(shape)
    kernel -= np.mean(kernel, axis=tuple(range(-len(size), 0)), keepdims=True)
    problem = srnc.partway(kernel, size, 0.02, **layout)
    for repair in ("step", "iterated"):
        of_power, of_symbol = (srnc.solve(problem, SRNC(repair, pair), rng=0) for pair in PAIRS)
        assert of_power.details["empty_cap"]
        # The nearest point in the cap of an atom that is orthogonal to the kernel: the same for any of them.
        assert of_power.evaluation.objective == pytest.approx(of_symbol.evaluation.objective, rel=1e-6)
        assert of_power.evaluation.violation == pytest.approx(of_symbol.evaluation.violation, abs=1e-6)


@every_pair
def test_published_srn_c_uses_no_more_than_its_source(pair, layer):
    """Formula (5) with the coefficient of (3), from the operator's singular value decomposition."""
    result = srnc.solve(layer, SRNC(pair=pair, tolerance=1e-10, max_steps=100_000), rng=0)
    unit = layer.kernel / layer.spectral_norm
    first = atoms.dominant_atom(unit, layer.geometry).tensor
    second = unit - first
    scale = np.sqrt(layer.stable_rank - 1) / srnc.frobenius_norm(second, layer.input_size)
    np.testing.assert_allclose(result.kernel / layer.spectral_norm, first + scale * second, atol=1e-7)


@pytest.mark.parametrize("repair", ["none", "step", "iterated"])
def test_power_iteration_that_has_not_converged_is_not_called_converged(repair):
    rng = np.random.default_rng(4)
    problem = srnc.partway(rng.standard_normal((3, 3)), (32, 32), rng.uniform(0.3, 0.95))
    result = srnc.solve(problem, SRNC(repair=repair, max_steps=5), rng=0)
    assert result.status is srnc.Status.LIMIT
    assert "stopped after" in result.message


def test_a_point_that_was_computed_is_not_lost_to_the_budget(random_problem):
    problem = random_problem((3, 3), (16, 16))
    step = srnc.solve(problem, SRNC(repair="step"), rng=0)
    short = srnc.solve(problem, SRNC(repair="iterated"), rng=0, budget=Budget(max_evaluations=step.n_evaluations))
    assert short.status is srnc.Status.LIMIT
    np.testing.assert_array_equal(short.kernel, step.kernel)


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((4, 4, 3, 3), (9, 9), {}),
        ((4, 2, 3, 3), (8, 8), {"stride": 2}),
        ((4, 2, 3), (12,), {"stride": 2, "dilation": 3}),
        ((3, 1, 3), (9,), {"groups": 3, "stride": 3}),
        ((4, 2, 3), (12,), {"groups": 2}),
    ],
)
@every_pair
@pytest.mark.parametrize("fraction", [0.0, 0.05])
def test_the_maps_with_the_largest_atoms_reach_every_target(pair, shape, size, layout, fraction):
    """Also where the constant part of a kernel is small, so that rounding errors lead away from it."""
    for seed in range(3):
        kernel = np.random.default_rng(seed).standard_normal(shape)
        axes = tuple(range(2, kernel.ndim))
        kernel -= 0.9 * np.mean(kernel, axis=axes, keepdims=True)
        problem = srnc.partway(kernel, size, fraction, **layout)
        result = srnc.solve(problem, SRNC("iterated", pair), rng=0)
        assert result.status is srnc.Status.CONVERGED, result.message
        assert result.evaluation.violation < 1e-6


def test_the_least_stable_rank_of_a_matrix_may_be_asked_of_any_number_of_rows():
    problem = srnc.SRNProblem(np.random.default_rng(0).standard_normal((49, 50)), (), stable_rank=1.0)
    assert srnc.solve(problem, ReshapeThenSRN()).evaluation.stable_rank == pytest.approx(1, abs=1e-9)


def test_groups_of_a_dense_matrix_are_not_one_matrix():
    kernel = np.random.default_rng(0).standard_normal((6, 3))
    problem = srnc.SRNProblem(kernel, (), stable_rank_fraction=0.8, groups=2)
    assert "matrix of the kernel" in srnc.solve(problem, MatrixSRN()).message
