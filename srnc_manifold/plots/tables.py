"""Tables as heat maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.curves import quantity_label
from srnc_manifold.plots.drawing import FLOOR, cells, figure_of, floored, plain, require_columns, saved
from srnc_manifold.plots.rates import row_height

# What the two sides of a table are, by what columns it has: a comparison's table, and a profile of a sweep.
_SIDES = (("solver", "problem"), ("line", "value"))

_SHARES = {"hit", "feasible", "success", "solved"}

# Characters of the names at the sides.
_BESIDE, _BELOW = 32, 14


def heat_map(
    data: Any,
    value: str = "gap",
    *,
    rows: str | None = None,
    columns: str | None = None,
    ax: Any = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """A table as a heat map, with the numbers written in the cells: solver × problem, or setting × setting.

    Several rows of the data that fall into one cell are one number: the mean of shares, the median of all else. A cell
    without data is white. Violations and gaps have logarithmic shades; what is at most 1e-12 is "0". A dash is a gap
    that is infinite or not known, since no run was feasible.

    Parameters
    ----------
    data : DataFrame
        Such as ``comparison.table()``, whose sides are solvers and problems, or
        ``comparison.profile("sensitivity", setting="alpha")`` of a sweep, whose sides are the other settings and the
        values of this one.
    value : str
        The column that is shown: ``"gap"``, ``"violation"``, ``"solved"`` or any other with numbers. A violation is
        the larger one of ``stable_rank_error`` and ``spectral_norm_error``, if it is no column.
    rows, columns : str, optional
        The columns of the data at the two sides.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.

    Returns
    -------
    matplotlib.figure.Figure
        Gaps are fractions of ``‖C(a)‖²``, violations relative errors, shares in percent.

    Raises
    ------
    TypeError, ValueError
        If the data are no table, have no such column, or no number in it; or if ``ax`` is something else.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> comparison = srnc.compare("paper", ["exact", "srn-c"], seeds=[0])
    >>> figure = srnc.plots.heat_map(comparison.table(), "violation")
    """
    require_columns(data)
    if "violation" not in data.columns and {"stable_rank_error", "spectral_norm_error"} <= set(data.columns):
        data = data.assign(violation=data[["stable_rank_error", "spectral_norm_error"]].max(axis=1))
    sides = next((pair for pair in _SIDES if set(pair) <= set(data.columns)), _SIDES[0])
    down, across = rows or sides[0], columns or sides[1]
    for name, given in (("value", value), ("rows", down), ("columns", across)):
        if given not in data.columns:
            raise ValueError(f"{name}: {given!r} given, expected a column of data: {', '.join(map(str, data.columns))}")
    beside, below = _names(data[down]), _names(data[across])
    table = _table(data, value, (down, beside), (across, below))
    label, vanishing = quantity_label(value)
    shades, ends = _shades(table, value, vanishing)
    filled = _table(data.assign(filled=1.0), "filled", (down, beside), (across, below))
    texts = [
        ["" if np.isnan(there) else _text(number, value in _SHARES, vanishing) for number, there in row]
        for row in np.dstack([table, filled])
    ]
    names = [plain(_short(name), _BESIDE) for name in beside], [plain(_short(name), _BELOW) for name in below]
    size = (3.6 + 1.0 * len(below), 1.5 + len(beside) * row_height(names[0], 0.42))
    with figure_of(ax, size) as (figure, (axes,)):
        image = cells(axes, shades, texts, ends, aspect="auto")
        axes.set_yticks(range(len(beside)), names[0])
        axes.set_xticks(range(len(below)), names[1])
        axes.set_ylabel(_side(data, down))
        axes.set_xlabel(_side(data, across))
        bar = figure.colorbar(image, ax=axes, label=label)
        if vanishing:
            low, high = (int(np.ceil(ends[0])), int(np.floor(ends[1])))
            powers = range(low, high + 1, max(1, (high - low) // 5))
            bar.set_ticks(list(powers), labels=[f"$10^{{{k}}}$" for k in powers])
        return saved(figure, path)


def _names(side: Any) -> list[Any]:
    """What is at a side: numbers in their order, all else as it comes."""
    values = list(dict.fromkeys(side.dropna()))
    return sorted(values) if all(isinstance(v, int | float | np.number) for v in values) else values


def _table(data: Any, value: str, *sides: tuple[str, Sequence[Any]]) -> Array:
    """The numbers of the cells; NaN where there are no data."""
    try:
        numbers = data[value].astype(float)
    except (TypeError, ValueError):
        raise ValueError(f"value: {value!r} given, which has no numbers") from None
    (down, beside), (across, below) = sides
    grouped = numbers.groupby([data[down], data[across]], sort=False)
    of_cells = grouped.mean() if value in _SHARES else grouped.median()
    table = of_cells.unstack().reindex(index=beside, columns=below).to_numpy(float)
    if np.all(np.isnan(table)):
        raise ValueError(f"value: {value!r} given, which has no numbers in these data")
    return np.asarray(table)


def _shades(table: Array, value: str, vanishing: bool) -> tuple[Array, tuple[float, float]]:
    """What the shades stand for, and their ends: shares, powers of ten, or the numbers themselves."""
    if value in _SHARES:
        return table, (0.0, 1.0)
    shades = np.log10(floored(table)) if vanishing else np.where(np.isfinite(table), table, np.nan)
    if np.all(np.isnan(shades)):
        return shades, (0.0, 1.0)
    return shades, (float(np.nanmin(shades)), float(np.nanmax(shades)))


def _text(number: float, share: bool, vanishing: bool) -> str:
    if not np.isfinite(number):
        return "–"
    if share:
        return f"{100 * number:.0f} %"
    if vanishing:
        return "0" if number <= FLOOR else f"{number:.0e}" if number < 0.01 else f"{number:.2g}"
    return f"{number:.4g}"


def _short(name: Any) -> Any:
    return f"{name:g}" if isinstance(name, float) else name


def _side(data: Any, name: str) -> str:
    """The label of a side; of a sweep, the name of the setting."""
    if name == "value" and "setting" in data.columns:
        return plain(data["setting"].iloc[0])
    return {"line": "other settings"}.get(name, plain(name.replace("_", " ")))
