"""Many targets of one kernel against one by one."""

import matplotlib.figure
import numpy as np
import pytest
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.exact.path import _Kernel
from srnc_manifold.operators import symbol

LAYOUTS = [
    ((4,), 9, {}),
    ((3, 3), (6, 5), {}),
    ((4, 1, 3), 8, {"groups": 4, "stride": 2}),
    ((2, 2, 3), 7, {}),
    ((4, 2, 3), 6, {"groups": 2}),
    ((3, 2, 3), 8, {"stride": 2, "dilation": 3}),
    ((3, 4), (), {}),
    pytest.param(((14, 13, 2), 7, {}), marks=slow),  # norms are compared, not computed, where one target is solved
]


def problem_of(layout, seed=0, **target):
    shape, size, options = layout
    kernel = np.random.default_rng(seed).standard_normal(shape)
    return srnc.SRNProblem(kernel, size, **(target or {"stable_rank_fraction": 1.0}), **options)


def fractions_of(problem, parts=(0.9, 0.02, 0.5)):
    least = problem.feasible_range[0] / problem.kernel_stable_rank
    return least + np.array(parts) * (1 - least)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=slow), pytest.param(2, marks=slow)])
def test_a_path_is_as_one_by_one(layout, seed):
    own = problem_of(layout, seed)
    fractions = fractions_of(own)
    path = srnc.solve_path(own, fractions)
    assert len(path) == 3
    np.testing.assert_array_equal(path.fractions, fractions)
    for k, fraction in enumerate(fractions):
        problem = problem_of(layout, seed, stable_rank_fraction=fraction)
        alone = srnc.solve(problem)
        unit, scores = problem.squared_norm, problem.evaluate(path.kernels[k])
        assert path.stable_ranks[k] == problem.stable_rank
        # What is promised. Both searches end where bounds prove 1e-8, and are mostly as near as rounding.
        assert path.objectives[k] == pytest.approx(alone.evaluation.objective, abs=1e-10 * unit)
        assert path.bounds[k] == pytest.approx(alone.bound.objective, abs=1e-8 * unit)
        # The same numbers in units of the norm: rounding.
        assert path.objectives[k] == pytest.approx(scores.objective, abs=1e-13 * unit)
        assert path.violations[k] == pytest.approx(scores.violation, abs=1e-13)
        assert path.gaps[k] == pytest.approx((path.objectives[k] - path.bounds[k]) / unit, abs=1e-13)
        assert path.bound(k).verify(problem) == pytest.approx(path.bounds[k], abs=1e-12 * unit)
        assert scores.violation < 1e-9


@pytest.mark.parametrize("layout", [LAYOUTS[1], LAYOUTS[3], ((13, 13, 2), 7, {})], ids=str)
def test_norms_of_kernels_near_another_one(layout):
    problem = problem_of(layout)
    shared, rng = _Kernel(problem), np.random.default_rng(1)
    for size in (0.0, 1e-9, 1e-3, 0.1, 1.0, 30.0):
        z = problem.direction + size * rng.standard_normal(problem.direction.shape)
        z = z / np.linalg.norm(z)
        expected = np.max(symbol.squared_singular_values(z, problem.geometry))
        for block in (0, 2):
            assert shared.gain(z, block) == pytest.approx(expected, rel=1e-13)  # two decompositions


