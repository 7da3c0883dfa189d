"""Canonical names of solvers and costs, parsed both ways: ``trust-regions[cost=lse[alpha=100], tolerance=1e-08]``.

A name stands for a class and some of its settings; in brackets follow the settings that differ from what the name alone
means. What cannot be written as a plain value (a callable, an instance of a class without a name) is printed with its
qualified name, which is not accepted as text. Of an instance of another package's class the settings follow that differ
from those of an instance made without any.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from srnc_manifold.modules import from_file, names_a_file

#: What separates parts of names.
RESERVED = set("[],=:")


@dataclass(frozen=True)
class Entry:
    """What a name stands for.

    Attributes
    ----------
    make : type or callable
        Called with settings it gives an instance; a class, if its instances are to be named by it.
    fixed : dict
        Settings that the name implies.
    nested : dict of Names
        Its settings that are themselves instances with names, beside those of all names of its kind.
    """

    make: Callable[..., Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, Names] = field(default_factory=dict)

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        """The settings of an instance that is made without any."""
        return settings_of(self.make(**self.fixed))


class Names:
    """A table of names of instances of one kind.

    Parameters
    ----------
    kind : str
        In messages: ``"solver"`` or ``"cost"``.
    of_settings : dict of Names, optional
        For settings that are themselves instances with names.
    """

    def __init__(self, kind: str, of_settings: Mapping[str, Names] | None = None) -> None:
        self.kind, self._of_settings = kind, dict(of_settings or {})
        self._entries: dict[str, Entry] = {}
        self._listed: list[str] = []

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def add(
        self,
        name: str,
        make: Callable[..., Any],
        *,
        listed: bool = True,
        nested: Mapping[str, Names] | None = None,
        **fixed: Any,
    ) -> None:
        """Give a name to a class, or to it with some settings; one that is not listed is not offered in messages.

        ``nested`` are settings that are themselves instances with names.

        Raises
        ------
        ValueError
            If the name is taken by something else, or contains a character that separates names.
        """
        if not name or RESERVED & set(name) or name != name.strip():
            raise ValueError(f"name: {name!r} given, expected text without any of {' '.join(sorted(RESERVED))}")
        entry = Entry(make, fixed, nested or {})
        if self._entries.get(name, entry) != entry:
            raise ValueError(f"name: {name!r} given, which is the name of another {self.kind}")
        self._entries[name] = entry
        if listed and name not in self._listed:
            self._listed.append(name)

    def of(self, instance: Any) -> str:
        """The canonical name of an instance."""
        own = settings_of(instance)
        best: tuple[int, str, dict[str, Any]] | None = None
        for name, entry in self._entries.items():
            fits = type(instance) is entry.make and all(own.get(key) == value for key, value in entry.fixed.items())
            if fits and (best is None or len(entry.fixed) > best[0]):
                best = len(entry.fixed), name, entry.defaults
        if best is None:  # a class without a name: every setting is told, as its defaults are not known here
            return _bracketed(_qualified(type(instance)), {key: self._text(value) for key, value in own.items()})
        _, name, defaults = best
        return _bracketed(name, {k: self._text(v) for k, v in own.items() if not _same(v, defaults.get(k))})

    def parse(self, text: str, others: Collection[str] = ()) -> Any:
        """The instance of a name, or of a class in a Python file: ``mine.py:RandomSearch[steps=100]``.

        Parameters
        ----------
        text : str
        others : collection of str, optional
            Names that could be loaded, told where this one is not known.

        Raises
        ------
        ValueError
            If it is not a name of this kind, or a setting is not known or not valid.
        """
        head, settings = _split_head(text, self.kind)
        short, _, cost = head.partition(":")
        if short not in self._entries and names_a_file(head):
            return self._made(text, head, Entry(from_file(head, self.kind)), settings)
        if short not in self._entries:
            raise ValueError(
                f"{self.kind}: {text!r} given, expected one of {', '.join(dict.fromkeys((*self._listed, *others)))}"
            )
        if cost:
            settings = {"cost": cost, **settings}
        return self._made(text, short, self._entries[short], settings)

    def _made(self, text: str, short: str, entry: Entry, settings: Mapping[str, str]) -> Any:
        """What an entry makes with settings that are still text; errors as of :meth:`parse`."""
        values: dict[str, Any] = {}
        known, named = _parameters(entry.make), {**self._of_settings, **entry.nested}
        for key, value in settings.items():
            if known is not None and key not in known:
                if key == "cost":
                    raise ValueError(f"{self.kind}: {text!r} given, but {short} takes no cost")
                raise ValueError(f"{self.kind}: {text!r} given, but {short} has no setting {key!r}: {', '.join(known)}")
            try:
                values[key] = named[key].parse(value) if key in named else _plain(value)
            except ValueError as error:
                raise ValueError(f"{self.kind}: {text!r} given, but its {error}") from error
        try:
            return entry.make(**{**entry.fixed, **values})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.kind}: {text!r} given, but {error}") from error

    def settings(self, text: str) -> dict[str, Any]:
        """All settings that a canonical name stands for, and those of instances among them, such as a solver's cost.

        Of a name that is not known here, those that it tells.
        """
        head, told = _split_head(text, self.kind)
        entry = self._entries.get(head)
        named = {**self._of_settings, **(entry.nested if entry else {})}
        usual = {key: self._text(value) for key, value in (entry.defaults if entry else {}).items()}
        found: dict[str, Any] = {}
        inner: dict[str, Any] = {}
        for key, value in {**usual, **told}.items():
            if key in named or "[" in value:
                own = named.get(key, self)
                found[key] = _split_head(value, own.kind)[0]
                inner |= own.settings(value)
            else:
                found[key] = _plain(value)
        return {**inner, **found}

    def _text(self, value: Any, depth: int = 3) -> str:
        inner = [names for entry in self._entries.values() for names in entry.nested.values()]
        for names in (*self._of_settings.values(), *inner):
            if any(type(value) is entry.make for entry in names._entries.values()):
                return names.of(value)
        if isinstance(value, float) and float(f"{value:g}") == value:
            return f"{value:g}"
        if value is None or isinstance(value, bool | int | float):
            return repr(value)
        if isinstance(value, str):
            return value if _plain(value) == value and not RESERVED & set(value) else repr(value)
        if callable(value):
            return _qualified(value)
        if isinstance(value, tuple | list | dict | set | np.ndarray):
            return " ".join(repr(value).split())
        if dataclasses.is_dataclass(value):
            return _bracketed(_qualified(type(value)), {k: self._text(v) for k, v in settings_of(value).items()})
        return self._of_foreign(value, depth)

    def _of_foreign(self, value: Any, depth: int) -> str:
        """The name of an instance of a class that is no dataclass, with the settings that differ from its defaults."""
        name = _qualified(type(value))
        if depth == 0:  # it may refer to itself
            return name
        try:
            defaults = _kept_arguments(type(value)())
        except Exception:  # it cannot be made without settings
            defaults = {}
        texts, usual = (
            {key: self._text(own, depth - 1) for key, own in settings.items()}
            for settings in (_kept_arguments(value), defaults)
        )
        return _bracketed(name, {key: text for key, text in texts.items() if usual.get(key) != text})


def settings_of(instance: Any) -> dict[str, Any]:
    """The settings of a dataclass; none of anything else."""
    if not dataclasses.is_dataclass(instance):
        return {}
    return {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}


def _kept_arguments(instance: Any) -> dict[str, Any]:
    """What an instance was made with, as far as it tells: attributes named as the arguments of its class and its bases.

    If some argument has no such attribute, it may be kept in any other: then all attributes are given.
    """
    arguments: dict[str, None] = {}
    for kind in type(instance).__mro__:
        initialize = vars(kind).get("__init__")
        if inspect.isfunction(initialize):
            parameters = list(inspect.signature(initialize).parameters.values())[1:]
            arguments.update({p.name: None for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)})
    attributes = dict(getattr(instance, "__dict__", {}))
    # The private one first: the public one of the same name may be a state of the instance.
    kept = {name: next((a for a in (f"_{name}", name) if a in attributes), None) for name in arguments}
    found = {name: attributes[attribute] for name, attribute in kept.items() if attribute is not None}
    if len(found) < len(arguments):
        found |= {name: value for name, value in attributes.items() if name not in kept.values()}
    return found


def split(text: str) -> list[str]:
    """The names of a list that is separated by commas; those in brackets separate settings."""
    parts, depth = [""], 0
    for character in text:
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _split_head(text: str, kind: str) -> tuple[str, dict[str, str]]:
    """``a[k=v, …]`` as ``a`` and its settings, still as text."""
    head, bracket, rest = text.strip().partition("[")
    if not bracket:
        return head, {}
    if not rest.endswith("]"):
        raise ValueError(f"{kind}: {text!r} given, expected a closing bracket at its end")
    settings: dict[str, str] = {}
    for item in split(rest[:-1]):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{kind}: {text!r} given, expected SETTING=VALUE in place of {item!r}")
        settings[key.strip()] = value.strip()
    return head.strip(), settings


def _parameters(make: Callable[..., Any]) -> list[str] | None:
    """Names of the settings of what makes instances; None if it does not tell."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return list(parameters)


def _plain(text: str) -> Any:
    """A number, True, False, None, text in quotes, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _same(value: Any, other: Any) -> bool:
    """Whether two settings are equal; arrays and the like never are."""
    try:
        return bool(value == other)
    except (TypeError, ValueError):
        return False


def _bracketed(name: str, settings: Mapping[str, str]) -> str:
    return f"{name}[{', '.join(f'{key}={value}' for key, value in settings.items())}]" if settings else name


def _qualified(thing: Any) -> str:
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{module}.{name}" if module else name


#: Names of costs, and of solvers, whose setting ``cost`` has one of these.
COSTS = Names("cost")
SOLVERS = Names("solver", {"cost": COSTS})
