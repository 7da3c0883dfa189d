"""Does the alternation miss an atom? Against trust regions on a product of two spheres, from five starts in each block.

    python benchmarks/products.py                  # fifty instances, a line each, half a minute
    python benchmarks/products.py --random 2000    # and as many structured ones, of which only misses are shown

Differences of objectives are parts of ‖C(a)‖²: positive where the alternation is better. "Lemma" searches the blocks
that the Lemma does not exclude, "all" every block with caps. Times are those over Exact's, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc
from srnc_manifold.solvers import AtomSearch

SIZES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2, 2, 3), (8,)),
    ((2, 3, 4), (9,)),
    ((4, 3, 3), (7,)),
    ((3, 2, 2, 2), (4, 5)),
    ((2, 2, 3, 3), (6, 5)),
    ((4, 4, 3), (10,)),
    ((3, 3, 2, 2), (4, 4)),
]
KINDS = ("random", "symmetric", "antisymmetric")
MISSED = 1e-7


def fifty() -> Iterator[tuple[str, srnc.SRNProblem]]:
    """Kernels of two to four channels on small grids, targets across the range, and the built counterexample."""
    kernel = np.zeros((2, 2, 5))
    kernel[0, 0] = (-0.4982, 0.2765, 0, -0.2765, 0.4982)
    kernel[1, 1] = (0.1833, -0.2649, 0.294, -0.2649, 0.1833)
    yield "built", srnc.SRNProblem(kernel, 7, stable_rank=7 / 3.0609)
    for number in range(1, 50):
        rng = np.random.default_rng(number)
        shape, size = SIZES[number % len(SIZES)]
        kernel = rng.standard_normal(shape)
        kernel = kernel + (0, 1, -1)[number % 3] * np.flip(kernel, axis=tuple(range(2, kernel.ndim)))
        yield KINDS[number % 3], srnc.partway(kernel, size, rng.uniform(0.02, 0.98))


def structured(count: int) -> Iterator[tuple[str, srnc.SRNProblem]]:
    """Random, symmetric channel by channel, diagonal, or sparse kernels; some with a stride."""
    done, seed = 0, 10_000
    while done < count:
        seed += 1
        rng = np.random.default_rng(seed)
        taps = tuple(int(k) for k in (rng.integers(2, 7, 1) if rng.random() < 0.6 else rng.integers(2, 4, 2)))
        size = tuple(int(rng.integers(k, 12 if len(taps) == 1 else 7)) for k in taps)
        channels = tuple(int(n) for n in rng.integers(2, 5, 2))
        stride = 2 if len(taps) == 1 and size[0] % 2 == 0 and rng.random() < 0.5 else 1
        kernel, kind = _structured(rng, channels, taps)
        if not np.any(kernel):
            continue
        problem = srnc.partway(kernel, size, rng.uniform(0.01, 0.99), stride=stride)
        if AtomSearch().supports(problem)[0]:
            done += 1
            yield kind, problem


def _structured(rng: np.random.Generator, channels: tuple[int, ...], taps: tuple[int, ...]) -> tuple[np.ndarray, str]:
    kernel = rng.standard_normal((*channels, *taps))
    kind = ("random", "symmetric channels", "diagonal", "sparse")[rng.integers(4)]
    if kind in ("symmetric channels", "diagonal"):
        signs = rng.choice([-1, 1], channels).reshape(*channels, *[1] * len(taps))
        kernel = kernel + signs * np.flip(kernel, axis=tuple(range(2, kernel.ndim)))
    if kind == "diagonal":
        weights = np.eye(channels[0], channels[1]) * rng.uniform(0.2, 1, channels)
        kernel = kernel * weights.reshape(*channels, *[1] * len(taps))
    return (kernel * (rng.random(kernel.shape) < 0.4), kind) if kind == "sparse" else (kernel, kind)


def compare(problem: srnc.SRNProblem, solver: AtomSearch) -> tuple[float, float, srnc.Result]:
    """How much worse the atom search is, its time over that of the certified solution, and its result."""
    began = time.perf_counter()
    exact = srnc.solve(problem)
    middle = time.perf_counter()
    found = srnc.solve(problem, solver, rng=0)
    ratio = (time.perf_counter() - middle) / (middle - began)
    return (found.evaluation.objective - exact.evaluation.objective) / problem.squared_norm, ratio, found


def table() -> None:
    print(f"{'kernel':>14} {'shape':>14} {'grid':>7} {'target':>7} | {'objective':>9} | ", end="")
    print(f"{'Lemma':>8} {'blocks':>6} {'evals':>5} {'time':>5} | {'all':>8} {'blocks':>6} {'evals':>5} {'time':>5}")
    differences, ratios = [], []
    for kind, problem in fifty():
        shape, grid = ("×".join(map(str, sizes)) for sizes in (problem.kernel.shape, problem.input_size))
        low = problem.feasible_range[0]
        place = (problem.stable_rank - low) / (problem.kernel_stable_rank - low)
        line = f"{kind:>14} {shape:>14} {grid:>7} {place:7.2f} | "
        for every in (False, True):
            difference, ratio, found = compare(problem, AtomSearch(every_block=every))
            differences.append(difference)
            ratios.append(ratio)
            line += "" if every else f"{found.evaluation.objective / problem.squared_norm:9.5f} | "
            line += f"{difference:8.0e} {found.details['blocks_searched']:6} {found.n_evaluations:5} {ratio:4.0f}× "
            line += "" if every else "| "
        print(line)
    print(f"\nlargest difference {np.max(np.abs(differences)):.0e}; ", end="")
    print(f"times over those of Exact, medians: {np.median(ratios[::2]):.0f}× and {np.median(ratios[1::2]):.0f}×")


def hunt(count: int) -> None:
    misses, largest = 0, 0.0
    for kind, problem in structured(count):
        difference, _, found = compare(problem, AtomSearch())
        largest = max(largest, abs(difference))
        if abs(difference) > MISSED or found.evaluation.violation > MISSED:
            misses += 1
            better = "alternation" if difference > 0 else "atom search"
            print(f"{kind}: {better} is better by {abs(difference):.1e}, violation {found.evaluation.violation:.0e}")
            print(f"  {problem!r}, kernel {problem.kernel.tolist()}")
    print(f"{count} structured kernels: {misses} misses, largest difference {largest:.0e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=0, help="structured kernels beside the fifty")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        table()
        if arguments.random:
            hunt(arguments.random)
