"""Finished runs in one SQLite file, from which they are read back bit for bit.

A run is kept under the digest of its :class:`Identity`: what it was of, not what it is called. Beside the runs are the
names: which runs a comparison was made of, and what problems and solvers were called in it. So a run is found again
under another name, and one whose cost was edited since is not.

One transaction a run: whatever ends the process, what was done before is kept. Several processes may write at once.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from srnc_manifold.comparison import database
from srnc_manifold.comparison.database import StoreError
from srnc_manifold.comparison.identity import Identity
from srnc_manifold.comparison.rows import FAILED, OUTCOME, Key, Row
from srnc_manifold.exchange import UNREADABLE, from_json, pack, reason, to_json, unpack
from srnc_manifold.problem import Problem, problem_from_fields
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.writing import FilePath

_NUMBERS = [name for name in OUTCOME if name not in ("status", "message", "feasible", "settings", "environment")]
_COUNTS = ("evaluations", "gradients", "hessians")
_COLUMNS = ", ".join(f"{name} {'NUMERIC' if name in _COUNTS else 'REAL'}" for name in _NUMBERS)
_IDENTITY = [f.name for f in fields(Identity)]

# For people who open the file with another tool there is a view of all rows, under the names of Row.
_TABLES = f"""
CREATE TABLE environments (name TEXT PRIMARY KEY, header TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE budgets (digest TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE problems (digest TEXT PRIMARY KEY, description TEXT NOT NULL, content BLOB);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
    problem TEXT NOT NULL, solver TEXT NOT NULL, seed INTEGER,
    budget TEXT NOT NULL, package TEXT NOT NULL, sources TEXT NOT NULL, finished TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1,
    status TEXT NOT NULL, message TEXT NOT NULL, feasible INTEGER NOT NULL,
    {_COLUMNS}, settings TEXT, environment TEXT
);
CREATE TABLE results (run INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE names (name TEXT PRIMARY KEY, problem TEXT NOT NULL, optimum REAL, note TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    position INTEGER PRIMARY KEY, problem TEXT NOT NULL, solver TEXT NOT NULL, seed INTEGER NOT NULL,
    run TEXT, status TEXT, message TEXT, UNIQUE (problem, solver, seed)
);
CREATE TABLE exports (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIEW rows AS
    SELECT entries.problem, entries.solver, entries.seed, coalesce(runs.status, entries.status) AS status,
        coalesce(runs.message, entries.message) AS message, coalesce(runs.feasible, 0) AS feasible,
        {", ".join(f"runs.{name}" for name in (*_NUMBERS, "settings", "environment"))},
        runs.finished, entries.run, entries.position
    FROM entries LEFT JOIN runs ON runs.key = entries.run
    WHERE runs.key IS NOT NULL OR entries.run IS NULL
"""

_ADDED = ("key", *_IDENTITY, "finished", *OUTCOME)
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in ("finished", *OUTCOME))
_ADD = f"""
INSERT INTO runs ({", ".join(_ADDED)}) VALUES ({", ".join("?" * len(_ADDED))})
ON CONFLICT (key) DO UPDATE SET {_CHANGED}, attempts = attempts + 1 WHERE status = '{FAILED}' RETURNING id
"""


@dataclass(frozen=True)
class Planned:
    """A row that a comparison will have: of a run, or, without an identity, one that says why there is none."""

    row: Row
    identity: Identity | None = None


@dataclass(frozen=True)
class Kept:
    """A run as it is in a store: its row, whose names are those of the store, and whether it has a result."""

    row: Row
    identity: Identity
    has_result: bool


class Store:
    """A file of runs. A context manager; made by :meth:`reading` and :meth:`writing`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def reading(cls, path: FilePath) -> Store:
        """Open a store that exists.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        StoreError
            If it is not a store, a damaged one, or one of a newer release. It is left as it is.
        """
        return cls(Path(path).absolute(), database.opened(Path(path).absolute()))

    @classmethod
    def writing(cls, path: FilePath) -> Store:
        """Open or make a store to write to; errors as of :meth:`reading`, and if it cannot be written."""
        return cls(Path(path).absolute(), database.opened_to_write(Path(path).absolute(), _TABLES))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The last one to do so puts the log away."""
        with contextlib.suppress(sqlite3.Error):
            # What is in the log goes to the file, so that a copy of the file is whole. Others may still read it.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with database.told(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which is undone if anything fails in it."""
        with database.told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have undone it already
                    self._connection.execute("ROLLBACK")
                raise

    # -- writing --------------------------------------------------------------------------------------------

    def plan(
        self,
        planned: Iterable[Planned],
        problems: Mapping[str, tuple[NamedProblem, str]],
        budgets: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Take down what a comparison will consist of.

        Its rows; its problems by name, with their digests; and the limits of its runs, by their digests.
        """
        with self._changing() as connection:
            for budget, limits in budgets.items():
                connection.execute("INSERT OR IGNORE INTO budgets VALUES (?, ?)", (budget, to_json(limits)))
            for name, (entry, digest) in problems.items():
                self._name(connection, name, entry, digest)
            for one in planned:
                row, run = one.row, one.identity.key if one.identity else None
                if one.identity and one.identity.seed is None:  # nothing random in it: one row, whatever its seed
                    connection.execute("DELETE FROM entries WHERE problem = ? AND solver = ? AND seed != ?", row.key)
                connection.execute(
                    "INSERT INTO entries (problem, solver, seed, run, status, message) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (problem, solver, seed) DO UPDATE SET run = excluded.run, status = excluded.status, "
                    "message = excluded.message",
                    (*row.key, run, row.status, row.message),
                )

    def _name(self, connection: sqlite3.Connection, name: str, entry: NamedProblem, digest: str) -> None:
        content, description = _described(entry.problem)
        connection.execute("INSERT OR IGNORE INTO problems VALUES (?, ?, ?)", (digest, description, content))
        before = connection.execute("SELECT problem FROM names WHERE name = ?", (name,)).fetchone()
        if before and before[0] != digest:
            connection.execute("DELETE FROM entries WHERE problem = ?", (name,))
            warnings.warn(
                f"store: {name!r} was another problem when it was compared before; the runs of that one are kept, but "
                "tables show those of the new one; give them different names to see both",
                stacklevel=5,
            )
        connection.execute("DELETE FROM entries WHERE problem = ? AND solver = ''", (name,))  # it is available now
        connection.execute(
            "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", (name, digest, entry.optimum, entry.note)
        )

    def add(self, identity: Identity, row: Row, content: bytes | None, header: Mapping[str, str] | None = None) -> None:
        """Keep a run. One that has failed is replaced by a later attempt; any other is kept as it is."""
        values = [getattr(row, name) for name in OUTCOME]
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._changing() as connection:
            if header is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO environments VALUES (?, ?)", (row.environment, to_json(header))
                )
            told = (identity.key, *(getattr(identity, name) for name in _IDENTITY), now)
            run = connection.execute(_ADD, (*told, *values)).fetchone()
            if run is not None and content is not None:
                connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (run[0], content))

    def record_exports(self, digests: Iterable[str]) -> None:
        """Remember what was written to files beside the store, in place of what was before."""
        with self._changing() as connection:
            connection.execute("DELETE FROM exports")
            connection.executemany("INSERT OR IGNORE INTO exports VALUES (?)", ((digest,) for digest in digests))

    # -- reading --------------------------------------------------------------------------------------------

    def exports(self) -> set[str]:
        """What :meth:`record_exports` was last given."""
        return {digest for (digest,) in self._read("SELECT digest FROM exports")}

    def done(self, keys: Iterable[str]) -> dict[str, Kept]:
        """Those of some runs that are here and have not failed, by key."""
        keys, found = list(keys), {}
        for k in range(0, len(keys), 500):
            some = keys[k : k + 500]
            where = f"runs.key IN ({', '.join('?' * len(some))}) AND runs.status != '{FAILED}'"
            for kept in self._runs("'', '', 0", f"FROM runs {_HAS_RESULT} WHERE {where}", some):
                found[kept.identity.key] = kept
        return found

    def _runs(self, names: str, origin: str, values: Sequence[Any] = ()) -> Iterator[Kept]:
        columns = ", ".join(f"runs.{name}" for name in (*_IDENTITY, *OUTCOME))
        query = f"SELECT {names}, results.run IS NOT NULL, {columns} {origin}"
        for problem, solver, seed, has_result, *rest in self._read(query, values):
            key = problem, solver, seed
            yield Kept(_row(key, rest[len(_IDENTITY) :]), Identity(*rest[: len(_IDENTITY)]), bool(has_result))

    def rows(self) -> tuple[list[Kept | Row], int]:
        """All rows, in the order of problems, solvers and seeds as they were first asked for, and how many are missing.

        Rows that are not of a run say why there is none.
        """
        origin = f"FROM entries JOIN runs ON runs.key = entries.run {_HAS_RESULT}"
        found: list[Kept | Row] = list(self._runs("entries.problem, entries.solver, entries.seed", origin))
        without = self._read("SELECT problem, solver, seed, status, message FROM entries WHERE run IS NULL")
        found += [Row(*values) for values in without]
        places = self._read("SELECT problem, solver, seed FROM entries ORDER BY position")
        problems, solvers, positions = ({key: k for k, key in reversed(list(enumerate(part)))} for part in (
            [p for p, _, _ in places], [s for _, s, _ in places], places))  # fmt: skip

        def place(one: Kept | Row) -> tuple[int, int, int]:
            problem, solver, seed = (one.row if isinstance(one, Kept) else one).key
            return problems[problem], solvers[solver], positions[problem, solver, seed]

        return sorted(found, key=place), len(places) - len(found)

    def problems(self) -> dict[str, NamedProblem]:
        """The problems by name, without those that could not be saved."""
        found = {}
        for name, content, optimum, note in self._read(
            "SELECT name, content, optimum, note FROM names JOIN problems ON digest = problem ORDER BY "
            "(SELECT min(position) FROM entries WHERE entries.problem = name)"
        ):
            if content is not None:
                with self._readable(f"the problem {name!r}"):
                    found[name] = NamedProblem(name, problem_from_fields(unpack(content)), optimum, note)
        return found

    def budgets(self) -> dict[str, dict[str, float]]:
        """The limits of the runs, by their digests."""
        with self._readable("a budget"):
            return {digest: from_json(limits) for digest, limits in self._read("SELECT * FROM budgets")}

    def environments(self) -> dict[str, dict[str, str]]:
        """Where the runs were made, by name."""
        with self._readable("an environment"):
            return {name: from_json(header) for name, header in self._read("SELECT * FROM environments")}

    def content(self, key: str) -> bytes:
        """The result of a run, packed."""
        found = self._read("SELECT content FROM results JOIN runs ON run = id WHERE key = ?", (key,))
        if not found:
            raise StoreError(f"store: {str(self.path)!r} has lost the result of the run {key}")
        return bytes(found[0][0])

    @contextlib.contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"store: {str(self.path)!r} is damaged: {what} cannot be read ({reason(error)})") from None


_HAS_RESULT = "LEFT JOIN results ON results.run = runs.id"


def _row(key: Key, outcome: Sequence[Any]) -> Row:
    values = dict(zip(OUTCOME, outcome, strict=True))
    numbers = {name: math.nan if values[name] is None else values[name] for name in _NUMBERS}
    return Row(*key, **{**values, **numbers, "feasible": bool(values["feasible"])})


def _described(problem: Problem) -> tuple[bytes | None, str]:
    """The content of a problem, None if it cannot be saved, and what it asks in words."""
    try:
        content: bytes | None = pack(problem.to_fields())
    except Exception:  # of a class or an operator of one's own
        content = None
    try:
        return content, str(problem.describe())
    except Exception:
        return content, type(problem).__name__
