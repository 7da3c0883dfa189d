"""Lower bounds on the objective, and the way into them, :func:`bound`."""

from srnc_manifold.bounds.base import METHODS, bound, raise_bound

__all__ = ["METHODS", "bound", "raise_bound"]
