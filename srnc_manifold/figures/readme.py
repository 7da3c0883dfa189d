"""The README's picture."""

from __future__ import annotations

from pathlib import Path

from srnc_manifold import plots
from srnc_manifold.figures.runs import INSTANCE, Runs


def trajectory(path: Path, runs: Runs) -> None:
    """Five methods on the paper's instance, from one start."""
    plots.trajectory(runs.readme, INSTANCE, path)
