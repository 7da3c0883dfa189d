"""Reduce regime: the global minimizer and its certificate (docs/theory.md, sections 4 to 8), for one kernel or many."""

from srnc_manifold.exact.reduce import general
from srnc_manifold.exact.reduce.effort import Effort
from srnc_manifold.exact.reduce.nearest import bytes_per_kernel, many, nearest_to_one
from srnc_manifold.exact.reduce.points import Nearest, Single
from srnc_manifold.exact.reduce.search import CLOSING

__all__ = ["CLOSING", "Effort", "Nearest", "Single", "bytes_per_kernel", "general", "many", "nearest_to_one"]
