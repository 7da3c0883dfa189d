"""What every study has: experiments that are done in parallel, and findings that are saved as a document."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from srnc_manifold.writing import write_table, write_text

#: Called with the name of the current experiment, the number of its tasks that are done, and their total number.
Progress = Callable[[str, int, int], Any]


def silent(experiment: str, done: int, total: int) -> None:
    """Show no progress."""


class Findings(ABC):
    """Outcome of a study.

    Attributes
    ----------
    name : str
        Name of the study, with which the names of its files begin.
    interrupted : bool
        Whether the study was stopped. Then its tables hold what was done, and there is no document.

    Examples
    --------
    >>> from srnc_manifold.studies import Findings
    >>> sorted(Findings.__abstractmethods__)
    ['document', 'summary', 'tables']
    """

    name: ClassVar[str]
    interrupted: bool = False

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}: {len(table)} rows" for name, table in self.tables().items())
        return f"{type(self).__name__}({rows}{', interrupted' if self.interrupted else ''})"

    @abstractmethod
    def tables(self) -> dict[str, Any]:
        """The results as pandas DataFrames, by name."""

    @abstractmethod
    def summary(self) -> str:
        """The main results, in words."""

    @abstractmethod
    def document(self) -> str:
        """The study as a Markdown document. Its figures are in the folder ``images``."""

    def figures(self) -> dict[str, Callable[[Path], Any]]:
        """By file name, functions that draw a figure of the document into a file."""
        return {}

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write ``<name>.md``, its figures (to ``images``) and its tables (to ``data``, as CSV). Return the paths."""
        directory = Path(directory)
        paths = [write_rows(directory, self.name, name, table) for name, table in self.tables().items()]
        if self.interrupted:
            return paths
        document, images = directory / f"{self.name}.md", directory / "images"
        write_text(document, self.document())
        for name, draw in self.figures().items():
            images.mkdir(exist_ok=True)
            draw(images / name)
            paths.append(images / name)
        return [document, *paths]


def write_rows(directory: str | os.PathLike[str], study: str, name: str, table: Any) -> Path:
    """Write a table of a study and return its path. The folder is made."""
    path = data_folder(directory) / f"{study}-{name}.csv"
    write_table(path, table)
    return path


def store_path(directory: str | os.PathLike[str], study: str) -> Path:
    """The store of a study, in which its runs are found again. The folder is made."""
    return data_folder(directory) / f"{study}.db"


def data_folder(directory: str | os.PathLike[str]) -> Path:
    """Where tables and stores are written. The folder is made."""
    data = Path(directory) / "data"
    data.mkdir(parents=True, exist_ok=True)
    return data
