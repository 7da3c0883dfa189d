"""One cell of the experiment on trained networks: the layers of one are reduced, and it is tested."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import restoration
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import nn

import srnc_manifold as srnc

# Fractions at which the cost of each layer is known, for the allotment; and the one at which its error is measured.
_FRACTIONS, _MEASURED = np.linspace(0.25, 0.98, 20), 0.8

Array = NDArray[np.float64]

Settings = Mapping[str, Any]


def cell(settings: Settings) -> dict[str, Any]:
    """Reduce the layers of a network, and restore with it; or one layer after the other."""
    network = restoration.NETWORKS[settings["network"]]().eval()
    layers = [Layer(module, settings["grid"]) for module in restoration.convolutions(network)]
    if settings["method"] == "one by one":
        return one_by_one(network, layers, settings)
    fractions = fractions_of(network, layers, settings)
    reduced = [reduce(layer, settings["method"], own) for layer, own in zip(layers, fractions, strict=True)]
    row: dict[str, Any] = of_layers(layers, reduced, fractions)
    for name, kernels in variants(layers, reduced).items():
        for measure, values in with_kernels(network, kernels).scores(settings["test"]).items():
            row |= {f"{measure}{name}": float(np.mean(values)), f"each_{measure}{name}": values}
    return row


class Layer:
    """A convolution, and the operator that is normalized: the circular one on a grid, with the layer's stride."""

    def __init__(self, module: nn.Conv2d, grid: int) -> None:
        self.kernel: Array = module.weight.detach().double().numpy()
        self.words: dict[str, Any] = {"input_size": (grid, grid), "stride": module.stride}
        self.stable_rank = self.stable_rank_of(self.kernel)

    def problem(self, fraction: float) -> srnc.SRNProblem:
        """A fraction of the layer's own stable rank is asked for, or the least that is feasible."""
        return srnc.SRNProblem(self.kernel, stable_rank_fraction=fraction, clip=True, **self.words)

    def stable_rank_of(self, kernel: Array) -> float:
        return float(srnc.stable_rank(kernel, **self.words))


def variants(layers: Sequence[Layer], reduced: Sequence[Array]) -> dict[str, list[Array]]:
    """The reduced kernels as they are; each with the Frobenius norm that it had; these but for the first and the last.

    A factor changes no stable rank. The last layer gives the picture: what it loses, the picture loses.
    """
    same = [new * (np.linalg.norm(one.kernel) / np.linalg.norm(new)) for one, new in zip(layers, reduced, strict=True)]
    inner = [layers[0].kernel, *same[1:-1], layers[-1].kernel]
    return {"": list(reduced), "_rescaled": same, "_inner": inner}


def with_kernels(network: restoration.Network, kernels: Sequence[Array]) -> restoration.Network:
    """The network with other kernels."""
    changed = copy.deepcopy(network)
    for module, kernel in zip(restoration.convolutions(changed), kernels, strict=True):
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
    return changed


def reduce(layer: Layer, method: str, fraction: float) -> Array:
    """The kernel of a layer, reduced by a method."""
    if fraction == 1:
        return layer.kernel
    if method == "smaller":  # a control: the Frobenius norm that the reduction would leave, by rescaling alone
        smaller: Array = np.sqrt(fraction) * layer.kernel
        return smaller
    if method == "flattened SRN":
        return flattened(layer, fraction)
    if method == "flattened SRN, to the target":
        return flattened(layer, flattened_fraction(layer, fraction))
    found: Array = srnc.solve(layer.problem(fraction), "srn-c[pair=symbol]" if method == "SRN-C" else "exact").kernel
    return found


def flattened(layer: Layer, fraction: float) -> Array:
    """The kernel as a matrix of output channels and the rest, with a fraction of the stable rank of that."""
    flat = srnc.SRNProblem(layer.kernel.reshape(len(layer.kernel), -1), (), stable_rank_fraction=fraction, clip=True)
    found: Array = srnc.solve(flat).kernel.reshape(layer.kernel.shape)
    return found


def flattened_fraction(layer: Layer, fraction: float) -> float:
    """The fraction for the matrix with which the operator has its own; the least where it never has."""

    def excess(own: float) -> float:
        return layer.stable_rank_of(flattened(layer, own)) / layer.stable_rank - fraction

    least = 1.01 / float(srnc.stable_rank(layer.kernel.reshape(len(layer.kernel), -1), ()))
    return float(brentq(excess, least, 1.0, xtol=1e-7)) if excess(least) < 0 else least


