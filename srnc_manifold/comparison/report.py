"""Printed tables of a comparison."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from srnc_manifold.comparison.summary import NO_GAP
from srnc_manifold.problem.families import NamedProblem


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = ()) -> str:
    """A table in Markdown. Columns are aligned to the right, except those whose numbers are in ``left``."""
    rule = ["---" if k in left else "---:" for k in range(len(headers))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *rows))


def rich_tables(summary: Any, problems: Mapping[str, NamedProblem]) -> list[Any]:
    """A rich table for each problem. Below it are the solvers without a result for this problem, with the reason."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    parts: list[Any] = []
    for name, block in summary.groupby("problem", sort=False):
        entry = problems.get(str(name))
        if entry is None:
            parts.append(f"[bold]{escape(str(name))}[/bold]: skipped, {escape(block.iloc[0]['message'])}")
            continue
        parts.append(_title(entry, block.iloc[0]))
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        for column, justify in _COLUMNS:
            # A long solver name is wrapped. A number is never cut off.
            table.add_column(column, justify=justify, no_wrap=column != "solver", overflow="fold")
        for record in block[block["runs"] > 0].to_dict("records"):
            table.add_row(*map(escape, _cells(record)))
        if table.rows:
            parts.append(table)
        without = block[block["runs"] == 0].to_dict("records")
        parts += [f"{escape(r['solver'])}: {r['status']}, {escape(r['message'])}" for r in without]
        parts.append("")
    return parts


# First the results as found, then the result after restoration, then the cost of the run.
_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("solver", "left"),
    ("feas.", "right"),
    ("srank\nerror", "right"),
    ("norm\nerror", "right"),
    ("objective", "right"),
    ("gap", "right"),
    ("to bound", "right"),
    ("spread", "right"),
    ("restored", "right"),
    ("evals", "right"),
    ("time", "right"),
    ("status", "left"),
)

#: Width of a table in characters.
WIDTH = 126

LEGEND = """\
feas.         runs that ended feasible, as found: relative errors of stable rank and norm both below 1e-6
srank, norm   these two errors, as found
objective     ‖C(x) − C(a)‖², as found
gap           (objective − reference) / ‖C(a)‖², feasible runs only; can be negative within the tolerance
to bound      (objective − best proved lower bound) / ‖C(a)‖²: 0 means proved to be optimal
spread        range of the objective over the seeds / ‖C(a)‖²
restored      objective after a small local move onto the feasible set, for comparison only
evals         kernels whose singular values were computed
Values are medians over the seeds. Best first: feasible runs, then gap or violation, then time.
"""


def _title(entry: NamedProblem, record: Any) -> str:
    from rich.markup import escape

    reference = f"; {record['reference_kind']} {record['reference']:.6g}" if record["reference_kind"] else ""
    if np.isfinite(record["bound"]) and record["reference_kind"] != "optimum":
        reference += f"; proved bound {record['bound']:.6g}"
    text = f"{entry.problem.describe()}{reference}"
    return f"[bold]{escape(entry.name)}[/bold]: {escape(text)}" + (f"\n{escape(entry.note)}" if entry.note else "")


def _cells(record: dict[str, Any]) -> list[str]:
    return [
        str(record["solver"]),
        f"{round(record['success'] * record['runs'])}/{record['runs']}",
        f"{record['stable_rank_error']:.0e}",
        f"{record['spectral_norm_error']:.0e}",
        f"{record['objective']:.6g}",
        _small(record["gap"]),
        _small(record["bound_gap"]),
        _small(record["spread"]) if record["runs"] > 1 else "",
        "cannot" if np.isnan(record["restored"]) else f"{record['restored']:.6g}",
        f"{record['evaluations']:.0f}",
        _seconds(record["time"]),
        record["status"],
    ]


def _small(value: float) -> str:
    if np.isnan(value):
        return "–"
    return "0" if abs(value) < NO_GAP else f"{value:.0e}"


def _seconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def print_report(summary: Any, problems: Mapping[str, NamedProblem], console: Any) -> None:
    """Print all tables and the legend to a rich console."""
    for part in rich_tables(summary, problems):
        console.print(part, highlight=False)
    console.print(LEGEND, highlight=False)


def text_report(summary: Any, problems: Mapping[str, NamedProblem]) -> str:
    """All tables and the legend as plain text."""
    from rich.console import Console

    text = io.StringIO()
    print_report(summary, problems, Console(file=text, width=WIDTH, force_jupyter=False))
    return text.getvalue()
