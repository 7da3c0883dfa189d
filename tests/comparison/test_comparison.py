import csv
import functools
import io

import joblib
import numpy as np
import pandas as pd
import pytest
import rich.console

import srnc_manifold as srnc
from srnc_manifold.comparison import report
from srnc_manifold.comparison.rows import Row
from srnc_manifold.costs import LogSumExp
from srnc_manifold.registry import COST_NAMES, DEFAULT_SOLVERS, SOLVER_NAMES, solver_from_name
from srnc_manifold.solvers import Budget, MultiStart, Riemannian

FAST = ["exact", "trust-regions:lse", "conjugate-gradient:penalty", "slsqp"]


class Broken(LogSumExp):
    def value(self, view, xp):
        raise RuntimeError("broken cost")


class Picky(srnc.solvers.Exact):
    """A solver that takes nothing."""

    name = "picky"

    def supports(self, problem):
        return False, "not for this kernel"


@pytest.fixture(scope="module")
def problems():
    rng = np.random.default_rng(0)
    return [
        srnc.NamedProblem("paper", srnc.SRNProblem([1, 0, 0], 64, stable_rank=32), 32 / 3, "note of the paper"),
        srnc.NamedProblem("channels [2]", srnc.partway(rng.standard_normal((2, 2, 3)), 8, 0.5)),
        srnc.UnavailableProblem("missing", "pip install something"),
    ]


@pytest.fixture(scope="module")
def comparison(problems):
    solvers = {name: solver_from_name(name) for name in FAST} | {"broken": Riemannian(Broken()), "picky": Picky()}
    return srnc.compare(problems, solvers, seeds=[0, 1, 2])


def test_rows_hold_what_the_problem_says(comparison):
    rows = comparison.rows
    for (problem, solver, seed), result in comparison.results.items():
        (row,) = rows[(rows.problem == problem) & (rows.solver == solver) & (rows.seed == seed)].to_dict("records")
        assert row["objective"] == result.evaluation.objective
        assert row["feasible"] == result.evaluation.feasible
        if result.restored is None:
            assert np.isnan(row["restored_objective"])
        else:
            assert row["restored_objective"] == result.restored.objective
        assert (row["evaluations"], row["gradients"]) == (result.n_evaluations, result.n_gradients)
        assert row["status"] == result.status.value
        if solver == "exact" or (solver in FAST and seed == 2):
            direct = srnc.solve(comparison.problems[problem].problem, solver_from_name(solver), rng=seed)
            assert np.array_equal(direct.kernel, result.kernel)


def test_what_does_not_work_is_a_row_that_says_why(comparison):
    rows = comparison.rows.set_index(["problem", "solver"]).sort_index()
    assert rows.loc[("channels [2]", "picky")].status == "unsupported"
    assert rows.loc[("channels [2]", "picky")].message == "not for this kernel"
    assert set(rows.loc[("paper", "broken"), "status"]) == {"failed"}
    assert "RuntimeError: broken cost" in rows.loc[("paper", "broken"), "message"].iloc[0]
    assert rows.loc[("missing", "")].message == "pip install something"


def test_a_solver_that_raises_is_a_row_too(problems):
    class Raises(srnc.solvers.Exact):
        def run(self, *args, **kwargs):
            raise OSError("no more memory")

    rows = srnc.compare(problems[:1], {"raises": Raises(), "exact": "exact"}, seeds=[0]).rows
    assert rows.status.tolist() == ["failed", "converged"]
    assert rows.message[0] == "OSError: no more memory"


