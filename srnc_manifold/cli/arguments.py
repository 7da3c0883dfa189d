"""The arguments that several commands share, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import srnc_manifold as srnc
from srnc_manifold.operators.layers import Layer

_INPUT_SIZE = typer.Option(
    "--input-size", "-n", help="Grid that the kernel acts on: 64, or 32x32 for each axis; 'dense' for a matrix."
)
InputSizeOption = Annotated[str, _INPUT_SIZE]
OptionalSizeOption = Annotated[str | None, _INPUT_SIZE]

GroupsOption = Annotated[int, typer.Option(min=1, help="Groups of channels.")]
StrideOption = Annotated[str, typer.Option(help="Step between outputs: 2 or 2x1.")]
DilationOption = Annotated[str, typer.Option(help="Step between taps: 2 or 2x1.")]
PaddingOption = Annotated[
    str | None,
    typer.Option(help="Per side: 1, 2x1, 'same' or 'valid'."),
]
PaddingModeOption = Annotated[str, typer.Option(help="zeros, circular, reflect or replicate.")]
TransposedOption = Annotated[bool, typer.Option("--transposed", help="Transposed layer.")]
OutputPaddingOption = Annotated[str, typer.Option(help="Of this: 1 or 1x0.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the array in the file; needed if the file has several.")]
KernelFile = Annotated[Path, typer.Argument(help=f"A file with kernels: {', '.join(srnc.files.SUFFIXES)}.")]
StableRankOption = Annotated[float | None, typer.Option(help="Target stable rank.")]
RelativeOption = Annotated[float | None, typer.Option(help="Target as a fraction of the largest feasible stable rank.")]
EvaluationsOption = Annotated[int | None, typer.Option(min=1, help="Largest number of evaluations of a run.")]
ViolationGoal = Annotated[
    float | None, typer.Option(help="End a run when both constraints hold to this relative error.")
]
GradientNormGoal = Annotated[
    float | None, typer.Option(help="End a run when the cost's gradient norm is at most this.")
]
ClipOption = Annotated[bool, typer.Option("--clip", help="Move a target that is not feasible to the nearest one.")]
FractionOption = Annotated[float | None, typer.Option(help="Target as a fraction of the kernel's stable rank.")]


def sizes(option: str, text: str) -> Any:
    """Parse sizes: ``64`` for every axis, ``(32, 16)`` from ``32x16``, ``()`` from ``dense``."""
    if text == "dense":
        return ()
    parts = text.lower().replace("×", "x").split("x")
    try:
        sizes = tuple(int(part) for part in parts)
    except ValueError:
        examples = {"input-size": "64, 32x32 or 'dense'", "padding": "1, 2x1, 'same' or 'valid'"}
        example = examples.get(option, "2 or 2x1")
        raise ValueError(f"{option}: {text!r} given, expected {example}") from None
    return sizes[0] if len(sizes) == 1 else sizes


def problem_of(
    kernel: np.ndarray,
    input_size: str,
    target: tuple[float | None, float | None, float | None],
    clip: bool,
    layer: Layer,
) -> srnc.SRNProblem:
    absolute, relative, fraction = target
    return srnc.SRNProblem(
        kernel,
        sizes("input-size", input_size),
        stable_rank=absolute,
        relative_stable_rank=relative,
        stable_rank_fraction=fraction,
        clip=clip,
        **layer,
    )


def layer_of(
    groups: int,
    stride: str,
    dilation: str,
    padding: str | None,
    padding_mode: str,
    transposed: bool,
    output_padding: str,
) -> Layer:
    words = padding is None or padding in ("same", "valid")
    return {
        "groups": groups,
        "stride": sizes("stride", stride),
        "dilation": sizes("dilation", dilation),
        "padding": padding if words else sizes("padding", str(padding)),
        "padding_mode": padding_mode,
        "transposed": transposed,
        "output_padding": sizes("output-padding", output_padding),
    }


def one_array(path: Path, name: str | None) -> np.ndarray:
    contents = srnc.files.read_file(path)
    arrays, skipped = contents.arrays, contents.skipped
    if name is None and len(arrays) == 1 and not skipped:
        return next(iter(arrays.values()))
    if name in skipped:
        raise ValueError(f"name: {name!r} given, which cannot be read from {str(path)!r}: {skipped[name]}")
    if name not in arrays:
        given = "none" if name is None else repr(name)
        raise ValueError(f"name: {given} given, expected one of the arrays of {str(path)!r}: {', '.join(arrays)}")
    return arrays[name]
