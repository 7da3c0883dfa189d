"""What the figures share: one style, labels, legends, cells with numbers, files.

Only this module imports matplotlib, on first use. It does not import ``matplotlib.pyplot``, so no window is opened and
no figure is kept in memory.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.styles import DASHES, PALETTE, SHADES
from srnc_manifold.printing import printable
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.process import alone
from srnc_manifold.writing import replacing

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
    """The style of the figures of this package, for figures of one's own.

    Lines have colours that colour-blind people can tell apart, and dashes, so that they are told apart in grey, too.
    matplotlib's settings belong to the whole process: one thread at a time draws in this style.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> import srnc_manifold as srnc
    >>> with srnc.plots.style():
    ...     axes = Figure().add_subplot()
    ...     lines = axes.plot([1, 2], [3, 4]) + axes.plot([1, 2], [4, 3])
    >>> [line.get_linestyle() for line in lines]
    ['-', '--']
    """
    import matplotlib
    from matplotlib.rcsetup import cycler

    n = len(PALETTE)
    dashes = [DASHES[k % len(DASHES)] for k in range(n)]

    settings: Any = {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.prop_cycle": cycler("color", PALETTE) + cycler("linestyle", dashes),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "figure.dpi": 130,
        "font.size": 10,
        "image.cmap": SHADES,
        "grid.alpha": 0.3,
        "legend.fontsize": 9,
        "lines.linewidth": 1.4,
        "lines.markersize": 5,
        "savefig.dpi": "figure",
        "svg.hashsalt": "srnc_manifold",  # one figure, one file, byte for byte
        "text.usetex": False,
    }
    with alone(), matplotlib.rc_context(settings):
        yield


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

    Up to three panels are beside each other, more are in a grid. The caller gives one ``Axes``, or a list or array of
    as many as there are panels.

    Raises
    ------
    TypeError, ValueError
        If ``ax`` is something else, or not as many as there are panels.
    """
    if ax is not None:
        given = list(np.ravel(np.asarray(ax, object)))
        for one in given:
            if not callable(getattr(one, "plot", None)) or not hasattr(one, "figure"):
                raise TypeError(f"ax: {type(one).__name__} given, expected an Axes of matplotlib")
        if len(given) != n_panels:
            told = "one panel" if len(given) == 1 else f"{len(given)} panels"
            raise ValueError(f"ax: {told} given, {n_panels} are to be drawn; expected as many, or ax=None")
        yield getattr(given[0].figure, "figure", None) or given[0].figure, given  # of a subfigure the whole figure
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


def scale(cmap: str, vmin: float, vmax: float) -> Any:
    """Shades of numbers, for what is drawn in several pieces, and for a colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(vmin, vmax), cmap)


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
    """The figure, saved if a path is given: as vectors if this ends in ``.svg`` or ``.pdf``; a PNG without an ending.

    Raises
    ------
    ValueError
        If there is no such kind of file.
    """
    if path is not None:
        path = Path(path) if Path(path).suffix else Path(f"{os.fspath(path)}.png")
        kind = path.suffix[1:].lower()
        known = figure.canvas.get_supported_filetypes()
        if kind not in known:
            endings = ", ".join(f".{ending}" for ending in sorted(known))
            raise ValueError(f"path: {os.fspath(path)!r} given, expected a name ending in one of {endings}")
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # one figure, one file
        with replacing(path) as file:
            figure.savefig(file, format=kind, dpi="figure", metadata=dates.get(kind))
    return figure


def cells(axes: Any, values: Array, texts: Any, ends: tuple[float, float], **image: Any) -> Any:
    """A table of numbers as an image in shades, with a text in each cell, dark on light and light on dark.

    Returns
    -------
    matplotlib image
        For a colour bar.
    """
    low, high = ends
    drawn = axes.imshow(values, cmap=SHADES, vmin=low, vmax=high if high > low else low + 1.0, **image)
    for row, column in np.ndindex(*values.shape):
        if texts[row][column]:
            dark = np.isfinite(values[row, column]) and drawn.norm(values[row, column]) < 0.5
            own = {"ha": "center", "va": "center", "fontsize": 8, "color": "white" if dark else "black"}
            axes.text(column, row, texts[row][column], **own)
    axes.grid(False)
    return drawn
