"""Figures of what runs did, iterate by iterate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import (
    FLOOR,
    QUIET,
    feasible_limit,
    figure_of,
    floored,
    grid,
    legend,
    logarithmic_with_zero,
    plain,
    saved,
)
from srnc_manifold.plots.records import (
    Line,
    Panel,
    column,
    gaps_of,
    panels_to_draw,
    require_own,
    results_by_label,
)
from srnc_manifold.plots.styles import line_styles
from srnc_manifold.problem.base import Problem
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Bound, Result

_X_LABELS = {"evaluations": "evaluations", "iteration": "iteration", "time": "time, s"}

_Y_LABELS = {
    "violation": "violation",
    "gap": "gap to the reference / ‖C(a)‖²",
    "objective": "objective ‖C(x) − C(a)‖²",
    "cost": "what the solver minimizes",
    "gradient_norm": "norm of the gradient",
    "stable_rank": "stable rank",
    "stable_rank_error": "relative error of the stable rank",
    "spectral_norm_error": "relative error of the spectral norm",
}

# Columns that tend to zero: what is at most the floor is drawn as "0".
_VANISHING = {"violation", "gap", "gradient_norm", "stable_rank_error", "spectral_norm_error"}


def history(
    results: Any,
    x: str = "evaluations",
    y: str = "violation",
    ax: Any = None,
    path: str | os.PathLike[str] | None = None,
    *,
    problem: Problem | NamedProblem | str | None = None,
    reference: float | Bound | None = None,
) -> Any:
    """A column of the histories of runs against another, with one line for each run.

    The mark at the end of a line is filled if the last iterate drawn is feasible, and hollow if not. A result without a
    history (such as that of a solver for single kernels on a stack) is one mark, at its scores.

    Parameters
    ----------
    results : Result, or mapping of labels to Results, or Comparison
        Of a comparison, there is one panel for each problem and one line for each seed.
    x : ``"evaluations"``, ``"iteration"`` or ``"time"``
        In seconds. Any other column is possible, too.
    y : str
        A column of the history, or ``"gap"``: ``(objective − reference) / ‖C(a)‖²``. Iterates that are not feasible can
        be below the reference; there, the line has a hole. Of a history without a column ``"violation"``, which older
        files lack, it is the larger one of the two errors.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    problem : problem, or name of a problem of the comparison, optional
        For gaps: ``‖C(a)‖²``. If it is given, results of other problems are refused. Of a comparison, the only problem
        to draw.
    reference : float or Bound, optional
        For gaps: the objective to compare with. By default, it is the reference of the comparison's table; otherwise
        the optimum of a :class:`srnc_manifold.NamedProblem`; otherwise the best bound that one of the results proved;
        otherwise :func:`srnc_manifold.bound` of the problem. Without a problem, each result is compared with its own
        bound.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If the results are none, or of another problem; if no history has such a column; if there is nothing to measure
        gaps by; or if ``ax`` is not as many as there are panels.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, "slsqp", rng=0)
    >>> figure = srnc.plots.history(result, x="iteration", y="gap", problem=problem)
    """
    panels = panels_to_draw(results, problem, reference, y)
    rows, columns = grid(len(panels))
    size = (7.0, 4.6) if len(panels) == 1 else (4.2 * columns, 3.0 * rows + 0.8)
    drawn: list[list[tuple[Array, Array]]] = [[_data(line, panel, x, y) for line in panel.lines] for panel in panels]
    for argument, name, place in (("x", x, 0), ("y", y, 1)):
        if not any(np.any(np.isfinite(curve[place])) for curves in drawn for curve in curves):
            raise ValueError(f"{argument}: {name!r} given, but no run has values of it")
    solvers = list(dict.fromkeys((line.label, line.result.solver) for panel in panels for line in panel.lines))
    styles = dict(zip(solvers, line_styles([solver for _, solver in solvers]), strict=True))
    with figure_of(ax, size, len(panels)) as (figure, axes):
        for panel, curves, place in zip(panels, drawn, axes, strict=True):
            for line, (across, up) in zip(panel.lines, curves, strict=True):
                style = styles[line.label, line.result.solver]
                _draw_line(place, across, up, style, line)
            _scale_x(place, x, [across for across, _ in curves])
            _scale_y(place, y, [up for _, up in curves])
            if panel.title:
                place.set_title(plain(panel.title))
        legend(figure, axes, ax is None)
        return saved(figure, path)


def convergence(
    results: Result | Mapping[str, Result],
    problem: Problem,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    x: str = "evaluations",
) -> Any:
    """Cost, stable rank and objective of each iterate, with one curve per run (paper, Figure 3).

    Of a stack, the objective is the sum, and the panel in the middle shows the violation of the kernel that violates
    its constraints most: its kernels have targets of their own.

    Parameters
    ----------
    results : Result, or mapping of labels to Results
    problem : SRNProblem, StackProblem or SeparableProblem
        That of all the results.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    ax : list of three matplotlib Axes, optional
        Where to draw; a new figure by default.
    x : ``"evaluations"``, ``"iteration"`` or ``"time"``
        In seconds.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If a result is of another problem, for which the targets would be wrong; if no history has such a column; or if
        ``ax`` is something else.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> results = {name: srnc.solve(problem, name, rng=0) for name in ("exact", "slsqp")}
    >>> figure = srnc.plots.convergence(results, problem)
    """
    runs = results_by_label(results)
    for label, result in runs.items():
        require_own(label, result, problem)
    alone = len(problem.parts) == 1
    titles = {name: _Y_LABELS[name] for name in ("cost", "stable_rank" if alone else "violation", "objective")}
    if not any(np.any(np.isfinite(column(Line(*run), x))) for run in runs.items()):
        raise ValueError(f"x: {x!r} given, but no run has values of it")
    with figure_of(ax, (12, 4.2), 3) as (figure, panels):
        styles = line_styles([result.solver for result in runs.values()])
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            curves = []
            for (label, result), style in zip(runs.items(), styles, strict=True):
                line = Line(label, result)
                across, up = _data(line, Panel("", []), x, name)
                _draw_line(axes, across, up, style, line)
                curves.append((across, up))
            _scale_x(axes, x, [across for across, _ in curves])
            _scale_y(axes, name, [up for _, up in curves])
            axes.set_ylabel("")
            axes.set_title(title)
        if alone:
            target = problem.parts[0].stable_rank
            panels[1].axhline(target, color=QUIET, linestyle="--", linewidth=1)
            panels[1].annotate("target", (1, target), xycoords=("axes fraction", "data"), xytext=(3, 0),
                               textcoords="offset points", va="center", fontsize=8, color=QUIET)  # fmt: skip
        legend(figure, panels, ax is None, columns=4)
        return saved(figure, path)


def _data(line: Line, panel: Panel, x: str, y: str) -> tuple[Array, Array]:
    """What is drawn of a run: two columns; of a run without a history its scores."""
    across, up = column(line, x), gaps_of(line, panel) if y == "gap" else column(line, y)
    return (np.maximum(across, 1) if x == "evaluations" else across), floored(up) if y in _VANISHING else up


def _draw_line(axes: Any, across: Array, up: Array, style: dict[str, Any], line: Line) -> None:
    """A line, and a mark at its end; nothing if the run has no such quantity."""
    shown = np.isfinite(up)
    if not np.any(shown):
        return
    last = int(np.flatnonzero(shown)[-1])
    feasible = bool(column(line, "violation")[last] < FEASIBILITY_TOLERANCE)
    mark = {"markevery": [last], "markersize": 6, "markeredgewidth": 1.3}
    mark["markerfacecolor"] = style["color"] if feasible else "white"
    axes.plot(across, up, label=plain(line.label), **mark, **style)


def _scale_x(axes: Any, x: str, columns: list[Array]) -> None:
    values = np.concatenate([*columns, np.zeros(0)])
    values = values[np.isfinite(values)]
    if x == "iteration":
        axes.set_xscale("symlog", linthresh=1)  # they begin with zero
        axes.set_xlim(-0.1, max(2.0, 1.3 * np.max(values, initial=0.0)))
    elif len(values) and np.all(values > 0):
        axes.set_xscale("log")
    axes.set_xlabel(_X_LABELS.get(x, plain(x)))


def _scale_y(axes: Any, y: str, columns: list[Array]) -> None:
    values = np.concatenate([*columns, np.zeros(0)])
    values = values[np.isfinite(values)]
    if y in _VANISHING and len(values):
        least = np.min(values)
        logarithmic_with_zero(axes, "y", np.max(values), FLOOR if least <= 1e-9 else least)
        if y == "violation":
            feasible_limit(axes, "y")
    elif len(values):
        least, most = np.min(values), np.max(values)
        # A kernel that has not moved has an objective of rounding errors, which would flatten all other lines.
        still = y == "objective" and least <= FLOOR * most
        if least > 0 and most > 20 * least and not still:
            axes.set_yscale("log")
    axes.set_ylabel(_Y_LABELS.get(y, plain(y.replace("_", " "))))
