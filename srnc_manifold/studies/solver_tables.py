"""The solvers that the file of a study names, with their settings and sweeps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from srnc_manifold.modules import names_a_file
from srnc_manifold.registry import solver_from_name
from srnc_manifold.solvers import Solver
from srnc_manifold.studies.mistakes import Mistakes
from srnc_manifold.toml_files import Place


def read(mistakes: Mistakes, at: Place, given: Any, folder: Path) -> Iterator[tuple[Place, str, Solver]]:
    """The solvers of a list of tables, with their places and labels.

    A table has a ``name``, the solver's settings, and perhaps a ``label`` for tables. A list of values is a sweep.
    """
    for place, table in mistakes.tables(at, given):
        settings = {key: value for key, value in table.items() if key not in ("name", "label")}
        label = table.get("label")
        name = table.get("name")
        if not _is_name(name):
            mistakes.add((*place, "name"), f"name: {name!r} given, expected the name of a solver, or several")
            continue
        if not _names_are_good(mistakes, place, name, settings, folder):
            continue
        with mistakes.at(place):
            texts = list(_texts({"name": name, **settings}))
            if label is not None and (not isinstance(label, str) or len(texts) > 1):
                of = f" for {len(texts)} solvers" if len(texts) > 1 else ""
                mistakes.add((*place, "label"), f"label: {label!r} given{of}, expected a text for one solver")
                continue
            for text in texts:
                solver = solver_from_name(_located(text, folder))
                yield place, label or (text if names_a_file(text) else solver.name), solver


def _names_are_good(mistakes: Mistakes, place: Place, name: Any, settings: Mapping[str, Any], folder: Path) -> bool:
    """Whether every solver of a table can be made; the settings that are to blame otherwise are taken down."""
    good = True
    for text in _texts({"name": name}):
        try:
            solver_from_name(_located(text, folder))
        except (TypeError, ValueError) as error:
            mistakes.add((*place, "name"), error)
            good = False
            continue
        for key, value in settings.items():
            try:
                for one in _texts({"name": text, key: value}):
                    solver_from_name(_located(one, folder))
            except (TypeError, ValueError) as error:
                mistakes.add((*place, key), error)
                good = False
    return good


def _is_name(given: Any) -> bool:
    names = given if isinstance(given, list) else [given]
    return bool(names) and all(isinstance(name, str) and name.strip() for name in names)


def _texts(table: Mapping[str, Any]) -> Iterator[str]:
    """The canonical names (see :mod:`srnc_manifold.naming`) of all combinations of the values of a table.

    Raises
    ------
    ValueError
        If a table in it has no name, or a list has nothing in it.
    """
    values = {key: list(_values(key, value)) for key, value in table.items()}
    for name, *chosen in itertools.product(*values.values()):
        settings = [f"{key}={value}" for key, value in zip(list(values)[1:], chosen, strict=True)]
        yield _with_settings(name, settings)


def _values(key: str, given: Any) -> Iterator[str]:
    if isinstance(given, list):
        if not given:
            raise ValueError(f"{key}: no values given, expected at least one")
        for value in given:
            yield from _values(key, value)
    elif isinstance(given, dict):
        if not _is_name(given.get("name")):
            raise ValueError(f"{key}: {given!r} given, expected a table with a name")
        yield from _texts({"name": given["name"], **{k: v for k, v in given.items() if k != "name"}})
    else:
        yield given if isinstance(given, str) else repr(given)


def _with_settings(name: str, settings: list[str]) -> str:
    """A canonical name with more settings."""
    if not settings:
        return name
    told = name.rstrip().removesuffix("]") + ", " if name.rstrip().endswith("]") else f"{name}["
    return f"{told}{', '.join(settings)}]"


def _located(text: str, folder: Path) -> str:
    """A canonical name in which Python files are in some folder."""
    return re.sub(r"[^\[\]=,:]+\.py(?=:)", lambda found: str(folder / found[0].strip()), text)
