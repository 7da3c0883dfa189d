"""Bounds on the distance to the caps hold for any multipliers and are sharp for those of the nearest points."""

import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import times

import srnc_manifold as srnc
from srnc_manifold import certificates
from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import boxes as caps_boxes
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import alternation, boxes, rim, shifts, weights
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry

RANK_ONE = [
    Geometry.of((3,), 8),
    Geometry.of((4,), 9, dilation=2),
    Geometry.of((3, 2), (5, 6)),
    Geometry.of((1, 2, 3), (8,)),
    Geometry.of((3, 1, 3), (7,)),
    Geometry.of((3, 1, 3), (8,), groups=3, stride=2),
    Geometry.of((2, 2, 4), (6,), groups=2, stride=3),
]
WIDER = [
    Geometry.of((2, 2, 3), (7,)),
    Geometry.of((3, 2, 2, 2), (4, 5)),
    Geometry.of((4, 2, 3), (6,), groups=2),
    Geometry.of((2, 1, 3), (8,), stride=2),
    Geometry.of((3, 2, 3), (6,), stride=2, dilation=5),
    Geometry.of((4, 2, 3, 3), (6, 4), groups=2, stride=(3, 2)),
    Geometry.of((3, 4), ()),
]
layouts, seeds, fractions = st.sampled_from(RANK_ONE + WIDER), st.integers(0, 2**31), st.floats(0.01, 0.99)

# Distances of points are rounded sums of squares, of points that are in a cap up to an ulp.
ROUNDING = 1e-12


def unit_kernel(rng, geometry):
    x = rng.standard_normal((*geometry.channels, *geometry.taps))
    y = x + rng.choice([0, 1, -1]) * np.flip(x, axis=tuple(range(2, x.ndim)))
    if not np.linalg.norm(y) > 1e-8:  # nothing is antisymmetric over one tap
        y = x
    return (y / np.linalg.norm(y)).reshape(geometry.kernel_shape)


def instance(geometry, seed, fraction):
    """A unit kernel, a level between its gain and the largest there is, and its symbol in the frame."""
    rng = np.random.default_rng(seed)
    a, largest = unit_kernel(rng, geometry), max(geometry.taps_per_phase)
    while (gain := float(norms.gain(a, geometry))) > 0.999 * largest:  # (−1, 0, 1) with a stride of 2, for one
        a = unit_kernel(rng, geometry)
    level = gain + fraction * (largest - gain)
    return rng, a, level, atoms.turned_symbol(a, geometry)


def random_atoms(rng, geometry, block, level, count):
    """Atoms of a block with caps that are not empty, most of them not far from the longest ones."""
    frame, (m, n) = atoms.frame(geometry), geometry.block_shape
    found = []
    for k in range(count):
        u, v = [1, 1j] @ rng.standard_normal((2, m)), [1, 1j] @ rng.standard_normal((2, n))
        flat = rng.choice([1.0, 0.5, 0.1, 0.0])
        u, v = u.real + 1j * flat * u.imag, v.real + 1j * flat * v.imag
        if k % 2 == 0:
            v = v * (frame.upper[block] >= frame.top[block] * rng.uniform(0.5, 1 - 1e-12))
        atom = atoms.atom(geometry, block, u / np.linalg.norm(u), v / np.linalg.norm(v) * frame.turns[block])
        if atom.norm**2 >= level:
            found.append(atom.tensor)
    return found


def feasible_distances(rng, a, geometry, block, level, count=200):
    """Squared distances of random points of the caps of a block, and of good ones."""
    squared, best = [], None
    for tensor in random_atoms(rng, geometry, block, level, count):
        z = rng.standard_normal(a.shape) if len(squared) % 2 else a
        z = z / np.linalg.norm(z)
        if np.sum(z * tensor) < np.sqrt(level):
            z = atoms.nearest_in_cap(z, tensor, np.sqrt(level))
        squared.append(np.sum((z - a) ** 2))
        best = z if squared[-1] == min(squared) else best
    for _ in range(10 if best is not None else 0):  # towards a: the atom of the best point's top pair cuts a better cap
        u, _, vh = np.linalg.svd(symbol.of(best, geometry)[block])
        tensor = atoms.atom(geometry, block, u[:, 0], vh[0].conj()).tensor
        best = atoms.nearest_in_cap(a, tensor, np.sqrt(level))
        squared.append(np.sum((best - a) ** 2))
    return np.array(squared)


