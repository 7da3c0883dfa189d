"""Figures. Only this module imports matplotlib, on first use. Figures are not shown on a screen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result
from srnc_manifold.writing import replacing

_FLOOR = 1e-12  # where exact zeros are drawn on logarithmic axes


def overview(comparison: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Violation as found, and gap after restoration, of a :class:`srnc_manifold.Comparison`.

    There is one row per solver and one marker per problem.
    """
    table = comparison.table()
    table = table[table["runs"] > 0]
    solvers = list(dict.fromkeys(table["solver"]))
    solvers.sort(key=lambda s: float(np.median(_violation(table[table["solver"] == s]))), reverse=True)
    problems = list(dict.fromkeys(table["problem"]))
    if not problems:
        raise ValueError("comparison: nothing to plot, no run has returned a kernel")

    figure = _figure(11, 1.8 + 0.38 * max(len(solvers), 4) + 0.1 * len(problems))
    left, right = figure.subplots(1, 2, sharey=True)
    markers = "osD^v<>PX*hpd"
    for k, problem in enumerate(problems):
        block = table[table["problem"] == problem]
        rows = [solvers.index(s) + 0.5 * (k + 0.5) / len(problems) - 0.25 for s in block["solver"]]
        style = {
            "marker": markers[k % len(markers)],
            "linestyle": "none",
            "markersize": 6,
            "alpha": 0.85,
            "label": problem,
        }
        left.plot(np.maximum(_violation(block), _FLOOR), rows, **style)
        right.plot(np.maximum(block["restored_gap"], _FLOOR), rows, **style)
    left.set_yticks(range(len(solvers)), solvers)
    left.axvline(1e-6, color="0.4", linestyle="--", linewidth=1)
    left.annotate("feasible", (1e-6, 1.0), xycoords=("data", "axes fraction"), xytext=(-4, 4), fontsize=9,
                  textcoords="offset points", ha="right", color="0.3")  # fmt: skip
    left.set_xlabel("violation as found\n(larger relative error of stable rank and norm)")
    right.set_xlabel("gap after a local restoration\n(excess over the reference / ‖C(a)‖²)")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlim(_FLOOR / 3, 100)
        axes.grid(axis="y", alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(problems)), fontsize=9
    )
    return _saved(figure, path)


def convergence(
    results: Result | Mapping[str, Result], problem: SRNProblem, path: str | os.PathLike[str] | None = None
) -> Any:
    """Cost, stable rank and objective against evaluations, with one curve per run."""
    runs = {results.solver: results} if isinstance(results, Result) else dict(results)
    figure = _figure(12, 3.8)
    panels = figure.subplots(1, 3)
    titles = {
        "cost": "what the solver minimizes",
        "stable_rank": "stable rank",
        "objective": "objective ‖C(x) − C(a)‖²",
    }
    for k, (label, result) in enumerate(runs.items()):
        if not len(result.history):
            continue
        style = {"marker": "o" if len(result.history) < 3 else None, "label": label, "linewidth": 1.4}
        style |= {"color": f"C{k % 10}", "linestyle": ("-", "--", ":")[k // 10 % 3]}
        for axes, column in zip(panels, titles, strict=True):
            axes.plot(np.maximum(result.history["evaluations"], 1), result.history[column], **style)
    for axes, title in zip(panels, titles.values(), strict=True):
        axes.set_xscale("log")
        axes.set_xlabel("evaluations")
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.3)
    panels[0].set_yscale("log")
    panels[2].set_yscale("log")
    panels[1].axhline(problem.stable_rank, color="0.3", linestyle="--", linewidth=1)
    panels[1].annotate("target", (1, problem.stable_rank), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                       fontsize=9, color="0.3")  # fmt: skip
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(runs)), fontsize=9
    )
    return _saved(figure, path)


