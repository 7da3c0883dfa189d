"""What the figures show: read back from the axes, not only that files exist."""

import warnings
from dataclasses import replace
from xml.etree.ElementTree import parse

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import srnc_manifold as srnc
from srnc_manifold import plots
from srnc_manifold.registry import DEFAULT_SOLVERS

SOLVERS = {
    "exact": srnc.solvers.Exact(),
    "slsqp": srnc.solvers.MultiStart(n_starts=1),
    "trust-regions:lse": srnc.solvers.Riemannian(),
    "spectral-normalization": srnc.solvers.SpectralNormalization(),
    "augmented-lagrangian": srnc.solvers.AugmentedLagrangian(),
}
PAPER = srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=32)
OTHER = srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=50)


@pytest.fixture(scope="module")
def comparison():
    problems = [srnc.NamedProblem("$paper$", PAPER, 32 / 3), srnc.NamedProblem("_other", OTHER)]
    return srnc.compare(problems, SOLVERS, [0, 1], budget=srnc.Budget(max_evaluations=300))


@pytest.fixture(scope="module")
def runs(comparison):
    return {solver: comparison.results["$paper$", solver, 0] for solver in SOLVERS}


@pytest.fixture(scope="module")
def stack():
    rng = np.random.default_rng(0)
    parts = [srnc.SRNProblem(rng.standard_normal(s), 8, stable_rank_fraction=0.9) for s in ((3,), (3,), (2, 2, 3))]
    problem = srnc.StackProblem(parts)
    return problem, {name: srnc.solve(problem, name, rng=0) for name in ("exact", "trust-regions")}


def line(axes, label):
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found


def filled(mark):
    return mark.get_markerfacecolor() not in ("none", "white")


def legend_texts(figure):
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def rendered(figure):
    FigureCanvasAgg(figure).draw()
    return figure


# -- histories ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", ["evaluations", "iteration", "time"])
@pytest.mark.parametrize("y", ["violation", "objective", "stable_rank"])
def test_a_history_s_lines_are_its_columns(runs, x, y):
    (axes,) = plots.history(runs, x, y).axes
    for label, result in runs.items():
        drawn = line(axes, label)
        np.testing.assert_array_equal(drawn.get_xdata(), np.maximum(result.history[x], x == "evaluations"))
        values = result.history[y]
        np.testing.assert_array_equal(drawn.get_ydata(), np.maximum(values, 1e-12) if y == "violation" else values)
        assert filled(drawn) == (result.history["violation"][-1] < 1e-6)


def test_every_history_has_the_violation(runs):
    for result in runs.values():
        rows = result.history
        larger = np.maximum(rows["stable_rank_error"], rows["spectral_norm_error"])
        np.testing.assert_array_equal(rows["violation"], larger)


def test_histories_of_older_files_have_no_violation_and_are_drawn(runs):
    old = dict(runs["slsqp"].history.columns)
    del old["violation"]
    result = replace(runs["slsqp"], history=srnc.result.History(old))
    (axes,) = plots.history(result).axes
    expected = np.maximum(runs["slsqp"].history["violation"], 1e-12)
    np.testing.assert_array_equal(line(axes, "slsqp[n_starts=1]").get_ydata(), expected)


