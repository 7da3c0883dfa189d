"""Summary of a comparison: one row for each problem and solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from srnc_manifold.comparison.references import lower_bounds, references
from srnc_manifold.comparison.rows import UNSUPPORTED, Row, environments, frame
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

    Columns
    -------
    problem, solver
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
    for name, of_problem in table.groupby("problem", sort=False):
        by = *measured.loc[name], proved[name]
        block = [_record(of_solver, *by) for _, of_solver in of_problem.groupby("solver", sort=False)]
        timed = len(environments(of_problem)) <= 1
        records.extend(sorted(block, key=partial(_merit, timed=timed)))
    return pandas.DataFrame(records, columns=list(SUMMARY_COLUMNS))


def winners(summary: Any) -> Any:
    """Who wins: one row per solver, best first, from the table of :func:`summary`.

    Columns
    -------
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
    timed = comparable(runs)
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


def comparable(summary: Any) -> bool:
    """Whether the times in a table of :func:`summary` are of one environment."""
    return len({name for names in summary["environment"] for name in names.split(", ") if name}) <= 1


def _record(rows: Any, reference: float, kind: str, bound: float) -> dict[str, Any]:
    first = rows.iloc[0]
    size = float(rows["squared_norm"].max())  # the same for all runs that returned a kernel
    status = rows["status"].mode().iloc[0]
    feasible = rows[rows["feasible"]]

    def gap(values: Any, reference: float = reference) -> float:
        difference = (float(values.median()) - reference) / size if len(values) else np.nan
        return 0.0 if abs(difference) < NO_GAP else difference

    return {
        "problem": first["problem"],
        "solver": first["solver"],
        "runs": len(rows) if rows["objective"].notna().any() else 0,
        "success": float(rows["feasible"].mean()),
        "solved": float((rows["feasible"] & ((rows["objective"] - reference) / size <= SOLVED)).mean()),
        "stable_rank_error": float(rows["stable_rank_error"].median()),
        "spectral_norm_error": float(rows["spectral_norm_error"].median()),
        "objective": float(rows["objective"].median()),
        "gap": gap(feasible["objective"]),
        "restored": float(rows["restored_objective"].median()),
        "restored_gap": gap(rows["restored_objective"].dropna()),
        "bound": bound,
        "bound_gap": gap(feasible["objective"], bound),
        "spread": float(rows["objective"].max() - rows["objective"].min()) / size,
        "evaluations": float(rows["evaluations"].median()),
        "time": float(rows["time"].median()),
        "status": status,
        "message": rows.loc[rows["status"] == status, "message"].iloc[0],
        "reference": reference,
        "reference_kind": kind,
        "environment": ", ".join(environments(rows)),
    }


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
