"""Hard cases: ties, targets near both ends of the feasible range, adverse channels, strides and dilations."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import NamedProblem, partway

#: How near to an end of the feasible range, as a part of it.
NEAR = 0.01


def adverse(seed: int, diagonal: bool = False) -> NDArray[np.float64]:
    """A kernel of shape (2, 2, 5), each of whose pairs of channels is symmetric or antisymmetric.

    The alternation of the explicit solution has saddles there. With ``diagonal``, the channels do not mix.
    """
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((2, 2, 5))
    kernel = kernel + rng.choice([-1, 1], (2, 2, 1)) * kernel[..., ::-1]
    if diagonal:
        kernel[[0, 1], [1, 0]] = 0.0
    return kernel


def ties() -> Iterator[NamedProblem]:
    """Several frequencies, or directions of one block, whose atoms are equally near: several minimizers."""
    delta = np.pad([[1.0]], 1)
    yield NamedProblem("tie: delta 3×3 on 16×16", partway(delta, (16, 16), 0.5), note="four real frequencies tie")
    two = np.array([1.0, 0.0, 0.0, 0.0, -1.0])
    yield NamedProblem("tie: 1 − shift by 4 on 32", partway(two, 32, 0.5), note="several frequencies tie")
    identity = np.zeros((3, 3, 3))
    identity[:, :, 1] = np.eye(3)
    yield NamedProblem("tie: identity of 3 channels on 12", partway(identity, 12, 0.5), note="every direction ties")
    almost = np.array([1.0, 1e-9, 0.0])
    yield NamedProblem("tie: almost, (1, 1e-9, 0) on 64", partway(almost, 64, 0.5), note="DC and Nyquist almost tie")


def ends() -> Iterator[NamedProblem]:
    """Targets near the least stable rank, the kernel's own and the largest."""
    rng = np.random.default_rng(1)
    for shape, size in (((5,), (24,)), ((3, 3), (8, 9)), ((2, 2, 3), (10,))):
        kernel = rng.standard_normal(shape)
        name = f"{'×'.join(map(str, shape))} on {'×'.join(map(str, size))}"
        yield NamedProblem(f"end: {name}, least", partway(kernel, size, NEAR), note="near the least stable rank")
        yield NamedProblem(f"end: {name}, own", partway(kernel, size, 1 - NEAR), note="near the kernel's own")
        raised = partway(kernel, size, 1 - NEAR, increase=True)
        yield NamedProblem(f"end: {name}, largest", raised, note="near the largest stable rank")


def channels() -> Iterator[NamedProblem]:
    """Symmetric and antisymmetric pairs of channels."""
    for seed in range(4):
        diagonal = seed % 2 == 1
        name = f"adverse: {'diagonal' if diagonal else 'full'} channels {seed} on 12"
        yield NamedProblem(name, partway(adverse(seed, diagonal), 12, 0.4), note="saddles of the alternation")


def strides() -> Iterator[NamedProblem]:
    """Layers that keep every second output, or skip taps: few and large blocks."""
    rng = np.random.default_rng(2)
    for shape, size, layout in (
        ((1, 1, 5), (24,), {"stride": 2}),
        ((2, 3, 3, 3), (8, 8), {"stride": 2}),
        ((2, 2, 3, 3), (9, 12), {"stride": (3, 2), "dilation": 2}),
        ((4, 1, 3, 3), (8, 8), {"groups": 4, "stride": 2}),
    ):
        words = ", ".join(f"{name} {value}" for name, value in layout.items())
        name = f"{words}: {'×'.join(map(str, shape))} on {'×'.join(map(str, size))}"
        yield NamedProblem(name, partway(rng.standard_normal(shape), size, 0.4, **layout))


def problems() -> Iterator[NamedProblem]:
    for kind in (ties, ends, channels, strides):
        yield from kind()
