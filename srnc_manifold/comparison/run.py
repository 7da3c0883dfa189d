"""Run every solver on every problem with every seed. Scores come from the problems, never from the solvers."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from srnc_manifold.comparison import tasks as checked
from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.rows import FAILED, UNAVAILABLE, Row, RowWriter
from srnc_manifold.comparison.tasks import Problems
from srnc_manifold.problem.families import FILE_MODULES, NamedProblem, UnavailableProblem
from srnc_manifold.result import Result
from srnc_manifold.solvers import Budget, Solver, solve
from srnc_manifold.validation import require_jobs, require_seeds
from srnc_manifold.writing import require_new, writable

Progress = Callable[[int, int, "Row | None"], Any]
Task = tuple[int, NamedProblem, str, Solver, int]
Outcome = tuple[int, Row, "Result | None"]


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

    For a given problem and seed, every solver starts from the same point. If a solver does not support a problem, or
    fails, the table has a row with the reason.

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
    n_jobs : int
        Number of processes (joblib), -1 for all cores. Inside ``joblib.parallel_config(backend="dask")`` these run on a
        cluster. The results do not depend on this number.
    progress : callable, optional
        Called with the number of runs done, the number of all runs, and the latest row (None before the first). If it
        raises an exception, there is a warning, and the runs continue without it.
    output : path, optional
        A new CSV file. Each row is written to it as soon as it is known. If the file cannot be written (for example,
        because the disk is full), there is a warning, and the runs continue.
    overwrite : bool, optional
        Whether ``output`` may be an existing file, which is then overwritten.

    Raises
    ------
    TypeError, ValueError
        If a problem, a solver, a seed or the output is not valid. This is checked before anything is run.
    """
    entries = checked.entries(problems)
    methods = checked.solvers(solvers)
    seed_list = require_seeds(seeds)
    require_jobs(n_jobs=n_jobs)
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget: {budget!r} given, expected a srnc.Budget")
    if output is not None:
        require_new(output, "output", overwrite)
    comparison = Comparison({e.name: e for e in entries if isinstance(e, NamedProblem)})
    report = _SafeProgress(progress)

    known: list[tuple[int, Row]] = []
    tasks: list[Task] = []
    order = 0
    for entry in entries:
        if isinstance(entry, UnavailableProblem):
            known.append((order, Row(entry.name, "", seed_list[0], UNAVAILABLE, entry.reason)))
            order += 1
            continue
        for label, solver in methods.items():
            status, reason = checked.refusal(solver, entry.problem)
            if status:
                known.append((order, Row(entry.name, label, seed_list[0], status, reason)))
                order += 1
                continue
            for seed in seed_list if solver.stochastic else seed_list[:1]:
                tasks.append((order, entry, label, solver, seed))
                order += 1

    numbered: list[tuple[int, Row]] = []
    with RowWriter(output) as writer:
        for number, row in known:
            numbered.append((number, row))
            writer.add(row)
        try:
            report(0, len(tasks), None)
            for done, (number, row, result) in enumerate(_run_all(tasks, budget, n_jobs), start=1):
                numbered.append((number, row))
                writer.add(row)
                if result is not None:
                    comparison.results[row.problem, row.solver, row.seed] = result
                    if result.details.get("interrupted"):
                        raise KeyboardInterrupt
                report(done, len(tasks), row)
        except KeyboardInterrupt:
            comparison.interrupted = True
        except Exception as error:  # outside of the runs: for example, a process was killed
            done_already = {number for number, _ in numbered}
            for number, entry, label, _, seed in tasks:
                if number not in done_already:
                    row = Row(entry.name, label, seed, FAILED, f"not finished: {type(error).__name__}: {error}")
                    numbered.append((number, row))
                    writer.add(row)
    comparison.row_list = [row for _, row in sorted(numbered, key=lambda pair: pair[0])]
    return comparison


def _run_all(tasks: Sequence[Task], budget: Budget | None, n_jobs: int) -> Iterator[Outcome]:
    """The outcomes of the tasks. A task that cannot go to another process, or come back, is run in this one."""
    import joblib

    jobs = min(joblib.effective_n_jobs(n_jobs), len(tasks))
    if jobs <= 1:
        yield from (_run_one(*task, budget, task[3].name) for task in tasks)
        return
    # The names are computed in this process, because other processes do not know the names that a script registers.
    # A task is pickled when it is sent, so that not all kernels are in memory at once.
    contents = ((task[0], _pickled((*task, budget, task[3].name))) for task in tasks)
    left = {task[0]: task for task in tasks}
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    calls = (joblib.delayed(_run_pickled)(number, content) for number, content in contents if content is not None)
    for number, content in parallel(calls):
        if content is not None:
            del left[number]
            yield pickle.loads(content)
    for task in left.values():
        yield _run_one(*task, budget, task[3].name)


def _pickled(value: Any) -> bytes | None:
    """A value as bytes, with the classes of scripts and problem files in them; None if it cannot be pickled."""
    import cloudpickle

    for module in FILE_MODULES.values():
        cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(value)
        return content
    except Exception:
        return None
    finally:
        for module in FILE_MODULES.values():
            cloudpickle.unregister_pickle_by_value(module)


def _run_pickled(number: int, content: bytes) -> tuple[int, bytes | None]:
    """Run a task in another process; None if it cannot be read there, or its outcome cannot be sent back."""
    try:
        task = pickle.loads(content)
    except Exception:
        return number, None
    return number, _pickled(_run_one(*task))


def _run_one(
    number: int, entry: NamedProblem, label: str, solver: Solver, seed: int, budget: Budget | None, name: str
) -> Outcome:
    try:
        result = replace(solve(entry.problem, solver, budget=budget, rng=seed), solver=name)
        return number, _row(entry, label, seed, result), result
    except (Exception, SystemExit) as error:
        return number, Row(entry.name, label, seed, FAILED, writable(f"{type(error).__name__}: {error}")), None


def _row(entry: NamedProblem, label: str, seed: int, result: Result) -> Row:
    evaluation, restored = result.evaluation, result.restored
    assert evaluation is not None
    return Row(
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
