"""Interfaces to optimizers of other packages."""

__all__ = ["pymanopt"]
