"""Comparisons: run solvers on problems with several seeds, keep every result, and summarize them in one table."""

from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.ranking import Ranking, rank
from srnc_manifold.comparison.run import compare
from srnc_manifold.comparison.sweeping import sweep

__all__ = ["Comparison", "Ranking", "compare", "rank", "sweep"]
