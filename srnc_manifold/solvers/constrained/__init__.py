"""Solvers for the constrained problem, one per module."""

__all__ = [
    "augmented_lagrangian",
    "continuation",
    "exact_penalty",
    "gradient_sampling",
    "multi_start",
    "subgradient",
]
