"""Plug-ins: costs and solvers of other distributions, found by entry points."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from srnc_manifold.naming import RESERVED


class PluginError(ValueError):
    """Raised for a plug-in that cannot be used, with the reason."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of another distribution: a name and a callable.

    Attributes
    ----------
    entry_point : importlib.metadata.EntryPoint
        Its value is the callable. Nothing is imported before :meth:`load` or :meth:`make`.
    kind : type
        Type of the object that the callable returns.
    """

    entry_point: EntryPoint
    kind: type

    @property
    def name(self) -> str:
        """Name of the plug-in in the registry."""
        return self.entry_point.name

    @property
    def distribution(self) -> str:
        """Name and version of the distribution."""
        dist = self.entry_point.dist
        return "an unknown distribution" if dist is None else f"{dist.name} {dist.version}"

    def make(self, **arguments: Any) -> Any:
        """Call the callable and return its result.

        Raises
        ------
        PluginError
            If the callable cannot be imported or called, or if its result is not of type ``kind``.
        """
        factory = self.load()
        try:
            made = factory(**arguments)
        except (Exception, SystemExit) as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error
        if not isinstance(made, self.kind):
            raise self._broken(f"{self.entry_point.value} returned {made!r}, expected a {self.kind.__name__}")
        return made

    def load(self) -> Any:
        """The callable.

        Raises
        ------
        PluginError
            If it cannot be imported.
        """
        if not RESERVED.isdisjoint(self.name):
            raise self._broken(f"its name contains one of {' '.join(sorted(RESERVED))}, which are reserved")
        try:
            return self.entry_point.load()
        except (Exception, SystemExit) as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error

    def _broken(self, reason: str) -> PluginError:
        on_one_line = " ".join(reason.split())
        return PluginError(f"the plug-in {self.name!r} of {self.distribution} is broken: {on_one_line}")


def find(group: str, kind: type, taken: Collection[str]) -> dict[str, Plugin]:
    """The plug-ins of an entry-point group by name. None of them is imported.

    Raises
    ------
    ValueError
        If two plug-ins have the same name, or if a plug-in has a name of this package.
    """
    sources = dict.fromkeys(taken, "srnc-manifold itself")
    found: dict[str, Plugin] = {}
    for plugin in (Plugin(entry_point, kind) for entry_point in entry_points(group=group)):
        if plugin.name in sources:
            raise ValueError(
                f"{group}: the name {plugin.name!r} is given by {sources[plugin.name]} and by {plugin.distribution}, "
                "expected different names; uninstall one of them"
            )
        sources[plugin.name] = plugin.distribution
        found[plugin.name] = plugin
    return found


def working(plugins: Iterable[Plugin]) -> list[Plugin]:
    """The plug-ins that work.

    Warns
    -----
    UserWarning
        For each of the other plug-ins, with its name, its distribution and the error.
    """
    good = []
    for plugin in plugins:
        try:
            plugin.make()
        except PluginError as error:
            warnings.warn(str(error), UserWarning, stacklevel=2)
        else:
            good.append(plugin)
    return good
