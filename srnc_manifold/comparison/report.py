"""Printed tables of a comparison: first who wins, then a table for each problem."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape as html_escape
from typing import Any, Literal

import numpy as np

from srnc_manifold.comparison.rows import UNAVAILABLE
from srnc_manifold.comparison.summary import NO_GAP, comparable, winners
from srnc_manifold.printing import printable
from srnc_manifold.problem.families import NamedProblem

#: Width of the report in characters, and with all columns.
WIDTH, DETAILED_WIDTH = 80, 126

# Characters for the name of a solver in the table of winners; longer ones are folded.
_NAME_WIDTH = 24

# With more solvers than this, those that solve nothing are listed below the table, so that it fits on a screen.
_MANY = 12

# With more problems than this, a table for each is printed only if details are asked for.
SCREENFUL = 20

# Names of problems that are listed.
LISTED = 8

_ALL, _SOME, _NONE, NOT_RUN = "●", "◐", "○", "–"


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = ()) -> str:
    """A table in Markdown. Columns are aligned to the right, except those whose numbers are in ``left``."""
    rule = ["---" if k in left else "---:" for k in range(len(headers))]
    # A bar in a cell would begin the next one, even in code.
    escaped = ([printable(cell).replace("|", "\\|") for cell in cells] for cells in (headers, rule, *rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def escape(text: Any) -> str:
    """Text from data as rich's markup: in one line, and in which nothing is markup."""
    from rich.markup import escape

    return escape(printable(text))


def _plain(text: Any) -> Any:
    """The same for a cell of a table, in which rich would also see names of emoji."""
    from rich.text import Text

    return Text(printable(text))


def winners_parts(summary: Any) -> list[Any]:
    """The screen that answers who wins: a table of solvers and problems, and the key to the problems' numbers."""
    from rich.table import Table

    table = winners(summary)
    if not len(table):
        return ["no runs", ""]
    names = list(table.columns[2:])
    longest = min(max(len(solver) for solver in table.index), _NAME_WIDTH)
    # Columns of problems are as wide as there is room; if there are too many, only the whole share is shown.
    room = WIDTH - longest - len("  solved  100.0 ms ")
    width = next((w for w in (3, 2, 1) if (w + 1) * len(names) <= room), 0)
    shown = names if width else []
    screen = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    screen.add_column("solver", max_width=_NAME_WIDTH, overflow="fold")
    for column in ("solved", "time"):
        screen.add_column(column, justify="right", no_wrap=True)
    for number in range(1, len(shown) + 1):
        # Numbers of two digits in a column of one are written downwards.
        header = str(number) if width > 1 else "\n".join(str(number))
        screen.add_column(header, justify="right" if width > 1 else "left", min_width=width, no_wrap=True)
    losers = table[table["solved"] == 0] if len(table) > _MANY else table[:0]
    for solver, record in table.drop(losers.index).iterrows():
        cells = [symbol(record[name]) for name in shown]
        screen.add_row(_plain(solver), f"{100 * record['solved']:.0f} %", seconds(record["time"]), *cells)
    best = summary[summary["reference_kind"] == "best known"]["problem"]
    parts: list[Any] = ["[bold]Who wins[/bold]: solved is feasible, and within 1e-6 of the optimum", "", screen, ""]
    if len(losers):
        parts[-1:] = [escape(f"solved none: {', '.join(map(str, losers.index))}"), ""]
    if shown:
        parts.append(f"{_ALL} all runs solved it  {_SOME} some  {_NONE} none  {NOT_RUN} not for this problem")
        digits = len(str(len(names)))
        stars = {name: "*" if name in set(best) else "" for name in names}
        parts += [
            escape(line) for line in _packed([f"{k:{digits}} {name}{stars[name]}" for k, name in enumerate(names, 1)])
        ]
    if len(best):
        parts.append("* optimum not known: within 1e-6 of the best that was found" if shown else
                     "Where the optimum is not known, the best that was found counts.")  # fmt: skip
    if not comparable(summary["environment"]):
        parts.append("Times are of several machines or versions, and are not compared.")
    missing = summary[summary["status"] == UNAVAILABLE]["problem"]
    if len(missing):
        told = listed([*map(str, missing)]) if len(missing) > LISTED else ", ".join(map(str, missing))
        parts.append(f"left out: {escape(told)}")
    return [*parts, ""]


def html_winners(table: Any) -> str:
    """The table of winners in HTML."""
    if not len(table):
        return ""

    def share(value: float) -> str:
        return NOT_RUN if np.isnan(value) else f"{100 * value:.0f} %"

    def row(cells: Iterable[str], tag: str = "td") -> str:
        first, *rest = (html_escape(printable(cell)) for cell in cells)
        others = "".join(f"<{tag} style='text-align: right'>{cell}</{tag}>" for cell in rest)
        return f"<tr><th style='text-align: left'>{first}</th>{others}</tr>"

    if len(table.columns) > 2 + SCREENFUL:  # the solvers alone
        table = table.iloc[:, :2]
    rows = [
        row([str(solver), share(record["solved"]), seconds(record["time"]), *map(share, record.iloc[2:])])
        for solver, record in table.iterrows()
    ]
    caption = "Share of the runs that are feasible, and within 1e-6 of the optimum"
    return f"<p>{caption}</p><table>{row(['solver', *table.columns], 'th')}{''.join(rows)}</table>"