def test_the_table_ranks_by_violation_then_gap(comparison):
    table = comparison.table()
    paper = table[table.problem == "paper"]
    assert paper.solver.tolist()[0] == "exact"
    assert paper.success.tolist() == sorted(paper.success, reverse=True)
    assert paper.set_index("solver").success["trust-regions:lse"] == 0
    assert np.isnan(paper.set_index("solver").gap["trust-regions:lse"])
    assert paper.set_index("solver").gap["exact"] == 0
    assert (paper.reference_kind == "optimum").all()
    channels = table[(table.problem == "channels [2]") & (table.runs > 0)]
    assert (channels.reference_kind == "optimum").all()  # proved by a bound
    assert channels.restored_gap.min() >= 0
    assert channels.set_index("solver").bound_gap["exact"] == 0
    assert channels.set_index("solver").runs["slsqp"] == 3
    assert table[table.solver == "exact"].runs.tolist() == [1, 1]  # nothing random in it: run once


def test_medians_and_spread(comparison):
    rows, table = comparison.rows, comparison.table().set_index(["problem", "solver"])
    part = rows[(rows.problem == "paper") & (rows.solver == "trust-regions:lse")]
    record = table.loc[("paper", "trust-regions:lse")]
    assert record.objective == np.median(part.objective)
    assert record.evaluations == np.median(part.evaluations)
    assert record.spread == pytest.approx((part.objective.max() - part.objective.min()) / part.squared_norm.iloc[0])


def test_the_report_says_everything_in_words(comparison):
    report = comparison.report()
    for text in ("paper", "note of the paper", "channels [2]", "optimum 10.6667", "violation", "picky: unsupported",
                 "missing: skipped, pip install something", "feas.", "left out: missing"):  # fmt: skip
        assert text in report
    assert "to bound" not in report
    assert max(map(len, report.splitlines())) <= 80
    details = comparison.report(details=True)
    assert "to bound" in details
    assert 80 < max(map(len, details.splitlines())) <= 126


def test_the_report_is_plain_text_wherever_it_is_asked_for(comparison, monkeypatch):
    before = comparison.report()
    for name in ("FORCE_COLOR", "JUPYTER_COLUMNS", "COLUMNS", "DATABRICKS_RUNTIME_VERSION"):
        monkeypatch.setenv(name, "40")
    assert comparison.report() == before
    assert "\x1b" not in before


def test_winners(comparison):
    winners, rows = comparison.winners(), comparison.rows
    assert winners.index[0] == "exact"
    assert winners.columns.tolist() == ["solved", "time", "paper", "channels [2]"]
    assert winners.solved.tolist() == sorted(winners.solved, reverse=True)
    assert winners.solved["exact"] == 1
    assert winners.time["exact"] == pytest.approx(rows[rows.solver == "exact"].time.median())
    slsqp = rows[(rows.solver == "slsqp") & (rows.problem == "paper")]
    expected = slsqp.feasible & ((slsqp.objective - 32 / 3) / slsqp.squared_norm <= 1e-6)
    assert winners.paper["slsqp"] == expected.mean() > 0
    assert winners.paper["broken"] == winners.solved["broken"] == 0
    assert np.isnan(winners.paper["picky"])
    assert winners.solved["picky"] == 0
    assert winners.solved["trust-regions:lse"] == 0  # not feasible, though below the optimum
    table = comparison.table()
    for solver, problem in (("exact", "paper"), ("slsqp", "channels [2]")):
        (share,) = table[(table.solver == solver) & (table.problem == problem)].solved
        assert share == winners.loc[solver, problem]


def test_winners_of_problems_with_awkward_names(problems):
    problem = problems[0].problem
    winners = srnc.compare({"time": problem, "solved": problem, "x": problem}, "exact").winners()
    assert winners.columns.tolist() == ["solved", "time", "problem time", "problem solved", "x"]
    assert winners.loc["exact", "solved"] == winners.loc["exact", "problem time"] == 1


