"""What figures of profiles show: curves, styles, axes and their labels, whatever library draws them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import FLOOR, decades, floored, require_columns
from srnc_manifold.plots.styles import distinct, line_styles
from srnc_manifold.validation import require_choice

_MEASURES = {"time": "time on one machine, s"}

# What is drawn of a sweep or a band, and whether it tends to zero.
QUANTITIES = {
    "violation": ("violation", True),
    "gap": ("gap to the reference / ‖C(a)‖²", True),
    "hit": ("share of runs that hit the optimum", False),
    "feasible": ("share of feasible runs", False),
    "success": ("share of feasible runs", False),
    "solved": ("share of runs that hit the optimum", False),
    "restored_gap": ("gap after the local restoration / ‖C(a)‖²", True),
    "bound_gap": ("gap to the proved bound / ‖C(a)‖²", True),
    "evaluations": ("evaluations", False),
}

# Those of them that a sweep has.
_SWEPT = ("violation", "gap", "hit", "feasible", "evaluations")

# Lines of one colour, at most: more are given colours in turn.
_PER_COLOUR = 3


@dataclass(frozen=True)
class Axis:
    """An axis: its label, its scale, and its ends.

    ``"zero"`` is a logarithmic scale on which the least value stands for zero; see
    :func:`srnc_manifold.plots.drawing.logarithmic_with_zero`. ``names`` are those of the places 0, 1, … .
    """

    label: str
    scale: Literal["linear", "log", "zero", "share"] = "linear"
    ends: tuple[float, float] | None = None
    names: tuple[Any, ...] = ()

    def range(self) -> tuple[float, float]:
        """Where the axis ends, which for ``"zero"`` is a little beyond its values."""
        low, high = self.ends or (0.0, 1.0)
        return decades(high, low)[0] if self.scale == "zero" else (low, high)


@dataclass(frozen=True)
class Curve:
    """A line of a figure: its label and style, and its values; a band has a low and a high end, too."""

    label: str
    style: dict[str, Any]
    across: Array
    up: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True)
class Curves:
    """All that one panel shows. ``limit`` says that the axis upwards has the limit of feasibility."""

    x: Axis
    y: Axis
    lines: list[Curve]
    limit: bool = False


def share_curves(data: Any) -> Curves:
    """The steps of :func:`srnc_manifold.plots.shares`."""
    require_columns(data, "solver", "settings", "share", "measure", "instances", "of")
    x = next((name for name in ("ratio", "budget", "gap") if name in data.columns), "")
    require_columns(data, x or "ratio")
    measure, values = data["measure"].iloc[0], data[x].to_numpy(float)
    label = {
        "ratio": f"{measure_label(measure).removesuffix(', s')} / least of all solvers",
        "gap": f"{measure} / ‖C(a)‖²",
    }.get(x, measure_label(measure))
    if x == "gap":
        across_axis = Axis(label, "zero", (FLOOR, float(values.max())))
        values = floored(values)
    else:
        across_axis = Axis(label, "log", (values.min(), max(1.3 * values.max(), 2 * values.min())))
    right, lines = across_axis.range()[1], []
    for solver, style in styles_of(data).items():
        own = (data["solver"] == solver).to_numpy()
        heights = data["share"].to_numpy()[own]
        across, up = np.append(values[own], right), np.append(heights, heights[-1])
        # A curve that begins above zero rises at the left end.
        lines.append(Curve(solver, style, np.insert(across, 0, across[0]), np.insert(up, 0, 0.0)))
    return Curves(across_axis, Axis(f"share of {data['instances'].iloc[0]} {data['of'].iloc[0]}", "share"), lines)


def band_curves(data: Any, styles: dict[str, dict[str, Any]] | None = None) -> Curves:
    """The bands of one problem of :func:`srnc_manifold.plots.bands`, in the styles of all problems."""
    measure, quantity = data["measure"].iloc[0], data["quantity"].iloc[0]
    label, vanishing = quantity_label(quantity)
    ends, right = _ends(data), 1.3 * data["budget"].max()  # a run that has ended stays where it is
    lines = []
    styles = styles_of(data) if styles is None else styles
    for solver, own in data.groupby("solver", sort=False):
        low, median, high = (own[name].to_numpy(float) for name in ("low", "median", "high"))
        across = np.append(own["budget"].to_numpy(float), right)
        low, median, high = (np.append(v, v[-1]) for v in (low, median, high))
        top = np.where(high == np.inf, 10 * ends[1], high)
        if vanishing:
            low, median, top = floored(low), floored(median), floored(top)
        else:
            median = np.where(np.isfinite(median), median, np.nan)
        lines.append(Curve(str(solver), styles[str(solver)], across, median, low, top))
    y = Axis(label, "zero", (FLOOR if ends[0] <= 1e-9 else ends[0], ends[1])) if vanishing else Axis(label)
    x = Axis(measure_label(measure), "log", (data["budget"].min(), right))
    return Curves(x, y, lines, limit=quantity == "violation")


def sweep_curves(data: Any, y: str) -> Curves:
    """The lines of :func:`srnc_manifold.plots.sweeps`."""
    require_choice(_SWEPT, y=y)
    require_columns(data, "setting", "line", "value", y)
    require_finite(data, y, [y])
    label, vanishing = quantity_label(y)
    setting, values = data["setting"].iloc[0], list(dict.fromkeys(data["value"]))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numeric else values
    logarithmic = numeric and values[0] > 0 and values[-1] >= 20 * values[0]
    lines = []
    for k, (line, own) in enumerate(data.groupby("line", sort=False)):
        across = (own["value"] if numeric else own["value"].map(values.index)).to_numpy(float)
        up, order = own[y].to_numpy(float), np.argsort(across)
        up = floored(up) if vanishing else up
        lines.append(Curve(line, distinct(k), across[order], up[order]))
    finite = data[y].to_numpy(float)[np.isfinite(data[y].to_numpy(float))]
    upwards = label if y in ("hit", "feasible") else f"{label}, median"
    scale: Any = "zero" if vanishing else "linear" if y == "evaluations" else "share"
    ends = (FLOOR if finite.min() <= 1e-9 else finite.min(), finite.max()) if vanishing else None
    x = Axis(setting, "log" if logarithmic else "linear", names=() if numeric else tuple(values))
    return Curves(x, Axis(upwards, scale, ends), lines, limit=y == "violation")


def styles_of(data: Any) -> dict[str, dict[str, Any]]:
    """The style of each solver's line. Of a sweep of one solver, the lines have several colours."""
    solvers = data.drop_duplicates("solver")
    styles = line_styles(list(solvers["settings"]))
    if max(Counter(style["color"] for style in styles).values()) > _PER_COLOUR:
        styles = [distinct(k) for k in range(len(styles))]
    return dict(zip(solvers["solver"], styles, strict=True))


def measure_label(name: str) -> str:
    """The label of what a run costs."""
    return _MEASURES.get(name, name)


def quantity_label(name: str) -> tuple[str, bool]:
    """The label of a quantity, and whether it tends to zero."""
    return QUANTITIES.get(name, (name.replace("_", " "), name.endswith("_error") or name == "gradient_norm"))


def require_finite(data: Any, name: str, columns: list[str]) -> None:
    """Refuse to draw an empty figure."""
    if not np.any(np.isfinite(data[columns].to_numpy(float))):
        raise ValueError(f"data: no {name} to draw; it is infinite where too few runs are feasible, or not known")


def _ends(data: Any) -> tuple[float, float]:
    """The least and the largest finite value of a band."""
    values: Array = data[["low", "median", "high"]].to_numpy(float)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (FLOOR, 1.0)
