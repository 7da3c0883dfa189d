"""Atoms improved by alternation: never worse, never without a start, stationary in the end; and how shifts tighten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold.certificates import caps
from srnc_manifold.exact.reduce import alternation, shifts
from srnc_manifold.operators import atoms, norms
from srnc_manifold.operators.geometry import Geometry

LAYOUTS = [
    Geometry.of((2, 2, 3), (7,)),
    Geometry.of((2, 3, 4), (8,), dilation=3),
    Geometry.of((3, 2, 2, 2), (4, 5)),
    Geometry.of((4, 2, 3), (6,), groups=2),
    Geometry.of((2, 1, 3), (8,), stride=2),
    Geometry.of((6, 1, 5), (12,), groups=3, stride=4),
    Geometry.of((3, 2, 3), (6,), stride=2, dilation=5),
    Geometry.of((4, 2, 3, 3), (6, 4), groups=2, stride=(3, 2)),
    Geometry.of((3, 4), ()),
]
layouts, seeds, fractions = st.sampled_from(LAYOUTS), st.integers(0, 2**31), st.floats(0.01, 0.99)


def instance(geometry, seed, fraction):
    """A unit kernel, a level between its gain and the largest there is, and the blocks with caps."""
    rng = np.random.default_rng(seed)
    largest, gain = max(geometry.taps_per_phase), np.inf
    while gain > 0.999 * largest:
        x = rng.standard_normal((*geometry.channels, *geometry.taps))
        x = x + rng.choice([0, 1, -1]) * np.flip(x, axis=tuple(range(2, x.ndim)))
        if not np.any(x):  # nothing is antisymmetric over one tap
            continue
        a = (x / np.linalg.norm(x)).reshape(geometry.kernel_shape)
        gain = float(norms.gain(a, geometry))
    level = gain + fraction * (largest - gain)
    index = np.flatnonzero(atoms.frame(geometry).top >= level)
    return rng, a, level, index


def blocks_at(a, geometry, level, index):
    frame = atoms.frame(geometry)
    return alternation.Blocks(atoms.turned_symbol(a, geometry)[index], frame.upper[index], frame.lower[index], level)


def random_atoms(rng, blocks):
    """``conj(u) vᵀ`` of random vectors, many of them nearly real or in few columns, where norms are large."""
    count, m, n = blocks.matrices.shape
    u, v = rng.standard_normal((2, count, m)), rng.standard_normal((2, count, n))
    flat = rng.choice([1.0, 0.3, 0.0], (count, 1))
    u, v = u[0] + 1j * flat * u[1], v[0] + 1j * flat * v[1]
    v = v * np.where(rng.random((count, 1)) < 0.6, blocks.upper >= blocks.top[:, None] * (1 - 1e-12), 1.0)
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
    return u.conj()[:, :, None] * v[:, None, :]


def points_of(a, geometry, index, w, level):
    """Nearest points of the caps of some atoms."""
    tensors = atoms.synthesis(w, index, geometry)
    return [atoms.nearest_in_cap(a, tensor, np.sqrt(level)) for tensor in tensors]


@given(layouts, seeds, fractions)
def test_the_squared_distances_are_those_of_the_nearest_points(geometry, seed, fraction):
    rng, a, level, index = instance(geometry, seed, fraction)
    index = rng.choice(index, 20)
    blocks = blocks_at(a, geometry, level, index)
    w = random_atoms(rng, blocks)
    tensors = atoms.synthesis(w, index, geometry)
    norms = np.sum(tensors.reshape(len(index), -1) ** 2, axis=1)
    np.testing.assert_allclose(blocks.sizes(w).norms, norms, rtol=1e-13)  # sums in another order
    np.testing.assert_allclose(blocks.sizes(w).heights, tensors.reshape(len(index), -1) @ a.ravel(), atol=1e-13)
    distances = blocks.squared_distances(w)
    clear = np.abs(norms - level) > 1e-9  # the square root of a rounded γ² − c has lost half of its digits
    assert np.all(np.isfinite(distances[clear]) == (norms > level)[clear])
    inside = np.flatnonzero(clear & (norms > level))
    push, pull = alternation.coordinates(blocks[inside], blocks[inside].sizes(w[inside]))
    for k, z in enumerate(points_of(a, geometry, index[inside], w[inside], level)):
        # 1e-16 over the square root of 1e-9, with a margin.
        assert distances[inside[k]] == pytest.approx(np.sum((z - a) ** 2), abs=1e-11)
        np.testing.assert_allclose(push[k] * tensors[inside[k]] + pull[k] * a, z, atol=1e-10)


@given(layouts, seeds, fractions)
def test_no_step_increases_the_distance(geometry, seed, fraction):
    rng, a, level, index = instance(geometry, seed, fraction)
    index = rng.choice(index, 60)
    blocks = blocks_at(a, geometry, level, index)
    w = random_atoms(rng, blocks)
    filled = np.flatnonzero(blocks.sizes(w).norms >= level * (1 + 1e-6))
    assert len(filled) >= 5
    index, blocks, w = index[filled], blocks[filled], w[filled]
    for _ in range(3):
        moved = alternation.step(blocks, w)
        before, after = points_of(a, geometry, index, w, level), points_of(a, geometry, index, moved, level)
        for z, better in zip(before, after, strict=True):  # no cap was empty: that would have raised
            assert np.sum((better - a) ** 2) <= np.sum((z - a) ** 2) + 1e-13  # rounding of numbers of size one
        assert np.all(blocks.squared_distances(moved) <= blocks.squared_distances(w) + 1e-13)
        w = moved


@given(layouts, seeds, fractions)
def test_it_ends_in_stationary_points(geometry, seed, fraction):
    rng, a, level, index = instance(geometry, seed, fraction)
    index = rng.choice(index, 10)
    blocks = blocks_at(a, geometry, level, index)
    w = np.concatenate([alternation.start(blocks[:5]), random_atoms(rng, blocks[5:])])
    first = blocks.squared_distances(w)
    # Steps that begin at a saddle leave it slowly: with the usual 2,000 some would still be on their way.
    end, distances = alternation.alternate(blocks, w, max_steps=100_000)
    empty = np.isinf(first)
    np.testing.assert_array_equal(end[empty], w[empty])  # left as they were
    assert np.all(np.isinf(distances) == empty)
    assert np.all(distances[~empty] <= first[~empty])
    for k, z in zip(np.flatnonzero(~empty), points_of(a, geometry, index[~empty], end[~empty], level), strict=True):
        block = atoms.turned_symbol(z, geometry)[index[k]]
        values = np.linalg.svd(block, compute_uv=False)
        # (u, v) is a top pair of Z, whose largest singular value is √c. A step that gains 1e-15 is the last, and a
        # gain is at least the depth of z in the next cap times a number of the size of the angle.
        tolerance = 1e-12 / np.sqrt(distances[k]) + 1e-7
        assert values[0] == pytest.approx(np.sqrt(level), abs=tolerance)
        assert np.sum(block * end[k]).real == pytest.approx(values[0], abs=tolerance)


def assert_filled(blocks):
    """The starts are rank-one matrices of norm one whose atoms reach the level."""
    for w in (alternation.start(blocks), *alternation.other_starts(blocks)):
        values = np.linalg.svd(w, compute_uv=False)
        np.testing.assert_allclose(values[:, 0], 1, atol=1e-12)  # rounding
        np.testing.assert_allclose(values[:, 1:], 0, atol=1e-12)
        norms = np.sum(blocks.upper[:, None] * w.real**2 + blocks.lower[:, None] * w.imag**2, axis=(1, 2))
        assert np.all(norms >= blocks.level.value * (1 - 1e-12))  # an ulp short at the level of the top itself
        assert np.all(np.isfinite(blocks.squared_distances(w)))


@given(layouts, seeds, st.sampled_from([0.01, 0.3, 0.9, 1 - 1e-6]))
def test_all_starts_have_caps(geometry, seed, fraction):
    _, a, level, index = instance(geometry, seed, fraction)
    assert_filled(blocks_at(a, geometry, level, index))


@given(layouts, seeds)
def test_all_starts_have_caps_if_the_level_is_the_top_itself(geometry, seed):
    _, a, level, index = instance(geometry, seed, 0.01)
    for k in index:
        top = float(atoms.frame(geometry).top[k])
        assert_filled(blocks_at(a, geometry, top, np.array([k])))
        assert_filled(blocks_at(a, geometry, max(level, top * (1 - 1e-9)), np.array([k])))


@pytest.mark.parametrize("symbol", [0.0, 1.0, 1j, 1 + 1j])
def test_starts_of_degenerate_symbols_have_caps(symbol):
    upper, lower = np.array([[2.5, 2.0, 2.5], [3.0, 3.0, 1.0]]), np.array([[0.5, 1.0, 0.5], [0.0, 0.0, 2e-16]])
    matrices = np.full((2, 2, 3), symbol * 0.1, complex)
    for level in (1.0, 2.0, 2.5):
        assert_filled(alternation.Blocks(matrices, upper, lower, level))


def open_blocks():
    """Blocks whose best atoms from all starts are not proved best by their own shifts, and others."""
    cases = []
    for seed in range(27):
        geometry = LAYOUTS[seed % len(LAYOUTS)]
        rng, a, level, index = instance(geometry, seed, (0.2, 0.5, 0.8)[seed % 3])
        block = np.array([rng.choice(index)])
        if atoms.frame(geometry).top[block[0]] > level * (1 + 1e-6):
            cases.append((geometry, a, level, block))
    return cases


def test_newton_ends_where_the_steps_end_and_sooner(monkeypatch):
    decomposed = []

    def counted(matrices):
        decomposed.append(len(matrices))
        return top_atoms(matrices)

    top_atoms = alternation.top_atoms
    monkeypatch.setattr(alternation, "top_atoms", counted)
    calls, compared = {0: 0, 16: 0}, 0
    for geometry, a, level, index in open_blocks():
        blocks = blocks_at(a, geometry, level, index)
        w, found = alternation.start(blocks), {}
        if w[0].size > 16 or blocks.are_empty(w)[0]:
            continue
        for few in calls:  # none and all
            monkeypatch.setattr(alternation, "_FEW", few)
            decomposed.clear()
            end, distances = alternation.alternate(blocks, w)
            settled = alternation.settle(blocks, end)
            found[few] = float(distances[0])
            calls[few] += len(decomposed)
            image, _ = alternation.images_of(blocks, settled)
            # The steps stop at changes of 1e-12; the next is smaller still.
            np.testing.assert_allclose(top_atoms(image), settled, atol=1e-11)
        # Of distances only: some of these blocks have a whole curve of best atoms.
        assert found[16] == pytest.approx(found[0], abs=1e-13)
        compared += 1
    assert compared >= 10
    assert calls[16] < calls[0]


def test_tightened_bounds_grow_and_never_pass_the_best_of_many_runs():
    gained = closed = 0
    cases = open_blocks()
    for number, (geometry, a, level, index) in enumerate(cases):
        blocks, rng = blocks_at(a, geometry, level, index), np.random.default_rng(number)
        many = blocks[np.zeros(200, int)]
        starts = random_atoms(rng, many)
        starts[:1] = alternation.start(blocks)
        ends, distances = alternation.alternate(many, starts)
        best = float(np.min(distances))
        w = ends[[np.argmin(distances)]]

        def bound_of(shift, geometry=geometry, index=index, matrices=blocks.matrices, level=level):
            return float(caps.shifted_bounds(matrices, index, shift[None], geometry, np.array([level]))[0])

        for squared_distance in (best, 0.9 * best):
            first = bound_of(shifts.shifts(blocks, w, squared_distance)[0])
            relaxed = shifts.tighten(blocks, w, squared_distance, bound_of, max_steps=150)
            assert relaxed.bound >= first
            assert relaxed.bound == bound_of(relaxed.shift)  # the same numbers
            # Distances of numbers of size one, rounded.
            assert relaxed.bound <= best + 1e-12
            gained += relaxed.bound > first + 1e-9
            closed += squared_distance == best and relaxed.bound >= best - 1e-6
            for atom in relaxed.atoms:
                assert np.linalg.norm(atom) == pytest.approx(1, abs=1e-12)
    assert gained >= 3  # there is something to tighten
    assert closed >= 0.8 * len(cases)


def test_tightening_stops_when_told():
    for geometry, a, level, index in open_blocks()[:9]:
        blocks = blocks_at(a, geometry, level, index)
        w, distances = alternation.alternate(blocks, alternation.start(blocks))
        bounds = []

        def bound_of(shift, geometry=geometry, index=index, blocks=blocks, level=level, bounds=bounds):
            levels = np.array([level])
            bounds.append(float(caps.shifted_bounds(blocks.matrices, index, shift[None], geometry, levels)[0]))
            return bounds[-1]

        blocks.effort.limit = 0.0
        relaxed = shifts.tighten(blocks, w, float(distances[0]), bound_of)
        assert len(bounds) == 1
        assert relaxed.bound == bounds[0]
