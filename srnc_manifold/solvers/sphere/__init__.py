"""Solvers that minimize a smooth function on a product of spheres, one per module."""

__all__ = ["atom_search", "gradient_descent", "riemannian", "riemannian_lbfgs"]
