"""Is the explicit solution ever beaten? Against the best of 60 SLSQP starts, on random and structured kernels.

    python benchmarks/optimality.py [--problems 200] [--starts 60] [--jobs 2]

Every start that holds its constraints to 1e-8 counts. Such a start may still undercut the optimum: close to the least
feasible stable rank the objective changes by far more than a constraint is violated. So the best start is compared both
as found and after it has been moved the rest of the way onto the feasible set. A line is printed for each problem on
which the explicit solution is worse by more than 1e-7 of ‖C(a)‖².
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import joblib
import numpy as np

import srnc_manifold as srnc


@dataclass(frozen=True)
class Case:
    kernel: np.ndarray
    input_size: tuple[int, ...]
    stable_rank: float


def random_case(rng: np.random.Generator, symmetric: bool) -> Case:
    """A single-channel kernel in 1-D (up to 64 points) or 2-D (up to 16×16), with a target that reduces."""
    while True:
        if rng.random() < 0.5:
            size: tuple[int, ...] = (int(rng.integers(2, 65)),)
            taps: tuple[int, ...] = (int(rng.integers(2, min(9, size[0]) + 1)),)
        else:
            size = tuple(int(n) for n in rng.integers(2, 17, size=2))
            taps = tuple(int(rng.integers(1 + (s == 0), min(4, n) + 1)) for s, n in enumerate(size))
        kernel = rng.standard_normal(taps)
        if symmetric:
            kernel = kernel + rng.choice([-1, 1]) * kernel[tuple(slice(None, None, -1) for _ in taps)]
        if not np.any(kernel):
            continue
        low = np.prod(size) / kernel.size
        own = float(srnc.stable_rank(kernel, size))
        if own > low * 1.001:
            return Case(kernel, size, float(low + rng.uniform(0.02, 0.98) * (own - low)))


def compare(case: Case, n_starts: int, seed: int) -> tuple[float, float, float, int]:
    """(excess of ours over the best start as found; the same once it is restored; our violation; starts that count)."""
    problem = srnc.SRNProblem(case.kernel, case.input_size, stable_rank=case.stable_rank)
    ours = srnc.solve(problem).evaluation
    theirs = srnc.solve(problem, srnc.solvers.MultiStart("SLSQP", n_starts=n_starts), rng=seed)
    costs = [s["cost"] for s in theirs.details["starts"] if s["violation"] <= 1e-8]
    best = min(costs, default=np.inf)
    restored = theirs.restored.objective if theirs.restored is not None and costs else np.inf
    excess = (ours.objective - np.array([best * problem.squared_norm, restored])) / problem.squared_norm
    return float(excess[0]), float(excess[1]), ours.violation, len(costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200, help="of each kind")
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    for kind, symmetric in (("random", False), ("symmetric or antisymmetric", True)):
        rng = np.random.default_rng(int(symmetric))
        cases = [random_case(rng, symmetric) for _ in range(options.problems)]
        rows = joblib.Parallel(n_jobs=options.jobs)(
            joblib.delayed(compare)(case, options.starts, seed) for seed, case in enumerate(cases)
        )
        as_found, restored, violation, counted = map(np.array, zip(*rows, strict=True))
        print(f"{kind}: {len(cases)} problems, our largest violation {np.max(violation):.1e}")
        print(f"  no start feasible to 1e-8 on {np.sum(counted == 0)}")
        for label, excess in (("best start as found", as_found), ("best start restored", restored)):
            for k in np.flatnonzero(excess > 1e-7):
                print(f"    worse by {excess[k]:.2e}: {cases[k]}")
            print(
                f"  against the {label}: worse on {np.sum(excess > 1e-7)}, "
                f"equal within 1e-7 on {np.sum(np.abs(excess) <= 1e-7)}, better on {np.sum(excess < -1e-7)}; "
                f"largest excess {np.max(excess):.1e}"
            )


if __name__ == "__main__":
    main()