def nonempty(geometry, level):
    return np.flatnonzero(atoms.frame(geometry).top >= level)


@given(layouts, seeds, fractions)
def test_the_lemma_never_exceeds_the_distance_of_a_feasible_point(geometry, seed, fraction):
    rng, a, level, matrices = instance(geometry, seed, fraction)
    heights = caps.safe_heights(np.sqrt(norms.squared_norms(matrices)), geometry)
    bounds = caps.lemma(heights, geometry, np.array(level))
    assert np.all(np.isinf(bounds) == (atoms.frame(geometry).top < level))  # empty caps
    found = 0
    for block in rng.permutation(nonempty(geometry, level))[:2]:
        distances = feasible_distances(rng, a, geometry, block, level)
        found += len(distances)
        assert bounds[block] <= np.min(distances, initial=np.inf) + ROUNDING
    assert found >= 20


NONSENSE = [0.0, -0.0, -1.0, 1.0, 2.0, 1e-300, -1e300, 1e300, np.nan, np.inf, -np.inf]


@given(st.sampled_from(RANK_ONE), seeds, fractions)
def test_no_multipliers_of_rank_one_exceed_the_distance_of_a_feasible_point(geometry, seed, fraction):
    rng, a, level, matrices = instance(geometry, seed, fraction)
    block = int(rng.choice(nonempty(geometry, level)))
    least = np.min(feasible_distances(rng, a, geometry, block, level, 300))
    values = 10.0 ** np.stack([rng.uniform(-3, 3, 500), rng.uniform(-8, 0.1, 500)], axis=1)
    blocks = np.full(len(values), block)
    levels = np.full(len(blocks), level)
    bounds = caps.rank_one_bounds(matrices[blocks], blocks, values, geometry, levels)
    assert np.all(bounds <= least + ROUNDING)
    values = np.array([(eta, tau) for eta in NONSENSE for tau in NONSENSE])
    blocks = np.full(len(values), block)
    with np.errstate(all="ignore"):  # what they are is asked here, whether they are quiet below
        bounds = caps.rank_one_bounds(matrices[blocks], blocks, values, geometry, np.full(len(blocks), level))
    # Not NaN either, and nothing at all where weak duality says nothing.
    assert np.all((bounds >= 0) & (bounds <= least + ROUNDING))
    eta, tau = values.T
    assert np.all(bounds[~((eta > 0) & np.isfinite(eta) & (tau > 0) & (tau <= 1))] == 0)


def random_shifts(rng, geometry, block, count):
    """Shifts of sizes from 1e-6 to 1e3, zero where they must be."""
    frame, shape = atoms.frame(geometry), (count, *geometry.block_shape)
    size = 10.0 ** rng.uniform(-6, 3, (count, 1, 1))
    real = rng.standard_normal(shape) * size * (frame.upper[block] < frame.top[block])
    imag = rng.standard_normal(shape) * size * rng.choice([0, 1, 10], (count, 1, 1))
    return real + 1j * imag * (frame.lower[block] < frame.top[block])


@given(st.sampled_from(RANK_ONE + WIDER), seeds, fractions)
def test_no_shift_exceeds_the_distance_of_a_feasible_point(geometry, seed, fraction):
    rng, a, level, matrices = instance(geometry, seed, fraction)
    block = int(rng.choice(nonempty(geometry, level)))
    least = np.min(feasible_distances(rng, a, geometry, block, level, 300))
    shifts = random_shifts(rng, geometry, block, 300)
    # Along the symbol, where the norm falls fastest.
    shifts[:100] *= 0
    forbidden = atoms.frame(geometry).upper[block] >= atoms.frame(geometry).top[block]
    along = np.where(forbidden, 0.0, matrices[block].real) + 1j * matrices[block].imag * (
        atoms.frame(geometry).lower[block] < atoms.frame(geometry).top[block]
    )
    shifts[:100] -= along * rng.uniform(0, 1.5, (100, 1, 1))
    blocks = np.full(len(shifts), block)
    bounds = caps.shifted_bounds(matrices[blocks], blocks, shifts, geometry, np.full(len(blocks), level))
    assert np.all((bounds >= 0) & (bounds <= least + ROUNDING))


