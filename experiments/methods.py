"""What is done to a layer while a network learns: the methods that are compared, and the controls.

A method is named in a configuration by a table: ``{ method = "srn", norm = 1.8, rank = 0.1 }``. Stable ranks are parts
of the largest possible one.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import srnc_manifold as srnc
from srnc_manifold import nn as layers
from srnc_manifold.nn.normalization import StableRankNorm

Settings = Mapping[str, Any]

#: A convolution with circular padding, or a linear layer, whose input has no size.
Layer = nn.Conv2d | nn.Linear

AnyLayer = TypeVar("AnyLayer", bound=Layer)


# Forwards without training after which a frozen layer is compared with what it was.
_FORWARDS = 1000


class Scale(nn.Module):
    """The weight times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return self.factor * weight


class FrobeniusNorm(nn.Module):
    """The weight, rescaled to a Frobenius norm; neither its norm nor its stable rank is looked at."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (self.size / weight.norm().clamp_min(1e-12))


class PublishedSRNC(nn.Module):
    """SRN-C as published (Tanay et al., 2023), for circular padding: ``a₁ + γ (ã − a₁)``, times the norm that is asked.

    The top pair of feature maps follows the weight by a power step in each forward of the training.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, input_size: tuple[int, ...], norm: float, stable_rank: float) -> None:
        super().__init__()
        self.norm, self.stable_rank, self.input_size = norm, stable_rank, input_size
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(1, weight.shape[1], *input_size, generator=generator)
        self.register_buffer("v", v / v.norm())
        self.register_buffer("u", torch.zeros(1, weight.shape[0], *input_size))
        for _ in range(50):
            self._step(weight.detach())

    def _convolved(self, weight: Tensor, maps: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.pad(maps, (1, 1, 1, 1), mode="circular"), weight)

    def _step(self, weight: Tensor) -> None:
        with torch.no_grad():
            u = self._convolved(weight, self.v)
            self.u = u / u.norm().clamp_min(1e-12)
            # The adjoint of a circular convolution is one with the kernel mirrored.
            v = self._convolved(weight.transpose(0, 1).flip(2, 3), self.u)
            self.v = v / v.norm().clamp_min(1e-12)

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            self._step(weight)
        u, v = self.u.clone(), self.v.clone()
        sigma = (u * self._convolved(weight, v)).sum()
        unit = weight / sigma
        with torch.enable_grad():
            zero = torch.zeros_like(weight, requires_grad=True)
            (first,) = torch.autograd.grad((u * self._convolved(zero, v)).sum(), zero)
        second = unit - first
        points = math.prod(self.input_size)
        gamma = math.sqrt(max(0.0, self.stable_rank - 1)) / (math.sqrt(points) * second.norm().clamp_min(1e-12))
        return self.norm * (first + gamma * second)


def of_the_last(method: Settings) -> Settings:
    """What is done to the layer that tells classes apart: the norm that is asked, with any stable rank.

    With a stable rank near one it would tell two classes apart at most.
    """
    return {"method": "sn", "norm": method["norm"]} if "norm" in method else {"method": "none"}


def asked(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> dict[str, float]:
    """What a method asks of a layer: ``norm`` and ``stable_rank``, as far as it does; the least that is feasible."""
    kernel = layer.weight.detach().double().numpy()
    low, high = srnc.SRNProblem(kernel, input_size, stable_rank_fraction=1.0).feasible_range
    wanted = {"norm": float(method["norm"])} if "norm" in method and method["method"] != "frobenius" else {}
    if method["method"] in ("srn", "srn-c"):
        wanted["stable_rank"] = max(low, method["rank"] * high)
    if method["method"] == "fraction":
        wanted["stable_rank"] = max(low, method["fraction"] * float(srnc.stable_rank(kernel, input_size)))
    return wanted


def apply(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> None:
    """Parametrize a layer."""
    _KINDS[method["method"]](method, layer, input_size)


def certify(model: nn.Module) -> dict[nn.Module, float]:
    """Bring the layers that are normalized by us to the norm that is asked, while their raw weights may move fast.

    Returns
    -------
    dict
        For each of these layers, how much farther its weight was from the raw one than the explicit solution, as a part
        of ``‖C(a)‖²``; zero if its stable rank is below the target by itself.
    """
    found = {layer: layers.certify(layer, followed=True) for layer in model.modules() if _is_ours(layer)}
    return {layer: max(0.0, certified.excess) for layer, certified in found.items()}


def _is_ours(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer):
        return False
    parts = cast("nn.ModuleDict", layer.parametrizations)["weight"]
    return any(isinstance(part, StableRankNorm) for part in parts.children())


@torch.no_grad()
def drift(layer: Layer) -> float:
    """How far forwards alone would move the weight from where training ended, relatively; the layer is left as it is.

    Training can hold a weight where they would not: what is tested has to be frozen, not to settle.
    """
    before, moved = layer.eval().weight.clone(), copy.deepcopy(layer).train()
    after = before
    for _ in range(_FORWARDS if parametrize.is_parametrized(layer) else 0):
        after = moved.weight
    return float((after - before).norm() / before.norm())


@torch.no_grad()
def without(layer: AnyLayer) -> AnyLayer:
    """An ordinary layer with the weight with which training ended, to the digit."""
    new: Layer
    if isinstance(layer, nn.Linear):
        new = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    else:
        words = {name: getattr(layer, name) for name in ("kernel_size", "padding", "padding_mode")}
        new = nn.Conv2d(layer.in_channels, layer.out_channels, bias=layer.bias is not None, **words)
    new.weight.copy_(layer.eval().weight)
    if new.bias is not None and layer.bias is not None:
        new.bias.copy_(layer.bias)
    return cast("AnyLayer", new.eval())


def _nothing(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> None:
    """As it is."""


def _flattened(method: Settings, layer: Layer, _: tuple[int, ...]) -> None:
    parametrizations.spectral_norm(layer)
    parametrize.register_parametrization(layer, "weight", Scale(method["norm"]))


def _limited(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> None:
    """The norm that is asked, and at most the stable rank that is; without one at most the largest that there is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a target above the kernel's own limits nothing yet
        layers.stable_rank_norm(
            layer,
            relative_stable_rank=method.get("rank", 1.0),
            spectral_norm=method["norm"],
            input_size=input_size or None,
        )


def _fraction(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> None:
    layers.stable_rank_norm(layer, stable_rank_fraction=method["fraction"], input_size=input_size or None)


def _frobenius(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> None:
    """The Frobenius norm of a kernel whose operator has the norm and the stable rank that ``srn`` is asked for."""
    rank = asked({**method, "method": "srn"}, layer, input_size)["stable_rank"]
    size = method["norm"] * math.sqrt(rank / math.prod(input_size))
    parametrize.register_parametrization(layer, "weight", FrobeniusNorm(size))


def _published(method: Settings, layer: Layer, input_size: tuple[int, ...]) -> None:
    if isinstance(layer, nn.Linear):  # there it is the closed form
        _limited(method, layer, input_size)
        return
    rank = asked(method, layer, input_size)["stable_rank"]
    new = PublishedSRNC(layer.weight, input_size, method["norm"], rank)
    parametrize.register_parametrization(layer, "weight", new, unsafe=True)


_KINDS: dict[str, Callable[[Settings, Layer, tuple[int, ...]], None]] = {
    "none": _nothing,
    "sn-flattened": _flattened,
    "sn": _limited,
    "srn": _limited,
    "fraction": _fraction,
    "frobenius": _frobenius,
    "srn-c": _published,
}
