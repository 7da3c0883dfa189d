"""Run every solver on every problem with every seed. Scores come from the problems, never from the solvers."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from srnc_manifold.comparison import environment
from srnc_manifold.comparison import tasks as checked
from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.database import StoreError
from srnc_manifold.comparison.executors import Done, Executor, executor_of
from srnc_manifold.comparison.identity import Identities, Identity, limits_of, of_budget
from srnc_manifold.comparison.rows import UNAVAILABLE, Row, RowWriter
from srnc_manifold.comparison.runs import Task
from srnc_manifold.comparison.store import Planned, Store
from srnc_manifold.comparison.tasks import Problems
from srnc_manifold.problem.families import Entry, NamedProblem, UnavailableProblem
from srnc_manifold.process import deferring
from srnc_manifold.solvers import Budget, Solver
from srnc_manifold.validation import require_jobs, require_positive, require_seeds
from srnc_manifold.writing import require_new

Progress = Callable[[int, int, "Row | None"], Any]


def compare(
    problems: Problems,
    solvers: Iterable[Solver | str] | Mapping[str, Solver] | Solver | str | None = None,
    seeds: Iterable[int] = range(10),
    *,
    budget: Budget | None = None,
    store: str | os.PathLike[str] | None = None,
    executor: Any = "joblib",
    n_jobs: int | None = None,
    timeout: float | None = None,
    progress: Progress | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Run every solver on every problem with every seed.

    For a given problem and seed, every solver starts from the same point. If a solver does not support a problem, or
    fails, the table has a row with the reason. Each run has one thread of linear algebra, so that times can be
    compared and results depend neither on ``executor`` nor on ``n_jobs``.

    Parameters
    ----------
    problems : problems, or names of families, or paths of problem files, or a dict of problems by name
    solvers : solvers, or their names, or a dict of solvers by label, optional
        By default the solvers of this package. In tables, a solver given by name has this name, and an instance has
        the name ``solver.name``.
    seeds : iterable of int
        Values of ``rng`` for the runs. A deterministic solver is run once.
    budget : Budget, optional
        Limits of each run.
    store : path, optional
        File for the runs, which is made if there is none. Each run is in it as soon as it is done. Runs that are in it
        already are not made again, unless they failed. A run is another one if its problem, its solver with all
        settings, its seed, its budget, the sources of this package, or the code of one's own costs, solvers and
        problems has changed. See :meth:`Comparison.load`.
    executor : ``"joblib"``, dask.distributed.Client, or str
        Where the runs are made: in processes of this machine, or on a cluster of Dask, given by a client or by the
        address of its scheduler, ``"tcp://host:8786"``. See :mod:`srnc_manifold.comparison.executors`.
    n_jobs : int, optional
        Number of processes of joblib, -1 for all cores, which is the default. With 1 the runs are made in this process,
        one after the other, unless there is a ``timeout``. Of a cluster it is the number of runs at once; by default
        the number of its threads.
    timeout : float, optional
        Seconds after which a run's process is killed, for a solver that does not come back. By default ten times the
        ``max_time`` of the budget and a minute; without ``max_time`` there is none.
    progress : callable, optional
        Called with the number of runs done, the number of all runs, and the latest row (None before the first). If it
        raises an exception, there is a warning, and the runs continue without it.
    output : path, optional
        A new CSV file. Each row is written to it as soon as it is known. If the file cannot be written (for example,
        because the disk is full), there is a warning, and the runs continue.
    overwrite : bool, optional
        Whether ``output`` may be an existing file, which is then overwritten.

    Returns
    -------
    Comparison
        Its rows, results, tables and figures.

    Raises
    ------
    TypeError, ValueError
        If a problem, a solver, a seed, the store or the output is not valid. This is checked before anything is run.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.winners()["solved"].round(2)
    solver
    exact                   1.0
    augmented-lagrangian    1.0
    Name: solved, dtype: float64
    """
    entries = checked.entries(problems)
    methods = checked.solvers(solvers)
    seed_list = require_seeds(seeds)
    if n_jobs is not None:
        require_jobs(n_jobs=n_jobs)
    if timeout is not None:
        require_positive(timeout=timeout)
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget: {budget!r} given, expected a srnc.Budget")
    if output is not None:
        require_new(output, "output", overwrite)
    named = {entry.name: entry for entry in entries if isinstance(entry, NamedProblem)}
    comparison = Comparison(named, budgets={of_budget(budget): limits_of(budget)})
    planned, tasks, unknown = _plan(entries, methods, seed_list, budget)
    with contextlib.ExitStack() as opened:
        engine = opened.enter_context(executor_of(executor, n_jobs, _limit(timeout, budget)))
        kept = None if store is None else opened.enter_context(Store.writing(store))
        run = _Comparing(comparison, planned, kept, opened.enter_context(RowWriter(output)), progress)
        left = run.begin(tasks, unknown)
        run.make(left, engine)
    return comparison


def _limit(timeout: float | None, budget: Budget | None) -> float | None:
    """Seconds after which a run is killed. A budget's time is watched by the run itself, which may fail to."""
    if timeout is None and budget is not None and budget.max_time is not None:
        return 10 * budget.max_time + 60
    return timeout


