"""Random Gaussian kernels in 1-D and 2-D with a fixed seed. Most targets reduce the stable rank, two raise it."""

from collections.abc import Iterator

import numpy as np

from srnc_manifold import NamedProblem, SRNProblem, partway

SHAPES = {
    "3 taps on 16": ((3,), (16,)),
    "5 taps on 33": ((5,), (33,)),
    "9 taps on 64": ((9,), (64,)),
    "3×3 on 16×16": ((3, 3), (16, 16)),
    "5×5 on 12×15": ((5, 5), (12, 15)),
    "2×3 channels, 3 taps on 16": ((2, 3, 3), (16,)),
}


def problems(seed: int = 0) -> Iterator[NamedProblem]:
    rng = np.random.default_rng(seed)
    for label, (shape, size) in SHAPES.items():
        kernel = rng.standard_normal(shape)
        half = partway(kernel, size, 0.5)
        yield NamedProblem(f"random {label}", half, note="target halfway to the least feasible stable rank")
        if len(size) == 1 and shape[0] in (5, 9):
            raised = SRNProblem(kernel, size, stable_rank=(half.kernel_stable_rank + half.feasible_range[1]) / 2)
            yield NamedProblem(f"random {label}, raised", raised, note="target halfway to the largest stable rank")