@pytest.mark.parametrize("n", [4, 12, 17, 60])
def test_who_wins_fits_on_one_screen(comparison, n):
    table = comparison.table()
    own = table[table.problem == "paper"]
    solvers = DEFAULT_SOLVERS[: 20 if n == 12 else 10]
    many = pd.concat([own.iloc[k % len(own) :][:1].assign(problem=f"layer {i} of a network", solver=solver)
                      for i in range(n) for k, solver in enumerate(solvers)])  # fmt: skip
    console = rich.console.Console(file=io.StringIO(), width=80)
    for part in report.winners_parts(many):
        console.print(part)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 25
    text = " ".join(lines)
    assert all(solver in text for solver in solvers)
    assert "…" not in text
    assert (f"{n} layer {n - 1} of a network" in text) == (n < 60)


def test_a_notebook_shows_who_wins(problems, comparison):
    html = comparison._repr_html_()
    assert html.startswith("<b>Comparison</b><table>")
    assert "100 %" in html
    assert "<th style='text-align: right'>channels [2]</th>" in html
    strange = srnc.compare({"<b>&": problems[0].problem}, {"<i>": srnc.solvers.Exact()})._repr_html_()
    assert "&lt;i&gt;" in strange
    assert "<i>" not in strange
    assert "<b>&" not in strange


def test_files_and_figures(comparison, tmp_path):
    paths = comparison.save(tmp_path / "new" / "folder")
    rows, table, figure = paths
    pd.testing.assert_frame_equal(
        pd.read_csv(rows, keep_default_na=True).fillna({"solver": ""}), comparison.rows, check_dtype=False
    )
    assert len(pd.read_csv(table)) == len(comparison.table())
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.stat().st_size > 10_000


def test_plots_of_runs(comparison, tmp_path):
    runs = {solver: comparison.results["paper", solver, 0] for solver in FAST}
    problem = comparison.problems["paper"].problem
    srnc.plots.convergence(runs, problem, tmp_path / "convergence.png")
    srnc.plots.convergence(runs["slsqp"], problem, tmp_path / "one.png")
    srnc.plots.trajectory(runs, problem, tmp_path / "trajectory.png")
    assert len(list(tmp_path.glob("*.png"))) == 3
    other = comparison.problems["channels [2]"].problem
    with pytest.raises(ValueError, match="a kernel of 12 entries given, a trajectory is drawn for 3"):
        srnc.plots.trajectory(runs, other)


@pytest.mark.usefixtures("two_threads")
def test_processes_change_nothing(problems):
    solvers = ["trust-regions:lse", "particle-swarm:lse", "slsqp", "cobyqa"]
    budget = Budget(max_evaluations=300)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (srnc.compare(problems, solvers, seeds=[0, 1], budget=budget, n_jobs=n) for n in (1, 2))
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    pd.testing.assert_frame_equal(one.rows.drop(columns="time"), two.rows.drop(columns="time"))
    assert one.results.keys() == two.results.keys()
    for key in one.results:
        assert np.array_equal(one.results[key].kernel, two.results[key].kernel)


def test_every_solver_of_the_registry_runs(problems):
    comparison = srnc.compare(problems[:2], DEFAULT_SOLVERS, seeds=[0], budget=Budget(max_evaluations=60))
    assert set(comparison.rows.status) <= {"converged", "limit", "stalled", "unsupported"}
    assert len(comparison.rows) == 2 * len(DEFAULT_SOLVERS)


def test_one_seed_one_start(problems):
    histories = srnc.compare(problems[0], ["trust-regions:lse", "gradient-descent:lse"], [4], budget=Budget(10)).results
    starts = [result.history.points[0] for result in histories.values()]
    np.testing.assert_allclose(starts[0], starts[1], atol=1e-15)


def test_rows_are_written_as_they_come_and_an_interrupt_loses_nothing(problems, tmp_path):
    path, seen = tmp_path / "rows.csv", []

    def progress(done, total, row):
        if row is None:
            assert (done, total) == (0, 8)
            return
        seen.append((done, total, row))
        with open(path, newline="") as file:
            assert sum(1 for _ in csv.DictReader(file)) == len(seen) + 1  # and the unavailable one
        if done == 3:
            raise KeyboardInterrupt

    comparison = srnc.compare(problems, ["slsqp", "trust-regions"], seeds=[0, 1], progress=progress, output=path)
    assert comparison.interrupted
    assert len(comparison.results) == 3
    assert len(comparison.rows) == 4
    assert comparison.report()
    assert seen[0][1] == 8