def _plan(
    entries: Sequence[Entry], methods: Mapping[str, Solver], seeds: Sequence[int], budget: Budget | None
) -> tuple[list[Planned], list[Task], dict[str, str]]:
    """The rows that there will be, those that are to be run, and of which problems and solvers no code can be read."""
    from srnc_manifold import __version__

    identities = Identities(__version__, budget)
    planned: list[Planned] = []
    tasks: list[Task] = []
    for entry in entries:
        if isinstance(entry, UnavailableProblem):
            planned.append(Planned(Row(entry.name, "", seeds[0], UNAVAILABLE, entry.reason)))
            continue
        for label, solver in methods.items():
            status, reason = checked.refusal(solver, entry.problem)
            if status:
                planned.append(Planned(Row(entry.name, label, seeds[0], status, reason)))
                continue
            settings = solver.name
            for seed in seeds if solver.stochastic else seeds[:1]:
                tasks.append(Task(len(planned), entry, label, solver, seed, budget, settings))
                identity = identities.of(entry, label, solver, seed)
                planned.append(Planned(Row(entry.name, label, seed, "", ""), identity))
    return planned, tasks, identities.unknown


class _Comparing:
    """Collects what is done: in the comparison, in the store, in the CSV file, and for whoever watches."""

    def __init__(
        self,
        comparison: Comparison,
        planned: Sequence[Planned],
        store: Store | None,
        writer: RowWriter,
        progress: Progress | None,
    ) -> None:
        self._comparison, self._planned, self._store, self._writer = comparison, planned, store, writer
        self._report = _SafeProgress(progress)
        self._rows: dict[int, Row] = {}
        self._total = self._n_done = 0
        self._twins: dict[str, list[Task]] = {}

    def begin(self, tasks: Sequence[Task], unknown: Mapping[str, str]) -> list[Task]:
        """Take down what is known; return what is to be run."""
        self._total = len(tasks)
        for number, one in enumerate(self._planned):
            if one.identity is None:
                self._keep(number, one.row)
        if self._store is None:
            return list(tasks)
        for name, reason in unknown.items():
            warnings.warn(
                f"store: runs of {name!r} are made again each time, because of {reason}", UserWarning, stacklevel=3
            )
        digests = {one.row.problem: one.identity.problem for one in self._planned if one.identity}
        problems = {name: (self._comparison.problems[name], digest) for name, digest in digests.items()}
        self._store.plan(self._planned, problems, self._comparison.budgets)
        self._comparison.environments.update(self._store.environments())
        found = self._store.done(self._identity(task.number).key for task in tasks)
        left: list[Task] = []
        for task in tasks:
            key = self._identity(task.number).key
            if key in found:
                row = replace(found[key].row, problem=task.entry.name, solver=task.label, seed=task.seed)
                self._n_done += 1
                self._keep(task.number, row, (self._store.path, key) if found[key].has_result else None)
            elif key in self._twins:
                self._twins[key].append(task)
            else:
                self._twins[key] = []
                left.append(task)
        return left

    def make(self, tasks: Sequence[Task], engine: Executor) -> None:
        """Have the runs made, until all are done or someone stops it."""
        try:
            self._report(self._n_done, self._total, None)
            with contextlib.closing(engine.run(tasks)) as outcomes, deferring() as uninterrupted:
                for done in outcomes:
                    with uninterrupted():  # a run that was made is kept, whatever signal comes meanwhile
                        row = self._kept(done)
                    if done.outcome.interrupted:
                        raise KeyboardInterrupt
                    self._report(self._n_done, self._total, row)
        except KeyboardInterrupt:
            self._comparison.interrupted = True
        except Exception as error:  # outside of the runs: for example, the cluster is gone
            for task in tasks:
                if task.number not in self._rows:
                    self._keep(task.number, task.failed(f"not finished: {type(error).__name__}: {error}").row)
        finally:
            self._comparison.row_list = [self._rows[number] for number in sorted(self._rows)]

    def _identity(self, number: int) -> Identity:
        identity = self._planned[number].identity
        assert identity is not None
        return identity

    def _kept(self, done: Done) -> Row:
        outcome, identity = done.outcome, self._identity(done.outcome.number)
        name = environment.name_of(done.environment)
        header = None if name in self._comparison.environments else done.environment
        self._comparison.environments[name] = done.environment
        row, content = replace(outcome.row, environment=name), outcome.content
        place: Any = content
        if self._store is not None and not outcome.interrupted:
            try:
                self._store.add(identity, row, content, header)
                place = None if content is None else (self._store.path, identity.key)
            except StoreError as error:
                self._store = None
                warnings.warn(f"{error}; the runs go on, but no more of them are kept there", stacklevel=4)
        self._keep(outcome.number, row, place)
        self._n_done += 1
        for twin in self._twins.get(identity.key, ()):
            self._keep(twin.number, replace(row, problem=twin.entry.name, solver=twin.label, seed=twin.seed), place)
            self._n_done += 1
        return row

    def _keep(self, number: int, row: Row, place: Any = None) -> None:
        self._rows[number] = row
        self._writer.add(row)
        identity = self._planned[number].identity
        if identity is not None:
            self._comparison.identities[row.key] = identity
        if place is not None:
            self._comparison.results.places[row.key] = place


class _SafeProgress:
    """A progress callback. If it raises an exception, there is a warning, and it is not called again."""

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
