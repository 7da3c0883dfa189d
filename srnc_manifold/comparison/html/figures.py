"""Interactive figures of a report, of the data that :mod:`srnc_manifold.plots` draws. Only this module knows plotly.

Colours and everything that depends on light or dark are set in the page; see ``report.js``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.curves import Axis, Curve, Curves, band_curves, share_curves, sweep_curves
from srnc_manifold.plots.drawing import FLOOR, decades, folded
from srnc_manifold.plots.kernels import mosaic
from srnc_manifold.plots.spectra import one_axis, singular_values
from srnc_manifold.plots.styles import PALETTE, colour, line_styles, unmarked
from srnc_manifold.problem.base import KernelProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE

#: Colours of the palette that would be too dark on a dark page, and what they are there.
ON_DARK = {
    "#000000": "#ffffff",
    "#0072B2": "#4da9e0",
    "#332288": "#9a8df0",
    "#882255": "#e0709f",
    "#595959": "#b5b5b5",
}

# Colour of what is not data of a solver, and of the kernel as given.
_QUIET, _GIVEN = "#595959", "#999999"

_LIMIT = {"color": _QUIET, "dash": "dash", "width": 1}

# Lines of a figure that are shown at first; the others are a click in the legend away.
_SHOWN = 4

# Points of a curve of singular values.
_POINTS = 300

_HEIGHT = 420


def script() -> str:
    """The source of plotly for the page."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def to_json(figure: Any) -> str:
    """The figure as JSON, which has no ``<`` in it, so that it can stand in a page."""
    return str(figure.to_json()).replace("<", "\\u003c")


def shares(data: Any) -> Any:
    """Steps of each solver over a ratio, a gap or a budget."""
    shown = share_curves(data)
    best_first = sorted(shown.lines, key=lambda line: -float(line.up[-1]))
    return _lines(replace(shown, lines=best_first), "hv")


def bands(data: Any) -> Any:
    """Convergence over the seeds on one problem."""
    shown = band_curves(data)
    best_first = sorted(shown.lines, key=lambda line: np.nan_to_num(float(line.up[-1]), nan=np.inf))
    return _lines(replace(shown, lines=best_first), "hv")


def sweeps(data: Any, y: str = "violation") -> Any:
    """What a setting does."""
    return _lines(sweep_curves(data, y), "linear")


def hit_rates(data: Any) -> Any:
    """Hit rates of the solvers with their intervals."""
    solvers, traces = list(dict.fromkeys(data["solver"])), []
    for solver in solvers:
        own = data[data["solver"] == solver]
        rate, low, high = (own[name].to_numpy(float) for name in ("rate", "low", "high"))
        notes = [
            f"{problem + ': ' if problem else ''}{hits} of {runs} starts, {_expected(cost)} {measure} to the first hit"
            for problem, hits, runs, cost, measure in zip(
                own["problem"], own["hits"], own["runs"], own["expected_cost"], own["measure"], strict=True
            )
        ]
        spread = {"type": "data", "symmetric": False, "array": high - rate, "arrayminus": rate - low, "thickness": 1}
        marks = {"color": colour(own["settings"].iloc[0]), "size": 8}
        traces.append({
            "type": "scatter", "mode": "markers", "x": rate, "y": solvers.index(solver) + _spread(own),
            "error_x": spread, "marker": marks, "name": _name(solver), "text": [_line(note) for note in notes],
            "hovertemplate": "%{x:.1%}<br>%{text}",
        })  # fmt: skip
    share = f"share of starts that hit the optimum, with {100 * data['confidence'].iloc[0]:g} % intervals"
    layout = {"xaxis": _axis(Axis(share, "share")), "yaxis": _rows(solvers), "showlegend": False}
    return _figure(traces, layout, 140 + 46 * len(solvers))