def rich_tables(summary: Any, problems: Mapping[str, NamedProblem], *, details: bool = False) -> list[Any]:
    """A rich table for each problem. Below it are the solvers without a result for this problem, with the reason."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    columns = DETAILED if details else COLUMNS
    parts: list[Any] = []
    for name, block in summary.groupby("problem", sort=False):
        entry = problems.get(str(name))
        if entry is None and not block["runs"].any():
            parts += [f"[bold]{escape(str(name))}[/bold]: skipped, {escape(block.iloc[0]['message'])}", ""]
            continue
        parts.append(_title(str(name), entry, block.iloc[0]))
        gaps: dict[str, Any] = {"padding": (0, 1), "collapse_padding": True} if details else {"padding": 0}
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, **gaps)
        for column in columns:
            # A long solver name is wrapped. A number is never cut off.
            table.add_column(column.title, justify=column.side, no_wrap=column is not SOLVER, overflow="fold")
        for record in block[block["runs"] > 0].to_dict("records"):
            table.add_row(*(_plain(column.text(record)) for column in columns))
        if table.rows:
            parts.append(table)
        without = block[block["runs"] == 0].to_dict("records")
        parts += [f"{escape(r['solver'])}: {r['status']}, {escape(r['message'])}" for r in without]
        parts.append("")
    return parts


def tables_of_all(summary: Any) -> list[Any]:
    """What many problems say together: a table of the solvers, and the problems that somebody should look at."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    tried = summary[summary["runs"] > 0]
    names = list(dict.fromkeys(tried["problem"]))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
    for column in ("solver", "problems", "feasible", "violation", "gap", "largest gap", "time", "longest"):
        left = column == "solver"
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for solver in winners(summary).index:
        block = tried[tried["solver"] == solver]
        if not len(block):
            continue
        feasible = float((block["success"] * block["runs"]).sum() / block["runs"].sum())
        violation = block[["stable_rank_error", "spectral_norm_error"]].max(axis=1).median()
        gaps = [small(block["gap"].median()), small(block["gap"].max())]
        times = [seconds(block["time"].median()), seconds(block["time"].max())]
        share = f"{100 * feasible:.0f} %"
        table.add_row(_plain(solver), str(len(block)), share, f"{violation:.0e}", *gaps, *times)
    parts: list[Any] = [f"[bold]All {len(names)} problems together[/bold]", table, ""] if names else []
    solved = set(tried[tried["solved"] > 0]["problem"])
    hard = [name for name in names if name not in solved]
    if hard:
        parts += [escape(f"solved by none: {listed(hard)}"), ""]
    without = summary[(summary["runs"] == 0) & (summary["solver"] != "")]
    for (solver, status), block in without.groupby(["solver", "status"], sort=False):
        first = block.iloc[0]
        parts.append(escape(f"{solver}: {status} on {len(block)}, such as {first['problem']}: {first['message']}"))
    for message, block in summary[summary["status"] == UNAVAILABLE].groupby("message", sort=False):
        parts.append(escape(f"left out: {len(block)}, such as {block.iloc[0]['problem']}: {message}"))
    return [*parts, "A table for each problem: srnc compare --details, or report(details=True) in Python.", ""]


def listed(names: Sequence[str]) -> str:
    """How many problems, and the first of them."""
    more = len(names) - LISTED
    return f"{len(names)} problems: {', '.join(names[:LISTED])}{f' and {more} more' if more > 0 else ''}"


def _title(name: str, entry: NamedProblem | None, record: Any) -> str:
    reference = f"; {record['reference_kind']} {record['reference']:.6g}" if record["reference_kind"] else ""
    if np.isfinite(record["bound"]) and record["reference_kind"] != "optimum":
        reference += f"; proved bound {record['bound']:.6g}"
    asked = "its operator could not be saved" if entry is None else entry.problem.describe()
    note = f"\n{escape(entry.note)}" if entry is not None and entry.note else ""
    return f"[bold]{escape(name)}[/bold]: {escape(asked + reference)}{note}"


def symbol(share: float) -> str:
    """A mark for the share of the runs that solved a problem."""
    return NOT_RUN if np.isnan(share) else _ALL if share == 1 else _SOME if share > 0 else _NONE


