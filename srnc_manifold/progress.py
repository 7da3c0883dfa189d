"""The progress bar, on standard error or in a notebook; where there is no terminal and no ipywidgets there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from srnc_manifold.printing import printable

#: Called with what is done now, how much is done, and the total.
Progress = Callable[[str, int, int], Any]


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """The function that is called to show the progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
    columns = (BarColumn(), MofNCompleteColumn(), *times, TextColumn("{task.description}", markup=False))
    console = Console(stderr=True)
    # In a notebook it needs ipywidgets, and would warn without.
    disable = console.is_jupyter and find_spec("ipywidgets") is None
    bar = Bar(*columns, console=console, transient=True, disable=disable)
    task = bar.add_task("", total=None)

    def progress(description: str, done: int, total: int) -> None:
        bar.start()  # only now, after the arguments have been checked
        bar.update(task, completed=done, total=total, description=printable(description))

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()
