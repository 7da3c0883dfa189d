"""Figures of profiles of a comparison with a row for each solver: hit rates, and wins over each other."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from srnc_manifold.plots.drawing import LINE_HEIGHT, QUIET, cells, figure_of, plain, require_columns, sample, saved
from srnc_manifold.plots.styles import MARKERS, colour

Path = str | os.PathLike[str] | None

# Chance of a difference by mere luck, over all pairs, below which a pair has a star.
_SIGNIFICANT = 0.05

# Characters of a line of a solver's name beside an axis.
_NAME = 32


def hit_rates(data: Any, ax: Any = None, path: Path = None) -> Any:
    """Hit rates per start, with intervals, and on the right hits, starts and the expected cost to the first hit.

    There is one row for each solver, and in it one mark for each problem.

    Parameters
    ----------
    data : DataFrame
        A profile of the kind ``"hits"``.
    ax, path
        As of :func:`srnc_manifold.plots.shares`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If ``data`` or ``ax`` is something else.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> comparison = srnc.compare("paper", ["exact", "slsqp[n_starts=1]"], seeds=[0, 1])
    >>> figure = srnc.plots.hit_rates(comparison.profile("hits"))
    """
    require_columns(
        data, "problem", "solver", "settings", "runs", "hits", "rate", "low", "high", "expected_cost", "measure"
    )
    solvers, problems = list(dict.fromkeys(data["solver"])), list(dict.fromkeys(data["problem"]))
    n, measure = len(problems), data["measure"].iloc[0]
    names = [plain(solver, _NAME) for solver in solvers]
    size = (8.5, 1.6 + len(solvers) * row_height(names, max(0.4, 0.2 * n)) + 0.1 * n)
    with figure_of(ax, size) as (figure, (axes,)):
        for record in data.to_dict("records"):
            k = problems.index(record["problem"])
            row = solvers.index(record["solver"]) + 0.8 * (k + 0.5) / n - 0.4
            own = colour(record["settings"])
            reach = [[record["rate"] - record["low"]], [record["high"] - record["rate"]]]
            mark = {"marker": MARKERS[k % len(MARKERS)], "color": own, "markersize": 6, "capsize": 2.5}
            axes.errorbar([record["rate"]], [row], xerr=np.maximum(reach, 0.0), linewidth=1.2, **mark)
            note = f"{record['hits']}/{record['runs']}"
            note += f", {_number(record['expected_cost'])}"
            axes.annotate(note, (1.0, row), xycoords=("axes fraction", "data"), xytext=(6, 0), fontsize=8,
                          textcoords="offset points", va="center", color=QUIET)  # fmt: skip
        axes.annotate(f"hits/starts,\n{_short(measure)} to the first hit", (1.0, 1.0), xycoords="axes fraction",
                      xytext=(6, 4), textcoords="offset points", fontsize=8, color=QUIET)  # fmt: skip
        axes.set_yticks(range(len(solvers)), names)
        axes.set_ylim(len(solvers) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"share of starts that hit the optimum, with {100 * data['confidence'].iloc[0]:g} % intervals")
        if n > 1:
            handles = [
                sample(marker=MARKERS[k % len(MARKERS)], color=QUIET, linestyle="none", label=plain(name))
                for k, name in enumerate(problems)
            ]
            if ax is None:
                figure.legend(handles=handles, loc="outside lower center", ncols=min(3, n))
            else:
                axes.legend(handles=handles, fontsize="small")
        return saved(figure, path)


def pairs(data: Any, ax: Any = None, path: Path = None) -> Any:
    """Wins of each solver (row) against each other one (column): wins, losses and ties of the row, and their balance.

    A star marks pairs whose difference is unlikely to be chance: the adjusted p-value of the sign test is below 0.05.

    Parameters
    ----------
    data : DataFrame
        A profile of the kind ``"pairs"``.
    ax, path
        As of :func:`srnc_manifold.plots.shares`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If ``data`` or ``ax`` is something else.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> comparison = srnc.compare("paper", ["exact", "slsqp[n_starts=1]"], seeds=[0, 1])
    >>> figure = srnc.plots.pairs(comparison.profile("pairs"))
    """
    require_columns(data, "solver", "other", "wins", "losses", "ties", "adjusted", "measure", "unit")
    solvers = list(dict.fromkeys(data["solver"]))
    n = len(solvers)
    names = [f"{plain(solver, _NAME)}  {k}" for k, solver in enumerate(solvers, 1)]
    balance, texts = np.full((n, n), np.nan), [[""] * n for _ in solvers]
    with figure_of(ax, (4.2 + 0.75 * n, 1.6 + n * row_height(names, 0.45))) as (figure, (axes,)):
        for record in data.to_dict("records"):
            row, column = solvers.index(record["solver"]), solvers.index(record["other"])
            wins, losses, ties = (int(record[name]) for name in ("wins", "losses", "ties"))
            balance[row, column] = (wins - losses) / max(wins + losses + ties, 1)
            texts[row][column] = f"{wins}–{losses}–{ties}{'*' if record['adjusted'] < _SIGNIFICANT else ''}"
        image = cells(axes, balance, texts, (-1.0, 1.0), aspect="auto")
        axes.set_yticks(range(n), names)
        axes.set_xticks(range(n), [str(k) for k in range(1, n + 1)])
        axes.set_xlabel("against the solver of this number")
        of, by = data["unit"].iloc[0], data["measure"].iloc[0]
        axes.set_title(
            f"wins–losses–ties over {of}s, by {_short(by)}\n* p < 0.05 by sign tests of all pairs", fontsize=9
        )
        figure.colorbar(image, ax=axes, label="(wins − losses) / all", shrink=0.8)
        return saved(figure, path)


def row_height(names: list[str], least: float) -> float:
    """Inches of a row that is as high as its name."""
    return max(least, 0.1 + LINE_HEIGHT * max(name.count("\n") + 1 for name in names))


def _number(cost: float) -> str:
    """A number of evaluations, or of seconds."""
    return "never" if not np.isfinite(cost) else f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def _short(measure: str) -> str:
    return "seconds" if measure == "time" else measure
