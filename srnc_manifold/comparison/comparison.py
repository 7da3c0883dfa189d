"""The outcome of a comparison."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srnc_manifold import plots
from srnc_manifold.comparison.report import html_winners, text_report
from srnc_manifold.comparison.rows import Row, frame
from srnc_manifold.comparison.summary import summary, winners
from srnc_manifold.display import Shown, short
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.result import Result
from srnc_manifold.writing import write_table


@dataclass(repr=False, eq=False)
class Comparison(Shown):
    """Outcome of :func:`compare`.

    Attributes
    ----------
    problems : dict
        Problems by name.
    row_list : list of Row
        One row per run, in the order of problems, solvers and seeds.
    results : dict
        Maps ``(problem, solver, seed)`` to a :class:`srnc_manifold.Result`, including its history.
    interrupted : bool
        Whether the comparison was stopped before all runs were done. The runs that were done are kept.
    """

    problems: dict[str, NamedProblem]
    row_list: list[Row] = field(default_factory=list)
    results: dict[tuple[str, str, int], Result] = field(default_factory=dict)
    interrupted: bool = False

    def summary(self) -> dict[str, str]:
        solvers = dict.fromkeys(row.solver for row in self.row_list if row.solver)
        return {
            "problems": short(", ".join(self.problems)) or "none",
            "solvers": short(", ".join(solvers)) or "none",
            "runs": f"{len(self.row_list)}{', interrupted' if self.interrupted else ''}",
        }

    @property
    def rows(self) -> Any:
        """A pandas DataFrame with one row per run."""
        return frame(self.row_list)

    def table(self) -> Any:
        """A pandas DataFrame with one row per problem and solver, summarized over the seeds.

        The columns are described in :func:`srnc_manifold.comparison.summary.summary`.
        """
        return summary(self.row_list, self.problems)

    def winners(self) -> Any:
        """A pandas DataFrame that tells who wins: one row per solver, best first, with a column for each problem.

        The columns are described in :func:`srnc_manifold.comparison.summary.winners`.
        """
        return winners(self.table())

    def report(self, *, details: bool = False) -> str:
        """Who wins, and the tables of all problems, as plain text of 80 columns; with all columns if asked for."""
        return text_report(self.table(), self.problems, details=details)

    def _repr_html_(self) -> str:
        return super()._repr_html_() + html_winners(self.winners())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A figure of violations and objectives. It is saved if a path is given."""
        return plots.overview(self, path)

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write ``rows.csv``, ``table.csv`` and, if any run returned a kernel, ``comparison.png``. Return the paths."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        rows, table, figure = (directory / name for name in ("rows.csv", "table.csv", "comparison.png"))
        write_table(rows, self.rows)
        write_table(table, self.table())
        if not self.rows["objective"].notna().any():
            return [rows, table]
        self.plot(figure)
        return [rows, table, figure]
