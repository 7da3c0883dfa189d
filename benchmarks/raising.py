"""How well is the stable rank raised? Gaps and times of ``Exact``, on random kernels by size and on hard cases.

    python benchmarks/raising.py [--problems 10] [--seed 0] [--sizes 3 4 … 12] [--channels 20] [--no-hard]

Targets lie 50 to 98 % of the way from a kernel's own stable rank to the largest one. Gaps are given as a part of
``‖C(a)‖_F²``, and of ``⟨a, z⟩`` for unit kernels. Every bound is evaluated again in NumPy from its certificate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import srnc_manifold as srnc


@dataclass(frozen=True)
class Row:
    """What one problem gave."""

    gap: float  # of ‖C(a)‖_F²
    value_gap: float  # of ⟨a, z⟩
    seconds: float
    kind: str


def partway(kernel: np.ndarray, size: int | tuple[int, ...], fraction: float) -> srnc.SRNProblem:
    own = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
    low, high = own.kernel_stable_rank, own.feasible_range[1]
    return srnc.SRNProblem(kernel, size, stable_rank=high if fraction == 1 else low + fraction * (high - low))


def single_channel(n: int, rng: np.random.Generator) -> srnc.SRNProblem:
    """Kernels of one axis on up to 64 points, and of two axes on up to 12×12."""
    shapes = [(k, n // k) for k in range(2, n) if n % k == 0]
    shape: tuple[int, ...] = (n,)
    size: tuple[int, ...] = (int(rng.integers(max(8, n), 65)),)
    if shapes and rng.random() < 0.5:
        shape = shapes[rng.integers(len(shapes))]
        size = tuple(int(k) for k in rng.integers(max(shape) + 1, 13, size=2))
    return partway(rng.standard_normal(shape), size, float(rng.uniform(0.5, 0.98)))


def several_channels(rng: np.random.Generator) -> srnc.SRNProblem:
    """1×2 to 3×2 channels and two or three taps: up to twelve weights."""
    channels = [(1, 2), (2, 1), (2, 2), (2, 3), (3, 2)][rng.integers(5)]
    taps = int(rng.integers(2, 4)) if np.prod(channels) <= 4 else 2
    return partway(rng.standard_normal((*channels, taps)), int(rng.integers(4, 17)), float(rng.uniform(0.5, 0.98)))


def hard_cases() -> Iterator[tuple[str, srnc.SRNProblem]]:
    """A largest stable rank of a dilated kernel, 3×3 kernels at the end of the range and near it, and ten others."""
    yield "dilation, largest", srnc.SRNProblem([1, -1, 1, 1], 11, stable_rank=11, dilation=2)
    for seed in range(3):
        kernel = np.random.default_rng(seed).standard_normal((3, 3))
        for name, fraction in (("largest", 1.0), ("99 % of it", 0.99)):
            high = partway(kernel, 8, 1.0).stable_rank
            yield f"3×3 on 8×8, {name}, seed {seed}", srnc.SRNProblem(kernel, 8, stable_rank=fraction * high)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        kernel = rng.standard_normal((3, 3))
        yield f"3×3 on 8×8, seed {seed}", partway(kernel, 8, float(rng.uniform(0.2, 0.9)))


def measure(problem: srnc.SRNProblem) -> Row:
    start = time.perf_counter()
    result = srnc.solve(problem)
    seconds = time.perf_counter() - start
    assert result.bound is not None
    assert result.gap is not None
    if abs(result.bound.verify(problem) - result.bound.objective) > 1e-12 * problem.squared_norm:
        print(f"  certificate and bound differ: {problem}")
    z = problem.to_sphere(result.kernel)
    value = float(np.sum(problem.direction * z))
    # A difference of ‖C(a)‖² in the objective is one of ‖a‖ / 2ρ in ⟨a, z⟩.
    unit = 0.5 * float(np.linalg.norm(problem.unit_kernel)) / problem.unit_radius
    return Row(max(result.gap, 0.0), max(result.gap, 0.0) * unit / value, seconds, result.bound.kind)


def report(name: str, rows: list[Row]) -> None:
    gaps, value_gaps, seconds = (
        np.array([getattr(row, field) for row in rows]) for field in ("gap", "value_gap", "seconds")
    )
    shares = "   ".join(
        f"{np.mean(gaps <= limit):4.0%} {np.mean(value_gaps <= limit):4.0%}" for limit in (1e-6, 1.001e-4)
    )
    times = f"{np.median(seconds):6.2f} {np.max(seconds):6.2f}"
    print(f"{name:<22} {len(rows):4d}   {shares}   {np.max(gaps):.1e} {np.max(value_gaps):.1e}   {times}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=10, help="of each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(range(3, 13)), help="numbers of weights")
    parser.add_argument("--channels", type=int, default=20, help="problems with several channels")
    parser.add_argument("--no-hard", action="store_true", help="leave the hard cases out")
    options = parser.parse_args()
    measure(partway(np.array([3.0, 1.0, 1.0]), 16, 0.9))  # imports
    print("gaps: of ‖C(a)‖² and of ⟨a, z⟩; times in seconds")
    print(f"{'':<22} {'n':>4}   {'<= 1e-6':>9}   {'<= 1e-4':>9}   {'largest gaps':>15}   median largest")
    for n in options.sizes:
        rng = np.random.default_rng([options.seed, n])
        problems = [single_channel(n, rng) for _ in range(options.problems)]
        report(f"{n} weights", [measure(problem) for problem in problems])
    if options.channels:
        rng = np.random.default_rng([options.seed, 0])
        report("several channels", [measure(several_channels(rng)) for _ in range(options.channels)])
    for name, problem in [] if options.no_hard else hard_cases():
        row = measure(problem)
        print(f"{name:<32} gaps {row.gap:.1e} {row.value_gap:.1e}   {row.seconds:6.2f} s   {row.kind}", flush=True)


if __name__ == "__main__":
    main()
