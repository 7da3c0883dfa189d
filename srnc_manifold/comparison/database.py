"""Opening SQLite files safely: what is not a store of ours, or cannot be used, gets one error and is left as it is."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import struct
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from srnc_manifold.exchange import reason
from srnc_manifold.writing import require_writable

#: Number of the form of the tables. A file with a greater one is of a newer release.
SCHEMA = 2

#: Which SQLite files are stores: the letters "SRNC".
APPLICATION = 0x53524E43

# Seconds to wait for another process that writes: each transaction is of one run.
_PATIENCE = 60

# File systems of networks, also as "fuse.sshfs": processes of several machines do not share memory, as logs need it.
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
    | {"sshfs", "virtiofs"}
)

# Words for the codes of SQLite's errors; whatever else it complains of is in the file.
_TROUBLE = {
    frozenset({"BUSY", "LOCKED"}): "is in use by another process",
    frozenset({"AUTH", "CANTOPEN", "FULL", "IOERR", "PERM", "READONLY"}): "cannot be used",
}


class StoreError(ValueError):
    """Raised for a store that cannot be used."""


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What SQLite complains of is told with the name of the file.

    Raises
    ------
    StoreError
        If the file is damaged or cannot be written, the disk is full, or it is in use for longer than a minute.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "").split("_")
        what = next((words for names, words in _TROUBLE.items() if names & set(code)), "is damaged")
        raise StoreError(f"store: {str(path)!r} {what} ({reason(error)})") from None


def opened(path: Path) -> sqlite3.Connection:
    """A connection to read a store by; see :meth:`Store.reading`."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such store", os.fspath(path))
    if not _require_ours(path):
        raise StoreError(f"store: {str(path)!r} given, which is empty")
    with told(path):
        connection = _connected(path, "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro")
        try:
            _require_whole(path, connection)
            if not _is_made(connection):
                raise StoreError(f"store: {str(path)!r} given, which is empty")
        except BaseException:
            connection.close()
            raise
        connection.execute("PRAGMA query_only = 1")
        return connection


def opened_to_write(path: Path, tables: str, application: int = APPLICATION) -> sqlite3.Connection:
    """A connection to write to a store by, which is made if there is none; see :meth:`Store.writing`.

    ``application`` is the number of files of another kind, with other tables.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    require_writable(path, "store")
    ours = _require_ours(path, application)
    with told(path):
        connection = _connected(path, "rwc")
        try:
            if ours:
                _require_whole(path, connection)
            if not _is_made(connection):  # nor where a process was killed while it made the tables: SQLite undoes that
                _make(connection, tables, application)
            _keep_log(path, connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    def connect(options: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.as_uri()}?{options}", uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )

    connection = connect(f"mode={mode}")
    if mode == "ro":
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except sqlite3.OperationalError:  # no log can be made beside it: it is read as it lies there
            connection.close()
            return connect("mode=ro&immutable=1")
    return connection


def _require_ours(path: Path, application: int = APPLICATION) -> bool:
    """Whether there is anything at a path. It is looked at without SQLite, which would change some files.

    Raises
    ------
    StoreError
        If it is anything but a store that this release can read.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return False
    if not path.is_file():
        raise StoreError(f"store: {str(path)!r} given, which is not a file")
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(b"SQLite format 3\0") or len(head) < 100:
        raise StoreError(f"store: {str(path)!r} given, which is not a store of a comparison")
    version, found = (struct.unpack(">I", head[k : k + 4])[0] for k in (60, 68))
    if found != application:
        raise StoreError(f"store: {str(path)!r} given, which is an SQLite file of something else")
    if version > SCHEMA:
        raise StoreError(
            f"store: {str(path)!r} is of a newer release of srnc_manifold (form {version}, this one knows {SCHEMA})"
        )
    if version < SCHEMA:
        raise StoreError(
            f"store: {str(path)!r} is of a version before the first release (form {version}, this one knows {SCHEMA}); "
            "make it anew"
        )
    return True


def _require_whole(path: Path, connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"store: {str(path)!r} is damaged ({reason(found)})")


def _is_made(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA user_version").fetchone()[0])


def _make(connection: sqlite3.Connection, tables: str, application: int) -> None:
    """Make the tables, in one step, unless another process has done so in the meantime."""
    connection.execute("BEGIN IMMEDIATE")
    if not _is_made(connection):
        for statement in tables.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("COMMIT")


def _keep_log(path: Path, connection: sqlite3.Connection) -> None:
    """Write ahead to a log, with which a run takes a tenth of a millisecond, where the file system allows it."""
    wanted = "DELETE" if _file_system(path).removeprefix("fuse.") in _NETWORK else "WAL"
    mode = _journal(connection, wanted)
    # A log is whole after a loss of power, without waiting for the disk; a file that is written in place is not.
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
    if mode != "wal":
        warnings.warn(
            f"store: {str(path)!r} is on a file system without shared memory, such as a network drive; it is written "
            "without a write-ahead log, which is as safe and slower",
            stacklevel=6,
        )


def _journal(connection: sqlite3.Connection, wanted: str) -> str:
    """Ask for a mode of the journal, and return the one there is: SQLite does not wait here for other processes."""
    for _ in range(20 * _PATIENCE):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != wanted.lower():
                (mode,) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
            return str(mode)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
    return str(mode)


def _file_system(path: Path) -> str:
    """Type of the file system of a path, empty where it is not known."""
    best, kind, path = 0, "", path.resolve()
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, found, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if path.is_relative_to(place) and len(place) >= best:
            best, kind = len(place), found
    return kind
