"""The figures of the paper, of the README and of the documentation, drawn from scratch by ``srnc figures``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from srnc_manifold.comparison.profiles import KINDS
from srnc_manifold.figures import paper, profiles, readme
from srnc_manifold.figures.runs import STORE, Runs
from srnc_manifold.progress import Progress

__all__ = ["FIGURES", "STORE", "Drawn", "Figure", "draw", "named"]


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, the README or the documentation.

    Attributes
    ----------
    shows : str
        What there is to see.
    draw : callable
        Called with the path of its file and the :class:`Runs`.
    """

    shows: str
    draw: Callable[[Path, Runs], Any]


@dataclass(frozen=True)
class Drawn:
    """A figure that was written."""

    path: Path
    shows: str


_PROFILES = {
    f"{kind}.svg": Figure(profiles.SHOWS[kind], partial(profiles.profile, kind))
    for kind in KINDS
    if kind != "sensitivity"
}

#: All figures by the names of their files.
FIGURES: dict[str, Figure] = {
    "paper-figure-1.svg": Figure("the paper's Figure 1: eigenvalues of B_l, bound, DC and Nyquist", paper.figure_1),
    "paper-figure-2.svg": Figure("the paper's Figure 2: its descent on a map, beside the optimum", paper.figure_2),
    "paper-sphere.png": Figure("the same as a ball", paper.figure_2_ball),
    "paper-figure-3.svg": Figure("the paper's Figure 3: loss and stable rank of its descent", paper.figure_3),
    "paper-settling.svg": Figure("where the paper's formulation settles, by α and λ", paper.settling),
    "stable-rank.svg": Figure("README: what the stable rank is, before and after", readme.stable_rank),
    "trajectory.png": Figure("README: five methods on the paper's instance", readme.trajectory),
    **_PROFILES,
    "sensitivity.svg": Figure("log-sum-exp with other α and λ", profiles.sensitivity),
}


def named(only: str = "*") -> list[str]:
    """The names of the figures that a pattern stands for; it may leave the ending out.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = [name for name in FIGURES if fnmatchcase(name, only) or fnmatchcase(Path(name).stem, only)]
    if not found:
        raise ValueError(f"only: {only!r} given, expected a pattern of {', '.join(FIGURES)}")
    return found


def draw(
    output: Path, only: str = "*", *, progress: Progress = lambda *_: None, written: list[Drawn] | None = None
) -> list[Drawn]:
    """Draw figures into a folder, each as soon as its runs are made.

    Runs of comparisons are kept in the folder's ``figures.db``, so what was interrupted goes on where it was.

    Parameters
    ----------
    output : path
        Files of the figures' names are replaced.
    only : str, optional
        Pattern of names; all figures by default.
    progress : callable, optional
        Called with what is done, the number of figures that are done, and their total number.
    written : list, optional
        Is given each figure when it is written, so that they are known after an error, too.

    Raises
    ------
    ValueError
        If there is no figure of such a name.
    KeyboardInterrupt
        If it is interrupted.
    """
    names, done = named(only), [] if written is None else written
    output.mkdir(parents=True, exist_ok=True)
    runs = Runs(output / STORE)
    for k, name in enumerate(names):
        runs.report = partial(_report, progress, name, k, len(names))
        runs.report("")
        FIGURES[name].draw(output / name, runs)
        done.append(Drawn(output / name, FIGURES[name].shows))
    return done


def _report(progress: Progress, name: str, done: int, total: int, detail: str) -> None:
    progress(f"{name}{': ' if detail else ''}{detail}", done, total)