SHIFT_NONSENSE = [value * unit for value in (np.nan, np.inf, -np.inf, 1e155, 1e300) for unit in (1, 1j)]


@pytest.mark.parametrize("geometry", WIDER, ids=str)
def test_shifts_that_are_no_numbers_or_beyond_all_bounds_say_nothing(geometry):
    _, _, level, matrices = instance(geometry, 0, 0.5)
    blocks = nonempty(geometry, level)
    for number in SHIFT_NONSENSE:
        shifts = np.full((len(blocks), *geometry.block_shape), number, complex)
        with np.errstate(all="ignore"):
            bounds = caps.shifted_bounds(matrices[blocks], blocks, shifts, geometry, np.full(len(blocks), level))
        assert np.all(bounds == 0)


@pytest.mark.parametrize("value", NONSENSE)
def test_a_certificate_of_nonsense_is_verified_in_silence(value):
    """Warnings are errors here: neither they nor NaN come out of numbers that a solver made up."""
    for geometry in (RANK_ONE[0], WIDER[0]):
        _, a, level, _ = instance(geometry, 0, 0.5)
        blocks = nonempty(geometry, level)
        shape = (2,) if geometry.block_rank == 1 else geometry.block_shape
        lemma = CapsCertificate(blocks[:0], np.zeros((0, *shape))).squared_distance(a, geometry, level)
        found = CapsCertificate(blocks, np.full((len(blocks), *shape), value)).squared_distance(a, geometry, level)
        assert found >= lemma


@pytest.mark.parametrize("geometry", WIDER, ids=str)
def test_shifts_that_must_be_zero_are_refused(geometry):
    frame = atoms.frame(geometry)
    _, _, level, matrices = instance(geometry, 1, 0.3)
    for block in nonempty(geometry, level):
        for size in (1e-150, 1e-3, 1.0, -1e3):
            shift = np.zeros((1, *geometry.block_shape), complex)
            shift[0, 0, np.argmax(frame.upper[block])] = size  # in a column of the longest atoms
            index = np.array([block])
            assert caps.shifted_bounds(matrices[index], index, shift, geometry, np.array([level])) == 0


@given(layouts, seeds, fractions)
def test_a_shift_of_zero_is_the_lemma(geometry, seed, fraction):
    _, _, level, matrices = instance(geometry, seed, fraction)
    blocks = nonempty(geometry, level)
    zero = np.zeros((len(blocks), *geometry.block_shape))
    shifted = caps.shifted_bounds(matrices[blocks], blocks, zero, geometry, np.full(len(blocks), level))
    heights = caps.safe_heights(np.linalg.norm(matrices, 2, axis=(-2, -1)), geometry)
    lemma = caps.lemma(heights, geometry, np.array(level))[blocks]
    np.testing.assert_allclose(shifted, lemma, rtol=1e-13)  # the same numbers in the same order


@given(st.sampled_from(RANK_ONE), seeds, fractions)
def test_the_multipliers_of_the_nearest_points_are_sharp(geometry, seed, fraction):
    _, a, level, matrices = instance(geometry, seed, fraction)
    blocks = nonempty(geometry, level)
    levels, directions = np.full(len(blocks), level), np.stack([a] * len(blocks))
    points = rim.rim_points(matrices[blocks], blocks, directions, levels, geometry, NUMPY)
    z = rim.assemble(points, np.arange(len(blocks)), blocks, directions, geometry, NUMPY)
    distances = np.sum((z - directions).reshape(len(blocks), -1) ** 2, axis=1)
    bounds = caps.rank_one_bounds(matrices[blocks], blocks, points.multipliers, geometry, levels)
    # In the hard case τ is 1e-13 instead of zero; all else is rounding, amplified near it.
    np.testing.assert_allclose(bounds, distances, atol=1e-11)
    assert np.all(bounds <= distances + ROUNDING)


