"""Stable rank normalization in training: how exact, with which gradients, and what it costs.

    python benchmarks/nn.py                    # every section, about half an hour
    python benchmarks/nn.py overhead --only 64 # some of them, some lines of them

Errors are of the weight that a forward uses, against the norm of the raw weight and the target, in double precision.
Times are medians of processor times, measured in turn with PyTorch's spectral_norm of the same layer, on one thread.
Those of other packages are there where these are installed: pip install orthogonium deel-torchlip (without their
dependencies, which are PyTorch's). Figures: benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sections import run
from torch import nn as layers

import srnc_manifold as srnc
from srnc_manifold import nn

FORWARDS = (1, 2, 5, 10, 20, 50)
SEEDS = 20


def convolution(channels: int, mode: Any) -> Any:
    return layers.Conv2d(channels, channels, 3, padding=1, padding_mode=mode)


def errors(layer: Any, size: int, mode: str) -> tuple[float, float]:
    """Relative errors of the norm and of the stable rank of the weight that the next forward uses."""
    parts, words = layer.parametrizations.weight, dict[str, Any](padding=1, padding_mode=mode)
    with torch.no_grad():
        used = layer.weight.double().numpy()
    raw, target = parts.original.detach().double().numpy(), float(parts[0].target)
    norm, own = srnc.spectral_norm(raw, size, **words), srnc.stable_rank(raw, size, **words)
    found = srnc.spectral_norm(used, size, **words), srnc.stable_rank(used, size, **words)
    return abs(found[0] / norm - 1), abs(found[1] / min(target, own) - 1)


def row(name: str, found: list[tuple[float, float]]) -> None:
    values = np.array(found)
    text = "  ".join(f"{np.median(part):.1e} {np.max(part):.1e}" for part in values.T)
    print(f"{name:44} {text}", flush=True)


def drift(only: str) -> None:
    """Errors while the weight drifts at random: median and largest of 20 seeds, of the norm and of the stable rank."""
    for mode, size in (("circular", 16), ("zeros", 16)):
        for speed in (1e-3, 1e-2):
            if only not in f"{mode} {speed:g}":
                continue
            found: dict[int, list[tuple[float, float]]] = {forward: [] for forward in FORWARDS}
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                layer: Any = nn.stable_rank_norm(convolution(16, mode), stable_rank_fraction=0.6, input_size=size)
                weight = layer.parametrizations.weight.original
                for forward in range(1, FORWARDS[-1] + 1):
                    with torch.no_grad():
                        step = torch.randn_like(weight)
                        weight.add_(speed * step * weight.norm() / step.norm())
                    if forward in found:
                        found[forward].append(errors(layer, size, mode))
                    else:
                        layer.weight  # noqa: B018  (a forward of the parametrization)
            for forward, of_seeds in found.items():
                row(f"{mode} {size}x{size}, drift {speed:g}, forward {forward}", of_seeds)


def training(only: str) -> None:
    """Errors while a small network is trained to tell shapes apart, Adam 1e-3: of 20 seeds and of both its layers."""
    for mode in ("circular", "zeros"):
        if only not in mode:
            continue
        found: dict[int, list[tuple[float, float]]] = {forward: [] for forward in (1, 10, 50, 100, 200)}
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            model: Any = layers.Sequential(
                *(layers.Conv2d(1, 16, 3, padding=1), layers.ReLU(), convolution(16, mode), layers.ReLU()),
                *(convolution(16, mode), layers.ReLU(), layers.Flatten(), layers.Linear(16 * 64, 4)),
            )
            for place in (2, 4):
                nn.stable_rank_norm(model[place], stable_rank_fraction=0.1, input_size=8)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            for step in range(1, max(found) + 1):
                kinds = torch.randint(4, (32,))
                bars = torch.zeros(32, 1, 8, 8)
                for image, kind, at in zip(bars[:, 0], kinds, torch.randint(1, 7, (32,)), strict=True):
                    image[at, :] = 1.0 if kind in (0, 2) else 0.0
                    image[:, at] = 1.0 if kind in (1, 2) else image[:, at]
                optimizer.zero_grad()
                layers.functional.cross_entropy(model(bars + 0.5 * torch.randn_like(bars)), kinds).backward()
                optimizer.step()
                if step in found:
                    found[step] += [errors(model[place], 8, mode) for place in (2, 4)]
        for step, of_seeds in found.items():
            row(f"training, {mode} 8x8, step {step}", of_seeds)


def gradients(_only: str) -> None:
    """Relative errors of gradients by the raw weight, and cosines, against the explicit solution's derivative."""
    cases = ((1, 1, 0.9), (2, 2, 0.8), (2, 2, 0.4), (16, 16, 0.8), (16, 16, 0.4))
    for gradient in ("detached", "one-step", "implicit"):
        for rows, columns, fraction in cases:
            found = []
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                layer: Any = layers.Conv2d(columns, rows, 3, padding=1, padding_mode="circular").double()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a fraction may not be feasible
                    nn.stable_rank_norm(layer, stable_rank_fraction=fraction, input_size=8, gradient=gradient)
                nn.certify(layer)
                parts = layer.eval().parametrizations.weight
                raw, weights = parts.original, torch.randn(layer.weight.shape, dtype=torch.float64)
                (own,) = torch.autograd.grad((layer.weight * weights).sum(), raw)
                kernels = raw.detach()[None].clone().requires_grad_()
                solved = srnc.solve_batch(kernels, 8, stable_rank=float(parts[0].target), clip=True, at_ties="nan")
                (exact,) = torch.autograd.grad((solved.kernels[0] * weights).sum(), kernels)
                if torch.isfinite(exact).all() and exact.norm() > 0:
                    cosine = layers.functional.cosine_similarity(own.ravel(), exact.ravel(), dim=0)
                    found.append((float((own - exact[0]).norm() / exact.norm()), float(1 - cosine)))
            row(f"{gradient}, {rows}x{columns}x3x3, fraction {fraction}", found)