def pairs(data: Any) -> Any:
    """Wins of each solver (row) over each other one (column)."""
    solvers = list(dict.fromkeys(data["solver"]))
    n = len(solvers)
    balance, notes = np.full((n, n), np.nan), [["" for _ in solvers] for _ in solvers]
    for record in data.to_dict("records"):
        row, column = solvers.index(record["solver"]), solvers.index(record["other"])
        wins, losses, ties = (int(record[name]) for name in ("wins", "losses", "ties"))
        balance[row, column] = (wins - losses) / max(wins + losses + ties, 1)
        notes[row][column] = f"{wins}–{losses}–{ties}{'*' if record['adjusted'] < 0.05 else ''}"
    trace = {
        "type": "heatmap", "z": balance, "text": notes, "texttemplate": "%{text}", "colorscale": "PuOr",
        "zmin": -1, "zmax": 1, "xgap": 1, "ygap": 1, "hovertemplate": "%{text}<extra></extra>", "showscale": n > 2,
        "colorbar": {"title": {"text": "(wins − losses)<br>/ all"}, "thickness": 12},
    }  # fmt: skip
    numbers = {"tickvals": list(range(n)), "ticktext": [str(k) for k in range(1, n + 1)], "side": "top"}
    across = numbers | {"title": {"text": "against the solver of this number"}, "showgrid": False}
    layout = {"xaxis": across, "yaxis": _rows([f"{solver}  {k}" for k, solver in enumerate(solvers, 1)])}
    return _figure([trace], layout, 150 + 46 * n)


def spectrum(part: KernelProblem, kernels: Mapping[str, Array], settings: Mapping[str, str]) -> Any:
    """Singular values before (the kernel as given) and after (those of solvers), with the norm that is to be kept."""
    how = "frequency" if one_axis(part) else "rank"
    styles = map(unmarked, line_styles([settings.get(label, label) for label in kernels]))
    given = {"color": _GIVEN, "linewidth": 3.0, "linestyle": "-"}
    curves = [("before", part.kernel, given)]
    curves += [(label, kernel, style) for (label, kernel), style in zip(kernels.items(), styles, strict=True)]
    lines = [Curve(label, style, *_thinned(*singular_values(part, kernel, how))) for label, kernel, style in curves]
    across = "frequency l" if how == "frequency" else "rank of the singular value"
    scale: Any = "log" if how == "rank" and len(lines[0].across) >= _POINTS else "linear"
    right = max(float(lines[0].across[-1]), 1.0)
    x = Axis(across, scale, (0.9, right) if scale == "log" else None)
    y = Axis("norm of the block" if how == "frequency" else "singular value", "linear")
    figure = _lines(Curves(x, y, lines), "linear")
    figure.update_yaxes(rangemode="tozero")  # of those that are shown: solvers may return kernels of any size
    note = {"annotation": {"text": "norm to keep", "font": {"size": 11}}, "annotation_position": "bottom left"}
    figure.add_hline(part.spectral_norm, line=_LIMIT, **note)
    return figure


def kernel(before: Array, after: Array | None, n_axes: int) -> Any:
    """The kernel as given and as the best solver returned it, in one range of colours.

    Kernels with one axis and one channel are bars. Others are images, with the channels side by side: outputs
    downwards, inputs to the right.
    """
    shown = {"before": before} if after is None else {"before": before, "after": after}
    if before.ndim == 1:
        styles = {"before": _GIVEN, "after": PALETTE[1]}
        bars = [
            {"type": "bar", "x": np.arange(len(values)), "y": values, "name": label, "marker": {"color": styles[label]}}
            for label, values in shown.items()
        ]
        return _figure(bars, {"xaxis": _axis(Axis("tap")), "yaxis": _axis(Axis("entry")), "barmode": "group"}, 300)
    images = {label: mosaic(values, n_axes) for label, values in shown.items()}
    most = max(float(np.nanmax(np.abs(image), initial=0.0)) for image in images.values()) or 1.0
    traces, layout = [], {}
    for k, (label, image) in enumerate(images.items(), 1):
        own = "" if k == 1 else str(k)
        traces.append({
            "type": "heatmap", "z": image, "zmin": -most, "zmax": most, "colorscale": "RdBu", "reversescale": True,
            "xaxis": f"x{own}", "yaxis": f"y{own}", "hovertemplate": "%{z:.4g}<extra></extra>", "hoverongaps": False,
            "showscale": k == len(images), "colorbar": {"thickness": 12},
        })  # fmt: skip
        bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
        place = [(k - 1) / len(images), (k - 0.06) / len(images)]
        layout[f"xaxis{own}"] = bare | {"domain": place, "title": {"text": label}, "constrain": "domain"}
        layout[f"yaxis{own}"] = bare | {"anchor": f"x{own}", "scaleanchor": f"x{own}", "autorange": "reversed"}
    return _figure(traces, layout, 320)


