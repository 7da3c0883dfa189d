"""Files in TOML that users write: read with their schema, and with the lines that mistakes are on."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from typing import Any

from srnc_manifold.exchange import UNREADABLE, reason
from srnc_manifold.writing import FilePath

#: Of the values of a document: names of keys, and numbers in lists.
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A file in TOML.

    Attributes
    ----------
    path : str
    text : str
    data : dict
        What it says, without its schema.
    """

    path: str
    text: str
    data: dict[str, Any]

    def line(self, place: Place) -> int:
        """The line, from 1, on which the statement begins that gives a value, or the nearest that exists around it.

        tomllib does not tell it. But the value is there as soon as the file is read up to the end of its statement, and
        no statement can be read in part.
        """
        before, lines = 0, self.text.split("\n")
        while place and not _has(self.data, place):
            place = place[:-1]
        for end in range(1, len(lines) + 1) if place else ():
            try:
                beginning = tomllib.loads("\n".join([*lines[:end], ""]))
            except tomllib.TOMLDecodeError:
                continue
            if _has(beginning, place):
                return before + 1
            before = end
        return 1


def _has(data: Any, place: Place) -> bool:
    for step in place:
        known = range(len(data)) if isinstance(data, list) else data
        if not isinstance(data, dict | list) or step not in known:
            return False
        data = data[step]  # type: ignore[index]
    return True


def read_toml(path: FilePath, argument: str, schema: int) -> Document:
    """Read a file that begins with ``schema = 1``.

    Parameters
    ----------
    path : path
    argument : str
        What the file is, for messages.
    schema : int
        The one that this release knows.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not TOML, or of another schema.
    """
    file = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{argument}: {file!r} {'is a folder' if os.path.isdir(path) else 'does not exist'}")
    try:
        with open(path, "rb") as stream:
            text = stream.read().decode("utf-8")
        data = tomllib.loads(text)
    except UNREADABLE as error:
        raise ValueError(f"{argument}: {file!r} is not TOML: {reason(error)}") from None
    given = data.pop("schema", None)
    if given is None:
        raise ValueError(f"{argument}: {file!r} has no schema, expected schema = {schema}")
    if type(given) is not int or given != schema:
        raise ValueError(f"{argument}: schema {given!r} given in {file!r}; this release knows schema {schema}")
    return Document(file, text, data)
