"""What has become of the layers of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Any

from numpy.typing import NDArray

from srnc_manifold.display import Shown
from srnc_manifold.printing import printable

#: How a layer ended; see :class:`Row`.
OPTIMAL, FOUND, LIMIT, UNCHANGED, TIED, SKIPPED = "optimal", "best found", "limit", "unchanged", "tied", "skipped"


@dataclass(frozen=True)
class Row:
    """What has become of one layer. Numbers are NaN where there are none.

    Attributes
    ----------
    layer : str
    status : str
        ``"optimal"``: no weight of the target is nearer, up to 1e-8 of ``‖C(a)‖²``. ``"best found"``: none that was
        found is, and ``gap`` bounds by how much one could be. ``"limit"``: time was up, otherwise as before.
        ``"unchanged"``: the layer is at its target, or below it. ``"tied"``: its weight is that of another row.
        ``"skipped"``: it is left as it was, for the reason in ``message``.
    shape, input_size : tuple of int
    stable_rank_before, target, stable_rank_after : float
    clipped : bool
        Whether the target was moved to the nearest that is feasible.
    norm_before, norm_after : float
        Spectral norms.
    relative_distance : float
        ``‖C(x) − C(a)‖_F / ‖C(a)‖_F``.
    gap : float
        To a proved lower bound on the squared distance, as a part of ``‖C(a)‖_F²``.
    error : float
        The larger relative error of norm and stable rank, of the weight in the precision in which it is kept.
    seconds : float
    message : str
        How its solver ended, or why it is as it was.
    note : str
        What else is worth telling.
    """

    layer: str
    status: str
    message: str = ""
    shape: tuple[int, ...] = ()
    input_size: tuple[int, ...] = ()
    stable_rank_before: float = math.nan
    target: float = math.nan
    stable_rank_after: float = math.nan
    clipped: bool = False
    norm_before: float = math.nan
    norm_after: float = math.nan
    relative_distance: float = math.nan
    gap: float = math.nan
    error: float = math.nan
    seconds: float = math.nan
    note: str = ""


@dataclass(frozen=True, repr=False, eq=False)
class Normalization(Shown):
    """What has become of the layers of a network. It is shown as a table; :meth:`to_frame` has all columns.

    Attributes
    ----------
    rows : tuple of Row
    weights : dict of arrays
        The weights that have changed, by the names of their layers.
    """

    rows: tuple[Row, ...]
    weights: Mapping[str, NDArray[Any]]

    def __getitem__(self, layer: str) -> Row:
        """The row of a layer."""
        return {row.layer: row for row in self.rows}[layer]

    def and_then(self, *rows: Row) -> Normalization:
        """The same with more rows, which change nothing."""
        return replace(self, rows=(*self.rows, *rows))

    def to_frame(self) -> Any:
        """A row for each layer as a pandas DataFrame; see :class:`Row` for its columns."""
        import pandas

        return pandas.DataFrame([asdict(row) for row in self.rows], columns=list(Row.__dataclass_fields__))

    def summary(self) -> dict[str, str]:
        counts = {status: [row.status for row in self.rows].count(status) for status in _STATUSES}
        errors = [row.error for row in self.rows if not math.isnan(row.error)]
        found = {"layers": ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"}
        return found | ({"largest error": f"{max(errors):.1e}"} if errors else {})

    def __str__(self) -> str:
        from srnc_manifold.networks.report import text_of

        return text_of(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


_STATUSES = (OPTIMAL, FOUND, LIMIT, UNCHANGED, TIED, SKIPPED)


def skipped(layer: str, reason: str) -> Row:
    """The row of a layer that is left as it was."""
    return Row(printable(layer), SKIPPED, reason)
