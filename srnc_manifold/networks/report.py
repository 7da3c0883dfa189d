"""The table of the layers of a network, as it is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from srnc_manifold.display import text_table
from srnc_manifold.networks.rows import SKIPPED, TIED, Row
from srnc_manifold.printing import printable

_LEFT = ("layer", "weight", "input", "status")


def report(rows: Sequence[Row]) -> str:
    """The rows as a text: a table, and below it what it does not say."""
    shown = [row for row in rows if row.status not in (TIED, SKIPPED)]
    others = [row for row in rows if row.status in (TIED, SKIPPED)]
    cells = [_cells(row) for row in shown]
    lines = [text_table({name: [row[name] for row in cells] for name in cells[0]}, _LEFT)] if cells else []
    if any(row.clipped for row in shown):
        lines.append("* moved, because what was asked for is not feasible")
    lines += [printable(f"note {row.layer}: {row.note}") for row in shown if row.note]
    lines += [printable(f"{row.status} {row.layer}: {row.message}") for row in others]
    return "\n".join([*lines, f"layers: {counts(rows)}"])


def counts(rows: Sequence[Row]) -> str:
    """How many rows have which status."""
    statuses = [row.status for row in rows]
    return ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)) or "none"


def _cells(row: Row) -> dict[str, str]:
    return {
        "layer": row.layer,
        "weight": "×".join(map(str, row.shape)),
        "input": "×".join(map(str, row.input_size)) or "dense",
        "stable rank": f"{row.stable_rank_before:.5g} → {row.stable_rank_after:.5g}",
        "target": f"{row.target:.5g}{'*' if row.clipped else ' '}",
        "norm": f"{row.norm_before:.5g} → {row.norm_after:.5g}",
        "moved": f"{100 * row.relative_distance:.2f} %",
        "gap": _small(row.gap),
        "error": _small(row.error),
        "status": row.status,
        "time": f"{row.seconds:.1f} s" if row.seconds < 100 else f"{row.seconds / 60:.1f} min",
    }


def _small(value: float) -> str:
    """An error or a gap, of which no more than its order counts."""
    if math.isnan(value):
        return ""
    return f"{value:.0e}" if value > 1e-16 else "0"
