"""The command ``srnc``."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import srnc_manifold as srnc
from srnc_manifold.comparison.rows import Row
from srnc_manifold.naming import split
from srnc_manifold.operators.geometry import Layout
from srnc_manifold.plugins import working
from srnc_manifold.registry import (
    COST_NAMES,
    DEFAULT_SOLVERS,
    SOLVER_NAMES,
    cost_plugins,
    solver_from_name,
    solver_plugins,
)
from srnc_manifold.studies.formulations import STUDIES
from srnc_manifold.studies.formulations import run as run_study
from srnc_manifold.writing import replacing, require_writable, unused_folder, write_text

app = typer.Typer(
    help="Stable rank normalization of convolution kernels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
FractionOption = Annotated[float | None, typer.Option(help="Target as a fraction of the kernel's stable rank.")]


def main() -> None:
    """Entry point. For bad input it prints one line on standard error and exits with code 2. A warning is one line."""

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.secho(f"srnc: {message}", err=True, fg="yellow")

    warnings.showwarning = warn
    printed, sys.stdout = _forgiving(sys.stdout, 1)
    _, sys.stderr = _forgiving(sys.stderr, 2)
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except (ValueError, TypeError, OSError, ImportError) as error:
        typer.secho(f"srnc: {error}", err=True, fg="red")
        code = 2
    sys.stdout.flush()
    if printed.error is not None and not isinstance(printed.error, BrokenPipeError):
        typer.secho(f"srnc: not all could be printed: {printed.error}", err=True, fg="red")
        code = code or 2
    sys.stderr.flush()
    sys.exit(code)


class _Forgiving(io.RawIOBase):
    """An output stream that never raises an exception, so that an error in printing does not lose the results.

    Attributes
    ----------
    error : OSError or None
        The first error, for example because the reader has closed the pipe or the disk is full.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        try:
            return os.write(self._descriptor, data) if self.error is None else len(data)
        except OSError as error:
            self.error = error
            return len(data)


def _forgiving(stream: Any, descriptor: int) -> tuple[_Forgiving, Any]:
    """A raw stream that never raises, and a text stream on it that replaces characters that the encoding lacks."""
    if stream is None:  # the caller has closed it: open it, so that no other file, here or in a worker, gets its number
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        os.set_inheritable(descriptor, True)
    raw, encoding = _Forgiving(descriptor), "utf-8" if stream is None else stream.encoding
    return raw, io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="replace", line_buffering=True)


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


