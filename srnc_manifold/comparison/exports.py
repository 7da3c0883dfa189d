"""Files beside a store that show what is in it. What someone else wrote, or has changed, is not overwritten."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from srnc_manifold.comparison.comparison import FILES, Comparison
from srnc_manifold.comparison.database import StoreError
from srnc_manifold.comparison.store import Store
from srnc_manifold.writing import unused_file


def export(comparison: Comparison, store: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the tables and the figure of all that is in a store, and of a comparison that was made with it.

    Parameters
    ----------
    comparison : Comparison
        Its rows are written even if the store could not keep them.
    store : path
        The files are written to its folder. A file that is not as it was written the last time, or that was not
        written by this function, is left as it is, and another name is taken.
    overwrite : bool, optional
        Whether such files may be replaced.

    Returns
    -------
    list of Path
    """
    recorded: set[str] = set()
    try:
        with Store.reading(store) as opened:
            recorded = opened.exports()
        everything = Comparison.load(store).merge(comparison)
    except (OSError, StoreError):  # the tables are written all the same
        everything = comparison

    def free(name: str) -> Path:
        wanted = store.parent / name
        return wanted if overwrite else unused_file(wanted, lambda one: _digest(one) in recorded)

    before = [store.parent / name for name in FILES]
    if _text(everything) == _content(before[0]) and all(_digest(one) in recorded for one in before):
        return before  # nothing has changed since
    saved = everything.save_as(*map(free, FILES))
    with contextlib.suppress(OSError, StoreError), Store.writing(store) as opened:  # or the next one takes other names
        opened.record_exports([_digest(path) for path in saved])
    return saved


def _text(comparison: Comparison) -> bytes:
    """What ``rows.csv`` will be."""
    text: str = comparison.rows.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _digest(path: Path) -> str:
    return hashlib.sha256(_content(path)).hexdigest() if path.is_file() else ""