def test_the_kernel_itself_and_single_precision():
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32)
    problem = srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.9)
    path = srnc.solve_path(problem, [1.0, 0.8])
    assert path.kernels.dtype == np.float32
    np.testing.assert_allclose(path.kernels[0], kernel, rtol=1e-6)  # rounded once
    assert path.objectives[0] <= 1e-12 * problem.squared_norm
    for k in range(2):  # scored as they are returned
        problem = srnc.SRNProblem(kernel, 8, stable_rank_fraction=[1.0, 0.8][k])
        assert path.violations[k] == pytest.approx(problem.evaluate(path.kernels[k]).violation, abs=1e-13)
    assert 1e-9 < path.violations[1] < 1e-6


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_kernels_of_any_size(scale):
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3))
    one, other = (
        srnc.solve_path(srnc.SRNProblem(k, 8, stable_rank_fraction=1.0), 0.8) for k in (kernel, scale * kernel)
    )
    np.testing.assert_allclose(other.kernels / scale, one.kernels, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(other.objectives / scale / scale, one.objectives, rtol=1e-9)


def test_targets_that_are_not_feasible_can_be_clipped():
    problem = problem_of(LAYOUTS[0])
    path = srnc.solve_path(problem, [1e-9, 0.9, 1.5], clip=True)
    np.testing.assert_array_equal(path.clipped, [True, False, True])
    np.testing.assert_array_equal(path.fractions, [1e-9, 0.9, 1.5])
    least, own = problem.feasible_range[0], problem.kernel_stable_rank
    np.testing.assert_allclose(path.stable_ranks, [least, 0.9 * own, own], rtol=1e-12)
    np.testing.assert_allclose(path.kernels[2], problem.kernel, rtol=1e-14)
    alone = srnc.solve(srnc.SRNProblem(problem.kernel, problem.operator, stable_rank=1e-9, clip=True))
    assert path.objectives[0] == pytest.approx(alone.evaluation.objective, rel=1e-7)


def test_fractions_may_be_tensors():
    torch = pytest.importorskip("torch")
    problem = problem_of(LAYOUTS[0])
    fractions = torch.tensor([0.9, 0.8], requires_grad=True)
    path = srnc.solve_path(problem, fractions)
    np.testing.assert_array_equal(path.fractions, fractions.detach().double().numpy())


def test_what_it_shows():
    problem = problem_of(LAYOUTS[3])
    path = srnc.solve_path(problem, fractions_of(problem))
    frame = path.to_frame()
    assert list(frame.columns) == ["fraction", "stable_rank", "clipped", "objective", "bound", "gap", "violation"]
    np.testing.assert_array_equal(frame["objective"], path.objectives)
    assert "targets: 3" in repr(path)
    assert path == srnc.solve_path(problem, fractions_of(problem))
    # A larger stable rank is nearer.
    assert np.all(np.diff(path.objectives[np.argsort(path.stable_ranks)]) < 0)


def test_a_path_has_a_figure(tmp_path):
    problem = problem_of(LAYOUTS[0])
    path = srnc.solve_path(problem, fractions_of(problem))
    figure = path.plot(tmp_path / "path")
    assert (tmp_path / "path.png").stat().st_size > 0
    objectives, bounds, _ = figure.axes[0].get_lines()
    order = [1, 2, 0]
    np.testing.assert_array_equal(objectives.get_xdata(), path.stable_ranks[order])
    np.testing.assert_array_equal(objectives.get_ydata(), path.objectives[order])
    np.testing.assert_array_equal(bounds.get_ydata(), path.bounds[order])
    axes = matplotlib.figure.Figure().subplots()
    assert path.plot(ax=axes) is axes.figure
    with pytest.raises(TypeError, match="solutions: Result given, expected what solve_path returns"):
        srnc.plots.reduction(srnc.solve(problem))


def test_arguments_are_checked():
    problem = problem_of(LAYOUTS[0])
    with pytest.raises(TypeError, match="problem: float given, expected an SRNProblem"):
        srnc.solve_path(1.0, [0.5])
    with pytest.raises(ValueError, match="fractions: none given"):
        srnc.solve_path(problem, [])
    with pytest.raises(ValueError, match=r"fractions: 1.2 given, .*<= fractions <= 1 for .*clip=True.*also raise"):
        srnc.solve_path(problem, [0.9, 1.2])
    with pytest.raises(ValueError, match=r"fractions: 0.01 given, expected 0\.\d+ <="):
        srnc.solve_path(problem, 0.01)
    for wrong in ("many", None, np.ma.masked_array([0.9, 0.8])):
        with pytest.raises(TypeError, match="^fractions: .* given, expected a real number or a sequence of them"):
            srnc.solve_path(problem, wrong)
    with pytest.raises(ValueError, match=r"fractions: shape \(1, 2\) given"):
        srnc.solve_path(problem, [[0.9, 0.8]])
    matrices = np.random.default_rng(0).standard_normal((1, 2, 3, 4))
    with pytest.raises(TypeError, match="no frequencies"):
        srnc.solve_path(srnc.SRNProblem(np.ones((1, 2)), srnc.Dense(matrices), stable_rank_fraction=1.0), 0.9)
