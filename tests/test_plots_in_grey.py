"""Every public function that draws: files, axes of the caller, labels, lines that are told apart without colours."""

import doctest
import importlib
import inspect
import pkgutil
from xml.etree.ElementTree import parse

import numpy as np
import pytest
from matplotlib.figure import Figure
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold import plots
from srnc_manifold.plots.results import KINDS
from srnc_manifold.studies.formulations import FormulationsFindings, formulations

PAPER = srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=32)
SOLVERS = ("exact", "slsqp[n_starts=1]", "trust-regions", "srn-c", "spectral-normalization")
LAYER = srnc.SRNProblem(np.random.default_rng(0).standard_normal((2, 2, 3, 3)), 8, stable_rank_fraction=0.8)
SEVERAL = {"overview": 2, "convergence": 3, "kernels": 3, "stable_ranks": 2}


@pytest.fixture(scope="module")
def comparison():
    return srnc.compare({"paper": PAPER}, SOLVERS, [0, 1], budget=srnc.Budget(max_evaluations=100))


@pytest.fixture(scope="module")
def draw(comparison):
    """By name, a call of every public function that draws, with ``ax`` or ``path``."""
    results = {solver: comparison.results["paper", solver, 0] for solver in SOLVERS}
    costs = srnc.sweep(srnc.costs.LogSumExp, alpha=[10, 1e3], fidelity_weight=[1e-1, 1e-3])
    swept = srnc.compare({"paper": PAPER}, srnc.sweep("trust-regions", cost=costs), [0])
    wanted = ("trust-regions[cost=lse", "augmented-lagrangian", "continuation", "slsqp")
    methods = [method for method in formulations() if method.label.startswith(wanted)][::3]
    methods += [method for method in formulations() if np.isnan(method.weight)][:4]
    methods = list({method.label: method for method in methods}.values())
    studied = srnc.compare({"paper": PAPER}, {method.label: method.instance for method in methods}, [0])
    study = FormulationsFindings(methods, studied, {"paper": 32 / 3}, [], 1)
    table = comparison.table()
    return {
        "bands": lambda **how: plots.bands(comparison.profile("convergence", quantity="violation"), **how),
        "convergence": lambda **how: plots.convergence(results, PAPER, **how),
        "eigenvalues": lambda **how: plots.eigenvalues(PAPER, **how),
        "heat_map": lambda **how: plots.heat_map(table, "violation", **how),
        "history": lambda **how: plots.history(results, **how),
        "hit_rates": lambda **how: plots.hit_rates(comparison.profile("hits"), **how),
        "hits": lambda **how: plots.hits(study, **how),
        "kernels": lambda **how: plots.kernels(LAYER, LAYER.kernel / 2, **how),
        "overview": lambda **how: plots.overview(comparison, **how),
        "pairs": lambda **how: plots.pairs(comparison.profile("pairs"), **how),
        "reduction": lambda **how: plots.reduction(srnc.solve_path(PAPER, [0.5, 0.7]), **how),
        "shares": lambda **how: plots.shares(comparison.profile("performance"), **how),
        "spectrum": lambda **how: plots.spectrum(PAPER, results, **how),
        "sphere": lambda **how: plots.sphere(results, PAPER, **how),
        "stable_ranks": lambda **how: plots.stable_ranks(PAPER, results["exact"], **how),
        "sweeps": lambda **how: plots.sweeps(swept.profile("sensitivity"), **how),
        "trajectory": lambda **how: plots.trajectory(results, PAPER, **how),
        "violations": lambda **how: plots.violations(study, **how),
    }


NAMES = sorted(set(plots.__all__) - {"PALETTE", "colour", "style"})


def test_every_function_is_here(draw):
    assert sorted(draw) == NAMES


def look(artist):
    """What is seen of a line or a filling in grey: dashes, mark, whether it is filled, hatches."""
    if hasattr(artist, "get_linestyle") and hasattr(artist, "get_marker"):
        dashes = "none" if artist.get_linestyle() == "None" else str(artist._unscaled_dash_pattern)
        mark = artist.get_marker() if len(artist.get_xdata()) else "None"
        hollow = artist.get_markerfacecolor() in ("none", "white")
        return dashes, mark, hollow, 0.0 if dashes == "none" else artist.get_linewidth()
    return artist.get_hatch(), tuple(np.round(artist.get_facecolor(), 3))


@pytest.mark.parametrize("name", NAMES)
def test_axes_of_the_caller_have_labels_and_lines_that_are_told_apart_in_grey(draw, name):
    figure = Figure(figsize=(9, 4))
    n = SEVERAL.get(name, 1)
    options = {"projection": "3d"} if name == "sphere" else {}
    panels = figure.subplots(1, n, squeeze=False, subplot_kw=options)[0]
    assert draw[name](ax=panels if n > 1 else panels[0]) is figure
    assert not figure.legends
    for axes in panels:
        assert axes.has_data()
        assert axes.get_xlabel()
        names = [label.get_text() for label in panels[0].get_yticklabels()]
        assert axes.get_ylabel() or axes.get_title() or names[0] == "exact"
        seen = {line.get_label(): look(line) for line in axes.get_lines() if not line.get_label().startswith("_")}
        assert len(set(seen.values())) == len(seen), seen
        if axes.get_legend() is not None:
            tell_apart(axes.get_legend())
    with pytest.raises(TypeError, match="ax: int given, expected an Axes"):
        draw[name](ax=3)
    with pytest.raises(ValueError, match=f"ax: {n + 1} panels given, {n} are to be drawn"):
        draw[name](ax=[panels[0]] * (n + 1))


