"""Bounds from sums of squares hold for any arrays, and are sharp where the optimum is known in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold.bounds.cone_programs.moments import MomentProgram
from srnc_manifold.certificates import ball, moments, regions
from srnc_manifold.certificates.quartics import quartics
from srnc_manifold.operators import norms, symbol
from srnc_manifold.operators.geometry import Geometry

GEOMETRIES = [
    Geometry.of((3,), 8),
    Geometry.of((1, 2), ()),
    Geometry.of((2, 2), (4, 5)),
    Geometry.of((2, 2, 2), (5,)),
    Geometry.of((3, 2, 1), (4,)),
    Geometry.of((4, 1, 2), (6,), groups=2),
    Geometry.of((2, 1, 3), (6,), stride=2),
    Geometry.of((3,), 8, dilation=2),
]


def basis(z):
    """``m(z)`` and the powers of a functional at a point, one after the other."""
    q = quartics(z.size)
    quadratic = q.factors * z[q.pairs[:, 0]] * z[q.pairs[:, 1]]
    values = np.zeros(q.size)
    values[q.quartic] = np.outer(quadratic, quadratic) / np.outer(q.factors, q.factors)
    values[q.cubic] = np.outer(quadratic / q.factors, z)
    return np.concatenate([quadratic, z]), values


def unit(rng, size):
    z = rng.standard_normal(size)
    return z / np.linalg.norm(z)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_tables_of_a_functional_that_is_a_point(n):
    rng, q = np.random.default_rng(n), quartics(n)
    z = unit(rng, n)
    m, values = basis(z)
    lifts = np.concatenate([[1.0], z, m[: len(q.pairs)] / q.factors])
    rows = np.concatenate([m[: len(q.pairs)] / q.factors, z])
    # Products of a few numbers below one, summed on the sphere: rounding only, here and below.
    np.testing.assert_allclose(q.table(values), np.outer(rows, lifts), atol=1e-14)
    np.testing.assert_allclose(q.gram(q.table(values)), np.outer(m, m), atol=1e-14)
    assert m @ m == pytest.approx(2, abs=1e-14)
    assert q.one @ values == pytest.approx(1, abs=1e-14)
    a = rng.standard_normal(n)
    assert q.linear(a) @ values == pytest.approx(a @ z, abs=1e-13)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_adjoints(n):
    rng, q = np.random.default_rng(n), quartics(n)
    values, table = rng.standard_normal(q.size), rng.standard_normal((len(q.pairs) + n, 1 + n + len(q.pairs)))
    gram = rng.standard_normal((len(table), len(table)))
    assert np.sum(q.table(values) * table) == pytest.approx(values @ q.table_adjoint(table), rel=1e-12)  # rounding
    assert np.sum(q.gram(table) * gram) == pytest.approx(np.sum(table * q.gram_adjoint(gram)), rel=1e-12)
    for k in (1, 2):
        rows = rng.standard_normal((3, k, k, len(table))) + 1j * rng.standard_normal((3, k, k, len(table)))
        matrices = rng.standard_normal((3, k * (n + 1), k * (n + 1)))
        matrices = matrices + 1j * rng.standard_normal(matrices.shape)
        found = np.sum(moments.localizing(q, rows, table).conj() * matrices).real
        assert found == pytest.approx(np.sum(table * moments.localizing_adjoint(q, rows, matrices)), rel=1e-12)


def test_a_correction_adds_a_polynomial():
    rng, q = np.random.default_rng(0), quartics(4)
    gram, missing = rng.standard_normal((14, 14)), rng.standard_normal(q.size)
    for _ in range(5):
        m, values = basis(unit(rng, 4))
        expected = m @ gram @ m + missing @ values
        assert m @ q.corrected(gram, missing) @ m == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_rows_are_the_constraints(geometry):
    rng = np.random.default_rng(0)
    z = unit(rng, int(np.prod(geometry.kernel_shape)))
    q, k = quartics(z.size), geometry.block_rank
    blocks = np.arange(geometry.n_blocks)[::-1]
    m, _ = basis(z)
    at_z = moments.constraint_rows(geometry, 1.7, blocks) @ np.concatenate([m[: len(q.pairs)] / q.factors, z])
    symbols = symbol.of(z.reshape(geometry.kernel_shape), geometry)[blocks]
    symbols = symbols if geometry.block_shape[0] <= geometry.block_shape[1] else symbols.conj().swapaxes(1, 2)
    np.testing.assert_allclose(at_z, 1.7 * np.eye(k) - symbols @ symbols.conj().swapaxes(1, 2), atol=1e-13)


def random_certificate(rng, geometry, n_splits):
    """Numbers of sizes from 1e-6 to 1e6 in every array, and a tree that is a path."""
    size, k, n_leaves = int(np.prod(geometry.kernel_shape)), geometry.block_rank, n_splits + 1
    order, side = size * (size + 3) // 2, (size + 1) * k
    used = int(rng.integers(0, geometry.n_blocks + 1))

    def numbers(*shape):
        return rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6) * (rng.random() < 0.8)

    multipliers = numbers(n_leaves, used, side, side) + (1j * numbers(n_leaves, used, side, side) if k > 1 else 0)
    return {
        "normals": rng.standard_normal((n_splits, size)),
        "thresholds": 0.5 * rng.standard_normal(n_splits),
        "children": np.array([[-1 - i, i + 1 if i + 1 < n_splits else -1 - n_splits] for i in range(n_splits)]).reshape(
            -1, 2
        ),
        "blocks": rng.integers(0, geometry.n_blocks, used),
        "grams": numbers(n_leaves, order, order),
        "multipliers": multipliers,
        "cuts": numbers(n_leaves, n_splits, size + 1, size + 1),
    }


@given(st.sampled_from(GEOMETRIES), st.integers(0, 2**31))
def test_no_arrays_give_less_than_a_feasible_value(geometry, seed):
    rng = np.random.default_rng(seed)
    size = int(np.prod(geometry.kernel_shape))
    z = unit(rng, size)
    direction = unit(rng, size) + rng.choice([0.0, 1.0, 10.0]) * z
    direction, z = ((x / np.linalg.norm(x)).reshape(geometry.kernel_shape) for x in (direction, z))
    level, value = float(norms.gain(z, geometry)), float(np.sum(direction * z))
    arrays = random_certificate(rng, geometry, int(rng.integers(0, 3)))
    # No tolerance: bounds are rounded upwards. Any kernel is feasible for a level of its own gain.
    assert ball.certified_bound("moments", arrays, direction, geometry, level) >= value


def solved(direction, geometry, level):
    """The certificate of a thousand steps for the whole sphere."""
    return MomentProgram(direction, geometry, level, np.arange(geometry.n_blocks)).certificate(40)


def test_two_taps_on_two_points():
    """On the unit circle the gain is ``1 + |sin 2φ|``, so that the optimum for ``a`` at 45° is ``√(c/2)``."""
    geometry, level = Geometry.of((2,), 2), 1.3
    arrays = solved(np.full(2, np.sqrt(0.5)), geometry, level)
    best = np.sqrt(level / 2)
    bound = ball.certified_bound("moments", arrays, np.full(2, np.sqrt(0.5)), geometry, level)
    assert best <= bound <= best + 1e-6  # the splitting has converged to about 1e-8 after a thousand steps


@pytest.mark.parametrize("geometry", [Geometry.of((3,), 8), Geometry.of((2, 2, 1), (2,))], ids=str)
def test_tampered_certificates_give_no_invalid_bound(geometry):
    """From a certificate of a tight bound, which errors can only make worse."""
    rng = np.random.default_rng(0)
    direction = np.full(geometry.kernel_shape, np.prod(geometry.kernel_shape) ** -0.5)
    direction = direction + 0.1 * rng.standard_normal(direction.shape)
    direction /= np.linalg.norm(direction)
    low, high = 1 / min(geometry.channels), float(norms.gain(direction, geometry))
    level = low + 0.6 * (high - low)
    arrays = solved(direction, geometry, level)
    best, points = -1.0, rng.standard_normal((20_000, *geometry.kernel_shape))
    for z in points / np.linalg.norm(points.reshape(len(points), -1), axis=1).reshape(-1, *[1] * direction.ndim):
        if norms.gain(z, geometry) <= level:
            best = max(best, float(np.sum(direction * z)))
    honest = ball.certified_bound("moments", arrays, direction, geometry, level)
    assert best <= honest < 1
    for name in ("grams", "multipliers"):
        for size in (1e-8, 1e-3, 1.0):
            for _ in range(10):
                noise = size * rng.standard_normal(arrays[name].shape)
                changed = arrays | {name: arrays[name] + noise}
                assert ball.certified_bound("moments", changed, direction, geometry, level) >= best
        scaled = arrays | {name: 1.5 * arrays[name]}
        assert ball.certified_bound("moments", scaled, direction, geometry, level) >= best


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200, 1e308, -1e308])
@pytest.mark.parametrize("name", ["grams", "multipliers", "cuts"])
def test_numbers_beyond_all_bounds_are_worth_nothing(name, value):
    rng, geometry = np.random.default_rng(0), Geometry.of((2, 2, 2), (5,))
    direction = np.full((2, 2, 2), 8**-0.5)
    arrays = random_certificate(rng, geometry, 1)
    for other in ("grams", "multipliers", "cuts"):
        arrays[other] = np.zeros_like(arrays[other])
    arrays[name][...] = value
    bound = ball.certified_bound("moments", arrays, direction, geometry, 1.0)
    assert bound == pytest.approx(1.0, abs=1e-12)  # ‖a‖, rounded upwards


def test_malformed_certificates_are_refused():
    rng, geometry = np.random.default_rng(0), Geometry.of((3,), 8)
    direction = np.array([1.0, 0.0, 0.0])
    arrays = random_certificate(rng, geometry, 2) | {"blocks": np.arange(2), "multipliers": np.zeros((3, 2, 4, 4))}

    def bound(**changed):
        return ball.certified_bound("moments", arrays | changed, direction, geometry, 1.2)

    assert bound() <= 1 + 1e-12
    for name in ("normals", "thresholds", "children", "grams", "multipliers", "cuts"):
        with pytest.raises(ValueError, match=r"shape \(.*\) given, expected"):
            bound(**{name: arrays[name][..., :-1] if arrays[name].ndim > 1 else arrays[name][:-1]})
    with pytest.raises(ValueError, match="expected a later one"):
        bound(children=np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="leaf 7 given"):
        bound(children=np.array([[-1, 1], [-2, -8]]))
    with pytest.raises(ValueError, match="expected finite"):
        bound(thresholds=np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="cuts: 1 for a leaf given, expected 2"):
        bound(cuts=arrays["cuts"][:, :1])
    for blocks in (np.array([0, 5]), np.array([-1, 0]), np.array([0.0, 1.0])):
        with pytest.raises(ValueError, match="expected numbers of the 5 blocks"):
            bound(blocks=blocks)


def test_a_leaf_s_functions_are_not_negative_on_it():
    """Bounds of leaves use ``h >= 0``; a bound of one leaf alone may lie below values elsewhere."""
    geometry, direction = Geometry.of((2,), 9), np.array([0.8, 0.6])
    slopes, offsets = regions.half_spaces(np.array([1.0, 0.0]), 0.0, 1.0)  # z_0 <= 0
    rows = moments.constraint_rows(geometry, 2.0, np.arange(geometry.n_blocks))  # all kernels are feasible
    cut = moments.cut_rows(slopes[::2], offsets[::2])
    program = MomentProgram(direction, geometry, 2.0, np.arange(geometry.n_blocks))
    answers = program.answers(slopes[::2], offsets[::2])
    answer = [next(answers) for _ in range(40)][-1]
    bound = moments.leaf_bound(direction, rows, cut, answer.gram, answer.multipliers, answer.cuts)
    assert 0.6 <= bound <= 0.6 + 1e-5  # attained at (0, 1); the steps have converged to about 1e-6
