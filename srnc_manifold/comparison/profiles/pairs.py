"""Which of two solvers wins more often, and whether that can be chance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.comparison.profiles.scores import (
    HIT,
    INSTANCE,
    MEASURES,
    costs,
    paired,
    require_comparable,
    scored,
)
from srnc_manifold.comparison.profiles.statistics import holm, sign_test
from srnc_manifold.validation import require_choice

#: What is one trial of the test.
UNITS = ("problem", "start")


def pairs(
    rows: Any,
    references: Mapping[str, float] | None = None,
    *,
    measure: str = "gap",
    unit: str | None = None,
    tolerance: float = HIT,
) -> Any:
    """Wins of every solver over every other one, with a sign test.

    By the gap, the solver wins that is feasible where the other one is not, or whose gap is smaller by more than the
    tolerance. By a cost, it is the one that hits where the other one does not, or hits at a lower cost. All else is a
    tie, and ties do not count in the test.

    Parameters
    ----------
    rows, references, tolerance
        As of :func:`srnc_manifold.comparison.profiles.performance`.
    measure : ``"gap"``, ``"evaluations"``, ``"gradients"``, ``"hessians"`` or ``"time"``
    unit : ``"problem"`` or ``"start"``, optional
        What is one trial. Starts on one problem are not independent samples of problems, so by default a trial is a
        problem, which is won by the solver that wins from more of the seeds; with one problem only, it is a start.

    Returns
    -------
    DataFrame
        For each ordered pair ``solver``, ``other``, ``wins``, ``losses``, ``ties``; ``p_value``, two-sided: how likely
        it is that wins and losses differ so much if both solvers are equally good; ``adjusted``, the same, for as many
        pairs as there are (Holm, 1979); ``measure`` and ``unit``.

    Raises
    ------
    TypeError, ValueError
        If there are no two solvers, a column is missing, or times are of several environments.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.profile("pairs").columns[:5].tolist()
    ['solver', 'other', 'wins', 'losses', 'ties']
    """
    require_choice(("gap", *MEASURES), measure=measure)
    if unit is not None:
        require_choice(UNITS, unit=unit)
    if measure != "gap":
        require_comparable(rows, measure)
    import pandas

    full = paired(scored(rows, references, tolerance))
    if unit is None:
        unit = "problem" if full["problem"].nunique() > 1 else "start"
    value = full["gap"] if measure == "gap" else np.where(full["hit"], costs(full, measure), np.inf)
    full = full.assign(value=value)
    solvers = list(dict.fromkeys(full["solver"]))
    if len(solvers) < 2:
        raise ValueError(f"rows: one solver given, {solvers[0]!r}, expected at least two")
    values, repeated = (full.pivot(index=INSTANCE, columns="solver", values=name) for name in ("value", "repeated"))
    least = tolerance if measure == "gap" else 0.0
    found = [_count(values[[*pair]], repeated[[*pair]], least, unit) for pair in _of_two(solvers)]
    tests = [sign_test(wins, losses) for wins, losses, _ in found]
    records = []
    for (one, other), (wins, losses, ties), p, adjusted in zip(
        _of_two(solvers), found, tests, holm(tests), strict=True
    ):
        records += [(one, other, wins, losses, ties, p, adjusted), (other, one, losses, wins, ties, p, adjusted)]
    columns = ["solver", "other", "wins", "losses", "ties", "p_value", "adjusted"]
    order = {solver: k for k, solver in enumerate(solvers)}
    result = pandas.DataFrame(records, columns=columns).sort_values(
        ["solver", "other"], key=lambda names: names.map(order), ignore_index=True
    )
    return result.assign(measure=measure, unit=unit)


def _of_two(solvers: list[str]) -> list[tuple[str, str]]:
    return list(itertools.combinations(solvers, 2))


def _count(values: Any, repeated: Any, tolerance: float, unit: str) -> tuple[int, int, int]:
    """Wins and losses of one solver against another, and ties; each has a column."""
    import pandas

    mine, theirs = values.to_numpy(float).T
    wins = (mine < theirs - tolerance).astype(int) - (theirs < mine - tolerance).astype(int)
    by_problem = pandas.Series(wins, index=values.index).groupby(level="problem", sort=False)
    if unit == "problem":
        wins = np.sign(by_problem.sum().to_numpy())
    else:  # where neither has anything random, all starts on a problem are one
        same = repeated.to_numpy(bool).all(axis=1)
        wins = wins[~(same & (by_problem.cumcount().to_numpy() > 0))]
    return int(np.sum(wins > 0)), int(np.sum(wins < 0)), int(np.sum(wins == 0))