def tell_apart(legend):
    texts = [text.get_text() for text in legend.get_texts()]
    seen = dict(zip(texts, map(look, legend.legend_handles), strict=True))
    assert len(set(seen.values())) == len(texts), seen


@pytest.mark.parametrize("name", some(NAMES, keep=3))
def test_figures_are_saved_and_their_legends_cover_nothing(draw, name, tmp_path):
    figure = draw[name](path=tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    for legend in figure.legends:
        tell_apart(legend)
        box = legend.get_window_extent()
        for axes in figure.axes:
            assert not axes.get_window_extent().overlaps(box)
            assert not axes.get_xlabel() or not axes.xaxis.label.get_window_extent().overlaps(box)


def test_files_are_vectors_by_their_endings_and_always_the_same(draw, tmp_path):
    for ending, first in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG"), ("", b"\x89PNG")):
        path = tmp_path / f"figure{ending}"
        draw["eigenvalues"](path=path)
        written = path if ending else path.with_suffix(".png")
        content = written.read_bytes()
        assert content.startswith(first)
        if ending in (".svg", ".pdf"):
            draw["eigenvalues"](path=path)
            assert written.read_bytes() == content
    parse(tmp_path / "figure.svg")
    with pytest.raises(ValueError, match=r"path: '.*figure.doc' given, expected a name ending in one of .*\.eps"):
        draw["eigenvalues"](path=tmp_path / "figure.doc")
    assert not (tmp_path / "figure.doc").exists()


def test_a_result_draws_itself(comparison, tmp_path):
    result = comparison.results["paper", "trust-regions", 0]
    for kind in KINDS:
        assert result.plot(kind=kind, problem=PAPER).axes
    result.plot(tmp_path / "kernels.svg", "kernels", problem=PAPER)
    assert "found − given" in (tmp_path / "kernels.svg").read_text(encoding="utf-8")
    assert len(result.plot(problem=PAPER).axes) == 3
    (axes,) = result.plot(y="objective").axes
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), result.history["objective"])
    own = Figure().add_subplot()
    assert result.plot(ax=own) is own.figure
    with pytest.raises(ValueError, match="kind: 'spectra' given, expected"):
        result.plot(kind="spectra")
    with pytest.raises(ValueError, match="problem: none given, but a figure of kind 'spectrum' shows it"):
        result.plot(kind="spectrum")


def test_the_rectangle_has_the_area_of_the_squares_and_the_width_of_the_stable_rank():
    found = srnc.solve(LAYER).kernel
    for axes, kernel in zip(plots.stable_ranks(LAYER, {"x": found}).axes, (LAYER.kernel, found), strict=True):
        values = srnc.singular_values(kernel, LAYER.input_size).ravel()
        squares = (values / LAYER.spectral_norm) ** 2
        (left, right, _), (top, corner, bottom) = axes.get_lines()[0].get_data()
        assert (left, bottom) == (0, 0)
        assert top == corner == pytest.approx(squares.max(), rel=1e-12)
        assert right * top == pytest.approx(squares.sum(), rel=1e-12)
        assert right == pytest.approx(srnc.stable_rank(kernel, LAYER.input_size), rel=1e-12)
        drawn = axes.patches[0].get_data()
        assert np.sum(drawn.values * np.diff(drawn.edges)) == pytest.approx(squares.sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1, 3, 3), (16, 16)), ((3, 1, 4), (8,)), ((1, 1, 5), (8,)), ((2, 3, 4), (8,)), ((2, 1, 2, 3, 3), (4, 4, 4)),
     ((4, 6), ())],
)  # fmt: skip
def test_every_entry_of_a_kernel_is_within_the_axes(shape, size):
    kernel = np.random.default_rng(0).standard_normal(shape)
    axes = plots.kernels(srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0), {}).axes[0]
    image = np.ma.filled(axes.images[0].get_array(), np.nan)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    shown = image[int(top + 0.5) : int(bottom + 0.5), int(left + 0.5) : int(right + 0.5)]
    np.testing.assert_array_equal(np.sort(shown[np.isfinite(shown)]), np.sort(kernel.ravel()))
    for text in axes.texts:
        assert left < text.get_position()[0] < right
        assert top < text.get_position()[1] < bottom


def test_a_comparison_draws_its_table_and_its_overview(comparison):
    axes, _ = comparison.plot(kind="table", value="violation").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(dict.fromkeys(comparison.table()["solver"]))
    own = Figure()
    assert comparison.plot(ax=own.subplots(1, 2)) is own
    with pytest.raises(ValueError, match="ax: one panel given, 2 are to be drawn"):
        comparison.plot(ax=Figure().add_subplot())


