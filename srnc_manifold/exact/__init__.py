"""The explicit solution: reducing, increasing, many kernels at once, its sensitivity."""

__all__: list[str] = []  # its pieces have names of their own: srnc.solvers.Exact, srnc.solve_batch, srnc.solve_path
