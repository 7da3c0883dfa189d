"""Summary of a comparison: one row for each problem and solver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from srnc_manifold.comparison.references import lower_bounds, references
from srnc_manifold.comparison.rows import UNSUPPORTED, Row, environments, frame
from srnc_manifold.numerics import Array
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE

# A gap smaller than this is set to zero. A feasible result can be below the optimum within the feasibility tolerance.
NO_GAP = 1e-9

# A run has solved a problem if it is feasible, and its gap to the reference is at most this.
SOLVED = FEASIBILITY_TOLERANCE

SUMMARY_COLUMNS = (
    "problem",
    "solver",
    "runs",
    "success",
    "solved",
    "stable_rank_error",
    "spectral_norm_error",
    "objective",
    "gap",
    "restored",
    "restored_gap",
    "bound",
    "bound_gap",
    "spread",
    "evaluations",
    "time",
    "status",
    "message",
    "reference",
    "reference_kind",
    "environment",
)


def summary(rows: Sequence[Row], problems: Mapping[str, NamedProblem]) -> Any:
    """One row per problem and solver, best first.

    Notes
    -----
    The columns:

    problem, solver
        The index of the row.
    runs
        Number of runs; 0 if none of them returned a kernel.
    success
        Fraction of the runs that ended feasible, as found (both relative errors below 1e-6).
    solved
        Fraction of the runs that ended feasible, as found, with an objective within 1e-6 of ``‖C(a)‖²`` of the
        reference.
    stable_rank_error, spectral_norm_error, objective
        Medians over the runs, as found.
    gap
        ``(objective − reference) / ‖C(a)‖²``: the median over the feasible runs, or NaN if there are none.
    restored, restored_gap
        Median objective after the local restoration and its gap.
    bound, bound_gap
        Best lower bound on the objective that a run proved, or else the bound of :func:`srnc_manifold.bound`; and
        ``(objective − bound) / ‖C(a)‖²``, the median over the feasible runs. The result cannot be further than this
        from the optimum. This does not depend on the reference.
    spread
        Largest minus least objective as found over the runs, in units of ``‖C(a)‖²``.
    evaluations, time
        Medians; time in seconds.
    status, message
        The most frequent status, and the message of a run with this status.
    reference, reference_kind
        The optimum if a formula or the explicit solution gives it, otherwise the best feasible objective found.
    environment
        Where the runs were made, by the names in the rows. Times are compared only if they are all of one.
    """
    import pandas

    table = frame(rows)
    measured, proved = references(table, problems), lower_bounds(table, problems)
    records: list[dict[str, Any]] = []
    for name, own in _grouped(rows, "problem").items():
        by = *measured.loc[name], proved[name]
        block = [_record(some, *by) for some in _grouped(own, "solver").values()]
        timed = comparable(record["environment"] for record in block)
        records.extend(sorted(block, key=partial(_merit, timed=timed)))
    return pandas.DataFrame(records, columns=list(SUMMARY_COLUMNS))


def winners(summary: Any) -> Any:
    """Who wins: one row per solver, best first, from the table of :func:`srnc_manifold.comparison.summary.summary`.

    Notes
    -----
    The columns:

    solver
        The index.
    solved
        Share of the problems that are solved, of all that are available: the mean of the shares below. A problem that
        the solver does not support counts as not solved.
    time
        Median over the problems of the median time of a run, in seconds. NaN where times cannot be compared, because
        the runs are of several machines, versions or commits.
    the name of each problem
        Share of the runs that are feasible, as found, and within 1e-6 of ``‖C(a)‖²`` of the optimum, or of the best
        known objective. NaN if the solver was not run, because it does not support the problem. A problem whose name
        is one of the columns above is called ``problem solved`` or ``problem time``.
    """
    import pandas

    runs = summary[summary["solver"] != ""]  # without the problems that are not available here
    problems = list(dict.fromkeys(runs["problem"]))
    timed = comparable(runs["environment"])
    records = []
    for solver, block in runs.groupby("solver", sort=False):
        tried = block[block["status"] != UNSUPPORTED]
        shares = dict(zip(tried["problem"], tried["solved"], strict=True))
        cells = {name: shares.get(name, np.nan) for name in problems}
        mean = float(np.nansum(list(cells.values()))) / len(problems)
        feasible = float(tried["success"].sum()) / len(problems)
        time = float(tried["time"].median()) if timed and tried["time"].notna().any() else np.nan
        errors = tried[["stable_rank_error", "spectral_norm_error"]].max(axis=1)
        # Among solvers that solve nothing, the faster one is not better; the one that is nearer to feasible is.
        last = time if mean > 0 else float(errors.median()) if errors.notna().any() else np.nan
        records.append(((-mean, -feasible, last if np.isfinite(last) else np.inf), solver, mean, time, cells))
    records.sort(key=lambda record: record[0])
    taken = {"solved", "time"}
    return pandas.DataFrame(
        [
            {"solved": mean, "time": time, **{f"problem {k}" if k in taken else k: v for k, v in cells.items()}}
            for _, _, mean, time, cells in records
        ],
        index=pandas.Index([solver for _, solver, *_ in records], name="solver"),
        columns=["solved", "time", *(f"problem {name}" if name in taken else name for name in problems)],
    )


def comparable(environments: Iterable[str]) -> bool:
    """Whether times can be compared: whether a column ``environment`` of ``summary`` names one at most."""
    return len({name for names in environments for name in names.split(", ") if name}) <= 1


def _record(rows: Sequence[Row], reference: float, kind: str, bound: float) -> dict[str, Any]:
    """Of the rows of one problem and solver. NumPy, since pandas takes a hundred times as long for a few numbers."""

    def column(name: str) -> Array:
        return np.array([getattr(row, name) for row in rows], float)

    objective, restored, feasible = column("objective"), column("restored_objective"), column("feasible") > 0
    size = _median(column("squared_norm"))  # the same for all runs that returned a kernel
    counts = Counter(sorted(row.status for row in rows))
    status = counts.most_common(1)[0][0]

    def gap(values: Array, reference: float = reference) -> float:
        difference = (_median(values) - reference) / size
        return 0.0 if abs(difference) < NO_GAP else difference

    found = objective[~np.isnan(objective)]
    return {
        "problem": rows[0].problem,
        "solver": rows[0].solver,
        "runs": len(rows) if len(found) else 0,
        "success": float(feasible.mean()),
        "solved": float((feasible & ((objective - reference) / size <= SOLVED)).mean()),
        "stable_rank_error": _median(column("stable_rank_error")),
        "spectral_norm_error": _median(column("spectral_norm_error")),
        "objective": _median(objective),
        "gap": gap(objective[feasible]),
        "restored": _median(restored),
        "restored_gap": gap(restored),
        "bound": bound,
        "bound_gap": gap(objective[feasible], bound),
        "spread": (float(found.max()) - float(found.min())) / size if len(found) else np.nan,
        "evaluations": _median(column("evaluations")),
        "time": _median(column("time")),
        "status": status,
        "message": next(row.message for row in rows if row.status == status),
        "reference": reference,
        "reference_kind": kind,
        "environment": ", ".join(environments((row.time for row in rows), (row.environment for row in rows))),
    }


def _median(values: Array) -> float:
    """Of those that are there, NaN if none is."""
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) else np.nan


def _grouped(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, name), []).append(row)
    return groups


def _merit(record: dict[str, Any], timed: bool) -> tuple[float, ...]:
    """Sort key: first the success rate; then the gap if some run is feasible, else the violation; then the time.

    Times count only where they were taken in one environment.
    """

    def last_if_nan(value: float) -> float:
        return value if np.isfinite(value) else np.inf

    violation = max(last_if_nan(record["stable_rank_error"]), last_if_nan(record["spectral_norm_error"]))
    # Gaps within the feasibility tolerance count as equal, negative ones too. Then the faster solver is better.
    gap = max(last_if_nan(record["gap"]), FEASIBILITY_TOLERANCE)
    time = last_if_nan(record["time"]) if timed else 0.0
    return -record["success"], gap if record["success"] > 0 else violation, time