def others() -> dict[str, Callable[[int, str], layers.Module]]:
    """Layers of other packages that are installed; both are for zero or circular padding and set the norm to one."""
    found: dict[str, Callable[[int, str], layers.Module]] = {}
    if importlib.util.find_spec("orthogonium") is not None:
        from orthogonium.layers import AdaptiveOrthoConv2d  # type: ignore[import-not-found]

        found["orthogonium"] = lambda c, mode: AdaptiveOrthoConv2d(c, c, 3, padding=1, padding_mode=mode)
    if importlib.util.find_spec("deel") is not None:
        from deel.torchlip import SpectralConv2d  # type: ignore[import-not-found]

        found["torchlip"] = lambda c, mode: SpectralConv2d(c, c, 3, padding=1, padding_mode=mode)
    return found


def overhead(only: str, device: str, compiled: bool) -> None:
    """Milliseconds of forward and backward, and times as long as with PyTorch's spectral_norm."""
    for channels in (64, 256):
        for mode in ("circular", "zeros"):
            for batch in (32, 1):
                if only not in f"{channels} {mode} {batch}":
                    continue
                torch.manual_seed(0)
                plain = convolution(channels, mode).to(device)
                made = {
                    "plain": plain,
                    "spectral_norm": torch.nn.utils.parametrizations.spectral_norm(copy.deepcopy(plain)),
                    "ours": nn.stable_rank_norm(copy.deepcopy(plain), stable_rank_fraction=0.7, input_size=32),
                }
                for name, make in others().items():
                    try:
                        made[name] = make(channels, mode).to(device)
                    except Exception as error:
                        print(f"{name}: {type(error).__name__}: {error}")
                x = torch.randn(batch, channels, 32, 32, device=device)

                def seconds(layer: layers.Module, x: torch.Tensor = x) -> float:
                    # On a device the clock is that of the wall, and work that was begun has to end.
                    clock, wait = time.process_time, (lambda: None)
                    if device != "cpu":
                        clock, wait = time.perf_counter, torch.cuda.synchronize
                    wait()
                    began = clock()
                    layer.zero_grad()
                    layer(x).square().mean().backward()
                    wait()
                    return clock() - began

                if compiled:
                    torch._dynamo.reset()  # else all these layers share one limit of compilations
                    made = {name: torch.compile(layer) for name, layer in made.items()}
                for layer in [*made.values()] * 8:
                    seconds(layer)
                repeats = 8 if batch == 32 else 40
                times = np.array([[seconds(layer) for layer in made.values()] for _ in range(repeats)])
                ratios = np.median(times / times[:, [1]], axis=0)
                text = ", ".join(
                    f"{name} {1e3 * t:.1f} ms ({r:.2f})"
                    for name, t, r in zip(made, np.median(times, axis=0), ratios, strict=True)
                )
                print(f"{channels} channels on 32x32, {mode}, batch {batch}: {text}", flush=True)


SECTIONS: dict[str, Callable[..., None]] = {
    "drift": drift,
    "training": training,
    "gradients": gradients,
    "overhead": overhead,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="lines with this text in their names")
    parser.add_argument("--device", default="cpu", help="of the layers whose overhead is measured")
    parser.add_argument("--compile", action="store_true", help="compile these layers")
    torch.set_num_threads(1)

    def section(name: str, options: argparse.Namespace) -> None:
        SECTIONS[name](options.only, *([options.device, options.compile] if name == "overhead" else []))

    run(parser, SECTIONS, section)


if __name__ == "__main__":
    main()