def test_gaps_are_measured_by_the_best_known_reference(runs):
    own = {"exact": runs["exact"], "slow": runs["augmented-lagrangian"]}
    reference = runs["exact"].bound.objective
    for more in ({"problem": PAPER}, {"problem": PAPER, "reference": runs["exact"].bound}, {"reference": reference}):
        (axes,) = plots.history(own, y="gap", **more).axes
        history = own["slow"].history
        gaps = (history["objective"] - reference) / PAPER.squared_norm
        gaps[(gaps < 0) & (history["violation"] >= 1e-6)] = np.nan
        assert np.any(gaps > 1e-3)
        np.testing.assert_allclose(line(axes, "slow").get_ydata(), np.maximum(gaps, 1e-12), rtol=1e-9, atol=1e-15)
    (axes,) = plots.history(runs["exact"], y="gap").axes  # its own bound, and ‖C(a)‖² from its scores
    assert line(axes, "exact").get_ydata()[0] <= 1e-9
    (axes,) = plots.history({"slsqp": runs["slsqp"]}, y="gap", problem=PAPER).axes  # srnc.bound
    assert np.nanmin(line(axes, "slsqp").get_ydata()) < 1e-6
    named = srnc.NamedProblem("paper", PAPER, 5.0)
    (axes,) = plots.history({"slsqp": runs["slsqp"]}, y="gap", problem=named).axes
    assert line(axes, "slsqp").get_ydata()[-1] == pytest.approx((32 / 3 - 5) / 64, rel=1e-5)
    with pytest.raises(ValueError, match=r"has no bound to measure it by; expected problem= or reference="):
        plots.history(runs["slsqp"], y="gap")


def test_a_comparison_has_a_panel_for_each_problem_and_a_line_for_each_seed(comparison):
    figure = plots.history(comparison, y="gap")
    assert [axes.get_title() for axes in figure.axes] == [r"\$paper\$", " _other"]
    for axes, name in zip(figure.axes, comparison.problems, strict=True):
        expected = [result.history for (of, solver, _), result in comparison.results.items()
                    if (of, solver) == (name, "slsqp")]  # fmt: skip
        drawn = [line.get_xdata() for line in axes.get_lines() if line.get_label() == "slsqp"]
        assert len(drawn) == 2
        for across, history in zip(drawn, expected, strict=True):
            np.testing.assert_array_equal(across, history["evaluations"])
    assert sorted(legend_texts(figure)) == sorted(set(legend_texts(figure)))
    (one,) = plots.history(comparison, problem="_other").axes
    (same,) = plots.history(comparison, problem=OTHER).axes
    assert one.get_title() == same.get_title() == " _other"
    with pytest.raises(ValueError, match="problem: 'none' given, expected one of"):
        plots.history(comparison, problem="none")
    with pytest.raises(ValueError, match="ax: one panel given, 2 are to be drawn"):
        plots.history(comparison, ax=Figure().add_subplot())


def test_columns_of_one_solver(runs):
    (axes,) = plots.history(runs, y="penalty").axes
    assert [drawn.get_label() for drawn in axes.get_lines()] == ["augmented-lagrangian"]
    with pytest.raises(ValueError, match="x: 'beauty' given, but no run has values of it"):
        plots.history(runs, x="beauty")
    for draw, name in ((plots.overview, "comparison"), (plots.hits, "study"), (plots.violations, "study")):
        with pytest.raises(TypeError, match=f"{name}: int given, expected"):
            draw(3)
    with pytest.raises(ValueError, match="y: 'beauty' given, but no run has values of it"):
        plots.history(runs, y="beauty")


def test_stacks(stack):
    problem, results = stack
    assert not len(results["exact"].history)
    (axes,) = plots.history(results).axes
    np.testing.assert_array_equal(line(axes, "exact").get_xdata(), [results["exact"].n_evaluations])
    assert filled(line(axes, "exact"))
    np.testing.assert_array_equal(
        line(axes, "trust-regions").get_ydata(), results["trust-regions"].history["violation"]
    )
    _, middle, right = plots.convergence(results, problem).axes
    assert middle.get_title() == "violation"
    np.testing.assert_array_equal(
        line(right, "trust-regions").get_ydata(), results["trust-regions"].history["objective"]
    )
    assert line(right, "exact").get_ydata() == [results["exact"].evaluation.objective]
    assert len(plots.spectrum(problem, results).axes) == 3
    with pytest.raises(ValueError, match="3 are to be drawn"):
        plots.spectrum(problem, results, ax=Figure().add_subplot())


