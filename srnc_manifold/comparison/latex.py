"""The table of a comparison in LaTeX."""

from __future__ import annotations

from typing import Any

from srnc_manifold.comparison.report import COLUMNS, DETAILED
from srnc_manifold.printing import printable

# Rows that fit on a page; more are a table over several.
_PAGE = 40


def latex_table(summary: Any, *, details: bool = False) -> str:
    """A ``tabular``, or of many rows a ``longtable``, of the rows that have a result.

    Raises
    ------
    ImportError
        If Jinja2 is missing, by which pandas writes LaTeX.
    """
    import pandas

    columns = DETAILED if details else COLUMNS
    tried = summary[summary["runs"] > 0].to_dict("records")
    rows = [[printable(r["problem"]), *(printable(column.text(r)) for column in columns)] for r in tried]
    titles = ["problem", *(column.title.replace("\n", " ") for column in columns)]
    sides = "l" + "".join(column.side[0] for column in columns)
    try:
        # The cells are texts, so that pandas does not round a gap of 1e-9 to 0.000000.
        table: str = pandas.DataFrame(rows, columns=titles).to_latex(
            index=False, escape=True, column_format=sides, longtable=len(rows) > _PAGE
        )
    except ImportError as error:
        raise ImportError(f"to_latex: needs Jinja2: pip install 'srnc-manifold[report]' ({error})") from None
    return table
