"""The problems of the study of SRN-C.

The paper's experiment (section 2.2): random kernels of shape (1, 1, 3, 3) on N × N points, with those of the targets
``β N²`` that are feasible. And cases for the repairs: random 3×3 kernels with targets between the least feasible stable
rank and the kernel's own.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import NamedProblem, SRNProblem, partway

SIZES = (8, 16, 32, 64)
BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
KERNELS = 3
CASES = 300

#: Sizes of the cases, which take turns.
CASE_SIZES = (16, 32)


def kernel(number: int) -> NDArray[np.float64]:
    """One of the kernels of the paper's experiment."""
    return np.random.default_rng(number).standard_normal((1, 1, 3, 3))


def target_name(number: int, size: int, beta: float) -> str:
    """The name of a problem of the paper's experiment."""
    return f"kernel {number} on {size}×{size}, β = {beta:g}"


def case_size(case: int) -> int:
    """The size of the input of a case."""
    return CASE_SIZES[case % len(CASE_SIZES)]


def case_name(case: int) -> str:
    """The name of the problem of a case."""
    return f"case {case} on {case_size(case)}×{case_size(case)}"


def names() -> set[str]:
    """The names that problems of this family have, without making any."""
    targets = {target_name(number, size, beta) for number in range(KERNELS) for size in SIZES for beta in BETAS}
    return targets | {case_name(case) for case in range(CASES)}


def problems() -> Iterator[NamedProblem]:
    for size in SIZES:
        for beta in BETAS:
            for number in range(KERNELS):
                given = kernel(number)
                low, high = SRNProblem(given, (size, size), stable_rank_fraction=1.0).feasible_range
                if beta * high >= low:
                    problem = SRNProblem(given, (size, size), stable_rank=beta * high)
                    yield NamedProblem(target_name(number, size, beta), problem)
    for case in range(CASES):
        rng, n = np.random.default_rng(case), case_size(case)
        yield NamedProblem(case_name(case), partway(rng.standard_normal((3, 3)), (n, n), rng.uniform(0.02, 0.98)))
