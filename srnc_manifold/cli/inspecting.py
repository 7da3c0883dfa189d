"""The command that looks at all kernels of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

import srnc_manifold as srnc
from srnc_manifold.cli.arguments import (
    DilationOption,
    GroupsOption,
    KernelFile,
    OptionalSizeOption,
    OutputPaddingOption,
    PaddingModeOption,
    PaddingOption,
    StrideOption,
    TransposedOption,
    layer_of,
    sizes,
)
from srnc_manifold.files import Contents
from srnc_manifold.networks.table import UNKNOWN, first_table
from srnc_manifold.operators.layers import Layer
from srnc_manifold.printing import printable
from srnc_manifold.writing import require_new_file, write_text

Arrays = Mapping[str, NDArray[Any]]

# By the name of the norms, in torch's weight normalization, that of the directions beside them.
_DIRECTIONS = {"weight_g": "weight_v", "original0": "original1"}

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def inspect(
    kernel_file: KernelFile,
    input_size: OptionalSizeOption = None,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
    padding: PaddingOption = None,
    padding_mode: PaddingModeOption = "circular",
    transposed: TransposedOption = False,
    output_padding: OutputPaddingOption = "0",
    write_layers: Annotated[
        Path | None,
        typer.Option(help="Write a first table of the layers for 'srnc normalize' here (.toml), to be filled in."),
    ] = None,
) -> None:
    """Stable rank, spectral norm and feasible range of every kernel in a file, if it fits the input size.

    A file does not tell the layout of its layers: the same input size, groups, stride, dilation and padding are assumed
    for all. With --write-layers they are written to a table, in which each layer can have its own; without an input
    size the table has question marks, and nothing else is done.

    Example: srnc inspect weights.safetensors -n 32 --groups 2
    """
    if input_size is None and write_layers is None:
        raise ValueError("input-size: none given, expected 64, 32x32 or 'dense', or --write-layers")
    if write_layers is not None:
        require_new_file(write_layers, "write-layers")
    layer = layer_of(groups, stride, dilation, padding, padding_mode, transposed, output_padding)
    size = None if input_size is None else sizes("input-size", input_size)
    contents = srnc.files.read_file(kernel_file)
    if write_layers is not None:
        _write_layers(write_layers, kernel_file, contents, size, layer)
    if input_size is not None:
        _print_kernels(contents, kernel_file, input_size, size, layer)


def _write_layers(path: Path, kernel_file: Path, contents: Contents, size: Any, layer: Layer) -> None:
    shapes, left_out = {}, dict(contents.skipped)
    for name, array in contents.arrays.items():
        reason = no_kernel(name, contents.arrays) or _no_weight(array)
        if reason:
            left_out[name] = reason
        else:
            shapes[name] = array.shape
    if not shapes:
        raise ValueError(f"no weight of a layer in {str(kernel_file)!r}: {'; '.join(map(': '.join, left_out.items()))}")
    with_channels = {name: shape for name, shape in shapes.items() if len(shape) > 2}
    hints = {name: f"{why}: groups = {likely}" for name, why, likely in likely_groups(with_channels, layer["groups"])}
    known = {} if size is None else {"input_size": size, "words": layer}
    write_text(path, first_table(kernel_file.name, shapes, hints, **known))
    typer.echo(f"written {printable(path)}: {len(shapes)} layers; fill in every {UNKNOWN!r} and check the rest")
    for name, reason in left_out.items():
        typer.echo(printable(f"left out {name}: {reason}"))


def _no_weight(array: NDArray[Any]) -> str:
    if array.dtype.kind != "f":
        return f"dtype {array.dtype}, not real numbers"
    return "" if 2 <= array.ndim <= 5 else f"{array.ndim} axes, not those of a layer"


def _print_kernels(contents: Contents, kernel_file: Path, input_size: str, size: Any, layer: Layer) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kernel", "shape", "stable rank", "relative", "feasible range", "spectral norm")
    table.columns[0].overflow = "fold"
    kernels: list[str] = []
    skipped = dict(contents.skipped)
    for name, array in contents.arrays.items():
        reason = no_kernel(name, contents.arrays)
        if reason:
            skipped[name] = reason
            continue
        try:
            problem = srnc.SRNProblem(array, size, stable_rank_fraction=1.0, **layer)
        except (ValueError, TypeError, MemoryError) as error:
            skipped[name] = str(error)
            continue
        low, high = problem.feasible_range
        own = problem.kernel_stable_rank
        cells = (f"{own:.6g}", f"{own / high:.4f}", f"{low:.6g} to {high:.6g}", f"{problem.spectral_norm:.6g}")
        table.add_row(Text(printable(name)), "×".join(map(str, array.shape)), *cells)
        kernels.append(name)
    reasons = [f"{name}: {text}" for name, text in skipped.items()]
    if not kernels:
        raise ValueError(f"no kernel in {str(kernel_file)!r} fits input size {input_size}: {'; '.join(reasons)}")
    console = Console(width=max(Console().width, 110))
    assumed = "a dense matrix" if size == () else f"input size {input_size}, {_in_words(layer)}"
    console.print(Text(printable(f"Assumed for every kernel: {assumed}. The file does not tell.")))
    console.print(table)
    lines = [f"note {name}: {text}" for name, text in notes(kernels, contents.arrays, size, layer["groups"])]
    for line in (*lines, *(f"skipped {reason}" for reason in reasons)):
        console.print(Text(printable(line)), soft_wrap=True)


def _in_words(layer: Layer) -> str:
    """What is assumed of a layer."""
    steps = (f"{name} {_sizes_text(layer[name])}" for name in ("groups", "stride", "dilation"))
    padding = layer["padding"]
    amount = (
        "circular padding" if padding is None else f"padding {_sizes_text(padding)} of the mode {layer['padding_mode']}"
    )
    return ", ".join((*steps, amount, *(["transposed"] if layer["transposed"] else [])))


def _sizes_text(given: Any) -> str:
    return "x".join(map(str, given)) if isinstance(given, tuple) else str(given)


def no_kernel(name: str, arrays: Arrays) -> str:
    """Why an array is certainly no kernel, by its name and the arrays beside it; empty if it may be one."""
    array = arrays[name]
    prefix, dot, last = name.rpartition(".")

    def beside(other: str) -> NDArray[Any] | None:
        return arrays.get(f"{prefix}{dot}{other}")

    if last in _STATISTICS:
        return "statistics of a normalization"
    if array.ndim == 0 and array.dtype.kind in "biu":
        return "one integer, such as a count"
    mean, weight, bias = beside("running_mean"), beside("weight"), beside("bias")
    if last in ("weight", "bias") and mean is not None and mean.shape == array.shape:
        return "of a normalization: its statistics are beside it"
    # The bias of a convolution has one axis and one entry for each output.
    alike = weight is not None and bias is not None and weight.shape == bias.shape
    if last in ("weight", "bias") and alike and array.ndim > 0:
        return "of a normalization: its weight and bias have one shape"
    directions = beside(_DIRECTIONS[last]) if last in _DIRECTIONS else None
    if directions is not None and array.shape[:1] == directions.shape[:1] == (array.size,):
        return "the norms of a weight normalization"
    if array.ndim != 1:
        return ""
    if last.endswith("bias") or last.startswith("bias_"):
        return "a bias"
    if last != "weight" and weight is not None and weight.ndim > 1 and len(weight) == len(array):
        return "one number for each output of the weight beside it"
    own, parametrized = beside("weight_orig"), arrays.get(f"{prefix.rpartition('.')[0]}.original")
    if (last in ("weight_u", "weight_v") and own is not None) or (last in ("_u", "_v") and parametrized is not None):
        return "a singular vector of a spectral normalization"
    return ""


def notes(kernels: Iterable[str], arrays: Arrays, size: Any, groups: int) -> Iterator[tuple[str, str]]:
    """What in the shapes of kernels suggests another layout than the one that is assumed, with the kernel's name."""
    with_channels = {}
    for name in kernels if size != () else ():
        shape = arrays[name].shape
        prefix, _, last = name.rpartition(".")
        norms = {v: g for g, v in _DIRECTIONS.items()}.get(last, "")
        if norms and f"{prefix}.{norms}" in arrays:
            yield (
                name,
                f"of a weight normalization; these numbers are wrong unless {norms} are the norms of its outputs",
            )
        if len(shape) < 3 if isinstance(size, int) else len(shape) != len(size) + 2:  # without channels
            bias = arrays.get(f"{name.removesuffix('weight')}bias")
            if len(shape) == 2 and shape[0] > 1 and bias is not None and bias.shape == shape[:1]:
                yield name, "its bias has an entry for each row; if this is a dense layer, use --input-size dense"
            continue
        with_channels[name] = shape
    for name, why, likely in likely_groups(with_channels, groups):
        yield name, f"{why}, these numbers are wrong, use --groups {likely}"


def likely_groups(shapes: Mapping[str, tuple[int, ...]], groups: int) -> Iterator[tuple[str, str, int]]:
    """Kernels whose shapes suggest other groups than are assumed: the name, the reason and the number."""
    before = 0  # outputs of the kernel before
    for name, (c_out, c_in, *_) in shapes.items():
        fitting = before // c_in if before % c_in == 0 else 0
        if groups == 1 and c_in == 1 and c_out > 1:
            yield name, "one input channel; if the layer is depthwise", c_out
        elif fitting not in (0, groups) and c_out % fitting == 0:
            yield name, f"the kernel before it has {before} outputs; if they are its inputs", fitting
        before = c_out
