"""The entries of a file while it is read: each has a name of its own, and none hides another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from srnc_manifold.exchange import reason

# A file that holds more than this was made to harm: repeated references cost it nothing.
_MOST = 10**5


class Entries:
    """The entries of a file.

    Attributes
    ----------
    arrays, skipped : dict
        As of :class:`srnc_manifold.files.Contents`.
    sources : dict
        What each array was read from, in the words of its format.
    others : list of str
        Names of what is no array, such as numbers and texts beside them.
    """

    def __init__(self, size: int) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.skipped: dict[str, str] = {}
        self.sources: dict[str, Any] = {}
        self.others: list[str] = []
        self._visited = 0
        self._room = size

    def add(self, name: str, read: Callable[[], NDArray[Any]], source: Any = None) -> None:
        """Read an entry. If that fails, it is left out, with the reason."""
        name = self._unused(name)
        self.sources[name] = source
        try:
            self.arrays[name] = numbers(read())
        except Exception as error:
            self.skipped[name] = reason(error)

    def skip(self, name: str, why: str) -> None:
        """Leave out an entry."""
        self.skipped[self._unused(name)] = why

    def count(self) -> None:
        """Count an entry, so that their number is bounded."""
        self._visited += 1
        if self._visited > _MOST:
            raise ValueError(f"more than {_MOST} entries")

    def take(self, size: int) -> None:
        """Use some of the room that a file may take in memory."""
        if size > self._room:
            raise ValueError(f"it takes {size} bytes, far more than its file")
        self._room -= size

    def _unused(self, name: str) -> str:
        found, number = name, 1
        while found in self.arrays or found in self.skipped:
            number += 1
            found = f"{name} ({number})"
        return found


def numbers(array: NDArray[Any]) -> NDArray[Any]:
    """An array, if it has numbers that NumPy knows."""
    if array.dtype.kind not in "biufc":
        raise ValueError(f"dtype {array.dtype}, not numbers that NumPy knows")
    return array