def test_the_shift_of_a_fixed_point_of_the_alternation_is_sharp():
    """Proposition 7(e): where ``σ₁(Z) − push·top ≥ σ₂(Z)`` the atom is the best of its block, and proved to be."""
    certified, count = 0, times(28, 84)
    for seed in range(count):
        geometry = WIDER[seed % len(WIDER)]
        rng, a, level, matrices = instance(geometry, seed, 0.1 + 0.8 * (seed % 9) / 9)
        index = np.array([rng.choice(nonempty(geometry, level))])
        frame = atoms.frame(geometry)
        blocks = alternation.Blocks(matrices[index], frame.upper[index], frame.lower[index], level)
        w, _ = alternation.alternate(blocks, alternation.start(blocks))
        tensor = atoms.synthesis(w, index, geometry)[0]
        z = atoms.nearest_in_cap(a, tensor, np.sqrt(level))
        distance = float(np.sum((z - a) ** 2))
        norm, height = np.sum(tensor**2), np.sum(a * tensor)
        sine = math.sqrt(distance * (1 - distance / 4))
        pushed = frame.top[index[0]] * sine / math.sqrt(norm - height**2)
        values = np.linalg.svd(symbol.of(z, geometry)[index[0]], compute_uv=False)
        shift = shifts.shifts(blocks, w, distance)
        bound = caps.shifted_bounds(matrices[index], index, shift, geometry, np.array([level]))[0]
        assert bound <= distance + ROUNDING
        if values[0] - pushed >= values[1] + 1e-9 and norm > level * (1 + 1e-6):
            certified += 1
            # The alternation ends where a step gains 1e-15: its atom is right to about the square root of that.
            assert bound == pytest.approx(distance, abs=1e-7)
    assert certified >= 40 / 84 * count


@given(st.floats(0.1, 9), st.floats(-10, 1), st.floats(-16, 0.3))
def test_needed_heights_are_the_lemma_turned_round(level, above, size):
    top, squared = level * (1 + 10.0**above), 10.0**size  # up to a right angle
    needed = float(caps.needed_heights(np.array(squared), np.array(level), np.array(top), NUMPY))
    angle = 2 * math.asin(0.5 * math.sqrt(squared))
    expected = math.sqrt(top) * math.cos(angle + math.atan2(math.sqrt(top - level), math.sqrt(level)))
    # Rounding of cosines of size one.
    assert needed == pytest.approx(max(0.0, expected), abs=1e-13 * math.sqrt(top))
    if needed > 1e-6:
        # Back again; the height is an ulp of √c, which is √c over the difference c − h² in relative terms.
        tolerance = 1e-15 * level / abs(level - needed**2) * 10 + 1e-12
        assert atoms.squared_distance(needed, top, level) == pytest.approx(squared, rel=tolerance)
        assert atoms.squared_distance(needed * 0.99, top, level) > squared
    if needed == 0:
        assert atoms.squared_distance(0.0, top, level) <= squared + 1e-14


