"""Families of problems. Each module has a function ``problems()`` that yields named problems."""

__all__ = ["filters", "paper", "pretrained", "random_kernels"]
