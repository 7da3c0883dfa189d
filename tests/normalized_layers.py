"""Small layers with a symbol, and what tests of their normalization ask them."""

import warnings

import numpy as np
import torch
from torch import nn as layers

from srnc_manifold import nn

CASES = [
    (lambda: layers.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (8, 6), {}),
    (lambda: layers.Linear(7, 5), (), {}),
    (lambda: layers.Conv1d(4, 4, 3, padding="same", padding_mode="circular", groups=4), (16,), {"groups": 4}),
    (lambda: layers.Conv3d(2, 2, 3, padding=2, dilation=2, padding_mode="circular"), (5, 5, 7), {"dilation": 2}),
    (
        lambda: layers.Conv2d(4, 6, 3, padding=1, padding_mode="circular", stride=2, groups=2),
        (8, 6),
        {"stride": 2, "groups": 2},
    ),
]
NAMES = ["Conv2d", "Linear", "depthwise Conv1d", "dilated Conv3d", "strided Conv2d"]


def seeded(make, dtype=torch.float64):
    torch.manual_seed(0)
    return make().to(dtype)


def normalized(make, size, dtype=torch.float64, **settings):
    target = {"stable_rank_fraction": 0.7} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fraction may be below what is feasible
        return nn.stable_rank_norm(seeded(make, dtype), input_size=size or None, **target)


def numbers(weight, size, dense, layout):
    """Norm and stable rank of the operator, from a dense matrix."""
    matrix = dense(weight.detach().double().cpu().numpy(), size, **layout) if size else weight.detach().numpy()
    norm = np.linalg.norm(matrix, 2)
    return norm, np.linalg.norm(matrix) ** 2 / norm**2


def inputs(module, size, dtype=torch.float64):
    shape = (module.in_channels, *size) if size else (module.in_features,)
    return torch.randn(2, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def random_like(weight, seed):
    return torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
