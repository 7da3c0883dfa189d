"""One bad task of a comparison: only its own row suffers, in one process and in several."""

import contextlib
import os
import sys

import numpy as np
import pandas as pd
import pytest

import srnc_manifold as srnc
from srnc_manifold.costs import Cost
from srnc_manifold.solvers import Exact, Riemannian, Solver

FILE = """
import srnc_manifold as srnc

class Described(srnc.SRNProblem):
    def describe(self):
        return "my own"

class NotSent(srnc.SRNProblem):
    def __reduce__(self):
        raise TypeError("it stays here")

class NotRead(srnc.SRNProblem):
    def __reduce__(self):
        return int, ("x",)

def problems():
    for kind in (Described, NotSent, NotRead, srnc.SRNProblem):
        yield srnc.NamedProblem(kind.__name__, kind([1.0, 2.0, 3.0], 8, stable_rank_fraction=0.9))
"""


class Exits(Cost):
    def value(self, view, xp):
        sys.exit(3)


class Returns(Solver):
    """Delivers the kernel times a factor, and returns what it is told."""

    def __init__(self, status=srnc.Status.LIMIT, message="", factor=1.0, **fields):
        self.status, self.message, self.factor, self.fields = status, message, factor, fields

    @property
    def name(self):
        return "returns"

    def run(self, run):
        run.deliver(self.factor * run.problem.unit_kernel)
        for name, value in self.fields.items():
            setattr(run, name, value)
        return self.status, self.message


class Writes(Returns):
    def run(self, run):
        run.problem.unit_kernel[:] = 0
        return srnc.Status.CONVERGED, "cheated"


class Nameless(Returns):
    @property
    def name(self):
        raise ValueError("no name")


class Undecided(Returns):
    @property
    def stochastic(self):  # type: ignore[override]
        raise ValueError("who knows")


class Refuses(Returns):
    def supports(self, problem):
        return False, "half \ud800"


class ExitsEarly(Returns):
    def supports(self, problem):
        sys.exit(4)


SOLVERS = {
    "good": Exact(),
    "exits": Riemannian(Exits()),
    "status": Returns(status="great"),
    "half a character": Returns(message="half \ud800"),
    "complex": Returns(factor=1j),
    "masked": Returns(factor=np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False])),
    "text for a cost": Returns(cost="low"),
    "a function for details": Returns(details={"a": 1, "f": len}),
    "a complex alternative": Returns(alternatives=[np.array([1j, 2, 3])]),
    "an alternative of another shape": Returns(alternatives=(np.ones(2),)),
    "a text for a bound": Returns(bound="low"),
    "a list for details": Returns(details=["interrupted"]),
    "no history": Returns(history=None),
    "a text for a count": Returns(n_evaluations="many"),
    "nameless": Nameless(),
    "undecided": Undecided(),
    "refuses": Refuses(),
    "writes to the problem": Writes(),
    "exits early": ExitsEarly(),
}
FAILS = {
    "exits": "SystemExit: 3",
    "status": "'great'",
    "complex": "dtype complex128",
    "masked": "a masked array",
    "text for a cost": "low",
    "a function for details": "cannot be written as JSON",
    "a complex alternative": "run.alternatives: dtype complex128 given",
    "an alternative of another shape": "run.alternatives: shape (2,) set, expected the kernel's shape (3,)",
    "a text for a bound": "run.bound: 'low' set, expected Bound",
    "a list for details": "run.details: ['interrupted'] set, expected dict",
    "no history": "run.history: None set, expected History",
    "a text for a count": "run.n_evaluations: 'many' set, expected",
    "nameless": "ValueError: no name",
    "undecided": "ValueError: who knows",
    "writes to the problem": "read-only",
    "exits early": "SystemExit: 4",
}
ENDS = {"good": "converged", "refuses": "unsupported"}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_only_the_row_of_a_bad_task_suffers(tmp_path, n_jobs):
    (tmp_path / "mine.py").write_text(FILE)

    def progress(*_):
        raise KeyError("display")

    stay = pytest.warns(UserWarning, match="30 runs, such as of 'good', cannot be sent to another process")
    with pytest.warns(UserWarning, match="progress raised KeyError"), stay if n_jobs > 1 else contextlib.nullcontext():
        comparison = srnc.compare(
            tmp_path / "mine.py", SOLVERS, [0], n_jobs=n_jobs, progress=progress, output=tmp_path / "rows.csv"
        )
    rows = comparison.rows
    assert len(rows) == 4 * len(SOLVERS)
    assert set(rows["problem"]) == {"Described", "NotSent", "NotRead", "SRNProblem"}
    for row in rows.to_dict("records"):
        expected = "failed" if row["solver"] in FAILS else ENDS.get(row["solver"], "limit")
        assert row["status"] == expected
        assert FAILS.get(row["solver"], "") in row["message"]
    assert set(rows[rows["solver"] == "half a character"]["message"]) == {"half ?"}
    written = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False)
    assert sorted(zip(written["problem"], written["solver"], written["message"], strict=True)) == sorted(
        zip(rows["problem"], rows["solver"], rows["message"], strict=True)
    )
    for result in comparison.results.values():
        assert srnc.Result.from_json(result.to_json()) == result
    comparison.save(tmp_path / "saved")


def test_a_problem_that_fails_costs_no_other_its_table(tmp_path):
    class Broken(srnc.SRNProblem):
        @property
        def squared_norm(self):
            raise ValueError("broken")

    dense = srnc.Dense(np.random.default_rng(1).standard_normal((3, 4, 5)))
    problems = {
        "broken": Broken([1.0, 2.0, 3.0], 8, stable_rank_fraction=0.9),
        "whole": srnc.SRNProblem([1.0, 2.0, 3.0], 8, stable_rank_fraction=0.9),
        "without a bound": srnc.partway([1.0, 0.5, -0.3], dense, 0.1, increase=True),  # only reducing has one
    }
    comparison = srnc.compare(problems, "slsqp", [0])
    assert list(comparison.rows["status"]) == ["failed", "converged", "converged"]
    assert list(comparison.table()["problem"]) == list(problems)
    assert np.isnan(comparison.table()["bound"].iloc[-1])
    assert "ValueError: broken" in comparison.report()
    assert len(comparison.save(tmp_path)) == 3


def test_jobs_are_at_most_as_many_as_tasks():
    problem = srnc.SRNProblem([1.0, 2.0, 3.0], 8, stable_rank_fraction=0.9)
    assert len(srnc.compare(problem, ["exact", "slsqp"], [0], n_jobs=10**6).rows) == 2
    for jobs, error in ((0, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)):
        with pytest.raises(error, match="n_jobs"):
            srnc.compare(problem, ["exact"], [0], n_jobs=jobs)


def test_a_worker_that_dies_leaves_rows_that_say_so():
    class Dies(Returns):
        def run(self, run):
            os._exit(1)

    problem = srnc.SRNProblem([1.0, 2.0, 3.0], 8, stable_rank_fraction=0.9)
    rows = srnc.compare(problem, {"dies": Dies(), "exact": Exact()}, [0], n_jobs=2).rows
    assert list(rows["solver"]) == ["dies", "exact"]
    assert rows["status"][0] == "failed"
    assert rows["message"][0] == "its process ended with exit code 1, 2 times"
    assert rows["status"][1] == "converged"
