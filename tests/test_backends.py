"""The three libraries behind one set of names do the same."""

import contextlib
import warnings

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.backends import NAMES, NUMPY, namespace, namespace_of
from srnc_manifold.testing import check_cost

COMPLEX = np.random.default_rng(0).standard_normal((3, 4, 5)) + 1j * np.random.default_rng(1).standard_normal((3, 4, 5))


@pytest.mark.parametrize("name", NAMES)
def test_singular_values_and_transforms_are_numpy_s(name):
    xp = namespace(name)
    like = xp.asarray(np.ones(1))
    found = xp.to_numpy(xp.singular_values(xp.constant(COMPLEX, like)))
    np.testing.assert_allclose(found, np.linalg.svd(COMPLEX, compute_uv=False), rtol=1e-12)
    for sizes in ((7,), (6,), (4, 5), (5, 6)):
        array = np.random.default_rng(2).standard_normal((2, *(3,) * len(sizes)))
        axes = tuple(range(-len(sizes), 0))
        found = xp.to_numpy(xp.real_fft(xp.asarray(array), sizes))
        np.testing.assert_allclose(found, np.fft.rfftn(array, s=sizes, axes=axes), atol=1e-12)


@pytest.mark.parametrize("name", ["autograd", "torch"])
def test_derivatives_of_a_polynomial(name):
    xp, x, v = namespace(name), np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.1, -1.0])
    value, gradient = xp.value_and_gradient(lambda z: xp.sum(z**3), x)
    assert value == pytest.approx(np.sum(x**3), rel=1e-14)
    np.testing.assert_allclose(gradient, 3 * x**2, rtol=1e-14)
    np.testing.assert_allclose(xp.hessian_product(lambda z: xp.sum(z**3), x, v), 6 * x * v, rtol=1e-14)
    if name == "torch":  # autograd warns
        np.testing.assert_array_equal(xp.hessian_product(lambda z: xp.sum(2.0 * z), x, v), 0)


def test_numpy_does_not_differentiate():
    for function in (NUMPY.value_and_gradient, lambda f, x: NUMPY.hessian_product(f, x, x)):
        with pytest.raises(NotImplementedError, match="numpy does not differentiate"):
            function(np.sum, np.ones(2))


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_the_least_of_each_group(name):
    xp = namespace(name)
    values, groups = np.array([3.0, 1.0, 2.0, 5.0, 4.0]), np.array([0, 0, 1, 2, 2])
    found = xp.to_numpy(xp.least_by_group(xp.asarray(values), xp.asarray(groups), 3))
    np.testing.assert_array_equal(found, [1.0, 2.0, 4.0])


def test_constants_follow_device_and_precision():
    xp = namespace("torch")
    assert xp.constant(np.ones(2), torch.ones(1, dtype=torch.float32)).dtype == torch.float32
    assert xp.constant(np.ones(2) + 1j, torch.ones(1, dtype=torch.float32)).dtype == torch.complex64
    assert xp.constant(np.arange(2), torch.ones(1, dtype=torch.float32)).dtype == torch.int64
    assert xp.to_double(torch.ones(1, dtype=torch.float16)).dtype == torch.float64


def test_names_of_libraries():
    for array, name in ((np.ones(1), "numpy"), (torch.ones(1), "torch"), ([1.0], "numpy"), (anp.ones(1), "numpy")):
        assert namespace_of(array).name == name
    with pytest.raises(ValueError, match="backend: 'jax' given, expected one of numpy, autograd, torch"):
        namespace("jax")


@contextlib.contextmanager
def default(setting, value, before):
    setting(value)
    try:
        yield
    finally:
        setting(before)


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default device": lambda: default(torch.set_default_device, "meta", None),
    "default type": lambda: default(torch.set_default_dtype, torch.float16, torch.float32),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
}


@pytest.mark.parametrize("name", some(CONTEXTS, 4))
def test_settings_of_torch_change_nothing(name):
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3))
    problem = srnc.partway(kernel, 8, 0.5)
    solver = srnc.solvers.Riemannian(srnc.costs.Penalty(), backend="torch", max_iterations=20)
    alone = srnc.solve(problem, solver, rng=0)
    batches = [torch.tensor(kernel[None]), torch.tensor(kernel[None, :1], dtype=torch.float32)]
    found = [srnc.solve_batch(batch, 8, stable_rank_fraction=0.9).kernels for batch in batches]
    with warnings.catch_warnings(), CONTEXTS[name]():
        warnings.simplefilter("ignore", UserWarning)  # anomaly detection announces itself
        assert np.array_equal(srnc.solve(problem, solver, rng=0).kernel, alone.kernel)
        check_cost(srnc.costs.LogSumExp())
        for batch, kernels in zip(batches, found, strict=True):
            assert torch.equal(srnc.solve_batch(batch, 8, stable_rank_fraction=0.9).kernels, kernels)
            assert srnc.spectral_norm(batch[0], 8).dtype == batch.dtype
