"""Many targets of one layer: solve_path against one solve for each, on one thread, in the same sitting.

    python benchmarks/paths.py

Each single solution includes the making of its problem, as a caller without solve_path would write it. solve_path is
timed before and after them, so that a machine that gets slower or faster in between is seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc
from srnc_manifold.numerics import Array

TARGETS = 50


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds of a call, and what it returns."""
    start = time.perf_counter()
    found = function(*args)
    return time.perf_counter() - start, found


def one_by_one(kernel: Array, size: int, fractions: Array) -> list[tuple[srnc.SRNProblem, srnc.Result]]:
    """A problem and its solution for each target."""
    problems = (srnc.SRNProblem(kernel, size, stable_rank_fraction=fraction) for fraction in fractions)
    return [(problem, srnc.solve(problem)) for problem in problems]


def path(kernel: Array, size: int, fractions: Array) -> srnc.PathResult:
    """The solutions for all targets."""
    return srnc.solve_path(srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0), fractions)


def main() -> None:
    with threadpool_limits(1):
        for shape, size in [((64, 64, 3, 3), 32), ((16, 16, 3, 3), 32), ((3, 3), 32)]:
            kernel = np.random.default_rng(0).standard_normal(shape)
            own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
            least = own.feasible_range[0] / own.kernel_stable_rank
            fractions = np.linspace(least + 0.02 * (1 - least), 0.98, TARGETS)
            first, found = timed(path, kernel, size, fractions)
            singles, results = timed(one_by_one, kernel, size, fractions)
            second, _ = timed(path, kernel, size, fractions)
            apart = max(
                abs(float(objective) - result.evaluation.objective) / problem.squared_norm
                for objective, (problem, result) in zip(found.objectives, results, strict=True)
            )
            print(
                f"{'×'.join(map(str, shape))} on {size}×{size}, {TARGETS} targets: one by one {singles:.2f} s, as a "
                f"path {first:.2f} s and {second:.2f} s, {first / singles:.3f} and {second / singles:.3f} of it; "
                f"objectives differ by at most {apart:.1e} of ‖C(a)‖², largest gap {np.max(found.gaps):.1e}"
            )


if __name__ == "__main__":
    main()
