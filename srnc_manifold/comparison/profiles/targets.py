"""What histories say: when a run first reached a target, and how good it was at any budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from srnc_manifold.comparison.profiles.scores import known_references, require_comparable, scored
from srnc_manifold.numerics import Array
from srnc_manifold.plots.records import Line, column
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Result
from srnc_manifold.validation import require_choice, require_nonnegative

#: What histories keep of the cost of an iterate.
BUDGETS = ("evaluations", "time")


def first_hits(
    rows: Any,
    results: Mapping[Any, Result],
    references: Mapping[str, float] | None,
    *,
    measure: str,
    targets: Sequence[float],
) -> Any:
    """For each run and target the row of the run with ``target`` and ``budget``: what it took, infinite if it failed.

    A target is reached by the first feasible iterate with at most this gap.
    """
    require_choice(BUDGETS, measure=measure)
    require_comparable(rows, measure)
    for target in targets:
        require_nonnegative(target=target)
    if not len(targets):
        raise ValueError("targets: none given, expected at least one")
    import pandas

    runs = scored(rows, references)
    known = known_references(runs, references)
    reached = np.full((len(runs), len(targets)), np.inf)
    for k, row in enumerate(runs.itertuples(index=False)):
        key = row.problem, row.solver, row.seed
        if key in results:
            spent, best = best_gaps(results[key], measure, known[row.problem], row.squared_norm)
            for j, target in enumerate(targets):
                at = np.flatnonzero(best <= target)
                reached[k, j] = spent[at[0]] if len(at) else np.inf
    return pandas.concat([runs.assign(target=t, budget=reached[:, j]) for j, t in enumerate(targets)])


def best_gaps(result: Result, measure: str, reference: float, squared_norm: float) -> tuple[Array, Array]:
    """What a run had spent at each of its iterates, and its best gap until then; infinite before one is feasible."""
    spent = path(result, measure)
    gaps = (path(result, "objective") - reference) / squared_norm
    feasible = path(result, "violation") < FEASIBILITY_TOLERANCE
    return spent, np.minimum.accumulate(np.where(feasible & np.isfinite(gaps), gaps, np.inf))


def path(result: Result, name: str) -> Array:
    """A column of the history, and at its end the kernel that was returned, with what the whole run took."""
    found = column(Line("", result), name)
    if len(result.history) and result.evaluation is not None:
        last = {"evaluations": result.n_evaluations, "time": result.runtime, "cost": result.cost}
        found = np.append(found, last.get(name, getattr(result.evaluation, name, np.nan)))
    if name not in BUDGETS:
        return found
    return np.maximum.accumulate(np.maximum(found, 1.0) if name == "evaluations" else found)
