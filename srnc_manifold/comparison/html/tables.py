"""Tables of a report: what each cell shows, and what it is sorted by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from srnc_manifold.comparison.html.words import Facts
from srnc_manifold.comparison.report import COLUMNS, DETAILED, NOT_RUN, Column, seconds, small, symbol
from srnc_manifold.comparison.rows import UNSUPPORTED
from srnc_manifold.printing import printable

# Runs that are listed one by one.
_MOST_RUNS = 20_000

# What is missing is sorted last; JSON has no infinity.
_LAST = 1e308

#: A text, or what is shown and what it is sorted by.
Cell = str | tuple[str, float]


@dataclass(frozen=True)
class Table:
    """A table that sorts and filters.

    Attributes
    ----------
    name : str
        Its id in the page.
    titles : sequence of str
    numeric : sequence of bool
        Which columns are sorted by numbers, and aligned to the right.
    rows : list of rows of Cell
    note : str
        What to say below it.
    """

    name: str
    titles: Sequence[str]
    numeric: Sequence[bool]
    rows: list[list[Cell]]
    note: str = ""

    def to_json(self) -> str:
        """The rows as JSON, which has no ``<`` in it, so that it can stand in a page."""
        return json.dumps(self.rows, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")


def of_solvers(facts: Facts) -> Table:
    """Who wins: a row for each solver."""
    rows: list[list[Cell]] = []
    for solver, record in facts.winners.iterrows():
        block = facts.tried[(facts.tried["solver"] == solver) & (facts.tried["runs"] > 0)]
        feasible = (block["success"] * block["runs"]).sum() / block["runs"].sum() if len(block) else math.nan
        rows.append([
            printable(solver),
            _number(f"{100 * record['solved']:.4g} %", record["solved"]),
            _number(NOT_RUN if math.isnan(feasible) else f"{100 * feasible:.4g} %", -feasible),
            _number(small(block["gap"].median()), block["gap"].median()),
            _number(small(block["gap"].max()), block["gap"].max()),
            _number(seconds(record["time"]), record["time"]),
            _number(str(len(block)), len(block)),
        ])  # fmt: skip
    titles = ("solver", "solved", "feasible", "gap, median", "gap, largest", "time, median", "problems")
    note = (
        "Solved: share of the runs that are feasible as found and within 1e-6 of the optimum, or of the best known "
        "objective, averaged over the problems; one that a solver does not support counts as not solved. Gaps, in "
        "units of ‖C(a)‖², are of the feasible runs; of each problem the median over the seeds."
    )
    return Table("solvers", titles, (False, *[True] * 6), rows, note)


def grid(facts: Facts) -> Table:
    """Solvers and problems: a row for each problem, a column for each solver."""
    solvers = list(facts.winners.index)
    found: dict[tuple[str, str], Cell] = {}
    for record in facts.tried.to_dict("records"):
        share = math.nan if record["status"] == UNSUPPORTED else record["solved"]
        gap = f" {small(record['gap'])}" if record["success"] > 0 else ""
        found[record["problem"], record["solver"]] = _number(symbol(share) + gap, -share)
    missing = _number(NOT_RUN, math.nan)
    rows = [[printable(name), *(found.get((name, solver), missing) for solver in solvers)] for name in facts.problems]
    note = "● all runs solved it, ◐ some, ○ none, – not run; then the gap, the median over the feasible runs."
    return Table("grid", ["problem", *map(printable, solvers)], (False, *[True] * len(solvers)), rows, note)


def of_all(facts: Facts) -> Table:
    """All problems and solvers, with all columns."""
    records = [record for record in facts.tried.to_dict("records") if record["runs"] > 0]
    rows = [[printable(record["problem"]), *_cells(DETAILED, record)] for record in records]
    titles = ["problem", *(column.title.replace("\n", " ") for column in DETAILED)]
    note = "A row for each problem and solver that returned a kernel; medians over the seeds."
    return Table("all", titles, [False, *(column.side == "right" for column in DETAILED)], rows, note)


def of_runs(facts: Facts) -> Table:
    """The runs one by one."""
    runs = facts.rows[facts.rows["solver"] != ""]
    rows: list[list[Cell]] = [
        [
            printable(r["problem"]),
            printable(r["solver"]),
            _number(str(r["seed"]), r["seed"]),
            str(r["status"]),
            "yes" if r["feasible"] else "no",
            _number(f"{r['objective']:.6g}", r["objective"]),
            _number(f"{r['evaluations']:.0f}", r["evaluations"]),
            _number(seconds(r["time"]), r["time"]),
            printable(r["message"])[:160],
        ]
        for r in runs.head(_MOST_RUNS).to_dict("records")
    ]
    note = "" if len(runs) <= _MOST_RUNS else f"The first {_MOST_RUNS:,} of {len(runs):,} runs; rows.csv has all."
    titles = ("problem", "solver", "seed", "status", "feasible", "objective", "evaluations", "time", "message")
    return Table("runs", titles, (False, False, True, False, False, True, True, True, False), rows, note)


def of_problem(block: Any) -> list[list[str]]:
    """The rows of the table of one problem, with the columns of the printed one."""
    records = block[block["runs"] > 0].to_dict("records")
    return [[printable(column.text(record)) for column in COLUMNS] for record in records]


def _cells(columns: Iterable[Column], record: dict[str, Any]) -> list[Cell]:
    return [
        _number(column.text(record), column.key(record)) if column.side == "right" else printable(column.text(record))
        for column in columns
    ]


def _number(text: str, key: float) -> Cell:
    return (NOT_RUN if text == "nan" else text), (float(key) if math.isfinite(key) else _LAST)
