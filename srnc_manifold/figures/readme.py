"""The README's pictures."""

from __future__ import annotations

from pathlib import Path

from srnc_manifold import SRNProblem, plots, solve
from srnc_manifold.figures.runs import INSTANCE, Runs


def stable_rank(path: Path, _: Runs) -> None:
    """A kernel that sharpens, before and after, with 65 % of its stable rank."""
    problem = SRNProblem([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], 32, stable_rank_fraction=0.65)
    plots.stable_ranks(problem, {"after": solve(problem)}, path=path)


def trajectory(path: Path, runs: Runs) -> None:
    """Five methods on the paper's instance, from one start."""
    plots.trajectory(runs.readme, INSTANCE, path)
