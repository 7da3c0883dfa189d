"""Layers whose stable rank is raised in training, against the explicit solution."""

import copy

import numpy as np
import pytest
import torch
from normalized_layers import CASES, NAMES, inputs, normalized, numbers, random_like, seeded
from tiers import slow, some
from torch import nn as layers

import srnc_manifold as srnc
from srnc_manifold import nn


def raised(make, size, dense, layout, factor=1.3, **settings):
    """A layer with a target above its own stable rank, its own norm, and the target."""
    norm, own = numbers(seeded(make).weight, size, dense, layout)
    highest = srnc.Geometry.of(seeded(make).weight.shape, size, **layout).stable_rank_range[1]
    target = own + (factor - 1) * min(own, highest - own)
    goal = {"stable_rank": target, "stable_rank_fraction": None, "mode": "equal"}
    return normalized(make, size, **goal | settings), norm, target


@pytest.mark.parametrize(("make", "size", "layout"), some(CASES, 2), ids=NAMES)
def test_it_is_the_explicit_solution(make, size, layout, dense):
    module, norm, target = raised(make, size, dense, layout)
    # After 200 steps with momentum; see the figures in benchmarks/RESULTS.md.
    assert numbers(module.weight, size, dense, layout) == pytest.approx((norm, target), rel=5e-3)
    result = nn.certify(module).result
    module.eval()
    assert numbers(module.weight, size, dense, layout) == pytest.approx((norm, target), rel=1e-8)
    np.testing.assert_allclose(module.weight.detach().numpy(), result.kernel, rtol=0, atol=1e-8)
    # What follows it keeps to it while the weight does not change.
    module.train()
    for _ in range(20):
        module(inputs(module, size))
    assert numbers(module.weight, size, dense, layout) == pytest.approx((norm, target), rel=5e-3)


def test_a_linear_layer_has_its_closed_form(dense):
    make = CASES[1][0]
    module, norm, target = raised(make, (), dense, {})
    u, values, vh = np.linalg.svd(seeded(make).weight.detach().numpy(), full_matrices=False)
    found = np.linalg.svd(module.weight.detach().numpy(), compute_uv=False)
    scales = found / values
    # All singular values are scaled alike, but none beyond the norm.
    np.testing.assert_allclose(found, np.minimum(norm, scales[-1] * values), rtol=1e-8)
    assert numbers(module.weight, (), dense, {}) == pytest.approx((norm, target), rel=1e-8)
    np.testing.assert_allclose(u.T @ module.weight.detach().numpy() @ vh.T, np.diag(found), atol=1e-8)


def test_a_layer_above_its_target_is_reduced_and_one_below_it_is_raised(dense):
    make, size, layout = CASES[0]
    module, norm, target = raised(make, size, dense, layout)
    original = module.parametrizations.weight.original
    with torch.no_grad():  # nearly white: the stable rank is above the target
        flat = torch.zeros_like(original)
        flat[:3, :3, 1, 1] = torch.eye(3, dtype=flat.dtype)
        original.copy_(norm * flat)
    at_most = normalized(make, size, stable_rank=target, stable_rank_fraction=None)
    at_most.load_state_dict(module.state_dict(), strict=False)
    for layer in (module, at_most):
        nn.certify(layer)
    assert numbers(module.eval().weight, size, dense, layout)[1] == pytest.approx(target, rel=1e-9)
    assert torch.equal(module.weight, at_most.eval().weight)


def test_the_norm_can_be_set_too(dense):
    make, size, layout = CASES[0]
    module, _, target = raised(make, size, dense, layout, spectral_norm=2.5)
    nn.certify(module)
    assert numbers(module.eval().weight, size, dense, layout) == pytest.approx((2.5, target), rel=1e-8)


@pytest.mark.parametrize("drift", [1e-3, pytest.param(1e-2, marks=slow)])
def test_a_weight_that_drifts_is_followed(drift, dense):
    make, size, layout = CASES[0]
    module, _, target = raised(make, size, dense, layout)
    original = module.parametrizations.weight.original
    for step in range(30):
        with torch.no_grad():
            change = random_like(original, step)
            original.add_(drift * change * original.norm() / change.norm())
        found = numbers(module.weight, size, dense, layout)
        expected = numbers(original, size, dense, layout)[0], target
        if numbers(original, size, dense, layout)[1] < target:
            # One step a forward lags behind the weight; the error of the stable rank is twice that of the norm.
            assert found == pytest.approx(expected, rel=max(5e-3, 3 * drift))


def test_it_has_gradients_and_survives_copies_and_zeros(dense):
    make, size, layout = CASES[0]
    module, _, _ = raised(make, size, dense, layout)
    module(inputs(module, size)).square().mean().backward()
    gradient = module.parametrizations.weight.original.grad
    assert torch.isfinite(gradient).all()
    assert gradient.norm() > 0
    other = normalized(make, size, stable_rank=20.0, stable_rank_fraction=None, mode="equal")
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.eval().weight, module.eval().weight)
    assert torch.equal(copy.deepcopy(module).weight, module.weight)
    assert module.to(torch.bfloat16).parametrizations.weight[0].raising.multipliers.dtype == torch.float64
    with torch.no_grad():
        other.parametrizations.weight.original.zero_()
    other.train()(inputs(other, size)).square().mean().backward()
    assert torch.equal(other.weight, torch.zeros_like(other.weight))
    assert torch.isfinite(other.parametrizations.weight.original.grad).all()


@slow
def test_it_is_compiled(dense):
    make, size, layout = CASES[0]
    module, _, _ = raised(make, size, dense, layout)
    eager = copy.deepcopy(module)
    compiled, given = torch.compile(module, fullgraph=True, backend="aot_eager"), inputs(module, size)
    for _ in range(3):
        torch.testing.assert_close(compiled(given), eager(given), rtol=1e-10, atol=1e-10)


def test_layers_that_cannot_be_decomposed_are_refused(monkeypatch):
    from srnc_manifold.nn import raising

    with pytest.raises(ValueError, match="mode: 'equal' given for a layer without a symbol, expected 'at_most'"):
        normalized(lambda: layers.Conv2d(2, 2, 3, padding=1), (8, 8), mode="equal")
    monkeypatch.setattr(raising, "MOST_MULTIPLIERS", 8 * 12 * 20)
    with pytest.raises(ValueError, match="mode: 'equal' .* \\d+ blocks of 4 by 3 .* more than 240 entries"):
        normalized(CASES[0][0], (8, 6), mode="equal")
    with pytest.raises(ValueError, match="mode: 'most' given"):
        normalized(CASES[0][0], (8, 6), mode="most")
