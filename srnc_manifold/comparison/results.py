"""The results of a comparison, which stay packed, in memory or in a store, until one is asked for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from srnc_manifold.comparison.rows import Key
from srnc_manifold.comparison.store import Store
from srnc_manifold.exchange import UNREADABLE, reason, unpack
from srnc_manifold.result import Result

#: Where a packed result is: here, or in a store under a key.
Place = bytes | tuple[Path, str]


class Results(Mapping[Key, Result]):
    """Maps ``(problem, solver, seed)`` to a :class:`srnc_manifold.Result`, which is read each time it is asked for."""

    def __init__(self, places: Mapping[Key, Place] | None = None) -> None:
        self.places: dict[Key, Place] = dict(places or {})
        self._open: dict[Path, Store] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.places)

    def __contains__(self, key: object) -> bool:
        return key in self.places

    def __getitem__(self, key: Key) -> Result:
        try:
            return Result.from_fields(unpack(self.packed(key)))
        except UNREADABLE as error:
            if key not in self.places:
                raise
            raise ValueError(f"results: that of {key} cannot be read ({reason(error)})") from None

    def packed(self, key: Key) -> bytes:
        """The result as :func:`srnc_manifold.exchange.pack` gives it."""
        place = self.places[key]
        if isinstance(place, bytes):
            return place
        path, run = place
        if path not in self._open:
            self._open[path] = Store.reading(path)
            weakref.finalize(self, self._open[path].close)
        return self._open[path].content(run)

    def __repr__(self) -> str:
        return f"Results of {len(self)} runs"

    def __getstate__(self) -> dict[str, Any]:
        return {"places": self.places, "_open": {}}
