"""Writing files safely: a new file is written first and then replaces the old one, so no partial file is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

FilePath = str | os.PathLike[str]


class ExistingFileError(FileExistsError, ValueError):
    """Raised if a file exists and overwriting is not allowed."""


@contextlib.contextmanager
def replacing(path: FilePath, *, text: bool = False) -> Iterator[IO[Any]]:
    """A file to write to, which replaces ``path`` when it is completely on the disk.

    If anything fails (for example, the disk is full, or there is an interrupt), the old file is unchanged, and no part
    of the new file is left; on Linux also if the process is killed. If the path is a symbolic link, the file that it
    points to is replaced. A device or a pipe is written to directly.

    Parameters
    ----------
    path : path
    text : bool, optional
        Whether to write text, in UTF-8 and with unchanged line endings. The default is bytes.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    kind, encoding, newline = ("t", "utf-8", "") if text else ("b", None, None)
    errors = "backslashreplace" if text else None  # a character that UTF-8 lacks must not cost the rest of the file
    end = Path(os.path.realpath(path))
    if end.exists() and not end.is_file():
        with open(end, "w" + kind, encoding=encoding, errors=errors, newline=newline) as file:
            yield file
        return
    partial = end.with_name(f".{end.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        nameless = _nameless(end.parent)
        where, mode = (partial, "x") if nameless is None else (nameless, "w")
        with open(where, mode + kind, encoding=encoding, errors=errors, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if nameless is not None:  # with a directory to start from, since otherwise Python links the link
                os.link(f"/proc/self/fd/{nameless}", partial, src_dir_fd=nameless, follow_symlinks=True)
        if end.exists():
            os.chmod(partial, stat.S_IMODE(end.stat().st_mode))
        os.replace(partial, end)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        if isinstance(error, OSError) and error.filename in (None, os.fspath(partial)):
            raise OSError(error.errno, f"{error.strerror}, the file is not written", os.fspath(path)) from None
        raise


def _nameless(folder: Path) -> int | None:
    """A new file without a name, of which a process that is killed leaves nothing; None where there is no such."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError:  # the file system has none, or nothing can be written here: what comes next tells
        return None


def writable(text: str) -> str:
    """A text that every file takes: half characters (lone surrogates) are replaced by question marks."""
    return text.encode("utf-8", "replace").decode()


def write_text(path: FilePath, text: str) -> None:
    """Write a text file; see :func:`replacing`."""
    with replacing(path, text=True) as file:
        file.write(text)


def require_writable(path: FilePath, name: str) -> None:
    """Raise an error if a file cannot be written. It is called before a long computation that ends with this file.

    Raises
    ------
    ValueError
        If the folder does not exist, or if the folder or the file is not writable. The message names the argument.
    """
    end = Path(os.path.realpath(path))
    if not end.parent.is_dir():
        raise ValueError(f"{name}: {os.fspath(path)!r} given, but its folder does not exist")
    if end.is_dir():
        raise ValueError(f"{name}: {os.fspath(path)!r} given, which is a folder; expected a file name")
    if end.exists() and not os.access(end, os.W_OK):
        raise ValueError(f"{name}: {os.fspath(path)!r} given, which exists and is not writable")
    if end.exists() and not end.is_file():
        return
    try:
        with tempfile.TemporaryFile(dir=end.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"{name}: {os.fspath(path)!r} given, but its folder is not writable ({error.strerror})"
        ) from None


def write_table(path: FilePath, table: Any) -> None:
    """Write a DataFrame to a CSV file. If this fails, no partial file is left."""
    with replacing(path, text=True) as file:
        table.to_csv(file, index=False, lineterminator="\n")


def require_new_file(path: FilePath, name: str) -> None:
    """Raise an error if a file exists, or if it cannot be written."""
    if os.path.lexists(path):
        raise ExistingFileError(f"{name}: {os.fspath(path)!r} given, which exists; expected the name of a new file")
    require_writable(path, name)


def require_new(path: FilePath, name: str, overwrite: bool) -> None:
    """Raise an error if a file exists and must not be overwritten, or if it cannot be written.

    Missing folders of the path are created.
    """
    if os.path.lexists(path) and not overwrite:
        raise ExistingFileError(
            f"{name}: {os.fspath(path)!r} given, which exists; expected the name of a new file, or overwrite=True"
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    require_writable(path, name)


def require_new_folder(path: FilePath, name: str, overwrite: bool) -> None:
    """Raise an error if a path is no folder, or one that is not empty and must not be written to."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name}: {os.fspath(path)!r} given, which is not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ExistingFileError(
            f"{name}: {os.fspath(path)!r} given, a folder that is not empty; expected a new one, or overwrite=True"
        )


def unused_folder(path: FilePath, resumed: str | None = None) -> Path:
    """The given folder if it is empty or does not exist, otherwise ``path-2``, ``path-3`` and so on.

    One that has a file of the name ``resumed`` is used, too.
    """

    def usable(folder: Path) -> bool:
        if not folder.is_dir():
            return not folder.exists()
        return not any(folder.iterdir()) or (resumed is not None and (folder / resumed).exists())

    first = Path(path) if Path(path).name else Path(path).resolve()
    return _first_usable(first, first.name, "", usable)


def unused_file(path: FilePath, usable: Callable[[Path], bool]) -> Path:
    """The given file if it does not exist or may be replaced, otherwise ``name-2.csv``, ``name-3.csv`` and so on."""
    first = Path(path)
    return _first_usable(first, first.stem, first.suffix, lambda one: not os.path.lexists(one) or usable(one))


def _first_usable(first: Path, stem: str, suffix: str, usable: Callable[[Path], bool]) -> Path:
    found, number = first, 1
    while not usable(found):
        number += 1
        found = first.with_name(f"{stem}-{number}{suffix}")
    return found
