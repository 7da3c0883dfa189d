"""One run as a row, and the files that rows are written to."""

from __future__ import annotations

import contextlib
import csv
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from srnc_manifold.writing import FilePath, replacing

#: Statuses of rows that have no result, beside those of :class:`srnc_manifold.Status`.
UNSUPPORTED, UNAVAILABLE, FAILED = "unsupported", "unavailable", "failed"


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


def frame(rows: Sequence[Row]) -> Any:
    """Every run as a row of a pandas DataFrame."""
    import pandas

    return pandas.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(Row)])


def write_table(path: FilePath, table: Any) -> None:
    """Write a DataFrame to a CSV file, as a whole."""
    with replacing(path, text=True) as file:
        table.to_csv(file, index=False, lineterminator="\n")


class RowWriter:
    """Adds rows to a CSV file as they come, so that nothing is lost to a later error.

    What it cannot write (a full disk) is not worth the runs either: it is dropped with a warning.
    """

    def __init__(self, path: FilePath | None) -> None:
        self._path = path
        self._file = None if path is None else open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115 - see __exit__
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
            warnings.warn(f"output: {os.fspath(self._path or '')!r} lacks rows from here on ({error})", stacklevel=4)

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # rows that are still in its buffer, of which there was a warning
                file.close()
