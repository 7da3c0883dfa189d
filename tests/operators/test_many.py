"""Norms and stable ranks of many kernels at once: those of one after the other, with their gradients."""

import numpy as np
import pytest
import torch
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.operators import autocorrelation, norms, symbol
from srnc_manifold.operators.geometry import Geometry

CASES = [
    ((3,), 16, {}),
    ((4,), 5, {}),
    ((3, 3), (9, 8), {}),
    ((3, 3), (8, 8), {"dilation": 2}),
    ((1, 3, 3), 8, {}),
    ((4, 1, 3), 8, {"groups": 4, "stride": 2}),
    ((1, 4, 3), 16, {"stride": 2, "dilation": 3}),
    ((2, 2, 3), 7, {}),
    ((4, 2, 3, 3), (6, 4), {"groups": 2, "stride": (3, 2)}),
    ((14, 15, 3), 8, {}),
    ((3, 4), (), {}),
]
LIBRARIES = {"numpy": np.array, "torch": torch.tensor}


def as_numpy(values):
    return namespace("torch").to_numpy(values) if isinstance(values, torch.Tensor) else values


@pytest.mark.parametrize(("shape", "size", "layout"), CASES)
@pytest.mark.parametrize("library", sorted(LIBRARIES))
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_many_are_as_one_after_the_other(shape, size, layout, library, scale):
    kernels = np.random.default_rng(0).standard_normal((9, *shape)) * scale
    kernels[3] = kernels[4]
    given = LIBRARIES[library](kernels)
    found = as_numpy(srnc.spectral_norms(given, size, **layout))
    # Sums of squares and singular values, each rounded.
    np.testing.assert_allclose(found, [srnc.spectral_norm(k, size, **layout) for k in kernels], rtol=1e-13)
    found = as_numpy(srnc.stable_ranks(given, size, **layout))
    np.testing.assert_allclose(found, [srnc.stable_rank(k / scale, size, **layout) for k in kernels], rtol=1e-13)


@pytest.mark.parametrize(("shape", "size", "layout"), some(CASES, keep=4))
def test_gradients_are_those_of_finite_differences(shape, size, layout):
    kernels = torch.tensor(np.random.default_rng(1).standard_normal((3, *shape)), requires_grad=True)
    for measure in (srnc.spectral_norms, srnc.stable_ranks):
        assert torch.autograd.gradcheck(lambda x, f=measure: f(x, size, **layout), kernels)


def test_gradients_of_single_precision_have_it():
    kernels = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    srnc.spectral_norms(kernels, 8).sum().backward()
    assert kernels.grad.dtype == torch.float32
    # The gradient of a norm is a unit atom: its product with the kernel is the norm.
    products = (kernels.grad * kernels).sum(dim=(1, 2)).detach().numpy()
    np.testing.assert_allclose(products, srnc.spectral_norms(kernels.detach(), 8).numpy(), rtol=1e-6)


@pytest.mark.parametrize(("shape", "size", "layout"), CASES[:7])
def test_autocorrelations_give_the_squared_norms_of_all_blocks(shape, size, layout, monkeypatch):
    geometry = Geometry.of(shape, size, **layout)
    kernels = np.random.default_rng(2).standard_normal((7, *shape))
    expected = symbol.energies(symbol.of(kernels, geometry))
    xp = namespace("numpy")
    for chunk in (1, 1 << 19):
        monkeypatch.setattr(type(xp), "at_once", lambda *_, chunk=chunk: chunk)
        found = np.empty_like(expected)
        for part, squares in autocorrelation.squared_norms(autocorrelation.of(kernels, geometry, xp), geometry, xp):
            found[part] = squares.swapaxes(1, 2).reshape(len(squares), -1)
        np.testing.assert_allclose(found, expected, atol=1e-13 * expected.max())  # rounding of the largest


