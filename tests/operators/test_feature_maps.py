"""Convolutions with feature maps against the dense operator."""

import numpy as np
import pytest
import torch

import srnc_manifold as srnc
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.feature_maps import Convolution
from srnc_manifold.operators.geometry import Geometry

CASES = [
    ((3,), (8,), {}),
    ((2, 3), (5, 6), {}),
    ((4, 3, 3, 3), (6, 5), {}),
    ((4, 2, 3), (9,), {"groups": 2}),
    ((3, 2, 3, 2), (8, 6), {"stride": 2}),
    ((4, 1, 3), (12,), {"groups": 4, "stride": 3, "dilation": 2}),
    ((2, 2, 2, 2, 2), (4, 3, 2), {}),
    ((3, 5), (), {}),
]
cases = pytest.mark.parametrize(("shape", "size", "layout"), CASES, ids=str)


@cases
def test_the_operator_its_transpose_and_its_gradient(shape, size, layout, dense):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal(shape)
    convolution = Convolution(Geometry.of(shape, size, **layout))
    matrix = dense(kernel, size, **layout)
    v, u = rng.standard_normal(convolution.input_shape), rng.standard_normal(convolution.output_shape)
    # The same sums in another order.
    np.testing.assert_allclose(convolution.apply(kernel, v).ravel(), matrix @ v.ravel(), atol=1e-12)
    np.testing.assert_allclose(convolution.transposed(kernel, u).ravel(), matrix.T @ u.ravel(), atol=1e-12)
    gradient = convolution.gradient(u, v)
    for other in (kernel, rng.standard_normal(shape)):
        expected = u.ravel() @ dense(other, size, **layout) @ v.ravel()
        assert np.sum(gradient * other) == pytest.approx(expected, abs=1e-11)
    assert convolution.count == 3


@cases
def test_power_iteration_finds_the_spectral_norm(shape, size, layout):
    rng = np.random.default_rng(1)
    kernel = rng.standard_normal(shape)
    convolution = Convolution(Geometry.of(shape, size, **layout))
    pair = convolution.top_pair(kernel, rng.standard_normal(convolution.input_shape), tolerance=1e-7, max_steps=100_000)
    assert pair.converged
    norm = srnc.spectral_norm(kernel, size, **layout)
    # The value errs by the square of the residual, and is a lower bound.
    assert norm * (1 - 1e-10) <= pair.value <= norm * (1 + 1e-14)
    assert np.sum(pair.u * convolution.apply(kernel, pair.v)) == pytest.approx(pair.value, rel=1e-12)
    assert np.linalg.norm(pair.u) == pytest.approx(1, abs=1e-14)


def feature_maps(convolution, atom, turn):
    """The real feature maps of a block's singular vectors: real parts of exponentials, turned by a phase."""
    geometry = convolution.geometry
    frequency, group = divmod(atom.block, geometry.groups)
    outputs = np.indices(geometry.grid).reshape(len(geometry.grid), geometry.n_points)
    turns = geometry.frequencies[frequency] / np.array(geometry.grid)
    wave = np.exp(2j * np.pi * (turns @ outputs + turn))
    u, v = np.zeros(convolution.output_shape), np.zeros(convolution.input_shape)
    u[group] = np.real(np.outer(atom.u, wave))
    for taps, part in zip(geometry.taps_by_phase, atom.v.reshape(geometry.n_phases, -1), strict=True):
        # A tap finds this phase of the input moved by its place, which its own factor says.
        shifted = wave * geometry.phases[frequency, taps[0]]
        v[group][:, convolution.sources[taps[0]]] = np.real(np.outer(part, shifted))
    return u / np.linalg.norm(u), v / np.linalg.norm(v)


@cases
def test_the_symbol_gives_a_real_singular_pair_whose_gradient_is_the_atom_at_every_phase(shape, size, layout, dense):
    kernel = np.random.default_rng(3).standard_normal(shape)
    geometry = Geometry.of(shape, size, **layout)
    convolution = Convolution(geometry)
    dominant = atoms.dominant_atom(kernel, geometry)
    norm = np.linalg.norm(dense(kernel, size, **layout), 2)
    # Only at frequencies that are not their own mirror images is there a phase to choose.
    phases = (0.0, 0.1, 0.37, 0.8) if not geometry.are_real[dominant.block // geometry.groups] else (0.0, 0.5)
    for turn in phases:
        u, v = feature_maps(convolution, dominant, turn)
        np.testing.assert_allclose(convolution.apply(kernel, v), norm * u, atol=1e-10)
        np.testing.assert_allclose(convolution.transposed(kernel, u), norm * v, atol=1e-10)
        np.testing.assert_allclose(convolution.gradient(u, v), dominant.tensor, atol=1e-10)
    for block in range(geometry.n_blocks):  # of every other block, too
        atom = atoms.top_atom(kernel, geometry, block)
        if not geometry.are_real[block // geometry.groups]:
            u, v = feature_maps(convolution, atom, 0.2)
            np.testing.assert_allclose(convolution.gradient(u, v), atom.tensor, atol=1e-10)


def test_power_iteration_says_when_it_has_not_converged():
    kernel = np.random.default_rng(0).standard_normal((3, 3))
    convolution = Convolution(Geometry.of((3, 3), (16, 16)))
    pair = convolution.top_pair(
        kernel, np.random.default_rng(1).standard_normal(convolution.input_shape), tolerance=1e-12, max_steps=3
    )
    assert not pair.converged
    assert convolution.count == 6


def test_the_gradient_is_that_of_automatic_and_of_finite_differences():
    """By PyTorch's convolution, circular by its own padding: it shares nothing with ours."""
    rng = np.random.default_rng(2)
    kernel = rng.standard_normal((2, 3, 3, 3))
    convolution = Convolution(Geometry.of(kernel.shape, (6, 7)))
    pair = convolution.top_pair(kernel, rng.standard_normal(convolution.input_shape), tolerance=1e-9, max_steps=100_000)
    gradient = convolution.gradient(pair.u, pair.v)
    u, v = torch.tensor(pair.u).reshape(1, 2, 6, 7), torch.tensor(pair.v).reshape(1, 3, 6, 7)

    def value(x):
        padded = torch.nn.functional.pad(v, (2, 0, 2, 0), mode="circular")
        return torch.sum(u * torch.nn.functional.conv2d(padded, torch.flip(x, (2, 3))))

    x = torch.tensor(kernel, requires_grad=True)
    (automatic,) = torch.autograd.grad(value(x), x)
    np.testing.assert_allclose(gradient, automatic.numpy(), atol=1e-13)
    finite = np.zeros_like(kernel)
    for index in np.ndindex(kernel.shape):
        step = np.zeros_like(kernel)
        step[index] = 1e-3
        finite[index] = float(value(torch.tensor(kernel + step)) - value(torch.tensor(kernel - step))) / 2e-3
    np.testing.assert_allclose(gradient, finite, atol=1e-10)  # linear: only rounding over the step


def test_no_transform_of_the_kernel_is_used(monkeypatch):
    monkeypatch.setattr(symbol, "of", None)
    monkeypatch.setattr(norms, "gain", None)
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3, 3))
    convolution = Convolution(Geometry.of(kernel.shape, (8, 8)))
    start = np.random.default_rng(1).standard_normal(convolution.input_shape)
    assert convolution.top_pair(kernel, start, tolerance=1e-6, max_steps=10_000).converged