def trajectory(
    results: Result | Mapping[str, Result], problem: SRNProblem, path: str | os.PathLike[str] | None = None
) -> Any:
    """Iterates on the unit sphere of a kernel with three entries, over its stable rank (paper, Figure 2).

    Raises
    ------
    ValueError
        If the kernel does not have three entries.
    """
    if problem.kernel.size != 3:
        raise ValueError(f"problem: a kernel of {problem.kernel.size} entries given, a trajectory is drawn for 3")
    runs = {results.solver: results} if isinstance(results, Result) else dict(results)
    figure = _figure(8.6, 5.6)
    axes = figure.add_subplot()
    # A map in longitude and latitude, because a drawing of the sphere shows only one half of it.
    longitude, latitude = np.linspace(-np.pi, np.pi, 181), np.linspace(-np.pi / 2, np.pi / 2, 91)
    gains = np.array([[problem.gain(_unit(a, b)) for a in longitude] for b in latitude])
    ranks = problem.operator.gram_weight / gains
    degrees = np.degrees(longitude), np.degrees(latitude)
    colours = axes.pcolormesh(*degrees, ranks, cmap="Blues", shading="gouraud")
    figure.colorbar(colours, label="stable rank", shrink=0.85)
    axes.contour(*degrees, ranks, levels=[problem.stable_rank], colors="0.25", linewidths=1.2)
    palette = ("tab:orange", "tab:red", "tab:green", "tab:purple", "tab:brown", "tab:pink")
    for k, (label, result) in enumerate(runs.items()):
        if not result.history.points:
            continue
        points = np.array([_angles(p) for p in result.history.points])
        # The path is split where it leaves the map on one side and comes back on the other.
        jumps = np.flatnonzero(np.abs(np.diff(points[:, 0])) > 180) + 1
        colour = palette[k % len(palette)]
        for piece in np.split(points, jumps):
            axes.plot(piece[:, 0], piece[:, 1], color=colour, linewidth=1.6)
        axes.plot(*points[0], marker="o", color=colour, markersize=5)
        axes.plot(*points[-1], marker="X", color=colour, markersize=9, linestyle="none", label=label)
    axes.plot(
        *_angles(problem.direction.ravel()), marker="*", color="black", markersize=12, linestyle="none", label="a / ‖a‖"
    )
    axes.set_xlabel("longitude of z, degrees")
    axes.set_ylabel("latitude of z, degrees")
    figure.legend(loc="outside lower center", ncols=min(3, len(runs) + 1), fontsize=9)
    return _saved(figure, path)


def violations(study: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Median violation against ``λ`` in a study of formulations, with one line for each formulation and ``α``."""
    rows = study.rows
    figure = _figure(8, 4.6)
    axes = figure.subplots()
    fixed = rows[(rows["by"] == "trust regions") & rows["weight"].notna()]
    markers = iter("osD^vPX*")
    for (formulation, alpha), block in fixed.groupby(["formulation", "alpha"], sort=False, dropna=False):
        medians = block.groupby("weight")["violation"].median()
        label = formulation if np.isnan(alpha) else f"{formulation}, α = {alpha:g}"
        axes.plot(medians.index, np.maximum(medians, _FLOOR), marker=next(markers), linewidth=1.4, label=label)
    for formulation, style in (("augmented Lagrangian", "--"), ("log-sum-exp, α and λ changed", ":")):
        median = float(rows[rows["formulation"] == formulation]["violation"].median())
        axes.axhline(max(median, _FLOOR), color="0.2", linestyle=style, linewidth=1.4, label=formulation)
    axes.axhspan(1e-10, 1e-6, color="tab:green", alpha=0.12)
    axes.annotate("feasible", (0.01, 1e-6), xycoords=("axes fraction", "data"), va="top", fontsize=9, color="0.3",
                  xytext=(0, -3), textcoords="offset points")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-9, 3)
    axes.set_xlabel("weight λ of the distance")
    axes.set_ylabel("violation as found, median")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=9)
    return _saved(figure, path)


def hits(study: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Fraction of starts that find the optimum, against evaluations, with one marker for each method of a study."""
    table = study.table()
    figure = _figure(9, 4.6)
    axes = figure.subplots()
    fixed = table[table["weight"].notna()].drop_duplicates(["formulation", "by"])
    axes.plot(
        fixed["evaluations"], fixed["hit"], "o", color="0.65", markersize=7, label="fixed α and λ, the best choice"
    )
    styles = iter(zip("sD^vPX*h", ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C9"), strict=True))
    for row in table[table["weight"].isna()].to_dict("records"):
        label, (marker, colour) = f"{row['formulation']}, by {row['by']}", next(styles)
        style = {"marker": marker, "color": colour, "markersize": 9, "linestyle": "none", "label": label}
        axes.plot(row["evaluations"], row["hit"], **style)
    axes.set_xscale("log")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("evaluations of a start, mean")
    axes.set_ylabel("share of starts that find the optimum")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return _saved(figure, path)


def _unit(longitude: float, latitude: float) -> Any:
    return np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])


def _angles(point: Any) -> tuple[float, float]:
    return float(np.degrees(np.arctan2(point[1], point[0]))), float(np.degrees(np.arcsin(np.clip(point[2], -1, 1))))


def _violation(table: Any) -> Any:
    return table[["stable_rank_error", "spectral_norm_error"]].max(axis=1).to_numpy()


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=130)


def _saved(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        path = Path(path) if Path(path).suffix else Path(f"{os.fspath(path)}.png")
        with replacing(path) as file:
            figure.savefig(file, format=path.suffix[1:])
    return figure
