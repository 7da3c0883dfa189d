"""Iterates on the sphere of kernels with three entries, on a map and on a ball."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import figure_of, legend, plain, saved, scale
from srnc_manifold.plots.landscapes import Landscape, angles, landscape, runs_of, units
from srnc_manifold.plots.styles import line_styles, unmarked
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result

_FEASIBLE: dict[str, Any] = {"color": "0.25", "linewidth": 1.2, "linestyle": "-"}
_GIVEN = {"marker": "*", "color": "white", "markeredgecolor": "black", "markersize": 14, "linestyle": "none"}
_OPTIMUM = {"marker": "D", "color": "none", "markeredgecolor": "black", "markersize": 11, "linestyle": "none"}

# Longitudes of the grid of the ball: its tiles are drawn one by one.
_TILES = 161

# Least and largest size of the marks at the ends of lines.
_SIZES = 6.0, 13.0


def trajectory(
    results: Result | Mapping[str, Result],
    problem: SRNProblem,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
) -> Any:
    """Iterates on a map of the unit sphere of a kernel with three entries, over its stable rank (paper, Figure 2).

    The map shows all of the sphere; :func:`sphere` shows it as a ball. On the dark lines the stable rank is the target.
    A line begins at a dot, and ends at its mark. The star is the given kernel, the diamonds are the optima, if they
    are proved.

    Parameters
    ----------
    results : Result, or mapping of labels to Results
        With a history; of an empty mapping, the map alone is drawn.
    problem : SRNProblem
        That of all the results.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
        Longitude and latitude of ``z = x / ‖x‖`` in degrees: ``z₁ = cos(lat) cos(lon)``, ``z₂ = cos(lat) sin(lon)``,
        ``z₃ = sin(lat)``.

    Raises
    ------
    TypeError, ValueError
        If the kernel does not have three entries, if a result is of another problem, or if an argument is not of its
        kind.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, "trust-regions", rng=0)
    >>> figure = srnc.plots.trajectory(result, problem)
    """
    shown, runs = landscape(problem), runs_of(results, problem)
    degrees = np.degrees(shown.longitude), np.degrees(shown.latitude)
    with figure_of(ax, (8.6, 5.8)) as (figure, (axes,)):
        axes.grid(False)
        # Greys, so that no colour of a solver is one of the background; not to black, so that all are seen on it.
        colours, ends = _shades(shown.ranks)
        background = axes.pcolormesh(*degrees, shown.ranks, rasterized=True, shading="gouraud", **colours)
        figure.colorbar(background, ax=axes, label="stable rank", shrink=0.85).ax.set_ylim(*ends)
        for line in shown.feasible:
            _draw(axes, line, **_FEASIBLE)
        axes.plot([], [], label=_target(problem), **_FEASIBLE)
        for label, points, style in _lines(runs):
            _draw(axes, points, **unmarked(style))
            axes.plot(*angles(points[0]), **_start(style))
            axes.plot(*angles(points[-1]), label=label, **_end(style))
        for k, optimum in enumerate(shown.optima):
            axes.plot(*angles(optimum), label=None if k else "optimum, proved", **_OPTIMUM)
        axes.plot(*angles(shown.given), label="a / ‖a‖", **_GIVEN)
        axes.set_xlabel("longitude of z, degrees")
        axes.set_ylabel("latitude of z, degrees")
        legend(figure, [axes], ax is None)
        return saved(figure, path)


def sphere(
    results: Result | Mapping[str, Result],
    problem: SRNProblem,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    view: tuple[float, float] | None = None,
) -> Any:
    """Iterates on the unit sphere of a kernel with three entries, as a ball in the shades of its stable rank.

    Marks and lines are those of :func:`trajectory`. What lies on the far side shines through, thin and pale.

    Parameters
    ----------
    results, problem, path
        As of :func:`trajectory`.
    ax : matplotlib Axes, optional
        Where to draw, of the projection ``"3d"``; a new figure by default.
    view : pair of float, optional
        Elevation and azimuth of the eye, in degrees. By default the given kernel, an optimum and the starts are in
        front, where this can be.

    Returns
    -------
    matplotlib.figure.Figure
        The axes are the entries ``z₁``, ``z₂``, ``z₃`` of the unit kernel.

    Raises
    ------
    TypeError, ValueError
        As of :func:`trajectory`; and if ``ax`` is not of the projection ``"3d"``, or ``view`` no pair of numbers.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, "trust-regions", rng=0)
    >>> figure = srnc.plots.sphere(result, problem, view=(20, 30))
    """
    shown, runs = landscape(problem, _TILES), runs_of(results, problem)
    elevation, azimuth = _viewed(shown, runs) if view is None else _view(view)
    eye = units(np.radians(azimuth), np.radians(elevation))
    if ax is not None and getattr(ax, "name", "3d") != "3d":
        raise ValueError(f"ax: axes of the projection {ax.name!r} given, expected '3d'")
    with figure_of(ax, (7.4, 6.6), subplot_kw={"projection": "3d"}) as (figure, (axes,)):
        _ball(figure, axes, shown)
        axes.view_init(elevation, azimuth)
        for line in shown.feasible:
            _wind(axes, line, eye, **_FEASIBLE)
        axes.plot([], [], [], label=_target(problem), **_FEASIBLE)
        for label, points, style in _lines(runs):
            _wind(axes, points, eye, **unmarked(style))
            _pin(axes, points[0], eye, **_start(style))
            _pin(axes, points[-1], eye, label=label, **_end(style))
        for k, optimum in enumerate(shown.optima):
            _pin(axes, optimum, eye, label=None if k else "optimum, proved", **_OPTIMUM)
        _pin(axes, shown.given, eye, label="a / ‖a‖", **_GIVEN)
        legend(figure, [axes], ax is None)
        return saved(figure, path)


def _lines(runs: Mapping[str, Result]) -> Iterator[tuple[str, Array, dict[str, Any]]]:
    """Label, iterates and style of each run that has iterates."""
    styles = line_styles([result.solver for result in runs.values()])
    # Where lines end in one point, the first ones are seen behind the last ones.
    least, most = _SIZES
    sizes = np.linspace(min(most, least + 2.0 * len(styles)), least, len(styles))
    for (label, result), style, size in zip(runs.items(), styles, sizes, strict=True):
        if result.history.points:
            yield plain(label), np.array(result.history.points), style | {"markersize": float(size)}


def _target(problem: SRNProblem) -> str:
    return f"stable rank {problem.stable_rank:.5g}, the target"


def _start(style: Mapping[str, Any]) -> dict[str, Any]:
    return {"marker": "o", "color": style["color"], "markersize": 5, "linestyle": "none"}


def _end(style: dict[str, Any]) -> dict[str, Any]:
    """The mark at the end of a line, which stands for the line in the legend."""
    return style | {"markeredgecolor": "white"}


def _shades(ranks: Array) -> tuple[dict[str, Any], tuple[float, float]]:
    """Greys of the stable ranks, of which the darkest are left to the lines; and the ends of the colour bar."""
    low, high = float(np.min(ranks)), float(np.max(ranks))
    return {"cmap": "Greys", "vmin": low, "vmax": low + 1.8 * (high - low)}, (low, high)


def _draw(axes: Any, points: Array, **style: Any) -> None:
    """A line on the map, split where it leaves the map on one side and comes back on the other."""
    places = angles(points)
    for piece in np.split(places, np.flatnonzero(np.abs(np.diff(places[:, 0])) > 180) + 1):
        axes.plot(piece[:, 0], piece[:, 1], **style)


def _ball(figure: Any, axes: Any, shown: Landscape) -> None:
    """The ball, its shades and its axes."""
    axes.computed_zorder = False  # what is in front is known here
    axes.set_proj_type("ortho")
    axes.set_box_aspect((1, 1, 1), zoom=1.0)
    axes.grid(False)
    colours, ends = _shades(shown.ranks)
    shade = scale(**colours)
    middles = (shown.ranks[1:, 1:] + shown.ranks[:-1, 1:] + shown.ranks[1:, :-1] + shown.ranks[:-1, :-1]) / 4
    tiles: dict[str, Any] = {"rstride": 1, "cstride": 1, "linewidth": 0, "antialiased": False, "shade": False}
    places = np.moveaxis(shown.points, -1, 0)
    axes.plot_surface(*places, facecolors=shade.to_rgba(middles), rasterized=True, zorder=1, **tiles)
    figure.colorbar(shade, ax=axes, label="stable rank", shrink=0.6, pad=0.1).ax.set_ylim(*ends)
    for name, which in zip("xyz", "₁₂₃", strict=True):
        getattr(axes, f"set_{name}label")(f"z{which}")
        getattr(axes, f"set_{name}lim")(-1, 1)
        getattr(axes, f"set_{name}ticks")([-1, 0, 1])


def _wind(axes: Any, points: Array, eye: Array, **style: Any) -> None:
    """A line around the ball, pale where it is behind."""
    front = points @ eye >= 0
    cuts = np.flatnonzero(front[1:] != front[:-1]) + 1
    for piece in np.split(np.arange(len(points)), cuts):
        line = points[piece[0] : piece[-1] + 2]  # to the first point of the next piece
        axes.plot(*line.T, zorder=3, **(style if front[piece[0]] else _pale(style)))


def _pin(axes: Any, point: Array, eye: Array, **style: Any) -> None:
    """A mark on the ball, pale if it is behind."""
    axes.plot(*point[:, None], zorder=4, **(style if point @ eye >= 0 else style | {"alpha": 0.35}))


def _pale(style: dict[str, Any]) -> dict[str, Any]:
    return style | {"alpha": 0.35, "linewidth": 0.6 * style["linewidth"]}


def _viewed(shown: Landscape, runs: Mapping[str, Result]) -> tuple[float, float]:
    """Elevation and azimuth of an eye that has most of what there is to see in front of it."""
    starts = [run.history.points[0] for run in runs.values() if run.history.points]
    middle = np.sum([shown.given, *shown.optima[:1], *([np.mean(starts, axis=0)] if starts else [])], axis=0)
    azimuth, elevation = angles(middle / max(float(np.linalg.norm(middle)), 1e-12))
    return float(np.clip(elevation, -50, 50)), float(azimuth)


def _view(view: Any) -> tuple[float, float]:
    try:
        elevation, azimuth = (float(angle) for angle in view)
    except (TypeError, ValueError):
        raise ValueError(f"view: {view!r} given, expected elevation and azimuth in degrees, such as (20, 30)") from None
    return elevation, azimuth
