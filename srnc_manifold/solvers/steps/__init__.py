"""Parts that several solvers share: a line search and a quasi-Newton method."""

__all__ = ["line_search", "quasi_newton"]
