"""A row for each run, and the files that rows are written to."""

from __future__ import annotations

import contextlib
import csv
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from srnc_manifold.writing import FilePath

#: Statuses of rows without a result, in addition to those of :class:`srnc_manifold.Status`.
UNSUPPORTED, UNAVAILABLE, FAILED = "unsupported", "unavailable", "failed"

#: Problem, solver and seed.
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Row:
    """One run: the scores that the problem gives to the returned kernel. They are NaN if no kernel was returned.

    ``objective`` and ``restored_objective`` are ``‖C(x) − C(a)‖_F²`` as found and after the local restoration.
    ``bound`` is the lower bound on the objective that the run proved, if any. ``squared_norm`` is ``‖C(a)‖_F²``.
    ``time`` is in seconds; times can be compared where ``environment`` is the same, which names one of
    ``Comparison.environments``. ``settings`` is the canonical name of the solver. Both are None without a run.
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
    settings: str | None = None
    environment: str | None = None

    @property
    def key(self) -> Key:
        """What names it in a comparison: problem, solver and seed."""
        return self.problem, self.solver, self.seed


#: The columns that say how a run went, without those that say which it is.
OUTCOME = tuple(f.name for f in fields(Row))[3:]


def frame(rows: Sequence[Row]) -> Any:
    """A pandas DataFrame with one row per run."""
    import pandas

    columns = [f.name for f in fields(Row)]
    return pandas.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=columns)


def environments(times: Iterable[float], names: Iterable[str | None]) -> list[str]:
    """Where runs that took time were made, of the times and environments of all runs."""
    pairs = zip(times, names, strict=True)
    return list(dict.fromkeys(name if isinstance(name, str) else "unknown" for time, name in pairs if time == time))


class RowWriter:
    """Writes each row to a CSV file as soon as it is known, so that a later error does not lose it.

    If a row cannot be written (for example, because the disk is full), there is a warning and no further rows are
    written. The runs continue.
    """

    def __init__(self, path: FilePath | None) -> None:
        self._path = path
        self._file = None if path is None else open(path, "w", newline="", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - see __exit__
        if self._file is not None:
            self._writer = csv.DictWriter(self._file, [f.name for f in fields(Row)])
            self._attempt(self._writer.writeheader)

    def __enter__(self) -> RowWriter:
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
            warnings.warn(
                f"output: {os.fspath(self._path or '')!r} is incomplete, no more rows are written ({error})",
                stacklevel=4,
            )

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # for rows still in the buffer, the warning was already given
                file.close()
