"""Methods of a configuration, in words and in the tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any


def expanded(tables: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One method for each combination of the values in a table."""
    for table in tables:
        values = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
        for combination in product(*values.values()):
            yield dict(zip(values, combination, strict=True))


def label(method: str | Mapping[str, Any]) -> str:
    """A method in words, short."""
    if isinstance(method, str):
        return method
    kind = {"none": "none", "sn-flattened": "SN, flattened", "sn": "SN", "srn": "SRN", "fraction": "problem (7)",
            "frobenius": "Frobenius of SRN", "srn-c": "SRN-C"}[method["method"]]  # fmt: skip
    values = [f"{method[name]:g}" for name in ("norm", "rank", "fraction") if name in method]
    return f"{kind} {', '.join(values)}".strip()
