"""What the figures share: one style, one colour for each solver, labels, legends, files.

Only this module imports matplotlib, on first use. It does not import ``matplotlib.pyplot``, so no window is opened and
no figure is kept in memory.
"""

from __future__ import annotations

import itertools
import math
import os
import textwrap
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.printing import printable
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.process import alone
from srnc_manifold.writing import replacing

#: Colours that colour-blind people can tell apart, too (Okabe and Ito; Tol). The first is for the exact solution.
PALETTE = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#332288",
    "#56B4E9",
    "#882255",
    "#999933",
)

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))

MARKERS = "osD^v<>P*Xdph"

#: Where zeros, and what is as good as zero, are drawn on logarithmic axes.
FLOOR = 1e-12

#: Height of a line of text, in inches.
LINE_HEIGHT = 0.17

#: Colour of what is not data of a solver: targets, limits, notes.
QUIET = "0.35"

# Longer labels are folded, so that they leave room for the data.
_LABEL_WIDTH = 36


@contextmanager
def style() -> Iterator[None]:
    """The style of the figures of this package, for figures of one's own: ``with srnc.plots.style(): …``.

    matplotlib's settings belong to the whole process: one thread at a time draws in this style.
    """
    import matplotlib
    from matplotlib.rcsetup import cycler

    settings: Any = {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.prop_cycle": cycler("color", PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "figure.dpi": 130,
        "font.size": 10,
        "grid.alpha": 0.3,
        "legend.fontsize": 9,
        "lines.linewidth": 1.4,
        "lines.markersize": 5,
        "savefig.dpi": "figure",
        "text.usetex": False,
    }
    with alone(), matplotlib.rc_context(settings):
        yield


def colour(solver: str) -> str:
    """The colour of a solver, the same in all figures.

    The solvers that are compared by default come first, so that few of them share a colour; lines of one colour are
    told apart by their dashes and marks. Other settings of a solver do not change its colour. Any other text has a
    colour, too.

    Parameters
    ----------
    solver : str
        A name of a solver, in any spelling: ``"trust-regions:lse"`` and ``"trust-regions"`` are one solver.

    Returns
    -------
    str
        An element of :data:`PALETTE`.
    """
    name = _canonical(str(solver))
    known = _known()
    base = name.partition("[")[0]
    if name in known or base in known:
        return known.get(name) or known[base]
    return PALETTE[1 + zlib.crc32(base.encode()) % (len(PALETTE) - 1)]


@cache
def _known() -> dict[str, str]:
    """Colours of the default solvers: the first one black, the others in turn."""
    from srnc_manifold.registry import DEFAULT_SOLVERS  # on use: whoever plots first has not imported the solvers

    rest = itertools.cycle(PALETTE[1:])
    names = [_canonical(name) for name in DEFAULT_SOLVERS]
    return {name: PALETTE[0] if k == 0 else next(rest) for k, name in enumerate(names)}


def _canonical(name: str) -> str:
    from srnc_manifold.registry import solver_from_name

    try:
        return solver_from_name(name).name
    except (TypeError, ValueError):  # a label, or a solver that this process does not know
        return name


