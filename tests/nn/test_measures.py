"""Norm, stable rank and singular values of layers, against the matrix that the module makes of the identity."""

import warnings

import numpy as np
import pytest
import torch
from networks import Standardized, matrix_of
from tiers import slow, some
from torch import nn as layers
from torch.nn.utils import parametrizations, parametrize, prune

import srnc_manifold as srnc
from srnc_manifold import nn

CASES = {
    "linear": (lambda: layers.Linear(7, 5), ()),
    "zeros": (lambda: layers.Conv2d(3, 4, 3, padding=1), (6, 5)),
    "none": (lambda: layers.Conv2d(2, 3, (2, 3)), (5, 6)),
    "same, dilated": (lambda: layers.Conv1d(2, 3, 4, padding="same", dilation=2), (9,)),
    "stride and groups": (lambda: layers.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (7, 6)),
    "circular": (lambda: layers.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), (5, 6)),
    "not block-circulant": (lambda: layers.Conv1d(2, 2, 4, padding=1, stride=2, padding_mode="circular"), (9,)),
    "reflected": (lambda: layers.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (5, 4)),
    "replicated": (lambda: layers.Conv3d(1, 2, 2, padding=1, padding_mode="replicate"), (3, 4, 3)),
    "depthwise": (lambda: layers.Conv2d(4, 8, 3, padding=1, groups=4), (5, 5)),
    "transposed": (
        lambda: layers.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (4, 3),
    ),
    "transposed, 1-D": (lambda: layers.ConvTranspose1d(3, 2, 4, stride=3, dilation=2), (5,)),
    "transposed, 3-D": (lambda: layers.ConvTranspose3d(2, 1, 2, stride=2), (2, 3, 2)),
}


def seeded(make):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 'same' with an even kernel copies, and that old hooks are deprecated
        return make().double()


def values_of(module, size):
    return torch.linalg.svdvals(matrix_of(module, size)).detach().numpy()


def agrees(module, size):
    expected = values_of(module, size)
    rank = np.sum(expected**2) / expected[0] ** 2
    # Decompositions of matrices of about a hundred rows, in double precision.
    assert nn.operator_norm(module, size or None).item() == pytest.approx(expected[0], rel=1e-12)
    assert nn.stable_rank(module, size or None).item() == pytest.approx(rank, rel=1e-12)
    found = nn.singular_values(module, size or None).detach().numpy()
    assert len(found) <= len(expected)  # zeros are left out where a matrix of a group has fewer
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-12 * expected[0])
    np.testing.assert_allclose(expected[len(found) :], 0, atol=1e-12 * expected[0])
    largest = nn.singular_values(module, size or None, k=3).detach()
    np.testing.assert_allclose(largest, expected[:3], rtol=0, atol=1e-12 * expected[0])  # some are zero


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_of_the_matrix(name):
    make, size = CASES[name]
    agrees(seeded(make), size)


@slow
@pytest.mark.parametrize("seed", range(200))
def test_they_are_those_of_the_matrix_for_random_layers(seed):
    rng = np.random.default_rng(seed)
    d, transposed = int(rng.integers(1, 4)), rng.random() < 0.35
    kinds = (layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d)
    kind = (kinds if transposed else (layers.Conv1d, layers.Conv2d, layers.Conv3d))[d - 1]
    groups = int(rng.integers(1, 3))
    words: dict[str, object] = {"groups": groups, "bias": bool(rng.integers(2))}
    words |= {
        "stride": int(rng.integers(1, 4)),
        "dilation": int(rng.integers(1, 3)),
        "padding": int(rng.integers(0, 3)),
    }
    if not transposed:
        words["padding_mode"] = ("zeros", "circular", "reflect", "replicate")[rng.integers(4)]
    c_in, c_out = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    module = seeded(lambda: kind(c_in, c_out, tuple(rng.integers(1, 4, d).tolist()), **words))
    size = tuple(rng.integers(3, 7 if d < 3 else 5, d).tolist())
    try:
        module(torch.zeros(1, c_in, *size, dtype=torch.float64))
    except RuntimeError:
        with pytest.raises(ValueError, match="input_size|padding"):
            nn.operator_norm(module, size)
        return
    if not values_of(module, size)[0] > 0:  # no tap meets the input
        return
    agrees(module, size)


