"""The reference set: problems with certified optima, and how the solvers of this package do on them.

    python benchmarks/reference.py make                 # problems/reference.json; half a minute
    python benchmarks/reference.py rows --jobs 2        # problems/reference.csv; goes on where it was stopped

The set is frozen: made anew it is another one, and everybody's ranks with it. So an existing file is only replaced with
``--overwrite``. The rows are made anew when solvers have changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from srnc_manifold.problems import reference

import srnc_manifold as srnc
from srnc_manifold.comparison.ranking import COLUMNS
from srnc_manifold.exchange import to_json
from srnc_manifold.operators.geometry import Layout
from srnc_manifold.progress import progress_bar
from srnc_manifold.registry import DEFAULT_SOLVERS
from srnc_manifold.writing import require_new, write_table, write_text

FAMILIES = ("paper", "filters", "random_kernels", "hard", "formulations")

# Some need minutes for a thousand evaluations of every problem.
SLOW = ("nelder-mead:lse", "particle-swarm:lse", "cobyqa", "trust-constr")
SOLVERS = (*(name for name in DEFAULT_SOLVERS if name not in SLOW), "atom-search", "l-bfgs")


def layers() -> Iterator[srnc.NamedProblem]:
    """Kernels of the shapes of layers, and matrices."""
    rng = np.random.default_rng(0)
    cases: tuple[tuple[tuple[int, ...], tuple[int, ...], Layout], ...] = (
        ((8, 8), (), {}),
        ((5, 12), (), {}),
        ((4, 4, 3, 3), (8, 8), {}),
        ((6, 3, 3, 3), (8, 8), {}),
        ((1, 6, 3, 3), (10, 10), {}),
        ((6, 1, 3, 3), (10, 10), {"groups": 6}),
        ((4, 2, 3, 3), (8, 8), {"groups": 2}),
        ((4, 4, 1, 1), (6, 6), {}),
        ((3, 3, 5), (20,), {"dilation": 2}),
        ((4, 4, 3, 3), (8, 8), {"stride": 2}),
        ((2, 2, 2, 2, 2), (4, 4, 4), {}),
    )
    for shape, size, layout in cases:
        words = "".join(f", {name} {value}" for name, value in layout.items())
        name = f"layer: {'×'.join(map(str, shape))} on {'×'.join(map(str, size)) or 'vectors'}{words}"
        yield srnc.NamedProblem(name, srnc.partway(rng.standard_normal(shape), size, 0.5, **layout))


def candidates() -> Iterator[srnc.NamedProblem]:
    """Problems of the families, each once, and layers."""
    seen: set[str] = set()
    for family in FAMILIES:
        for entry in srnc.load_family(family):
            assert isinstance(entry, srnc.NamedProblem)
            if entry.problem.digest() not in seen:
                seen.add(entry.problem.digest())
                yield entry
    yield from layers()


def make(overwrite: bool) -> None:
    """Solve the problems, and write those whose optimum is certified."""
    require_new(reference.FILE, "reference.json", overwrite)
    kept = []
    for entry in candidates():
        result = srnc.solve(entry.problem)
        verified = result.bound.verify(entry.problem)
        gap = (result.evaluation.objective - min(verified, result.bound.objective)) / entry.problem.squared_norm
        good = result.evaluation.feasible and gap <= reference.CERTIFIED
        print(f"{entry.name:48} {gap:8.1e}{'' if good else '  left out: not certified'}")
        if good:
            fields = replace(result, history=srnc.History({}), alternatives=()).to_fields()
            about = {"name": entry.name, "note": entry.note, "problem": entry.problem.to_fields(), "result": fields}
            kept.append(about)
    how = f"srnc_manifold {srnc.__version__}, solver exact, benchmarks/reference.py make"
    write_text(reference.FILE, to_json({"made": how, "problems": kept}))
    print(f"{len(kept)} problems in {reference.FILE}")


def rows(jobs: int, store: Path) -> None:
    """Run the solvers of this package, and write their rows."""
    with progress_bar() as progress:
        comparison = srnc.compare(
            "reference",
            SOLVERS,
            reference.SEEDS,
            budget=reference.BUDGET,
            store=store,
            n_jobs=jobs,
            progress=lambda done, total, row: progress("" if row is None else f"{row.solver}", done, total),
        )
    if not comparison.interrupted:
        write_table(reference.ROWS, comparison.rows[list(COLUMNS)])
        print(f"{len(comparison.row_list)} rows in {reference.ROWS}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "rows"))
    parser.add_argument("--overwrite", action="store_true", help="replace the frozen set")
    parser.add_argument("--jobs", type=int, default=-1, help="processes for rows")
    parser.add_argument("--store", type=Path, default=Path("results/reference.db"), help="where runs are kept")
    given = parser.parse_args()
    if given.what == "make":
        make(given.overwrite)
    else:
        rows(given.jobs, given.store)


if __name__ == "__main__":
    main()
