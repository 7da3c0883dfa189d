"""What has become of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Any

from numpy.typing import NDArray

from srnc_manifold.display import Shown
from srnc_manifold.networks.report import counts, report
from srnc_manifold.networks.rows import Row
from srnc_manifold.writing import FilePath, require_new, write_table


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

    def to_csv(self, path: FilePath, *, overwrite: bool = False) -> None:
        """Write the rows, all digits and all columns, as a file.

        Raises
        ------
        ValueError, OSError
            If the file exists, unless ``overwrite``, or cannot be written.
        """
        require_new(path, "path", overwrite)
        write_table(path, self.to_frame())

    def summary(self) -> dict[str, str]:
        errors = [row.error for row in self.rows if not math.isnan(row.error)]
        return {"layers": counts(self.rows)} | ({"largest error": f"{max(errors):.1e}"} if errors else {})

    def __str__(self) -> str:
        return report(self.rows)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
