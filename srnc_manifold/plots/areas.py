"""What the stable rank is, as a picture: an area, and the rectangle of the same area."""

from __future__ import annotations

import os
from typing import Any

from srnc_manifold.plots.drawing import QUIET, figure_of, grid, plain, saved
from srnc_manifold.plots.spectra import of_one_kernel, singular_values
from srnc_manifold.plots.styles import colour
from srnc_manifold.problem.base import Problem


def stable_ranks(problem: Problem, kernels: Any, ax: Any = None, path: str | os.PathLike[str] | None = None) -> Any:
    """The stable ranks of kernels as widths: one panel for the given kernel, and one for each other.

    The area under the squared singular values is the squared Frobenius norm. The rectangle has the same area and the
    height of the largest value. So its width is the stable rank. Heights are relative to the norm that is to be kept:
    a feasible kernel reaches one and does not cross it.

    Parameters
    ----------
    problem : SRNProblem or SeparableProblem
    kernels : array or Result, or mapping of labels to these
        Kernels to compare with the given one.
    ax : list of matplotlib Axes, optional
        Where to draw, as many as there are panels; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If a kernel does not have the shape of the problem's, if the problem has several kernels, or if ``ax`` is not
        as many as there are panels.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([[0, 1, 0], [1, 4, 1], [0, 1, 0]], 16, stable_rank_fraction=0.6)
    >>> figure = srnc.plots.stable_ranks(problem, srnc.solve(problem))
    >>> [axes.get_title() for axes in figure.axes]
    ['a, as given: stable rank 80', 'exact: stable rank 48']
    """
    part, found, solvers = of_one_kernel(problem, kernels)
    shown = [("a, as given", part.kernel, "0.6")]
    shown += [(label, own, colour(name)) for (label, own), name in zip(found.items(), solvers, strict=True)]
    rows, columns = grid(len(shown))
    with figure_of(ax, (4.2 * columns, 3.4 * rows), len(shown), sharex=True, sharey=True) as (figure, axes):
        for place, (label, kernel, fill) in zip(axes, shown, strict=True):
            _, values = singular_values(part, kernel, "rank")
            squares = (values / part.spectral_norm) ** 2
            width, height = float(squares.sum() / squares.max()), float(squares.max())
            place.stairs(squares, range(len(squares) + 1), fill=True, color=fill, alpha=0.55, linewidth=0)
            place.plot([0, width, width], [height, height, 0], color="black", linestyle="--", linewidth=1.6)
            place.annotate(
                f"{width:.4g}", (width, 0.5 * height), (4, 0), textcoords="offset points", va="center", fontsize=11
            )
            place.axhline(1.0, color=QUIET, linestyle=":", linewidth=1)
            place.set_title(f"{plain(label)}: stable rank {width:.4g}")
            place.set_xlabel("rank of the singular value")
            place.set_xlim(0, len(squares))
            place.set_ylim(bottom=0)
        axes[0].set_ylabel("squared singular value / ‖C(a)‖₂²")
        return saved(figure, path)
