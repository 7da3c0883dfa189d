"""Alternation by products alone, on a device: as good as by decompositions, and without questions to the device."""

import numpy as np
import pytest
import torch
from questions import Questions
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.exact.reduce import alternation, rounds
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry

GEOMETRIES = [
    Geometry.of((4, 4, 3), 8),
    Geometry.of((16, 15, 3), 8),
    Geometry.of((3, 4, 3, 3), (8, 6), dilation=2),
    Geometry.of((6, 2, 3), 8, groups=2, stride=2),
]
LIBRARIES = ["numpy", "torch"]


def blocks_of(geometry, library, fraction=0.6, count=4):
    """All blocks of some kernels, whose levels lie between their gains and the largest there is."""
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((count, *geometry.kernel_shape))
    kernels /= np.sqrt(np.sum(kernels.reshape(count, -1) ** 2, axis=1)).reshape(-1, *[1] * (kernels.ndim - 1))
    frame, n = atoms.frame(geometry), geometry.n_blocks
    gains = np.array([norms.gain(kernel, geometry) for kernel in kernels])
    levels = np.repeat(gains + fraction * (frame.top.max() - gains), n)
    matrices = (
        np.concatenate([symbol.of(kernel, geometry) for kernel in kernels]) * np.tile(frame.turns, (count, 1))[:, None]
    )
    upper, lower = (np.tile(part, (count, 1)) for part in (frame.upper, frame.lower))
    level = atoms.Level(levels, 0.0 * levels)
    if library == "torch":
        arrays = [torch.tensor(part) for part in (matrices, upper, lower, levels)]
        return alternation.Blocks(arrays[0], arrays[1], arrays[2], atoms.as_level(arrays[3]), xp=namespace("torch"))
    return alternation.Blocks(matrices, upper, lower, level)


@pytest.mark.parametrize("geometry", some(GEOMETRIES), ids=str)
@pytest.mark.parametrize("library", LIBRARIES)
def test_no_distance_grows_and_the_nearest_is_as_near_as_by_decompositions(geometry, library):
    blocks = blocks_of(geometry, library)
    first = rounds.start(blocks)
    _, distances = rounds.alternate(blocks, first)
    start, end = (blocks.xp.to_numpy(part) for part in (blocks.squared_distances(first), distances))
    filled = np.isfinite(start)
    assert filled.mean() > 0.3
    assert np.all(end[filled] <= start[filled] + 1e-13)  # rounding
    assert np.array_equal(np.isfinite(end), filled)
    host = blocks.on_host()
    exact = alternation.alternate(host, blocks.xp.to_numpy(first))[1]
    count = geometry.n_blocks
    # Rounds end after a hundred, where products converge slowly: what is left is for the host.
    for k in range(0, len(end), count):
        assert np.min(end[k : k + count]) == pytest.approx(np.min(exact[k : k + count]), abs=1e-3)


@pytest.mark.parametrize("geometry", some(GEOMETRIES, 1), ids=str)
def test_the_host_asks_once_in_25_rounds(geometry, monkeypatch):
    rounds_done, improved = [], rounds.improved_atoms

    def counted(*args):
        rounds_done.append(len(args[1]))
        return improved(*args)

    blocks = blocks_of(geometry, "torch")
    w = rounds.start(blocks)
    monkeypatch.setattr(rounds, "improved_atoms", counted)
    with Questions() as questions:
        rounds.alternate(blocks, w)
    assert rounds.ROUNDS == 25
    assert len(rounds_done) % 25 == 0
    assert 0 < questions.count <= len(rounds_done) // 25
    assert rounds_done == sorted(rounds_done, reverse=True)  # only those that still move go on


@pytest.mark.parametrize("layout", some([{"stride": 2}, {"groups": 2}, {"dilation": 2}, {}]), ids=str)
def test_a_batch_asks_no_more_for_many_kernels_than_for_few(layout, monkeypatch):
    monkeypatch.setattr(type(namespace("torch")), "is_remote", lambda *_: True)
    kernels = np.random.default_rng(0).standard_normal((24, 4, 4 // layout.get("groups", 1), 3, 3))
    asked = []
    for count in (2, 24):
        rounds_done, improved = [], rounds.improved_atoms

        def counted(*args, rounds_done=rounds_done, improved=improved):
            rounds_done.append(args)
            return improved(*args)

        with monkeypatch.context() as patch, Questions() as questions:
            patch.setattr(rounds, "improved_atoms", counted)
            srnc.solve_batch(torch.tensor(kernels[:count]), 8, stable_rank_fraction=0.7, clip=True, **layout)
        asked.append(questions.count - len(rounds_done) // 25)
    # Beside the rounds: which blocks are left, and which of their values are the largest.
    assert max(asked) <= 25
    assert abs(asked[1] - asked[0]) <= 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none")
def test_nothing_is_asked_on_cuda_within_25_rounds(monkeypatch):
    host = blocks_of(GEOMETRIES[0], "torch")
    parts = [part.cuda() for part in (host.matrices, host.upper, host.lower, host.level.value)]
    blocks = alternation.Blocks(parts[0], parts[1], parts[2], atoms.as_level(parts[3]), xp=namespace("torch"))
    monkeypatch.setattr(rounds, "_QUESTIONS", 1)
    w = rounds.start(blocks)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found, _ = rounds.alternate(blocks, w)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, _ = rounds.alternate(host, w.cpu())
    assert torch.allclose(found.cpu(), expected, atol=1e-6)  # atoms that still move follow the roundings
