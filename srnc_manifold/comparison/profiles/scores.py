"""What the profiles share: gaps and hits of runs, instances that every solver has tried, times that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.comparison.references import references as references_of
from srnc_manifold.comparison.rows import UNSUPPORTED, environments
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE

#: A run has hit the optimum if it is feasible, as found, and its gap to the reference is at most this.
HIT = FEASIBILITY_TOLERANCE

#: What a run costs: kernels whose singular values were computed, derivatives taken, seconds.
MEASURES = ("evaluations", "gradients", "hessians", "time")

#: What an instance is named by: solvers start from the same point where these are the same.
INSTANCE = ["problem", "seed"]


def available(rows: Any, *columns: str) -> Any:
    """The rows of problems that are available here, checked for the columns that are needed.

    Raises
    ------
    TypeError, ValueError
        If ``rows`` is no DataFrame, lacks a column, or has no row of a solver.
    """
    if not hasattr(rows, "columns") or not hasattr(rows, "groupby"):
        raise TypeError(f"rows: {type(rows).__name__} given, expected a DataFrame, such as comparison.rows")
    missing = [name for name in ("problem", "solver", "seed", *columns) if name not in rows.columns]
    if missing:
        raise ValueError(f"rows: no column {missing[0]!r}, expected those of comparison.rows")
    kept = rows[rows["solver"].fillna("") != ""]
    if not len(kept):
        raise ValueError("rows: no run of a solver given, expected at least one")
    twice = kept[kept.duplicated(["problem", "solver", "seed"])]
    if len(twice):
        problem, solver, seed = twice.iloc[0][["problem", "solver", "seed"]]
        raise ValueError(f"rows: {solver!r} on {problem!r} with seed {seed} is given twice, expected one row per run")
    return kept


def scored(rows: Any, references: Mapping[str, float] | None = None, tolerance: float = HIT) -> Any:
    """The rows of available problems with ``gap`` and ``hit``.

    ``gap`` is ``(objective − reference) / ‖C(a)‖²`` of feasible runs, infinite for all others. A hit is a gap of at
    most ``tolerance``. Without references they come from the rows; see :mod:`srnc_manifold.comparison.references`.
    """
    kept = available(rows, "feasible", "objective", "restored_objective", "bound", "squared_norm").copy()
    gaps = (kept["objective"] - kept["problem"].map(known_references(kept, references))) / kept["squared_norm"]
    kept["gap"] = np.where(kept["feasible"].astype(bool) & np.isfinite(gaps), gaps, np.inf)
    kept["hit"] = kept["gap"] <= tolerance
    return kept


def known_references(rows: Any, references: Mapping[str, float] | None) -> dict[str, float]:
    """The objective that gaps are measured by, by problem: the one that is given, or else the best of the rows."""
    known = references_of(rows)["reference"] if references is None else references
    return {name: known.get(name, np.nan) for name in dict.fromkeys(rows["problem"])}


def require_comparable(rows: Any, measure: str) -> None:
    """Refuse times that were not taken in one environment: one machine, with the same versions and commit.

    Raises
    ------
    ValueError
        If the measure is time, and the runs are of several environments; or if it is not one of :data:`MEASURES`.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure: {measure!r} given, expected one of {', '.join(MEASURES)}")
    available(rows, measure)
    if measure != "time" or "environment" not in rows.columns:
        return
    names = environments(rows["time"], rows["environment"])
    if len(names) > 1:
        raise ValueError(
            f"measure: 'time' given, but the runs were made in {len(names)} environments ({', '.join(names)}); times "
            "can be compared within one machine, its versions and commit only. Expected rows of one of them, such as "
            f"where=\"environment == '{names[0]}'\", or another measure"
        )


def costs(rows: Any, measure: str) -> Any:
    """What each run cost. A run that counts nothing, as by a formula, counts one, so that ratios can be formed."""
    values = rows[measure].astype(float)
    return values if measure == "time" else np.maximum(values, 1.0)


def settings_of(rows: Any) -> dict[str, str]:
    """The canonical name of each solver, by its label; the label itself where there is none, as without a run."""
    names = {solver: solver for solver in dict.fromkeys(rows["solver"])}
    if "settings" in rows.columns:
        told = rows[rows["settings"].notna()].drop_duplicates("solver")
        names |= dict(zip(told["solver"], told["settings"], strict=True))
    return names


def paired(rows: Any) -> Any:
    """The rows as a full table: of each instance, that is problem and seed, one row of every solver.

    A solver that has one run of each problem, where others have several, has nothing random: its run stands for all
    seeds. So does the row of a solver that does not support a problem. Instances that some solver has not been run on,
    as after an interruption, are left out.

    Returns
    -------
    DataFrame
        The rows, with ``repeated``: whether the row stands for several seeds.

    Raises
    ------
    ValueError
        If there is no instance that all solvers were run on.
    """
    import pandas

    solvers = list(dict.fromkeys(rows["solver"]))
    counts = rows.groupby(["solver", "problem"])["seed"].nunique().groupby("solver").max()
    refused = rows["settings"].isna() | (rows["status"] == UNSUPPORTED)
    fixed = rows["solver"].map(counts) == 1
    several = rows[~(fixed | refused)][INSTANCE].drop_duplicates()
    alone = rows[~rows["problem"].isin(several["problem"])].drop_duplicates("problem")[INSTANCE]
    seeds = pandas.concat([several, alone])
    once = rows[fixed | refused].drop_duplicates(["problem", "solver"]).drop(columns="seed").assign(repeated=True)
    full = pandas.concat([rows[~(fixed | refused)].assign(repeated=False), once.merge(seeds, on="problem")])
    full = full[full.groupby(INSTANCE)["solver"].transform("nunique") == len(solvers)]
    if not len(full):
        raise ValueError("rows: no problem and seed that all solvers were run on, expected at least one")
    order = {solver: k for k, solver in enumerate(solvers)}
    return full.sort_values("solver", key=lambda names: names.map(order), kind="stable", ignore_index=True)
