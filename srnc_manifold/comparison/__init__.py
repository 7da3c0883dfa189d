"""Problems × solvers × seeds: run them, keep every result, tell the truth in one table."""

from srnc_manifold.comparison import plots
from srnc_manifold.comparison.run import Comparison, compare

__all__ = ["Comparison", "compare", "plots"]
