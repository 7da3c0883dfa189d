"""What is wrong with the file of a study: all of it at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from srnc_manifold.printing import printable
from srnc_manifold.toml_files import Document, Place


class StudyFileError(ValueError):
    """Raised for a file of a study that cannot be run.

    Attributes
    ----------
    messages : tuple of str
        One for each mistake, each with its line.

    Examples
    --------
    >>> from pathlib import Path
    >>> from srnc_manifold.studies import StudyFileError, read_study
    >>> text = 'schema = 1\\n[[problems]]\\nfamily = "papre"\\n[[solvers]]\\nname = "exact"\\n'
    >>> _ = Path("mine.toml").write_text(text)
    >>> try:
    ...     read_study("mine.toml")
    ... except StudyFileError as error:
    ...     print(error.messages[0].partition(",")[0], len(error.messages))
    ...
    mine.toml 1
    """

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = tuple(messages)


class Mistakes:
    """What is wrong with a document. All of it is collected before it is told."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: list[tuple[int, str]] = []

    def add(self, place: Place, text: object) -> None:
        """Take down a mistake of the value at some place."""
        line = self._document.line(place)
        self._found.append((line, f"{printable(self._document.path)}, line {line}: {printable(text)}"))

    @contextmanager
    def at(self, place: Place, table: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Take down the error that is raised, for a place.

        Messages of this package begin with the name of the argument: if a table is given, it is looked for there.
        """
        try:
            yield
        except (TypeError, ValueError, OSError, ImportError) as error:
            argument = str(error).partition(":")[0]
            self.add((*place, argument) if argument in (table or ()) else place, error)

    def require_keys(self, place: Place, table: Mapping[str, Any], known: Sequence[str]) -> bool:
        """Take down the keys of a table that are not known. Whether there are none."""
        unknown = [key for key in table if key not in known]
        for key in unknown:
            self.add((*place, key), f"{key!r} is unknown, expected some of {', '.join(known)}")
        return not unknown

    def tables(self, place: Place, given: Any) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        """The tables of a list of them, with their places. The list itself may be missing."""
        name, key = str(place[-1]), ".".join(step for step in place if isinstance(step, str))
        if not isinstance(given, list) or not given:
            text = f"no {name} given" if given in (None, []) else f"{name}: {given!r} given"
            self.add(place, f"{text}, expected tables that begin with [[{key}]]")
            return
        for k, table in enumerate(given):
            if isinstance(table, dict):
                yield (*place, k), table
            else:
                self.add((*place, k), f"{name}: {table!r} given, expected a table that begins with [[{key}]]")

    def tell(self) -> None:
        """Raise an error with all of them, in the order of the lines, if there are any."""
        if self._found:
            raise StudyFileError([text for _, text in sorted(self._found, key=lambda one: one[0])])
