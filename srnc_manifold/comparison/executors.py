"""Where the runs of a comparison are made: in this process, in others of this machine by joblib, or on a Dask cluster.

However they get there, runs are made by :mod:`srnc_manifold.comparison.workers`, so that one that hangs or crashes
costs no other, and only the process that asked for them writes.
"""

from __future__ import annotations

import contextlib
import pickle
import secrets
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from srnc_manifold.comparison import environment, workers
from srnc_manifold.comparison.runs import Outcome, Task
from srnc_manifold.process import one_thread, stoppable

# Runs that wait at each worker of a cluster, so that it does not wait for the scheduler.
_AHEAD = 2

# How often a run is sent to a cluster whose workers are lost.
_SENT = 3


@dataclass(frozen=True)
class Done:
    """What came of a run, and where it was made; see :mod:`srnc_manifold.comparison.environment`."""

    outcome: Outcome
    environment: dict[str, str]


class Executor(ABC):
    """Has runs made. What cannot be sent to another process is run in this one."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Generator[Done]:
        """The outcomes, as they come. Closed before its end, it stops what is running."""


class InProcess(Executor):
    """One after the other, in this process."""

    def run(self, tasks: Sequence[Task]) -> Generator[Done]:
        for solver in {id(task.solver): task.solver for task in tasks}.values():
            with contextlib.suppress(Exception):  # the run will say so
                solver.load()
        with one_thread():
            for task in tasks:
                yield Done(task.carry_out(), environment.header())


class _Sending(Executor):
    """Runs are sent elsewhere as bytes, and come back so."""

    def __init__(self, n_jobs: int | None, timeout: float | None) -> None:
        self._n_jobs = n_jobs
        self._modules = workers.own_modules()
        self._client = workers.Client(secrets.token_hex(8), workers.digest_of_files(self._modules), timeout)

    def run(self, tasks: Sequence[Task]) -> Generator[Done]:
        by_number = {task.number: task for task in tasks}
        here: list[Task] = []

        def contents() -> Iterator[tuple[int, bytes]]:  # pickled when it is sent: not all kernels are in memory at once
            for task in tasks:
                content = workers.pickled(task, self._modules)
                if content is None:
                    here.append(task)
                else:
                    yield task.number, content

        answers = self._answers(contents(), len(tasks))
        try:
            for number, answer, header in answers:
                if answer is None:
                    here.append(by_number[number])
                elif isinstance(answer, str):
                    yield Done(by_number[number].failed(answer), header)
                else:
                    yield Done(pickle.loads(answer), header)
        finally:
            self._stop()
            answers.close()
        if here:
            warnings.warn(
                f"{len(here)} runs, such as of {here[0].label!r}, cannot be sent to another process; they are made in "
                "this one, without a timeout",
                stacklevel=2,
            )
        yield from InProcess().run(here)

    @abstractmethod
    def _answers(self, contents: Iterator[tuple[int, bytes]], count: int) -> Generator[tuple[int, Any, dict[str, str]]]:
        """What :func:`workers.make` gives for each of the tasks, and where it was made."""

    @abstractmethod
    def _stop(self) -> None:
        """End what is running."""


class Joblib(_Sending):
    """Threads of joblib, each of which has a process. In another backend of joblib its workers have them."""

    def _answers(self, contents: Iterator[tuple[int, bytes]], count: int) -> Generator[tuple[int, Any, dict[str, str]]]:
        import joblib

        jobs = max(1, min(joblib.effective_n_jobs(-1 if self._n_jobs is None else self._n_jobs), count))
        parallel = joblib.Parallel(jobs, prefer="threads", return_as="generator_unordered", batch_size=1)
        call = joblib.delayed(_make)
        answers = parallel(call(self._client, number, content) for number, content in contents)
        try:
            for answer in answers:  # noqa: UP028 - not `yield from`, which would close them before the warnings are off
                yield answer
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is not waited for
                answers.close()

    def _stop(self) -> None:
        workers.stop(self._client.name)


class Dask(_Sending):
    """The workers of a cluster, each thread of which has a process of its own."""

    def __init__(self, cluster: Any, n_jobs: int | None, timeout: float | None) -> None:
        super().__init__(n_jobs, timeout)
        self._cluster = cluster
        self._sent: dict[Any, tuple[int, bytes, int]] = {}

    def _answers(self, contents: Iterator[tuple[int, bytes]], count: int) -> Generator[tuple[int, Any, dict[str, str]]]:
        from distributed import as_completed

        self._cluster.wait_for_workers(1, timeout=60)
        at_once = self._n_jobs if self._n_jobs and self._n_jobs > 0 else None

        def send(number: int, content: bytes, times: int = 1) -> Any:
            future = self._cluster.submit(_make, self._client, number, content, pure=False)
            self._sent[future] = number, content, times
            return future

        def more() -> list[Any]:
            """As many as there is room for; workers may come and go."""
            room = at_once or _AHEAD * max(1, sum(self._cluster.nthreads().values()))
            return [send(*one) for one in islice(contents, max(0, room - len(self._sent)))]

        answers = as_completed(more())
        for future in answers:
            number, content, times = self._sent.pop(future)
            if future.status == "finished":
                yield future.result()
            elif self._cluster.status != "running":
                raise ConnectionError("the scheduler of the cluster does not answer")
            elif times < _SENT:
                answers.add(send(number, content, times + 1))
            else:
                yield number, f"its worker of the cluster was lost, {times} times ({future.status})", {}
            future.release()
            answers.update(more())

    def _stop(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be gone
            self._cluster.cancel(list(self._sent), force=True)
            self._cluster.run(workers.stop, self._client.name)


def _make(client: workers.Client, number: int, content: bytes) -> tuple[int, Any, dict[str, str]]:
    return number, workers.make(client, content), environment.header()


@contextlib.contextmanager
def executor_of(executor: Any, n_jobs: int | None, timeout: float | None) -> Iterator[Executor]:
    """The executor of an argument of :func:`srnc_manifold.compare`. Meanwhile SIGTERM ends the workers first.

    Raises
    ------
    TypeError, ValueError
        If there is none, or no scheduler answers at an address.
    ImportError
        If Dask is not installed.
    """
    with contextlib.ExitStack() as opened:
        opened.enter_context(stoppable())
        if executor == "joblib":
            yield InProcess() if n_jobs == 1 and timeout is None else Joblib(n_jobs, timeout)
        elif isinstance(executor, str):
            yield Dask(opened.enter_context(_connected(executor)), n_jobs, timeout)
        elif all(hasattr(executor, name) for name in ("submit", "nthreads", "wait_for_workers")):
            yield Dask(executor, n_jobs, timeout)
        else:
            raise TypeError(
                f"executor: {type(executor).__name__} given, expected 'joblib', a dask.distributed.Client, or the "
                "address of a scheduler, such as 'tcp://127.0.0.1:8786'"
            )


def _connected(address: str) -> Any:
    if "://" not in address:
        raise ValueError(
            f"executor: {address!r} given, expected 'joblib' or the address of a scheduler of Dask, such as "
            "'tcp://127.0.0.1:8786'"
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(f"executor: {address!r} needs Dask: pip install 'srnc-manifold[cluster]'") from error
    try:
        return Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"executor: {address!r} given, but no scheduler answers there ({error})") from None
