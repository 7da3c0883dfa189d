"""Figures of the studies."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from srnc_manifold.plots.drawing import FLOOR, feasible_limit, figure_of, legend, require_kind, saved
from srnc_manifold.plots.styles import DASHES, MARKERS, colour, distinct


def violations(study: Any, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
    """Median violation against ``λ`` in a study of formulations, with one line for each formulation and ``α``.

    Parameters
    ----------
    study : Findings
        Of the study of formulations.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If ``study`` or ``ax`` is something else.

    Examples
    --------
    >>> from srnc_manifold import plots, studies
    >>> findings = studies.run("formulations", seeds=[0])  # minutes  # doctest: +SKIP
    >>> figure = plots.violations(findings)  # doctest: +SKIP
    """
    require_kind(study, "study", "what the study of formulations returns", "rows", "methods")
    rows = study.rows
    fixed = rows[(rows["by"] == "trust regions") & rows["weight"].notna()]
    with figure_of(ax, (8, 5.2)) as (figure, (axes,)):
        blocks = fixed.groupby(["formulation", "alpha"], sort=False, dropna=False)
        for k, ((formulation, alpha), block) in enumerate(blocks):
            medians = block.groupby("weight")["violation"].median()
            label = formulation if np.isnan(alpha) else f"{formulation}, α = {alpha:g}"
            axes.plot(medians.index, np.maximum(medians, FLOOR), label=label, **distinct(k))
        for k, formulation in enumerate(("augmented Lagrangian", "log-sum-exp, α and λ changed"), 1):
            median = float(rows[rows["formulation"] == formulation]["violation"].median())
            line = {"color": "0.2", "linestyle": DASHES[k], "linewidth": 1.4, "label": formulation}
            axes.axhline(max(median, FLOOR), **line)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(1e-9, 3)
        feasible_limit(axes, "y")
        axes.set_xlabel("weight λ of the distance")
        axes.set_ylabel("violation as found, median")
        legend(figure, [axes], ax is None, 2)
        return saved(figure, path)


def hits(study: Any, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
    """Fraction of starts that find the optimum, against evaluations, with one mark for each method of a study.

    Parameters
    ----------
    study : Findings
        Of the study of formulations.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If ``study`` or ``ax`` is something else.

    Examples
    --------
    >>> from srnc_manifold import plots, studies
    >>> findings = studies.run("formulations", seeds=[0])  # minutes  # doctest: +SKIP
    >>> figure = plots.hits(findings)  # doctest: +SKIP
    """
    require_kind(study, "study", "what the study of formulations returns", "table", "methods")
    table = study.table()
    names = {(method.formulation, method.solver): method.instance.name for method in study.methods}
    fixed = table[table["weight"].notna()].drop_duplicates(["formulation", "by"])
    with figure_of(ax, (9, 4.8)) as (figure, (axes,)):
        style: dict[str, Any] = {"color": "0.65", "markersize": 7, "label": "fixed α and λ, the best choice"}
        axes.plot(fixed["evaluations"], fixed["hit"], "o", **style)
        for k, row in enumerate(table[table["weight"].isna()].to_dict("records")):
            own = colour(names[row["formulation"], row["by"]])
            style = {"marker": MARKERS[1 + k % (len(MARKERS) - 1)], "color": own, "markersize": 9, "linestyle": "none"}
            axes.plot(row["evaluations"], row["hit"], label=f"{row['formulation']}, by {row['by']}", **style)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("evaluations of a start, mean")
        axes.set_ylabel("share of starts that find the optimum")
        legend(figure, [axes], ax is None, 2)
        return saved(figure, path)
