"""The problems that the file of a study names: of families, of saved problems, of weights, of kernels in the file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from srnc_manifold.files import read_arrays
from srnc_manifold.operators.layers import DEFAULTS
from srnc_manifold.problem import SRNProblem, load_problem
from srnc_manifold.problem.families import FAMILIES, Entry, NamedProblem, load_family
from srnc_manifold.studies.mistakes import Mistakes
from srnc_manifold.toml_files import Place

_TARGETS = ("stable_rank", "relative_stable_rank", "stable_rank_fraction")
_LAYER = ("input_size", *DEFAULTS, *_TARGETS, "clip")

#: The keys of each kind of table. The first one says which it is.
_KINDS: dict[str, tuple[str, ...]] = {
    "family": ("only",),
    "file": ("name",),
    "weights": ("arrays", "index", *_LAYER),
    "kernel": ("name", *_LAYER),
}

Found = Iterator[tuple[str, Entry]]


class Sources:
    """Where problems are taken from: the folder of the file, and families, each of which is read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.family = functools.cache(load_family)


def read(mistakes: Mistakes, at: Place, given: Any, sources: Sources) -> Iterator[tuple[Place, str, Entry]]:
    """The problems of a list of tables, with their places and names."""
    for place, table in mistakes.tables(at, given):
        kinds = [kind for kind in _KINDS if kind in table]
        if len(kinds) != 1:
            told = f"{' and '.join(kinds)} given" if kinds else "none given"
            mistakes.add((*place, kinds[1]) if kinds else place, f"{told}, expected one of {', '.join(_KINDS)}")
            continue
        if not mistakes.require_keys(place, table, (*kinds, *_KINDS[kinds[0]])):
            continue
        with mistakes.at(place, table):
            for name, entry in _READERS[kinds[0]](table, sources):
                yield place, name, entry


def _text(table: Mapping[str, Any], key: str, default: str | None = None) -> str:
    given = table.get(key, default)
    if not isinstance(given, str) or not given:
        raise ValueError(f"{key}: {given!r} given, expected a text")
    return given


def _family(table: Mapping[str, Any], sources: Sources) -> Found:
    name = _text(table, "family")
    if name not in FAMILIES and not name.endswith(".py"):
        raise ValueError(f"family: {name!r} given, expected one of {', '.join(FAMILIES)}, or a .py file")
    try:
        entries = sources.family(name if name in FAMILIES else sources.folder / name)
    except ValueError as error:
        raise ValueError(f"family: {error}") from error
    for chosen in _chosen("only", table.get("only", "*"), {entry.name: entry for entry in entries}).values():
        yield chosen.name, chosen


def _file(table: Mapping[str, Any], sources: Sources) -> Found:
    path = sources.folder / _text(table, "file")
    name = _text(table, "name", path.stem)
    try:
        problem = load_problem(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"file: {error}") from error
    yield name, NamedProblem(name, problem)


def _weights(table: Mapping[str, Any], sources: Sources) -> Found:
    try:
        arrays = read_arrays(sources.folder / _text(table, "weights"))
    except (ValueError, OSError) as error:
        raise ValueError(f"weights: {error}") from error
    if "arrays" not in table:
        raise ValueError(f"weights: no arrays given, expected names or patterns of some of {', '.join(arrays)}")
    index = table.get("index", [])
    if not isinstance(index, list) or not all(type(k) is int for k in index):
        raise ValueError(f"index: {index!r} given, expected a list of integers")
    for name, array in _chosen("arrays", table["arrays"], arrays).items():
        try:
            kernel = array[tuple(index)]
        except IndexError:
            raise ValueError(f"index: {index!r} given for {name!r} of shape {array.shape}") from None
        yield from _layer(table, kernel, f"{name}{index or ''}")


def _kernel(table: Mapping[str, Any], _: Sources) -> Found:
    yield from _layer(table, table["kernel"], _text(table, "name", "kernel"))


def _layer(table: Mapping[str, Any], kernel: Any, name: str) -> Found:
    """A problem for each target."""
    if "input_size" not in table:
        raise ValueError("input_size: none given, expected an integer, a list of them, or 'dense'")
    targets = [key for key in _TARGETS if key in table]
    if len(targets) != 1:
        raise ValueError(f"{targets[1] if targets else 'target'}: {len(targets)} targets given, expected one of "
                         f"{', '.join(_TARGETS)}")  # fmt: skip
    words = {key: _plain(value) for key, value in table.items() if key in _LAYER and key not in _TARGETS}
    if words["input_size"] == "dense":
        words["input_size"] = ()
    (key,), values = targets, table[targets[0]]
    for value in values if isinstance(values, list) else [values]:
        own = f"{name}, {key}={value}" if isinstance(values, list) else name
        yield own, NamedProblem(own, SRNProblem(kernel, **words, **{key: value}))


def _chosen(argument: str, patterns: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """Those whose name is, or fits, one of the patterns.

    Raises
    ------
    ValueError
        If a pattern fits none.
    """
    wanted = patterns if isinstance(patterns, list) else [patterns]
    for pattern in wanted:
        if not isinstance(pattern, str):
            raise ValueError(f"{argument}: {pattern!r} given, expected names or patterns")
        if pattern not in named and not any(fnmatchcase(name, pattern) for name in named):
            raise ValueError(f"{argument}: {pattern!r} given, which fits none of {', '.join(named)}")
    fits = {name for name in named if any(name == pattern or fnmatchcase(name, pattern) for pattern in wanted)}
    return {name: one for name, one in named.items() if name in fits}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_READERS: dict[str, Callable[[Mapping[str, Any], Sources], Found]] = {
    "family": _family,
    "file": _file,
    "weights": _weights,
    "kernel": _kernel,
}