def test_results_of_another_problem_are_refused(runs, stack):
    for draw in (plots.convergence, plots.trajectory, lambda r, p: plots.history(r, problem=p)):
        with pytest.raises(ValueError, match="'slsqp' is of another problem, its stable_rank_error is"):
            draw({"slsqp": runs["slsqp"]}, OTHER)
    with pytest.raises(ValueError, match=r"has a kernel of shape \(3,\), expected that of the problem"):
        plots.convergence(runs, stack[0])
    with pytest.raises(TypeError, match="problem: int given"):
        plots.convergence(runs, 3)
    for wrong in (3, {"a": 3}):
        with pytest.raises(TypeError, match="results: int given"):
            plots.history(wrong)
    with pytest.raises(ValueError, match="results: none given"):
        plots.history({})


def test_convergence_shows_the_target(runs):
    left, middle, _ = plots.convergence(runs, PAPER).axes
    assert any(np.array_equal(line.get_ydata(), [32, 32]) for line in middle.get_lines())
    np.testing.assert_array_equal(line(left, "slsqp").get_ydata(), runs["slsqp"].history["cost"])


# -- singular values ------------------------------------------------------------------------------------------------


def test_the_spectrum_is_that_of_the_operator(dense, runs):
    (axes,) = plots.spectrum(PAPER, runs["exact"]).axes
    expected = np.abs(np.fft.fft(runs["exact"].kernel, 64))
    np.testing.assert_allclose(line(axes, "exact, stable rank 32").get_ydata(), expected, rtol=1e-12)
    np.testing.assert_allclose(line(axes, "a, as given, stable rank 64").get_ydata(), 1, rtol=1e-12)
    assert line(axes, "norm to keep, ‖C(a)‖₂").get_ydata() == [PAPER.spectral_norm] * 2

    rng = np.random.default_rng(0)
    layers = {
        "2-D": ((2, 3, 3, 3), (4, 6), {}),
        "groups, stride": ((4, 2, 3), (8,), {"groups": 2, "stride": 2}),
    }
    for shape, size, layout in layers.values():
        kernel, other = rng.standard_normal(shape), rng.standard_normal(shape)
        problem = srnc.SRNProblem(kernel, size, stable_rank_fraction=0.9, **layout)
        (axes,) = plots.spectrum(problem, {"x": other}, by="rank").axes
        (drawn,) = [line for line in axes.get_lines() if line.get_label().startswith("x, ")]
        values = np.linalg.svd(dense(other, size, **layout), compute_uv=False)
        np.testing.assert_allclose(drawn.get_ydata(), values, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="by: 'frequency' given, but"):
        plots.spectrum(srnc.SRNProblem(np.eye(3), 8, stable_rank_fraction=0.9), {}, by="frequency")
    with pytest.raises(ValueError, match=r"kernels: 'x' has shape \(2,\), expected"):
        plots.spectrum(PAPER, {"x": [1.0, 2.0]})
    with pytest.raises(ValueError, match="by: 'size' given"):
        plots.spectrum(PAPER, {}, by="size")


