from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold.operators import atoms, symbol
from srnc_manifold.operators.geometry import Geometry

SHAPES = [((4,), (9,)), ((3, 3), (5, 6)), ((2, 3, 3), (8,)), ((3, 4), ()), ((60,), (64,))]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_an_atom_is_the_gradient_of_a_bilinear_form_of_the_symbol(shape, size):
    rng = np.random.default_rng(0)
    geometry = Geometry.of(shape, size)
    kernel = rng.standard_normal(shape)
    matrices = symbol.of(kernel, geometry)
    for frequency in range(len(geometry.frequencies)):
        u, v = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for n in geometry.channels)
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        atom = atoms.atom(geometry, frequency, u, v)
        # Sums of at most 64 products of numbers of size one.
        assert np.sum(kernel * atom.tensor) == pytest.approx((u.conj() @ matrices[frequency] @ v).real, abs=1e-12)
        s = np.sum(geometry.phases[frequency] ** 2)
        expected = 0.5 * (geometry.n_taps + (np.conj(u @ u) * (v @ v) * s).real)
        assert atom.norm**2 == pytest.approx(expected, abs=1e-12 * geometry.n_taps)


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_the_norm_is_the_largest_product_with_an_atom(shape, size):
    geometry = Geometry.of(shape, size)
    kernel = np.random.default_rng(1).standard_normal(shape)
    norm = np.sqrt(symbol.squared_singular_values(kernel, geometry).max())
    assert np.sum(kernel * atoms.dominant_atom(kernel, geometry).tensor) == pytest.approx(norm, rel=1e-12)


@given(st.integers(0, 2**31), st.floats(0.05, 0.999))
def test_the_nearest_point_of_a_cap(seed, height):
    rng = np.random.default_rng(seed)
    tensor, anchor = rng.standard_normal(5), rng.standard_normal(5)
    level = height * np.linalg.norm(tensor)
    if anchor @ tensor >= level * np.linalg.norm(anchor):
        anchor = -anchor  # outside the cap
    point = atoms.nearest_in_cap(anchor, tensor, level)
    assert np.linalg.norm(point) == pytest.approx(1, abs=1e-12)
    assert point @ tensor == pytest.approx(level, rel=1e-10)
    others = rng.standard_normal((2000, 5))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    inside = others[others @ tensor >= level]
    assert np.all(inside @ anchor <= point @ anchor + 1e-12)


def test_an_empty_cap_says_so():
    with pytest.raises(ValueError, match="empty cap"):
        atoms.nearest_in_cap(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1.5)
    with pytest.raises(ValueError, match="parallel"):
        atoms.nearest_in_cap(np.array([1.0, 0.0]), np.array([1.0, 0.0]), 0.5)


GEOMETRIES = [
    Geometry.of((3,), 8),
    Geometry.of((4,), 9, dilation=2),
    Geometry.of((3, 3), (5, 6)),
    Geometry.of((2, 3, 3), (7,)),
    Geometry.of((4, 2, 3), (6,), groups=2),
    Geometry.of((4, 2, 3), (8,), stride=2),
    Geometry.of((4, 1, 3), (6,), groups=4, stride=2),
    Geometry.of((4, 2, 3, 2), (6, 4), groups=2, stride=(3, 2)),
    Geometry.of((2, 2, 3, 3), (8, 6), stride=2, dilation=(3, 1)),
    Geometry.of((6, 1, 5), (12,), groups=3, stride=4),
    Geometry.of((3, 2, 3), (9,), stride=3, dilation=2),
    Geometry.of((3, 4), ()),
]
layouts = st.sampled_from(GEOMETRIES)
seeds = st.integers(0, 2**31)


def phases_of_taps(geometry):
    """Phase number, and ``f_l(j)`` for each listed frequency, of every tap: straight from their definitions."""
    taps = np.array(list(np.ndindex(*geometry.taps)), int).reshape(geometry.n_taps, len(geometry.taps))
    place, residue = np.divmod(taps * np.array(geometry.dilation, int), np.array(geometry.stride, int))
    met = sorted({tuple(p) for p in residue})
    number = np.array([met.index(tuple(p)) for p in residue])
    turns = geometry.frequencies @ (place / np.array(geometry.grid, float)).T
    return number, np.exp(-2j * np.pi * turns)


def block_of(kernel, geometry, block):
    """``X_b[o, (p, i)]``: the sum over the taps of each phase."""
    frequency, group = divmod(block, geometry.groups)
    number, f = phases_of_taps(geometry)
    m, n = geometry.block_shape
    x = kernel.reshape(geometry.groups, m, geometry.channels[1], -1)[group]
    return np.stack([x[..., number == p] @ f[frequency, number == p] for p in range(max(number) + 1)], 1).reshape(m, n)


