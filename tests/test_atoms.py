import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold import atoms, spectrum
from srnc_manifold.geometry import Geometry

SHAPES = [((4,), (9,)), ((3, 3), (5, 6)), ((2, 3, 3), (8,)), ((3, 4), ()), ((60,), (64,))]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_an_atom_is_the_gradient_of_a_bilinear_form_of_the_symbol(shape, size):
    rng = np.random.default_rng(0)
    geometry = Geometry.of(shape, size)
    kernel = rng.standard_normal(shape)
    matrices = spectrum.symbol(kernel, geometry)
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
    norm = np.sqrt(spectrum.squared_singular_values(kernel, geometry).max())
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
