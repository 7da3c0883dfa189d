"""The arguments that several commands share, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import srnc_manifold as srnc
from srnc_manifold.operators.geometry import Layout

InputSizeOption = Annotated[
    str,
    typer.Option(
        "--input-size", "-n", help="Grid that the kernel acts on: 64, or 32x32 for each axis; 'dense' for a matrix."
    ),
]

GroupsOption = Annotated[int, typer.Option(min=1, help="Groups of channels.")]
StrideOption = Annotated[str, typer.Option(help="Step between outputs: 2, or 2x1 for each axis.")]
DilationOption = Annotated[str, typer.Option(help="Step between taps: 2, or 2x1 for each axis.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the array in the file; needed if the file has several.")]
KernelFile = Annotated[Path, typer.Argument(help=f"A file with kernels: {', '.join(srnc.files.SUFFIXES)}.")]
StableRankOption = Annotated[float | None, typer.Option(help="Target stable rank.")]
RelativeOption = Annotated[float | None, typer.Option(help="Target as a fraction of the largest feasible stable rank.")]
EvaluationsOption = Annotated[int | None, typer.Option(min=1, help="Largest number of evaluations of a run.")]
ViolationGoal = Annotated[
    float | None, typer.Option(help="End a run when both constraints are met to this relative error.")
]
GradientNormGoal = Annotated[
    float | None, typer.Option(help="End a run when the gradient norm of the solver's cost is at most this.")
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
        example = "64, 32x32 or 'dense'" if option == "input-size" else "2 or 2x1"
        raise ValueError(f"{option}: {text!r} given, expected {example}") from None
    return sizes[0] if len(sizes) == 1 else sizes


def problem_of(
    kernel: np.ndarray,
    input_size: str,
    target: tuple[float | None, float | None, float | None],
    clip: bool,
    layout: Layout,
) -> srnc.SRNProblem:
    absolute, relative, fraction = target
    return srnc.SRNProblem(
        kernel,
        sizes("input-size", input_size),
        stable_rank=absolute,
        relative_stable_rank=relative,
        stable_rank_fraction=fraction,
        clip=clip,
        **layout,
    )


def layout_of(groups: int, stride: str, dilation: str) -> Layout:
    return {"groups": groups, "stride": sizes("stride", stride), "dilation": sizes("dilation", dilation)}


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
