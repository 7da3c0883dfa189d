"""All layers of published networks as they are in the networks: with their padding and strides, at real input sizes.

P-Net (24×24 images) and silero-vad (576 samples) are on the inputs that they are made for, FFDNet on 8×8 images, which
are maps of 4×4 there. Weights are read as in :mod:`srnc_manifold.problems.pretrained`.
"""

from collections.abc import Iterator

from srnc_manifold.problems import pretrained

from srnc_manifold import NamedProblem, SRNProblem, UnavailableProblem
from srnc_manifold.operators.layers import Layer

VALID: Layer = {"padding": 0, "padding_mode": "zeros"}
ZEROS: Layer = {"padding": 1, "padding_mode": "zeros"}
HALVING: Layer = {**ZEROS, "stride": 2}

#: Of each layer its input size along every axis, ``()`` of a dense one, and what else it has.
Places = dict[str, tuple[int | tuple[()], Layer]]

LAYERS: dict[str, Places] = {
    "silero-vad": {
        "stft_conv": (640, {**VALID, "stride": 128}),
        "conv1": (4, ZEROS),
        "conv2": (4, HALVING),
        "conv3": (2, HALVING),
        "conv4": (1, ZEROS),
        "lstm_cell.weight_ih": ((), {}),
        "lstm_cell.weight_hh": ((), {}),
        "final_conv": (1, VALID),
    },
    "P-Net": {
        "conv1": (24, VALID),
        "conv2": (11, VALID),
        "conv3": (9, VALID),
        "conv4_1": (7, VALID),
        "conv4_2": (7, VALID),
    },
    "FFDNet": {f"model.{k}": (4, ZEROS) for k in range(0, 24, 2)},
}

#: Of the stable rank that a layer has; where that is less than it can have, the least is taken.
FRACTION = 0.5


def problems() -> Iterator[NamedProblem | UnavailableProblem]:
    for source in pretrained.SOURCES:
        arrays, reason = pretrained.read(source)
        for layer, (size, words) in LAYERS[source.name].items():
            name = f"{source.name}/{layer}"
            if reason:
                yield UnavailableProblem(name, reason)
                continue
            kernel = arrays[layer if size == () else f"{layer}.weight"]
            sizes = (size,) * (kernel.ndim - 2) if isinstance(size, int) else size
            problem = SRNProblem(kernel, sizes, stable_rank_fraction=FRACTION, clip=True, **words)
            shape = "×".join(map(str, kernel.shape))
            yield NamedProblem(name, problem, note=f"{shape} weights{', the least stable rank' * problem.clipped}")
