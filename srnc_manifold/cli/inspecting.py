"""The command that looks at all kernels of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

import srnc_manifold as srnc
from srnc_manifold.cli.arguments import (
    DilationOption,
    GroupsOption,
    InputSizeOption,
    KernelFile,
    OutputPaddingOption,
    PaddingModeOption,
    PaddingOption,
    StrideOption,
    TransposedOption,
    layer_of,
    sizes,
)
from srnc_manifold.printing import printable

Arrays = Mapping[str, NDArray[Any]]

# By the name of the norms, in torch's weight normalization, that of the directions beside them.
_DIRECTIONS = {"weight_g": "weight_v", "original0": "original1"}

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def inspect(
    kernel_file: KernelFile,
    input_size: InputSizeOption,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
    padding: PaddingOption = None,
    padding_mode: PaddingModeOption = "circular",
    transposed: TransposedOption = False,
    output_padding: OutputPaddingOption = "0",
) -> None:
    """Stable rank, spectral norm and feasible range of every kernel in a file, if it fits the input size.

    A file does not tell the layout of its layers: the same input size, groups, stride, dilation and padding are assumed
    for all.

    Example: srnc inspect weights.safetensors -n 32 --groups 2
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    size, layer = (
        sizes("input-size", input_size),
        layer_of(groups, stride, dilation, padding, padding_mode, transposed, output_padding),
    )
    contents = srnc.files.read_file(kernel_file)
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
    assumed = "a dense matrix" if size == () else (
        f"input size {input_size}, groups {groups}, stride {stride}, dilation {dilation}, "
        f"{_padding(padding, padding_mode, transposed)}"
    )  # fmt: skip
    console.print(Text(printable(f"Assumed for every kernel: {assumed}. The file does not tell.")))
    console.print(table)
    lines = [f"note {name}: {text}" for name, text in notes(kernels, contents.arrays, size, groups)]
    for line in (*lines, *(f"skipped {reason}" for reason in reasons)):
        console.print(Text(printable(line)), soft_wrap=True)


def _padding(padding: str | None, mode: str, transposed: bool) -> str:
    """What is assumed of the borders, in words."""
    amount = "circular padding" if padding is None else f"padding {padding} of the mode {mode}"
    return f"{amount}, transposed" if transposed else amount


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
    before = 0  # outputs of the kernel before
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
        c_out, c_in = shape[:2]
        fitting = before // c_in if before % c_in == 0 else 0
        if groups == 1 and c_in == 1 and c_out > 1:
            yield name, f"one input channel; if the layer is depthwise, these numbers are wrong, use --groups {c_out}"
        elif fitting not in (0, groups) and c_out % fitting == 0:
            yield (
                name,
                (
                    f"the kernel before it has {before} outputs; if they are its inputs, these numbers are wrong, "
                    f"use --groups {fitting}"
                ),
            )
        before = c_out
