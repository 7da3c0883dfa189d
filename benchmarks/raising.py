"""How well is the stable rank raised? Values, certified bounds and times on random kernels.

    python benchmarks/raising.py [--problems 200] [--seed 0] [--starts 10] [--seconds 10]

Targets lie 5 to 98 % of the way from a kernel's own stable rank to the largest one. Gaps are (bound − value) / value in
``⟨a, z⟩`` of unit kernels; every bound is certified, that is, evaluated again in NumPy from its stored dual points.
Branch and bound has the given seconds for a problem, all other work included.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

import srnc_manifold as srnc
from srnc_manifold.certificates import ball
from srnc_manifold.exact.increase import search as raising

TIGHT = 1e-6


@dataclass(frozen=True)
class Row:
    """One problem: before branch and bound, and after it where there was one."""

    kind: str
    size: int
    tight: bool
    gap: float
    closed: float | None
    n_regions: int
    seconds: float
    seconds_branching: float


def random_problem(rng: np.random.Generator) -> tuple[str, srnc.SRNProblem]:
    """1-D kernels of 3 to 9 taps on 8 to 64 points (half of them), small 2-D ones, and ones of 2×2 to 3×3 channels."""
    draw = rng.random()
    shape: tuple[int, ...]
    size: tuple[int, ...]
    if draw < 0.5:
        q = int(rng.integers(3, 10))
        kind, shape, size = "1-D", (q,), (int(rng.integers(max(8, q), 65)),)
    elif draw < 0.75:
        shape = tuple(int(n) for n in rng.integers(2, 4, size=2))
        kind, size = "2-D", tuple(int(n) for n in rng.integers(6, 17, size=2))
    else:
        channels = tuple(int(n) for n in rng.integers(2, 4, size=2))
        kind, shape, size = "channels", (*channels, int(rng.integers(2, 4))), (int(rng.integers(6, 17)),)
    kernel = rng.standard_normal(shape)
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    target = own.kernel_stable_rank + rng.uniform(0.05, 0.98) * (own.feasible_range[1] - own.kernel_stable_rank)
    return kind, srnc.SRNProblem(kernel, size, stable_rank=target)


def measure(kind: str, problem: srnc.SRNProblem, n_starts: int, seconds: float) -> Row:
    a, geometry, c = problem.direction, problem.geometry, problem.target_gain

    def run(branching_size: int) -> tuple[raising.RaiseOutcome, float]:
        start = time.perf_counter()
        found = raising.raise_gain(
            a,
            geometry,
            c,
            n_starts=n_starts,
            rng=np.random.default_rng(0),
            branching_size=branching_size,
            max_regions=10**6,
            keep_going=lambda: time.perf_counter() - start < seconds,
        )
        elapsed = time.perf_counter() - start
        if abs(problem.gain(found.z) / c - 1) > 1e-9:
            print(f"  gain off by {problem.gain(found.z) / c - 1:.1e}: {problem}")
        if (
            ball.certified_bound(found.kind, found.arrays, a, geometry, c) != found.bound
            or found.bound < found.value - 1e-9
        ):
            print(f"  bound {found.bound} of {found.value} is not one: {problem}")
        return found, elapsed

    found, elapsed = run(0)
    gap = (found.bound - found.value) / found.value
    tight = found.bound - found.value <= TIGHT
    if tight or a.size > 9:
        return Row(kind, a.size, tight, gap, None, 0, elapsed, 0.0)
    branched, longer = run(9)
    return Row(
        kind,
        a.size,
        tight,
        gap,
        (branched.bound - branched.value) / branched.value,
        branched.n_regions,
        elapsed,
        longer,
    )


def quantiles(values: list[float]) -> str:
    return "  ".join(f"{q:.0%} {np.quantile(values, q):.1e}" for q in (0.1, 0.25, 0.5, 0.75, 0.9, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=10, help="of the local method")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most, for each problem")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    problems = [random_problem(rng) for _ in range(options.problems)]
    rows = [measure(kind, problem, options.starts, options.seconds) for kind, problem in problems]
    for kind in ("1-D", "2-D", "channels"):
        of_kind = [row for row in rows if row.kind == kind]
        if not of_kind:
            continue
        tight, rest = [row for row in of_kind if row.tight], [row for row in of_kind if not row.tight]
        print(f"{kind}: {len(of_kind)} problems, {len(tight)} certified to {TIGHT:g} by a relaxation alone")
        if tight:
            print(f"  these took {np.median([row.seconds for row in tight]):.2g} s (median)")
        if rest:
            print(f"  relative gap of the other {len(rest)}: {quantiles([row.gap for row in rest])}")
            print(f"  these took {np.median([row.seconds for row in rest]):.2g} s (median)")
    print("branch and bound, kernels of up to 9 entries:")
    for size in range(2, 10):
        of_size = [row for row in rows if row.size == size and row.closed is not None]
        if of_size:
            gaps = [row.closed for row in of_size if row.closed is not None]
            closed, regions = sum(gap <= 1.001e-4 for gap in gaps), np.median([row.n_regions for row in of_size])
            print(
                f"  {size} entries: {closed} of {len(of_size)} closed to 1e-4, largest gap left {max(gaps):.1e} "
                f"(before: {max(row.gap for row in of_size):.1e}), regions {regions:.0f} "
                f"(median), {np.median([row.seconds_branching for row in of_size]):.2g} s (median)"
            )


if __name__ == "__main__":
    main()
