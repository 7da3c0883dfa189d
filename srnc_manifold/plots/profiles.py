"""Figures of profiles of a comparison that are curves, from the data of :meth:`srnc_manifold.Comparison.profile`."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import (
    DASHES,
    FLOOR,
    LINE_HEIGHT,
    MARKERS,
    PALETTE,
    feasible_limit,
    figure_of,
    floored,
    grid,
    legend,
    line_styles,
    logarithmic_with_zero,
    plain,
    require_columns,
    saved,
    unmarked,
)

Path = str | os.PathLike[str] | None

_MEASURES = {"time": "time on one machine, s"}

# What is drawn of a sweep or a band, and whether it tends to zero.
_QUANTITIES = {
    "violation": ("violation", True),
    "gap": ("gap to the reference / ‖C(a)‖²", True),
    "hit": ("share of runs that hit the optimum", False),
    "feasible": ("share of feasible runs", False),
    "evaluations": ("evaluations", False),
}

# Lines of one colour that dashes can tell apart.
_PER_COLOUR = 3

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
        Where to save the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If ``data`` or ``ax`` is something else.
    """
    require_columns(data, "solver", "settings", "share", "measure", "instances", "of")
    x = next((name for name in ("ratio", "budget", "gap") if name in data.columns), "")
    require_columns(data, x or "ratio")
    measure = data["measure"].iloc[0]
    size, columns = _with_legend((7.0, 4.0), data["solver"])
    with figure_of(ax, size) as (figure, (axes,)):
        values = data[x].to_numpy(float)
        if x == "gap":
            logarithmic_with_zero(axes, "x", values.max())
            values = floored(values)
        else:
            axes.set_xscale("log")
            axes.set_xlim(values.min(), max(1.3 * values.max(), 2 * values.min()))
        right = axes.get_xlim()[1]
        for solver, style in _styles(data).items():
            own = (data["solver"] == solver).to_numpy()
            heights = data["share"].to_numpy()[own]
            across, up = np.append(values[own], right), np.append(heights, heights[-1])
            # A curve that begins above zero rises at the left end.
            across, up = np.insert(across, 0, across[0]), np.insert(up, 0, 0.0)
            axes.plot(across, up, drawstyle="steps-post", label=plain(solver), **style)
        axes.set_ylim(-0.02, 1.02)
        labels = {
            "ratio": f"{_MEASURES.get(measure, measure).removesuffix(', s')} / least of all solvers",
            "gap": f"{measure} / ‖C(a)‖²",
        }
        axes.set_xlabel(labels.get(x, _MEASURES.get(measure, measure)))
        axes.set_ylabel(f"share of {data['instances'].iloc[0]} {data['of'].iloc[0]}")
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
        If ``data`` or ``ax`` is something else, or ``ax`` is given for several problems.
    """
    require_columns(data, "problem", "solver", "settings", "budget", "low", "median", "high", "measure", "quantity")
    measure, quantity = data["measure"].iloc[0], data["quantity"].iloc[0]
    styles, problems = _styles(data), list(dict.fromkeys(data["problem"]))
    _require_finite(data, quantity, ["low", "median", "high"])
    label, vanishing = _quantity(quantity)
    rows, columns = grid(len(problems))
    panels_size = (7.0, 4.0) if len(problems) == 1 else (4.2 * columns, 3.2 * rows)
    size, beside = _with_legend(panels_size, data["solver"])
    with figure_of(ax, size, len(problems)) as (figure, panels):
        for k, (problem, axes) in enumerate(zip(problems, panels, strict=True)):
            of_problem = data[data["problem"] == problem]
            ends = _ends(of_problem)
            for solver, own in of_problem.groupby("solver", sort=False):
                low, median, high = (own[name].to_numpy(float) for name in ("low", "median", "high"))
                across, style = own["budget"].to_numpy(float), styles[solver]
                right = 1.3 * of_problem["budget"].max()  # a run that has ended stays where it is
                across, low, median, high = (
                    np.append(v, last) for v, last in ((across, right), *((v, v[-1]) for v in (low, median, high)))
                )
                top = np.where(high == np.inf, 10 * ends[1], high)
                if vanishing:
                    low, median, top = floored(low), floored(median), floored(top)
                else:
                    median = np.where(np.isfinite(median), median, np.nan)
                axes.fill_between(across, low, top, step="post", alpha=0.15, color=style["color"], linewidth=0)
                axes.plot(across, median, drawstyle="steps-post", label=plain(solver), **style)
            if vanishing:
                logarithmic_with_zero(axes, "y", ends[1], FLOOR if ends[0] <= 1e-9 else ends[0])
            if quantity == "violation":
                feasible_limit(axes, "y")
            axes.set_xscale("log")
            axes.set_xlim(of_problem["budget"].min(), right)
            axes.set_xlabel(_MEASURES.get(measure, measure))
            if len(problems) > 1:
                axes.set_title(plain(problem))
            if k % columns == 0:
                axes.set_ylabel(label)
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
    """
    if y not in _QUANTITIES:
        raise ValueError(f"y: {y!r} given, expected one of {', '.join(_QUANTITIES)}")
    require_columns(data, "setting", "line", "value", y)
    _require_finite(data, y, [y])
    label, vanishing = _quantity(y)
    setting, values = data["setting"].iloc[0], list(dict.fromkeys(data["value"]))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numeric else values
    logarithmic = numeric and values[0] > 0 and values[-1] >= 20 * values[0]
    size, columns = _with_legend((7.0, 4.0), data["line"])
    with figure_of(ax, size) as (figure, (axes,)):
        for k, (line, own) in enumerate(data.groupby("line", sort=False)):
            across = own["value"] if numeric else own["value"].map(values.index)
            order = np.argsort(across.to_numpy(float))
            up = own[y].to_numpy(float)
            up = floored(up) if vanishing else up
            style = {"color": PALETTE[1 + k % (len(PALETTE) - 1)], "marker": MARKERS[k % len(MARKERS)]}
            axes.plot(across.to_numpy(float)[order], up[order], label=plain(line), **style)
        if logarithmic:
            axes.set_xscale("log")
        elif not numeric:
            axes.set_xticks(range(len(values)), [plain(value) for value in values])
        if vanishing:
            finite = data[y].to_numpy(float)[np.isfinite(data[y].to_numpy(float))]
            least, most = finite.min(), finite.max()
            logarithmic_with_zero(axes, "y", most, FLOOR if least <= 1e-9 else least)
        elif y != "evaluations":
            axes.set_ylim(-0.02, 1.02)
        if y == "violation":
            feasible_limit(axes, "y")
        axes.set_xlabel(plain(setting))
        axes.set_ylabel(label if y in ("hit", "feasible") else f"{label}, median")
        legend(figure, [axes], ax is None, columns)
        return saved(figure, path)


