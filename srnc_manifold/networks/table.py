"""The table of layers in TOML: what a file of weights does not tell of them, in PyTorch's words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from srnc_manifold.operators.layers import Layer
from srnc_manifold.operators.padding import MODES
from srnc_manifold.printing import printable
from srnc_manifold.toml_files import read_toml

#: Of the form of the tables.
SCHEMA = 1

#: What stands for a value that is to be filled in.
UNKNOWN = "?"

_NUMBERS = "an integer or a list of them"
_KEYS = {
    "input_size": f"{_NUMBERS}, or 'dense'",
    "stride": _NUMBERS,
    "padding": f"{_NUMBERS}, 'same' or 'valid'",
    "padding_mode": f"one of {', '.join(MODES)}",
    "groups": "an integer",
    "dilation": _NUMBERS,
    "transposed": "true or false",
    "output_padding": _NUMBERS,
}
_SKIP = "skip"


@dataclass(frozen=True)
class LayerTable:
    """What a table says.

    Attributes
    ----------
    defaults : dict
        What holds for layers that do not say otherwise.
    entries : dict of dict
        By the name of a layer or a pattern, such as ``"features.*.weight"``.
    """

    defaults: Mapping[str, Any]
    entries: Mapping[str, Mapping[str, Any]]

    def matched(self, names: Iterable[str], file: str) -> dict[str, str]:
        """The entry of each array that has one. That of its own name counts more than a pattern.

        Raises
        ------
        ValueError
            If an entry has no array, or an array has several patterns.
        """
        names = list(names)
        found: dict[str, str] = {}
        for name in names:
            patterns = [key for key in self.entries if fnmatchcase(name, key)]
            if name not in self.entries and len(patterns) > 1:
                raise _error(name, f"fits {' and '.join(map(repr, patterns))}, expected one entry for it")
            if name in self.entries or patterns:
                found[name] = name if name in self.entries else patterns[0]
        for key in self.entries:
            if key not in names and not any(fnmatchcase(name, key) for name in names):
                raise ValueError(f"layers: {key!r} given, which is no array of {file!r} and fits the name of none")
        return found

    def words(self, name: str) -> tuple[Any, Layer] | None:
        """Input size and words of the layers of an entry; None if they are to be left alone.

        Raises
        ------
        ValueError
            If something is missing.
        """
        own = dict(self.entries[name])
        if own.pop(_SKIP, False):
            return None
        given = {**self.defaults, **own}
        for key, value in given.items():
            if value == UNKNOWN and (key == "input_size" or not _is_dense(given)):
                raise _error(name, f"{key} is still {UNKNOWN!r}, expected {_KEYS[key]}")
        size = given.pop("input_size", None)
        if size is None:
            raise _error(name, f"input_size missing, expected {_KEYS['input_size']}")
        if _is_dense({"input_size": size}):
            if len(own) > ("input_size" in own):
                more = next(key for key in own if key != "input_size")
                raise _error(name, f"{more} given for a dense layer, which has none")
            return (), {}
        if given.get("padding_mode") != "circular" and "padding" not in given:
            raise _error(name, f"padding missing, expected {_KEYS['padding']}, or padding_mode = 'circular'")
        if "padding_mode" not in given and not _pads_nothing(given):
            raise _error(name, f"padding_mode missing, expected {_KEYS['padding_mode']}")
        return _plain(size), {"padding_mode": "zeros", **{k: _plain(v) for k, v in given.items()}}  # type: ignore[typeddict-item]


def read_table(path: str | os.PathLike[str]) -> LayerTable:
    """Read a table of layers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such table.
    """
    document = read_toml(path, "layers", SCHEMA)
    file, data = document.path, document.data
    defaults, entries = data.pop("defaults", {}), data.pop("layers", {})
    if data:
        raise ValueError(f"layers: {next(iter(data))!r} is unknown in {file!r}, expected defaults and layers")
    for name, part in (("defaults", defaults), ("layers", entries)):
        if not isinstance(part, dict):
            raise ValueError(f"layers: {name} is {part!r} in {file!r}, expected a table")
    if not entries:
        raise ValueError(f'layers: {file!r} has no layers, expected tables such as [layers."conv1.weight"]')
    for key, entry in {"defaults": defaults, **entries}.items():
        _require_entry(key, entry, key != "defaults" or entry is not defaults)
    return LayerTable(defaults, entries)


def _require_entry(name: str, entry: Any, is_layer: bool) -> None:
    if not isinstance(entry, dict):
        raise _error(name, f"{entry!r} given, expected a table")
    for key, value in entry.items():
        if key == _SKIP and is_layer:
            if type(value) is not bool:
                raise _error(name, f"{key} is {value!r}, expected true or false")
        elif key not in _KEYS:
            known = ", ".join((*_KEYS, _SKIP) if is_layer else _KEYS)
            raise _error(name, f"{key!r} is unknown, expected some of {known}")
        elif value != UNKNOWN and not _fits(key, value):
            raise _error(name, f"{key} is {value!r}, expected {_KEYS[key]}")


def _fits(key: str, value: Any) -> bool:
    """Whether a value is of the type of a key."""
    if key == "transposed":
        return type(value) is bool
    if isinstance(value, str):
        words = {"input_size": ("dense",), "padding": ("same", "valid"), "padding_mode": MODES}
        return value in words.get(key, ())
    numbers = value if isinstance(value, list) and key != "groups" else [value]
    return key != "padding_mode" and all(type(number) is int for number in numbers)


def _is_dense(given: Mapping[str, Any]) -> bool:
    return given.get("input_size") in ("dense", [])


def _pads_nothing(given: Mapping[str, Any]) -> bool:
    padding = given["padding"]
    return padding == "valid" or not any(padding if isinstance(padding, list) else [padding])


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _error(name: str, text: str) -> ValueError:
    return ValueError(f"layers: {name!r}: {text}")


# -- writing ----------------------------------------------------------------------------------------------------

_SIZES = {3: "length", 4: "[height, width]", 5: "[depth, height, width]"}


def first_table(
    file: str,
    shapes: Mapping[str, tuple[int, ...]],
    notes: Mapping[str, str],
    input_size: Any = UNKNOWN,
    words: Mapping[str, Any] | None = None,
) -> str:
    """The text of a table for the layers of a file, with question marks for what is to be filled in.

    Parameters
    ----------
    file : str
    shapes : dict of tuple of int
        Of the weights, by the names of their layers.
    notes : dict of str
        What is worth telling of a layer.
    input_size : optional
        Of all layers with more than two axes, if it is known.
    words : dict, optional
        What all of them are assumed to be, if it is known.
    """
    known = {"stride": UNKNOWN, "padding": UNKNOWN, "padding_mode": UNKNOWN} | _ORDINARY | dict(words or {})
    given = {key: value for key, value in known.items() if value is not None}
    lines = [
        f"# Layers of {printable(file)}: what their weights do not tell, in PyTorch's words and meanings.",
        f"# Fill in every {UNKNOWN!r} and check the rest: a file of weights has no strides, groups or sizes.",
        '# A name may be a pattern: [layers."features.*.weight"]. Layers without an entry are left alone, and those',
        "# with skip = true.",
        f"schema = {SCHEMA}",
        "",
        "# What holds for every layer with an input_size that does not say otherwise in its own entry.",
        "[defaults]",
        *(f"{f'{key} = {_toml(value)}':27} # {_KEYS[key]}" for key, value in given.items()),
    ]
    for name, shape in shapes.items():
        lines += ["", f"[layers.{_toml(name)}]  # weight of shape {'×'.join(map(str, shape))}"]
        if name in notes:
            lines.append(f"# {printable(notes[name])}")
        size = "dense" if len(shape) == 2 else input_size
        lines.append(f"input_size = {_toml(size)}" + (f"  # {_SIZES[len(shape)]}" if len(shape) in _SIZES else ""))
    return "\n".join([*lines, ""])


# What layers mostly are, in the order in which it is written.
_ORDINARY = {"groups": 1, "dilation": 1, "transposed": False, "output_padding": 0}


def _toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
