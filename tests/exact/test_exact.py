"""The explicit solution against closed forms, dual bounds and many local searches."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from tiers import slow, some, times

import srnc_manifold as srnc

# A start may violate the constraints by 1e-8 and undercut the optimum by that times a multiplier.
AGAINST_STARTS = 1e-7


def solved(problem):
    result = srnc.solve(problem)
    assert result.status is srnc.Status.CONVERGED
    assert result.evaluation.violation < 1e-9
    for other in result.alternatives:
        scores = problem.evaluate(other)
        assert scores.violation < 1e-9
        assert scores.objective == pytest.approx(result.evaluation.objective, abs=1e-9 * problem.squared_norm)
    return result


def assert_not_beaten(problem, n_starts=60, seed=0):
    ours = solved(problem).evaluation.objective
    searches = srnc.solvers.MultiStart("SLSQP", n_starts=times(n_starts // 3, n_starts))
    best = srnc.solve(problem, searches, rng=seed)
    assert best.evaluation.feasible
    assert best.restored is not None
    assert ours <= best.restored.objective + AGAINST_STARTS * problem.squared_norm
    return ours, best.restored.objective


def dual_bound(problem):
    """A lower bound on the objective by weak duality, one frequency at a time, knowing nothing of the primal method.

    ``⟨a, z⟩ <= ½ aᵀ(ηI − θB)⁻¹a + ½(η − θc)`` for unit ``z`` with ``zᵀBz >= c`` and any ``θ >= 0``, ``η > θ λ₁(B)``.
    """
    a, c = problem.direction.ravel(), problem.target_gain
    best = -np.inf
    for row in problem.geometry.phases:
        b = np.outer(row.real, row.real) + np.outer(row.imag, row.imag)
        eigenvalues, vectors = np.linalg.eigh(b)
        if eigenvalues[-1] < c * (1 - 1e-12):
            continue  # its cap is empty
        coordinates = (vectors.T @ a) ** 2
        eigenvalues, coordinates = eigenvalues[coordinates > 0], coordinates[coordinates > 0]
        largest = 0.5 * (len(a) + abs(np.sum(row**2)))

        def bound(w, eigenvalues=eigenvalues, coordinates=coordinates, largest=largest):
            theta, gap = np.exp(np.clip(w, -80, 80))
            slack = theta * np.maximum(largest - eigenvalues, 0.0) + gap  # ηI − θB, positive but for rounding
            return 0.5 * (np.sum(coordinates / slack) + theta * largest + gap - theta * c)

        starts = [(s, t) for s in (-6.0, 0.0) for t in (-6.0, 0.0)]
        options = {"xatol": 1e-10, "fatol": 1e-15, "maxiter": 4000, "maxfev": 4000}
        found = [optimize.minimize(bound, w, method="Nelder-Mead", options=options).fun for w in starts]
        best = max(best, min(found))
    a_norm = np.linalg.norm(problem.kernel)
    return problem.geometry.n_points * (problem.radius**2 + a_norm**2 - 2 * problem.radius * a_norm * best)


@pytest.mark.parametrize(("target", "objective"), [(32, 32 / 3), (128 / 3, 3.660221338747946)])
def test_the_paper_s_instance(paper, target, objective):
    result = solved(paper(target))
    assert result.evaluation.objective == pytest.approx(objective, abs=1e-9)
    kappa = np.sqrt(3 * target / 128 - 0.5)
    minimizers = [result.kernel, *result.alternatives]
    expected = np.array([1 + 2 * kappa, 1 - kappa, 1 - kappa]) / 3  # DC, and Nyquist with every other sign turned
    for signs in ([1, 1, 1], [1, -1, 1]):
        assert any(np.allclose(x, expected * signs, atol=1e-12) for x in minimizers)
    assert len(minimizers) == 2


def test_the_whole_range_of_the_paper_s_instance(paper):
    for target in np.linspace(64 / 3, 64, 23):
        problem = paper(target)
        kappa = np.sqrt(max(0.0, 3 * target / 128 - 0.5))
        expected = 64 * np.sum((np.array([1 + 2 * kappa, 1 - kappa, 1 - kappa]) / 3 - [1, 0, 0]) ** 2)
        assert solved(problem).evaluation.objective == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 2**31), st.floats(0.01, 0.99))
def test_no_gap_to_the_dual_bound(seed, fraction):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal(int(rng.integers(2, 6)))
    if rng.random() < 0.5:
        kernel = kernel + rng.choice([-1, 1]) * kernel[::-1]
    if not np.any(kernel):
        return
    problem = srnc.partway(kernel, int(rng.integers(len(kernel), 13)), fraction)
    if problem.regime != "reduce":
        return
    objective = solved(problem).evaluation.objective
    # Weak duality allows no excess beyond rounding; the S-lemma no gap beyond the accuracy of the dual search.
    bound = dual_bound(problem)
    assert bound <= objective + 1e-9 * problem.squared_norm
    assert objective - bound <= 1e-6 * problem.squared_norm


SHAPES = [((3,), (5,)), ((5,), (64,)), ((8,), (21,)), ((3, 3), (16, 16)), ((2, 4), (7, 9))]


@pytest.mark.parametrize(
    ("shape", "size", "symmetry", "fraction"),
    some([(*shape, symmetry, fraction) for shape in SHAPES for symmetry in (0, 1, -1) for fraction in (0.15, 0.8)], 2),
)
def test_never_beaten_by_many_local_searches(shape, size, symmetry, fraction):
    kernel = np.random.default_rng(7).standard_normal(shape)
    kernel = kernel + symmetry * kernel[tuple(slice(None, None, -1) for _ in shape)]
    assert_not_beaten(srnc.partway(kernel, size, fraction), n_starts=30)


def test_the_symmetric_saddle_of_the_theory():
    kernel = np.array([1.37195, -1.41225, -1.41225, 1.37195])
    problem = srnc.SRNProblem(kernel, 5, stable_rank=5 / 1.4985)
    result = solved(problem)
    assert result.evaluation.objective == pytest.approx(3.620, abs=5e-4)  # to the digits of the theory
    assert result.evaluation.objective < 5.191
    assert len(result.alternatives) == 1
    np.testing.assert_allclose(result.alternatives[0], result.kernel[::-1], atol=1e-9)  # its mirror image
    assert_not_beaten(problem)


SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
LAPLACIAN = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])


FILTERS = {"sobel": SOBEL, "laplacian": LAPLACIAN, "binomial": np.outer([1, 2, 1], [1, 2, 1]).astype(float)}


@pytest.mark.parametrize(
    ("name", "size", "fraction"),
    [
        ("laplacian", (7, 9), 0.5),
        *(
            pytest.param(name, size, fraction, marks=slow)
            for name in FILTERS
            for size in ((16, 16), (7, 9))
            for fraction in (0.1, 0.5, 0.9)
        ),
    ],
)
def test_symmetric_filters(name, size, fraction):
    assert_not_beaten(srnc.partway(FILTERS[name], size, fraction))


@pytest.mark.parametrize("frequency", some(range(1, 8)))
def test_the_level_equal_to_an_eigenvalue(frequency):
    # λ₁ = (q + |S_l|)/2 at frequency l: its cap is then a single axis, while DC's is still wide.
    kernel = np.array([1.0, 0.3, -0.2])
    row = srnc.Geometry.of((3,), 16).phases[frequency]
    level = (3 + abs(np.sum(row**2))) / 2
    if 16 / level < srnc.stable_rank(kernel, 16):
        assert_not_beaten(srnc.SRNProblem(kernel, 16, stable_rank=16 / level), n_starts=15)


@pytest.mark.parametrize(("seed", "fraction"), some([(s, f) for s in range(5) for f in (0.3, 0.9)]))
def test_equal_eigenvalues(seed, fraction):
    # Four taps on eight points: S_l = 0 at l = 1, where B_l has a double eigenvalue and no preferred axis.
    geometry = srnc.Geometry.of((4,), 8)
    assert np.any(np.abs(np.sum(geometry.phases**2, axis=1)) < 1e-12)
    kernel = np.random.default_rng(seed).standard_normal(4)
    assert_not_beaten(srnc.partway(kernel, 8, fraction), n_starts=15)


def test_equal_eigenvalues_and_a_kernel_without_part_there():
    # Orthogonal to that plane: a circle of minimizers, of which a pair is listed.
    kernel = np.array([1.0, -1.0, 1.0, -1.0]) + np.array([1.0, 1.0, 1.0, 1.0])
    assert_not_beaten(srnc.partway(kernel, 8, 0.5), n_starts=15)


@pytest.mark.parametrize(
    ("shape", "size"), [((3,), (64,)), ((3,), (63,)), ((4,), (4,)), ((3, 3), (8, 7)), ((2,), (37,))]
)
def test_both_ends_of_the_range(shape, size):
    kernel = np.random.default_rng(0).standard_normal(shape)
    lowest = srnc.partway(kernel, size, 0.0)
    result = solved(lowest)
    # Constant over the taps, up to sign (DC or Nyquist): to the root of an ulp, by which the target as it is stored may
    # exceed the least one.
    assert np.ptp(np.abs(result.kernel)) < 3e-8 * np.max(np.abs(result.kernel))
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    unchanged = solved(own)
    assert own.regime == "none"
    np.testing.assert_allclose(unchanged.kernel, kernel, rtol=1e-14)
    assert unchanged.evaluation.objective == pytest.approx(0, abs=1e-25)


def test_close_to_its_own_stable_rank_the_kernel_hardly_moves():
    kernel = np.array([1.0, 0.5, 0.2])  # low-pass: its largest singular value is DC's and not a local maximum
    moved = [
        solved(srnc.SRNProblem(kernel, 64, stable_rank_fraction=1 - t)).evaluation.relative_distance
        for t in (1e-3, 1e-6, 1e-9)
    ]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 1e-8


@pytest.mark.parametrize("size", [8, 63, 64])
@pytest.mark.parametrize("t", [1e-5, 1e-7, 1e-9, 1e-11])
def test_the_right_frequency_is_found_however_small_the_move(size, t):
    # All frequencies of a delta kernel tie; the differences between them are of the size of the move, squared.
    problem = srnc.SRNProblem([1, 0, 0], size, stable_rank=size * (1 - t))
    result = solved(problem)
    kappa_less_one = 0.75 * -t / (0.5 + 0.5 * np.sqrt(1 - 1.5 * t))  # √(1 − 3t/2) − 1, without cancellation
    expected = size * 6 * (kappa_less_one / 3) ** 2
    # The target itself is rounded to 1e-16, which is a relative 1e-16 / t of the move.
    assert result.evaluation.objective == pytest.approx(expected, rel=1e-15 / t + 1e-9)
    assert len(result.alternatives) == (size % 2 == 0)  # Nyquist


def test_the_jump_of_the_difference_filter():
    # (−1, 0, 1) is a local maximum of the gain: any lower stable rank is reached only at another frequency.
    kernel = np.array([-1.0, 0.0, 1.0])
    own = float(srnc.stable_rank(kernel, 64))
    assert own == pytest.approx(32)
    problem = srnc.SRNProblem(kernel, 64, stable_rank=own * (1 - 1e-9))
    result = solved(problem)
    assert result.evaluation.relative_distance > 0.1
    assert_not_beaten(srnc.SRNProblem(kernel, 64, stable_rank=own * (1 - 1e-3)), n_starts=15)


def test_ties_between_frequencies_are_all_listed():
    problem = srnc.SRNProblem([1, 0, 0, 0], 8, stable_rank=3.0)
    result = solved(problem)
    assert len(result.alternatives) == 1
    # A delta kernel in 2-D: the four corners of the frequency plane tie.
    delta = np.zeros((3, 3))
    delta[1, 1] = 1
    assert len(solved(srnc.SRNProblem(delta, (8, 8), stable_rank=20.0)).alternatives) == 3


def test_two_taps_close_to_the_least_feasible_target():
    # (−1, 1) on an odd grid: only DC reaches the target, at (z₁ + z₂)² = c, four points. A solver that violates a
    # constraint by 1e-8 gains 5e-7 of ‖C(a)‖² here, so many local searches are no yardstick, and this is one.
    scale, n, target = 0.09344217, 37, 18.505157965723303
    problem = srnc.SRNProblem([-scale, scale], n, stable_rank=target)
    size, radius = np.sqrt(2) * scale, problem.radius
    expected = n * (radius**2 + size**2 - 2 * radius * size * np.sqrt(1 - problem.target_gain / 2))
    result = solved(problem)
    assert result.evaluation.objective == pytest.approx(expected, rel=1e-12)
    assert len(result.alternatives) == 1


def test_a_single_tap_along_an_axis_and_a_scalar():
    assert_not_beaten(srnc.partway(np.random.default_rng(0).standard_normal((3, 1)), (8, 5), 0.5))
    scalar = srnc.SRNProblem(np.array(-2.0), (), stable_rank=1)
    assert solved(scalar).kernel == -2.0


@pytest.mark.parametrize("exponent", [-150, -30, 30, 150])
def test_the_answer_scales_with_the_kernel(exponent):
    kernel = np.random.default_rng(0).standard_normal((3, 3))
    one = solved(srnc.partway(kernel, 8, 0.4))
    other = solved(srnc.partway(kernel * 10.0**exponent, 8, 0.4))
    np.testing.assert_allclose(other.kernel / 10.0**exponent, one.kernel, rtol=1e-9)


SINGLE = [((3, 1, 3), (8,)), ((1, 4, 3), (9,)), ((2, 1, 2, 2), (4, 5)), ((1, 3, 4), (8,)), ((1, 1, 3), (7,))]


@pytest.mark.parametrize(
    ("shape", "size", "symmetry", "fraction"),
    some([(*shape, symmetry, fraction) for symmetry in (0, 1, -1) for fraction in (0.2, 0.8) for shape in SINGLE], 2),
)
def test_one_input_or_one_output_channel(shape, size, symmetry, fraction):
    kernel = np.random.default_rng(0).standard_normal(shape)
    kernel = kernel + symmetry * np.flip(kernel, axis=tuple(range(2, len(shape))))
    assert_not_beaten(srnc.partway(kernel, size, fraction), n_starts=15)


def test_a_channel_of_one_is_no_channel():
    kernel = np.random.default_rng(0).standard_normal((3, 3))
    alone = solved(srnc.partway(kernel, (8, 8), 0.4)).kernel
    np.testing.assert_allclose(solved(srnc.partway(kernel[None, None], (8, 8), 0.4)).kernel[0, 0], alone, atol=1e-13)


def test_many_taps():
    kernel = np.hanning(128) * np.cos(0.4 * np.arange(128))
    result = solved(srnc.partway(kernel, 256, 0.5))
    assert result.gradient_norm < 1e-7


def test_it_is_stationary(random_problem):
    for seed in range(5):
        assert solved(random_problem((5,), (16,), 0.5, seed)).gradient_norm < 1e-7


@pytest.mark.parametrize("shape", [(3, 5), (6, 4), (4, 4), (2, 9)])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_dense_matrices_have_the_closed_form_of_the_paper(shape, fraction):
    """Formula (3): keep the largest singular value and scale the rest until the stable rank is right."""
    a = np.random.default_rng(sum(shape)).standard_normal(shape)
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    target = 1 + fraction * (np.sum(s**2) / s[0] ** 2 - 1)
    rest = np.sqrt((target - 1) * s[0] ** 2 / np.sum(s[1:] ** 2))
    expected = (u * np.concatenate([s[:1], rest * s[1:]])) @ vh
    result = solved(srnc.SRNProblem(a, (), stable_rank=target))
    # Rounding; at the least stable rank the rest is the square root of that.
    tolerance = 1e-10 if fraction else 1e-6
    np.testing.assert_allclose(result.kernel, expected, atol=tolerance * np.linalg.norm(a))
    assert result.evaluation.objective == pytest.approx((1 - rest) ** 2 * np.sum(s[1:] ** 2), rel=1e-10)
    assert not result.alternatives
    assert result.gap < 1e-10


LAYOUTS = [
    ((3, 1, 3), 7, {"groups": 3}),
    ((4, 1, 3, 3), (6, 8), {"groups": 4, "stride": 2}),
    ((4, 2, 3), 7, {"groups": 2}),
    ((2, 2, 3), 8, {"stride": 2}),
    ((2, 1, 4), 12, {"stride": 3, "dilation": 2}),
    ((4,), 9, {"dilation": 2}),
    ((2, 2, 2), 7, {"dilation": 3}),
    ((4, 2, 2, 3), (4, 6), {"groups": 2, "stride": (1, 3), "dilation": (3, 1)}),
    ((2, 3, 3), 6, {}),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("symmetry", "fraction"), some([(0, 0.4), (1, 0.7), (-1, 0.2)]))
def test_groups_strides_and_dilations(layout, symmetry, fraction):
    shape, size, options = layout
    kernel = np.random.default_rng(5).standard_normal(shape)
    kernel = kernel + symmetry * np.flip(kernel, axis=tuple(range(2, len(shape)) if len(shape) > 2 else range(1)))
    problem = srnc.partway(kernel, size, fraction, **options)
    result = solved(problem)
    assert result.gap <= 1e-8
    ours, compared, rng = result.evaluation.objective, 0, np.random.default_rng(0)
    for _ in range(20):
        noise = rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 0) * np.linalg.norm(result.kernel)
        restored = problem.restore(result.kernel + noise)
        if restored.success:
            compared += 1
            # Feasible to 1e-13, so that no multiplier is worth more.
            assert ours <= problem.evaluate(restored.kernel).objective + 1e-10 * problem.squared_norm
    assert compared >= 10
    best = srnc.solve(problem, srnc.solvers.MultiStart("SLSQP", n_starts=2), rng=0)
    if best.restored is not None:  # SLSQP may end outside where several singular values meet
        assert ours <= best.restored.objective + AGAINST_STARTS * problem.squared_norm


@pytest.mark.parametrize("seconds", [1e-9, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("shape", [(3, 3), (3, 2, 3), (14, 14, 3), (4, 5)])
def test_a_budget_of_time_leaves_a_point_and_a_bound(seconds, shape):
    size = () if shape == (4, 5) else 8
    problem = srnc.partway(np.random.default_rng(0).standard_normal(shape), size, 0.4)
    whole = solved(problem)
    result = srnc.solve(problem, budget=srnc.Budget(max_time=seconds))
    assert result.status in (srnc.Status.LIMIT, srnc.Status.CONVERGED)
    assert_proved_in_part(problem, result, whole)


def assert_proved_in_part(problem, result, whole):
    assert np.all(np.isfinite(result.kernel))
    assert result.bound is not None
    unit = problem.squared_norm
    assert result.bound.verify(problem) == pytest.approx(result.bound.objective, rel=1e-12)  # the same bound again
    assert result.bound.objective <= whole.evaluation.objective + 1e-11 * unit  # rounding
    assert result.restored.objective >= whole.bound.objective - 1e-11 * unit


def test_a_budget_of_evaluations():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((2, 3, 3)), 8, 0.4)
    result = srnc.solve(problem, budget=srnc.Budget(max_evaluations=1))
    assert result.status is srnc.Status.CONVERGED
    assert result.gap <= 1e-8


@pytest.mark.parametrize("shape", [(3, 3), (3, 2, 3), (14, 14, 3)])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_callback_ends_the_run(shape, rows):
    problem = srnc.partway(np.random.default_rng(0).standard_normal(shape), 8, 0.4)
    whole, seen = solved(problem), []

    def callback(row):
        seen.append(row)
        if len(seen) == rows:
            raise StopIteration

    result = srnc.solve(problem, callback=callback)
    assert len(seen) <= rows
    if len(seen) == rows:
        assert result.status is srnc.Status.LIMIT
        assert "callback" in result.message
    assert result.evaluation.objective == pytest.approx(seen[-1]["objective"], rel=1e-9)
    assert result.evaluation.objective >= whole.bound.objective - 1e-7 * problem.squared_norm


def test_the_callback_sees_every_row_of_the_history():
    problem, rows = srnc.partway(np.random.default_rng(1).standard_normal((3, 2, 3)), 8, 0.4), []
    result = srnc.solve(problem, callback=rows.append)
    assert [row["objective"] for row in rows] == list(result.history["objective"])
    assert rows[-1]["objective"] == pytest.approx(result.evaluation.objective, rel=1e-9)


@pytest.mark.parametrize(("shape", "size", "share"), [((3,), 16, 0.3), ((2, 2, 2), 5, 0.2), ((2, 3), (), 0.4)])
def test_raising_is_proved_where_the_relaxation_is_tight(shape, size, share):
    """The solution of the relaxation to the ball lies on the sphere and so solves the problem (proposition 13)."""
    kernel = np.random.default_rng(0).standard_normal(shape)
    own = float(srnc.stable_rank(kernel, size))
    high = srnc.Geometry.of(shape, size).stable_rank_range[1]
    problem = srnc.SRNProblem(kernel, size, stable_rank=own + share * (high - own))
    assert problem.regime == "raise"
    result = srnc.solve(problem)
    assert result.status is srnc.Status.CONVERGED
    assert result.bound.kind == "ball"
    assert result.evaluation.violation < 1e-6  # of a cone program
    assert -1e-6 <= result.gap <= 1e-6
    best = srnc.solve(problem, srnc.solvers.MultiStart("SLSQP", n_starts=8), rng=0)
    # A feasible kernel is no better than the bound, and the best of many starts is it, up to cone accuracy.
    assert best.restored.objective >= result.bound.objective - 1e-9 * problem.squared_norm
    assert best.restored.objective == pytest.approx(result.evaluation.objective, abs=1e-5 * problem.squared_norm)


def test_every_problem_is_supported():
    rng = np.random.default_rng(0)
    for problem in (
        srnc.partway(rng.standard_normal((2, 3, 3)), 8, 0.5),
        srnc.SRNProblem([3.0, 1.0, 1.0], 8, stable_rank=7.9),
        srnc.SRNProblem(rng.standard_normal((4, 1, 3)), 8, stable_rank_fraction=0.9, groups=4, stride=2),
    ):
        assert srnc.solvers.Exact().supports(problem) == (True, "")


def interrupted_solve(problem, monkeypatch, module, name, after):
    """Solve with a keyboard interrupt in the middle: when a function is called for the given time."""
    original, calls = getattr(module, name), []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupt)
        return srnc.solve(problem)


def test_an_interrupt_loses_neither_the_kernel_nor_the_bound(monkeypatch):
    from srnc_manifold.certificates import moments
    from srnc_manifold.exact.reduce import alternation, boxes, shifts

    kernel = np.zeros((2, 2, 5))
    kernel[0, 0], kernel[1, 1] = (-0.4982, 0.2765, 0, -0.2765, 0.4982), (0.1833, -0.2649, 0.294, -0.2649, 0.1833)
    reduce = srnc.SRNProblem(kernel, 7, stable_rank=7 / 3.0609)
    raised = srnc.partway(np.random.default_rng(6).standard_normal(5), 29, 0.9, increase=True)
    assert (reduce.regime, raised.regime) == ("reduce", "raise")
    for problem, module, name, after in [
        (reduce, shifts, "tighten", 1),
        (reduce, alternation, "random_atoms", 1),
        (reduce, boxes, "split", 1),
        (raised, moments, "leaf_bound", 6),
    ]:
        result = interrupted_solve(problem, monkeypatch, module, name, after)
        assert result.status is srnc.Status.LIMIT
        assert result.details["interrupted"]
        assert result.evaluation.feasible
        assert 0 < result.bound.objective <= result.evaluation.objective * (1 + 1e-9)
        assert result.bound.verify(problem) == pytest.approx(result.bound.objective, rel=1e-9)
        assert result.bound.objective > 1.01 * problem.objective_at(0.0)  # better than what is known beforehand


def test_a_callback_that_stops_loses_nothing():
    def stop(_):
        raise StopIteration

    rng = np.random.default_rng(0)
    for problem in (
        srnc.partway(rng.standard_normal(5), 16, 0.5),
        srnc.partway(rng.standard_normal((3, 2, 3)), 8, 0.5),
        srnc.SRNProblem(rng.standard_normal(3), 8, stable_rank=8.0),
    ):
        result = srnc.solve(problem, callback=stop)
        assert result.status is srnc.Status.LIMIT
        assert result.evaluation.feasible
        assert result.bound is not None
        assert result.bound.objective <= result.evaluation.objective * (1 + 1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_mirror_images_of_several_channels_are_listed_too(sign):
    listed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        k = int(rng.integers(2, 6))
        kernel = rng.standard_normal((2, 3, k))
        kernel = kernel + sign * kernel[..., ::-1]
        problem = srnc.partway(kernel, k + int(rng.integers(0, 5)), 0.5)
        if problem.regime != "reduce":
            continue
        result = srnc.solve(problem)
        mirror = sign * result.kernel[..., ::-1]  # feasible, and as near
        minimizers = [result.kernel, *result.alternatives]
        # Tied points may be told apart to 1e-6 of the distance.
        assert any(np.allclose(x, mirror, atol=1e-6 * np.linalg.norm(kernel)) for x in minimizers)
        if not np.allclose(mirror, result.kernel, atol=1e-6):
            listed += 1
            assert result.details["distance_to_tie"] == 0.0
    assert listed >= 2 or sign > 0  # symmetric kernels: the minimizers are their own mirror images


@pytest.mark.parametrize(("shape", "size"), [((4, 4, 3, 3), (8, 8)), ((3, 2, 3), (4,)), ((2, 2, 5), (8,))])
def test_the_least_feasible_target_with_a_stride(shape, size):
    kernel = np.random.default_rng(0).standard_normal(shape)
    low = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0, stride=2).feasible_range[0]
    result = srnc.solve(srnc.SRNProblem(kernel, size, stable_rank=low, stride=2))
    assert result.status is srnc.Status.CONVERGED
    # At the end of the range an ulp of the target is √ulp of the objective.
    assert -1e-7 <= result.gap <= 1e-7


def test_the_bound_of_the_result_is_what_its_certificate_proves():
    for kernel, r in ([1.0, 0, 0], 1 * (1 + 3e-16)), ([1.0, 0, -1.0], 1 + 1e-12), ([1.0, 0.3, -1.0], 1.2):
        problem = srnc.SRNProblem(kernel, 3, stable_rank=r)
        result = srnc.solve(problem)
        assert result.bound.verify(problem) == pytest.approx(result.bound.objective, abs=1e-12 * problem.squared_norm)
        assert result.bound.objective >= srnc.bound(problem).objective - 1e-12 * problem.squared_norm


def test_a_pickled_problem_gives_the_same_bits():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((16, 16, 3)), 8, 0.5)
    again = pickle.loads(pickle.dumps(problem))
    assert np.array_equal(srnc.solve(again).kernel, srnc.solve(problem).kernel)
    with pytest.raises(ValueError, match="read-only"):
        again.kernel[0] = 0


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    some(
        [
            ((32, 32, 3, 3), (32, 32), {}),
            ((12, 12, 3, 3), (32, 32), {}),
            ((128, 128, 3, 3), (16, 16), {}),
            ((32, 32, 3, 3), (16, 16), {"stride": 2}),
        ]
    ),
)
def test_a_solve_takes_little_longer_than_it_is_given(shape, size, layout):
    kernel = np.random.default_rng(0).standard_normal(shape)
    problem = srnc.partway(kernel, size, 0.3, **layout)
    srnc.solve(problem, budget=srnc.Budget(max_time=0.01))  # what is made once for a geometry
    for seconds in (0.01, 0.1):
        result = srnc.solve(problem, budget=srnc.Budget(max_time=seconds))
        # 0.2 s beyond a single decomposition on a quiet machine, and as much again on a busy one.
        assert result.runtime <= seconds + 0.4
        assert result.bound is not None


def test_more_effort_closes_more():
    found = []
    for effort in (1e-9, 1.0, 10.0):
        gaps = []
        for seed in (28, 55, 73, 84):
            rng = np.random.default_rng(seed)
            diagonal = rng.standard_normal((2, 5))
            kernel = np.zeros((2, 2, 5))
            kernel[[0, 1], [0, 1]] = diagonal + rng.choice([-1, 1], (2, 1)) * diagonal[:, ::-1]
            result = srnc.solve(srnc.partway(kernel, 7, rng.uniform()), srnc.solvers.Exact(effort=effort))
            gaps.append(result.gap)
        found.append(np.array(gaps))
    assert np.all(found[0] > 1e-4)  # saddles of the alternation
    assert np.all(found[1] <= 1e-9)
    assert np.all(found[2] <= 1e-9)


def test_raising_a_layer_too_large_for_cone_programs_takes_no_longer_than_it_is_given():
    kernel = np.random.default_rng(0).standard_normal((12, 12, 3, 3))
    problem = srnc.SRNProblem(kernel, (12, 12), stable_rank=12 * 144 * 0.9)
    assert problem.regime == "raise"
    result = srnc.solve(problem, budget=srnc.Budget(max_time=1))
    assert result.runtime < 30  # one program or polishing step may overrun; without its limit this took minutes
    assert result.bound is not None
    assert srnc.bound(problem).kind == "trivial"
