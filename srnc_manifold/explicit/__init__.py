"""Reduce regime: the global minimizer and its certificate (docs/theory.md, sections 4 to 8), for one kernel or many."""

from srnc_manifold.explicit.search import Nearest, Single, nearest, nearest_to_one

__all__ = ["Nearest", "Single", "nearest", "nearest_to_one"]
