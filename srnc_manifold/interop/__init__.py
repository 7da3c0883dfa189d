"""Interfaces to optimizers of other packages."""

from srnc_manifold.interop.problems import from_pymanopt, to_pymanopt

__all__ = ["from_pymanopt", "to_pymanopt"]
