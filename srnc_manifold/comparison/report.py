"""Tables of a comparison: numbers in a DataFrame, and the same for people."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from srnc_manifold import bounds
from srnc_manifold.comparison.run import Comparison
from srnc_manifold.families import NamedProblem
from srnc_manifold.result import FEASIBILITY_TOLERANCE

# Feasible results may undercut the optimum by their tolerated violation; a gap this small is zero.
_NO_GAP = 1e-9


SUMMARY_COLUMNS = (
    "problem",
    "solver",
    "runs",
    "success",
    "stable_rank_error",
    "spectral_norm_error",
    "objective",
    "gap",
    "restored",
    "restored_gap",
    "bound",
    "bound_gap",
    "spread",
    "evaluations",
    "time",
    "status",
    "message",
    "reference",
    "reference_kind",
)


def summary(comparison: Comparison) -> Any:
    """One row per problem and solver, best first.

    Columns
    -------
    problem, solver
    runs
        Runs tried; 0 where none returned a kernel.
    success
        Fraction of them that ended feasible, as found (both relative errors under 1e-6).
    stable_rank_error, spectral_norm_error, objective
        Medians over the runs, as found.
    gap
        ``(objective − reference) / ‖C(a)‖²``, the median over the runs that ended feasible; NaN if none did.
    restored, restored_gap
        Median objective after the local restoration and its gap.
    bound, bound_gap
        Best proved lower bound on the objective, of any run or else of :func:`srnc_manifold.bound`, and
        ``(objective − bound) / ‖C(a)‖²`` as ``gap``: how far from optimal the solver can be, whatever the reference is.
    spread
        Largest minus least objective as found over the runs, in units of ``‖C(a)‖²``.
    evaluations, time
        Medians; time in seconds.
    status, message
        The most frequent status and a message that goes with it.
    reference, reference_kind
        The optimum if a formula or the explicit solution gives it, else the best feasible objective seen.
    """
    import pandas

    rows = comparison.rows
    records: list[dict[str, Any]] = []
    for name, of_problem in rows.groupby("problem", sort=False):
        reference, kind = _reference(comparison, str(name))
        bound = _bound(comparison, str(name))
        block = [
            _record(of_solver, reference, kind, bound) for _, of_solver in of_problem.groupby("solver", sort=False)
        ]
        records.extend(sorted(block, key=_merit))
    return pandas.DataFrame(records, columns=list(SUMMARY_COLUMNS))


def _reference(comparison: Comparison, name: str) -> tuple[float, str]:
    entry = comparison.problems.get(name)
    if entry is None:
        return np.nan, ""
    if entry.optimum is not None:
        return entry.optimum, "optimum"
    rows = [row for row in comparison.row_list if row.problem == name]
    for row in rows:
        result = comparison.results.get((row.problem, row.solver, row.seed))
        if result is not None and row.feasible and result.gap is not None and result.gap <= FEASIBILITY_TOLERANCE:
            return row.objective, "optimum"
    found = [row.objective for row in rows if row.feasible] + [row.restored_objective for row in rows]
    found = [value for value in found if np.isfinite(value)]
    return (min(found), "best known") if found else (np.nan, "")


def _bound(comparison: Comparison, name: str) -> float:
    proved = [row.bound for row in comparison.row_list if row.problem == name and np.isfinite(row.bound)]
    if proved:
        return max(proved)
    entry = comparison.problems.get(name)
    # In the other regime it takes a cone program, which nobody asked for.
    if entry is None or any(part.regime == "raise" for part in entry.problem.parts):
        return np.nan
    return bounds.bound(entry.problem).objective


def _record(rows: Any, reference: float, kind: str, bound: float) -> dict[str, Any]:
    first = rows.iloc[0]
    size = float(rows["squared_norm"].max())  # the same for all that returned a kernel
    status = rows["status"].mode().iloc[0]
    feasible = rows[rows["feasible"]]

    def gap(values: Any, reference: float = reference) -> float:
        difference = (float(values.median()) - reference) / size if len(values) else np.nan
        return 0.0 if abs(difference) < _NO_GAP else difference

    return {
        "problem": first["problem"],
        "solver": first["solver"],
        "runs": len(rows) if rows["objective"].notna().any() else 0,
        "success": float(rows["feasible"].mean()),
        "stable_rank_error": float(rows["stable_rank_error"].median()),
        "spectral_norm_error": float(rows["spectral_norm_error"].median()),
        "objective": float(rows["objective"].median()),
        "gap": gap(feasible["objective"]),
        "restored": float(rows["restored_objective"].median()),
        "restored_gap": gap(rows["restored_objective"].dropna()),
        "bound": bound,
        "bound_gap": gap(feasible["objective"], bound),
        "spread": float(rows["objective"].max() - rows["objective"].min()) / size,
        "evaluations": float(rows["evaluations"].median()),
        "time": float(rows["time"].median()),
        "status": status,
        "message": rows.loc[rows["status"] == status, "message"].iloc[0],
        "reference": reference,
        "reference_kind": kind,
    }


def _merit(record: dict[str, Any]) -> tuple[float, ...]:
    """Success first; among the successful the gap, among the others the violation; then the time."""

    def last_if_nan(value: float) -> float:
        return value if np.isfinite(value) else np.inf

    violation = max(last_if_nan(record["stable_rank_error"]), last_if_nan(record["spectral_norm_error"]))
    # Gaps within the tolerance of feasibility are equal (a negative one is bought with it): then the faster is better.
    gap = max(last_if_nan(record["gap"]), FEASIBILITY_TOLERANCE)
    return -record["success"], gap if record["success"] > 0 else violation, last_if_nan(record["time"])


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = ()) -> str:
    """A table in Markdown; columns are aligned to the right but for those named."""
    rule = ["---" if k in left else "---:" for k in range(len(headers))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *rows))


def rich_tables(comparison: Comparison) -> list[Any]:
    """A rich table for each problem, followed by the solvers that have no result for it, with the reason."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    parts: list[Any] = []
    for name, block in summary(comparison).groupby("problem", sort=False):
        entry = comparison.problems.get(str(name))
        if entry is None:
            parts.append(f"[bold]{escape(str(name))}[/bold]: skipped, {escape(block.iloc[0]['message'])}")
            continue
        parts.append(_title(entry, block.iloc[0]))
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        for column, justify in _COLUMNS:
            # A long name of a solver is folded; a number is never cut off.
            table.add_column(column, justify=justify, no_wrap=column != "solver", overflow="fold")
        for record in block[block["runs"] > 0].to_dict("records"):
            table.add_row(*map(escape, _cells(record)))
        if table.rows:
            parts.append(table)
        without = block[block["runs"] == 0].to_dict("records")
        parts += [f"{escape(r['solver'])}: {r['status']}, {escape(r['message'])}" for r in without]
        parts.append("")
    return parts


# as found | after restoring | cost
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

#: Characters that a table needs.
WIDTH = 126

LEGEND = """\
feas.         runs that ended feasible, as found: relative errors of stable rank and norm both under 1e-6
srank, norm   those two errors, as found
objective     ‖C(x) − C(a)‖², as found
gap           its excess over the reference / ‖C(a)‖², feasible runs only; negative if bought with the tolerance
to bound      its excess over the best proved lower bound, same units: 0 is proved to be optimal
spread        range of the objective over the seeds, same units
restored      objective after a small local move onto the feasible set, for comparison only
evals         kernels whose singular values were computed
Medians over the seeds. Best first: feasible runs, then gap or violation, then time.
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
    return "0" if abs(value) < _NO_GAP else f"{value:.0e}"


def _seconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def print_report(comparison: Comparison, console: Any) -> None:
    """Print all tables and their legend to a rich console."""
    for part in rich_tables(comparison):
        console.print(part, highlight=False)
    console.print(LEGEND, highlight=False)


def text_report(comparison: Comparison) -> str:
    """All tables and their legend as plain text."""
    from rich.console import Console

    text = io.StringIO()
    print_report(comparison, Console(file=text, width=WIDTH, force_jupyter=False))
    return text.getvalue()
