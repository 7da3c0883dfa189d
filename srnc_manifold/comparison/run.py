"""Run problems × solvers × seeds. Scores come from the problems, never from the solvers."""

from __future__ import annotations

import contextlib
import csv
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from srnc_manifold.families import Entry, NamedProblem, UnavailableProblem, load_family
from srnc_manifold.problem import Problem
from srnc_manifold.registry import DEFAULT_SOLVERS, solver_from_name
from srnc_manifold.result import Result
from srnc_manifold.solvers import Budget, Solver, solve, supported
from srnc_manifold.writing import FilePath, replacing, require_new

#: Statuses of rows that have no result, beside those of :class:`srnc_manifold.Status`.
UNSUPPORTED, UNAVAILABLE, FAILED = "unsupported", "unavailable", "failed"

Progress = Callable[[int, int, "Row | None"], Any]


@dataclass(frozen=True)
class Row:
    """One run: what the problem says of the kernel that the solver returned. NaN where there is none.

    ``objective`` and ``restored_objective`` are ``‖C(x) − C(a)‖_F²`` as found and after the local restoration;
    ``bound`` is the lower bound on the objective that the run proved, if it did; ``squared_norm`` is ``‖C(a)‖_F²``;
    ``time`` is in seconds.
    """

    problem: str
    solver: str
    seed: int
    status: str
    message: str
    feasible: bool = False
    stable_rank_error: float = np.nan
    spectral_norm_error: float = np.nan
    objective: float = np.nan
    restored_objective: float = np.nan
    bound: float = np.nan
    squared_norm: float = np.nan
    evaluations: float = np.nan
    gradients: float = np.nan
    hessians: float = np.nan
    gradient_norm: float = np.nan
    time: float = np.nan


