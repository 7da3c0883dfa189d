"""A frozen set of problems with certified optima, on which solvers can be compared, now and later.

``reference.json`` has each problem, its minimizer and the bound that proves it, with the certificate; ``reference.csv``
how the solvers of this package did, with the limits below. ``benchmarks/reference.py`` makes both. Kernels and targets
are in the file, so that no change of another family changes the set; ``srnc rank`` compares a solver on it.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from srnc_manifold import Budget, NamedProblem, Result
from srnc_manifold.exchange import from_json
from srnc_manifold.problem import problem_from_fields

FILE, ROWS = Path(__file__).with_suffix(".json"), Path(__file__).with_suffix(".csv")

#: Largest gap of an optimum to its bound, as a part of ``‖C(a)‖²``.
CERTIFIED = 1e-6

#: Limits of each run, and the seeds of those that have random starts. No limit is a time, which would depend on the
#: machine.
BUDGET = Budget(max_evaluations=1000)
SEEDS = (0, 1)


def problems() -> Iterator[NamedProblem]:
    for entry in _entries():
        optimum = optima()[entry["name"]]
        assert optimum.evaluation is not None
        problem = problem_from_fields(entry["problem"])
        yield NamedProblem(entry["name"], problem, optimum.evaluation.objective, entry["note"])


@cache
def optima() -> dict[str, Result]:
    """The certified solution of each problem: ``result.bound.verify(problem)`` computes its bound anew."""
    return {entry["name"]: Result.from_fields(entry["result"]) for entry in _entries()}


def rows() -> Any:
    """A pandas DataFrame of the runs of the solvers of this package, one row per run."""
    import pandas

    return pandas.read_csv(ROWS)


@cache
def _entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = from_json(FILE.read_text(encoding="utf-8"))["problems"]
    return entries
