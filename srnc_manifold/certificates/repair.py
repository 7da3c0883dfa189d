"""How stored numbers are made harmless before a bound is evaluated (docs/theory.md, section 11)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rounding error of sums of numbers of size one: hundreds of ulps, more than the error of blocked summation over
# millions of terms.
ROUNDING = 1e-13

# Larger multipliers are replaced by zeros: they could overflow, and their bounds would be useless.
HUGE = 1e100


def usable(matrices: NDArray[Any]) -> NDArray[np.bool_]:
    """Which matrices of a stack have entries that cannot overflow; shape ``(n, 1, 1)``."""
    with np.errstate(over="ignore"):
        return np.all(np.abs(matrices) < HUGE, axis=(1, 2), keepdims=True)


def positive_part(matrices: NDArray[Any]) -> NDArray[Any]:
    """Hermitian matrices without their negative eigenvalues: the nearest positive semidefinite ones."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * np.maximum(values, 0.0)[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