def test_kernels_are_drawn_with_their_differences():
    found = 0.5 * LAYER.kernel
    *panels, _ = plots.kernels(LAYER, {"half": found}).axes
    assert [axes.get_title() for axes in panels] == ["a, as given", "half", "half, found − given"]
    images = [axes.images[0] for axes in panels]
    for image, kernel in zip(images, (LAYER.kernel, found, found - LAYER.kernel), strict=True):
        np.testing.assert_array_equal(image.get_array()[:3, :3], kernel[0, 0])
        np.testing.assert_array_equal(image.get_array()[4:7, 4:7], kernel[1, 1])
    most = np.max(np.abs(LAYER.kernel))
    assert {image.get_clim() for image in images} == {(-most, most)}  # one scale

    (axes,) = plots.kernels(PAPER, {"x": [0.5, 0.25, 0]}).axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert heights == {"a, as given": [1, 0, 0], "x": [0.5, 0.25, 0], "x, found − given": [-0.5, 0.25, 0]}
    with pytest.raises(ValueError, match=r"kernels: 'x' has shape \(2,\), expected"):
        plots.kernels(PAPER, {"x": [1.0, 2.0]})
    with pytest.raises(ValueError, match="a stack of 2 kernels given, expected one kernel"):
        plots.kernels(srnc.StackProblem([PAPER, PAPER]), {})
    with pytest.raises(TypeError, match="problem: int given"):
        plots.kernels(3, {})


def test_a_heat_map_s_cells_are_the_table():
    import pandas

    data = pandas.DataFrame(
        {"α": [10.0, 1000.0, 10.0, 10.0], "λ": [1, 1, 2, 1], "gap": [1e-3, np.inf, 0.0, 3e-3], "hit": [0, 1, 1, 1]}
    )
    axes, bar = plots.heat_map(data, "gap", rows="λ", columns="α").axes
    texts = {tuple(int(place) for place in text.get_position()): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "2e-03", (1, 0): "–", (0, 1): "0"}  # the median; infinite; as good as zero
    np.testing.assert_allclose(axes.images[0].get_array()[:, 0], [np.log10(2e-3), -12])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "1000"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("α", "λ")
    assert bar.get_ylabel() == "gap to the reference / ‖C(a)‖²"
    axes, _ = plots.heat_map(data, "hit", rows="λ", columns="α").axes
    assert {text.get_text() for text in axes.texts} == {"50 %", "100 %"}
    for wrong, message in (
        ({"value": "time"}, "value: 'time' given, expected a column of data: α, λ, gap, hit"),
        ({"rows": "beta"}, "rows: 'beta' given"),
        ({}, "rows: 'solver' given"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.heat_map(data, **wrong)
    with pytest.raises(ValueError, match="value: 'name' given, which has no numbers"):
        plots.heat_map(data.assign(name="x"), "name", rows="λ", columns="α")
    with pytest.raises(TypeError, match="data: int given, expected a DataFrame"):
        plots.heat_map(3)


def test_the_sphere_shows_the_feasible_set_and_the_proved_optima():
    figure = plots.sphere({}, PAPER)
    axes = figure.axes[0]
    optimum = srnc.solve(PAPER)
    lines = {line.get_label(): np.array(line.get_data_3d()) for line in axes.get_lines()}
    (unit,) = lines["optimum, proved"].T
    expected = [kernel / np.linalg.norm(kernel) for kernel in (optimum.kernel, *optimum.alternatives)]
    np.testing.assert_allclose(unit, expected[0], atol=1e-12)
    np.testing.assert_allclose(lines["a / ‖a‖"][:, 0], [1, 0, 0])
    rings = [points for label, points in lines.items() if label.startswith("_") and points.shape[1] > 9]
    assert len(rings) >= 4  # around the two frequencies with one sign of either
    for points in rings:
        # Between two points of a grid of 2.25 degrees the level is where the ranks would be if they were linear.
        ranks = srnc.stable_ranks(points.T, 64)
        np.testing.assert_allclose(ranks, 32, rtol=2e-3)
    with pytest.raises(ValueError, match="ax: axes of the projection 'rectilinear' given, expected '3d'"):
        plots.sphere({}, PAPER, ax=Figure().add_subplot())
    with pytest.raises(ValueError, match=r"view: 3 given, expected elevation and azimuth in degrees"):
        plots.sphere({}, PAPER, view=3)
    with pytest.raises(ValueError, match="problem: a kernel of 36 entries given"):
        plots.sphere({}, LAYER)


def test_docstrings_tell_arguments_errors_and_an_example():
    for name in NAMES:
        text = inspect.getdoc(getattr(plots, name))
        for section in ("Parameters", "Returns", "Raises", "Examples"):
            assert f"\n{section}\n{'-' * len(section)}\n" in text, (name, section)


@slow
def test_examples_run():
    for module in pkgutil.iter_modules(plots.__path__, "srnc_manifold.plots."):
        assert doctest.testmod(importlib.import_module(module.name)).failed == 0
    assert doctest.testmod(srnc.result).failed == 0
