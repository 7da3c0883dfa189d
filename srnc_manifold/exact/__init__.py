"""The explicit solution: reducing, increasing, many kernels at once, its sensitivity."""
