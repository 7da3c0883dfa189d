"""Methods for the constrained problem."""
