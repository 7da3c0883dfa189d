"""Figures of profiles of a comparison that are curves, from the data of :meth:`srnc_manifold.Comparison.profile`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from srnc_manifold.plots.curves import (
    Axis,
    Curve,
    Curves,
    band_curves,
    require_finite,
    share_curves,
    styles_of,
    sweep_curves,
)
from srnc_manifold.plots.drawing import (
    LINE_HEIGHT,
    feasible_limit,
    figure_of,
    grid,
    legend,
    logarithmic_with_zero,
    plain,
    require_columns,
    saved,
)
from srnc_manifold.plots.styles import spots

Path = str | os.PathLike[str] | None

# Characters of a legend's labels in an inch.
_PER_INCH = 12


def shares(data: Any, ax: Any = None, path: Path = None) -> Any:
    """Shares of instances over a ratio, a gap or a budget, as steps, with one line for each solver.

    Parameters
    ----------
    data : DataFrame
        A profile of the kind ``"performance"``, ``"data"``, ``"ecdf"`` or ``"quality"``.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.

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
    >>> figure = srnc.plots.shares(comparison.profile("performance"))
    """
    shown = share_curves(data)
    size, columns = _with_legend((7.0, 4.0), data["solver"])
    with figure_of(ax, size) as (figure, (axes,)):
        _draw(axes, shown, steps=True)
        legend(figure, [axes], ax is None, columns)
        return saved(figure, path)


def bands(data: Any, ax: Any = None, path: Path = None) -> Any:
    """Convergence over the seeds: a line for the median of each solver, in a band; one panel for each problem.

    Where a band has no upper end, some of its runs have no feasible iterate yet.

    Parameters
    ----------
    data : DataFrame
        A profile of the kind ``"convergence"``.
    ax, path
        As of :func:`shares`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If ``data`` or ``ax`` is something else, or ``ax`` is not as many as there are problems.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> comparison = srnc.compare("paper", ["exact", "slsqp[n_starts=1]"], seeds=[0, 1])
    >>> figure = srnc.plots.bands(comparison.profile("convergence"))
    """
    require_columns(data, "problem", "solver", "settings", "budget", "low", "median", "high", "measure", "quantity")
    quantity, problems = data["quantity"].iloc[0], list(dict.fromkeys(data["problem"]))
    require_finite(data, quantity, ["low", "median", "high"])
    rows, columns = grid(len(problems))
    panels_size = (7.0, 4.0) if len(problems) == 1 else (4.2 * columns, 3.2 * rows)
    size, beside = _with_legend(panels_size, data["solver"])
    with figure_of(ax, size, len(problems)) as (figure, panels):
        for k, (problem, axes) in enumerate(zip(problems, panels, strict=True)):
            _draw(axes, band_curves(data[data["problem"] == problem], styles_of(data)), steps=True)
            if len(problems) > 1:
                axes.set_title(plain(problem))
            if k % columns:
                axes.set_ylabel("")
        legend(figure, panels, ax is None, beside)
        return saved(figure, path)


def sweeps(data: Any, ax: Any = None, path: Path = None, *, y: str = "violation") -> Any:
    """What a setting does: a median or a share over the values of the setting, one line for what else differs.

    Parameters
    ----------
    data : DataFrame
        A profile of the kind ``"sensitivity"``.
    ax, path
        As of :func:`shares`.
    y : ``"violation"``, ``"gap"``, ``"hit"``, ``"feasible"`` or ``"evaluations"``

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If ``data`` or ``ax`` is something else, or there is no such ``y``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> costs = srnc.sweep(srnc.costs.LogSumExp, alpha=[10, 1000])
    >>> comparison = srnc.compare("paper", srnc.sweep("trust-regions", cost=costs), seeds=[0])
    >>> figure = srnc.plots.sweeps(comparison.profile("sensitivity"))
    """
    shown = sweep_curves(data, y)
    size, columns = _with_legend((7.0, 4.0), data["line"])
    with figure_of(ax, size) as (figure, (axes,)):
        _draw(axes, shown)
        legend(figure, [axes], ax is None, columns)
        return saved(figure, path)


def _draw(axes: Any, shown: Curves, steps: bool = False) -> None:
    """Curves and bands into axes. Steps have a few marks, other lines one at each value."""
    low, high = shown.x.range()
    for k, line in enumerate(shown.lines):
        _draw_band(axes, line)
        how: dict[str, Any] = {"drawstyle": "steps-post", "markevery": []} if steps else {}
        axes.plot(line.across, line.up, label=plain(line.label), **how, **line.style)
        if steps:
            places = spots(k, low, high, logarithmic=shown.x.scale in ("log", "zero"))
            places = places[places >= line.across[0]]
            heights = line.up[np.searchsorted(line.across, places, side="right") - 1]
            axes.plot(places, heights, marker=line.style["marker"], color=line.style["color"], linestyle="none")
    _scale(axes, "x", shown.x)
    _scale(axes, "y", shown.y)
    if shown.limit:
        feasible_limit(axes, "y")


def _draw_band(axes: Any, line: Curve) -> None:
    if line.low is not None:
        band = {"alpha": 0.15, "color": line.style["color"], "linewidth": 0}
        axes.fill_between(line.across, line.low, line.high, step="post", **band)


def _scale(axes: Any, which: str, axis: Axis) -> None:
    """The scale, the ends and the label of an axis."""
    if axis.scale == "zero" and axis.ends is not None:
        logarithmic_with_zero(axes, which, axis.ends[1], axis.ends[0])
    elif axis.scale == "log":
        getattr(axes, f"set_{which}scale")("log")
        if axis.ends is not None:
            getattr(axes, f"set_{which}lim")(*axis.ends)
    elif axis.scale == "share":
        getattr(axes, f"set_{which}lim")(-0.02, 1.02)
    if axis.names:
        getattr(axes, f"set_{which}ticks")(range(len(axis.names)), [plain(name) for name in axis.names])
    getattr(axes, f"set_{which}label")(plain(axis.label, 1000))


def _with_legend(size: tuple[float, float], labels: Any) -> tuple[tuple[float, float], int]:
    """The size of a figure with a legend below its panels, and how many columns of the legend there is room for."""
    shown = [plain(label).splitlines() for label in dict.fromkeys(labels)]
    longest = max(len(line) for lines in shown for line in lines)
    columns = max(1, min(3, int(size[0] * _PER_INCH / (longest + 6))))
    rows = -(-len(shown) // columns)
    return (size[0], size[1] + 0.3 + LINE_HEIGHT * rows * max(map(len, shown))), columns