@pytest.mark.parametrize(("shape", "size", "layout"), CASES)
def test_some_blocks_are_those_of_the_whole_symbol(shape, size, layout):
    geometry, rng = Geometry.of(shape, size, **layout), np.random.default_rng(3)
    kernels = rng.standard_normal((5, *shape))
    owners, blocks = rng.integers(0, 5, 20), rng.integers(0, geometry.n_blocks, 20)
    expected = symbol.of(kernels, geometry)[owners, blocks]
    np.testing.assert_allclose(symbol.at(kernels, owners, blocks, geometry), expected, atol=1e-13)  # sums of a few taps


@pytest.mark.parametrize("shape", [(3, 4), (20, 20), (40, 33), (2, 70)])
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("chunk", [1, 1 << 19])
def test_norms_are_tested_and_the_largest_found(shape, library, chunk, monkeypatch):
    xp, rng = namespace(library), np.random.default_rng(4)
    monkeypatch.setattr(type(xp), "at_once", lambda *_: chunk)
    matrices = rng.standard_normal((6, 5, *shape)) + 1j * rng.standard_normal((6, 5, *shape))
    matrices[0] = 0.0
    matrices[1, 1:] = matrices[1, 0]  # equal norms
    exact = np.linalg.norm(matrices, 2, axis=(-2, -1)) ** 2
    given = matrices if library == "numpy" else torch.tensor(matrices)
    tests = norms.tests_of(xp.reshape(given, (30, *shape)), xp)
    assert np.all(as_numpy(tests.estimates) <= exact.ravel() * (1 + 1e-12))  # rounding
    places, largest = (as_numpy(found) for found in tests.dominant_of(6))
    np.testing.assert_allclose(largest, exact.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(places // 5, np.arange(6))
    np.testing.assert_allclose(exact.ravel()[places], exact.max(axis=1), rtol=1e-12)
    index = rng.permutation(30)[:20]
    for factor, below in ((1 + 1e-9, True), (1 - 1e-9, False)):
        levels = exact.ravel()[index] * factor
        numbers = (xp.constant(index, given), xp.constant(levels, given.real))
        found = as_numpy(tests.below(*numbers))
        np.testing.assert_array_equal(found[levels > 0], below)


@pytest.mark.parametrize("measure", [srnc.spectral_norms, srnc.stable_ranks])
def test_wrong_kernels_are_named(measure):
    with pytest.raises(ValueError, match=r"kernels\[1\]: all entries are zero"):
        measure(np.array([[1.0, 2], [0, 0]]), 8)
    with pytest.raises(ValueError, match="kernels: shape"):
        measure(np.ones(3), 8)
    with pytest.raises(ValueError, match="taps are more"):
        measure(np.ones((2, 9)), 8)


@pytest.mark.parametrize(
    ("shape", "size", "layout"), some([((14, 13, 3), 12, {}), ((13, 4, 3, 3), (6, 6), {"stride": 2})], keep=1)
)
def test_gains_of_kernels_near_one_another(shape, size, layout, monkeypatch):
    geometry, rng = Geometry.of(shape, size, **layout), np.random.default_rng(5)
    nearby, decomposed = norms.NearbyGains(geometry), []
    monkeypatch.setattr(norms.NormTests, "SMALL", 4)  # so that the reference is found in the same way
    given = norms.NormTests.__init__

    def counted(self, matrices, *args):
        decomposed.append(len(matrices))
        given(self, matrices, *args)

    kernel, along = rng.standard_normal((2, *shape))
    for step in (0.0, 1e-9, 1e-6, 1e-4, 1e-2, 1e-3, 1.0, 1.0 + 1e-7, 10.0, 0.0):
        with monkeypatch.context() as patch:
            patch.setattr(norms.NormTests, "__init__", counted)
            found = nearby.gain(kernel + step * along)
        assert found == pytest.approx(norms.gain(kernel + step * along, geometry), rel=1e-13)
    assert sum(count == geometry.n_blocks for count in decomposed) < 9  # most look at some of the blocks only
