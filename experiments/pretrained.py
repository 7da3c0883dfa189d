"""Trained denoisers whose stable ranks are reduced once: what it costs, and which layers can give most.

    python experiments/pretrained.py
    python experiments/pretrained.py --smoke

The operator that is normalized is the circular one on a small grid; with borders of zeros the layers have nearly the
same. A reduced layer is smaller, so the picture would darken: each result is tested as it is and rescaled to the
Frobenius norm that the layer had, which changes no stable rank. See ``pretrained.toml``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import denoisers
import numpy as np
import torch
from experiment import Experiment, main
from numpy.typing import NDArray
from torch import nn

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table

# Fractions at which the cost of each layer is known, for the allotment.
_FRACTIONS = np.linspace(0.2, 0.98, 14)

Array = NDArray[np.float64]


def grid(config: Mapping[str, Any], smoke: bool) -> list[dict[str, Any]]:
    """The settings of all cells."""
    found = []
    for run in config["smoke" if smoke else "runs"]:
        test = {**config["test"], **run.get("test", {})}
        for network, method, fraction in product(run["networks"], run["methods"], run["fractions"]):
            if fraction < 1 or method == "exact":  # a fraction of one is the network as it is
                found.append({"network": network, "method": method, "fraction": fraction, "test": test})
    return found


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


def check(rows: Any) -> list[str]:
    """What the smoke run asserts; the claims that do not hold."""
    wrong = []
    for row in rows.to_dict("records"):
        if row["method"] == "exact" and not max(row["norm_error"], row["stable_rank_error"]) <= 1e-6:
            wrong.append(f"exact: the targets are missed by {row['norm_error']:.1e}, {row['stable_rank_error']:.1e}")
        if not row["psnr_25_rescaled"] > 20.2:  # the noise alone has 20.17
            wrong.append(f"{row['method']}: {row['psnr_25_rescaled']:.2f} dB, no better than the noisy pictures")
    return wrong


def report(rows: Any) -> str:
    """For each network a table: one line for each method and fraction."""
    parts = []
    for network, block in rows.groupby("network", sort=False):
        sigmas = block["test"].iloc[0]["sigmas"]
        lines = [
            [row["method"], f"{row['fraction']:g}", f"{row['norm_error']:.0e}", f"{row['stable_rank_error']:.0e}",
             f"{np.mean(row['moved']):.3f}",
             *(f"{row[f'psnr_{s}{which}']:.2f}" for s in sigmas for which in ("", "_rescaled"))]
            for row in block.to_dict("records")
        ]  # fmt: skip
        headers = ["method", "fraction", "norm off by", "stable rank off by", "moved"]
        headers += [f"σ = {s}, {which}" for s in sigmas for which in ("as it is", "rescaled")]
        parts += [f"## {network}\n", markdown_table(headers, lines, left=(0,)), ""]
    return "\n".join(parts)


def figure(rows: Any, path: Path) -> None:
    """PSNR of the rescaled networks over the fraction, one panel for each network."""
    from matplotlib.figure import Figure

    names = list(rows["network"].unique())
    with srnc.plots.style():
        drawn = Figure(figsize=(5.4 * len(names), 4.2))
        for network, axes in zip(names, np.ravel(drawn.subplots(1, len(names))), strict=True):
            own = rows[rows["network"] == network]
            sigmas = own["test"].iloc[0]["sigmas"]
            sigma = sigmas[len(sigmas) // 2]
            for k, (method, block) in enumerate(own.groupby("method", sort=False)):
                line = {"marker": "osD^v"[k % 5], "linestyle": ("-", "--", ":", "-.", (0, (5, 1)))[k % 5]}
                axes.plot(block["fraction"], block[f"psnr_{sigma}_rescaled"], label=method, **line)
            axes.set(xlabel="fraction of each stable rank", ylabel=f"PSNR at σ = {sigma}, rescaled, dB", title=network)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        drawn.savefig(path)


EXPERIMENT = Experiment("pretrained", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
