"""Reducing the stable rank of layers that are not block-circulant, against matrices and many local searches."""

from dataclasses import replace

import numpy as np
import pytest
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.backends import NUMPY
from srnc_manifold.exact.reduce import general
from srnc_manifold.operators import Dense, Padded, brackets, padded
from srnc_manifold.operators.base import DominantAtom

TOLERANCE = 1e-8  # what is promised; the alternation ends at 1e-13

LAYERS = [
    ((4, 3, 3, 3), 5, {"padding": 1, "padding_mode": "zeros"}),
    ((4, 3, 3, 3), 6, {"padding": 1, "padding_mode": "reflect", "stride": 2}),
    ((3, 2, 3, 3), (6, 5), {"padding": "same", "padding_mode": "replicate"}),
    ((2, 3, 4), 9, {"padding": 1, "padding_mode": "circular"}),
    ((2, 2, 3, 3), 4, {"padding": 1, "padding_mode": "zeros", "transposed": True, "stride": 2, "output_padding": 1}),
    ((4, 2, 3), 8, {"padding": 2, "padding_mode": "zeros", "dilation": 2, "groups": 2}),
    ((2, 1, 2, 3, 2), (3, 4, 3), {"padding": "valid", "padding_mode": "zeros"}),
    ((3, 3), (6, 7), {"padding": 1, "padding_mode": "zeros"}),
]


def matrix_of(problem, x):
    """The matrix of a kernel, column by column from the operator, which is compared with PyTorch's elsewhere."""
    operator = problem.operator
    columns = np.eye(int(np.prod(operator.input_shape))).reshape(-1, *operator.input_shape)
    return np.stack([operator.apply(x, column).ravel() for column in columns], axis=1)


def problem_of(shape, size, layer, fraction, seed):
    kernel = np.random.default_rng(seed).standard_normal(shape)
    return srnc.SRNProblem(kernel, size, stable_rank_fraction=fraction, **layer)


def least_of_many(problem, starts, seed=0):
    """The least objective that alternation from random kernels finds."""
    rng = np.random.default_rng(seed)
    search = general.Alternation(
        problem.operator, problem.direction, np.sqrt(problem.target_gain), lambda: True, lambda *_: None
    )
    kernels = (problem.operator.coordinates(rng.standard_normal(problem.kernel.shape)) for _ in range(starts))
    found = search.search([problem.operator.dominant_atoms(y, 1)[0] for y in kernels])
    return np.inf if found is None else problem.objective_at(found.squared_distance)


@pytest.mark.parametrize(("shape", "size", "layer"), some(LAYERS, keep=3))
def test_norm_and_stable_rank_of_the_result_are_right(shape, size, layer):
    problem = problem_of(shape, size, layer, 0.8, 0)
    result = srnc.solve(problem)
    matrix = matrix_of(problem, result.kernel)
    norm = np.linalg.norm(matrix, 2)
    assert norm == pytest.approx(problem.spectral_norm, rel=TOLERANCE)
    assert np.linalg.norm(matrix) ** 2 / norm**2 == pytest.approx(problem.stable_rank, rel=TOLERANCE)
    moved = np.linalg.norm(matrix - matrix_of(problem, problem.kernel)) ** 2
    assert result.evaluation.objective == pytest.approx(moved, rel=1e-10)
    assert 0 <= result.bound.objective <= result.evaluation.objective
    assert result.bound.verify(problem) == pytest.approx(result.bound.objective, abs=1e-12 * problem.squared_norm)
    assert srnc.bound(problem).objective == pytest.approx(result.bound.objective, rel=1e-6)
    assert result.gradient_norm < 1e-4  # a square root of what is left of the norm
    assert "proved to" in result.message


@slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("shape", "size", "layer"), some(LAYERS, keep=3))
def test_no_random_start_is_better_and_no_bound_above_it(shape, size, layer, seed):
    for fraction in (0.5, 0.7, 0.9, 0.97):
        problem = problem_of(shape, size, layer, fraction, seed)
        result, best = srnc.solve(problem), least_of_many(problem, 30)
        if result.message.startswith("no kernel"):
            assert best == np.inf
            continue
        assert result.evaluation.violation < TOLERANCE
        assert result.evaluation.objective <= best * (1 + 1e-7)
        assert result.bound.objective <= result.evaluation.objective


def on_the_sphere(count):
    """Unit vectors with three entries, on a grid of angles."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, 2 * count), indexing="ij")
    z = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    return z.reshape(-1, 3)


def brute_force(problem, z):
    """The least squared distance to a point of the sphere with a norm that is large enough, and the grid's error."""
    order = np.argsort(np.sum((z - problem.direction.ravel()) ** 2, axis=1))
    for part in np.array_split(order, 200):
        reach = problem.operator.row_gains(z[part], NUMPY) >= problem.target_gain
        if np.any(reach):
            return float(np.sum((z[part[np.argmax(reach)]] - problem.direction.ravel()) ** 2))
    return np.inf


