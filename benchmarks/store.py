"""A study of 10,000 runs in a store: what a run costs beside itself, how large the store is, how long a resume takes.

    python benchmarks/store.py                     # 1,000 problems, two solvers, five seeds; on one process and on two
    python benchmarks/store.py --problems 100 --jobs 1

The overhead of a run is ``(wall clock × processes − Σ runtimes) / runs``. Part of it are the scores that its problem
gives to a kernel, and the local restoration; they are timed alone, too. On a busy machine all of it waits;
then the share of the processor's time that is not of the runs says more.
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
from srnc_manifold.solvers.solve import score

SOLVERS = ("l-bfgs", "slsqp[n_starts=1]")
BUDGET = srnc.Budget(max_evaluations=30)
CONDITIONS = "{problems} problems of three taps, {solvers} solvers, {seeds} seeds, load of the machine {load:.1f}"


def problems(count: int) -> dict[str, srnc.SRNProblem]:
    """Kernels of three taps on eight points."""
    rng = np.random.default_rng(0)
    return {f"problem {k}": srnc.partway(rng.standard_normal(3), 8, rng.uniform(0.2, 0.8)) for k in range(count)}


def processor_time() -> float:
    """Seconds that this process and those that it has waited for have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def make(given: dict[str, srnc.SRNProblem], jobs: int, store: Path | None, seeds: int) -> srnc.Comparison:
    return srnc.compare(given, SOLVERS, range(seeds), budget=BUDGET, n_jobs=jobs, store=store)


def measure(given: dict[str, srnc.SRNProblem], jobs: int, store: Path, seeds: int) -> None:
    # Processes are started and modules imported before the clock: with two, that is their business once.
    make(dict(list(given.items())[:2]), jobs, None, 1)
    began, used = time.perf_counter(), processor_time()
    comparison = make(given, jobs, store, seeds)
    wall, used = time.perf_counter() - began, processor_time() - used
    rows = comparison.rows
    runs, within = len(rows), float(rows["time"].sum())
    overhead = (wall * jobs - within) / runs
    print(f"{jobs} process(es): {runs} runs in {wall:.1f} s, {1000 * within / runs:.2f} ms each")
    print(f"  overhead of a run     {1000 * overhead:.2f} ms of wall clock")
    if jobs == 1:
        print(f"                        {1000 * used / runs * (1 - within / wall):.2f} ms of processor time")
    print(f"  status                {dict(rows['status'].value_counts())}")
    print(
        f"  store                 {store.stat().st_size / 1e6:.1f} MB, {store.stat().st_size / runs / 1e3:.2f} kB a run"
    )
    some = list(comparison.results.items())[:: max(1, runs // 200)]
    began = time.process_time()
    for (name, _, _), result in some:
        score(given[name], result)
    print(f"  of which scores       {1000 * (time.process_time() - began) / len(some):.2f} ms of processor time")


def timed(what: str, function: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    value = function()
    print(f"  {what:21} {time.perf_counter() - began:.2f} s")
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


if __name__ == "__main__":
    main()
