"""Costs and solvers that other distributions bring, by entry points."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from srnc_manifold.naming import RESERVED


class PluginError(ValueError):
    """A plug-in that cannot be used, and why."""


@dataclass(frozen=True)
class Plugin:
    """A name that another distribution gives to a callable.

    Attributes
    ----------
    entry_point : importlib.metadata.EntryPoint
        Its value is the callable. Nothing is imported before :meth:`load` or :meth:`make`.
    kind : type
        What the callable gives when called without arguments.
    """

    entry_point: EntryPoint
    kind: type

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.entry_point.name

    @property
    def distribution(self) -> str:
        """Name and version of the distribution."""
        dist = self.entry_point.dist
        return "an unknown distribution" if dist is None else f"{dist.name} {dist.version}"

    def make(self, **arguments: Any) -> Any:
        """What the callable gives.

        Raises
        ------
        PluginError
            If it cannot be imported or called, or gives something else than the kind.
        """
        factory = self.load()
        try:
            made = factory(**arguments)
        except (Exception, SystemExit) as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error
        if not isinstance(made, self.kind):
            raise self._broken(f"{self.entry_point.value} gave {made!r}, expected a {self.kind.__name__}")
        return made

    def load(self) -> Any:
        """The callable.

        Raises
        ------
        PluginError
            If it cannot be imported.
        """
        if not RESERVED.isdisjoint(self.name):
            raise self._broken(f"its name contains one of {' '.join(sorted(RESERVED))}, which separate names")
        try:
            return self.entry_point.load()
        except (Exception, SystemExit) as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error

    def _broken(self, reason: str) -> PluginError:
        on_one_line = " ".join(reason.split())
        return PluginError(f"the plug-in {self.name!r} of {self.distribution} is broken: {on_one_line}")


def find(group: str, kind: type, taken: Collection[str]) -> dict[str, Plugin]:
    """The plug-ins of an entry-point group by name; none of them is imported.

    Raises
    ------
    ValueError
        If two have the same name, or one has a name that is taken by the package itself.
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
    """Those that give what they should.

    Warns
    -----
    UserWarning
        For each of the others, with its name, its distribution and the error.
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