@pytest.mark.parametrize(
    ("n", "fraction", "mode"),
    some(
        [
            (n, fraction, mode)
            for n in (8, 16)
            for fraction in (0.7, 0.85, 0.95)
            for mode in ("zeros", "circular", "reflect", "replicate")
        ],
        4,
    ),
)
def test_no_bound_is_above_brute_force(n, fraction, mode):
    """Kernels with three entries, all over the sphere: the bound lies below, the result at the least point."""
    z = on_the_sphere(120)
    for seed in range(2):
        operator = Padded((1, 1, 3), n, padding=0 if mode == "circular" else 1, padding_mode=mode)
        problem = srnc.partway(np.random.default_rng(seed).standard_normal((1, 1, 3)), operator, fraction)
        least = brute_force(problem, z)
        result = srnc.solve(problem)
        if result.message.startswith("no kernel"):
            assert least == np.inf
            continue
        found = np.linalg.norm(problem.to_sphere(result.kernel).ravel() - problem.direction.ravel())
        assert result.bound.objective <= problem.objective_at(least)
        assert found <= np.sqrt(least) + 1e-9
        assert found >= np.sqrt(least) - 4 * np.pi / 120  # a grid point is that near, and its gain may be too small


def test_the_bound_of_zeros_sharpens_as_the_input_grows():
    """Measured: a few percent at 32 points, where the padding hardly matters."""
    kernel = np.random.default_rng(2).standard_normal((2, 2, 3))
    ratios = []
    for n in (8, 32):
        result = srnc.solve(srnc.SRNProblem(kernel, n, stable_rank_fraction=0.8, padding=1, padding_mode="zeros"))
        assert result.bound.kind == "supremum"
        ratios.append(result.bound.objective / result.evaluation.objective)
    assert ratios[0] < ratios[1]
    assert ratios[1] > 0.9


def test_the_certificate_has_the_grid_that_it_is_of():
    problem = problem_of((2, 2, 3), 32, {"padding": 1, "padding_mode": "zeros"}, 0.8, 2)
    result = srnc.solve(problem)
    bound = srnc.Result.from_json(result.to_json()).bound
    assert bound is not None
    assert bound.kind == "supremum"
    assert bound.verify(problem) == pytest.approx(result.bound.objective, rel=1e-12)
    finer = replace(bound, certificate={**bound.certificate, "input_size": 2 * bound.certificate["input_size"]})
    assert 0 <= finer.verify(problem) <= result.evaluation.objective  # of whatever grid, it is a bound
    for wrong in ({}, {**bound.certificate, "input_size": np.array([64, 64])}):
        with pytest.raises(ValueError, match="problem: the certificate is not of this problem"):
            replace(bound, certificate=wrong).verify(problem)
    other = problem_of((2, 2, 3), 32, {"padding": 1, "padding_mode": "reflect"}, 0.7, 3)
    with pytest.raises(ValueError, match="is not contained in that of a circular layer"):
        bound.verify(other)


def test_a_circular_layer_written_as_a_padded_one_has_the_same_solution():
    kernel = np.random.default_rng(3).standard_normal((2, 2, 3))
    circular = srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.8)
    operator = Padded(kernel.shape, 8, padding=1, padding_mode="circular")
    padded_ = srnc.SRNProblem(kernel, operator, stable_rank=circular.stable_rank)
    assert padded_.squared_norm == pytest.approx(circular.squared_norm, rel=1e-13)
    exact, found = srnc.solve(circular), srnc.solve(padded_)
    assert found.evaluation.objective == pytest.approx(exact.evaluation.objective, rel=1e-9)


def test_any_operator_is_solved():
    """One that is given by its matrices has a solution by the same alternation, and the Lemma as a bound."""
    rng = np.random.default_rng(4)
    operator = Dense(rng.standard_normal((2, 3, 4, 5)))
    kernel = rng.standard_normal((2, 3))
    own = srnc.SRNProblem(kernel, operator, stable_rank_fraction=1.0).kernel_stable_rank
    problem = srnc.SRNProblem(kernel, operator, stable_rank=0.9 * own)
    result = srnc.solve(problem)
    assert result.evaluation.violation < TOLERANCE
    other = srnc.solve(problem, srnc.solvers.MultiStart(n_starts=10), rng=0)
    assert result.evaluation.objective <= other.restored.objective * (1 + 1e-6)
    assert result.bound.kind == "norm"


@slow
def test_large_layers_are_solved_by_lanczos(monkeypatch):
    """As if this layer were too large to decompose: the same solution, and a norm that is right."""
    problem = problem_of((3, 2, 3), 16, {"padding": 1, "padding_mode": "zeros"}, 0.8, 1)
    decomposed = srnc.solve(problem)
    with monkeypatch.context() as patch:
        patch.setattr(padded, "_DECOMPOSED", 0)
        result = srnc.solve(problem)
    assert result.evaluation.objective == pytest.approx(decomposed.evaluation.objective, rel=1e-9)
    assert np.linalg.norm(matrix_of(problem, result.kernel), 2) == pytest.approx(problem.spectral_norm, rel=TOLERANCE)