def _styles(data: Any) -> dict[str, dict[str, Any]]:
    """The style of each solver's line. Of a sweep of one solver, the lines have several colours."""
    solvers = data.drop_duplicates("solver")
    styles = [unmarked(style) for style in line_styles(list(solvers["settings"]))]
    if max(Counter(style["color"] for style in styles).values()) > _PER_COLOUR:
        others = PALETTE[1:]
        styles = [
            {"color": others[k % len(others)], "linestyle": DASHES[k // len(others) % len(DASHES)], "linewidth": 1.4}
            for k in range(len(styles))
        ]
    return dict(zip(solvers["solver"], styles, strict=True))


def _with_legend(size: tuple[float, float], labels: Any) -> tuple[tuple[float, float], int]:
    """The size of a figure with a legend below its panels, and how many columns of the legend there is room for."""
    shown = [plain(label).splitlines() for label in dict.fromkeys(labels)]
    longest = max(len(line) for lines in shown for line in lines)
    columns = max(1, min(3, int(size[0] * _PER_INCH / (longest + 6))))
    rows = -(-len(shown) // columns)
    return (size[0], size[1] + 0.3 + LINE_HEIGHT * rows * max(map(len, shown))), columns


def _quantity(name: str) -> tuple[str, bool]:
    """The label of a quantity, and whether it tends to zero."""
    return _QUANTITIES.get(name, (name.replace("_", " "), name.endswith("_error") or name == "gradient_norm"))


def _ends(data: Any) -> tuple[float, float]:
    """The least and the largest finite value of a band."""
    values: Array = data[["low", "median", "high"]].to_numpy(float)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (FLOOR, 1.0)


def _require_finite(data: Any, name: str, columns: list[str]) -> None:
    """Refuse to draw an empty figure."""
    if not np.any(np.isfinite(data[columns].to_numpy(float))):
        raise ValueError(f"data: no {name} to draw; it is infinite where too few runs are feasible, or not known")