def lemma_of_the_definition(a, geometry, level):
    """Over all frequencies of the grid, from decompositions of the blocks and the taps' phases themselves."""
    taps = np.array(list(np.ndindex(*geometry.taps)), int).reshape(geometry.n_taps, len(geometry.taps))
    place, residue = np.divmod(taps * np.array(geometry.dilation, int), np.array(geometry.stride, int))
    met = sorted({tuple(p) for p in residue})
    number = np.array([met.index(tuple(p)) for p in residue])
    bounds = {}
    for frequency in np.ndindex(*geometry.grid):
        f = np.exp(-2j * np.pi * place @ (np.array(frequency) / np.array(geometry.grid, float)))
        top = max(0.5 * (np.sum(number == p) + abs(np.sum(f[number == p] ** 2))) for p in range(len(met)))
        x = a.reshape(geometry.groups, -1, geometry.channels[1], geometry.n_taps)
        for group in range(geometry.groups):
            block = np.concatenate([x[group][..., number == p] @ f[number == p] for p in range(len(met))], axis=1)
            height = np.linalg.norm(block, 2)
            bounds[frequency, group] = np.inf
            if top >= level * (1 - 1e-13):
                angle = math.acos(height / math.sqrt(top)) - math.acos(math.sqrt(min(1.0, level / top)))
                bounds[frequency, group] = 4 * math.sin(0.5 * angle) ** 2
    return bounds


@given(layouts, seeds, fractions)
def test_an_empty_certificate_is_the_lemma_over_all_blocks(geometry, seed, fraction):
    _, a, level, _ = instance(geometry, seed, fraction)
    shape = (2,) if geometry.block_rank == 1 else geometry.block_shape
    empty = CapsCertificate(np.zeros(0, np.int64), np.zeros((0, *shape)))
    expected = min(lemma_of_the_definition(a, geometry, level).values())
    found = empty.squared_distance(a, geometry, level)
    # Lowered by 1e-12 of itself and a few ulps; arccosines lose more.
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)


@given(layouts, seeds, fractions)
def test_a_certificate_is_the_least_bound_over_all_blocks(geometry, seed, fraction):
    rng, a, level, matrices = instance(geometry, seed, fraction)
    heights = caps.safe_heights(np.linalg.norm(matrices, 2, axis=(-2, -1)), geometry)
    each = caps.lemma(heights, geometry, np.array(level))
    blocks = rng.permutation(nonempty(geometry, level))[: int(rng.integers(1, 5))]
    levels = np.full(len(blocks), level)
    if geometry.block_rank == 1:
        directions = np.stack([a] * len(blocks))
        points = rim.rim_points(matrices[blocks], blocks, directions, levels, geometry, NUMPY)
        values = points.multipliers
        sharper = caps.rank_one_bounds(matrices[blocks], blocks, values, geometry, levels)
    else:
        values = np.concatenate([random_shifts(rng, geometry, block, 1) for block in blocks]) * 0.1
        sharper = caps.shifted_bounds(matrices[blocks], blocks, values, geometry, levels)
    found = CapsCertificate(blocks, values).squared_distance(a, geometry, level)
    for block, bound in zip(blocks, sharper, strict=True):
        each[block] = max(each[block], bound)
    assert found == pytest.approx(np.min(each), rel=1e-11, abs=1e-14)  # norms of rank one in another way: rounding
    # A multiplier that says nothing leaves the Lemma.
    nothing = CapsCertificate(blocks, np.full_like(values, np.nan)).squared_distance(a, geometry, level)
    assert nothing == CapsCertificate(blocks[:0], values[:0]).squared_distance(a, geometry, level)


def solved(seed):
    """Results of all kinds in the reduce and none regimes, and their problems."""
    rng = np.random.default_rng(seed)
    shape, size, layout = [
        ((3,), 16, {}),
        ((3, 3), (5, 8), {"dilation": 2}),
        ((1, 2, 3), 8, {}),
        ((3, 1, 3), 8, {"groups": 3, "stride": 2}),
        ((2, 2, 3), 7, {}),
        ((4, 2, 3), 6, {"groups": 2}),
        ((3, 2, 3), 8, {"stride": 2}),
        ((14, 14, 2), 5, {}),
        ((3, 4), (), {}),
    ][seed % 9]
    kernel = rng.standard_normal(shape)
    problem = srnc.partway(kernel, size, rng.uniform(0.1, 0.9), **layout)
    return problem, srnc.solve(problem)


