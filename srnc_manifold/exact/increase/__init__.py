"""Raise regime: the relaxation to the ball, local search, branch and bound (docs/theory.md, section 10)."""

from srnc_manifold.exact.increase.best import RaiseOutcome, Search
from srnc_manifold.exact.increase.search import raise_gain

__all__ = ["RaiseOutcome", "Search", "raise_gain"]
