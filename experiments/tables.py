"""Methods of a configuration, in words and in the tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas
from intervals import CONFIDENCE, difference

from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.plots.styles import MARKERS, PALETTE


def expanded(tables: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One method for each combination of the values in a table."""
    for table in tables:
        values = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
        for combination in product(*values.values()):
            yield dict(zip(values, combination, strict=True))


#: Of the tested weights against what was asked, relatively.
TOLERANCE = 1e-3

#: Methods that ask for what the weights are to have.
OURS = ("sn", "srn", "fraction")


def targets(rows: Any) -> str:
    """How the numbers are to be read, and the largest errors of ours against what was asked."""
    ours = _ours(rows)
    norm, rank = (_largest(ours, kind).max() for kind in ("norm_error", "stable_rank_error"))
    return (
        f"Means over the seeds with {CONFIDENCE:.0%} intervals (Student's t). In {len(ours)} runs of ours the norm of "
        f"the tested weights is within {norm:.0e} of what was asked, and the stable rank above what was allowed by at "
        f"most {max(0.0, rank):.0e}, relatively."
    )


def missed(rows: Any) -> list[str]:
    """The runs of ours that have not what was asked, to a tolerance."""
    ours = _ours(rows)
    errors = pandas.concat([_largest(ours, kind) for kind in ("norm_error", "stable_rank_error")], axis=1)
    return [
        f"{row['label']}, seed {row['seed']}: the targets are missed by {list(own)}"
        for row, own in zip(ours.to_dict("records"), errors.to_numpy(), strict=True)
        if np.nanmax(own) > TOLERANCE
    ]


def _ours(rows: Any) -> Any:
    return rows[[method["method"] in OURS for method in rows["method"]]]


def _largest(rows: Any, kind: str) -> Any:
    """The largest error of a kind in each run: of all layers, of all weights that were tested."""
    return rows[[name for name in rows if name.startswith(kind)]].max(axis=1)


#: Of which method each is to be compared with which others, that have the same norm and rank as far as they have these.
_AGAINST = {
    "srn": ("sn", "frobenius", "srn-c"),
    "sn": ("none", "sn-flattened"),
    "fraction": ("none",),
}


def comparisons(methods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Pairs of methods to be compared: a method, and what it is compared with."""
    for one in methods:
        for kind in _AGAINST.get(one["method"], ()):
            for other in methods:
                shared = [name for name in ("norm", "rank") if name in one and name in other]
                if other["method"] == kind and all(one[name] == other[name] for name in shared):
                    yield one, other


def compared(rows: Any, values: Mapping[str, tuple[str, int]]) -> str:
    """A table of paired differences over the seeds, means with intervals: a column for each value, with its digits."""
    methods: list[Any] = []
    for method in rows["method"]:
        if method not in methods:
            methods.append(method)
    lines = []
    for one, other in comparisons(methods):
        sides = [rows[[m == method for m in rows["method"]]].set_index("seed") for method in (one, other)]
        cells = [
            difference(sides[0][column] - sides[1][column], digits) if column in rows else ""
            for column, digits in values.values()
        ]
        lines.append([f"{label(one)} − {label(other)}", *cells])
    return markdown_table(["difference", *values], lines, left=(0,))


#: Kinds of methods, in words.
KINDS = {
    "none": "none",
    "sn-flattened": "SN, flattened",
    "sn": "SN",
    "srn": "SRN",
    "frobenius": "Frobenius of SRN",
    "fraction": "problem (7)",
    "srn-c": "SRN-C",
}


def by_kind(rows: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """How each kind of method is marked in a figure, the same in all panels, and its rows."""
    for mark, colour, (kind, words) in zip(MARKERS, PALETTE, KINDS.items(), strict=False):
        own = rows[[method["method"] == kind for method in rows["method"]]]
        if len(own):
            style = {"marker": mark, "color": colour, "linestyle": "", "markersize": 4.5, "alpha": 0.8}
            yield {"label": words, **style}, own


def label(method: str | Mapping[str, Any]) -> str:
    """A method in words, short."""
    if isinstance(method, str):
        return method
    values = [f"{method[name]:g}" for name in ("norm", "rank", "fraction") if name in method]
    return f"{KINDS[method['method']]} {', '.join(values)}".strip()
