"""Processes that make one run at a time and can be lost: a run that hangs, crashes or takes all memory ends its own.

A worker is a Python process in a session of its own that reads tasks from its standard input and answers on its
standard output. It ends when its input ends, when its parent is gone, and when it has had nothing to do for a while. It
is started by whoever makes runs: threads of this process, or the workers of a cluster.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from srnc_manifold.comparison.fingerprints import fingerprint, origin_of
from srnc_manifold.comparison.identity import sources
from srnc_manifold.modules import FILE_MODULES
from srnc_manifold.process import one_thread

# Seconds: between two looks whether the parent lives, and until an idle worker ends.
_WATCH, _IDLE = 0.25, 300.0

# How often a run is tried whose process was lost: perhaps it was not the run's fault.
_ATTEMPTS = 2

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
_START = "import sys; sys.path[:] = sys.argv[1:]; from srnc_manifold.comparison.workers import serve; serve()"
_LENGTH = struct.Struct(">Q")


class LostError(RuntimeError):
    """Raised for a process that ended in the middle of a run, with what is known of the reason."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class Client:
    """On whose behalf runs are made.

    Attributes
    ----------
    name : str
        See :func:`stop`.
    code : str
        Digest of the files of the modules that it has loaded and that are not installed. A worker that may have loaded
        them as they were before is not used.
    timeout : float or None
        Seconds after which the process of a run is killed.
    """

    name: str
    code: str
    timeout: float | None = None


