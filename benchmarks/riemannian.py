"""How often the Riemannian methods find the certified optimum, start by start.

    python benchmarks/riemannian.py reduce        # 100 problems, 10 starts of every method
    python benchmarks/riemannian.py raise         # 100 problems, against the best of 60 starts of SLSQP

A hit is feasible to 1e-6 as found and within 1e-5 of ‖C(a)‖² of the certified optimum. Methods know nothing of it.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc
from srnc_manifold.registry import solver_from_name

METHODS = (
    "augmented-lagrangian",
    "exact-penalty",
    "exact-penalty-lse",
    "continuation",
    "continuation-cg",
    "gradient-sampling",
    "subgradient",
    "subgradient-diminishing",
    "trust-regions:lse",
    "l-bfgs:penalty",
)
NEAR = 1e-5


def problems(count: int, regime: str) -> Iterator[tuple[str, srnc.SRNProblem]]:
    """1-D to 64 points, 2-D to 16×16, multichannel to 8×8×3×3 on 8×8, in turn, with random targets."""
    rng = np.random.default_rng(2)
    made = 0
    while made < count:
        if made % 3 == 0:
            size: tuple[int, ...] = (int(rng.integers(8, 65)),)
            shape: tuple[int, ...] = (int(rng.integers(3, 8)),)
        elif made % 3 == 1:
            size, shape = tuple(int(n) for n in rng.integers(6, 17, 2)), tuple(int(k) for k in rng.integers(2, 4, 2))
        else:
            largest = 9 if regime == "reduce" else 4  # SLSQP takes long for larger ones
            size, shape = (8, 8), (*(int(c) for c in rng.integers(2, largest, 2)), 3, 3)
        kernel = rng.standard_normal(shape)
        own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
        end, rank = own.feasible_range[regime == "raise"], own.kernel_stable_rank
        target = rank + rng.uniform(0.1, 0.9) * (end - rank)
        if abs(target - rank) > 1e-3 * rank:
            made += 1
            name = f"{'×'.join(map(str, shape))} on {'×'.join(map(str, size))}"
            yield name, srnc.SRNProblem(kernel, size, stable_rank=target)


def best_of(
    problem: srnc.SRNProblem, solver: Any, starts: int, max_time: float
) -> tuple[list[float], list[tuple[int, float]]]:
    """Objectives as found of the starts, infinite where not feasible, and their evaluations and seconds."""
    objectives, costs = [], []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(starts):
            result = srnc.solve(problem, solver, rng=seed, budget=srnc.Budget(max_time=max_time))
            objectives.append(result.evaluation.objective if result.evaluation.feasible else np.inf)
            costs.append((result.n_evaluations, result.runtime))
    return objectives, costs


def reduce(n_problems: int, starts: int, max_time: float, jobs: int, methods: list[str]) -> None:
    """100 problems that reduce the stable rank: hits per start, and of the best of all starts."""
    entries = list(problems(n_problems, "reduce"))

    def run(problem: srnc.SRNProblem) -> tuple[float, list[Any]]:
        optimum = srnc.solve(problem)
        assert optimum.gap < 1e-6, optimum.message
        found = []
        for name in methods:
            solver = solver_from_name(name)
            supported = solver.supports(problem)[0]
            found.append(best_of(problem, solver, starts, max_time) if supported else None)
        return optimum.evaluation.objective, found

    rows = joblib.Parallel(n_jobs=jobs, verbose=1)(joblib.delayed(run)(problem) for _, problem in entries)
    print(f"{len(entries)} problems, {starts} random starts of at most {max_time} s; feasible to 1e-6 as found, within")
    print(f"{NEAR} of ‖C(a)‖² of the certified optimum")
    print(f"{'method':28} {'problems':>8} {'feasible':>9} {'hit':>6} {'best of all':>12} {'evaluations':>12} {'ms':>7}")
    print(f"{'':28} {'':>8} {'per start':>9} {'':>6} {'starts hits':>12} {'per start':>12}")
    for k, name in enumerate(methods):
        table = []
        for (_, problem), (optimum, found) in zip(entries, rows, strict=True):
            if found[k] is not None:
                objectives, costs = found[k]
                gaps = (np.array(objectives) - optimum) / problem.squared_norm
                table.append(
                    (np.mean(np.isfinite(gaps)), np.mean(gaps <= NEAR), np.min(gaps) <= NEAR, *np.mean(costs, axis=0))
                )
        feasible, hits, best, evaluations, seconds = np.mean(table, axis=0)
        print(
            f"{name:28} {len(table):8} {feasible:9.2f} {hits:6.2f} {best:12.2f} {evaluations:12.0f} "
            f"{1000 * seconds:7.0f}"
        )
    for k, name in enumerate(methods[:2]):
        for (label, problem), (optimum, found) in zip(entries, rows, strict=True):
            if found[k] is None:
                continue
            gap = (min(found[k][0]) - optimum) / problem.squared_norm
            if gap > NEAR:
                low = problem.feasible_range[0]
                part = (problem.stable_rank - low) / (problem.kernel_stable_rank - low)
                print(f"  missed by {name}: {label}, {part:.2f} of the way from r_min, best start {gap:.1e} above")


def raising(n_problems: int, starts: int, max_time: float, jobs: int, methods: list[str]) -> None:
    """100 problems that raise the stable rank: against the best of 60 starts of SLSQP, as found."""
    entries = list(problems(n_problems, "raise"))
    slsqp = srnc.solvers.MultiStart("SLSQP", n_starts=1)

    def run(problem: srnc.SRNProblem) -> list[Any]:
        theirs = best_of(problem, slsqp, 60, max_time)
        return [theirs] + [best_of(problem, solver_from_name(name), starts, max_time) for name in methods]

    rows = joblib.Parallel(n_jobs=jobs, verbose=1)(joblib.delayed(run)(problem) for _, problem in entries)
    print(f"{len(entries)} problems; best of {starts} starts against the best of 60 of SLSQP, as good if within {NEAR}")
    print(f"{'method':28} {'as good':>8} {'better':>7} {'feasible per start':>19} {'median ms':>10}")
    scale = np.array([problem.squared_norm for _, problem in entries])
    reference = np.array([min(row[0][0]) for row in rows])
    for k, name in enumerate(["slsqp", *methods]):
        best = np.array([min(row[k][0]) for row in rows])
        with np.errstate(invalid="ignore"):
            excess = np.where(
                np.isinf(best), np.inf, np.where(np.isinf(reference), -np.inf, (best - reference) / scale)
            )
        feasible = np.mean([np.mean(np.isfinite(row[k][0])) for row in rows])
        seconds = np.median([np.mean(row[k][1], axis=0)[1] for row in rows])
        print(
            f"{name:28} {np.mean(excess <= NEAR):8.2f} {np.mean(excess < -NEAR):7.2f} {feasible:19.2f} "
            f"{1000 * seconds:10.0f}"
        )
        if k == 1:
            for j in np.flatnonzero(excess > NEAR):
                problem = entries[j][1]
                high, rank = problem.feasible_range[1], problem.kernel_stable_rank
                part = (problem.stable_rank - rank) / (high - rank)
                print(f"  worse: {entries[j][0]}, {part:.2f} of the way to r_max, {excess[j]:.1e} above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=["reduce", "raise"])
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--max-time", type=float, default=2.0, help="seconds of one start")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    section = {"reduce": reduce, "raise": raising}[options.section]
    section(options.problems, options.starts, options.max_time, options.jobs, options.methods)


if __name__ == "__main__":
    main()
