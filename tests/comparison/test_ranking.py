"""The reference set: its optima are proved; and ranks among the package's solvers."""

import hashlib

import numpy as np
import pytest
from srnc_manifold.problems import hard, reference
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.cli import app
from srnc_manifold.comparison import ranking

ENTRIES = {entry.name: entry for entry in srnc.load_family("reference")}
FEW = "paper*"


def test_the_set_is_large_and_of_many_kinds():
    assert 55 <= len(ENTRIES) <= 70
    problems = [entry.problem for entry in ENTRIES.values()]
    assert len({problem.digest() for problem in problems}) == len(problems)
    assert {problem.regime for problem in problems} == {"reduce", "raise"}
    assert {len(problem.input_size) for problem in problems} == {0, 1, 2, 3}
    assert sum(problem.geometry.stride != (1,) * len(problem.input_size) for problem in problems) >= 5


@pytest.mark.parametrize("name", some(ENTRIES, 10))
def test_every_optimum_is_feasible_and_proved(name):
    """The bound is computed anew, from the kept certificate, in plain NumPy."""
    problem, result = ENTRIES[name].problem, reference.optima()[name]
    found = problem.evaluate(result.kernel)
    assert found.violation <= 1e-12  # the kernel is kept bit for bit, its scores have rounding errors
    assert found.objective == pytest.approx(ENTRIES[name].optimum, abs=1e-12 * problem.squared_norm)
    bound = result.bound.verify(problem)
    assert bound <= found.objective
    assert found.objective - bound <= reference.CERTIFIED * problem.squared_norm


def test_the_set_is_frozen():
    """Kernels and targets are those of the file, bit for bit: whoever has a rank has it on these problems."""
    names = sorted(ENTRIES)
    digests = "".join(ENTRIES[name].problem.digest() for name in names)
    assert hashlib.sha256((digests + "".join(names)).encode()).hexdigest()[:16] == "e5c9560aaff58a44"


def test_every_solver_of_the_package_has_rows_of_every_problem():
    rows = reference.rows()
    assert len(rows["solver"].unique()) >= 12
    for _, own in rows.groupby("solver"):
        assert set(own["problem"]) == set(ENTRIES)
        assert set(own["seed"]) <= set(reference.SEEDS)
    assert rows["evaluations"].max() <= reference.BUDGET.max_evaluations + 1


def test_the_table_by_hand():
    """Two problems of which the exact solver's kept rows say that it solves them, and one of two runs of another."""
    found = srnc.rank("exact", only=FEW, n_jobs=1)
    table = found.table.set_index("solver")
    assert found.rank == table.loc["exact", "rank"]
    assert list(table["own"][table["own"]].index) == ["exact"]
    kept = reference.rows()
    for solver in ("augmented-lagrangian", "gradient-descent:lse"):
        own = kept[kept["solver"].eq(solver) & kept["problem"].str.startswith("paper")]
        optima = own["problem"].map({name: entry.optimum for name, entry in ENTRIES.items()})
        hit = own["feasible"] & (own["objective"] - optima <= 1e-6 * own["squared_norm"])
        assert table.loc[solver, "solved"] == pytest.approx(hit.mean())  # each problem has two runs
        assert table.loc[solver, "evaluations"] == pytest.approx(own["evaluations"].mean())
    order = list(zip(-found.table["solved"], found.table["evaluations"].fillna(np.inf), strict=True))
    assert order == sorted(order)
    assert found.table["rank"].iloc[0] == 1
    assert found.unsolved == []


SOLVER = """
import srnc_manifold as srnc

class Given(srnc.solvers.Solver):
    stochastic = False

    def run(self, run):
        oracle = srnc.solvers.Oracle(run, srnc.costs.ExactMax())
        oracle.value(run.problem.direction.ravel())
        return srnc.Status.CONVERGED, "the given kernel"
"""


def test_the_command_ranks_a_class_in_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOLVER)
    app(["rank", "mine.py:Given", "--only", FEW, "--jobs", "1"], standalone_mode=False)
    text = capsys.readouterr().out
    rank = srnc.rank("mine.py:Given", only=FEW, n_jobs=1, store="results/study.db")
    assert f"mine.py:Given ranks {rank.rank} of {len(rank.table)}, on 4 problems" in text
    assert rank.rank > 1
    assert len(rank.unsolved) == 4


def test_bad_arguments():
    with pytest.raises(ValueError, match="solver: 2 given, expected one"):
        ranking.rank(["exact", "slsqp"])
    with pytest.raises(ValueError, match=r"only: 'papers\*' given, which fits none of paper r=64/3"):
        ranking.rank("exact", only="papers*")
    with pytest.raises(ValueError, match="expected one of exact"):
        ranking.rank("exakt")


def test_hard_cases_are_what_they_are_called():
    for entry in hard.ties():
        assert srnc.solve(entry.problem).alternatives or "almost" in entry.name
    for entry in hard.ends():
        (low, high), own = entry.problem.feasible_range, entry.problem.kernel_stable_rank
        start, end = (own, high) if "largest" in entry.name else (low, own)
        part = (entry.problem.stable_rank - start) / (end - start)
        assert part == pytest.approx(hard.NEAR if "least" in entry.name else 1 - hard.NEAR)
    for entry in hard.channels():
        kernel = entry.problem.kernel
        assert np.all(np.abs(kernel[..., ::-1]) == np.abs(kernel))
