"""The problems of the study of formulations: the paper's instance, and random kernels in 1-D, 2-D and with channels.

The targets of the random kernels are at 0.3 and 0.7 of the way from the least feasible stable rank to the kernel's own,
and halfway from there to the largest one.
"""

from collections.abc import Iterator

import numpy as np

from srnc_manifold import NamedProblem, SRNProblem, partway

PAPER_TARGETS = (32.0, 128 / 3)
SHAPES = (((5,), (24,)), ((3, 3), (12, 12)), ((2, 3), (9, 8)), ((2, 2, 3), (16,)), ((3, 2, 3, 3), (6, 6)))


def problems() -> Iterator[NamedProblem]:
    for target in PAPER_TARGETS:
        yield NamedProblem(f"paper r={target:.4g}", SRNProblem([1.0, 0.0, 0.0], 64, stable_rank=target))
    rng = np.random.default_rng(0)
    for shape, size in SHAPES:
        kernel = rng.standard_normal(shape)
        name = f"{'×'.join(map(str, shape))} on {'×'.join(map(str, size))}"
        for fraction in (0.3, 0.7):
            yield NamedProblem(f"{name}, reduce {fraction}", partway(kernel, size, fraction))
        yield NamedProblem(f"{name}, raise 0.5", partway(kernel, size, 0.5, increase=True))
