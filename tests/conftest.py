"""Ground truth and problems shared by the tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

import srnc_manifold as srnc

# No deadline: two test processes share two cores. Derandomized: a failure seen once is seen again.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("default")


def dense_operator(kernel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The matrix of the circular convolution by a kernel, column by column from the identity."""
    d = len(size)
    channels = kernel.shape[:2] if kernel.ndim == d + 2 else (1, 1)
    taps = kernel.shape[kernel.ndim - d :]
    blocks = kernel.reshape(*channels, *taps)
    n_points = int(np.prod(size))
    matrix = np.zeros((channels[0] * n_points, channels[1] * n_points))
    for column, unit in enumerate(np.eye(channels[1] * n_points)):
        image = unit.reshape(channels[1], *size)
        out = np.zeros((channels[0], *size))
        for tap in np.ndindex(*taps):
            shifted = np.roll(image, tap, axis=tuple(range(1, d + 1)))
            out += np.tensordot(blocks[(slice(None), slice(None), *tap)], shifted, axes=1)
        matrix[:, column] = out.ravel()
    return matrix


@pytest.fixture
def dense():
    return dense_operator


@pytest.fixture
def paper():
    """The paper's instance for a target stable rank."""
    return lambda stable_rank: srnc.SRNProblem([1, 0, 0], 64, stable_rank=stable_rank)


@pytest.fixture
def random_problem():
    """A seeded problem whose target lies a fraction of the way from the least feasible to the kernel's own."""

    def make(shape, size, fraction=0.5, seed=0):
        return srnc.partway(np.random.default_rng(seed).standard_normal(shape), size, fraction)

    return make
