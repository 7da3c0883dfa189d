"""Commands that compare solvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import srnc_manifold as srnc
from srnc_manifold.cli.arguments import EvaluationsOption, GradientNormGoal, ViolationGoal
from srnc_manifold.comparison.ranking import rank as ranked
from srnc_manifold.comparison.rows import FAILED, Row
from srnc_manifold.naming import split
from srnc_manifold.plugins import working
from srnc_manifold.printing import printable
from srnc_manifold.progress import progress_bar
from srnc_manifold.registry import (
    COST_NAMES,
    DEFAULT_SOLVERS,
    SOLVER_NAMES,
    cost_plugins,
    solver_from_name,
    solver_plugins,
)
from srnc_manifold.studies import RESUMED, STUDIES, read_study
from srnc_manifold.studies import run as run_study
from srnc_manifold.writing import unused_folder

_SEEDS = typer.Option(min=1, help="Number of seeds: each solver is run on each problem with seeds 0, 1, ….")
_STORE = "study.db"
_MAX_TIME = typer.Option(min=0.001, help="Time limit of a run in seconds.")
JobsOption = Annotated[int, typer.Option("--jobs", "-j", help="Processes; -1 for all cores.")]
SchedulerOption = Annotated[str | None, typer.Option(help="Run on this cluster of Dask: tcp://host:8786.")]
DetailsOption = Annotated[
    bool, typer.Option("--details", help="Print all columns (126 characters), and tables of each of many problems.")
]
StoreOption = Annotated[
    Path, typer.Option(help="Folder for the results: study.db, in which runs are found again, tables and a figure.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Write to this folder even if it is not empty.")]


def compare(
    problem_files: Annotated[
        list[str],
        typer.Argument(help=f"Families ({', '.join(srnc.families.FAMILIES)}) or .py files with problems()."),
    ],
    solvers: Annotated[
        str | None,
        typer.Option(
            help="Names, separated by commas; 'srnc solvers' lists them. Some take a cost (trust-regions:penalty), all "
            f"take settings (slsqp[n_starts=3]). Default: {len(DEFAULT_SOLVERS)} of them."
        ),
    ] = None,
    seeds: Annotated[int, _SEEDS] = 3,
    max_time: Annotated[float, _MAX_TIME] = 10.0,
    max_evaluations: EvaluationsOption = None,
    goal_violation: ViolationGoal = None,
    goal_gradient_norm: GradientNormGoal = None,
    jobs: JobsOption = -1,
    scheduler: SchedulerOption = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds after which a run is killed; 10 × --max-time + 60.")
    ] = None,
    output: StoreOption = Path("results"),
    overwrite: OverwriteOption = False,
    details: DetailsOption = False,
    device: Annotated[
        str | None, typer.Option(help="Device of torch for the solvers that take one (batch): cuda, cuda:1, cpu.")
    ] = None,
) -> None:
    """Compare solvers on problems. The tables are printed; runs, tables and a figure are saved.

    Runs that are in the folder's study.db are not made again, unless they failed or their code has changed.

    Example: srnc compare paper mine.py --solvers exact,slsqp[n_starts=3] --seeds 5 --output results
    """
    made = partial(
        srnc.compare,
        problem_files,
        _solvers(list(DEFAULT_SOLVERS) if solvers is None else split(solvers), device),
        range(seeds),
        budget=srnc.Budget(max_evaluations, max_time, goal_gradient_norm, goal_violation),
        timeout=timeout,
    )
    _compare(made, jobs, scheduler, output, overwrite, details)


def _compare(
    made: Callable[..., srnc.Comparison], jobs: int, scheduler: str | None, output: Path, overwrite: bool, details: bool
) -> None:
    """Make a comparison with a store in a folder, save its tables there, and print them."""
    from rich.console import Console

    from srnc_manifold.comparison import report

    with _stored(made, jobs, scheduler, output, overwrite) as comparison:
        # Never narrower than a table: wrapped lines are readable, but numbers that are cut off are not.
        console = Console(width=max(Console().width, report.width_of(details)))
        report.print_report(comparison.table(), comparison.problems, console, details=details)


@contextmanager
def _stored(made: Callable[..., Any], jobs: int, scheduler: str | None, output: Path, overwrite: bool) -> Iterator[Any]:
    """What is made with a store in a folder; it is printed in the body, when tables of the store are written."""
    from srnc_manifold.comparison.exports import export

    folder = output if overwrite else unused_folder(output, resumed=_STORE)
    store, watched = folder / _STORE, _Watched()
    with progress_bar() as progress:
        found = made(
            store=store,
            **_where(jobs, scheduler),
            progress=lambda done, total, row: progress(watched.look(done, row), done, total),
        )
    comparison = getattr(found, "comparison", found)
    with _saving(comparison, lambda: [store, *export(comparison, store, overwrite=overwrite)], folder, output):
        yield found
        if watched.found:
            typer.echo(f"{watched.found} of these runs were in {printable(store)} already")


def _where(jobs: int, scheduler: str | None) -> dict[str, Any]:
    """Where runs are made, as :func:`srnc_manifold.compare` is told it."""
    return {"executor": scheduler or "joblib", "n_jobs": None if scheduler and jobs == -1 else jobs}


def report(
    store: Annotated[Path, typer.Argument(help="A store of runs, as srnc compare keeps one: results/study.db.")],
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a store of runs as one HTML file: who wins in words, tables that sort, interactive figures.

    Example: srnc report results/study.db --output report.html
    """
    with progress_bar() as progress:
        path = srnc.report(store, output, overwrite=overwrite, progress=progress)
    typer.echo(f"Saved: {printable(path)}")