@app.command()
def compare(
    problem_files: Annotated[
        list[str] | None,
        typer.Argument(help=f"Families ({', '.join(srnc.families.FAMILIES)}) or .py files with problems()."),
    ] = None,
    solvers: Annotated[
        str | None,
        typer.Option(
            help=f"Comma-separated: {', '.join(SOLVER_NAMES)}. Some accept a cost, :{'|:'.join(COST_NAMES)}. All "
            "accept settings, such as slsqp[n_starts=3]. 'srnc solvers' also lists the solvers of plug-ins. Default: "
            f"{', '.join(DEFAULT_SOLVERS)}."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Runs of each solver on each problem, with seeds 0, 1, …. Default: 3, for a study 5."),
    ] = None,
    max_time: Annotated[
        float | None, typer.Option(min=0.001, help="Time limit of a run in seconds. Default: 10, for a study 1.")
    ] = None,
    max_evaluations: Annotated[int | None, typer.Option(min=1, help="Largest number of evaluations of a run.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes; -1 for all cores.")] = -1,
    study: Annotated[
        str | None,
        typer.Option(help=f"Run a study, which has its own problems and solvers: {', '.join(STUDIES)}."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(help="Folder for rows.csv, table.csv and figures. If it is not empty, results-2, … is used."),
    ] = Path("results"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write to this folder even if it is not empty.")
    ] = False,
) -> None:
    """Compare solvers on problems. The tables are printed; rows, tables and figures are saved."""
    from rich.console import Console

    from srnc_manifold.comparison import report

    if (study is None) == (not problem_files):
        raise ValueError("problem-files: expected families or files, or --study, but not both")
    if study is not None and solvers is not None:
        raise ValueError("solvers: given, but a study has its own solvers")
    budget = srnc.Budget(max_evaluations, max_time or (10.0 if study is None else 1.0))
    folder = output if overwrite else unused_folder(output)
    rows_file = folder / "rows.csv"
    settings: dict[str, Any] = {"budget": budget, "n_jobs": jobs, "output": rows_file, "overwrite": overwrite}
    with _progress_bar() as progress:
        if study is not None:
            done = run_study(study, range(seeds or 5), progress=progress, **settings)
            comparison = done.comparison
        else:
            names = list(DEFAULT_SOLVERS) if solvers is None else split(solvers)
            comparison = srnc.compare(problem_files or (), names, range(seeds or 3), progress=progress, **settings)
    if comparison.interrupted and study is not None:
        typer.secho(f"srnc: interrupted; the runs that were done are in {rows_file}", err=True, fg="red")
        raise typer.Exit(130)
    saved: list[Path] = []
    try:
        saved = (comparison if study is None else done).save(folder)
    finally:  # if saving fails, the results are still printed
        if study is not None:
            typer.echo(done.findings())
        else:
            # Never narrower than a table: wrapped lines are readable, but numbers that are cut off are not.
            report.print_report(
                comparison.table(), comparison.problems, Console(width=max(Console().width, report.WIDTH))
            )
    if folder != output:
        typer.echo(f"{output} exists and is not changed; use --overwrite to write there")
    typer.echo(f"Saved: {', '.join(map(str, saved))}")
    if comparison.interrupted:
        typer.secho("srnc: interrupted; the tables contain the runs that were done", err=True, fg="red")
        raise typer.Exit(130)


@contextmanager
def _progress_bar() -> Iterator[Any]:
    """The function that a comparison calls to show its progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("comparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=None)

    def progress(done: int, total: int, row: Row | None) -> None:
        bar.start()  # only now, after the arguments have been checked
        description = "" if row is None else f"{row.problem}, {row.solver}".replace("[", r"\[")
        bar.update(task, completed=done, total=total, description=description)

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


@app.command()
def solve(
    kernel_file: KernelFile,
    input_size: InputSizeOption,
    name: NameOption = None,
    stable_rank: StableRankOption = None,
    relative_stable_rank: RelativeOption = None,
    stable_rank_fraction: FractionOption = None,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
    solver: Annotated[str, typer.Option(help="See 'srnc solvers'.")] = "exact",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 0,
    max_time: Annotated[float | None, typer.Option(min=0.001, help="Time limit of the run in seconds.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the kernel (.npy) or the whole result (.json) here.")
    ] = None,
) -> None:
    """Normalize the stable rank of one kernel."""
    if output is not None and output.suffix not in (".npy", ".json"):
        raise ValueError(f"output: {str(output)!r} given, expected a name ending in .npy or .json")
    if output is not None:
        require_writable(output, "output")
    method = solver_from_name(solver)
    problem = _problem(
        _one_array(kernel_file, name),
        input_size,
        (stable_rank, relative_stable_rank, stable_rank_fraction),
        _layout(groups, stride, dilation),
    )
    from rich.console import Console

    with Console(stderr=True).status(f"{method.name} …"):
        result = srnc.solve(problem, method, rng=seed, budget=srnc.Budget(max_time=max_time))
    try:
        if output is not None and output.suffix == ".npy":
            with replacing(output) as file:
                np.save(file, result.kernel)
        elif output is not None:
            result.save(output)
    finally:  # if writing fails, the result is still printed
        for label, text in _summary(problem, result).items():
            typer.echo(f"{label:14} {text}")
    if output is not None:
        typer.echo(f"{'written':14} {output}")
    if result.details.get("interrupted"):
        raise typer.Exit(130)
    if result.status is srnc.Status.FAILED:
        raise typer.Exit(1)


def _summary(problem: srnc.SRNProblem, result: srnc.Result) -> dict[str, str]:
    found = result.evaluation
    assert found is not None
    return {
        "status": f"{result.status.value}: {result.message}",
        "stable rank": f"{problem.kernel_stable_rank:.6g} -> {found.stable_rank:.6g}, target {problem.stable_rank:.6g}",
        "spectral norm": f"{found.spectral_norm:.6g}, target {problem.spectral_norm:.6g}",
        "objective": f"{found.objective:.10g}; the kernel moved by {found.relative_distance:.2%} of its norm",
        "bound": _bound_text(result),
        "feasible": "yes" if found.feasible else "no",
        "evaluations": f"{result.n_evaluations} in {result.runtime:.3g} s",
    }


@app.command()
def bound(
    kernel_file: KernelFile,
    input_size: InputSizeOption,
    name: NameOption = None,
    stable_rank: StableRankOption = None,
    relative_stable_rank: RelativeOption = None,
    stable_rank_fraction: FractionOption = None,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
    method: Annotated[
        str | None, typer.Option(help=f"{' or '.join(srnc.bounds.METHODS)}. Default: the first that applies.")
    ] = None,
) -> None:
    """A proved lower bound on the objective of any feasible kernel, without solving the problem."""
    problem = _problem(
        _one_array(kernel_file, name),
        input_size,
        (stable_rank, relative_stable_rank, stable_rank_fraction),
        _layout(groups, stride, dilation),
    )
    found = srnc.bound(problem, method)
    lines = {
        "stable rank": f"{problem.kernel_stable_rank:.6g}, target {problem.stable_rank:.6g}: {problem.regime}",
        "bound": f"{found.objective:.10g}, by {found.method}",
        "relative": f"{found.objective / problem.squared_norm:.6g} of ‖C(a)‖²",
        "verified": f"{found.verify(problem):.10g}, recomputed from its certificate",
    }
    for label, text in lines.items():
        typer.echo(f"{label:14} {text}")


@app.command()
def inspect(
    kernel_file: KernelFile,
    input_size: InputSizeOption,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
) -> None:
    """Stable rank, spectral norm and feasible range of every kernel in a file, if it fits the input size."""
    from rich.console import Console
    from rich.table import Table

    size, layout = _sizes("input-size", input_size), _layout(groups, stride, dilation)
    table = Table("kernel", "shape", "stable rank", "relative", "feasible range", "spectral norm")
    skipped = []
    for name, array in srnc.read_arrays(kernel_file).items():
        try:
            problem = srnc.SRNProblem(array, size, stable_rank_fraction=1.0, **layout)
        except (ValueError, TypeError) as error:
            skipped.append(f"{name}: {error}")
            continue
        low, high = problem.feasible_range
        own = problem.kernel_stable_rank
        cells = (f"{own:.6g}", f"{own / high:.4f}", f"{low:.6g} to {high:.6g}", f"{problem.spectral_norm:.6g}")
        table.add_row(name, "×".join(map(str, array.shape)), *cells)
    if not table.rows:
        raise ValueError(f"no kernel in {str(kernel_file)!r} fits input size {input_size}: {'; '.join(skipped)}")
    console = Console(width=max(Console().width, 110))
    console.print(table)
    for reason in skipped:
        console.print(f"skipped {reason}", highlight=False, markup=False, soft_wrap=True)


@app.command("analyse-srnc")
def analyse_srnc(
    kernels: Annotated[int, typer.Option(min=1, help="Random kernels for each size and target.")] = 3,
    cases: Annotated[int, typer.Option(min=1, help="Random problems for the repaired variants.")] = 300,
    output: Annotated[Path | None, typer.Option(help="Write the document (.md) here instead of printing it.")] = None,
) -> None:
    """Results of SRN-C: its norm and stable rank compared with the targets, two repairs, layers of real networks."""
    if output is not None:
        if output.suffix != ".md":
            raise ValueError(f"output: {str(output)!r} given, expected a name ending in .md")
        require_writable(output, "output")
    from rich.console import Console
    from rich.progress import Progress

    from srnc_manifold.studies import srnc as analysis

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done)

        text = analysis.document(kernels, cases, progress)
    if output is None:
        typer.echo(text)
    else:
        write_text(output, text)
        typer.echo(f"written {output}")


@app.command()
def solvers() -> None:
    """List the names of the solvers and costs. For those of plug-ins, the distribution is given too."""
    for title, own, found in (("solvers", SOLVER_NAMES, solver_plugins()), ("costs", COST_NAMES, cost_plugins())):
        others = (f"{plugin.name} ({plugin.distribution})" for plugin in working(found.values()))
        typer.echo(f"{title + ':':8} {', '.join((*own, *others))}")


def _sizes(option: str, text: str) -> Any:
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


def _problem(
    kernel: np.ndarray, input_size: str, target: tuple[float | None, float | None, float | None], layout: Layout
) -> srnc.SRNProblem:
    absolute, relative, fraction = target
    return srnc.SRNProblem(
        kernel,
        _sizes("input-size", input_size),
        stable_rank=absolute,
        relative_stable_rank=relative,
        stable_rank_fraction=fraction,
        **layout,
    )


def _layout(groups: int, stride: str, dilation: str) -> Layout:
    return {"groups": groups, "stride": _sizes("stride", stride), "dilation": _sizes("dilation", dilation)}


def _bound_text(result: srnc.Result) -> str:
    if result.bound is None or result.gap is None:
        return "none from this solver; see 'srnc bound'"
    return f"{result.bound.objective:.10g}; the gap is {result.gap:.2g} of ‖C(a)‖²"


def _one_array(path: Path, name: str | None) -> np.ndarray:
    arrays = srnc.read_arrays(path)
    if name is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if name not in arrays:
        given = "none" if name is None else repr(name)
        raise ValueError(f"name: {given} given, expected one of the arrays of {str(path)!r}: {', '.join(arrays)}")
    return arrays[name]
