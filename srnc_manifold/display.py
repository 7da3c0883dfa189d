"""How results are shown and compared: short texts, tables for notebooks, equality of dataclasses that hold arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

import numpy as np

from srnc_manifold.printing import printable


class Shown:
    """A dataclass with arrays in it. It is shown by its :meth:`summary`, and equal to another with the same fields."""

    def summary(self) -> dict[str, str]:
        """What is worth knowing about it, in words, by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        text = f"{type(self).__name__}({', '.join(f'{name}: {text}' for name, text in self.summary().items())})"
        return printable(text)  # names are data: no control character of theirs reaches a terminal

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th style='text-align: left'>{escape(name)}</th>"
            f"<td style='text-align: left'>{escape(printable(text))}</td></tr>"
            for name, text in self.summary().items()
        )
        return f"<b>{type(self).__name__}</b><table>{''.join(rows)}</table>"

    def __eq__(self, other: object) -> bool:
        return same(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: arrays and numbers bit for bit (NaN is NaN), containers by their parts."""
    if hasattr(one, "detach") and hasattr(other, "detach"):
        one, other = one.detach().cpu().numpy(), other.detach().cpu().numpy()
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        inexact = one.dtype.kind in "fc" and other.dtype.kind in "fc"
        return one.dtype == other.dtype and bool(np.array_equal(one, other, equal_nan=inexact))
    if hasattr(one, "equals") and type(one) is type(other):  # tables of pandas
        return bool(one.equals(other))
    if is_dataclass(one) and type(one) is type(other):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def text_table(columns: Mapping[str, Sequence[str]], left: Collection[str] = ()) -> str:
    """A table as plain text, each column as wide as it must be. Those in ``left`` are aligned to the left."""

    def aligned(name: str, cells: Sequence[str]) -> list[str]:
        shown = [printable(cell) for cell in (name, *cells)]
        width = max(map(len, shown))
        return [cell.ljust(width) if name in left else cell.rjust(width) for cell in shown]

    rows = zip(*(aligned(name, cells) for name, cells in columns.items()), strict=True)
    return "\n".join("  ".join(row).rstrip() for row in rows)


def short(text: str, length: int = 120) -> str:
    """The first line of a text, cut to a length."""
    line = (text.splitlines() or [""])[0]
    return line if len(line) <= length else line[: length - 1] + "…"
