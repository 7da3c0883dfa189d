"""Lower bounds on the objective. The main function is :func:`bound`."""

from srnc_manifold.bounds.base import METHODS, bound, raise_bound

__all__ = ["METHODS", "bound", "raise_bound"]
