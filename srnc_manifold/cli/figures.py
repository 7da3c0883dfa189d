"""The command that draws the figures of the paper and of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from srnc_manifold.figures import FIGURES, STORE, Drawn, draw, named
from srnc_manifold.printing import printable
from srnc_manifold.progress import progress_bar
from srnc_manifold.writing import unused_folder


def figures(
    output: Annotated[Path, typer.Option(help=f"Folder for the figures, and for the runs they show, {STORE}.")] = Path(
        "figures"
    ),
    only: Annotated[
        str, typer.Option(help=f"Pattern for the names, such as 'paper-*'. There are {', '.join(FIGURES)}.")
    ] = "*",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write to this folder even if it is not empty.")
    ] = False,
) -> None:
    """Draw the figures of the paper, of the README and of the documentation from scratch.

    The paper's take half a minute, the README's as long, those of comparisons a minute or two; their runs are kept, so
    what was stopped goes on where it was. Figures of studies are drawn by 'srnc study'.

    Example: srnc figures --only 'paper-*' --output figures
    """
    named(only)  # before a folder is chosen
    folder = output if overwrite else unused_folder(output, resumed=STORE)
    written: list[Drawn] = []
    try:
        with progress_bar() as progress:
            draw(folder, only, progress=progress, written=written)
    finally:  # what was drawn before an error is there
        if folder != output:
            typer.echo(f"{printable(output)} exists and is not changed; use --overwrite to write there")
        for one in written:
            typer.echo(f"{printable(one.path)}: {one.shows}")
