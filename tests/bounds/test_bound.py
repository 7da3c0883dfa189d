"""Bounds without a solution: never above the optimum, as sharp as theory says, proved by their certificates."""

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.operators.geometry import Geometry

# Cone programs stop at 1e-8 in residuals of numbers of size one; the angle they are asked for is iterated.
CONE = 1e-6
LOOSE = {"solver": "SCS", "eps": 1e-2}

TIGHT = [
    ((3,), 16, {}),
    ((4,), 9, {"dilation": 2}),
    ((2, 2), (5, 4), {}),
    ((1, 2, 3), 6, {}),
    ((2, 1, 3), 7, {}),
    ((3, 1, 3), 8, {"groups": 3, "stride": 2}),
    ((1, 1, 4), 6, {"stride": 3}),
]
WIDER = [
    ((2, 2, 2), 5, {}),
    ((4, 2, 2), 6, {"groups": 2}),
    ((2, 1, 3), 8, {"stride": 2}),
    ((2, 3), (), {}),
]


def reduce_problem(case, seed=0, fraction=0.5):
    shape, size, layout = case
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal(shape)
    if seed % 3:
        kernel = kernel + (1, -1)[seed % 3 - 1] * np.flip(kernel)
    if not np.any(kernel):
        kernel = rng.standard_normal(shape)
    return srnc.partway(kernel, size, fraction, **layout)


def raise_problem(case, fraction=0.5, seed=0):
    shape, size, layout = case
    kernel = np.random.default_rng(seed).standard_normal(shape)
    own = float(srnc.stable_rank(kernel, size, **layout))
    high = Geometry.of(shape, size, **layout).stable_rank_range[1]
    return srnc.SRNProblem(kernel, size, stable_rank=own + fraction * (high - own), **layout)


def assert_holds(bound, problem, objective):
    """Below the optimum and not below zero but for rounding; its certificate proves it."""
    unit = problem.squared_norm
    assert bound.objective <= objective + 1e-9 * unit
    assert bound.objective >= problem.objective_at(0.0)
    assert bound.verify(problem) == pytest.approx(bound.objective, rel=1e-12)  # the same sums again
    assert bound.method


@pytest.mark.parametrize("case", TIGHT, ids=str)
@pytest.mark.parametrize(("seed", "fraction"), [(0, 0.15), (1, 0.5), (2, 0.85)])
def test_blocks_of_rank_one_leave_no_gap(case, seed, fraction):
    problem = reduce_problem(case, seed, fraction)
    if problem.regime == "none":  # the only stable rank there is
        problem = reduce_problem(case, 0, fraction)
    assert problem.regime == "reduce"
    result = srnc.solve(problem)
    objective, unit = result.evaluation.objective, problem.squared_norm
    lemma, sharp = srnc.bound(problem, "caps"), srnc.bound(problem, "sdp")
    assert_holds(lemma, problem, objective)
    assert_holds(sharp, problem, objective)
    assert lemma.kind == sharp.kind == "caps"
    assert sharp.objective == pytest.approx(objective, abs=CONE * unit)
    assert lemma.objective <= sharp.objective + CONE * unit
    assert srnc.bound(problem).objective == lemma.objective


@pytest.mark.parametrize("case", WIDER, ids=str)
@pytest.mark.parametrize(("seed", "fraction"), [(0, 0.15), (1, 0.6)])
def test_wider_blocks(case, seed, fraction):
    problem = reduce_problem(case, seed, fraction)
    assert problem.regime == "reduce"
    result = srnc.solve(problem)
    objective = result.evaluation.objective
    lemma, sharp = srnc.bound(problem, "caps"), srnc.bound(problem, "sdp")
    assert_holds(lemma, problem, objective)
    assert_holds(sharp, problem, objective)
    assert lemma.objective <= sharp.objective + CONE * problem.squared_norm
    # Where the explicit solution proves itself, so does the program, up to its accuracy: both have the best shift.
    if result.gap < 1e-9:
        assert sharp.objective == pytest.approx(objective, abs=CONE * problem.squared_norm)


@pytest.mark.parametrize("case", [TIGHT[0], TIGHT[3], TIGHT[5], *WIDER], ids=str)
@pytest.mark.parametrize("options", [LOOSE, {"max_iter": 3}], ids=str)
def test_bounds_from_a_solver_that_stops_early_hold(case, options):
    for problem in (reduce_problem(case, 0, 0.4), reduce_problem(case, 1, 0.7)):
        if problem.regime != "reduce":
            continue
        objective = srnc.solve(problem).evaluation.objective
        assert_holds(srnc.bound(problem, "sdp", **options), problem, objective)


@pytest.mark.parametrize("case", [TIGHT[0], TIGHT[2], TIGHT[5], WIDER[0], WIDER[3]], ids=str)
@pytest.mark.parametrize("options", [{}, LOOSE], ids=str)
def test_raising(case, options):
    problem = raise_problem(case)
    assert problem.regime == "raise"
    result = srnc.solve(problem)
    bound = srnc.bound(problem, **options)
    assert bound.kind in ("ball", "sphere")
    # A kernel found may exceed its gain by 1e-9.
    assert_holds(bound, problem, result.evaluation.objective + 1e-8 * problem.squared_norm)
    if not options and result.bound.kind == "ball":  # the relaxation solves the problem
        assert bound.objective == pytest.approx(result.evaluation.objective, abs=CONE * problem.squared_norm)


