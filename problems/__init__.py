"""Families of problems. Each module has a function ``problems()`` that yields named problems."""

__all__ = ["filters", "formulations", "hard", "networks", "paper", "pretrained", "random_kernels", "reference", "srnc"]
