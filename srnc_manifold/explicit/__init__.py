"""Reduce regime: the explicit global minimizer and its certificate (theory, section 3), for one kernel or a batch."""

from srnc_manifold.explicit.search import Nearest, Single, nearest, nearest_to_one

__all__ = ["Nearest", "Single", "nearest", "nearest_to_one"]
