"""Whole networks: how long does it take to normalize all layers, and how near are the targets in single precision?

    python benchmarks/networks.py P-Net silero-vad          # on the inputs that they are made for
    python benchmarks/networks.py FFDNet --maps 8           # 12 layers with 96 channels, on maps of 8×8
    python benchmarks/networks.py FFDNet --maps 32 --max-time 60

On one thread. Times of layers are by the clock; that of the processor is told below the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from srnc_manifold.problems import networks, pretrained
from threadpoolctl import threadpool_limits

from srnc_manifold.networks import Goal, NetworkLayer, normalize
from srnc_manifold.progress import progress_bar


def layers_of(name: str, maps: int) -> Iterator[NetworkLayer]:
    """The layers of a network, whose new weights are rounded to single precision as those that are given."""
    (source,) = (source for source in pretrained.SOURCES if source.name == name)
    arrays, reason = pretrained.read(source)
    if reason:
        raise SystemExit(f"{name}: {reason}")
    known = {} if name == "FFDNet" else networks.LAYERS[name]
    for key, weight in arrays.items():
        size, words = known.get(key.removesuffix(".weight"), (maps, networks.ZEROS))
        if weight.ndim == 2:
            yield NetworkLayer(key, weight, (), rounded=_single)
        elif weight.ndim > 2:
            yield NetworkLayer(key, weight, size, words, rounded=_single)


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=[source.name for source in pretrained.SOURCES])
    parser.add_argument("--maps", type=int, default=8, help="size of the maps in FFDNet")
    parser.add_argument("--fraction", type=float, default=0.6)
    parser.add_argument("--max-time", type=float, default=None, help="seconds for each layer")
    options = parser.parse_args()
    goal = Goal("stable_rank_fraction", options.fraction)
    for name in options.networks:
        began = time.process_time()
        with threadpool_limits(1), progress_bar() as progress:
            found = normalize(layers_of(name, options.maps), goal, max_time=options.max_time, progress=progress)
        print(f"{name}\n{found}\nprocessor {time.process_time() - began:.0f} s\n")


if __name__ == "__main__":
    main()
