"""Iterates on the sphere of kernels with three entries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.circular import Circular
from srnc_manifold.plots.drawing import figure_of, legend, line_styles, plain, saved, unmarked
from srnc_manifold.plots.records import require_own
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result


def trajectory(
    results: Result | Mapping[str, Result],
    problem: SRNProblem,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
) -> Any:
    """Iterates on the unit sphere of a kernel with three entries, over its stable rank (paper, Figure 2).

    Parameters
    ----------
    results : Result, or mapping of labels to Results
    problem : SRNProblem
        That of all the results.
    path : path, optional
        Where to save the figure.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If the kernel does not have three entries, or if a result is of another problem.
    """
    if problem.kernel.size != 3 or not isinstance(problem, SRNProblem):
        raise ValueError(f"problem: a kernel of {problem.kernel.size} entries given, a trajectory is drawn for 3")
    runs = {results.solver: results} if isinstance(results, Result) else dict(results)
    for label, result in runs.items():
        require_own(str(label), result, problem)
    # A map in longitude and latitude, because a drawing of the sphere shows only one half of it.
    longitude, latitude = np.linspace(-np.pi, np.pi, 181), np.linspace(-np.pi / 2, np.pi / 2, 91)
    ranks = problem.operator.gram_weight / _gains(problem, _units(longitude, latitude))
    degrees = np.degrees(longitude), np.degrees(latitude)
    styles = line_styles([result.solver for result in runs.values()])
    with figure_of(ax, (8.6, 5.8)) as (figure, (axes,)):
        axes.grid(False)
        # Greys, so that no colour of a solver is one of the background; not to black, so that all are seen on it.
        low, high = float(np.min(ranks)), float(np.max(ranks))
        shade = {"cmap": "Greys", "shading": "gouraud", "vmin": low, "vmax": low + 1.8 * (high - low)}
        background = axes.pcolormesh(*degrees, ranks, rasterized=True, **shade)
        bar = figure.colorbar(background, ax=axes, label="stable rank", shrink=0.85)
        bar.ax.set_ylim(low, high)
        axes.contour(*degrees, ranks, levels=[problem.stable_rank], colors="0.25", linewidths=1.2)
        for (label, result), style in zip(runs.items(), styles, strict=True):
            if not result.history.points:
                continue
            points = np.array([_angles(p) for p in result.history.points])
            # The path is split where it leaves the map on one side and comes back on the other.
            jumps = np.flatnonzero(np.abs(np.diff(points[:, 0])) > 180) + 1
            for piece in np.split(points, jumps):
                axes.plot(piece[:, 0], piece[:, 1], **unmarked(style))
            own = style["color"]
            axes.plot(*points[0], marker="o", color=own, markersize=5)
            axes.plot(*points[-1], marker="X", color=own, markersize=9, label=plain(label), markeredgecolor="white",
                      linestyle=style["linestyle"])  # fmt: skip
        place = _angles(problem.direction.ravel())
        star = {"marker": "*", "color": "white", "markeredgecolor": "black", "markersize": 13, "linestyle": "none"}
        axes.plot(*place, label="a / ‖a‖", **star)
        axes.set_xlabel("longitude of z, degrees")
        axes.set_ylabel("latitude of z, degrees")
        legend(figure, [axes], ax is None)
        return saved(figure, path)


def _gains(problem: SRNProblem, points: Array) -> Array:
    """The largest squared singular values of many unit kernels, at once if the operator is a convolution."""
    if isinstance(problem.operator, Circular):
        kernels = points.reshape(*points.shape[:-1], *problem.kernel.shape)
        return np.max(symbol.squared_singular_values(kernels, problem.geometry), axis=(-2, -1))
    return np.apply_along_axis(problem.gain, -1, points)


def _units(longitude: Array, latitude: Array) -> Array:
    """Points of the sphere, one row for each latitude."""
    across, up = np.meshgrid(longitude, latitude)
    return np.stack([np.cos(up) * np.cos(across), np.cos(up) * np.sin(across), np.sin(up)], axis=-1)


def _angles(point: Array) -> tuple[float, float]:
    return float(np.degrees(np.arctan2(point[1], point[0]))), float(np.degrees(np.arcsin(np.clip(point[2], -1, 1))))