@pytest.mark.parametrize("seed", range(18))
def test_certificates_prove_their_bounds_again_also_from_a_file(seed):
    problem, result = solved(seed)
    assert result.bound.kind == "caps"
    copy = srnc.Result.from_json(result.to_json())
    assert copy.bound.kind == "caps"
    for name, values in result.bound.certificate.items():
        np.testing.assert_array_equal(copy.bound.certificate[name], values)  # bit for bit
        assert copy.bound.certificate[name].dtype == values.dtype
    for bound in (result.bound, copy.bound):
        assert bound.verify(problem) == pytest.approx(bound.objective, rel=1e-12)  # decomposed once more
    again = certificates.squared_distance(
        "caps", copy.bound.certificate, problem.direction, problem.geometry, problem.level
    )
    assert problem.bound_at(again) == copy.bound.verify(problem)
    # Rounded down, by no more than rounding.
    rounding = problem.objective_at(again) - problem.bound_at(again)
    assert 0 <= rounding < 1e-12 * problem.squared_norm


def test_the_kinds_of_certificates():
    problem = srnc.SRNProblem([3.0, 1.0, 1.0], 16, stable_rank_fraction=1.0)
    result = srnc.solve(problem)
    assert result.bound.kind == "trivial"
    copy = srnc.Result.from_json(result.to_json())
    assert copy.bound == result.bound
    assert copy.bound.verify(problem) == result.bound.objective
    arguments = problem.direction, problem.geometry, problem.target_gain
    assert certificates.squared_distance("trivial", {}, *arguments) == 0.0
    with pytest.raises(ValueError, match="kind"):
        certificates.squared_distance("cube", {}, *arguments)


def imaginary_shifts(rng, geometry, block, matrix, count):
    """Shifts of sizes from 1e-6 to 1e3, and parts of the symbol, zero where they must be."""
    shape = (count, *geometry.block_shape)
    shifts = rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 3, (count, 1, 1)) * rng.choice([0, 1], (count, 1, 1))
    shifts[::3] -= matrix.imag * rng.uniform(0, 1.5, (len(shifts[::3]), 1, 1))
    return 1j * shifts * (atoms.frame(geometry).spread[block] > 0)


@given(st.sampled_from(WIDER), seeds, fractions)
def test_no_weights_exceed_the_distance_of_a_feasible_point(geometry, seed, fraction):
    rng, a, level, matrices = instance(geometry, seed, fraction)
    block = int(rng.choice(nonempty(geometry, level)))
    least = np.min(feasible_distances(rng, a, geometry, block, level, 300))
    shifts = imaginary_shifts(rng, geometry, block, matrices[block], 300)
    rests = np.where(rng.random(300) < 0.5, rng.uniform(0, 1, 300), 10.0 ** rng.uniform(-16, 0, 300))
    blocks = np.full(300, block)
    bounds = caps.weighted_bounds(matrices[blocks], blocks, shifts, geometry, np.full(300, level), rests)
    assert np.all((bounds >= 0) & (bounds <= least + ROUNDING))


def fixed_points(count):
    """Atoms of blocks at which the alternation rests, with their distances, and what belongs to them."""
    for seed in range(count):
        geometry = WIDER[seed % len(WIDER)]
        rng, _, level, matrices = instance(geometry, seed, 0.1 + 0.8 * (seed % 9) / 9)
        index = np.array([rng.choice(nonempty(geometry, level))])
        frame = atoms.frame(geometry)
        blocks = alternation.Blocks(matrices[index], frame.upper[index], frame.lower[index], level)
        w = alternation.settle(blocks, alternation.start(blocks))
        if blocks.sizes(w).norms[0] > level * (1 + 1e-3):  # nearer to the rim roundings are amplified
            yield geometry, level, index, blocks, w, float(blocks.squared_distances(w)[0])


