"""Cells of an experiment: run in parallel, each kept as soon as it is done, and found again when it was.

A cell is a function of its settings alone. It is kept under the digest of these and of the sources that it runs, in one
SQLite file, with its environment. So an experiment that was stopped goes on where it was, and one whose cells have
changed is run again; tables and figures can be changed without that.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from srnc_manifold.comparison import database, environment
from srnc_manifold.exchange import from_json, to_json
from srnc_manifold.process import one_thread, stoppable
from srnc_manifold.progress import progress_bar

HERE = Path(__file__).parent

#: Of the files of this kind: the letters "SRNX".
APPLICATION = 0x53524E58

_TABLES = """
CREATE TABLE environments (name TEXT PRIMARY KEY, header TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cells (
    key TEXT PRIMARY KEY, experiment TEXT NOT NULL, settings TEXT NOT NULL, row TEXT NOT NULL,
    seconds REAL NOT NULL, environment TEXT NOT NULL
) WITHOUT ROWID;
"""

Settings = Mapping[str, Any]


class Cells:
    """A file of cells. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._connection = database.opened_to_write(self._path, _TABLES, APPLICATION)

    def __enter__(self) -> Cells:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of a cell, with its seconds and its environment."""
        with database.told(self._path):
            found = self._connection.execute(
                "SELECT row, seconds, environment FROM cells WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else {**from_json(found[0]), "seconds": found[1], "environment": found[2]}

    def add(self, key: str, experiment: str, settings: Settings, row: Settings, seconds: float) -> dict[str, Any]:
        """Keep a cell that is done."""
        header = environment.header()
        name = environment.name_of(header)
        with database.told(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("INSERT OR IGNORE INTO environments VALUES (?, ?)", (name, to_json(header)))
            self._connection.execute(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?)",
                (key, experiment, to_json(settings), to_json(row), seconds, name),
            )
            self._connection.execute("COMMIT")
        return {**row, "seconds": seconds, "environment": name}

    def environments(self) -> dict[str, dict[str, str]]:
        """Where cells were run, by name."""
        with database.told(self._path):
            return {name: from_json(header) for name, header in self._connection.execute("SELECT * FROM environments")}


def module_of(experiment: str) -> str:
    """The module that has the function ``cell`` of an experiment."""
    return f"{experiment}_cell"


@functools.cache
def sources(module: str) -> str:
    """Digest of the sources of a module of this folder and of those that it imports from here."""
    found: dict[str, bytes] = {}
    left = [module]
    while left:
        name = left.pop()
        path = HERE / f"{name}.py"
        if name in found or not path.exists():
            continue
        found[name] = path.read_bytes()
        for node in ast.walk(ast.parse(found[name])):
            if isinstance(node, ast.Import):
                left += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                left.append(node.module)
    total = hashlib.sha256()
    for name in sorted(found):
        total.update(name.encode() + found[name])
    return total.hexdigest()


def key_of(experiment: str, settings: Settings) -> str:
    """What a cell is kept under."""
    text = json.dumps([experiment, settings, sources(module_of(experiment))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def run(
    experiment: str,
    cells: Sequence[Settings],
    store: Path,
    jobs: int = -1,
) -> Any:
    """Run the cells that are not in the store, and give the rows of all.

    Parameters
    ----------
    experiment : str
        Its name: the function ``cell`` of its module takes settings and returns a row of JSON values.
    cells : sequence of dict
        The settings of each cell, of JSON values.
    store : path
        File that keeps them.
    jobs : int, optional
        Processes, each with one thread; -1 for all cores.

    Returns
    -------
    DataFrame
        Settings and row of each cell, with ``seconds`` and ``environment``; of those that are done, if interrupted.
    """
    import pandas

    with Cells(store) as kept, progress_bar() as progress:
        keys = [key_of(experiment, cell) for cell in cells]
        rows = {key: row for key in keys if (row := kept.get(key)) is not None}
        left = [(key, cell) for key, cell in zip(keys, cells, strict=True) if key not in rows]
        print(f"{experiment}: {len(cells)} cells, {len(rows)} of them done before")
        with contextlib.suppress(KeyboardInterrupt), stoppable():
            for key, cell, row, seconds in _made(experiment, left, jobs):
                rows[key] = kept.add(key, experiment, cell, row, seconds)
                progress(experiment, len(rows), len(cells))
        environments = kept.environments()
    done = [{**cell, **rows[key]} for key, cell in zip(keys, cells, strict=True) if key in rows]
    if len(done) < len(cells):
        print(f"{experiment}: interrupted, {len(cells) - len(done)} cells are missing; run it again to go on")
    found = pandas.DataFrame(done)
    found.attrs = {"interrupted": len(done) < len(cells), "environments": environments}
    return found


def _made(
    experiment: str, left: Sequence[tuple[str, Settings]], jobs: int
) -> Iterator[tuple[str, Settings, dict[str, Any], float]]:
    import joblib
    from joblib.externals.loky import get_reusable_executor

    calls = (joblib.delayed(_timed)(experiment, key, cell) for key, cell in left)
    try:
        yield from joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)(calls)
    except BaseException:
        get_reusable_executor().shutdown(kill_workers=True)  # who would otherwise finish their cells
        raise


def _timed(experiment: str, key: str, cell: Settings) -> tuple[str, Settings, dict[str, Any], float]:
    import torch

    torch.set_num_threads(1)
    if str(HERE) not in sys.path:  # of another process
        sys.path.insert(0, str(HERE))
    function = importlib.import_module(module_of(experiment)).cell
    began = time.perf_counter()
    with one_thread():
        row = function(cell)
    return key, cell, row, time.perf_counter() - began