@dataclass
class Comparison:
    """Outcome of :func:`compare`.

    Attributes
    ----------
    problems : dict
        Problems by name.
    row_list : list of Row
        In the order of problems, solvers and seeds.
    results : dict
        ``(problem, solver, seed)`` to :class:`srnc_manifold.Result`, histories included.
    interrupted : bool
        Whether it was stopped before all runs were done; what was done is here.
    """

    problems: dict[str, NamedProblem]
    row_list: list[Row] = field(default_factory=list)
    results: dict[tuple[str, str, int], Result] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def rows(self) -> Any:
        """Every run as a row of a pandas DataFrame."""
        import pandas

        return pandas.DataFrame([asdict(row) for row in self.row_list], columns=[f.name for f in fields(Row)])

    def table(self) -> Any:
        """One row per problem and solver, over the seeds; see :func:`srnc_manifold.comparison.report.summary`."""
        from srnc_manifold.comparison.report import summary

        return summary(self)

    def report(self) -> str:
        """The tables of all problems as text."""
        from srnc_manifold.comparison.report import text_report

        return text_report(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A figure of violations and objectives; saved if a path is given."""
        from srnc_manifold.comparison.plots import overview

        return overview(self, path)

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write ``rows.csv``, ``table.csv`` and, if any run returned a kernel, ``comparison.png``; their paths."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        rows, table, figure = (directory / name for name in ("rows.csv", "table.csv", "comparison.png"))
        write_table(rows, self.rows)
        write_table(table, self.table())
        if not self.rows["objective"].notna().any():
            return [rows, table]
        self.plot(figure)
        return [rows, table, figure]


Problems = str | Problem | NamedProblem | Iterable[Any] | Mapping[str, Problem]


def compare(
    problems: Problems,
    solvers: Iterable[Solver | str] | Mapping[str, Solver] | Solver | str | None = None,
    seeds: Iterable[int] = range(10),
    *,
    budget: Budget | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Run every solver on every problem with every seed.

    With one seed, every solver starts from the same point of a problem. A solver that does not support a problem, or
    that fails, is a row that says why.

    Parameters
    ----------
    problems : problems, or names of families, or paths of problem files, or a dict of problems by name
    solvers : solvers, or their names, or a dict of solvers by label, optional
        The package's own by default. Those given by name are called so in tables, instances by ``solver.name``.
    seeds : iterable of int
        ``rng`` of the runs. A solver that nothing random enters is run once.
    budget : Budget, optional
        Limits of each run.
    n_jobs : int
        Processes (joblib); inside ``joblib.parallel_config(backend="dask")`` a cluster's. Results do not depend on it.
    progress : callable, optional
        Called with the number of runs done, of all runs, and the latest row (None before the first). An exception in
        it is a warning; the runs go on without it.
    output : path, optional
        A new CSV file to which each row is added as soon as it is known. Where it cannot be written to (a full disk)
        there is a warning, and the runs go on.
    overwrite : bool, optional
        Whether ``output`` may be a file that exists, which is then lost.

    Raises
    ------
    TypeError, ValueError
        If a problem, a solver, a seed or the output is not valid, before anything is run.
    """
    entries = _entries(problems)
    methods = _solvers(solvers)
    seed_list = _seeds(seeds)
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget: {budget!r} given, expected a srnc.Budget")
    if output is not None:
        require_new(output, "output", overwrite)
    comparison = Comparison({e.name: e for e in entries if isinstance(e, NamedProblem)})
    shown = _Shown(progress)

    known: list[tuple[int, Row]] = []
    tasks: list[tuple[int, NamedProblem, str, Solver, int]] = []
    order = 0
    for entry in entries:
        if isinstance(entry, UnavailableProblem):
            known.append((order, Row(entry.name, "", seed_list[0], UNAVAILABLE, entry.reason)))
            order += 1
            continue
        for label, solver in methods.items():
            status, reason = _refusal(solver, entry.problem)
            if status:
                known.append((order, Row(entry.name, label, seed_list[0], status, reason)))
                order += 1
                continue
            for seed in seed_list if solver.stochastic else seed_list[:1]:
                tasks.append((order, entry, label, solver, seed))
                order += 1

    numbered: list[tuple[int, Row]] = []
    with _CsvWriter(output) as writer:
        for number, row in known:
            numbered.append((number, row))
            writer.add(row)
        try:
            shown(0, len(tasks), None)
            for done, (number, row, result) in enumerate(_run_all(tasks, budget, n_jobs), start=1):
                numbered.append((number, row))
                writer.add(row)
                if result is not None:
                    comparison.results[row.problem, row.solver, row.seed] = result
                    if result.details.get("interrupted"):
                        raise KeyboardInterrupt
                shown(done, len(tasks), row)
        except KeyboardInterrupt:
            comparison.interrupted = True
        except Exception as error:  # of the machinery around the runs: a process that died, a cost that does not pickle
            done_already = {number for number, _ in numbered}
            for number, entry, label, _, seed in tasks:
                if number not in done_already:
                    row = Row(entry.name, label, seed, FAILED, f"not run to its end: {type(error).__name__}: {error}")
                    numbered.append((number, row))
                    writer.add(row)
    comparison.row_list = [row for _, row in sorted(numbered, key=lambda pair: pair[0])]
    return comparison


def _refusal(solver: Solver, problem: Problem) -> tuple[str, str]:
    """Status and reason of the row of a solver that does not take a problem; empty if it does."""
    try:
        taken, reason = supported(solver, problem)
    except Exception as error:
        return FAILED, f"supports() raised {type(error).__name__}: {error}"
    return ("", "") if taken else (UNSUPPORTED, reason)


def _run_all(tasks: Sequence[tuple[int, NamedProblem, str, Solver, int]], budget: Budget | None, n_jobs: int) -> Any:
    import joblib

    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered" if n_jobs != 1 else "generator")
    return parallel(joblib.delayed(_run_one)(*task, budget) for task in tasks)


def _run_one(
    number: int, entry: NamedProblem, label: str, solver: Solver, seed: int, budget: Budget | None
) -> tuple[int, Row, Result | None]:
    try:
        result = solve(entry.problem, solver, budget=budget, rng=seed)
    except Exception as error:
        return number, Row(entry.name, label, seed, FAILED, f"{type(error).__name__}: {error}"), None
    evaluation, restored = result.evaluation, result.restored
    assert evaluation is not None
    row = Row(
        problem=entry.name,
        solver=label,
        seed=seed,
        status=result.status.value,
        message=result.message,
        feasible=evaluation.feasible,
        stable_rank_error=evaluation.stable_rank_error,
        spectral_norm_error=evaluation.spectral_norm_error,
        objective=evaluation.objective,
        restored_objective=np.nan if restored is None else restored.objective,
        bound=np.nan if result.bound is None else result.bound.objective,
        squared_norm=entry.problem.squared_norm,
        evaluations=result.n_evaluations,
        gradients=result.n_gradients,
        hessians=result.n_hessians,
        gradient_norm=result.gradient_norm,
        time=result.runtime,
    )
    return number, row, result


def write_table(path: FilePath, table: Any) -> None:
    """Write a DataFrame to a CSV file, as a whole."""
    with replacing(path, text=True) as file:
        table.to_csv(file, index=False, lineterminator="\n")


class _Shown:
    """A progress callback, which is dropped with a warning if it fails: it is not worth the runs."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def __call__(self, done: int, total: int, row: Row | None) -> None:
        if self._progress is None:
            return
        try:
            self._progress(done, total, row)
        except Exception as error:
            self._progress = None
            warnings.warn(f"progress raised {type(error).__name__}: {error}; it is not called again", stacklevel=3)


class _CsvWriter:
    """Adds rows to a CSV file as they come, so that nothing is lost to a later error.

    What it cannot write (a full disk) is not worth the runs either: it is dropped with a warning.
    """

    def __init__(self, path: FilePath | None) -> None:
        self._path = path
        self._file = None if path is None else open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115 - see __exit__
        if self._file is not None:
            self._writer = csv.DictWriter(self._file, [f.name for f in fields(Row)])
            self._attempt(self._writer.writeheader)

    def __enter__(self) -> _CsvWriter:
        return self

    def add(self, row: Row) -> None:
        self._attempt(lambda: self._writer.writerow(asdict(row)))

    def _attempt(self, write: Callable[[], Any]) -> None:
        if self._file is None:
            return
        try:
            write()
            self._file.flush()
        except OSError as error:
            self.__exit__()
            warnings.warn(f"output: {os.fspath(self._path or '')!r} lacks rows from here on ({error})", stacklevel=4)

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # rows that are still in its buffer, of which there was a warning
                file.close()


def _entries(problems: Problems) -> list[Entry]:
    if isinstance(problems, Mapping):
        for name, problem in problems.items():
            if not isinstance(problem, Problem):
                raise TypeError(f"problems: {type(problem).__name__} given as {name!r}, expected an SRNProblem")
        problems = [NamedProblem(str(name), problem) for name, problem in problems.items()]
    elif isinstance(problems, str | os.PathLike | Problem | NamedProblem | UnavailableProblem):
        problems = [problems]
    if not isinstance(problems, Iterable):
        raise TypeError(f"problems: {problems!r} given, expected problems or names")
    entries: list[Entry] = []
    for item in problems:
        if isinstance(item, str | os.PathLike):
            entries.extend(load_family(item))
        elif isinstance(item, Problem):
            entries.append(NamedProblem(f"problem {len(entries) + 1}", item))
        elif isinstance(item, NamedProblem | UnavailableProblem):
            entries.append(item)
        else:
            raise TypeError(f"problems: {type(item).__name__} given, expected SRNProblem, NamedProblem or a name")
    names = [entry.name for entry in entries]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"problems: the name {repeated[0]!r} is given twice; names must differ")
    if not entries:
        raise ValueError("problems: none given")
    return entries


def _solvers(solvers: Any) -> dict[str, Solver]:
    if solvers is None:
        solvers = DEFAULT_SOLVERS
    if isinstance(solvers, Solver | str):
        solvers = [solvers]
    if not isinstance(solvers, Iterable):
        raise TypeError(f"solvers: {solvers!r} given, expected solvers or names")
    pairs = list(solvers.items()) if isinstance(solvers, Mapping) else [(None, solver) for solver in solvers]
    methods: dict[str, Solver] = {}
    for label, solver in pairs:
        if isinstance(solver, str):
            label, solver = label or solver, solver_from_name(solver)
        if not isinstance(solver, Solver):
            raise TypeError(f"solvers: {solver!r} given, expected an instance of a solver or a name")
        label = solver.name if label is None else str(label)
        if label in methods:
            raise ValueError(f"solvers: {label!r} is given twice; pass a dict to label them")
        methods[label] = solver
    if not methods:
        raise ValueError("solvers: none given")
    return methods


def _seeds(seeds: Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds: {seeds!r} given, expected integers in a sequence, such as range({seeds!r})")
    seed_list = list(seeds)
    if not seed_list:
        raise ValueError("seeds: none given")
    for seed in seed_list:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"seeds: {seed!r} given, expected integers >= 0")
    return [int(seed) for seed in seed_list]
