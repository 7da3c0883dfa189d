import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.operators import atoms

SHAPES = [((4,), (9,)), ((3, 3), (5, 6)), ((2, 3, 3), (8,)), ((3, 4), ()), ((2, 2, 2, 2), (4, 3)), ((3, 1, 2), (5,))]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_quantities_are_those_of_the_dense_operator(shape, size, dense, random_problem):
    problem = random_problem(shape, size)
    matrix = dense(problem.kernel, size)
    x = np.random.default_rng(3).standard_normal(shape)
    other = dense(x, size)
    norm = np.linalg.norm(other, 2)
    found = problem.evaluate(x)
    # Rounding of sums of a few hundred products.
    assert problem.spectral_norm == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)
    assert problem.squared_norm == pytest.approx(np.linalg.norm(matrix) ** 2, rel=1e-12)
    assert found.objective == pytest.approx(np.linalg.norm(other - matrix) ** 2, rel=1e-12)
    assert found.stable_rank == pytest.approx(np.linalg.norm(other) ** 2 / norm**2, rel=1e-12)
    assert found.spectral_norm == pytest.approx(norm, rel=1e-12)
    assert found.stable_rank_error == pytest.approx(abs(found.stable_rank / problem.stable_rank - 1))
    assert found.spectral_norm_error == pytest.approx(abs(norm / problem.spectral_norm - 1))
    assert found.relative_distance == pytest.approx(np.linalg.norm(x - problem.kernel) / np.linalg.norm(problem.kernel))
    assert not found.feasible


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_the_ends_of_the_feasible_range_are_attained_and_no_kernel_lies_beyond(shape, size):
    rng = np.random.default_rng(0)
    low, high = srnc.SRNProblem(rng.standard_normal(shape), size, stable_rank_fraction=1.0).feasible_range
    for _ in range(50):
        assert low - 1e-9 <= srnc.stable_rank(rng.standard_normal(shape), size) <= high + 1e-9
    assert srnc.stable_rank(np.ones(shape), size) == pytest.approx(low, rel=1e-12)
    channels = shape[:2] if len(shape) == len(size) + 2 else (1, 1)
    delta = np.zeros((*channels, *shape[len(shape) - len(size) :]))
    delta[(slice(None), slice(None), *(0,) * len(size))] = np.eye(*channels)
    assert srnc.stable_rank(delta.reshape(shape), size) == pytest.approx(high, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((4, 1, 3), (8,), {"groups": 4}),
        ((4, 2, 3), (8,), {"groups": 2, "stride": 2}),
        ((2, 2, 5), (9,), {"stride": 3}),
        ((5, 1, 2), (8,), {"stride": 4}),
        ((2, 3, 3), (9,), {"dilation": 2}),
        ((3, 3), (6, 4), {"stride": 2}),
    ],
)
def test_the_feasible_range_with_groups_and_strides(shape, size, layout, dense):
    low, high = srnc.SRNProblem(np.ones(shape), size, stable_rank_fraction=1.0, **layout).feasible_range
    geometry = srnc.Geometry.of(shape, size, **layout)
    largest = int(np.argmax(geometry.taps_per_phase))
    lowest = np.zeros((*geometry.channels, geometry.n_taps))
    lowest[0, 0] = geometry.phase_of_tap == largest  # constant over the taps of the fullest phase
    highest = atoms.nearest_delta(np.random.default_rng(0).standard_normal(shape), geometry)
    rng = np.random.default_rng(1)
    for kernel, expected in [(lowest.reshape(shape), low), (highest, high), (rng.standard_normal(shape), None)]:
        s = np.linalg.svd(dense(kernel, size, **layout), compute_uv=False)
        stable_rank = np.sum(s**2) / s[0] ** 2
        assert low * (1 - 1e-12) <= stable_rank <= high * (1 + 1e-12)
        if expected is not None:
            assert stable_rank == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_layouts_and_precision_are_saved_too(tmp_path, suffix):
    kernel = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    layout = {"groups": 4, "stride": (2, 1), "dilation": 2}
    problem = srnc.SRNProblem(kernel, (8, 7), stable_rank_fraction=0.9, **layout)
    problem.save(tmp_path / f"problem{suffix}")
    again = srnc.SRNProblem.load(tmp_path / f"problem{suffix}")
    assert (again.geometry, again.dtype, again.stable_rank) == (problem.geometry, problem.dtype, problem.stable_rank)
    assert np.array_equal(again.kernel, problem.kernel)
    pickled = pickle.loads(pickle.dumps(problem))
    assert srnc.solve(pickled).evaluation.objective == srnc.solve(problem).evaluation.objective


