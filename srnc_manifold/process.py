"""What belongs to the whole process: threads of linear algebra, warnings, treatment of errors, compiled programs.

All of them are changed during a computation, and some while files are read and figures drawn. Two threads that did this
at the same time would restore what the other one had changed, and would share a compiled cone program. So one thread at
a time does such things, the others wait.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

_LOCK = threading.RLock()

# Of one_thread: a lock for the others, how many blocks there are, in all threads; what restores the threads after the
# last of them; and how many modules there were when it was told to the libraries.
_LIMITING, _LIMITS = threading.Lock(), contextlib.ExitStack()
_BLOCKS = _MODULES = 0

# What NumPy does by default, whatever the caller has set.
_ERRORS: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One thread at a time is in such a block. Afterwards warnings are treated as before."""
    with _LOCK, warnings.catch_warnings():
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra uses one thread in such a block, in all of this process, so that sums have one order.

    To tell the libraries takes as long as a short run. Inside another such block it is done only if modules were
    imported since, which may have brought a library.
    """
    global _BLOCKS, _MODULES
    with _LIMITING:
        if not _BLOCKS or len(sys.modules) != _MODULES:
            from threadpoolctl import threadpool_limits

            _LIMITS.enter_context(threadpool_limits(1))
            _MODULES = len(sys.modules)
        _BLOCKS += 1
    try:
        yield
    finally:
        with _LIMITING:
            _BLOCKS -= 1
            if not _BLOCKS:
                _LIMITS.close()


def exclusive(function: F) -> F:
    """Decorator: one thread at a time is in the decorated functions, with NumPy's default treatment of errors.

    Afterwards warnings and NumPy's settings are what they were before.
    """

    @functools.wraps(function)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        with alone(), np.errstate(**_ERRORS):
            return function(*args, **kwargs)

    return waiting  # type: ignore[return-value]


@contextlib.contextmanager
def deferring() -> Iterator[Callable[[], contextlib.AbstractContextManager[list[int]]]]:
    """What makes blocks in which Ctrl-C is not heard, as :func:`interrupts_deferred`, many of them one after the other.

    Handlers of signals are changed once, not for each block. Between the blocks signals are heard as usual.
    """
    heard: list[int] = []
    usual: dict[int, Any] = {}
    inside = False

    def handle(number: int, frame: Any) -> None:
        if inside:
            heard.append(number)
        else:
            usual[number](number, frame)

    @contextlib.contextmanager
    def block() -> Iterator[list[int]]:
        nonlocal inside
        heard.clear()
        inside = True
        try:
            yield heard
        finally:
            inside = False
        if heard:
            signal.raise_signal(heard[0])

    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        usual.update({number: handler for number, handler in found.items() if callable(handler)})
    for number in usual:
        signal.signal(number, handle)
    try:
        yield block
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[list[int]]:
    """Ctrl-C is not heard in such a block, but in the list that is given: what is begun can be ended, or undone.

    So is SIGTERM, where it does not end the process at once. If the block did not act on it, it is heard at its end.
    Only the main thread hears signals at all.
    """
    with deferring() as block, block() as heard:
        yield heard


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM stops the runs as Ctrl-C does; when all is put in order, it ends this process."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    received: list[int] = []

    def stop(number: int, _: Any) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)


def _renew() -> None:
    global _LOCK, _LIMITING
    _LOCK, _LIMITING = threading.RLock(), threading.Lock()


# The copy of a process has none of its other threads: a lock that one of them held would never be released.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