def test_the_weights_of_a_fixed_point_of_the_alternation_are_sharp():
    """Proposition 25: where its pair is the top one, the atom is proved to be the best of its block."""
    sharp, with_stride, count = 0, 0, times(42, 140)
    for geometry, level, index, blocks, w, distance in fixed_points(count):
        shift, rest = weights.weights(blocks, w, distance)
        if not 0 < rest[0] < 1:
            continue
        bound = caps.weighted_bounds(blocks.matrices, index, shift, geometry, np.array([level]), rest)[0]
        assert bound <= distance + ROUNDING
        tau = (1 - rest[0]) / blocks.top[0]
        scales = (1 - tau * blocks.upper[0]) ** -0.5
        values = np.linalg.svd((blocks.matrices[0] + shift[0]) * scales, compute_uv=False)
        u, v = np.linalg.svd(w[0])[0][:, 0].conj(), np.linalg.svd(w[0])[2][0]
        own = np.linalg.norm((blocks.matrices[0] + shift[0]) @ v) / np.linalg.norm(v / scales)
        assert np.linalg.norm(u) == pytest.approx(1)
        if values[0] <= own * (1 + 1e-12):  # rounding
            sharp += 1
            with_stride += bool(np.ptp(blocks.upper) > 0)
            # The error of the symbol, a few ulps, times the largest weight there is, 1e5.
            assert bound == pytest.approx(distance, abs=1e-9)
    assert sharp >= 60 / 140 * count
    assert with_stride >= 20 / 140 * count


def test_weights_that_are_no_numbers_or_shifts_that_must_be_zero_say_nothing():
    for geometry in WIDER:
        _, _, level, matrices = instance(geometry, 0, 0.5)
        blocks, frame = nonempty(geometry, level), atoms.frame(geometry)
        zero, levels = np.zeros((len(blocks), *geometry.block_shape), complex), np.full(len(blocks), level)
        for rest in (np.nan, np.inf, -1.0, 0.0, 1.5, 1e-200):
            rests = np.full(len(blocks), rest)
            assert not caps.weighted_bounds(matrices[blocks], blocks, zero, geometry, levels, rests).any()
        half = np.full(len(blocks), 0.5)
        for number in [*SHIFT_NONSENSE, 1e-3]:  # a real part, too
            with np.errstate(all="ignore"):
                bounds = caps.weighted_bounds(matrices[blocks], blocks, zero + number, geometry, levels, half)
            assert np.all((bounds == 0) | (np.real(number) == 0) & (abs(number) < 1))
        flat = np.flatnonzero(np.any(frame.spread[blocks] == 0, axis=1))
        shift = np.where(frame.spread[blocks][:, None] == 0, 1j, zero)
        bounds = caps.weighted_bounds(matrices[blocks], blocks, shift, geometry, levels, half)
        assert not bounds[flat].any()


def distances_by_p(rng, blocks, count):
    """``p`` and squared distance of random atoms of one block, with the best ones that alternation finds."""
    many = blocks[np.zeros(count, int)]
    w = alternation.random_atoms(many, rng)
    w = np.concatenate([w, alternation.alternate(many, w)[0]])
    u = np.linalg.svd(w)[0][:, :, 0]
    return np.abs(np.sum(u**2, axis=1)), blocks[np.zeros(len(w), int)].squared_distances(w)


@given(st.sampled_from(WIDER), seeds, fractions)
def test_no_part_exceeds_the_distance_of_an_atom_in_it(geometry, seed, fraction):
    rng, _, level, matrices = instance(geometry, seed, fraction)
    index = np.array([rng.choice(nonempty(geometry, level))])
    frame, count = atoms.frame(geometry), 200
    blocks = alternation.Blocks(matrices[index], frame.upper[index], frame.lower[index], level)
    p, distances = distances_by_p(rng, blocks, 60)
    shifts = imaginary_shifts(rng, geometry, index[0], matrices[index[0]], count)
    ends = np.sort(rng.uniform(0, 1, (count, 2)), axis=1)
    ends[::4], ends[1::4, 1] = (0, 1), 1
    root = rng.standard_normal((count, 2, 2)) * 10.0 ** rng.uniform(-2, 1, (count, 1, 1))
    inner = root @ root.swapaxes(1, 2) + 0.1 * np.eye(2)
    sizes = 10.0 ** rng.uniform(-2, 2, (count, 2))
    entries = inner[:, 0, 0], inner[:, 1, 1], inner[:, 0, 1]
    numbers = np.column_stack([sizes[:, 0], ends, sizes[:, 1], *entries])
    place = np.repeat(index, count)
    bounds = caps_boxes.box_bounds(matrices[place], place, shifts, geometry, np.full(count, level), numbers)
    inside = (p[None] >= ends[:, :1] - 1e-12) & (p[None] <= ends[:, 1:] + 1e-12)
    least = np.min(np.where(inside, distances, np.inf), axis=1)
    assert np.all((bounds >= 0) & (bounds <= least + ROUNDING))


