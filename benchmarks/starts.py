"""Many starts at once against start by start: does the best one find the certified optimum, and how long does it take?

    python benchmarks/starts.py                                # the paper's instance and 20 problems, 1,000 starts
    python benchmarks/starts.py --method l-bfgs --problems 5   # speed alone: the formulation misses the target

A hit is feasible to 1e-6 as found and within 1e-5 of ‖C(a)‖² of the certified bound. On one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from riemannian import NEAR, problems  # type: ignore[import-not-found]  # beside this file
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc
from srnc_manifold.registry import solver_from_name

HEAD = ("problem", "gap", "violation", "hit", "seconds", "starts/s", "by itself", "times", "cg x 20, s")


def timed(problem: srnc.SRNProblem, solver: Any, seeds: int, most: float = np.inf) -> tuple[list[srnc.Result], float]:
    """Results of some seeds, and the seconds of all; no further seed after ``most`` seconds.

    Seconds of the processor where all is done there: other work on a busy machine does not count.
    """
    clock = time.perf_counter if getattr(solver, "device", None) else time.process_time
    began, results = clock(), []
    for seed in range(seeds):
        results.append(srnc.solve(problem, solver, rng=seed))
        if clock() - began > most:
            break
    return results, clock() - began


def row(name: str, problem: srnc.SRNProblem, batch: srnc.solvers.Batch, singles: int) -> tuple[Any, ...]:
    (result,), seconds = timed(problem, batch, 1)
    found = result.evaluation
    gap = (found.objective - srnc.solve(problem).bound.objective) / problem.squared_norm
    hit = found.feasible and gap <= NEAR
    alone, theirs = timed(problem, batch.method, singles, most=20.0)
    _, gradients = timed(problem, "conjugate-gradient", 20)
    rate, own = batch.starts / seconds, len(alone) / theirs
    return name, gap, found.violation, hit, seconds, rate, own, rate / own, gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="augmented-lagrangian")
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--singles", type=int, default=20, help="starts one by one, for their speed")
    parser.add_argument("--device", default=None)
    parser.add_argument("--dtype", default=None)
    options = parser.parse_args()
    batch = srnc.solvers.Batch(
        solver_from_name(options.method), options.starts, device=options.device, dtype=options.dtype
    )
    entries = [("paper", srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)), *problems(options.problems, "reduce")]
    print(f"{batch.name}; by itself: starts a second of its method, one by one, {options.singles} of them")
    print(f"{HEAD[0]:20}" + "".join(f"{title:>12}" for title in HEAD[1:]))
    rows = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        srnc.solve(entries[0][1], batch, rng=0, budget=srnc.Budget(max_time=0.5))  # imports
        for name, problem in entries:
            name, gap, violation, hit, *numbers = row(name, problem, batch, options.singles)
            rows.append((problem.operator.block_rank == 1, hit, *numbers))
            shown = "".join(f"{number:12.3g}" for number in numbers)
            print(f"{name:20}{gap:12.1e}{violation:12.1e}{'yes' if hit else 'no':>12}{shown}", flush=True)
    for title, kind in (("one row or column to a block", True), ("channels", False)):
        ratios = [numbers[5] for numbers in rows if numbers[0] is kind]
        if ratios:
            print(f"{title}: {min(ratios):.1f} to {max(ratios):.1f} times as many starts a second")
    print(f"hits: {sum(numbers[1] for numbers in rows[1:])} of {len(rows) - 1}, and the paper's: {rows[0][1]}")


if __name__ == "__main__":
    main()
