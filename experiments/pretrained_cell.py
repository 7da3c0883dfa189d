"""One cell of the experiment on trained networks: all layers of one are reduced, and it is tested."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import denoisers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import srnc_manifold as srnc

# Fractions at which the cost of each layer is known, for the allotment.
_FRACTIONS = np.linspace(0.2, 0.98, 14)

Array = NDArray[np.float64]


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce all layers of a network, and denoise with it."""
    network = denoisers.NETWORKS[settings["network"]]().eval()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    size, test = (settings["test"]["grid"],) * 2, settings["test"]
    kernels = [layer.weight.detach().double().numpy() for layer in convolutions]
    reduced = reduce(kernels, size, settings["method"], settings["fraction"])
    row: dict[str, Any] = of_layers(kernels, reduced, size) | errors(kernels, reduced, size, settings)
    for which in ("", "_rescaled"):
        changed = copy.deepcopy(network)
        layers = [module for module in changed.modules() if isinstance(module, nn.Conv2d)]
        for layer, old, new in zip(layers, kernels, reduced, strict=True):
            factor = np.linalg.norm(old) / np.linalg.norm(new) if which else 1.0
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(factor * new))
        row |= {f"{name}{which}": value for name, value in tested(changed, test).items()}
    return row


def reduce(kernels: list[Array], size: tuple[int, int], method: str, fraction: float) -> list[Array]:
    """The kernels of all layers, reduced by a method."""
    if fraction == 1:
        return kernels
    if method == "smaller":  # a control: the Frobenius norm that the reduction would leave, by rescaling alone
        return [np.sqrt(fraction) * kernel for kernel in kernels]
    fractions = allotted(kernels, size, fraction) if method == "allotted" else [fraction] * len(kernels)
    return [_reduced(k, size, method, min(1.0, own)) for k, own in zip(kernels, fractions, strict=True)]


def _reduced(kernel: Array, size: tuple[int, int], method: str, fraction: float) -> Array:
    """A kernel with a fraction of its stable rank; of the flattened kernel's, where that is what is reduced."""
    if method == "flattened SRN":
        flat = srnc.SRNProblem(kernel.reshape(len(kernel), -1), (), stable_rank_fraction=fraction, clip=True)
        return srnc.solve(flat).kernel.reshape(kernel.shape)
    problem = srnc.SRNProblem(kernel, size, stable_rank_fraction=fraction, clip=True)
    return srnc.solve(problem, "srn-c[pair=symbol]" if method == "SRN-C" else "exact").kernel


def allotted(kernels: list[Array], size: tuple[int, int], fraction: float) -> list[float]:
    """Fractions for all layers with the mean that is asked, of which the reduction costs as little as can be.

    The cost of a layer is the part of its squared norm that is moved. Equal costs of the last unit are the condition;
    the units are those of a layer's own stable rank.
    """
    fine = np.linspace(_FRACTIONS[0], 1.0, 400)
    costs = []
    for kernel in kernels:
        problem = srnc.SRNProblem(kernel, size, stable_rank_fraction=1.0)
        least = problem.feasible_range[0] / problem.kernel_stable_rank
        known = [f for f in _FRACTIONS if f > least]
        path = srnc.solve_path(problem, fractions=known)
        moved = path.objectives / problem.squared_norm
        own = np.interp(fine, [*known, 1.0], [*moved, 0.0])
        costs.append(np.where(fine >= known[0], own, np.inf))
    low, high = 0.0, 1e3
    for _ in range(100):  # bisection for the price of a unit
        price = 0.5 * (low + high)
        chosen = [float(fine[np.argmin(cost + price * fine)]) for cost in costs]
        low, high = (price, high) if np.mean(chosen) > fraction else (low, price)
    return chosen


def of_layers(kernels: list[Array], reduced: list[Array], size: tuple[int, int]) -> dict[str, Any]:
    """Of each layer its stable rank before and after, and the part of its squared norm that was moved."""
    return {
        "ranks_before": [float(srnc.stable_rank(kernel, size)) for kernel in kernels],
        "ranks": [float(srnc.stable_rank(kernel, size)) for kernel in reduced],
        "moved": [float(np.sum((n - o) ** 2) / np.sum(o**2)) for o, n in zip(kernels, reduced, strict=True)],
    }


def errors(
    kernels: list[Array], reduced: list[Array], size: tuple[int, int], settings: Mapping[str, Any]
) -> dict[str, float]:
    """Largest relative errors of norm and stable rank, against what was asked of every layer."""
    norms, ranks = [], []
    for old, new in zip(kernels, reduced, strict=True):
        problem = srnc.SRNProblem(old, size, stable_rank_fraction=settings["fraction"], clip=True)
        scores = problem.evaluate(new)
        norms.append(scores.spectral_norm_error)
        ranks.append(scores.stable_rank_error)
    return {"norm_error": max(norms), "stable_rank_error": max(ranks)}


@torch.no_grad()
def tested(network: denoisers.Colour | denoisers.Grey, test: Mapping[str, Any]) -> dict[str, Any]:
    """PSNR and SSIM at each noise level: one for each picture, and their means."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    row: dict[str, Any] = {}
    for sigma in test["sigmas"]:
        found: dict[str, list[float]] = {"psnr": [], "ssim": []}
        for k, name in enumerate(denoisers.PICTURES):
            clean = denoisers.picture(name, network.channels, test["crop"])
            noise = np.random.default_rng([k, sigma]).standard_normal(clean.shape, dtype=np.float32)
            noisy = torch.from_numpy(clean + sigma / 255 * noise)[None]
            out = np.nan_to_num(network(noisy, sigma / 255)[0].numpy()).clip(0, 1)
            found["psnr"].append(float(peak_signal_noise_ratio(clean, out, data_range=1)))
            found["ssim"].append(float(structural_similarity(clean, out, data_range=1, channel_axis=0)))
        for measure, values in found.items():
            row[f"{measure}_{sigma}"], row[f"{measure}s_{sigma}"] = float(np.mean(values)), values
    return row
