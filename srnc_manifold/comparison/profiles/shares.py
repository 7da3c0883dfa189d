"""Curves that rise: the share of instances that each solver has solved, over a ratio, a gap or a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from srnc_manifold.comparison.profiles.scores import (
    HIT,
    INSTANCE,
    available,
    costs,
    paired,
    require_comparable,
    scored,
    settings_of,
)
from srnc_manifold.comparison.profiles.targets import first_hits
from srnc_manifold.comparison.references import lower_bounds
from srnc_manifold.result import Result

#: Gaps to the reference, in units of ``‖C(a)‖²``, that runs are to reach.
TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def performance(
    rows: Any,
    references: Mapping[str, float] | None = None,
    *,
    measure: str = "evaluations",
    tolerance: float = HIT,
) -> Any:
    """Performance profile: the share of instances that a solver hits at up to ``ratio`` times the least cost.

    An instance is a problem with a seed, from which all solvers start at the same point. At ratio 1 the share is that
    of the instances on which no solver is cheaper; at the right end it is the share that the solver hits at all.
    Dolan and Moré, Benchmarking optimization software with performance profiles, Mathematical Programming 91 (2002).

    Parameters
    ----------
    rows : DataFrame
        One row per run, as :attr:`srnc_manifold.Comparison.rows`.
    references : dict, optional
        The objective that gaps are measured by, by problem; by default the best that the rows know.
    measure : ``"evaluations"``, ``"gradients"``, ``"hessians"`` or ``"time"``
        Cost of a run. Times are in seconds, and must be of one environment.
    tolerance : float
        Largest gap of a hit, in units of ``‖C(a)‖²``.

    Returns
    -------
    DataFrame
        Steps of each solver: ``solver``, ``settings``, ``ratio``, ``share``; ``measure``, ``instances`` and ``of``,
        the number of instances and what they are, are the same in all rows.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, or times are of several environments.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("performance").columns[:3].tolist()
    ['solver', 'settings', 'ratio']
    """
    require_comparable(rows, measure)
    full = paired(scored(rows, references, tolerance))
    cost = np.where(full["hit"], costs(full, measure), np.inf)
    least = full.assign(cost=cost).groupby(INSTANCE)["cost"].transform("min")
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(cost), cost / least, np.inf)
    return _steps(full, ratios, "ratio", first=1.0, measure=measure)


def quality(rows: Any, bounds: Mapping[str, float] | None = None) -> Any:
    """Quality against the certified bound: the share of instances on which a solver's gap to the bound is so small.

    The gap is ``(objective − bound) / ‖C(a)‖²`` of a feasible run. A kernel with a gap of zero is proved to be optimal,
    whatever other solvers have found. Problems without a bound are left out.

    Parameters
    ----------
    rows : DataFrame
    bounds : dict, optional
        The proved lower bound on the objective, by problem; by default the best one of the rows.

    Returns
    -------
    DataFrame
        Steps of each solver: ``solver``, ``settings``, ``gap``, ``share``, ``instances``. Gaps below zero, which a
        kernel has by what is within the tolerance of feasibility, are zero.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, or no problem has a bound.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("quality").columns[:3].tolist()
    ['solver', 'settings', 'gap']
    """
    kept = available(rows, "bound")
    known = dict(lower_bounds(kept) if bounds is None else bounds)
    proved = kept[np.isfinite(kept["problem"].map(known).astype(float))]
    if not len(proved):
        raise ValueError("rows: no problem with a proved bound given, expected at least one")
    full = paired(scored(proved, known))
    return _steps(full, np.maximum(full["gap"], 0.0), "gap", measure="gap to the bound")


def data(
    rows: Any,
    results: Mapping[Any, Result],
    references: Mapping[str, float] | None = None,
    dimensions: Mapping[str, int] | None = None,
    *,
    measure: str = "evaluations",
    target: float = HIT,
) -> Any:
    """Data profile: the share of instances that a solver has brought within a gap, over the budget of a run.

    Moré and Wild, Benchmarking derivative-free optimization algorithms, SIAM Journal on Optimization 20 (2009). As
    there, a budget of evaluations is divided by the number of variables plus one if ``dimensions`` are given.

    Parameters
    ----------
    rows, references, measure
        As of :func:`performance`; the measure is ``"evaluations"`` or ``"time"``.
    results : mapping of ``(problem, solver, seed)`` to Result
        With their histories, as ``Comparison.results``.
    dimensions : dict, optional
        Number of variables, by problem.
    target : float
        The gap to reach, in units of ``‖C(a)‖²``, by a feasible iterate.

    Returns
    -------
    DataFrame
        Steps of each solver: ``solver``, ``settings``, ``budget``, ``share``, ``measure``, ``instances``.

    Raises
    ------
    TypeError, ValueError
        If something is missing, or times are of several environments.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("data").columns[:3].tolist()
    ['solver', 'settings', 'budget']
    """
    hits = first_hits(rows, results, references, measure=measure, targets=[target])
    full = paired(hits)
    budget = full["budget"]
    if dimensions is not None and measure == "evaluations":
        budget, measure = budget / (full["problem"].map(dict(dimensions)) + 1), "evaluations / (variables + 1)"
    return _steps(full, budget, "budget", measure=measure)


def ecdf(
    rows: Any,
    results: Mapping[Any, Result],
    references: Mapping[str, float] | None = None,
    *,
    measure: str = "evaluations",
    targets: Sequence[float] = TARGETS,
) -> Any:
    """Share of pairs of an instance and a target that a solver has reached, over the budget of a run.

    Hansen, Auger, Ros, Mersmann, Tušar and Brockhoff, COCO: a platform for comparing continuous optimizers in a
    black-box setting, Optimization Methods and Software 36 (2021).

    Parameters
    ----------
    rows, results, references, measure
        As of :func:`data`.
    targets : sequence of float
        Gaps to reach, in units of ``‖C(a)‖²``, by a feasible iterate.

    Returns
    -------
    DataFrame
        As of :func:`data`; ``instances`` is the number of pairs.

    Raises
    ------
    TypeError, ValueError
        If something is missing, or times are of several environments.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("ecdf").columns[:3].tolist()
    ['solver', 'settings', 'budget']
    """
    import pandas

    hits = first_hits(rows, results, references, measure=measure, targets=targets)
    full = pandas.concat([paired(of_target) for _, of_target in hits.groupby("target", sort=False)])
    return _steps(full, full["budget"], "budget", measure=measure, of="problems × seeds × targets")


def _steps(
    full: Any, values: Any, name: str, *, measure: str, first: float | None = None, of: str = "problems × seeds"
) -> Any:
    """The curve of each solver, from the left end of all curves to the right one: where it rises, and to what."""
    import pandas

    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    ends = (first if first is not None else finite.min(initial=np.inf), finite.max(initial=-np.inf))
    if not len(finite):
        ends = (1.0, 1.0)
    settings, curves = settings_of(full), []
    for solver in dict.fromkeys(full["solver"]):
        own = np.sort(values[(full["solver"] == solver).to_numpy()])
        where = np.unique(np.concatenate([own[np.isfinite(own)], ends]))
        shares = np.searchsorted(own, where, side="right") / len(own)
        curve = {"solver": solver, "settings": settings[solver], name: where, "share": shares}
        curves.append(pandas.DataFrame(curve | {"measure": measure, "instances": len(own), "of": of}))
    return pandas.concat(curves, ignore_index=True)
