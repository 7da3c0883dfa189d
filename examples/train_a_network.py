"""Train a small denoising network with and without a limit on the stable ranks of its layers.

    python examples/train_a_network.py --steps 300 --fraction 0.1

Needs PyTorch: pip install "srnc-manifold[torch]". Takes less than a minute on one core. It shows how a layer is
normalized in training, what that does to the operators of the layers, and that nothing is lost when the network is
saved as an ordinary one. Whether it helps a network is another question; this one is too small to tell.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor
from torch import nn as layers
from torch.nn.utils import parametrize

import srnc_manifold as srnc
from srnc_manifold import nn

SIZE, NOISE = 16, 0.2


def network() -> layers.Sequential:
    """Three convolutions with zero padding; the middle one is normalized."""
    return layers.Sequential(
        layers.Conv2d(1, 16, 3, padding=1),
        layers.ReLU(),
        layers.Conv2d(16, 16, 3, padding=1),
        layers.ReLU(),
        layers.Conv2d(16, 1, 3, padding=1),
    )


def images(count: int, rng: np.random.Generator) -> Tensor:
    """Grey pictures of some rectangles, shape ``(count, 1, SIZE, SIZE)``."""
    found = np.zeros((count, 1, SIZE, SIZE), dtype=np.float32)
    for image in found[:, 0]:
        for _ in range(3):
            (top, bottom), (left, right) = (np.sort(rng.integers(0, SIZE + 1, 2)) for _ in range(2))
            image[top:bottom, left:right] = rng.random()
    return torch.from_numpy(found)


def train(model: layers.Module, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        clean = images(16, rng)
        noisy = clean + NOISE * torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        optimizer.zero_grad()
        layers.functional.mse_loss(noisy - model(noisy), clean).backward()
        optimizer.step()


@torch.no_grad()
def psnr(model: layers.Module, seed: int) -> float:
    """On pictures that were not seen in training, in decibels."""
    rng = np.random.default_rng([seed, 1])
    clean = images(64, rng)
    noisy = clean + NOISE * torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    return float(-10 * torch.log10(layers.functional.mse_loss(noisy - model(noisy), clean)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of Adam (default: %(default)s)")
    parser.add_argument("--fraction", type=float, default=0.1, help="of the first stable rank (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    given = parser.parse_args()

    print(f"{'':12} {'PSNR':>8} {'norm':>8} {'stable rank':>12}   of the middle layer")
    for name in ("plain", "normalized"):
        torch.manual_seed(given.seed)
        model = network()
        if name == "normalized":
            nn.stable_rank_norm(model[2], stable_rank_fraction=given.fraction, input_size=SIZE)
        train(model, given.steps, given.seed)
        model.eval()
        if name == "normalized":
            far = nn.certify(model[2])  # to the explicit solution; then an ordinary layer again
            parametrize.remove_parametrizations(model[2], "weight")
        kernel = model[2].weight.detach().double().numpy()
        norm, rank = srnc.spectral_norm(kernel, SIZE, padding=1), srnc.stable_rank(kernel, SIZE, padding=1)
        print(f"{name:12} {psnr(model, given.seed):5.2f} dB {norm:8.3f} {rank:12.2f}")
    print(f"errors before the explicit solution: norm {far.norm_error:.1e}, stable rank {far.stable_rank_error:.1e}")


if __name__ == "__main__":
    main()
