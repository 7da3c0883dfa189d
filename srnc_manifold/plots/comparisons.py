"""The figure of a comparison."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import (
    MARKERS,
    QUIET,
    colour,
    feasible_limit,
    figure_of,
    floored,
    logarithmic_with_zero,
    plain,
    require_kind,
    sample,
    saved,
)
from srnc_manifold.printing import printable

# Share of the runs that have to be feasible for a mark to be filled.
_MOST = 0.5


def overview(comparison: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Violation as found, and the gap, of a :class:`srnc_manifold.Comparison`.

    There is one row per solver, in its colour, and one mark per problem. A mark is filled if at least half of the runs
    are feasible as found; then the gap is that of the feasible runs. Otherwise it is hollow, and the gap is that after
    the local restoration, which is not the merit of the solver. Values of at most 1e-12 are drawn as "0".
    """
    require_kind(comparison, "comparison", "a Comparison", "table", "row_list")
    table = comparison.table()
    table = table[table["runs"] > 0]
    if not len(table):
        raise ValueError("comparison: nothing to plot, no run has returned a kernel")
    solvers = list(dict.fromkeys(table["solver"]))
    solvers.sort(key=lambda s: _order(table[table["solver"] == s]))
    problems = list(dict.fromkeys(table["problem"]))
    names = {row.solver: row.settings for row in comparison.row_list if row.settings}

    size = (11, 2.1 + 0.38 * max(len(solvers), 4) + 0.1 * len(problems))
    with figure_of(None, size, 2, sharey=True) as (figure, (left, right)):
        for k, problem in enumerate(problems):
            for record in table[table["problem"] == problem].to_dict("records"):
                found = record["success"] >= _MOST
                own = colour(names.get(record["solver"], record["solver"]))
                row = solvers.index(record["solver"]) + 0.6 * (k + 0.5) / len(problems) - 0.3
                style = _mark(k, own, found) | {"gid": printable(f"{record['solver']} on {problem}")}
                left.plot(floored([_violation(record)]), [row], **style)
                right.plot(floored([record["gap" if found else "restored_gap"]]), [row], **style)
        left.set_yticks(range(len(solvers)), [plain(solver, 28) for solver in solvers])
        left.set_ylim(len(solvers) - 0.5, -0.5)
        left.set_xlabel("violation as found\n(larger relative error of stable rank and norm)")
        right.set_xlabel("gap to the reference / ‖C(a)‖²\n(hollow: only after a local restoration)")
        gaps = np.where(table["success"] >= _MOST, table["gap"], table["restored_gap"])
        for axes, values in ((left, [_violation(r) for r in table.to_dict("records")]), (right, gaps)):
            logarithmic_with_zero(axes, "x", max(1.0, _largest(values)))
        feasible_limit(left, "x")
        _legends(figure, problems)
        return saved(figure, path)


def _order(block: Any) -> tuple[float, float]:
    """Best first: by the share of feasible runs, then by the violation."""
    return -float(block["success"].mean()), float(np.median([_violation(r) for r in block.to_dict("records")]))


def _mark(k: int, own: str, found: bool) -> dict[str, Any]:
    marker = MARKERS[k % len(MARKERS)]
    return {
        "marker": marker,
        "linestyle": "none",
        "markersize": 8.5 if marker in "*PX" else 6.5,  # of which little would be left inside if they are hollow
        "markeredgewidth": 1.0,
        "color": own,
        "markerfacecolor": own if found else "white",
        "alpha": 0.9,
    }


def _legends(figure: Any, problems: list[str]) -> None:
    """Below the panels: the problems by their marks, and what filled and hollow mean."""
    shapes = [sample(**_mark(k, QUIET, True)) for k in range(len(problems))]
    labels = [plain(problem) for problem in problems]
    kinds = "filled: feasible as found; hollow: not feasible as found"
    figure.legend(shapes, labels, loc="outside lower center", ncols=3, title=kinds, title_fontsize=9)


def _violation(record: dict[str, Any]) -> float:
    return max(record["stable_rank_error"], record["spectral_norm_error"])


def _largest(values: Any) -> float:
    finite: Array = np.asarray(values, float)
    return float(np.max(finite[np.isfinite(finite)], initial=0.0))