def _packed(items: Sequence[str]) -> list[str]:
    """Items in lines, in columns of one width if they fit."""
    wide = max(map(len, items)) + 2
    per_line = max(1, WIDTH // wide)
    groups = [items[k : k + per_line] for k in range(0, len(items), per_line)]
    return ["".join(item.ljust(wide) for item in group).rstrip() for group in groups]


def small(value: float) -> str:
    """A gap: at most one digit, so that 1e-9 is told as that."""
    if np.isnan(value):
        return "–"
    return "0" if abs(value) < NO_GAP else f"{value:.0e}"


def seconds(value: float) -> str:
    """A time with its unit."""
    if np.isnan(value):
        return "–"
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _violation(record: dict[str, Any]) -> float:
    return float(max(record["stable_rank_error"], record["spectral_norm_error"]))


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its side, what it says of a record of the summary, and what it is sorted by."""

    title: str
    side: Literal["left", "right"]
    text: Callable[[dict[str, Any]], str]
    key: Callable[[dict[str, Any]], Any]


def _of(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record[name]


SOLVER = Column("solver", "left", lambda r: str(r["solver"]), _of("solver"))
_FEASIBLE = Column("feas.", "right", lambda r: f"{round(r['success'] * r['runs'])}/{r['runs']}", _of("success"))
_OBJECTIVE = Column("objective", "right", lambda r: f"{r['objective']:.6g}", _of("objective"))
_GAP = Column("gap", "right", lambda r: small(r["gap"]), _of("gap"))
_TIME = Column("time", "right", lambda r: seconds(r["time"]), _of("time"))
_STATUS = Column("status", "left", lambda r: str(r["status"]), _of("status"))

COLUMNS = (
    SOLVER,
    _FEASIBLE,
    Column("violation", "right", lambda r: f"{_violation(r):.0e}", lambda r: _violation(r)),
    _GAP,
    _OBJECTIVE,
    _TIME,
    _STATUS,
)

#: First the results as found, then the result after restoration, then the cost of the run.
DETAILED = (
    SOLVER,
    _FEASIBLE,
    Column("srank\nerror", "right", lambda r: f"{r['stable_rank_error']:.0e}", _of("stable_rank_error")),
    Column("norm\nerror", "right", lambda r: f"{r['spectral_norm_error']:.0e}", _of("spectral_norm_error")),
    _OBJECTIVE,
    _GAP,
    Column("to bound", "right", lambda r: small(r["bound_gap"]), _of("bound_gap")),
    Column("spread", "right", lambda r: small(r["spread"]) if r["runs"] > 1 else "", _of("spread")),
    Column("restored", "right", lambda r: "cannot" if np.isnan(r["restored"]) else f"{r['restored']:.6g}",
           _of("restored")),
    Column("evals", "right", lambda r: f"{r['evaluations']:.0f}", _of("evaluations")),
    _TIME,
    _STATUS,
)  # fmt: skip

_MEDIANS = """\
Values are medians over the seeds. Best first: feasible runs, then gap or
violation, then time.
"""

LEGEND = f"""\
feas.      runs that ended feasible, as found: violation below 1e-6
violation  the larger relative error of stable rank and norm, as found
gap        (objective − reference) / ‖C(a)‖², feasible runs only; can be
           negative within the tolerance
objective  ‖C(x) − C(a)‖², as found; a violation can buy a lower one
{_MEDIANS}"""

LEGEND_OF_ALL = """\
feasible   runs that ended feasible, as found: violation below 1e-6
violation  the larger relative error of stable rank and norm, as found
gap        (objective − reference) / ‖C(a)‖², feasible runs only
Values are medians over the problems, of medians over the seeds.
"""

DETAILED_LEGEND = f"""\
feas.         runs that ended feasible, as found: relative errors of stable rank and norm both below 1e-6
srank, norm   these two errors, as found
objective     ‖C(x) − C(a)‖², as found
gap           (objective − reference) / ‖C(a)‖², feasible runs only; can be negative within the tolerance
to bound      (objective − best proved lower bound) / ‖C(a)‖²: 0 means proved to be optimal
spread        range of the objective over the seeds / ‖C(a)‖²
restored      objective after a small local move onto the feasible set, for comparison only
evals         kernels whose singular values were computed
{_MEDIANS}"""


def print_report(summary: Any, problems: Mapping[str, NamedProblem], console: Any, *, details: bool = False) -> None:
    """Print who wins, tables and the legend to a rich console, which should have the width of :func:`width_of`.

    There is a table for each problem, or one for all of them if they are more than a screenful; then with details.
    """
    each = details or summary["problem"].nunique() <= SCREENFUL
    tables = rich_tables(summary, problems, details=details) if each else tables_of_all(summary)
    legend = DETAILED_LEGEND if details else LEGEND if each else LEGEND_OF_ALL
    for part in [*winners_parts(summary), *tables]:
        console.print(part, highlight=False, emoji=False)
    console.print(legend, highlight=False)


def width_of(details: bool) -> int:
    """Characters that the report needs."""
    return DETAILED_WIDTH if details else WIDTH


def text_report(summary: Any, problems: Mapping[str, NamedProblem], *, details: bool = False) -> str:
    """The same as plain text, without escape sequences wherever it is asked for."""
    from rich.console import Console

    text = io.StringIO()
    # Rich would take a notebook, or an environment that forces colours, for a terminal.
    plain: dict[str, Any] = {"force_jupyter": False, "force_terminal": False, "color_system": None}
    print_report(summary, problems, Console(file=text, width=width_of(details), **plain), details=details)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