def test_three_ways_to_name_a_target():
    kernel = np.random.default_rng(0).standard_normal((2, 3, 3))
    own = float(srnc.stable_rank(kernel, 16))
    assert srnc.SRNProblem(kernel, 16, stable_rank=9.0).stable_rank == 9.0
    assert srnc.SRNProblem(kernel, 16, relative_stable_rank=0.25).stable_rank == pytest.approx(0.25 * 2 * 16)
    assert srnc.SRNProblem(kernel, 16, stable_rank_fraction=0.9).stable_rank == pytest.approx(0.9 * own)
    assert srnc.SRNProblem(kernel, 16, stable_rank_fraction=1).regime == "none"


@pytest.mark.parametrize("targets", [{}, {"stable_rank": 30.0, "stable_rank_fraction": 0.5}])
def test_exactly_one_target(targets):
    with pytest.raises(ValueError, match="exactly one of stable_rank, relative_stable_rank and stable_rank_fraction"):
        srnc.SRNProblem([1, 2, 3], 64, **targets)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ({"stable_rank": 21.0}, "expected 21.333333333333332 <= stable_rank <= 64.0"),
        ({"stable_rank": 65.0}, "expected 21.333333333333332 <= stable_rank <= 64.0"),
        ({"stable_rank": -1.0}, "expected 21.333333333333332 <= stable_rank <= 64.0"),
        ({"stable_rank": float("nan")}, "expected 21.333333333333332 <= stable_rank <= 64.0"),
        ({"stable_rank": float("inf")}, "expected 21.333333333333332 <= stable_rank <= 64.0"),
        ({"relative_stable_rank": 0.2}, "expected 0.3333333333333333 <= relative_stable_rank <= 1.0"),
        ({"stable_rank_fraction": 0.1}, "expected 0.3333333333333333 <= stable_rank_fraction <= 1.0"),
        ({"stable_rank_fraction": 1.5}, "expected 0.3333333333333333 <= stable_rank_fraction <= 1.0"),
    ],
)
def test_infeasible_targets_are_told_the_feasible_range(targets, expected):
    with pytest.raises(ValueError, match=expected.replace("(", r"\(")):
        srnc.SRNProblem([1, 0, 0], 64, **targets)


@pytest.mark.parametrize("target", ["32", [32], True, 1j])
def test_a_target_is_a_number(target):
    with pytest.raises(TypeError, match="stable_rank: .* expected a real number"):
        srnc.SRNProblem([1, 0, 0], 64, stable_rank=target)


def test_raising_by_a_relative_target_warns():
    kernel = np.random.default_rng(0).standard_normal((3, 3))
    with pytest.warns(UserWarning, match="raises the stable rank"):
        problem = srnc.SRNProblem(kernel, 16, relative_stable_rank=0.9)
    assert problem.regime == "raise"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert srnc.SRNProblem(kernel, 16, relative_stable_rank=0.15).regime == "reduce"
        assert srnc.SRNProblem(kernel, 16, stable_rank=200.0).regime == "raise"


def test_bad_kernels_are_refused_before_anything_else():
    with pytest.raises(ValueError, match="zero"):
        srnc.SRNProblem(np.zeros(3), 64, stable_rank=32)
    with pytest.raises(TypeError, match="complex"):
        srnc.SRNProblem(np.ones(3) + 1j, 64, stable_rank=32)
    with pytest.raises(ValueError, match="more than the input"):
        srnc.SRNProblem(np.ones(3), 2, stable_rank=1)


