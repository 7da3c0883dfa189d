"""A study of 10,000 runs in a store: what a run costs beside itself, how large the store is, how long a resume takes.

    python benchmarks/store.py                     # 1,000 problems, two solvers, five seeds; on one process and on two
    python benchmarks/store.py --problems 100 --jobs 1

The overhead of a run is ``(wall clock × processes − Σ runtimes) / runs``. Half of it are the scores that a problem
gives to each kernel, with the local restoration, as :func:`srnc_manifold.solve` does without any comparison. So
on one process the time outside of ``solve`` is told, too. On a busy machine everything waits; then processor time says
more.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import srnc_manifold as srnc
from srnc_manifold.comparison import runs
from srnc_manifold.solvers.solve import score

SOLVERS = ("l-bfgs", "slsqp[n_starts=1]")
BUDGET = srnc.Budget(max_evaluations=30)
CONDITIONS = "{problems} problems of three taps, {solvers} solvers, {seeds} seeds, load of the machine {load:.1f}"


def problems(count: int) -> dict[str, srnc.SRNProblem]:
    """Kernels of three taps on eight points."""
    rng = np.random.default_rng(0)
    return {f"problem {k}": srnc.partway(rng.standard_normal(3), 8, rng.uniform(0.2, 0.8)) for k in range(count)}


def make(given: dict[str, srnc.SRNProblem], jobs: int, store: Path | None, seeds: int) -> srnc.Comparison:
    return srnc.compare(given, SOLVERS, range(seeds), budget=BUDGET, n_jobs=jobs, store=store)


class Solving:
    """Solves as a comparison does, and adds up the times."""

    def __init__(self) -> None:
        self.wall = self.used = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> srnc.Result:
        wall, used = time.perf_counter(), time.process_time()
        try:
            return srnc.solve(*arguments, **options)
        finally:
            self.wall += time.perf_counter() - wall
            self.used += time.process_time() - used


def measure(given: dict[str, srnc.SRNProblem], jobs: int, store: Path, seeds: int) -> None:
    # Processes are started and modules imported before the clock: with two, that is their business once.
    make(dict(list(given.items())[:2]), jobs, None, 1)
    runs.solve = solving = Solving()  # in this process
    wall, used = time.perf_counter(), time.process_time()
    comparison = make(given, jobs, store, seeds)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    rows = comparison.rows
    count, within = len(rows), float(rows["time"].sum())
    print(f"{jobs} process(es): {count} runs in {wall:.1f} s, {1000 * within / count:.2f} ms each")
    print(f"  overhead of a run     {1000 * (wall * jobs - within) / count:.2f} ms")
    if jobs == 1:
        print(f"  outside of solve      {1000 * (wall - solving.wall) / count:.2f} ms")
        print(f"  … of processor time   {1000 * (used - solving.used) / count:.2f} ms")
    else:
        print(f"  in this process       {1000 * used / count:.2f} ms of processor time")
    print(f"  status                {dict(rows['status'].value_counts())}")
    size = store.stat().st_size
    print(f"  store                 {size / 1e6:.1f} MB, {size / count / 1e3:.2f} kB a run")
    some = list(comparison.results.items())[:: max(1, count // 200)]
    began = time.process_time()
    for (name, _, _), result in some:
        score(given[name], result)
    print(f"  scores of a run       {1000 * (time.process_time() - began) / len(some):.2f} ms of processor time")


def timed(what: str, function: Callable[[], Any]) -> Any:
    began, used = time.perf_counter(), time.process_time()
    value = function()
    print(f"  {what:21} {time.perf_counter() - began:.2f} s, {time.process_time() - used:.2f} s of the processor")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    given = problems(options.problems)
    load = os.getloadavg()[0]
    print(CONDITIONS.format(problems=options.problems, solvers=len(SOLVERS), seeds=options.seeds, load=load))
    with tempfile.TemporaryDirectory() as folder:
        for jobs in options.jobs:
            store = Path(folder) / f"{jobs}.db"
            measure(given, jobs, store, options.seeds)
            timed("nothing to do", partial(make, given, 1, store, options.seeds))
            loaded = timed("load", partial(srnc.Comparison.load, store))
            timed("rows as a DataFrame", partial(getattr, loaded, "rows"))
            timed("all results", partial(list, loaded.results.values()))
            timed("table", loaded.table)
            timed("report", loaded.report)
            timed("figure", loaded.plot)


if __name__ == "__main__":
    main()
