"""Studies: comparisons that a file describes; those of this package also write what they found as a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from srnc_manifold.solvers import Budget
from srnc_manifold.studies import formulations, srnc
from srnc_manifold.studies.base import Findings, Progress, silent
from srnc_manifold.studies.definition import Study, read_study
from srnc_manifold.studies.mistakes import StudyFileError
from srnc_manifold.validation import require_choice, require_jobs, require_seeds
from srnc_manifold.writing import FilePath, require_new_folder

__all__ = ["STUDIES", "Findings", "Study", "StudyFileError", "read_study", "run"]

#: The function that runs each study.
STUDIES: dict[str, Callable[..., Findings]] = {"formulations": formulations.run, "srnc": srnc.run}

#: By their names, files in the folders of studies that go on where they were.
RESUMED = {name: f"data/{name}.db" for name in STUDIES}


def run(
    name: str,
    seeds: Iterable[int] | None = None,
    *,
    budget: Budget | None = None,
    n_jobs: int | None = 1,
    executor: Any = "joblib",
    progress: Progress = silent,
    output: FilePath | None = None,
    overwrite: bool = False,
) -> Findings:
    """Run a study.

    Parameters
    ----------
    name : str
        One of :data:`STUDIES`: ``"formulations"`` (which formulation of the problem finds the optimum) or ``"srnc"``
        (what the published method SRN-C returns, and two repairs of it).
    seeds : iterable of int, optional
        Seeds of the runs, of which the number of runs depends; by default those of the study's file.
    budget : Budget, optional
        Limits of a run, in place of those of the study's file.
    n_jobs : int, optional
        Number of processes; -1 for all cores.
    executor : ``"joblib"``, dask.distributed.Client, or str, optional
        Where the runs are made; see :func:`srnc_manifold.compare`.
    progress : callable, optional
        Called with the name of the current experiment, the number of its tasks that are done, and their total number.
    output : path, optional
        A new or empty folder, or that of the same study, which then goes on where it was. Each run is written to it
        as soon as it is done.
    overwrite : bool, optional
        Whether the folder may have files in it, which are then overwritten.

    Returns
    -------
    Findings
        Its tables, and its document.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.

    Examples
    --------
    >>> from srnc_manifold import studies
    >>> sorted(studies.STUDIES)
    ['formulations', 'srnc']
    """
    require_choice(STUDIES, study=name)
    if n_jobs is not None:
        require_jobs(n_jobs=n_jobs)
    numbers = None if seeds is None else require_seeds(seeds)
    if output is not None and not (Path(output) / RESUMED[name]).exists():
        require_new_folder(output, "output", overwrite)
    folder = None if output is None else Path(output)
    settings = {"budget": budget, "n_jobs": n_jobs, "executor": executor, "progress": progress, "output": folder}
    return STUDIES[name](numbers, **settings)