def test_the_kernel_is_a_copy_that_cannot_be_written():
    kernel = np.array([1.0, 2.0, 3.0])
    problem = srnc.SRNProblem(kernel, 8, stable_rank_fraction=1.0)
    kernel[0] = 7
    assert problem.kernel[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        problem.kernel[0] = 7


def test_evaluate_checks_its_argument(paper):
    problem = paper(32)
    with pytest.raises(ValueError, match="expected the kernel's shape"):
        problem.evaluate(np.ones(4))
    with pytest.raises(ValueError, match="x: some entries"):
        problem.evaluate([1, np.nan, 0])
    with pytest.raises(ValueError, match="x: all entries are zero"):
        problem.evaluate(np.zeros(3))


@pytest.mark.parametrize("exponent", [-150, -20, 0, 20, 150])
def test_nothing_but_the_unit_depends_on_the_scale(exponent):
    kernel, x = np.random.default_rng(0).standard_normal((2, 2, 2, 3))
    scale = 10.0**exponent
    one = srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.8)
    other = srnc.SRNProblem(kernel * scale, 8, stable_rank_fraction=0.8)
    assert other.stable_rank == pytest.approx(one.stable_rank, rel=1e-13)
    a, b = one.evaluate(x), other.evaluate(x * scale)
    assert b.stable_rank == pytest.approx(a.stable_rank, rel=1e-13)
    assert b.relative_distance == pytest.approx(a.relative_distance, rel=1e-13)
    assert b.objective / other.squared_norm == pytest.approx(a.objective / one.squared_norm, rel=1e-12)


RESTORED: list[bool] = []


# -- restoring ----------------------------------------------------------------------------------------------


@given(st.sampled_from(SHAPES), st.integers(0, 2**31), st.floats(0.02, 0.98), st.sampled_from(["reduce", "raise"]))
def test_restored_kernels_are_feasible_and_say_how_far_they_moved(case, seed, fraction, regime):
    shape, size = case
    rng = np.random.default_rng(seed)
    kernel, x = rng.standard_normal(shape), rng.standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    end = own.feasible_range[0 if regime == "reduce" else 1]
    problem = srnc.SRNProblem(kernel, size, stable_rank=end + fraction * (own.kernel_stable_rank - end))
    restored = problem.restore(x)
    RESTORED.append(restored.success)
    if not restored.success:
        assert "cannot be restored" in restored.message
        return
    # Bisection to the last bit; what remains is the rounding of the singular values.
    assert problem.evaluate(restored).violation < 1e-12
    moved = np.linalg.norm(problem.to_sphere(restored.kernel) - problem.to_sphere(x))
    assert restored.distance == pytest.approx(moved, abs=1e-12)


def test_most_kernels_can_be_restored():
    test_restored_kernels_are_feasible_and_say_how_far_they_moved()
    assert np.mean(RESTORED) > 0.7  # the rest have a dominant atom that cannot reach the target


@pytest.mark.parametrize(
    ("shape", "size", "end"),
    [
        ((5,), (16,), 0),
        ((5,), (16,), 1),
        ((2, 3, 3), (9,), 0),
        ((3, 3), (8, 8), 0),
        pytest.param((2, 3, 3), (9,), 1, marks=slow),
        pytest.param((3, 3), (8, 8), 1, marks=slow),
    ],
)
def test_restoring_is_local(shape, size, end):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    target = 0.5 * (own.kernel_stable_rank + own.feasible_range[end])
    problem = srnc.SRNProblem(kernel, size, stable_rank=target)
    best = srnc.solve(problem).kernel
    for nudge in (1e-3, 1e-6, 1e-9):
        for _ in range(10):
            nudged = best + nudge * np.linalg.norm(best) * rng.standard_normal(best.shape)
            assert problem.restore(nudged).distance < 30 * nudge


def test_a_feasible_kernel_stays(paper):
    problem = paper(32)
    best = srnc.solve(problem).kernel
    assert problem.restore(best).distance < 1e-12
    np.testing.assert_allclose(problem.restore(3 * best).kernel, best, rtol=1e-12)  # only its norm was wrong


def test_the_answer_of_the_exact_solver_is_always_restored():
    kernel = np.array([-1.29, 0.0, 1.29])
    for fraction in (1 - 1e-13, 1 - 1e-12, 1 - 1e-11, 1 - 1e-6):
        assert srnc.solve(srnc.partway(kernel, 5, fraction)).restored is not None