def random_matrices(rng, geometry):
    """A matrix for each block: of any rank, of rank one, real, imaginary or sparse."""
    shape = (geometry.n_blocks, *geometry.block_shape)
    w = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    if rng.random() < 0.5:
        w = w[:, :, :1] * w[:, :1, :]
    w = rng.choice([0, 1]) * w.real + 1j * rng.choice([0, 1]) * w.imag if rng.random() < 0.5 else w
    return w * (rng.random(shape) < 0.8)


@given(layouts, seeds)
def test_the_frame_is_that_of_the_definition(geometry, seed):
    frame, rng = atoms.frame(geometry), np.random.default_rng(seed)
    number, f = phases_of_taps(geometry)
    c_in = geometry.channels[1]
    for block in range(geometry.n_blocks):
        of_phase = [f[block // geometry.groups, number == p] for p in range(max(number) + 1)]
        counts, sums = np.array([len(p) for p in of_phase]), np.array([abs(np.sum(p**2)) for p in of_phase])
        # Sums of at most nine numbers of modulus one.
        np.testing.assert_allclose(frame.upper[block], np.repeat((counts + sums) / 2, c_in), atol=1e-13)
        np.testing.assert_allclose(frame.lower[block], np.repeat((counts - sums) / 2, c_in), atol=1e-13)
        assert frame.top[block] == np.max(frame.upper[block])
    np.testing.assert_allclose(np.abs(frame.turns), 1, atol=1e-15)  # exponentials of imaginary numbers
    x = rng.standard_normal(geometry.kernel_shape)
    turned = atoms.turned_symbol(x, geometry)
    for block in range(geometry.n_blocks):
        expected = block_of(x, geometry, block) * frame.turns[block]
        np.testing.assert_allclose(turned[block], expected, atol=1e-13)  # the same sums in another order


@given(layouts, seeds)
def test_synthesis_is_adjoint_to_the_turned_symbol_and_has_the_norm_of_the_theory(geometry, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(geometry.kernel_shape), random_matrices(rng, geometry)
    frame, blocks = atoms.frame(geometry), rng.permutation(geometry.n_blocks)
    kernels = atoms.synthesis(w[blocks], blocks, geometry)
    for kernel, block in zip(kernels, blocks, strict=True):
        a = block_of(x, geometry, block) * frame.turns[block]
        # Sums of at most a hundred products of numbers of size one.
        assert np.sum(x * kernel) == pytest.approx(np.sum(a * w[block]).real, abs=1e-12)
        expected = np.sum(frame.upper[block] * w[block].real ** 2 + frame.lower[block] * w[block].imag ** 2)
        assert np.sum(kernel**2) == pytest.approx(expected, abs=1e-12 * geometry.n_taps)
        image = block_of(kernel, geometry, block) * frame.turns[block]
        of_theory = frame.upper[block] * w[block].real - 1j * frame.lower[block] * w[block].imag
        np.testing.assert_allclose(image, of_theory, atol=1e-12)


@given(layouts, seeds)
def test_atoms_are_syntheses_of_rank_one_no_longer_than_top(geometry, seed):
    rng = np.random.default_rng(seed)
    frame, (m, n) = atoms.frame(geometry), geometry.block_shape
    for block in range(geometry.n_blocks):
        u, v = (
            rng.standard_normal(m) + 1j * rng.standard_normal(m),
            rng.standard_normal(n) + 1j * rng.standard_normal(n),
        )
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        atom = atoms.atom(geometry, block, u, v)
        x = rng.standard_normal(geometry.kernel_shape)
        # Rounding of sums of at most a hundred products.
        expected = (u.conj() @ block_of(x, geometry, block) @ v).real
        assert np.sum(x * atom.tensor) == pytest.approx(expected, abs=1e-12)
        w = np.outer(u.conj(), v / frame.turns[block])
        made = atoms.synthesis(w[None], np.array([block]), geometry)[0]
        np.testing.assert_allclose(atom.tensor, made, atol=1e-14)
        assert atom.norm**2 <= frame.top[block] + 1e-12  # rounding
        u, v = np.eye(m)[0], np.eye(n)[np.argmax(frame.upper[block])] * frame.turns[block]
        assert atoms.atom(geometry, block, u, v).norm ** 2 == pytest.approx(frame.top[block], abs=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("symmetry", [0, 1, -1])
def test_the_dominant_atom_has_the_norm_of_the_operator(geometry, symmetry, dense):
    x = np.random.default_rng(0).standard_normal((*geometry.channels, *geometry.taps))
    x = x + symmetry * np.flip(x, axis=tuple(range(2, x.ndim)))
    if not np.any(x):  # nothing but zeros is antisymmetric over a single tap
        x[...] = 1.0
    x = x.reshape(geometry.kernel_shape)
    norm = np.linalg.norm(dense(x, geometry.input_size, geometry.groups, geometry.stride, geometry.dilation), 2)
    assert np.sum(x * atoms.dominant_atom(x, geometry).tensor) == pytest.approx(norm, rel=1e-12)  # rounding


def exact_squared_distance(height, top, level):
    """``2 − 2 cos(arccos(h/γ) − arccos(√c/γ))`` with 80 digits, the cosine of a difference being a sum of products."""
    with localcontext() as context:
        context.prec = 80
        h, g, c = Decimal(float(height)), Decimal(float(top)).sqrt(), Decimal(float(level)).sqrt()
        first, second = h / g, c / g
        return 2 - 2 * (first * second + (1 - first * first).sqrt() * (1 - second * second).sqrt())


@given(st.floats(0.1, 10), st.floats(-16, 1), st.floats(-12, 0))
def test_squared_distance_has_all_its_digits(level, above, below):
    top = level * (1 + 10.0**above)
    height = np.sqrt(level) * (1 - 10.0**below)
    expected = float(exact_squared_distance(height, top, level))
    # The one difference, c − h², has an error of an ulp or two of c; the distance is about its square.
    digits = 2e-15 * level / (level - height**2) + 2e-14
    assert atoms.squared_distance(height, top, level) == pytest.approx(expected, rel=digits)


@given(st.floats(0.1, 10), st.floats(-16, 1), st.floats(-15, 0))
def test_squared_distance_of_an_atom_that_points_away(level, above, below):
    top = level * (1 + 10.0**above)
    height = -np.sqrt(level) * (1 - 10.0**below)
    # No small distance: the nearest is that of a height of zero.
    expected = float(exact_squared_distance(height, top, level))
    assert atoms.squared_distance(height, top, level) == pytest.approx(expected, rel=1e-13)


def test_tiny_distances_keep_their_digits_where_an_arccosine_loses_them():
    height, top, level = np.sqrt(2.0) * (1 - 1e-9), 3.0, 2.0
    expected = float(exact_squared_distance(height, top, level))
    naive = 2 - 2 * np.cos(np.arccos(height / np.sqrt(top)) - np.arccos(np.sqrt(level / top)))
    assert 0 < expected < 1e-16
    assert abs(naive / expected - 1) > 0.1
    assert atoms.squared_distance(height, top, level) == pytest.approx(expected, rel=1e-6)  # 1e-16 / 1e-9, twice


@given(st.floats(0.1, 10), st.floats(-10, 1), st.floats(-8, 0.3), st.floats(-8, 0.3), st.floats(-8, 1))
def test_squared_distance_falls_with_height_and_top(level, above, below, lower, longer):
    top = level * (1 + 10.0**above)
    height = np.sqrt(level) * (1 - min(10.0**below, 1.0))
    one = atoms.squared_distance(height, top, level)
    # Rounding: the relative error of c − h² as above.
    tolerance = 1e-14 + one * 4e-15 * level / (level - height**2)
    assert atoms.squared_distance(height * (1 - min(10.0**lower, 1.0)), top, level) >= one - tolerance
    assert atoms.squared_distance(height, top * (1 + 10.0**longer), level) <= one + tolerance


@given(st.floats(0.1, 10), st.floats(-8, 1), st.floats(0, 1), st.floats(-8, 2))
def test_squared_distance_with_a_slack_is_the_bound_of_the_shift(level, above, share, size):
    top, slack = level * (1 + 10.0**above), 10.0**size
    height = np.sqrt(share * level * (1 + slack))
    with localcontext() as context:
        context.prec = 80
        g2, c, sigma, e = (Decimal(float(value)) for value in (top, level, height, slack))
        e = e + 1
        if sigma * sigma > c * e:
            expected = Decimal(0)  # the bound says nothing
        else:
            cosine = (c.sqrt() * sigma + ((g2 - c) * (g2 * e - sigma * sigma)).sqrt()) / g2
            expected = max(Decimal(0), 2 - 2 * cosine)
    # The price of the shift is subtracted from something of its size.
    found = atoms.squared_distance(height, top, level, slack)
    assert found == pytest.approx(float(expected), abs=2e-14 * np.sqrt(1 + slack))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_delta_has_equal_singular_values(geometry, seed, dense):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(geometry.kernel_shape)
    delta = atoms.nearest_delta(z / np.linalg.norm(z), geometry)
    assert delta.shape == geometry.kernel_shape
    assert np.linalg.norm(delta) == pytest.approx(1, abs=1e-14)  # rounding
    matrix = dense(delta, geometry.input_size, geometry.groups, geometry.stride, geometry.dilation)
    values = np.linalg.svd(matrix, compute_uv=False)
    count = geometry.groups * geometry.block_rank * geometry.n_points
    least = (geometry.groups * geometry.block_rank) ** -0.5  # proposition 2
    np.testing.assert_allclose(values[:count], least, atol=1e-13)  # rounding of decompositions
    np.testing.assert_allclose(values[count:], 0, atol=1e-13)
    # It is its own nearest delta, and one near a kernel is found again.
    np.testing.assert_allclose(atoms.nearest_delta(delta, geometry), delta, atol=1e-13)
    near = delta + 1e-3 * z / np.linalg.norm(z)
    assert np.linalg.norm(atoms.nearest_delta(near, geometry) - delta) < 1e-2  # a few times the perturbation
