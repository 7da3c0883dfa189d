"""The command ``srnc``."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer

import srnc_manifold as srnc
from srnc_manifold.cli import comparing, figures, inspecting, normalizing, solving
from srnc_manifold.printing import forgiving, printable

__all__ = ["app", "main"]

app = typer.Typer(
    help="Stable rank normalization of convolution kernels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise line ends of the docstrings stay
)


def main() -> None:
    """Entry point. For bad input it prints one line on standard error and exits with code 2. A warning is one line."""

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.secho(f"srnc: {printable(message)}", err=True, fg="yellow")

    warnings.showwarning = warn
    printed, sys.stdout = forgiving(sys.stdout, 1)
    _, sys.stderr = forgiving(sys.stderr, 2)
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except (ValueError, TypeError, OSError, ImportError) as error:
        for message in getattr(error, "messages", (error,)):  # several mistakes in one file
            typer.secho(f"srnc: {printable(message)}", err=True, fg="red")
        code = 2
    sys.stdout.flush()
    if printed.error is not None and not isinstance(printed.error, BrokenPipeError):
        typer.secho(f"srnc: not all could be printed: {printable(printed.error)}", err=True, fg="red")
        code = code or 2
    sys.stderr.flush()
    sys.exit(code)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"srnc_manifold {srnc.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


for command in (
    comparing.compare,
    comparing.study,
    comparing.rank,
    comparing.report,
    figures.figures,
    solving.solve,
    solving.bound,
    inspecting.inspect,
    normalizing.normalize,
    comparing.solvers,
):
    app.command()(command)