@pytest.mark.parametrize("options", [{}, LOOSE, {"max_iter": 3}], ids=str)
def test_the_same_call_gives_the_same_bound_whatever_came_before(options):
    for problem in (raise_problem(TIGHT[0]), reduce_problem(TIGHT[0]), reduce_problem(WIDER[0])):
        first = srnc.bound(problem, "sdp", **options).objective
        srnc.bound(raise_problem(TIGHT[0], 0.9, 1), "sdp", **options)
        assert srnc.bound(problem, "sdp", **options).objective == first  # no tolerance: the same program


def test_raising_without_programs_of_minutes():
    """Above 100 entries the ball alone; a delta kernel has the largest stable rank already."""
    kernel = np.random.default_rng(0).standard_normal(101)
    problem = srnc.SRNProblem(kernel, 101, stable_rank=80.0)
    assert problem.regime == "raise"
    bound = srnc.bound(problem)
    assert bound.kind == "ball"
    assert bound.verify(problem) == pytest.approx(bound.objective, rel=1e-12)
    restored = problem.restore(kernel)
    assert restored.success
    # Feasible to 1e-13.
    assert_holds(bound, problem, problem.evaluate(restored.kernel).objective)


@pytest.mark.parametrize("method", [None, "caps", "sdp"])
def test_the_kernel_itself_is_its_own_bound(method):
    problem = srnc.SRNProblem([1.0, 0.5, 0.25], 8, stable_rank_fraction=1.0)
    assert problem.regime == "none"
    bound = srnc.bound(problem, method)
    assert (bound.kind, bound.certificate) == ("trivial", {})
    assert bound.objective == pytest.approx(0, abs=1e-25)  # the square of a rounding error
    assert bound.verify(problem) == bound.objective


def test_what_is_not_a_bound_is_refused():
    reduce, up = reduce_problem(TIGHT[0]), raise_problem(TIGHT[0])
    with pytest.raises(TypeError, match="ndarray given, expected an SRNProblem"):
        srnc.bound(np.ones(3))
    with pytest.raises(ValueError, match="method: 'best' given, expected one of caps, sdp"):
        srnc.bound(reduce, "best")
    with pytest.raises(ValueError, match="method: 'caps' given, .* this problem raises it .*expected 'sdp'"):
        srnc.bound(up, "caps")
    for method in (None, "caps"):
        with pytest.raises(TypeError, match="options: solver given, but the method 'caps' has no options"):
            srnc.bound(reduce, method, solver="SCS")


@pytest.mark.parametrize("case", [TIGHT[0], WIDER[0]], ids=str)
def test_gaps_are_differences_to_the_bound(case):
    for problem in (reduce_problem(case), raise_problem(case), srnc.SRNProblem([1.0, 2.0], 8, stable_rank_fraction=1)):
        result = srnc.solve(problem)
        excess = result.evaluation.objective - result.bound.objective
        # Rounding of a difference of numbers of the size of ‖C(a)‖².
        assert result.gap == pytest.approx(excess / problem.squared_norm, abs=1e-15)
        if result.evaluation.objective > 0:
            assert result.gap_to_objective == pytest.approx(excess / result.evaluation.objective, rel=1e-12)
        else:
            assert result.gap_to_objective is None
        assert result.gap >= -1e-8
    without = srnc.solve(problem, srnc.solvers.MultiStart("SLSQP", n_starts=2), rng=0)
    assert without.bound is without.gap is without.gap_to_objective is None


@pytest.mark.parametrize("case", [TIGHT[0], TIGHT[5], WIDER[0], WIDER[1]], ids=str)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_results_in_the_precision_of_the_kernel(case, library):
    import torch

    problem = reduce_problem(case)
    shape, size, layout = case
    single = problem.kernel.astype(np.float32)
    given = single if library == "numpy" else torch.tensor(single)
    ours = srnc.SRNProblem(given, size, stable_rank=problem.stable_rank, **layout)
    doubles = srnc.solve(srnc.SRNProblem(single.astype(float), size, stable_rank=problem.stable_rank, **layout))
    result = srnc.solve(ours)
    assert result.kernel.dtype == np.float32
    assert result.kernel.shape == shape
    assert doubles.kernel.dtype == np.float64
    # Rounded once, at the end.
    np.testing.assert_allclose(result.kernel, doubles.kernel, atol=1e-5 * np.max(np.abs(single)))
    np.testing.assert_array_equal(result.kernel, doubles.kernel.astype(np.float32))
    assert result.bound.objective == doubles.bound.objective
    for other in result.alternatives:
        assert other.dtype == np.float32
    copy = srnc.Result.from_json(result.to_json())
    assert copy.kernel.dtype == np.float32
    np.testing.assert_array_equal(copy.kernel, result.kernel)


def test_an_unknown_solver_is_refused():
    for problem in (srnc.partway([1.0, 0.3, -0.2], 8, 0.5), srnc.SRNProblem([1.0, 0.3, -0.2], 8, stable_rank=7.9)):
        with pytest.raises(ValueError, match="solver: 'NOPE' given, expected one of"):
            srnc.bound(problem, "sdp", solver="NOPE")


def test_an_array_is_no_problem(paper):
    with pytest.raises(TypeError, match="problem: ndarray given, expected an SRNProblem"):
        srnc.bound(paper(32)).verify(paper(32).kernel)


def test_a_certificate_of_another_problem_is_refused():
    small = srnc.partway(np.random.default_rng(0).standard_normal((2, 2, 3)), 5, 0.5)
    other = srnc.Bound(0.0, "by hand", "caps", {"blocks": np.array([99]), "values": np.zeros((1, 2, 2), complex)})
    with pytest.raises(ValueError, match="not of this problem"):
        other.verify(small)
