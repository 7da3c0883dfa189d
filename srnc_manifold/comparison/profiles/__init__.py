"""Profiles of a comparison: functions on its rows that return data, which :mod:`srnc_manifold.plots` draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from srnc_manifold import plots
from srnc_manifold.comparison.profiles.bands import convergence
from srnc_manifold.comparison.profiles.pairs import pairs
from srnc_manifold.comparison.profiles.settings import sensitivity
from srnc_manifold.comparison.profiles.shares import TARGETS, data, ecdf, performance, quality
from srnc_manifold.comparison.profiles.starts import hits
from srnc_manifold.comparison.references import lower_bounds, references
from srnc_manifold.validation import require_choice

__all__ = [
    "KINDS",
    "TARGETS",
    "convergence",
    "data",
    "draw",
    "ecdf",
    "hits",
    "pairs",
    "performance",
    "profile",
    "quality",
    "sensitivity",
]


@dataclass(frozen=True)
class Kind:
    """A kind of profile.

    Attributes
    ----------
    make : callable
        Its function on the rows.
    draw : callable
        The figure of what it returns.
    needs : tuple of str
        Which arguments of ``make`` a comparison knows, of ``results``, ``references``, ``bounds``, ``dimensions``.
    drawing : tuple of str
        Options of ``draw``.
    """

    make: Callable[..., Any]
    draw: Callable[..., Any]
    needs: tuple[str, ...] = ("references",)
    drawing: tuple[str, ...] = ()


#: The kinds of profiles of :meth:`srnc_manifold.Comparison.profile`.
KINDS = {
    "performance": Kind(performance, plots.shares),
    "data": Kind(data, plots.shares, ("results", "references", "dimensions")),
    "ecdf": Kind(ecdf, plots.shares, ("results", "references")),
    "quality": Kind(quality, plots.shares, ("bounds",)),
    "hits": Kind(hits, plots.hit_rates),
    "convergence": Kind(convergence, plots.bands, ("results", "references")),
    "pairs": Kind(pairs, plots.pairs),
    "sensitivity": Kind(sensitivity, plots.sweeps, drawing=("y",)),
}


def draw(comparison: Any, kind: str, path: Any = None, ax: Any = None, **options: Any) -> Any:
    """The figure of a profile of a comparison; options of the figure are told from those of the data by name.

    Parameters
    ----------
    comparison : Comparison
    kind : str
        One of :data:`KINDS`.
    path : path, optional
        File to save the figure to.
    ax : matplotlib axes, optional
        Axes to draw into.
    **options
        Of the function of the profile, and of its figure.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> figure = comparison.plot("hits.png", "hits")
    """
    require_choice(KINDS, kind=kind)
    of_figure = {name: options.pop(name) for name in KINDS[kind].drawing if name in options}
    return KINDS[kind].draw(profile(comparison, kind, **options), ax, path, **of_figure)


def profile(comparison: Any, kind: str = "performance", where: str | None = None, **options: Any) -> Any:
    """The data of a profile of a comparison; see :meth:`srnc_manifold.Comparison.profile`.

    Parameters
    ----------
    comparison : Comparison
    kind : str, optional
        One of :data:`KINDS`.
    where : str, optional
        Which rows, as :meth:`srnc_manifold.Comparison.query` takes it.
    **options
        Of the function of the profile.

    Returns
    -------
    DataFrame

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> from srnc_manifold.comparison import profiles
    >>> profiles.profile(comparison, "quality").equals(comparison.profile("quality"))
    True
    """
    require_choice(KINDS, kind=kind)
    rows, problems = comparison.rows, comparison.problems
    # What gaps are measured by does not depend on which rows are asked for.
    known: dict[str, Callable[[], Any]] = {
        "results": lambda: comparison.results,
        "references": lambda: references(rows, problems)["reference"].to_dict(),
        "bounds": lambda: lower_bounds(rows, problems).to_dict(),
        "dimensions": lambda: {name: entry.problem.spheres.dimension for name, entry in problems.items()},
    }
    found = {name: known[name]() for name in KINDS[kind].needs if name not in options}
    return KINDS[kind].make(rows if where is None else comparison.query(where), **found, **options)
