"""Problems × solvers × seeds: run them, keep every result, tell the truth in one table."""

from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.run import compare

__all__ = ["Comparison", "compare"]
