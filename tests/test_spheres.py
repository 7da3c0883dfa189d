"""Products of spheres: what is done for all factors at once is what is done for one after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymanopt.manifolds import Product, Sphere

from srnc_manifold.interop.pymanopt import _flat_product
from srnc_manifold.spheres import Spheres
from srnc_manifold.testing import taylor_slope

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=5).map(tuple)
seeds = st.integers(0, 2**31)

# Sums of a few products of numbers of size one, in another order.
ROUNDING = 1e-14


def drawn(sizes, seed):
    """The product, its generator, a point and two vectors of the surrounding space."""
    spheres, rng = Spheres(sizes), np.random.default_rng(seed)
    return spheres, rng, spheres.random_point(rng), *rng.standard_normal((2, spheres.size))


def test_sizes_and_places():
    spheres = Spheres((3, 1, 2))
    assert (spheres.size, spheres.dimension) == (6, 3)
    assert spheres.slices == (slice(0, 3), slice(3, 4), slice(4, 6))
    assert [part.tolist() for part in spheres.split(np.arange(6.0))] == [[0, 1, 2], [3], [4, 5]]


@given(sizes, seeds)
def test_every_operation_is_that_of_each_factor(sizes, seed):
    spheres, _, z, x, y = drawn(sizes, seed)
    factors = list(zip(*map(spheres.split, (z, x, y)), strict=True))
    for p, _, _ in factors:
        assert np.linalg.norm(p) == pytest.approx(1, abs=ROUNDING)
    by_factor = {
        "inner": [np.full(len(p), a @ b) for p, a, b in factors],
        "projected": [a - (a @ p) * p for p, a, _ in factors],
        "retracted": [(p + a) / np.linalg.norm(p + a) for p, a, _ in factors],
        "normalized": [a / np.linalg.norm(a) for _, a, _ in factors],
    }
    found = {
        "inner": np.broadcast_to(spheres.inner(x, y), z.shape),
        "projected": spheres.projected(x, z),
        "retracted": spheres.retracted(z, x),
        "normalized": spheres.normalized(x),
    }
    for name, parts in by_factor.items():
        # Near the origin a sum of point and vector has few digits left; lengths below 1e-3 do not occur here.
        np.testing.assert_allclose(found[name], np.concatenate(parts), atol=1e3 * ROUNDING, err_msg=name)


@given(sizes, seeds)
def test_projections_are_orthogonal_and_tangent(sizes, seed):
    spheres, _, z, x, y = drawn(sizes, seed)
    tangent = spheres.projected(x, z)
    np.testing.assert_allclose(spheres.inner(tangent, z), 0, atol=10 * ROUNDING)
    np.testing.assert_allclose(spheres.projected(tangent, z), tangent, atol=10 * ROUNDING)
    assert tangent @ y == pytest.approx(x @ spheres.projected(y, z), abs=100 * ROUNDING)  # it is self-adjoint


@given(sizes, seeds)
def test_pymanopt_s_own_product_agrees(sizes, seed):
    spheres, rng, z, x, y = drawn(sizes, seed)
    other, tangent = spheres.normalized(y), spheres.projected(x, z)
    ours, theirs = _flat_product(spheres, z, rng), Product([Sphere(n) for n in sizes])
    split = spheres.split
    assert ours.dim == theirs.dim
    assert ours.typical_dist == pytest.approx(theirs.typical_dist)
    assert ours.norm(z, x) == pytest.approx(theirs.norm(split(z), split(x)))
    assert ours.inner_product(z, x, y) == pytest.approx(theirs.inner_product(split(z), split(x), split(y)))
    # The arc cosine of an inner product near one has half of its digits.
    assert ours.dist(z, other) == pytest.approx(theirs.dist(split(z), split(other)), abs=1e-7)
    pairs = {
        "exp": (z, tangent),
        "retraction": (z, tangent),
        "log": (z, other),
        "projection": (z, x),
        "to_tangent_space": (z, x),
        "euclidean_to_riemannian_gradient": (z, x),
        "transport": (z, other, tangent),
    }
    for name, arguments in pairs.items():
        expected = np.concatenate(getattr(theirs, name)(*map(split, arguments)))
        np.testing.assert_allclose(getattr(ours, name)(*arguments), expected, atol=1e-7, err_msg=name)


@given(sizes, seeds)
def test_exp_follows_log_and_middles_are_in_the_middle(sizes, seed):
    spheres, rng, z, x, _ = drawn(sizes, seed)
    manifold, other = _flat_product(spheres, z, rng), spheres.normalized(x)
    there = np.repeat([n > 1 for n in sizes], sizes) | (z == other)  # no way leads to the other point of S⁰
    reached = manifold.exp(z, manifold.log(z, other))
    np.testing.assert_allclose(reached[there], other[there], atol=1e-6)  # half of the digits, as above
    middle = manifold.pair_mean(z, other)
    np.testing.assert_allclose(spheres.inner(middle, middle), 1, atol=10 * ROUNDING)
    halves = [np.broadcast_to(spheres.inner(middle, end), z.shape)[there] for end in (z, other)]
    np.testing.assert_allclose(*halves, atol=10 * ROUNDING)


def test_the_middle_of_opposite_points_is_a_point():
    spheres, z = Spheres((1, 3)), np.array([1.0, 0.6, 0.0, 0.8])
    manifold = _flat_product(spheres, z, np.random.default_rng(0))
    np.testing.assert_array_equal(manifold.pair_mean(z, z * [-1, 1, 1, 1]), z)
    np.testing.assert_array_equal(manifold.pair_mean(z, -z), z)


def test_the_first_random_point_is_the_start_and_all_others_are_points():
    spheres, rng = Spheres((2, 1, 3)), np.random.default_rng(0)
    start = spheres.random_point(rng)
    manifold = _flat_product(spheres, start, rng)
    assert manifold.random_point() is start
    for _ in range(3):
        point = manifold.random_point()
        np.testing.assert_allclose(spheres.inner(point, point), 1, atol=ROUNDING)
        vector = manifold.random_tangent_vector(point)
        np.testing.assert_allclose(spheres.inner(vector, point), 0, atol=ROUNDING)
        assert np.linalg.norm(vector) == pytest.approx(1)


@given(st.lists(st.integers(2, 4), min_size=1, max_size=4).map(tuple), seeds)
def test_the_riemannian_hessian_has_the_right_taylor_slope(sizes, seed):
    spheres, rng, z, x, _ = drawn(sizes, seed)
    tangent = spheres.normalized(spheres.projected(x, z))  # of length one in each factor
    matrix, cubic = rng.standard_normal((spheres.size, spheres.size)), rng.standard_normal(spheres.size)
    matrix = matrix + matrix.T

    def value(p):
        return 0.5 * p @ matrix @ p + cubic @ p**3

    gradient, product = matrix @ z + 3 * cubic * z**2, matrix @ tangent + 6 * cubic * z * tangent
    along = spheres.riemannian_hessian(z, gradient, product, tangent)
    np.testing.assert_allclose(spheres.inner(along, z), 0, atol=1e-12)
    expected = gradient @ tangent, 0.5 * tangent @ along

    def remainder(t):
        # On each sphere the retraction is a geodesic up to third order in t.
        return value(spheres.retracted(z, t * tangent)) - value(z) - t * expected[0] - t**2 * expected[1]

    slope = taylor_slope(remainder, 1e-12)  # above a hundred roundings of values of size ten
    assert slope == np.inf or abs(slope - 3) <= 0.2


def test_points_are_uniform():
    spheres, rng = Spheres((2, 3)), np.random.default_rng(0)
    points = np.array([spheres.random_point(rng) for _ in range(4000)])
    # Means and second moments have a standard error of at most 1/√4000 = 0.016.
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.06)
    expected = np.diag([1 / 2] * 2 + [1 / 3] * 3)
    np.testing.assert_allclose(points.T @ points / len(points), expected, atol=0.06)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((), ValueError, "sizes: none given, expected at least one sphere"),
        ((3, 0), ValueError, "sizes: 0 given, expected at least 1"),
        ((2.5,), TypeError, "sizes: 2.5 given, expected an integer"),
    ],
)
def test_sizes_are_checked(sizes, error, message):
    with pytest.raises(error, match=message):
        Spheres(sizes)
