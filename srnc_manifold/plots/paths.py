"""Figures of one kernel and many targets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from srnc_manifold.plots.drawing import QUIET, figure_of, legend, require_kind, saved
from srnc_manifold.plots.styles import PALETTE


def reduction(solutions: Any, ax: Any = None, path: str | os.PathLike[str] | None = None) -> Any:
    """What a reduction of the stable rank costs: the objective over the stable rank, and the proved bound below it.

    Where the two lines are one, the solutions are proved to be optimal.

    Parameters
    ----------
    solutions : PathResult
        Of :func:`srnc_manifold.solve_path`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.

    Returns
    -------
    matplotlib.figure.Figure
        The objective is in the squared units of the kernel.

    Raises
    ------
    TypeError
        If ``solutions`` or ``ax`` is not of its kind.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> figure = srnc.plots.reduction(srnc.solve_path(problem, [0.5, 0.7, 0.9]))
    """
    known = "fractions", "stable_ranks", "objectives", "bounds"
    require_kind(solutions, "solutions", "what solve_path returns", *known)
    order = np.argsort(solutions.stable_ranks, kind="stable")
    ranks, objectives, bounds = (
        np.asarray(values)[order] for values in (solutions.stable_ranks, solutions.objectives, solutions.bounds)
    )
    with figure_of(ax, (7.0, 4.4)) as (figure, (axes,)):
        axes.plot(ranks, objectives, color=PALETTE[0], marker="o", markersize=3.5, label="as found")
        axes.plot(ranks, bounds, color=PALETTE[2], linestyle="--", label="proved lower bound")
        axes.axhline(0.0, color=QUIET, linewidth=0.8)
        axes.set_xlabel("stable rank")
        axes.set_ylabel("objective ‖C(x) − C(a)‖²")
        legend(figure, [axes], ax is None)
        return saved(figure, path)