@pytest.mark.parametrize(("q", "n"), [(3, 64), (4, 9), (1, 6)])
def test_eigenvalues_are_those_of_the_paper_s_figure(q, n):
    problem = srnc.SRNProblem(np.arange(1.0, q + 1), n, stable_rank_fraction=1.0)
    (axes,) = plots.eigenvalues(problem).axes
    drawn = np.array([line.get_ydata() for line in axes.get_lines() if "eigenvalue" in line.get_label()])
    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(q)) / n
    forms = (
        np.cos(angles)[:, :, None] * np.cos(angles)[:, None, :]
        + np.sin(angles)[:, :, None] * np.sin(angles)[:, None, :]
    )
    expected = np.linalg.eigvalsh(forms)[:, ::-1][:, :2].T
    np.testing.assert_allclose(drawn, expected, atol=1e-12)
    assert np.max(drawn) == pytest.approx(q)  # paper, section 3.1: so the stable rank is at least N / q
    (level,) = [line for line in axes.get_lines() if line.get_label().startswith("N/r")]
    assert level.get_ydata() == [problem.target_gain] * 2
    labels = [line.get_label() for line in plots.eigenvalues(problem.geometry).axes[0].get_lines()]
    assert not any(label.startswith("N/r") for label in labels)
    assert [label for label in labels if label.startswith("q = ")] == [
        f"q = {q}, the trace of B_l: r ≥ N/q = {n / q:.5g}"
    ]
    notes = {text.get_text(): text.xy[0] for text in axes.texts}
    assert notes == ({"DC": 0, "Nyquist": n // 2} if n % 2 == 0 else {"DC": 0})


def test_eigenvalues_are_for_one_channel_and_one_axis(stack):
    with pytest.raises(ValueError, match="expected a single channel and one spatial axis"):
        plots.eigenvalues(srnc.SRNProblem(np.eye(3), 8, stable_rank_fraction=0.9))
    with pytest.raises(ValueError, match="a stack of 3 kernels given"):
        plots.eigenvalues(stack[0])
    with pytest.raises(TypeError, match="geometry: int given"):
        plots.eigenvalues(3)


# -- the comparison -------------------------------------------------------------------------------------------------


def marks(axes):
    return {line.get_gid(): line for line in axes.get_lines() if line.get_gid()}


def test_the_overview_tells_feasible_and_restored_apart(comparison):
    figure = rendered(plots.overview(comparison))
    left, right = figure.axes
    for record in comparison.table().to_dict("records"):
        name = f"{record['solver']} on {record['problem']}"
        violation = max(record["stable_rank_error"], record["spectral_norm_error"])
        assert marks(left)[name].get_xdata()[0] == max(violation, 1e-12)
        gap = record["gap"] if record["success"] else record["restored_gap"]
        assert marks(right)[name].get_xdata()[0] == max(gap, 1e-12)
        for axes in (left, right):
            assert filled(marks(axes)[name]) == (record["success"] > 0)
            assert marks(axes)[name].get_color() == plots.colour(record["solver"])
    assert not filled(marks(right)["spectral-normalization on $paper$"])
    assert filled(marks(right)["exact on $paper$"])
    assert legend_texts(figure) == [r"\$paper\$", " _other"]
    assert figure.legends[0].get_title().get_text().startswith("filled: feasible as found")
    for axes in (left, right):
        assert axes.get_xticklabels()[0].get_text() == "0"
        assert axes.get_xticks()[0] == 1e-12


def test_no_mark_is_cut_off(comparison):
    wild = replace(comparison, row_list=[replace(row, stable_rank_error=345.0) for row in comparison.row_list])
    for axes in plots.overview(wild).axes:
        low, high = axes.get_xlim()
        for mark in marks(axes).values():
            assert 2 * low < mark.get_xdata()[0] < high / 2
        assert axes.get_ylim() == (4.5, -0.5)


# -- what all figures share -----------------------------------------------------------------------------------------


def test_one_colour_for_one_solver(runs):
    (alone,) = plots.history({"slsqp": runs["slsqp"]}).axes
    (among,) = plots.history(dict(reversed(runs.items()))).axes
    (spectrum,) = plots.spectrum(PAPER, runs).axes
    (sphere, *_) = plots.trajectory(runs, PAPER).axes
    colours = {line(axes, "slsqp").get_color() for axes in (alone, among, sphere)}
    colours |= {one.get_color() for one in spectrum.get_lines() if one.get_label().startswith("slsqp,")}
    assert colours == {plots.colour("slsqp")}
    assert plots.colour("trust-regions:lse") == plots.colour("trust-regions")
    assert plots.colour("exact") == plots.PALETTE[0]
    counts = [plots.colour(name) for name in DEFAULT_SOLVERS]
    assert max(map(counts.count, counts)) <= 3
    assert plots.colour("a solver of mine") in plots.PALETTE[1:]


def test_lines_of_one_colour_are_told_apart(runs):
    (axes,) = plots.history({f"start {k}": runs["slsqp"] for k in range(7)}).axes
    lines = [line(axes, f"start {k}") for k in range(7)]
    assert {to_hex(one.get_color()) for one in lines} == {plots.colour("slsqp").lower()}
    assert len({(str(one.get_linestyle()), str(one._dash_pattern), one.get_linewidth()) for one in lines}) == 7
    assert len({one.get_marker() for one in lines}) == 7


def test_labels_are_not_markup(runs, tmp_path):
    labels = ["_hidden", "$x_1$", "a$b$c$ \\frac{", "100 % & #1", "", "x" * 200, "half \ud800", "\x1b[31mred\0"]
    named = dict(zip(labels, [runs["slsqp"]] * len(labels), strict=True))
    figure = rendered(plots.history(named, path=tmp_path / "labels.png"))
    assert len(legend_texts(figure)) == len(labels)
    assert " _hidden" in legend_texts(figure)
    assert not any(text.count("$") > text.count(r"\$") for text in legend_texts(figure))
    assert r"\x1b[31mred\x00" in legend_texts(figure)
    plots.history(named, path=tmp_path / "labels.svg")
    parse(tmp_path / "labels.svg")  # XML has no control characters
    for draw in (plots.convergence, plots.trajectory):
        assert len(legend_texts(draw(named, PAPER))) >= len(labels)
    assert len(legend_texts(plots.spectrum(PAPER, named))) == len(labels) + 2


def test_the_note_of_feasible_runs_leaves_room_where_none_is_near(tmp_path):
    """Drawn far below the axes it left no room for them, and the legend covered their label."""
    result = srnc.solve(PAPER, "gradient-descent", rng=0, budget=srnc.Budget(max_evaluations=30))
    assert np.min(result.history["violation"]) > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = rendered(plots.history(result, path=tmp_path / "far.png"))
    (axes,) = figure.axes
    assert not axes.texts
    label, legend = axes.xaxis.label.get_window_extent(), figure.legends[0].get_window_extent()
    assert not label.overlaps(legend)


@pytest.mark.parametrize(("objective", "scale"), [(1e-21, "linear"), (1e-3, "log")])
def test_a_kernel_that_has_not_moved_flattens_no_line(runs, objective, scale):
    columns = runs["slsqp"].history.columns
    near = replace(runs["slsqp"], history=srnc.History({name: [objective] for name in columns}))
    (axes,) = plots.history({"near": near, "slsqp": runs["slsqp"]}, y="objective").axes
    assert axes.get_yscale() == scale


def test_axes_of_the_caller(runs, tmp_path):
    figure = Figure()
    panels = figure.subplots(2, 2).ravel()
    panels[0].plot([1, 10], [1e-20, 1.0], label="the caller's")
    assert plots.history(runs, ax=panels[0]) is figure
    assert panels[0].get_lines()[0].get_ydata()[0] == 1e-20
    plots.spectrum(PAPER, runs, ax=panels[1])
    plots.eigenvalues(PAPER, ax=panels[2], path=tmp_path / "all")
    plots.trajectory(runs, PAPER, ax=panels[3])
    assert all(axes.get_legend() is not None for axes in panels)
    assert (tmp_path / "all.png").stat().st_size > 10_000
    part = Figure().subfigures(1, 2)[0]
    assert isinstance(plots.eigenvalues(PAPER, ax=part.add_subplot()), Figure)
    with pytest.raises(TypeError, match="ax: int given"):
        plots.eigenvalues(PAPER, ax=3)


def test_the_style_is_optional_and_leaves_the_caller_s_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with plots.style():
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(plots.PALETTE)
        assert not matplotlib.rcParams["axes.spines.top"]
    plots.eigenvalues(PAPER)
    assert dict(matplotlib.rcParams) == before
