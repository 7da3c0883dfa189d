"""The table of the layers of a network, as it is printed."""

from __future__ import annotations

import io
import math
from typing import Any

from srnc_manifold.networks.outcome import SKIPPED, Normalization, Row
from srnc_manifold.printing import printable

#: Width in characters below which the table is not squeezed: numbers that are cut off cannot be read.
WIDTH = 120

_COLUMNS = ("layer", "weight", "input", "stable rank", "target", "norm", "moved", "gap", "error", "status", "time")
_LEFT = ("layer", "weight", "input", "status")


def parts_of(normalization: Normalization) -> list[Any]:
    """What is printed, line by line, for a console of rich: the table, and what it does not say."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), collapse_padding=True)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=name != "layer", overflow="fold")
    solved = [row for row in normalization.rows if row.status != SKIPPED and row.shape]
    for row in solved:
        table.add_row(*(Text(printable(cell)) for cell in _cells(row)))
    lines = []
    if any(row.clipped for row in solved):
        lines.append("* moved, because what was asked for is not feasible")
    lines += [f"note {row.layer}: {row.note}" for row in solved if row.note]
    lines += [f"{row.status} {row.layer}: {row.message}" for row in normalization.rows if row not in solved]
    counts = f"{normalization.summary()['layers']}"
    return [*([table] if solved else []), *(Text(printable(line)) for line in (*lines, counts))]


def text_of(normalization: Normalization) -> str:
    """The same as plain text."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    for part in parts_of(normalization):
        console.print(part, soft_wrap=isinstance(part, str))
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.layer,
        "×".join(map(str, row.shape)),
        "×".join(map(str, row.input_size)) or "dense",
        f"{row.stable_rank_before:.5g} → {row.stable_rank_after:.5g}",
        f"{row.target:.5g}{'*' if row.clipped else ''}",
        f"{row.norm_before:.5g} → {row.norm_after:.5g}",
        f"{100 * row.relative_distance:.2f} %",
        _small(row.gap),
        _small(row.error),
        row.status,
        _time(row.seconds),
    )


def _small(value: float) -> str:
    """An error or a gap, of which no more than its order counts."""
    if math.isnan(value):
        return ""
    return f"{max(value, 0.0):.0e}" if value > 1e-16 else "0"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
