import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold.operators.geometry import Geometry

grids = st.lists(st.integers(1, 7), min_size=0, max_size=3).map(tuple)


@given(grids)
def test_half_spectrum_holds_one_of_each_pair(grid):
    geometry = Geometry.of(grid, grid)
    sizes = np.array(grid, int)
    listed = {tuple(f) for f in geometry.frequencies}
    mirrored = {tuple((-f) % sizes) for f in geometry.frequencies}
    everything = set(np.ndindex(*grid))
    assert listed | mirrored == everything
    for frequency, multiplicity in zip(geometry.frequencies, geometry.multiplicities, strict=True):
        mirror = tuple((-frequency) % sizes)
        assert multiplicity == (1 if mirror == tuple(frequency) else 2)
        assert mirror == tuple(frequency) or mirror not in listed
    assert geometry.multiplicities.sum() == geometry.n_points


@pytest.mark.parametrize(
    ("shape", "size", "layout", "count"),
    [
        ((4, 5, 1, 1), (6, 8), {}, 1),
        ((3,), (8,), {"dilation": 2}, 3),
        ((3, 3), (9, 6), {"dilation": (3, 2)}, 5),
        ((1, 3), (6, 7), {}, 4),
        ((2, 3, 2, 2), (8, 8), {"stride": 2}, 1),
        ((2, 3, 2, 4), (4, 12), {"stride": (2, 2)}, 4),
        ((4, 2, 3), (12,), {"groups": 2, "dilation": 4}, 2),
        ((3, 3), (8, 6), {}, 26),
    ],
)
def test_frequencies_whose_blocks_are_alike_are_listed_once(shape, size, layout, count):
    geometry = Geometry.of(shape, size, **layout)
    assert len(geometry.frequencies) == count
    assert geometry.multiplicities.sum() == geometry.n_points * geometry.groups
    everything = np.array(list(np.ndindex(*geometry.grid)))
    rows = geometry.listed(everything)
    np.testing.assert_array_equal(geometry.listed(geometry.frequencies), np.arange(count))
    np.testing.assert_array_equal(np.bincount(rows), geometry.multiplicities[:: geometry.groups])
    # The definition: the same sum over the taps of each phase, up to a factor of modulus one, for any kernel.
    kernel = np.random.default_rng(0).standard_normal(shape).reshape(-1, geometry.n_taps)
    factors = np.exp(-2j * np.pi * (everything / np.array(geometry.grid)) @ geometry.axis_offsets)
    for taps in geometry.taps_by_phase:
        gram = np.abs(
            (factors[:, taps] @ kernel[:, taps].T)[:, :, None] * (factors[:, taps] @ kernel[:, taps].T)[:, None].conj()
        )
        np.testing.assert_allclose(gram, gram[np.argmax(rows == rows[:, None], axis=1)], atol=1e-12)  # rounding


@given(grids)
def test_phases_are_the_exponentials_and_exact_at_quarter_turns(grid):
    geometry = Geometry.of(grid, grid)
    offsets = np.array(list(np.ndindex(*grid))).reshape(geometry.n_taps, len(grid))
    angle = geometry.frequencies @ (offsets / np.array(grid, float)).T
    # Both sides are rounded exponentials of angles up to a few dozen turns.
    np.testing.assert_allclose(geometry.phases, np.exp(-2j * np.pi * angle), atol=1e-13)
    quarter = np.isclose(4 * angle, np.round(4 * angle), atol=1e-12)
    parts = np.stack([geometry.phases[quarter].real, geometry.phases[quarter].imag])
    assert set(np.abs(parts).ravel()) <= {0.0, 1.0}


def test_an_int_is_every_axis():
    assert Geometry.of((3,), 8).grid == (8,)
    assert Geometry.of((3, 3), 8).grid == (8, 8)
    assert Geometry.of((4, 5, 3), 8).grid == (8,)
    assert Geometry.of((4, 5, 3, 3), 8).grid == (8, 8)
    assert Geometry.of((4, 5, 3, 3, 3), np.int64(8)).grid == (8, 8, 8)


def test_a_sequence_fixes_the_number_of_axes():
    assert Geometry.of((4, 5), ()).channels == (4, 5)
    assert Geometry.of((4, 5), (8, 8)).channels == (1, 1)
    assert Geometry.of((4, 5, 3), [8]).taps == (3,)
    assert Geometry.of((4, 5, 3), (8, 8, 8)).taps == (4, 5, 3)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((3,), (8, 8), "expected 2 axes .* or 4 axes"),
        ((2, 2, 3, 3), (8,), "expected 1 axes .* or 3 axes"),
        ((9,), 8, "9,.* taps are more than the input has points"),
        ((3, 5), (8, 4), "taps are more"),
        ((3, 0), 8, "empty"),
        ((3,), 0, "positive"),
        ((3,), (-2,), "positive"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, size, message):
    with pytest.raises(ValueError, match=message):
        Geometry.of(shape, size)


@pytest.mark.parametrize("size", ["64", 64.0, (8.5,), None, True, (True,), ("8",)])
def test_an_input_size_is_made_of_integers(size):
    with pytest.raises(TypeError, match="input_size"):
        Geometry.of((3,), size)


@pytest.mark.parametrize("dilation", [10**20, 2**40, (1, 10**400)])
def test_a_dilation_beyond_all_bounds_is_refused(dilation):
    with pytest.raises(ValueError, match=r"dilation: .* given, expected less than 1099511627776"):
        Geometry.of((3, 3), 8, dilation=dilation)
    largest = Geometry.of((3,), 9, dilation=2**40 - 2)  # which is 5 modulo 9
    np.testing.assert_array_equal(largest.phases, Geometry.of((3,), 9, dilation=5).phases)


@pytest.mark.parametrize("size", [10**20, 10**6, (10**9, 3)])
def test_an_input_that_does_not_fit_into_the_memory_is_refused(size):
    with pytest.raises(
        ValueError, match=r"input_size: .* given, where the symbol .* needs about .* GB; this machine has"
    ):
        Geometry.of((3, 3), size)
    Geometry.of((64, 64, 3, 3), 256)