def test_an_interrupt_inside_a_run_stops_the_comparison(problems):
    class Interrupted(LogSumExp):
        def value(self, view, xp):
            raise KeyboardInterrupt

    solvers = {"interrupted": Riemannian(Interrupted()), "slsqp": "slsqp"}
    comparison = srnc.compare(problems[:1], solvers, seeds=[0], n_jobs=1)
    assert comparison.interrupted
    assert comparison.rows.message.tolist() == ["interrupted"]


def test_ways_to_name_problems_and_solvers(problems):
    problem = problems[0].problem
    for given in (problem, [problem], {"p": problem}, problems[0]):
        for solvers in ("exact", ["exact"], srnc.solvers.Exact(), {"e": srnc.solvers.Exact()}):
            assert srnc.compare(given, solvers).rows.status.tolist() == ["converged"]
    assert len(srnc.compare("paper", "exact").rows) == 4
    labels = srnc.compare(problem, [MultiStart(n_starts=2), "slsqp"], [0]).rows.solver.tolist()
    assert labels == ["slsqp[n_starts=2]", "slsqp"]
    with pytest.raises(TypeError, match="problems: int given as 'p'"):
        srnc.compare({"p": 3})
    for arguments in ((5,), ("paper", 5), ("paper", "exact", 5)):
        with pytest.raises(TypeError, match="5 given, expected"):
            srnc.compare(*arguments)
    with pytest.raises(TypeError, match=r"budget: 5 given, expected a srnc\.Budget"):
        srnc.compare("paper", "exact", budget=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], "exact"), "problems: none given"),
        (("paper", []), "solvers: none given"),
        (("paper", "exact", []), "seeds: none given"),
        (("paper", "exact", [-1]), "seeds: -1 given"),
        (("paper", "exact", [0.5]), "seeds: 0.5 given"),
        (("paper", "newton"), "solver: 'newton' given, expected one of exact, slsqp"),
        (("paper", "trust-regions:huber"), "but its cost: 'huber' given, expected one of lse, exact-max, penalty"),
        (("paper", "slsqp:lse"), "slsqp takes no cost"),
        (("paper", ["exact", "exact"]), "'exact' is given twice"),
        ((["paper", "paper"], "exact"), "is given twice; names must differ"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(arguments, message):
    with pytest.raises(ValueError, match=message):
        srnc.compare(*arguments)


def test_wrong_kinds():
    with pytest.raises(TypeError, match="problems: int given"):
        srnc.compare([3])
    with pytest.raises(TypeError, match="solvers: 3 given"):
        srnc.compare("paper", [3])


def test_names_of_the_registry():
    for name in SOLVER_NAMES:
        assert isinstance(solver_from_name(name), srnc.solvers.Solver)
    for name in COST_NAMES:
        assert str(solver_from_name(f"trust-regions:{name}").cost) == name


def test_a_cluster_s_backend_can_be_used(problems):
    solvers, budget = ["slsqp", "particle-swarm"], Budget(max_evaluations=400)
    run = functools.partial(srnc.compare, problems[:1], solvers, [0, 1, 2], budget=budget)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    alone = run()
    with joblib.parallel_config(backend="threading"):  # any registered backend of joblib, dask's for one
        together = run(n_jobs=3)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    pd.testing.assert_frame_equal(alone.rows.drop(columns="time"), together.rows.drop(columns="time"))


def test_an_interrupt_before_anything_is_done(problems, tmp_path):
    def progress(*_):
        raise KeyboardInterrupt

    comparison = srnc.compare(problems[:1], ["slsqp"], [0], progress=progress)
    assert comparison.interrupted
    assert len(comparison.table()) == 0
    assert "feas." in comparison.report()
    assert len(comparison.winners()) == 0
    assert comparison._repr_html_().startswith("<b>Comparison</b><table>")
    assert [path.name for path in comparison.save(tmp_path)] == ["rows.csv", "table.csv"]


def test_one_failing_seed_hides_nothing(problems):
    class FailsOnce(Riemannian):
        def run(self, run):
            if run.rng.bit_generator.seed_seq.entropy == 0:
                raise RuntimeError("not today")
            return super().run(run)

    comparison = srnc.compare(problems[:1], {"fails once": FailsOnce()}, [0, 1, 2])
    record = comparison.table().iloc[0]
    assert record.runs == 3
    assert np.isfinite(record.spread)
    assert "0/3" in comparison.report()


def test_what_cannot_be_sent_to_a_process_is_run_in_this_one(problems):
    class Refuses(srnc.solvers.Exact):
        def supports(self, problem):
            raise ValueError("who asks")

    class NoPickle(LogSumExp):
        def __reduce__(self):
            raise TypeError("stays here")

    solvers = {"refuses": Refuses(), "no pickle": Riemannian(NoPickle())}
    with pytest.warns(UserWarning, match="1 runs, such as of 'no pickle', cannot be sent to another process"):
        rows = srnc.compare(problems[:1], solvers, [0], n_jobs=2).rows
    assert rows.status[0] == "failed"
    assert "who asks" in rows.message[0]
    assert rows.objective.notna()[1]


def test_many_problems_are_summarized(problems, tmp_path):
    def row(k, solver, seed):
        good = solver == "good" or k == 3
        found = {"feasible": good, "stable_rank_error": 1e-9 if good else 0.1, "spectral_norm_error": 1e-12}
        scores = {"objective": 1.0 + (k >= 20), "squared_norm": 2.0, "time": 0.01 * k}
        if solver == "broken":
            return Row(f"p{k}", solver, seed, "failed", "ValueError: no")
        return Row(f"p{k}", solver, seed, "converged", "done", **found, **scores)

    names = [f"p{k}" for k in range(40)]
    made = {name: srnc.NamedProblem(name, problems[0].problem, 1.0) for name in names}
    solvers = ("good", "bad", "broken")
    rows = [row(k, solver, seed) for k in range(40) for solver in solvers for seed in range(2)]
    comparison = srnc.Comparison(made, rows)
    text = comparison.report()
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 80
    lines = {line.split()[0]: line.split() for line in text.partition("All 40 problems")[2].splitlines() if line}
    # All feasible; half of them at the optimum, half of them above it by half of the squared norm; 0 to 390 ms.
    assert lines["good"] == ["good", "40", "100", "%", "1e-09", "2e-01", "5e-01", "0.20", "s", "0.39", "s"]
    assert lines["bad"][1:5] == ["40", "2", "%", "1e-01"]
    assert "solved by none: 20 problems: p20, p21, p22, p23, p24, p25, p26, p27 and 12 more" in text.replace("\n", " ")
    assert "broken: failed on 40, such as p0: ValueError: no" in text
    details = comparison.report(details=True)
    assert all(f"\n{name}: " in details for name in names)
    assert "p39" not in comparison._repr_html_().partition("<p>")[2]
    figure = comparison.plot(tmp_path / "figure.png")
    assert figure.get_size_inches()[1] < 10
    assert "one of 40 problems" in [text.get_text() for text in figure.legends[0].get_texts()]
    few = srnc.Comparison(made, [one for one in rows if int(one.problem[1:]) < 20])
    assert "together" not in few.report()


def test_long_names_are_folded_and_numbers_kept(problems):
    comparison = srnc.compare(problems[:1], {"a long name " * 5: srnc.solvers.Exact(), "slsqp": MultiStart()}, [0])
    assert "…" not in comparison.report()
    assert "10.6667" in comparison.report()
