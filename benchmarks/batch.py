"""Many kernels at once: how fast, compared with the least that must be done, and with one after the other.

    python benchmarks/batch.py                  # every section, about five minutes
    python benchmarks/batch.py yardstick layers # some of them

Times are ratios of two measured in turn in the same run, on one thread; the median of the pairs. On a GPU, where there
is one, they are absolute. Figures of a quiet machine: benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sections import run

import srnc_manifold as srnc
from srnc_manifold.backends import NUMPY
from srnc_manifold.operators import autocorrelation

COUNT, SIZE = 10_000, (64, 64)
FRACTIONS = (0.3, 0.6, 0.9)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
CHUNK = 250  # kernels whose squared norms stay in the cache


def seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def paired(function: Callable[[], Any], reference: Callable[[], Any], repeats: int = 15) -> float:
    """Median ratio of the times of two functions, called in turn."""
    function()
    reference()
    return float(np.median([seconds(function) / seconds(reference) for _ in range(repeats)]))


def libraries(kernels: np.ndarray, only: str) -> dict[str, tuple[Any, Callable[[Any], np.ndarray]]]:
    """The same kernels in the libraries and on the devices there are, and how to bring their arrays to the host."""
    found: dict[str, tuple[Any, Callable[[Any], np.ndarray]]] = {"NumPy": (kernels, np.asarray)}
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]:
            given = torch.tensor(kernels, device=device)
            found[f"torch on {device}"] = given, lambda tensor: tensor.cpu().numpy()
    return {name: library for name, library in found.items() if only in name}


def yardstick(kernels: np.ndarray) -> Callable[[], np.ndarray]:
    """The least that norms of 3×3 kernels take: one product and one maximum, in a buffer that stays in the cache."""
    geometry = srnc.Geometry.of(kernels.shape[1:], SIZE)
    rows, cosines = autocorrelation.of(kernels, geometry, NUMPY)[:, 0], autocorrelation.lags(geometry).cosines
    buffer, largest = np.empty((CHUNK, cosines.shape[1])), np.empty(len(kernels))

    def run() -> np.ndarray:
        for first in range(0, len(kernels), CHUNK):
            np.matmul(rows[first : first + CHUNK], cosines, out=buffer)
            largest[first : first + CHUNK] = buffer.max(axis=1)
        return largest

    return run


def norms_and_solutions(only: str) -> None:
    """10,000 kernels of 3×3 on 64×64 against the product and the maximum that their norms take at least."""
    kernels = np.random.default_rng(0).standard_normal((COUNT, 3, 3))
    least = yardstick(kernels)
    print(f"the yardstick: {1e3 * min(seconds(least) for _ in range(10)):.1f} ms")
    for name, (given, to_host) in libraries(kernels, only).items():

        def norms(given: Any = given, to_host: Any = to_host) -> Any:
            return to_host(srnc.spectral_norms(given, SIZE))

        print(f"{name}: spectral_norms {paired(norms, least):.2f} times as long")
        for fraction in FRACTIONS:

            def solve(given: Any = given, fraction: float = fraction, to_host: Any = to_host) -> np.ndarray:
                return to_host(srnc.solve_batch(given, SIZE, stable_rank_fraction=fraction, clip=True).gaps)

            gap = float(solve().max())
            print(f"{name}: solve_batch, fraction {fraction}: {paired(solve, least):.1f} times, largest gap {gap:.1e}")


def millions(_only: str) -> None:
    """A million kernels of 3×3 on 64×64: time for one of them, and memory, each count in a process of its own."""
    code = (
        "import numpy as np, resource, sys, time, srnc_manifold as srnc\n"
        "count = int(sys.argv[1])\n"
        "kernels = np.random.default_rng(0).standard_normal((count, 3, 3)).astype(np.float32)\n"
        "srnc.solve_batch(kernels[:1000], (64, 64), stable_rank_fraction=0.9, clip=True)\n"
        "times = []\n"
        "for _ in range(max(1, 10**5 // count)):\n"
        "    began = time.perf_counter()\n"
        "    result = srnc.solve_batch(kernels, (64, 64), stable_rank_fraction=0.9, clip=True)\n"
        "    times.append((time.perf_counter() - began) / count)\n"
        "each = np.median(times)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20\n"
        "gap = result.gaps.max()\n"
        "print(f'{count:8} kernels: {1e6 * each:.2f} µs each, peak memory {peak:.2f} GiB, largest gap {gap:.1e}')\n"
    )
    for count in (10_000, 100_000, 1_000_000, 10_000):
        subprocess.run([sys.executable, "-c", code, str(count)], check=True, env=os.environ | ONE_THREAD)


def layers(only: str) -> None:
    """Layers of one shape against one after the other: time, and the largest differences."""
    cases: dict[str, tuple[int, tuple[int, ...], Any, dict[str, Any]]] = {
        "16×16×3×3 on 16×16": (64, (16, 16, 3, 3), (16, 16), {}),
        "64×64×3×3 on 32×32": (8, (64, 64, 3, 3), (32, 32), {}),
        "16×16×3×3 on 16×16, stride 2": (32, (16, 16, 3, 3), (16, 16), {"stride": 2}),
        "16×8×3×3 on 16×16, 2 groups": (32, (16, 8, 3, 3), (16, 16), {"groups": 2}),
        "16×16×3×3 on 16×16, dilation 2": (32, (16, 16, 3, 3), (16, 16), {"dilation": 2}),
    }
    for name, (count, shape, size, layout) in cases.items():
        kernels = np.random.default_rng(0).standard_normal((count, *shape))
        single: list[srnc.Result] = []

        def one_by_one(kernels: Any = kernels, size: Any = size, layout: Any = layout, single: Any = single) -> None:
            single[:] = [
                srnc.solve(srnc.SRNProblem(k, size, stable_rank_fraction=0.7, clip=True, **layout)) for k in kernels
            ]

        one_by_one()
        scale = np.array([srnc.frobenius_norm(k, size, **layout) ** 2 for k in kernels])
        objectives = np.array([result.evaluation.objective for result in single])
        bounds = np.array([result.bound.objective for result in single])
        for library, (given, to_host) in libraries(kernels, only).items():

            def at_once(given: Any = given, size: Any = size, layout: Any = layout) -> srnc.BatchResult:
                return srnc.solve_batch(given, size, stable_rank_fraction=0.7, clip=True, **layout)

            batch = at_once()
            ratio = paired(at_once, one_by_one, 5)
            pairs = ((objectives, batch.objectives), (bounds, batch.bounds))
            apart = [np.max(np.abs(a - to_host(b)) / scale) for a, b in pairs]
            print(
                f"{count} × {name}, {library}: {ratio:.2f} times, objectives differ by {apart[0]:.1e}, "
                f"bounds by {apart[1]:.1e}",
                flush=True,
            )


def device(_only: str) -> None:
    """On a GPU: kernels a second, and the share of a copy's bandwidth that writing their squared norms would take."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed")
        return
    import torch

    if not torch.cuda.is_available():
        print("no GPU here")
        return
    print(torch.cuda.get_device_name())
    source = torch.empty(1 << 27, dtype=torch.float64, device="cuda")
    target = torch.empty_like(source)

    def timed(function: Callable[[], Any]) -> float:
        def whole() -> None:
            function()
            torch.cuda.synchronize()

        whole()
        return min(seconds(whole) for _ in range(5))

    bandwidth = 2 * source.numel() * 8 / timed(lambda: target.copy_(source))
    for count in (10_000, 100_000, 1_000_000):
        kernels = torch.randn(count, 3, 3, dtype=torch.float64, device="cuda")
        norms = timed(partial(srnc.spectral_norms, kernels, SIZE))
        whole = timed(partial(srnc.solve_batch, kernels, SIZE, stable_rank_fraction=0.9, clip=True))
        share = count * srnc.Geometry.of((3, 3), SIZE).n_blocks * 8 * 2 / norms / bandwidth
        print(
            f"{count} kernels: {count / norms:.3g} norms a second ({share:.0%} of {bandwidth / 1e9:.0f} GB/s), "
            f"{count / whole:.3g} solutions a second"
        )


SECTIONS: dict[str, Callable[[str], None]] = {
    "yardstick": norms_and_solutions,
    "millions": millions,
    "layers": layers,
    "device": device,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the names of the libraries: NumPy, cpu, cuda")
    run(parser, SECTIONS, lambda name, options: SECTIONS[name](options.only))


if __name__ == "__main__":
    main()