def test_the_best_multipliers_of_parts_never_exceed_an_atom_and_are_near_the_best():
    near = 0
    for number, (geometry, level, index, blocks, w, distance) in enumerate(fixed_points(14)):
        p, distances = distances_by_p(np.random.default_rng(number), blocks, 200)
        best = min(distance, float(np.min(distances)))
        of_block = boxes.split(blocks, int(index[0]), geometry, w, best, best)
        for bound, multipliers, numbers in islice(of_block, 3):
            rows = np.repeat(index, len(numbers))
            matrices = np.repeat(blocks.matrices, len(numbers), axis=0)
            again = caps_boxes.box_bounds(matrices, rows, multipliers, geometry, np.full(len(rows), level), numbers)
            assert bound == np.min(again)
            for own, low, high in zip(again, *numbers[:, 1:3].T, strict=True):
                inside = (p >= low - 1e-12) & (p <= high + 1e-12)
                assert own <= np.min(distances[inside], initial=np.inf) + ROUNDING
        near += bound >= best - 1e-6  # what a cone program is solved to, and more
    assert near >= 8


def test_parts_must_cover_all_atoms():
    geometry, level, index, blocks, w, distance = next(fixed_points(1))
    whole, left, right = (0.0, 1.0), (0.0, 0.5), (0.5, 1.0)
    _, shifts_of_whole, (numbers,) = next(boxes.split(blocks, int(index[0]), geometry, w, distance, distance))

    def proved(*ends):
        rows = np.array([[0.0, numbers[0], *e, *numbers[3:]] for e in ends])
        place, values, matrices = (np.repeat(x, len(rows), axis=0) for x in (index, shifts_of_whole, blocks.matrices))
        return CapsCertificate(place, values, rows).bounds(matrices, geometry, level)

    of_all = proved(whole)[0]
    assert of_all > 0
    assert np.all(proved(right, left) >= of_all)
    assert not proved(left).any()
    assert not proved((0.2, 1.0)).any()
    assert not proved((0.0, 0.4), right).any()
    assert np.all(proved((0.0, 0.4), (0.2, 1.0)) >= of_all)  # they may overlap


@pytest.fixture(scope="module")
def instances_with_distances():
    """Instances, and squared distances of points of each of their blocks' caps."""

    def make(geometry):
        _, a, level, _ = instance(geometry, 0, 0.5)
        blocks = nonempty(geometry, level)
        distances = [feasible_distances(np.random.default_rng(0), a, geometry, b, level) for b in blocks]
        return geometry, a, level, blocks, np.concatenate(distances)

    return [make(geometry) for geometry in (WIDER[0], WIDER[3])]


@pytest.mark.parametrize("value", NONSENSE)
def test_parameters_of_nonsense_prove_nothing_wrong(value, instances_with_distances):
    for geometry, a, level, blocks, distances in instances_with_distances:
        lemma = CapsCertificate.empty(geometry).squared_distance(a, geometry, level)
        zeros = np.zeros((len(blocks), *geometry.block_shape), complex)
        for column in range(8):
            rows = np.tile([0.0, 1.0, 0.0, 1.0, 0.1, 1.0, 1.0, 0.0], (len(blocks), 1))
            rows[:, column] = value
            with np.errstate(over="ignore"):
                found = CapsCertificate(blocks, zeros, rows).squared_distance(a, geometry, level)
            assert lemma <= found <= np.min(distances) + ROUNDING