@pytest.mark.parametrize("name", ["linear", "stride and groups", "circular", "reflected", "transposed"])
def test_gradients_are_those_through_the_matrix(name):
    make, size = CASES[name]
    module = seeded(make)
    matrix = matrix_of(module, size)
    norm = torch.linalg.matrix_norm(matrix, 2)
    for found, expected in (
        (nn.operator_norm(module, size or None), norm),
        (nn.stable_rank(module, size or None), torch.sum(matrix**2) / norm**2),
        (nn.singular_values(module, size or None, k=2).sum(), torch.linalg.svdvals(matrix)[:2].sum()),
    ):
        ours, theirs = (torch.autograd.grad(value, module.weight, retain_graph=True)[0] for value in (found, expected))
        # Singular vectors are right to the rounding over the gap of singular values, here a few percent.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_the_largest_of_large_layers_are_found_without_the_matrix(mode, monkeypatch):
    from srnc_manifold.operators import padded

    monkeypatch.setattr(padded, "_WRITTEN_OUT", 0)
    module = seeded(lambda: layers.Conv2d(1, 1, 3, padding=1, padding_mode=mode, bias=False))
    with torch.no_grad():  # the same along both axes: most singular values are double
        module.weight[0, 0] = torch.outer(torch.tensor([1.0, 2.0, 0.5]), torch.tensor([1.0, 2.0, 0.5])).double()
    size = (17, 17)  # 289 points, more than are decomposed
    expected = values_of(module, size)
    assert np.min(np.abs(np.diff(expected[:11]))) < 1e-12
    found = nn.singular_values(module, size, k=11)
    np.testing.assert_allclose(found.detach(), expected[:11], rtol=1e-10)  # the accuracy of the Lanczos method
    (gradient,) = torch.autograd.grad(found[0], module.weight)
    exact = torch.autograd.grad(torch.linalg.matrix_norm(matrix_of(module, size), 2), module.weight)[0]
    torch.testing.assert_close(gradient, exact, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="too many to write out"):
        nn.singular_values(module, size)


def test_numbers_are_computed_in_double_precision():
    make, size = CASES["stride and groups"]
    for dtype in (torch.float32, torch.bfloat16):
        module = seeded(make).to(dtype)
        found = nn.operator_norm(module, size)
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx(values_of(module.double(), size)[0], rel=1e-12)


PARAMETRIZED = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": lambda module: parametrizations.spectral_norm(module, n_power_iterations=1),
    "stable rank norm": lambda module: nn.stable_rank_norm(module, stable_rank_fraction=0.5, input_size=(6, 5)),
    "old weight norm": torch.nn.utils.weight_norm,
    "old spectral norm": torch.nn.utils.spectral_norm,
    "pruned": lambda module: prune.random_unstructured(module, "weight", amount=0.5),
}


@pytest.mark.filterwarnings("ignore:.*is deprecated in favor of:FutureWarning")
@pytest.mark.parametrize("name", PARAMETRIZED)
def test_the_weight_that_a_layer_applies_counts_and_nothing_is_changed(name):
    make, size = CASES["zeros"]
    module = PARAMETRIZED[name](seeded(make))
    with torch.no_grad():  # as an optimizer does: computed weights are now those of before
        for parameter in module.parameters():
            parameter.mul_(1.5)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found = nn.operator_norm(module, size).item()
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert found == pytest.approx(values_of(module, size)[0], rel=1e-12)
    if parametrize.is_parametrized(module):
        assert all(part.training for part in module.parametrizations.weight)


def test_weights_of_zeros_have_a_norm_but_no_stable_rank():
    module = seeded(CASES["zeros"][0])
    torch.nn.init.zeros_(module.weight)
    assert nn.operator_norm(module, (6, 5)).item() == 0
    assert torch.equal(nn.singular_values(module, (6, 5), k=4), torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="module: its weight is zero"):
        nn.stable_rank(module, (6, 5))


@pytest.mark.parametrize(
    ("module", "settings", "error", "message"),
    [
        (3, {}, TypeError, "module: int given, expected a torch.nn.Module"),
        (layers.BatchNorm2d(3), {}, TypeError, "module: BatchNorm2d is neither linear nor a convolution"),
        (Standardized(3, 3, 3), {"input_size": 8}, TypeError, "module: Standardized has a forward of its own"),
        (layers.Conv2d(3, 3, 3), {}, ValueError, "input_size: None given, expected an int, or one for each of 2 axes"),
        (layers.Conv2d(3, 3, 3), {"input_size": (8,)}, ValueError, "input_size: .* given"),
        (layers.Conv2d(3, 3, 3), {"input_size": 2}, ValueError, "input_size: .* leaves no output"),
        (layers.Linear(3, 3), {"input_size": 8}, ValueError, "input_size: 8 given, expected none for a Linear layer"),
    ],
)
def test_wrong_arguments_are_named(module, settings, error, message):
    for measure in (nn.operator_norm, nn.stable_rank, nn.singular_values):
        with pytest.raises(error, match=message):
            measure(module, **settings)


def test_weights_that_are_no_numbers_are_refused():
    module = layers.Linear(2, 2)
    with torch.no_grad():
        module.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="module: its weight has entries that are not finite"):
        nn.operator_norm(module)
    with pytest.raises(TypeError, match="module: its weight has the dtype torch.complex64"):
        nn.operator_norm(layers.Linear(2, 2, dtype=torch.complex64))
    for k, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="k: "):
            nn.singular_values(layers.Linear(2, 2), k=k)


@pytest.mark.parametrize("k", some([1, 5, 100]))
def test_kernels_of_numpy_have_their_largest_values_too(k):
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3))
    for layer in ({}, {"padding": 1, "padding_mode": "zeros", "stride": 2}):
        every = srnc.singular_values(kernel, 8, **layer)
        np.testing.assert_array_equal(srnc.singular_values(kernel, 8, k=k, **layer), every[:k])
