"""Recurrent denoisers of video, as small as they can be and still diverge; and what is measured of their loops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import methods
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 16

# What counts as divergence: the hidden state is so many times as large as in the first frames. A state that has
# vanished there, which ReLU may bring about, counts as one of this size.
BLOWN_UP, VANISHED = 1e3, 1e-3


def _conv(c_in: int, c_out: int, gain: float) -> nn.Conv2d:
    """Circular, without bias, with PyTorch's first weights times a gain: 1.73 are Xavier's, 2.45 He's."""
    layer = nn.Conv2d(c_in, c_out, 3, padding=1, padding_mode="circular", bias=False)
    with torch.no_grad():
        layer.weight.mul_(gain)
    return layer


class LinearLoop(nn.Module):
    """A linear hidden state: ``h' = W_h ∗ h + W_f ∗ relu(W_in ∗ y) + b``, and ``out = y − W_o ∗ relu(h')``.

    It diverges exactly if ``W_h`` has an eigenvalue of modulus above one.
    """

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.first, self.forward_ = _conv(1, CHANNELS, gain), _conv(CHANNELS, CHANNELS, gain)
        self.hidden, self.last = _conv(CHANNELS, CHANNELS, gain), _conv(CHANNELS, 1, gain)
        self.bias = nn.Parameter(torch.zeros(CHANNELS, 1, 1))

    def loop(self) -> list[nn.Conv2d]:
        """The convolutions that the hidden state passes."""
        return [self.hidden]

    def freeze(self) -> None:
        """Make these ordinary layers, with the weights with which training ended."""
        self.hidden = methods.without(self.hidden)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.hidden(state) + self.forward_(torch.relu(self.first(frame))) + self.bias
        return frame - self.last(torch.relu(state)), state


class ReluLoop(nn.Module):
    """Two convolutions with ReLU in the loop: ``h' = relu(W_2 ∗ relu(W_1 ∗ h + W_in ∗ y + b))``."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.first, self.last = _conv(1, CHANNELS, gain), _conv(CHANNELS, 1, gain)
        self.one, self.two = _conv(CHANNELS, CHANNELS, gain), _conv(CHANNELS, CHANNELS, gain)
        self.bias = nn.Parameter(torch.zeros(CHANNELS, 1, 1))

    def loop(self) -> list[nn.Conv2d]:
        return [self.one, self.two]

    def freeze(self) -> None:
        self.one, self.two = methods.without(self.one), methods.without(self.two)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.relu(self.two(torch.relu(self.one(state) + self.first(frame) + self.bias)))
        return frame - self.last(state), state


#: First and last frame of a range, by its name.
Ranges = dict[str, tuple[int, int]]

Row = dict[str, Any]

LOOPS: dict[str, type[LinearLoop] | type[ReluLoop]] = {"linear": LinearLoop, "relu": ReluLoop}

Loop = LinearLoop | ReluLoop


def nothing(frames: Tensor) -> Tensor:
    """The hidden state before the first frame."""
    return torch.zeros(len(frames), CHANNELS, *frames.shape[-2:])


def outputs(model: Loop, frames: Iterator[Tensor] | Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The output and the hidden state at every frame of a clip."""
    state = None
    for frame in frames:
        state = nothing(frame) if state is None else state
        out, state = model.step(frame, state)
        yield out, state


def spectral_radius(weight: NDArray[Any], size: tuple[int, int]) -> float:
    """Largest modulus of an eigenvalue of a circular convolution: those of the blocks of its symbol.

    All taps are shifted alike against the symbol, which multiplies each block by a number of modulus one.
    """
    blocks = np.fft.fft2(weight, size).transpose(2, 3, 0, 1)
    return float(np.abs(np.linalg.eigvals(blocks)).max())


@torch.no_grad()
def long_run(model: Loop, clean: Tensor, sigma: float, frames: int, at: Ranges, seed: int) -> Row:
    """Denoise a picture that does not move, with fresh noise in every frame.

    Parameters
    ----------
    clean : tensor, shape ``(B, 1, H, W)``
    at : dict
        Names of ranges of frames, first and last, from 1: the PSNR in each.

    Returns
    -------
    dict
        ``psnr_<name>`` in decibels, NaN once the output is not finite; ``norm_<frame>`` of the hidden state after 300
        frames and at the end, as root of the mean square; ``onset``, the first frame in which that is a thousand times
        what it was in frame 8, None if there is none.
    """
    noise = torch.Generator().manual_seed(seed)
    state, errors, norms, onset = nothing(clean), [], [], None
    for frame in range(1, frames + 1):
        noisy = clean + sigma * torch.randn(clean.shape, generator=noise)
        out, state = model.step(noisy, state)
        errors.append(float(functional.mse_loss(out, clean)))
        norms.append(float(state.square().mean().sqrt()))
        if onset is None and frame > 8 and not norms[-1] <= BLOWN_UP * max(norms[7], VANISHED):
            onset = frame
        if not math.isfinite(norms[-1]):
            break
    row: Row = {"onset": onset}
    for name, (first, last) in at.items():
        own = errors[first - 1 : last]
        row[f"psnr_{name}"] = psnr(own) if len(own) == last - first + 1 else math.nan
    for frame in sorted({min(300, frames), frames}):
        row[f"norm_{frame}"] = norms[frame - 1] if frame <= len(norms) else math.inf
    return row


@torch.no_grad()
def moving(model: Loop, clip: Tensor, sigma: float, seed: int) -> dict[str, float]:
    """Denoise a clip that moves; beside it the same network that forgets its state before each frame."""
    noise = torch.Generator().manual_seed(seed)
    noisy = [frame + sigma * torch.randn(frame.shape, generator=noise) for frame in clip]
    found = [out for out, _ in outputs(model, iter(noisy))]
    alone = [model.step(frame, nothing(frame))[0] for frame in noisy]
    rows = {}
    for name, outs in {"moving": found, "moving_alone": alone}.items():
        rows[f"psnr_{name}"] = psnr([float(functional.mse_loss(o, c)) for o, c in zip(outs[3:], clip[3:], strict=True)])
    return rows


@torch.no_grad()
def lyapunov(model: Loop, clean: Tensor, sigma: float, frames: int, seed: int) -> float:
    """Largest Lyapunov exponent for each frame: how a small change of the state grows, on a picture that stands.

    The change is brought back to its first size after each frame. Above zero two states part.
    """
    noise, size = torch.Generator().manual_seed(seed), 1e-3
    state = nothing(clean)
    change = torch.randn(state.shape, generator=noise)
    growth = []
    for frame in range(frames):
        noisy = clean + sigma * torch.randn(clean.shape, generator=noise)
        scale = size * float(state.norm()) / float(change.norm()) if frame else 0.0
        _, moved = model.step(noisy, state + scale * change)
        _, state = model.step(noisy, state)
        if frame >= frames // 2:
            before, after = float((scale * change).norm()), float((moved - state).norm())
            growth.append(math.log(max(after, 1e-30) / before) if before > 0 else math.nan)
        change = moved - state if frame else change
        if not torch.isfinite(change).all() or float(change.norm()) == 0 or not torch.isfinite(state).all():
            break
    return float(np.mean(growth)) if growth else math.nan


def psnr(errors: list[float]) -> float:
    """Of the mean of some mean squared errors, of pictures between 0 and 1."""
    mean = float(np.mean(errors))
    return -10 * math.log10(mean) if mean > 0 and math.isfinite(mean) else math.nan