def own_modules() -> list[ModuleType]:
    """The modules in this process that are neither installed nor of this package: scripts, files of problems."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and getattr(module, "__name__", None) == name != "__main__" and origin_of(name) == "user":
            found.append(module)
    return found


def digest_of_files(modules: Iterable[ModuleType]) -> str:
    """Tells whether the files of modules are as they were."""
    files = []
    for module in modules:
        with contextlib.suppress(OSError, TypeError):
            found = Path(module.__file__).stat()  # type: ignore[arg-type]
            files.append((module.__name__, found.st_mtime_ns, found.st_size))
    return fingerprint(sorted(files))


def pickled(value: Any, modules: Iterable[ModuleType] = ()) -> bytes | None:
    """A value as bytes, None if it cannot be pickled. What it needs of some modules goes with it, as it is in memory.

    So what is run is what was looked at, whatever becomes of the files meanwhile, and wherever it is run. Where this
    cannot be, such as with a lock in a module, only files of problems go with it, which nobody else can import.
    """
    import cloudpickle

    for some in (list(modules), list(FILE_MODULES.values())):
        with contextlib.suppress(Exception), contextlib.ExitStack() as registered:
            for module in some:
                cloudpickle.register_pickle_by_value(module)
                registered.callback(cloudpickle.unregister_pickle_by_value, module)
            content: bytes = cloudpickle.dumps(value)
            return content
    return None


class Worker:
    """A process for runs, seen from the one that started it."""

    def __init__(self, code: str) -> None:
        self.code, self._ready, self._ended = code, False, False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C reaches this process, which then ends its workers
        )

    def run(self, content: bytes, timeout: float | None = None) -> bytes | None:
        """Have a task made; None if it cannot be read there, or its outcome cannot be sent.

        Raises
        ------
        LostError
            If the process has ended before, or was ended because the time was up.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._ready:  # to import all that is needed is not part of the run's time
            self._ready = _receive(self._process.stdout) is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self.kill()

        timer = None if timeout is None else threading.Timer(timeout, end)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            _send(self._process.stdin, pickle.dumps((sources(), timeout, content)))
            answer = _receive(self._process.stdout)
        except (OSError, ValueError):  # closed, by whoever ended it
            answer = None
        finally:
            if timer is not None:
                timer.cancel()
        if answer is None:
            self.kill()
            if late.is_set():
                raise LostError(f"killed, it did not end within the timeout of {timeout:g} s", again=False)
            raise LostError(_how_it_ended(self._process.wait()), again=True)
        found: bytes | None = pickle.loads(answer)
        return found

    @property
    def alive(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        if self._ended:  # another process may have its number by now
            return
        self._ended = True
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = ", perhaps because the memory was full" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


class _Crew:
    """The workers of this process: which are free, and for whom the others work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Worker] = []
        self._busy: dict[Worker, str] = {}
        self._stopped: set[str] = set()

    def take(self, client: Client) -> Worker:
        """A worker that has loaded no code that is another one now."""
        with self._lock:
            if client.name in self._stopped:
                raise LostError("stopped", again=False)
            old = [worker for worker in self._free if worker.code != client.code or not worker.alive]
            self._free = [worker for worker in self._free if worker not in old]
            worker = self._free.pop() if self._free else Worker(client.code)
            self._busy[worker] = client.name
        for other in old:
            other.kill()
        return worker

    def give_back(self, worker: Worker, *, lost: bool) -> None:
        with self._lock:
            client = self._busy.pop(worker, None)
            if not lost and client is not None and client not in self._stopped:
                self._free.append(worker)
                return
        worker.kill()

    def stop(self, client: str | None = None) -> None:
        """End the workers of a client, or all; those of others go on."""
        with self._lock:
            ended = [worker for worker, whose in self._busy.items() if client in (None, whose)]
            if client is None:
                ended, self._free = ended + self._free, []
            else:
                self._stopped.add(client)
        for worker in ended:
            worker.kill()


_CREW = _Crew()
atexit.register(_CREW.stop)


def stop(name: str) -> None:
    """End all processes that make runs for a client."""
    _CREW.stop(name)


def make(client: Client, content: bytes) -> bytes | str | None:
    """Have a task made in a process of its own, again if that process is lost.

    Parameters
    ----------
    client : Client
    content : bytes
        The task, as :func:`pickled` gives it.

    Returns
    -------
    bytes, str or None
        The outcome, pickled; why there is none; or None if the task cannot be sent.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            worker = _CREW.take(client)
        except (LostError, OSError) as error:
            return f"no process for it: {error}"
        try:
            answer = worker.run(content, client.timeout)
        except LostError as error:
            _CREW.give_back(worker, lost=True)
            if attempt == _ATTEMPTS or not error.again:
                return f"{error}{f', {attempt} times' if error.again else ''}"
        except BaseException:
            _CREW.give_back(worker, lost=True)
            raise
        else:
            _CREW.give_back(worker, lost=False)
            return answer
    raise AssertionError


# -- in the worker ------------------------------------------------------------------------------------------


def serve() -> None:
    """What a worker does."""
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a solver prints
    with contextlib.suppress(OSError):  # if the memory is full, this one goes, and not what started it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    watch = _Watch()
    with contextlib.suppress(BrokenPipeError), one_thread():
        _send(answers, b"ready")
        while (message := _receive(source)) is not None:
            watch.busy = True
            expected, timeout, content = pickle.loads(message)
            if timeout is not None:  # should the parent be gone, and no Python code run here
                faulthandler.dump_traceback_later(timeout + 10, exit=True, file=watch.nowhere)
            _send(answers, pickle.dumps(_made(expected, content)))
            faulthandler.cancel_dump_traceback_later()
            watch.busy = False


def _made(expected: str, content: bytes) -> bytes | None:
    try:
        task = pickle.loads(content)
    except Exception:
        return None
    if expected != sources():
        return pickled(task.failed("its process has other sources of srnc_manifold than the one that asks for it"))
    return pickled(task.carry_out())


class _Watch:
    """Ends this process when its parent is gone, and when it is not needed."""

    def __init__(self) -> None:
        self.busy, self._parent, self._since = False, os.getppid(), time.monotonic()
        self.nowhere = open(os.devnull, "wb")  # noqa: SIM115 - open as long as the process lives
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(_WATCH)
            now = time.monotonic()
            self._since = now if self.busy else self._since
            if os.name == "posix" and os.getppid() != self._parent:
                os.killpg(0, signal.SIGKILL)  # with the processes that a solver has started
            if now - self._since > _IDLE:
                os._exit(0)


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    """A message; None if there will be none."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return content if len(content) == length else None