def fractions_of(network: restoration.Network, layers: Sequence[Layer], settings: Settings) -> list[float]:
    """The fraction for each layer: the same, or with the same mean so that the sum of costs is least."""
    method, fraction = settings["method"], settings["fraction"]
    if not method.startswith("allotted") or fraction == 1:
        return [fraction] * len(layers)
    moved = [costs(layer) for layer in layers]
    if method == "allotted by error":
        # What the layer alone does to pictures that are not those of the test, for each unit that is moved.
        errors = calibrated(network, layers, settings)
        at = int(np.argmin(np.abs(_FRACTIONS - _MEASURED)))
        moved = [own * (error / own[at]) for own, error in zip(moved, errors, strict=True)]
    return allotted(moved, fraction)


def costs(layer: Layer) -> Array:
    """The part of a kernel's square that is moved, at each of the fractions; infinite where these are not feasible."""
    problem = layer.problem(1.0)
    least = problem.feasible_range[0] / layer.stable_rank
    known = _FRACTIONS[least < _FRACTIONS]
    moved = srnc.solve_path(problem, fractions=list(known)).objectives / problem.squared_norm
    found: Array = np.concatenate([np.full(len(_FRACTIONS) - len(known), np.inf), moved])
    return found


def allotted(moved: Sequence[Array], fraction: float) -> list[float]:
    """Fractions with a mean, so that one unit more costs the same in each layer, in units of its own stable rank."""
    fine = np.linspace(_FRACTIONS[0], 1.0, 1000)
    curves = [np.interp(fine, [*_FRACTIONS, 1.0], [*own, 0.0]) for own in moved]
    low, high = 0.0, 1e6
    for _ in range(100):  # bisection for the price of a unit
        price = 0.5 * (low + high)
        chosen = [float(fine[np.argmin(curve + price * fine)]) for curve in curves]
        low, high = (price, high) if np.mean(chosen) > fraction else (low, price)
    return chosen


def calibrated(network: restoration.Network, layers: Sequence[Layer], settings: Settings) -> list[float]:
    """How much the mean squared error grows if one layer alone is reduced, on other parts of the pictures."""
    errors = alone(network, layers, {**settings["test"], "corner": True, "sigmas": settings["test"]["sigmas"][1:2]})
    return [max(error - errors[0], 1e-9) for error in errors[1:]]


def alone(network: restoration.Network, layers: Sequence[Layer], test: Settings) -> list[float]:
    """Mean squared errors: of the network, and with each layer alone reduced and rescaled."""
    found = []
    own = [layer.kernel for layer in layers]
    for changed in (None, *range(len(layers))):
        kernels = list(own)
        if changed is not None:
            new = reduce(layers[changed], "exact", _MEASURED)
            kernels[changed] = new * (np.linalg.norm(own[changed]) / np.linalg.norm(new))
        scores = with_kernels(network, kernels).scores(test)
        psnr = [values for name, values in scores.items() if name.startswith("psnr")][-1]
        found.append(float(np.mean(10 ** (-np.array(psnr) / 10))))
    return found


def one_by_one(network: restoration.Network, layers: Sequence[Layer], settings: Settings) -> dict[str, Any]:
    """What each layer costs: the kernel's derivative by the stable rank, what is moved, and the pictures' error."""
    errors = alone(network, layers, {**settings["test"], "sigmas": settings["test"]["sigmas"][1:2]})
    moved, prices = [], []
    for layer in layers:
        problem = layer.problem(_MEASURED)
        result = srnc.solve(problem)
        moved.append(_moved(layer, result.kernel))
        # Of the moved part of the square by the fraction of the stable rank.
        slope = float(srnc.sensitivity(problem, result).objective_by_stable_rank)
        prices.append(-slope * layer.stable_rank / problem.squared_norm)
    ranks = [layer.stable_rank for layer in layers]
    return {"ranks": ranks, "moved": moved, "prices": prices, "error": errors[0], "errors": errors[1:]}


def of_layers(layers: Sequence[Layer], reduced: Sequence[Array], fractions: Sequence[float]) -> dict[str, Any]:
    """Of each layer what was asked and what it has, and the part of its square that was moved; the largest errors."""
    norms, ranks = [], []
    for layer, new, fraction in zip(layers, reduced, fractions, strict=True):
        scores = layer.problem(fraction).evaluate(new)
        norms.append(scores.spectral_norm_error)
        ranks.append(scores.stable_rank_error)
    return {
        "fractions": list(fractions),
        "ranks_before": [layer.stable_rank for layer in layers],
        "ranks": [layer.stable_rank_of(new) for layer, new in zip(layers, reduced, strict=True)],
        "moved": [_moved(layer, new) for layer, new in zip(layers, reduced, strict=True)],
        "norm_error": max(norms),
        "stable_rank_error": max(ranks),
    }


def _moved(layer: Layer, new: Array) -> float:
    return float(np.sum((new - layer.kernel) ** 2) / np.sum(layer.kernel**2))
