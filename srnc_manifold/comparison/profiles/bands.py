"""How runs from several seeds converge: the middle of them, and how far they spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.comparison.profiles.scores import known_references, require_comparable, scored, settings_of
from srnc_manifold.comparison.profiles.targets import BUDGETS, best_gaps, path
from srnc_manifold.numerics import Array
from srnc_manifold.result import Result
from srnc_manifold.validation import require_choice

#: Budgets of one band; of more, some are left out.
_MOST = 400


def convergence(
    rows: Any,
    results: Mapping[Any, Result],
    references: Mapping[str, float] | None = None,
    *,
    measure: str = "evaluations",
    quantity: str = "gap",
    spread: float = 0.5,
) -> Any:
    """Bands of convergence: the median over the seeds, and the middle part of them, at every budget.

    A run that has ended stays where it ended. Quantiles are values of runs, none between them: the least value that at
    least this share of the runs is not above.

    Parameters
    ----------
    rows, results, references
        As of :func:`srnc_manifold.comparison.profiles.data`.
    measure : ``"evaluations"`` or ``"time"``
        In seconds, of one environment.
    quantity : str
        ``"gap"``: the best gap of a feasible iterate until then, in units of ``‖C(a)‖²``, infinite before there is one.
        Or a column of the histories, such as ``"violation"``, as it was last recorded.
    spread : float
        Share of the runs in the band: with 0.5 it reaches from the first to the third quartile.

    Returns
    -------
    DataFrame
        For each problem, solver and budget ``problem``, ``solver``, ``settings``, ``budget``, ``low``, ``median``,
        ``high``, ``runs``, ``measure`` and ``quantity``. Bands begin where all runs have begun.

    Raises
    ------
    TypeError, ValueError
        If something is missing, no run has such a column, or times are of several environments.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("convergence", quantity="violation").columns[:4].tolist()
    ['problem', 'solver', 'settings', 'budget']
    """
    require_choice(BUDGETS, measure=measure)
    require_comparable(rows, measure)
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 <= spread < 1:
        raise ValueError(f"spread: {spread!r} given, expected a number from 0 to 1")
    import pandas

    runs = scored(rows, references)
    known, settings, bands = known_references(runs, references), settings_of(runs), []
    for (problem, solver), block in runs.groupby(["problem", "solver"], sort=False):
        curves = []
        for seed, squared_norm in zip(block["seed"], block["squared_norm"], strict=True):
            result = results.get((problem, solver, seed))
            if result is not None:
                curve = (
                    best_gaps(result, measure, known[problem], squared_norm)
                    if quantity == "gap"
                    else (path(result, measure), path(result, quantity))
                )
                if not np.all(np.isnan(curve[1])):
                    curves.append(curve)
        if curves:
            name = {"problem": problem, "solver": solver, "settings": settings[solver]}
            bands.append(pandas.DataFrame(name | _band(curves, spread) | {"runs": len(curves)}))
    if not bands:
        raise ValueError(f"quantity: {quantity!r} given, but no run has values of it")
    return pandas.concat(bands, ignore_index=True).assign(measure=measure, quantity=quantity)


def _band(curves: list[tuple[Array, Array]], spread: float) -> dict[str, Array]:
    """Quantiles of step functions at the budgets where one of them steps."""
    budgets = np.unique(np.concatenate([spent for spent, _ in curves]))
    budgets = budgets[budgets >= max(spent[0] for spent, _ in curves)]
    if len(budgets) > _MOST:
        budgets = budgets[np.unique(np.round(np.linspace(0, len(budgets) - 1, _MOST)).astype(int))]
    at = [values[np.searchsorted(spent, budgets, side="right") - 1] for spent, values in curves]
    ordered = np.sort(np.array(at), axis=0)  # NaN comes last, as what is worst
    shares = {"low": (1 - spread) / 2, "median": 0.5, "high": (1 + spread) / 2}
    # The small number is for shares that are not represented exactly, as 0.7 of 10 runs.
    places = {name: max(int(np.ceil(share * len(curves) - 1e-9)) - 1, 0) for name, share in shares.items()}
    return {"budget": budgets, **{name: ordered[place] for name, place in places.items()}}
