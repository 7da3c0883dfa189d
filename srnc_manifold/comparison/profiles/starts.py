"""How often a start hits the optimum, and what it takes until one does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.comparison.profiles.scores import HIT, costs, require_comparable, scored, settings_of
from srnc_manifold.comparison.profiles.statistics import INTERVALS, interval
from srnc_manifold.comparison.rows import UNSUPPORTED
from srnc_manifold.validation import require_choice


def hits(
    rows: Any,
    references: Mapping[str, float] | None = None,
    *,
    measure: str = "evaluations",
    by_problem: bool = True,
    confidence: float = 0.95,
    interval_method: str = "wilson",
    tolerance: float = HIT,
) -> Any:
    """Hit rate per start with a confidence interval, and the expected cost to the first hit.

    The expected cost is what all runs took, whether they hit or not, over the number of hits: the mean cost of starting
    again and again until one run hits (Hansen and others, 2021, where it is the average runtime). It is infinite
    without a hit.

    Parameters
    ----------
    rows, references, measure, tolerance
        As of :func:`srnc_manifold.comparison.profiles.performance`.
    by_problem : bool
        Whether each problem has rows of its own. If not, all starts on all problems are counted together; as the
        problems are not equally hard, the interval is then wider than it need be.
    confidence : float
        Of the interval.
    interval_method : ``"wilson"`` or ``"clopper-pearson"``
        The latter is never too short, and so is often too long.

    Returns
    -------
    DataFrame
        For each problem and solver ``problem`` (empty for all together), ``solver``, ``settings``, ``runs``, ``hits``,
        ``rate``, ``low``, ``high``, ``cost`` (mean of a run), ``expected_cost``, ``measure`` and ``confidence``. A
        solver has no row where it does not support the problem.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, an argument is not valid, or times are of several environments.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("hits", by_problem=False)[["solver", "hits", "runs"]]
                     solver  hits  runs
    0                 exact     1     1
    1  augmented-lagrangian     2     2
    """
    require_comparable(rows, measure)
    require_choice(INTERVALS, interval_method=interval_method)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence!r} given, expected a number between 0 and 1")
    import pandas

    runs = scored(rows, references, tolerance)
    runs = runs[runs["status"] != UNSUPPORTED]
    settings, records = settings_of(runs), []
    runs = runs.assign(spent=costs(runs, measure))
    for key, block in runs.groupby(["problem", "solver"] if by_problem else ["solver"], sort=False):
        n, found, total = len(block), int(block["hit"].sum()), float(block["spent"].sum())
        low, high = interval(found, n, confidence, interval_method)
        records.append(
            {
                "problem": key[0] if by_problem else "",
                "solver": key[-1],
                "settings": settings[key[-1]],
                "runs": n,
                "hits": found,
                "rate": found / n,
                "low": low,
                "high": high,
                "cost": float(block["spent"].mean()),
                "expected_cost": total / found if found else np.inf,
                "measure": measure,
                "confidence": confidence,
            }
        )
    return pandas.DataFrame(records)
