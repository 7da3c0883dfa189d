"""How much an iteration costs through ``Riemannian``, compared with pymanopt alone on the same functions.

    python benchmarks/iterations.py

Counting, recording, scores and budgets are what is added. Both are timed in one run on one thread, at least of five.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pymanopt
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc
from srnc_manifold.costs import LogSumExp, SphereFunction

OPTIMIZERS = {"steepest-descent": "SteepestDescent", "conjugate-gradient": "ConjugateGradient"}
CASES: dict[str, tuple[tuple[int, ...], Any]] = {"3 taps on 64": ((3,), 64), "4×4×3×3 on 16×16": ((4, 4, 3, 3), 16)}


# Few enough that no run has converged, which ends it on either side after another number of evaluations.
ITERATIONS, STARTS = 8, 20


def alone(problem: srnc.SRNProblem, optimizer: str, start: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds, and the point reached, of pymanopt on its own sphere."""
    function, manifold = SphereFunction(problem, LogSumExp()), pymanopt.manifolds.Sphere(problem.kernel.size)
    wrapped = pymanopt.Problem(
        manifold,
        pymanopt.function.numpy(manifold)(function.value),
        euclidean_gradient=pymanopt.function.numpy(manifold)(function.gradient),
    )
    method = getattr(pymanopt.optimizers, OPTIMIZERS[optimizer])(
        max_iterations=ITERATIONS, min_gradient_norm=1e-12, verbosity=0
    )
    began = time.perf_counter()
    result = method.run(wrapped, initial_point=start)
    return time.perf_counter() - began, result.point


def through(problem: srnc.SRNProblem, optimizer: str, start: np.ndarray) -> tuple[float, np.ndarray]:
    """The same through the package."""
    solver = srnc.solvers.Riemannian(LogSumExp(), optimizer, max_iterations=ITERATIONS, tolerance=1e-12)
    result = srnc.solve(problem, solver, start=problem.from_units(problem.unit_kernels_at(start)))
    return result.runtime, problem.to_sphere(result.kernel).ravel()


def main() -> None:
    warnings.simplefilter("ignore")
    for name, (shape, size) in CASES.items():
        kernel = np.random.default_rng(0).standard_normal(shape)
        problem = srnc.SRNProblem(kernel, size, stable_rank_fraction=0.7)
        starts = [problem.spheres.random_point(np.random.default_rng(seed)) for seed in range(STARTS)]
        for optimizer in OPTIMIZERS:
            ratios, seconds, apart = [], [], 0.0
            for start in starts:
                timed = [[run(problem, optimizer, start) for _ in range(5)] for run in (alone, through)]
                least = [min(seconds for seconds, _ in of_run) for of_run in timed]
                apart = max(apart, float(np.linalg.norm(timed[0][0][1] - timed[1][0][1])))
                ratios.append(least[1] / least[0])
                seconds.append(least[0] / ITERATIONS)
            print(
                f"{name}, {optimizer}: {1e6 * np.median(seconds):.0f} µs alone, {np.median(ratios):.2f} times as much "
                f"through Riemannian (at most {max(ratios):.2f}); the points reached differ by {apart:.0e}"
            )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