def test_what_cannot_be_restored_says_why():
    # The dominant atom of this kernel has too small a norm for the target, and nothing rises on the way to it.
    kernel = np.array([1.0, 0.2, 0.1])
    problem = srnc.SRNProblem(kernel, 64, stable_rank=64 / 3 * 1.0001)
    x = np.array([-1.0, 0.0, 1.0])
    restored = problem.restore(x)
    assert not restored.success
    assert "cannot be restored" in restored.message
    assert restored.distance == 0
    np.testing.assert_allclose(problem.to_sphere(restored.kernel), x / np.sqrt(2))


@pytest.mark.parametrize(
    ("target", "clipped", "expected"),
    [
        ({"stable_rank": 3.0}, True, "low"),
        ({"stable_rank": 1e9}, True, "high"),
        ({"stable_rank": -np.inf}, True, "low"),
        ({"relative_stable_rank": 0.01}, True, "low"),
        ({"stable_rank_fraction": 0.01}, True, "low"),
        ({"stable_rank_fraction": 1.5}, True, "own"),
        ({"stable_rank_fraction": 1.0}, False, "own"),
        ({"stable_rank": 64.0 * (1 + 1e-13)}, False, "high"),
        ({"stable_rank": 64 / 9 * (1 - 1e-13)}, False, "low"),
    ],
)
def test_targets_that_are_not_feasible_can_be_clipped(target, clipped, expected):
    kernel = np.random.default_rng(0).standard_normal((3, 3))
    problem = srnc.SRNProblem(kernel, 8, clip=True, **target)
    own = float(srnc.stable_rank(kernel, 8))
    ends = {"low": 64 / 9, "high": 64.0, "own": own}
    assert problem.stable_rank == pytest.approx(ends[expected], rel=1e-14)
    assert problem.clipped is clipped
    assert ("clipped" in repr(problem)) is clipped
    assert not srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.9, clip=True).clipped
    assert ("clipped" in problem.describe()) is clipped
    with pytest.raises(ValueError, match="stable_rank: nan given, which cannot be clipped, expected a number"):
        srnc.SRNProblem(kernel, 8, stable_rank=np.nan, clip=True)
    if clipped:
        with pytest.raises(ValueError, match="or clip=True"):
            srnc.SRNProblem(kernel, 8, **target)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (srnc.SRNProblem, ([1.0, 2.0], 8)),
        (srnc.SeparableProblem, (np.eye(2), 8)),
        (srnc.solve_batch, (np.ones((2, 2)), 8)),
        (srnc.partway, ([1.0, 2.0], 8, 0.5)),
        (srnc.stable_rank, ([1.0, 2.0], 8)),
        (srnc.singular_values, ([1.0, 2.0], 8)),
    ],
)
def test_a_mistyped_argument_is_blamed_on_the_function_that_was_called(function, arguments):
    with pytest.raises(TypeError, match="unexpected keyword argument 'srank'") as caught:
        function(*arguments, srank=3)
    assert function.__name__ in str(caught.value)


@pytest.mark.parametrize("start", [[1.0], [1.0, np.nan, 1.0], [1j, 0, 0], "start", np.zeros(3)])
def test_a_wrong_start_is_called_start(start, paper):
    for problem in (paper(32), srnc.StackProblem([paper(32)])):
        wrong = [start] if isinstance(problem, srnc.StackProblem) and not isinstance(start, str) else start
        with pytest.raises((TypeError, ValueError), match="^start: "):
            srnc.solve(problem, "gradient-descent", start=wrong)
    with pytest.raises(ValueError, match="^start: a kernel given that is not separable"):
        srnc.solve(srnc.SeparableProblem(np.ones((2, 2)), 8, stable_rank_fraction=1.0), "slsqp", start=np.eye(2))


def test_fractions_have_one_range():
    kernel = np.random.default_rng(0).standard_normal((3, 3))
    texts = set()
    for fraction in (0.01, 1.2, -1, np.nan):
        with pytest.raises(ValueError, match="stable_rank_fraction") as caught:
            srnc.SRNProblem(kernel, 8, stable_rank_fraction=fraction)
        texts.add(str(caught.value).partition(" given, ")[2])
    assert len(texts) == 1
    assert "<= stable_rank_fraction <= 1.0" in texts.pop()
