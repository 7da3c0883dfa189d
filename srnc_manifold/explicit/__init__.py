"""Reduce regime: the explicit global minimizer and its certificate (docs/theory.md, section 4), for one kernel or a batch."""

from srnc_manifold.explicit.search import Nearest, Single, nearest, nearest_to_one

__all__ = ["Nearest", "Single", "nearest", "nearest_to_one"]
