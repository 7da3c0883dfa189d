"""What objectives of a comparison are measured by: the optimum, or the best that is known, and proved bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold import bounds
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE


def references(rows: Any, problems: Mapping[str, NamedProblem] | None = None) -> Any:
    """The objective that gaps are measured by.

    Parameters
    ----------
    rows : DataFrame
        One row per run; see :class:`srnc_manifold.comparison.rows.Row`.
    problems : dict of NamedProblem, optional
        For the optima that are known by a formula.

    Returns
    -------
    DataFrame
        By the name of each problem ``reference``, NaN if nothing is known, and its ``kind``: ``"optimum"`` if a formula
        gives it, or a feasible run is within 1e-6 of the bound that it proved; ``"best known"`` if it is the best
        feasible objective that was found, as found or after the local restoration; or empty.
    """
    import pandas

    feasible = rows["feasible"].astype(bool)
    found = rows[["objective", "restored_objective", "bound", "squared_norm"]].astype(float)  # also where none are
    gaps = (found["objective"] - found["bound"]) / found["squared_norm"]
    proved = rows[feasible & (gaps <= FEASIBILITY_TOLERANCE)].groupby("problem")["objective"].first()
    best = np.fmin(found["objective"].where(feasible), found["restored_objective"])
    best = best.where(np.isfinite(best)).groupby(rows["problem"]).min()
    records = []
    for name in dict.fromkeys(rows["problem"]):
        entry = (problems or {}).get(str(name))
        if entry is not None and entry.optimum is not None:
            records.append((entry.optimum, "optimum"))
        elif name in proved:
            records.append((proved[name], "optimum"))
        else:
            records.append((best[name], "best known" if np.isfinite(best[name]) else ""))
    names = pandas.Index(dict.fromkeys(rows["problem"]), name="problem")
    return pandas.DataFrame(records, index=names, columns=["reference", "kind"])


def lower_bounds(rows: Any, problems: Mapping[str, NamedProblem] | None = None) -> Any:
    """The best lower bound on the objective that a run proved, or else that of :func:`srnc_manifold.bound`.

    Parameters
    ----------
    rows : DataFrame
    problems : dict of NamedProblem, optional

    Returns
    -------
    Series
        By the name of each problem; NaN if there is none, as where the stable rank is to be raised and no run proved
        one: then it would need a cone program, which is slow.
    """
    found = rows["bound"].astype(float)
    proved = found.where(np.isfinite(found)).groupby(rows["problem"], sort=False).max()
    for name in proved.index[proved.isna()]:
        proved[name] = _bound_of((problems or {}).get(str(name)))
    return proved


def _bound_of(entry: NamedProblem | None) -> float:
    try:
        if entry is None or any(part.regime == "raise" for part in entry.problem.parts):
            return np.nan
        return bounds.bound(entry.problem).objective
    except Exception:  # there is none, as for dense operators, or the problem's own class fails: no table is lost
        return np.nan
