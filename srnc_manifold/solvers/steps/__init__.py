"""Parts that several solvers share: a line search, a quasi-Newton method, and top singular pairs of convolutions."""

__all__ = ["line_search", "quasi_newton", "top_pairs"]
