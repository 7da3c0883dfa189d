"""Where a product with the phases stops being cheaper than an FFT: the ratio of their times over the number of taps.

    python benchmarks/symbol.py

Both are timed in one run on one thread; ``_by_product`` in ``srnc_manifold/operators/symbol.py`` switches where the
ratio passes one on most grids.
"""

from __future__ import annotations

import timeit
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry

CASES: list[tuple[Any, ...]] = [
    ((1, 1), (256,), [(k,) for k in (3, 9, 17, 33, 49, 65, 129)]),
    ((64, 64), (64,), [(k,) for k in (3, 9, 17, 33, 49, 64)]),
    ((1, 1), (32, 32), [(k, k) for k in (3, 5, 7, 9, 11)]),
    ((16, 16), (32, 32), [(k, k) for k in (3, 5, 7, 9, 11)]),
    ((8, 8), (16, 16, 16), [(k, k, k) for k in (2, 3, 4, 5)]),
]


def seconds(kernel: np.ndarray, geometry: Geometry, by_product: bool) -> float:
    """Least time of one call, by a product or by an FFT."""
    symbol._by_product = lambda geometry: by_product  # noqa: ARG005 - the name is part of its type
    timer = timeit.Timer(lambda: symbol.of(kernel, geometry))
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number


def main() -> None:
    rng = np.random.default_rng(0)
    print("channels   grid           taps: time of the product / time of the FFT")
    with threadpool_limits(1):
        for channels, grid, sizes in CASES:
            ratios = []
            for taps in sizes:
                shape = (*channels, *taps)
                kernel, geometry = rng.standard_normal(shape), Geometry.of(shape, grid)
                ratio = seconds(kernel, geometry, True) / seconds(kernel, geometry, False)
                ratios.append(f"{np.prod(taps)}: {ratio:.2f}")
            print(f"{'×'.join(map(str, channels)):10} {'×'.join(map(str, grid)):14} {',  '.join(ratios)}")


if __name__ == "__main__":
    main()
