"""The figure of a comparison."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import (
    QUIET,
    feasible_limit,
    figure_of,
    floored,
    logarithmic_with_zero,
    plain,
    require_kind,
    sample,
    saved,
)
from srnc_manifold.plots.styles import MARKERS, colour
from srnc_manifold.printing import printable

# With more problems than this they are not told apart by their marks.
_MANY = 30

# Share of the runs that have to be feasible for a mark to be filled.
_MOST = 0.5


def overview(comparison: Any, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
    """Violation as found, and the gap, of a :class:`srnc_manifold.Comparison`.

    There is one row per solver, in its colour, and one mark per problem; of many problems, all marks are alike. A mark
    is filled if at least half of the runs are feasible as found; then the gap is that of the feasible runs. Otherwise
    it is hollow, and the gap is that after the local restoration, which is not the merit of the solver. Values of at
    most 1e-12 are drawn as "0".

    Parameters
    ----------
    comparison : Comparison
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    ax : list of two matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
        Violations are relative errors, gaps fractions of ``‖C(a)‖²``.

    Raises
    ------
    TypeError, ValueError
        If it is no comparison, no run has returned a kernel, or ``ax`` is something else.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> comparison = srnc.compare("paper", ["exact", "srn-c"], seeds=[0])
    >>> figure = srnc.plots.overview(comparison)
    """
    require_kind(comparison, "comparison", "a Comparison", "table", "row_list")
    table = comparison.table()
    table = table[table["runs"] > 0]
    if not len(table):
        raise ValueError("comparison: nothing to plot, no run has returned a kernel")
    solvers = list(dict.fromkeys(table["solver"]))
    solvers.sort(key=lambda s: _order(table[table["solver"] == s]))
    problems = list(dict.fromkeys(table["problem"]))
    numbers = {name: k for k, name in enumerate(problems)}
    names = {row.solver: row.settings for row in comparison.row_list if row.settings}

    size = (11, 2.1 + 0.38 * max(len(solvers), 4) + 0.1 * min(len(problems), _MANY))
    with figure_of(ax, size, 2, sharey=True) as (figure, (left, right)):
        for name, found, block in _blocks(table, len(problems) > _MANY):
            places = block["problem"].map(numbers).to_numpy()
            rows = solvers.index(name) + 0.6 * (places + 0.5) / len(problems) - 0.3
            style = _mark(places[0] if len(problems) <= _MANY else None, colour(names.get(name, name)), found)
            style["gid"] = printable(f"{name} on {', '.join(block['problem'][:3])}")
            left.plot(floored(_violations(block)), rows, **style)
            right.plot(floored(block["gap" if found else "restored_gap"]), rows, **style)
        left.set_yticks(range(len(solvers)), [plain(solver, 28) for solver in solvers])
        left.set_ylim(len(solvers) - 0.5, -0.5)
        left.set_xlabel("violation as found\n(larger relative error of stable rank and norm)")
        right.set_xlabel("gap to the reference / ‖C(a)‖²\n(hollow: only after a local restoration)")
        gaps = np.where(table["success"] >= _MOST, table["gap"], table["restored_gap"])
        for axes, values in ((left, _violations(table)), (right, gaps)):
            logarithmic_with_zero(axes, "x", max(1.0, _largest(values)))
        feasible_limit(left, "x")
        _legends(figure if ax is None else right, problems, ax is None)
        return saved(figure, path)


def _order(block: Any) -> tuple[float, float]:
    """Best first: by the share of feasible runs, then by the violation."""
    return -float(block["success"].mean()), float(np.median(_violations(block)))


def _blocks(table: Any, together: bool) -> Iterator[tuple[str, bool, Any]]:
    """What is drawn at once: a solver, whether it was feasible, and the rows of the table of which this holds.

    That is one row, unless those of the same colour and filling are drawn together.
    """
    found = table["success"] >= _MOST
    each = [table["solver"], found] if together else [table["solver"], found, table["problem"]]
    for (solver, filled, *_), block in table.groupby(each, sort=False):
        yield str(solver), bool(filled), block


def _mark(number: int | None, own: str, found: bool) -> dict[str, Any]:
    """The mark of a problem, by its number, or of one of many."""
    if number is None:
        return _style("o", 3.0, own, found) | {"alpha": 0.5, "markeredgewidth": 0.5}
    marker = MARKERS[number % len(MARKERS)]
    # Little would be left inside of some marks if they are hollow.
    return _style(marker, 8.5 if marker in "*PX" else 6.5, own, found)


def _style(marker: str, size: float, own: str, found: bool) -> dict[str, Any]:
    return {
        "marker": marker,
        "linestyle": "none",
        "markersize": size,
        "markeredgewidth": 1.0,
        "color": own,
        "markerfacecolor": own if found else "white",
        "alpha": 0.9,
    }


def _legends(place: Any, problems: list[str], own: bool) -> None:
    """Below the panels, or in the caller's: the problems by their marks, and what filled and hollow mean."""
    if len(problems) > _MANY:
        shapes, labels = [sample(**_mark(None, QUIET, True))], [f"one of {len(problems)} problems"]
    else:
        shapes = [sample(**_mark(k, QUIET, True)) for k in range(len(problems))]
        labels = [plain(problem) for problem in problems]
    kinds = "filled: feasible as found; hollow: not feasible as found"
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": 3} if own else {"fontsize": "small"}
    place.legend(shapes, labels, title=kinds, title_fontsize=9 if own else "small", **where)


def _violations(table: Any) -> Array:
    return np.maximum(table["stable_rank_error"].to_numpy(), table["spectral_norm_error"].to_numpy())


def _largest(values: Any) -> float:
    finite: Array = np.asarray(values, float)
    return float(np.max(finite[np.isfinite(finite)], initial=0.0))
