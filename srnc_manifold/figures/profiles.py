"""The figures of the guide to comparisons: one of each kind of profile."""

from __future__ import annotations

from pathlib import Path

from srnc_manifold.figures.runs import Runs

#: What there is to see in each kind.
SHOWS = {
    "performance": "who hits with the fewest evaluations",
    "data": "the same over evaluations per variable",
    "ecdf": "targets reached over evaluations",
    "quality": "how near runs end to the proved bound",
    "hits": "hit rates per start, with intervals",
    "convergence": "gaps over evaluations, median and quartiles",
    "pairs": "wins of each solver over each other one",
}


def profile(kind: str, path: Path, runs: Runs) -> None:
    """A profile of six solvers on four kernels."""
    runs.comparison.plot(path, kind)


def sensitivity(path: Path, runs: Runs) -> None:
    """What the parameters of log-sum-exp do to the violation."""
    runs.sweep.plot(path, "sensitivity", y="violation")
