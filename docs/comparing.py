"""Draws the figures of comparing.md again: python docs/comparing.py

A minute or two on two cores. With --store FILE the runs are kept, and an interrupted one goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import srnc_manifold as srnc

FOLDER = Path(__file__).parent / "images"
SOLVERS = (
    "exact",
    "slsqp[n_starts=1]",
    *("augmented-lagrangian", "exact-penalty", "continuation", "trust-regions:penalty"),
)
KINDS = ("performance", "data", "ecdf", "quality", "hits", "convergence", "pairs")


def problems() -> dict[str, srnc.SRNProblem]:
    """Random kernels, halfway between the least stable rank and their own."""
    rng = np.random.default_rng(0)
    layouts = {"5 taps": ((5,), 24), "3×3": ((3, 3), 8), "2×2×3": ((2, 2, 3), 8), "2×2×3×3": ((2, 2, 3, 3), 8)}
    return {name: srnc.partway(rng.standard_normal(shape), size, 0.5) for name, (shape, size) in layouts.items()}


def comparisons(store: str | None) -> None:
    """A figure of every profile, of six solvers; and of a sweep."""
    budget = srnc.Budget(max_evaluations=1500)
    comparison = srnc.compare(problems(), SOLVERS, range(10), budget=budget, store=store)
    for kind in KINDS:
        comparison.plot(FOLDER / f"{kind}.svg", kind)
    costs = srnc.sweep(srnc.costs.LogSumExp, alpha=[10, 1e3, 1e5], fidelity_weight=[1e-1, 1e-3, 1e-5, 1e-7])
    some = dict(list(problems().items())[:2])
    swept = srnc.compare(some, srnc.sweep("trust-regions", cost=costs), range(5), store=store)
    swept.plot(FOLDER / "sensitivity.svg", "sensitivity", y="violation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="a file that keeps the runs")
    FOLDER.mkdir(exist_ok=True)
    comparisons(parser.parse_args().store)


if __name__ == "__main__":
    main()
