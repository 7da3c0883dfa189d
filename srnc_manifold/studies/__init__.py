"""Studies: comparisons that a file describes; those of this package also write what they found as a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

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
    n_jobs: int = 1,
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
        Seeds of the runs. The number of runs is proportional to their number.
    budget : Budget, optional
        Limits of a run.
    n_jobs : int, optional
        Number of processes; -1 for all cores.
    progress : callable, optional
        Called with the name of the current experiment, the number of its tasks that are done, and their total number.
    output : path, optional
        A new or empty folder, or that of the same study, which then goes on where it was. Runs, or rows, are written
        to it during the study, so that an error does not lose them.
    overwrite : bool, optional
        Whether the folder may have files in it, which are then overwritten.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.
    """
    require_choice(STUDIES, study=name)
    require_jobs(n_jobs=n_jobs)
    settings = {} if seeds is None else {"seeds": require_seeds(seeds)}
    if output is not None and not (Path(output) / RESUMED[name]).exists():
        require_new_folder(output, "output", overwrite)
    folder = None if output is None else Path(output)
    return STUDIES[name](**settings, budget=budget, n_jobs=n_jobs, progress=progress, output=folder)
