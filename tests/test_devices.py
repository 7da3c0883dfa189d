"""Tensors on a device: what is computed there is what the host computes, and stays there.

The same tests run on the CPU of torch, in the second tier, and on a GPU where there is one.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from own_costs import Hinge, PNorm
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold import nn
from srnc_manifold.costs import BatchFunction, ExactMax, LogSumExp, Penalty

DEVICES = [
    pytest.param("cpu", marks=slow),
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none"),
    ),
]
LAYOUTS = [
    ((3,), 16, {}),
    ((3, 3), (9, 8), {}),
    ((4, 1, 3, 3), 8, {"groups": 4}),
    ((1, 4, 3), 16, {"stride": 2, "dilation": 3}),
    ((2, 2, 3, 3, 3), 6, {}),
    ((4, 2, 3, 3), (6, 4), {"groups": 2, "stride": (3, 2)}),
    ((6, 5, 3, 3), 8, {"dilation": 2}),
    ((14, 15, 3), 8, {}),
    ((40, 36, 3), 8, {}),  # larger than what CUDA decomposes fast
    ((3, 4), (), {}),
]
pytestmark = pytest.mark.parametrize("device", DEVICES)


def kernels_of(shape, count=5):
    return np.random.default_rng(0).standard_normal((count, *shape))


def on_host(tensor, device):
    assert tensor.device.type == device
    return tensor.detach().cpu().numpy()


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS, ids=str)
def test_norms_and_their_gradients(shape, size, layout, device):
    kernels = kernels_of(shape)
    given = torch.tensor(kernels, device=device, requires_grad=True)
    for measure in (srnc.spectral_norms, srnc.stable_ranks):
        found = measure(given, size, **layout)
        # Sums of squares and singular values, each rounded.
        np.testing.assert_allclose(on_host(found, device), measure(kernels, size, **layout), rtol=1e-12)
        (gradient,) = torch.autograd.grad(found.sum(), given)
        host = torch.tensor(kernels, requires_grad=True)
        (expected,) = torch.autograd.grad(measure(host, size, **layout).sum(), host)
        np.testing.assert_allclose(
            on_host(gradient, device), expected.numpy(), atol=1e-10 * float(expected.abs().max())
        )


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS, ids=str)
def test_solutions_and_their_gradients(shape, size, layout, device):
    kernels = kernels_of(shape)
    expected = srnc.solve_batch(kernels, size, stable_rank_fraction=0.8, clip=True, **layout)
    given = torch.tensor(kernels, device=device, requires_grad=True)
    found = srnc.solve_batch(given, size, stable_rank_fraction=0.8, clip=True, at_ties="nan", **layout)
    scale = np.array([srnc.frobenius_norm(kernel, size, **layout) ** 2 for kernel in kernels])
    for name in ("objectives", "bounds"):
        apart = np.abs(on_host(getattr(found, name), device) - getattr(expected, name)) / scale
        assert np.max(apart) <= 1e-10, name
    assert float(found.violations.max()) <= 1e-9
    assert on_host(found.clipped, device).tolist() == expected.clipped.tolist()
    for k, kernel in enumerate(kernels):
        assert found.bound(k).verify(srnc.SRNProblem(kernel, size, stable_rank_fraction=0.8, clip=True, **layout))
    (gradient,) = torch.autograd.grad(found.objectives.sum(), given)
    host = torch.tensor(kernels, requires_grad=True)
    solved = srnc.solve_batch(host, size, stable_rank_fraction=0.8, clip=True, at_ties="nan", **layout)
    (slope,) = torch.autograd.grad(solved.objectives.sum(), host)
    # Both solutions are accurate to about 1e-10, and their derivatives amplify that.
    np.testing.assert_allclose(
        on_host(gradient, device), slope.numpy(), atol=1e-6 * float(slope.nan_to_num().abs().max())
    )


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS[:7], ids=str)
@pytest.mark.parametrize(
    "cost", [LogSumExp(), ExactMax(), Penalty(), Hinge(), PNorm()], ids=lambda cost: type(cost).__name__
)
def test_costs_and_scores_of_many_points(shape, size, layout, cost, device):
    problem = srnc.SRNProblem(kernels_of(shape)[0], size, stable_rank_fraction=0.8, clip=True, **layout)
    rng = np.random.default_rng(1)
    points = np.stack([problem.spheres.random_point(rng).ravel() for _ in range(4)])
    there, here = BatchFunction(problem, cost, device=device), BatchFunction(problem, cost)
    np.testing.assert_allclose(on_host(there.value(points), device), here.value(points).numpy(), rtol=1e-11)
    expected = here.gradient(points).numpy()
    np.testing.assert_allclose(on_host(there.gradient(points), device), expected, atol=1e-9 * np.abs(expected).max())
    kernels = points.reshape(-1, *shape)
    scores = problem.evaluate_batch(torch.tensor(kernels, device=device))
    host = problem.evaluate_batch(kernels)
    for name in ("objective", "violation", "stable_rank", "spectral_norm"):
        np.testing.assert_allclose(on_host(getattr(scores, name), device), getattr(host, name), rtol=1e-10)


def test_single_precision_stays_on_the_device(device):
    kernels = torch.tensor(kernels_of((3, 3)), device=device, dtype=torch.float32)
    found = srnc.solve_batch(kernels, 8, stable_rank_fraction=0.8, clip=True)
    assert found.kernels.dtype == torch.float32
    assert found.kernels.device.type == device


def test_layers_and_models_are_measured_as_on_the_host(device):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4)
    model, x = torch.nn.Sequential(*layers), torch.randn(2, 3, 6, 6)
    host = nn.report(model, x)
    norm = nn.operator_norm(layers[0], 6)
    there = nn.operator_norm(layers[0].to(device), 6)
    assert there.device.type == device
    assert there.item() == pytest.approx(norm.item(), rel=1e-12)
    report = nn.report(model.to(device), x.to(device))
    # The weights are the same, and measured on the host; the Jacobian is computed in double precision there.
    pd.testing.assert_frame_equal(report.table, host.table)
    assert report.product_bound == host.product_bound
    assert report.jacobian.value == pytest.approx(host.jacobian.value, rel=1e-6)