def _solvers(names: list[str], device: str | None) -> Any:
    """Solvers by name, those that take a device with the one that is given.

    Raises
    ------
    ValueError
        If no solver takes a device, or torch does not have this one.
    """
    if device is None or len(set(names)) < len(names):  # names given twice are refused where all are checked
        return names
    found = {name: solver_from_name(name) for name in names}
    moved = {name: replace(one, device=device) for name, one in found.items() if isinstance(one, srnc.solvers.Batch)}
    if not moved:
        raise ValueError(f"device: {device!r} given, but none of the solvers takes one, expected batch among them")
    next(iter(moved.values())).load()
    return {**found, **moved}


def study(
    name: Annotated[str, typer.Argument(help=f"A file in TOML, or one of {', '.join(STUDIES)}.")],
    seeds: Annotated[int | None, _SEEDS] = None,
    max_time: Annotated[float | None, _MAX_TIME] = None,
    max_evaluations: EvaluationsOption = None,
    jobs: JobsOption = -1,
    scheduler: SchedulerOption = None,
    output: StoreOption = Path("results"),
    overwrite: OverwriteOption = False,
    details: DetailsOption = False,
) -> None:
    """Run a study: its file names problems, solvers with settings and sweeps, seeds and budgets.

    Runs are kept in the folder's study.db, so a study that was stopped goes on where it was. What is given here counts
    more than the file. Two studies are part of this package; they also write a document.

    formulations: which formulation of the problem, with which parameters, finds the optimum?

    srnc: what does the published method SRN-C return, and can it be repaired?

    Example: srnc study mine.toml --output study
    """
    numbers, limits = None if seeds is None else range(seeds), srnc.Budget(max_evaluations, max_time)
    if name.endswith(".toml"):
        asked = read_study(name).changed(numbers, limits)
        _compare(asked.compare, jobs, scheduler, output, overwrite, details)
        return
    if name not in STUDIES:
        raise ValueError(f"study: {name!r} given, expected one of {', '.join(STUDIES)}, or a file ending in .toml")
    folder = output if overwrite else unused_folder(output, resumed=RESUMED.get(name))
    with progress_bar() as progress:
        findings = run_study(
            name,
            numbers,
            budget=limits,
            progress=progress,
            output=folder,
            overwrite=overwrite,
            **_where(jobs, scheduler),
        )
    with _saving(findings, lambda: findings.save(folder), folder, output):
        if not findings.interrupted:
            typer.echo(findings.summary())


def rank(
    solver: Annotated[
        str, typer.Argument(help="As of 'srnc compare', or a class in a Python file: mine.py:RandomSearch[steps=10].")
    ],
    only: Annotated[str, typer.Option(help="Pattern for the names of the problems, for a first look.")] = "*",
    jobs: JobsOption = -1,
    scheduler: SchedulerOption = None,
    output: StoreOption = Path("results"),
    overwrite: OverwriteOption = False,
) -> None:
    """Compare a solver with those of this package on the reference set: 63 problems with certified optima.

    It is run with the seeds and the limit of evaluations with which the others were. Solvers are ranked by how much
    they solve, then by evaluations; not by time, which is of the machine.

    Example: srnc rank mine.py:RandomSearch
    """
    made = partial(ranked, {solver: solver_from_name(solver)}, only=only)
    with _stored(made, jobs, scheduler, output, overwrite) as ranking:
        typer.echo("\n".join(map(printable, ranking.report().split("\n"))))


@contextmanager
def _saving(results: Any, save: Callable[[], list[Path]], folder: Path, asked: Path) -> Iterator[None]:
    """Save results; then print them, in the body; then say where they are. If saving fails, they are still printed."""
    saved: list[Path] = []
    try:
        saved = save()
    finally:
        yield
    if folder != asked:
        typer.echo(f"{printable(asked)} exists and is not changed; use --overwrite to write there")
    typer.echo(f"Saved: {', '.join(map(printable, saved))}")
    if results.interrupted:
        typer.secho("srnc: interrupted; the tables contain the runs that were done", err=True, fg="red")
        raise typer.Exit(130)


class _Watched:
    """What is told of runs while they are made.

    Attributes
    ----------
    found, failed : int
        Runs that were in the store already, and that failed.
    """

    def __init__(self) -> None:
        self.found = self.failed = self._done = 0

    def look(self, done: int, row: Row | None) -> str:
        before, self._done = self._done, done
        if row is None:  # a comparison, or a part of a study, begins
            self.found += done - before
            return ""
        self.failed += row.status == FAILED
        return f"{f'{self.failed} failed; ' if self.failed else ''}{row.problem}, {row.solver}"


def solvers() -> None:
    """List the names of the solvers and costs. For those of plug-ins, the distribution is given too.

    Example: srnc solvers
    """
    for title, own, found in (("solvers", SOLVER_NAMES, solver_plugins()), ("costs", COST_NAMES, cost_plugins())):
        others = (f"{plugin.name} ({plugin.distribution})" for plugin in working(found.values()))
        typer.echo(f"{title + ':':8} {printable(', '.join((*own, *others)))}")