def _lines(shown: Curves, shape: str) -> Any:
    """Curves and bands. A band goes on and off with its line."""
    traces: list[dict[str, Any]] = []
    for k, line in enumerate(shown.lines):
        style = line.style
        own: dict[str, Any] = {"type": "scatter", "legendgroup": str(k)}
        if k > _SHOWN and len(shown.lines) > 2 * _SHOWN:
            own["visible"] = "legendonly"
        dash = {"width": 1.3 * style.get("linewidth", 1.4), "shape": shape, "color": style["color"]}
        if line.low is not None and line.high is not None:
            there = np.isfinite(line.low) & np.isfinite(line.high)  # before, no run has a feasible iterate
            band = own | {"mode": "lines", "x": line.across[there], "showlegend": False, "hoverinfo": "skip"}
            edge = {"width": 0, "shape": shape}
            if not np.array_equal(line.low[there], line.high[there]):
                traces.append(band | {"y": line.low[there], "line": edge})
                fill = {"fill": "tonexty", "fillcolor": f"{style['color']}26"}
                traces.append(band | fill | {"y": line.high[there], "line": edge})
        marks = {"mode": "lines+markers" if "marker" in style and shape == "linear" else "lines"}
        dash["dash"] = _dash(style.get("linestyle", "-"))
        traces.append(own | marks | {"x": line.across, "y": line.up, "name": _name(line.label), "line": dash})
    layout: dict[str, Any] = {"xaxis": _axis(shown.x), "yaxis": _axis(shown.y)}
    figure = _figure(traces, layout, _HEIGHT)
    low, high = shown.y.range() if shown.y.scale == "zero" else (1.0, 0.0)
    if shown.limit and low <= FEASIBILITY_TOLERANCE <= high:
        figure.add_hline(FEASIBILITY_TOLERANCE, line=_LIMIT)
    return figure


def _figure(traces: Sequence[dict[str, Any]], layout: dict[str, Any], height: int) -> Any:
    from plotly.graph_objects import Figure

    shared = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 24, "b": 8},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0},
        "hoverlabel": {"namelength": -1},
        "template": "none",
    }
    return Figure({"data": list(traces), "layout": shared | layout})


def _axis(axis: Axis) -> dict[str, Any]:
    """An axis of plotly. On a scale with zero, what lies on the floor is labelled "0"."""
    told: dict[str, Any] = {"title": {"text": _name(axis.label)}, "automargin": True, "zeroline": False}
    if axis.scale == "zero":
        powers = decades(axis.ends[1], axis.ends[0])[1] if axis.ends else []
        texts = ["0" if 10.0**k <= FLOOR * (1 + 1e-9) else f"10<sup>{k}</sup>" for k in powers]
        told |= {"tickvals": [10.0**k for k in powers], "ticktext": texts}
    if axis.scale in ("zero", "log"):
        told |= {"type": "log", "exponentformat": "power"}
        if axis.ends is not None:
            told["range"] = [float(np.log10(end)) for end in axis.range()]
    elif axis.scale == "share":
        told |= {"range": [-0.02, 1.02], "tickformat": ".0%"}
    elif axis.ends is not None:
        told["range"] = list(axis.ends)
    if axis.names:
        told |= {"tickvals": list(range(len(axis.names))), "ticktext": [_name(name) for name in axis.names]}
    return told


def _rows(names: Sequence[str]) -> dict[str, Any]:
    """An axis downwards with a row for each name."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [_name(name, 22) for name in names], "showgrid": False}
    return ticks | {"range": [len(names) - 0.5, -0.5], "automargin": True, "zeroline": False}


def _spread(block: Any) -> Array:
    """Places of several marks in one row, apart."""
    n = len(block)
    return 0.7 * ((np.arange(n) + 0.5) / n - 0.5)


def _thinned(across: Array, up: Array) -> tuple[Array, Array]:
    """A curve of many points by some of them, closer where the first ones are."""
    if len(across) <= _POINTS:
        return across, up
    places = np.unique(np.round(np.geomspace(1, len(across), _POINTS)).astype(int)) - 1
    even = np.round(np.linspace(0, len(across) - 1, _POINTS // 2)).astype(int)
    places = np.unique(np.concatenate([places, even]))
    return across[places], up[places]


def _dash(style: Any) -> str:
    """Dashes of matplotlib for plotly."""
    return "solid" if style == "-" else ",".join(f"{1.5 * length:g}px" for length in style[1])


def _expected(cost: float) -> str:
    return "infinitely many" if not np.isfinite(cost) else f"{cost:,.4g}"


def _line(text: Any) -> str:
    """A text that is data, of which plotly takes nothing for markup."""
    return " ".join(escape(line, quote=False) for line in folded(text, 1000))


def _name(text: Any, width: int = 36) -> str:
    """The same in short lines."""
    return "<br>".join(escape(line, quote=False) for line in folded(text, width))
