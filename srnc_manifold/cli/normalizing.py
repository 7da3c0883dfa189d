"""The command that normalizes all layers of a file of weights."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from srnc_manifold.cli.arguments import RelativeOption, StableRankOption
from srnc_manifold.files import WeightsFile
from srnc_manifold.files.weights import KINDS, SUFFIXES
from srnc_manifold.networks import Goal, NetworkLayer
from srnc_manifold.networks import normalize as normalize_layers
from srnc_manifold.networks.rows import TIED, Row, skipped
from srnc_manifold.networks.table import LayerTable, read_table
from srnc_manifold.printing import printable
from srnc_manifold.progress import progress_bar
from srnc_manifold.writing import require_writable


def normalize(
    weights: Annotated[Path, typer.Argument(help=f"A file of weights: {', '.join(SUFFIXES)}. It is only read.")],
    layers: Annotated[
        Path,
        typer.Option(help="Table of the layers (.toml). 'srnc inspect WEIGHTS --write-layers' writes one."),
    ],
    output: Annotated[Path, typer.Option(help="Write the weights here (.safetensors).")],
    stable_rank: StableRankOption = None,
    relative_stable_rank: RelativeOption = None,
    stable_rank_fraction: Annotated[
        float | None, typer.Option(help="Target as a fraction of each layer's own stable rank.")
    ] = None,
    clip: Annotated[
        bool, typer.Option(help="Move a target that is not feasible to the nearest one, or refuse it.")
    ] = True,
    max_time: Annotated[float | None, typer.Option(min=0.001, help="Time limit of each layer in seconds.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Write the table of the results here, too (.csv).")] = None,
) -> None:
    """Normalize the stable rank of all layers of a file of weights that a table names.

    Each becomes the nearest weight whose operator has the target stable rank and the norm that it had. One that is at
    its target or below it is left alone. All other arrays are written bit for bit as they were, with the same names and
    types. A file is written as a whole or not at all.

    Example: srnc inspect weights.pt --write-layers layers.toml

    Then fill in layers.toml: srnc normalize weights.pt --layers layers.toml --output new.safetensors
    --stable-rank-fraction 0.5
    """
    goal = Goal.of(stable_rank, relative_stable_rank, stable_rank_fraction, clip)
    _require_outputs(weights, layers, output, rows)
    table = read_table(layers)
    file = WeightsFile(weights)
    chosen, others = _layers_of(file, table)
    with progress_bar() as progress:
        found = normalize_layers(chosen, goal, max_time=max_time, progress=progress).and_then(*others)
    try:
        file.write(output, {name: new for layer, new in found.weights.items() for name in file.same_memory(layer)})
        if rows is not None:
            found.to_csv(rows, overwrite=True)
    finally:  # if writing fails, the table is still printed
        typer.echo(str(found))
    typer.echo(f"written {', '.join(printable(path) for path in (output, rows) if path is not None)}")
    if file.others:
        typer.echo(printable(f"not written, as they are no arrays: {', '.join(file.others)}"))


def _require_outputs(weights: Path, layers: Path, output: Path, rows: Path | None) -> None:
    if output.suffix != ".safetensors":
        raise ValueError(f"output: {str(output)!r} given, expected a name ending in .safetensors")
    if rows is not None and rows.suffix != ".csv":
        raise ValueError(f"rows: {str(rows)!r} given, expected a name ending in .csv")
    for name, path in (("output", output), ("rows", rows)):
        if path is None:
            continue
        for given in (weights, layers):
            if path.exists() and given.exists() and os.path.samefile(path, given):
                raise ValueError(f"{name}: {str(path)!r} given, which is read; expected another file")
        require_writable(path, name)


def _layers_of(file: WeightsFile, table: LayerTable) -> tuple[list[NetworkLayer], list[Row]]:
    """The layers of a file that a table names, and the rows of the others."""
    arrays = file.contents.arrays
    entries = table.matched(arrays, str(file.path))
    chosen: dict[tuple[str, ...], NetworkLayer] = {}
    rows: list[Row] = []
    for name, entry in entries.items():
        given = table.words(entry)
        if given is None:
            rows.append(skipped(name, "the table says so"))
            continue
        if file.kind(name) not in KINDS:
            raise TypeError(f"{name}: dtype {file.kind(name)} given, expected one of {', '.join(KINDS)}")
        layer = NetworkLayer(name, arrays[name], *given, rounded=partial(file.rounded, name))
        first = chosen.setdefault(file.same_memory(name), layer)
        if (first.input_size, first.words) != given:
            raise ValueError(f"{name}: it is the same memory as {first.name}, expected the same words for both")
        if first is not layer:
            rows.append(Row(name, TIED, f"to {first.name}"))
    rows += [
        skipped(name, "not in the table")
        for name, array in arrays.items()
        if name not in entries and array.ndim > 1 and array.dtype.kind == "f"
    ]
    return list(chosen.values()), rows
