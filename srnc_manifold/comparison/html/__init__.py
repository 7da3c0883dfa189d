"""Reports: a comparison as one HTML file that explains itself."""

from __future__ import annotations

import os
from pathlib import Path

from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.html.page import page, require_libraries
from srnc_manifold.progress import Progress
from srnc_manifold.writing import replacing, require_new

__all__ = ["report"]


def report(
    comparison: Comparison | str | os.PathLike[str],
    path: str | os.PathLike[str] = "report.html",
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a comparison as one HTML file, which fetches nothing from elsewhere.

    It says in words who wins, by how much, what is proved and what failed; then come tables that sort and filter,
    interactive figures, a section for each problem with its kernel, its singular values before and after, and
    convergence, and what is needed to repeat it. Of more than twenty problems only the hardest twelve have a section.

    Parameters
    ----------
    comparison : Comparison, or path of a store
    path : path, optional
    overwrite : bool, optional
        Whether the file may exist, and is then replaced.
    progress : callable, optional
        Called with what is done now, how many figures and sections are done, and how many there are.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    ImportError
        If a library is missing: ``pip install 'srnc-manifold[report]'``.
    TypeError, ValueError
        If the comparison is none, the store cannot be used, or the file exists or cannot be written.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> path = srnc.report(comparison, "report.html")
    >>> path.name
    'report.html'
    """
    if not isinstance(comparison, Comparison | str | os.PathLike):
        raise TypeError(f"comparison: {type(comparison).__name__} given, expected a Comparison, or the path of a store")
    if progress is not None and not callable(progress):
        raise TypeError(f"progress: {progress!r} given, expected a function")
    require_libraries()
    if not isinstance(comparison, Comparison):
        comparison = Comparison.load(comparison)
    require_new(path, "path", overwrite)
    from srnc_manifold import __version__

    with replacing(path, text=True) as file:
        file.writelines(page(comparison, __version__, progress))
    return Path(path)
