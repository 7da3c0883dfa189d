"""Reports as HTML: what they say, that nothing in them is fetched or run that should not be, and what is refused."""

import json
import re
import sys
import time
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from tiers import slow
from typer.testing import CliRunner

import srnc_manifold as srnc
from srnc_manifold.cli import app
from srnc_manifold.comparison import Comparison
from srnc_manifold.comparison.html import figures
from srnc_manifold.comparison.html.sections import HARDEST
from srnc_manifold.comparison.html.words import Facts, findings, headline
from srnc_manifold.comparison.report import DETAILED
from srnc_manifold.comparison.rows import Row
from srnc_manifold.plots.kernels import SLICES, is_cut, mosaic

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>$\\alpha$ & {{ 7*7 }} %{x} \x1b[31m"


def row(problem, solver, seed, gap, evaluations=10, time=1.0, *, feasible=True, **more):
    """A run whose gap is measured from an objective of 1, in units of a squared norm of 2."""
    errors = {"stable_rank_error": 0.0 if feasible else 1e-3, "spectral_norm_error": 0.0}
    told = {"status": "converged", "message": "", "settings": solver, "environment": "here"}
    scores = {"objective": 1 + 2 * gap, "squared_norm": 2.0, "evaluations": evaluations, "time": time}
    return Row(problem, solver, seed, **(told | scores | errors | {"feasible": feasible} | more))


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self._inside = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = self.elements[-1]

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        tag, attributes = self._inside or ("", {})
        if tag == "script":
            self.scripts.append((attributes, data))
        elif tag != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def tables(self):
        return {a["data-for"]: json.loads(text) for a, text in self.scripts if "data-for" in a}

    def figures(self):
        return [json.loads(text) for a, text in self.scripts if a == {"type": "application/json"}]


@cache
def compared():
    problems = {
        "one axis": srnc.SRNProblem([1.0, 0.5, -0.2], 16, stable_rank_fraction=0.7),
        HOSTILE: srnc.SRNProblem(np.random.default_rng(0).standard_normal((2, 3, 3, 3)), 6, stable_rank_fraction=0.8),
    }
    solvers = {"exact": srnc.solvers.Exact(), "a <b>bold</b> one": srnc.solvers.AugmentedLagrangian()}
    return srnc.compare(problems, solvers, range(2), budget=srnc.Budget(max_evaluations=60), n_jobs=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return srnc.report(compared(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def shown(path):
    return Page(path.read_text(encoding="utf-8"))


def test_nothing_is_fetched_and_nothing_runs_but_the_page_s_own_scripts(path, shown):
    policy = dict(next(a for _, a in shown.elements if a.get("http-equiv") == "Content-Security-Policy"))["content"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)' blob:;", policy)[1]
    assert policy.startswith("default-src 'none'; ")
    for tag, attributes in shown.elements:
        assert "src" not in attributes
        assert tag not in ("img", "link", "iframe", "object", "base")
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
        if tag == "script":
            assert attributes.get("nonce") == nonce or attributes["type"] == "application/json"
    # No script of the page was ended early: there are as many as the template has.
    assert sum("nonce" in attributes for tag, attributes in shown.elements if tag == "script") == 2
    assert path.stat().st_size < 7e6  # of which plotly is 4.8 MB


def test_hostile_names_are_shown_as_they_are(path, shown):
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert HOSTILE.replace("\x1b", "\\x1b") in shown.words
    assert any(r[0] == HOSTILE.replace("\x1b", "\\x1b") for r in shown.tables()["grid"])
    names = {trace.get("name") for figure in shown.figures() for trace in figure["data"]}
    assert "a &lt;b&gt;bold&lt;/b&gt; one" in names  # plotly would take the rest for bold


def test_tables_are_those_of_the_comparison(shown):
    tables, table = shown.tables(), compared().table()
    assert [cells[0] for cells in tables["solvers"]] == list(compared().winners().index)
    assert [cells[1][1] for cells in tables["solvers"]] == list(compared().winners()["solved"])
    assert len(tables["all"]) == len(table)
    assert len(tables["runs"]) == len(compared().row_list) == 6  # nothing in exact is random
    gap = 1 + [column.title for column in DETAILED].index("gap")
    assert [cells[gap][1] for cells in tables["all"]] == [g if np.isfinite(g) else 1e308 for g in table["gap"]]


def test_figures_have_the_data_of_the_profiles(shown):
    data = compared().profile("performance")
    own = data[data["solver"] == "exact"]
    trace = next(t for t in figures.shares(data).data if t.name == "exact")
    np.testing.assert_array_equal(trace.y[1:-1], own["share"])
    np.testing.assert_array_equal(trace.x[1:-1], own["ratio"])
    assert trace.line.color == srnc.plots.colour("exact")
    # Performance by evaluations and time, data, ecdf, quality, hits, pairs; then four for each of two problems.
    assert len(shown.figures()) == 7 + 2 * 4
    assert "Not drawn" not in shown.words


def test_each_problem_has_its_kernel_its_singular_values_and_its_convergence(shown):
    assert [a["id"] for tag, a in shown.elements if tag == "article"] == ["problem-1", "problem-2"]
    problem = compared().problems["one axis"].problem
    kernel, spectrum, convergence, violation = shown.figures()[7:11]
    assert kernel["data"][0]["type"] == "bar"
    before = figures.spectrum(problem, {"exact": problem.kernel}, {}).data[0]
    np.testing.assert_allclose(before.y.max(), problem.spectral_norm, rtol=1e-12)  # rounding
    assert [trace["name"] for trace in spectrum["data"]] == ["before", "exact", "a &lt;b&gt;bold&lt;/b&gt; one"]
    assert "exact" in [trace.get("name") for trace in convergence["data"]]
    assert "violation" in violation["layout"]["yaxis"]["title"]["text"]
    assert problem.describe() in shown.words


def test_what_is_needed_to_repeat_it(shown):
    assert "augmented-lagrangian" in shown.words
    assert "seeds=range(2)" in shown.words
    header = next(iter(compared().environments.values()))
    assert all(value in shown.words for value in header.values())
    code = re.search(r"solvers = (\[.*?\])", shown.words)[1]
    assert eval(code) == ["exact", "augmented-lagrangian"]
    (limits,) = compared().budgets.values()
    told = ", ".join(f"{name}={limit!r}" for name, limit in limits.items())
    assert told
    assert f"budget = srnc.Budget({told})" in shown.words
    assert f"Limits of the runs: {told}." in shown.words


def test_an_image_of_a_kernel_has_every_entry_in_its_place():
    kernel = np.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2)
    image = mosaic(kernel, 2)
    assert image.shape == (6, 9)  # a line between slices
    for o, i in np.ndindex(2, 3):
        np.testing.assert_array_equal(image[3 * o : 3 * o + 2, 3 * i : 3 * i + 2], kernel[o, i])
    assert np.isnan(image).sum() == image.size - kernel.size
    np.testing.assert_array_equal(mosaic(np.eye(3), 0), np.eye(3))
    assert mosaic(np.zeros((40, 50, 3)), 1).shape == (SLICES, 4 * SLICES)
    assert is_cut((40, 50, 3), 1)
    assert mosaic(np.zeros((2, 2, 3, 4, 5)), 3).shape == (2 * 13, 2 * 6)


# -- what is said in words ---------------------------------------------------------------------------------------------


def said(rows, **more):
    return {one.title: one.texts for one in findings(Facts(Comparison({}, rows, **more)))}


def test_the_winner_is_told_by_how_much():
    rows = [row(f"p{k}", "good", 0, 0.0, bound=1.0) for k in range(8)]
    rows += [row(f"p{k}", "poor", 0, 0.5 if k < 7 else 0.0) for k in range(8)]
    told = said(rows)
    first, second, *_ = told["good wins"]
    assert first == "It solves 100 % of the runs, averaged over 8 problems. The next one, poor, solves 12.5 %."
    # Seven wins and no loss: 2 / 2^7.
    assert "beats poor on 7 problems, loses on 0 and ties on 1: hardly chance (sign test, p = 0.016)" in second
    assert told["What is proved"] == (
        "The optimum is known on 8 of 8 problems, by a formula or by a proof of a run.",
        "Runs that proved their own result: good on 8.",
    )
    assert headline(Facts(Comparison({}, rows))) == "2 solvers on 8 problems, 1 seed: 16 runs"


def test_equals_are_told_apart_by_their_times_where_these_can_be_compared():
    rows = [row("p", "slow", 0, 0.0, time=3.0), row("p", "fast", 0, 0.0, time=1.5)]
    told = said(rows)
    text = told["fast and slow win together"][1]
    assert "fast, with 1.50 s a run, the median over the problems; slow takes 3.00 s, 2 times as long" in text
    elsewhere = said([rows[0], row("p", "fast", 0, 0.0, time=1.5, environment="there")])
    assert not any("fastest" in text for texts in elsewhere.values() for text in texts)
    assert "Times are of several machines or versions, and are not compared." in elsewhere["What failed"]


def test_what_failed_is_told():
    rows = [
        row("p", "one", 0, 0.1, status="limit"),
        row("p", "two", 0, 0.0, feasible=False),
        Row("p", "three", 0, "failed", "MemoryError: \x1b[1mtoo large"),
        Row("p", "four", 0, "unsupported", "no"),
        Row("q", "", 0, "unavailable", "pip install something"),
    ]
    told = said(rows, interrupted=True)["What failed"]
    assert told == (
        "Failed: 1 run, three 1; such as three on p: MemoryError: \\x1b[1mtoo large.",
        "Ended at a limit: 1 run, one 1.",
        "Not feasible, of the 2 that returned a kernel: 1 run, two 1.",
        "Not supported: four on 1 problem.",
        "Not available here: 1 problems: q.",
        "The comparison was interrupted, or is still running: some runs are missing.",
    )
    assert "Nothing failed" in said([row("p", "one", 0, 0.0)])


def test_a_bound_without_an_optimum_is_told():
    told = said([row("p", "one", 0, 0.01, bound=0.9), row("q", "one", 0, 0.0)])["What is proved"]
    assert "by 6e-02 in the median, and by 6e-02 at most" in told[1]  # (1.02 − 0.9) / 2
    assert told[2] == "On 1 nothing is known but what the runs found."


def test_almost_all_is_not_all():
    rows = [row(f"p{k}", "one", 0, 0.0) for k in range(299)] + [row("last", "one", 0, 0.0, feasible=False)]
    assert "99.7 %" in next(iter(said(rows).values()))[0]


# -- many problems, and none -------------------------------------------------------------------------------------------


def test_of_many_problems_the_hardest_have_sections(tmp_path):
    rows = [row(f"p{k}", s, 0, 0.5 if k in (7, 9) else 0.0, bound=1.0) for k in range(30) for s in ("one", "two")]
    seen = []
    path = srnc.report(Comparison({}, rows), tmp_path / "many.html", progress=lambda *words: seen.append(words))
    shown = Page(path.read_text(encoding="utf-8"))
    done, totals = [d for _, d, _ in seen], {t for _, _, t in seen}
    assert done == sorted(set(done))
    assert totals == {done[-1]}
    assert f"Of 30 problems these are the {HARDEST} hardest" in shown.words
    assert len([tag for tag, _ in shown.elements if tag == "article"]) == HARDEST
    titles = [text for text in shown.text if re.fullmatch(r"\d+\. p\d+", text)]
    assert titles[:2] == ["1. p7", "2. p9"]
    assert len(shown.tables()["grid"]) == 30


def test_without_runs_there_is_a_report_that_says_so(tmp_path):
    rows = [Row("q", "", 0, "unavailable", "pip install something")]
    shown = Page(srnc.report(Comparison({}, rows), tmp_path / "none.html").read_text(encoding="utf-8"))
    assert "Nothing was run" in shown.words


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_existing_files_are_kept_unless_they_may_be_replaced(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(FileExistsError, match="path: .*report.html' given, which exists"):
        srnc.report(compared(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "comparison: int given, expected a Comparison, or the path of a store"),
        ("nothing.db", FileNotFoundError, "no such store"),
        ("other.db", ValueError, "which is not a store"),
    ],
)
def test_what_is_no_comparison_is_refused(tmp_path, given, error, message):
    (tmp_path / "other.db").write_text("x" * 200)
    with pytest.raises(error, match=message):
        srnc.report(tmp_path / given if isinstance(given, str) else given, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_progress_that_cannot_be_called_is_refused(tmp_path):
    with pytest.raises(TypeError, match="progress: True given, expected a function"):
        srnc.report(compared(), tmp_path / "report.html", progress=True)


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match="which is a folder"):
        srnc.report(compared(), tmp_path, overwrite=True)


@pytest.mark.parametrize("name", ["jinja2", "itables", "plotly"])
def test_a_missing_library_is_named(tmp_path, monkeypatch, name):
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"report: needs {name}.*pip install 'srnc-manifold\[report\]'"):
        srnc.report(compared(), tmp_path / "report.html")


def test_the_command_writes_a_report_of_a_store(tmp_path):
    store, problem = tmp_path / "study.db", srnc.SRNProblem([1.0, 0.5], 8, stable_rank_fraction=0.95)
    srnc.compare({"p": problem}, ["exact"], [0], store=store, n_jobs=1)
    out = tmp_path / "new" / "report.html"
    done = CliRunner().invoke(app, ["report", str(store), "--output", str(out)])
    assert done.exit_code == 0
    assert done.output.strip() == f"Saved: {out}"
    assert "exact is alone" in out.read_text(encoding="utf-8")
    assert isinstance(CliRunner().invoke(app, ["report", str(store), "--output", str(out)]).exception, FileExistsError)
    assert CliRunner().invoke(app, ["report", str(store), "--output", str(out), "--overwrite"]).exit_code == 0


# -- LaTeX ------------------------------------------------------------------------------------------------------------


def test_latex_prints_a_small_gap_as_what_it_is():
    rows = [row("p_1 & 50%", "one", 0, 0.0, bound=1.0), row("p_1 & 50%", "two", 0, 1.1e-9)]
    text = Comparison({}, rows).to_latex()
    assert r"p\_1 \& 50\% & two & 1/1 & 0e+00 & 1e-09 & 1 & 1.00 s & converged \\" in text
    assert text.startswith(r"\begin{tabular}{llrrrrrl}")
    many = Comparison({}, [row(f"p{k}", "one", 0, 0.0) for k in range(41)])
    assert r"\begin{longtable}" in many.to_latex(details=True)


# -- in a browser -----------------------------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_tables_sort_and_filter_and_curves_go_on_and_off(path, scheme, opened):
    shown, asked, complaints = opened(390, scheme)
    shown.goto(path.as_uri())
    shown.wait_for_selector("html[data-ready]")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390  # wide tables scroll by themselves

    def until(condition):  # the page forbids the scripts that playwright would wait by
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            shown.wait_for_timeout(100)

    def seeds():
        return shown.locator("#runs tbody tr td:nth-child(3)").all_inner_texts()

    header = shown.locator("#runs thead th").nth(2)
    header.click()
    until(lambda: seeds() == ["0", "0", "0", "0", "1", "1"])  # a click is dealt with a little later
    header.click()
    until(lambda: seeds() == ["1", "1", "0", "0", "0", "0"])
    shown.locator("#runs_wrapper input[type=search]").fill("bold")
    until(lambda: len(seeds()) == 4)
    shown.locator("#runs_wrapper input[type=search]").fill("")

    plot = shown.locator("#figures .plot").first
    plot.scroll_into_view_if_needed()
    shown.wait_for_selector("#figures .plot .legendtoggle")
    drawn = "document.querySelector('#figures .plot')._fullData.map((trace) => trace.visible)"
    assert shown.evaluate(drawn) == [True, True]
    plot.locator(".legendtoggle").first.click()
    until(lambda: "legendonly" in shown.evaluate(drawn))
    for place in shown.locator(".plot").all():
        place.scroll_into_view_if_needed()
    every = "[...document.querySelectorAll('.plot')].every((place) => place.drawn)"
    until(lambda: shown.evaluate(every))
    assert not complaints
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [path.as_uri()]