def test_an_invariant_subspace_is_left(monkeypatch):
    """Taps two apart keep even and odd entries apart, without rounding; the top pair is even, by a little.

    Steps that begin with odd maps never see it, the last check does.
    """
    monkeypatch.setattr(padded, "_DECOMPOSED", 0)
    monkeypatch.setattr(brackets, "_RANDOM", 0.0)
    kernel = np.array([[[0.0, 1.0, -1.9, 1.0, 0.0]]])
    layer = {"padding": 4, "padding_mode": "zeros", "dilation": 2}
    problem = srnc.SRNProblem(kernel, 199, stable_rank_fraction=0.9, **layer)
    alternation = general.Alternation(
        problem.operator, problem.direction, np.sqrt(problem.target_gain), lambda: True, lambda *_: None
    )
    wave = np.zeros(199)  # the shortest one of the 99 odd entries; of the 100 even ones there is a shorter one
    wave[1::2] = np.sin(np.pi * 99 / 100 * np.arange(1, 100))
    atom = problem.operator.kernel(problem.operator.gradient(-wave, wave)) / np.sum(wave**2)
    stuck = alternation._alternate(DominantAtom(atom, wave), 200)
    assert stuck.excess <= 1e-12  # it believes to have ended
    assert problem.gain(stuck.z) > problem.target_gain * (1 + 1e-6)  # and has not
    ended = alternation._followed(stuck)
    assert problem.gain(ended.z) == pytest.approx(problem.target_gain, rel=1e-12)


def test_free_taps_stay_as_they_are():
    kernel = np.random.default_rng(5).standard_normal((2, 2, 3, 3))
    layer = {"padding": (3, 1), "padding_mode": "zeros", "dilation": (4, 1)}
    problem = srnc.SRNProblem(kernel, (3, 5), stable_rank_fraction=0.9, **layer)
    free = np.isin(np.arange(3), [0, 2])  # of the first axis: they meet nothing but zeros
    result = srnc.solve(problem)
    np.testing.assert_array_equal(result.kernel[:, :, free], kernel[:, :, free])
    assert result.evaluation.violation < TOLERANCE
    assert problem.restore(kernel).kernel[:, :, free] == pytest.approx(kernel[:, :, free], abs=0)
    with pytest.raises(ValueError, match="trust-regions does not support this problem: some taps meet no entry"):
        srnc.solve(problem, "trust-regions")
    with pytest.raises(ValueError, match="kernel: its entries at taps that meet the input are all zero"):
        srnc.SRNProblem(np.where(free[:, None], kernel, 0.0), (3, 5), stable_rank=1.0, **layer)


def test_a_target_that_no_kernel_has():
    """The least stable rank is only known to be above a bound: the result says what was found."""
    kernel = np.random.default_rng(6).standard_normal((1, 1, 3))
    operator = Padded(kernel.shape, 12, padding=1, padding_mode="reflect")
    problem = srnc.SRNProblem(kernel, operator, stable_rank=1.001 * operator.stable_rank_range[0])
    result = srnc.solve(problem)
    assert result.status is srnc.Status.STALLED
    assert result.message.startswith("no kernel of this stable rank was found, the least found is 4.22")


def test_a_budget_of_time_ends_the_search():
    problem = problem_of((4, 3, 3, 3), 7, {"padding": 1, "padding_mode": "zeros"}, 0.5, 2)
    result = srnc.solve(problem, budget=srnc.Budget(max_time=1e-3))
    assert result.status is srnc.Status.LIMIT
    assert "the budget of 0.001 s is used up" in result.message


def test_layers_that_have_no_frequencies_say_so():
    problem = problem_of((2, 2, 3), 6, {"padding": 1, "padding_mode": "zeros"}, 0.8, 3)
    with pytest.raises(TypeError, match="has no frequencies, expected a Circular"):
        srnc.sensitivity(problem, srnc.solve(problem))
    with pytest.raises(TypeError, match="has no frequencies, expected a Circular"):
        srnc.solve_path(problem, fractions=[0.9])
    with pytest.raises(ValueError, match="srn-c does not support this problem: .* circular padding"):
        srnc.solve(problem, "srn-c")


@pytest.mark.parametrize("solver", some(["slsqp", "augmented-lagrangian", "subgradient", "trust-regions"]))
def test_other_solvers_take_them(solver):
    problem = problem_of((2, 2, 3), 6, {"padding": 1, "padding_mode": "zeros"}, 0.8, 4)
    exact, result = srnc.solve(problem), srnc.solve(problem, solver, rng=0)
    assert result.restored.objective >= exact.evaluation.objective * (1 - 1e-6)