def line_styles(solvers: Sequence[str]) -> list[dict[str, Any]]:
    """Colour, dashes, width and mark of each line of a figure. Lines of one colour differ in the rest."""
    used: dict[str, int] = {}
    styles = []
    for solver in solvers:
        own = colour(solver)
        k = used[own] = used.get(own, -1) + 1
        dashes, width = DASHES[k % len(DASHES)], 1.4 + 0.8 * (k // len(DASHES))
        mark = MARKERS[k % len(MARKERS)]
        styles.append({"color": own, "linestyle": dashes, "linewidth": width, "marker": mark})
    return styles


def unmarked(style: dict[str, Any]) -> dict[str, Any]:
    """The style of a line without its mark."""
    return {name: value for name, value in style.items() if name != "marker"}


def folded(text: Any, width: int = _LABEL_WIDTH) -> list[str]:
    """A text that is data, in lines of at most a width. Names are folded after a bracket rather than in a number."""
    text = " ".join(printable(line) for line in str(text).splitlines())
    lines = textwrap.wrap(text.replace("[", "[\v"), width, break_on_hyphens=False, replace_whitespace=False) or [text]
    return [line.replace("\v", "") for line in lines]


def plain(text: Any, width: int = _LABEL_WIDTH) -> str:
    """A text that is data, such that matplotlib shows it as it stands.

    Dollar signs would start formulas, and labels that begin with an underscore would be left out of legends. Half
    characters cannot be drawn, and control characters cannot be in an SVG file.
    """
    shown = "\n".join(folded(text, width)).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") or not shown else shown


def require_kind(given: Any, name: str, expected: str, *attributes: str) -> None:
    """Refuse what is not of a kind that is above this module, and so is known by its attributes only."""
    if not all(hasattr(given, attribute) for attribute in attributes):
        raise TypeError(f"{name}: {type(given).__name__} given, expected {expected}")


def require_columns(data: Any, *columns: str) -> None:
    """Refuse what is no table, or is one of another kind, or has no rows."""
    if not hasattr(data, "columns") or not hasattr(data, "groupby"):
        raise TypeError(f"data: {type(data).__name__} given, expected a DataFrame, such as comparison.profile(...)")
    missing = [name for name in columns if name not in data.columns]
    if missing:
        raise ValueError(f"data: no column {missing[0]!r}, expected a profile of another kind")
    if not len(data):
        raise ValueError("data: no rows given, expected at least one")


@contextmanager
def figure_of(ax: Any, size: tuple[float, float], n_panels: int = 1, **shared: Any) -> Iterator[Any]:
    """A figure and its axes: those of the caller, with the caller's style, or new ones with ours.

    Up to three panels are beside each other, more are in a grid.

    Raises
    ------
    TypeError, ValueError
        If ``ax`` is not an ``Axes``, or if there are several panels to draw.
    """
    if ax is not None:
        if not callable(getattr(ax, "plot", None)) or not hasattr(ax, "figure"):
            raise TypeError(f"ax: {type(ax).__name__} given, expected an Axes of matplotlib")
        if n_panels > 1:
            raise ValueError(f"ax: one panel given, {n_panels} are to be drawn; expected ax=None")
        yield getattr(ax.figure, "figure", None) or ax.figure, [ax]  # of a subfigure the whole figure
        return
    from matplotlib.figure import Figure

    rows, columns = grid(n_panels)
    with style():
        figure = Figure(figsize=size)
        axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
        for unused in axes[n_panels:]:
            unused.remove()
        yield figure, axes[:n_panels]


def grid(n_panels: int) -> tuple[int, int]:
    """Rows and columns of a figure of several panels."""
    columns = n_panels if n_panels <= 3 else min(4, math.isqrt(n_panels - 1) + 1)
    return -(-n_panels // columns), columns


def legend(figure: Any, panels: Sequence[Any], own: bool, columns: int = 3, title: str | None = None) -> None:
    """A legend below the panels of a figure of ours, or inside the caller's axes; each label is listed once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if not entries:
        return
    handles, labels = list(entries.values()), list(entries)
    if own:
        place = {"loc": "outside lower center", "ncols": max(1, min(columns, len(labels)))}
        figure.legend(handles, labels, title=title, **place)
    else:
        panels[0].legend(handles, labels, title=title, fontsize="small")


def sample(**style: Any) -> Any:
    """A line or mark that stands for others in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **style)


def floored(values: Any) -> Array:
    """Values for a logarithmic axis: what is at or below the floor lies on it. NaN and infinity are not drawn."""
    array = np.asarray(values, float)
    return np.where(np.isfinite(array), np.maximum(array, FLOOR), np.nan)


def decades(most: float, least: float = FLOOR) -> tuple[tuple[float, float], list[int]]:
    """The ends of a logarithmic axis up to ``most`` and a little more, and the powers of ten that are labelled."""
    most = most if np.isfinite(most) and most > 0 else 1.0
    least = least if np.isfinite(least) and least > 0 else FLOOR
    low, high = int(np.floor(np.log10(least))), int(np.ceil(np.log10(most)))
    high = max(high, low + 1)
    return (10.0**low / 3, max(10.0**high, 3 * most)), list(range(low, high + 1, max(1, round((high - low) / 7))))


def logarithmic_with_zero(axes: Any, which: str, most: float, least: float = FLOOR) -> None:
    """A logarithmic axis up to ``most`` and a little more. If values lie on the floor, it is labelled "0"."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ends, powers = decades(most, least)
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(*ends)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(FixedLocator([10.0**k for k in powers]))
    axis.set_minor_locator(NullLocator())

    def shown(value: float, _: Any) -> str:
        return "0" if value <= FLOOR * (1 + 1e-9) else f"$10^{{{round(np.log10(value))}}}$"

    axis.set_major_formatter(FuncFormatter(shown))


def feasible_limit(axes: Any, which: str) -> None:
    """The limit below which a violation is none, with a note; call it when the axis has its limits.

    If it lies beyond them, it is not drawn: a note outside of the axes would leave no room for the axes.
    """
    low, high = getattr(axes, f"get_{which}lim")()
    if not low <= FEASIBILITY_TOLERANCE <= high:
        return
    line = {"color": QUIET, "linestyle": "--", "linewidth": 1}
    note = {"fontsize": 8, "color": QUIET, "textcoords": "offset points"}
    if which == "x":
        axes.axvline(FEASIBILITY_TOLERANCE, **line)
        axes.annotate("feasible", (FEASIBILITY_TOLERANCE, 1.0), xycoords=("data", "axes fraction"), xytext=(-4, 3),
                      ha="right", **note)  # fmt: skip
    else:
        axes.axhline(FEASIBILITY_TOLERANCE, **line)
        axes.annotate("feasible", (0.0, FEASIBILITY_TOLERANCE), xycoords=("axes fraction", "data"), xytext=(3, -3),
                      va="top", **note)  # fmt: skip


def saved(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """The figure, saved if a path is given; without an ending it is a PNG."""
    if path is not None:
        path = Path(path) if Path(path).suffix else Path(f"{os.fspath(path)}.png")
        with replacing(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi="figure")
    return figure
