"""Stable rank normalization of a dense matrix in closed form (paper, (2)-(3); docs/theory.md, proposition 17)."""

from __future__ import annotations

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.validation import require_count

# Stable ranks with a relative difference below this are equal up to rounding.
_SAME = 1e-12


def flattened(kernel: Array, geometry: Geometry) -> Array:
    """The kernel as a matrix with one row for each output channel, as spectral normalization layers use it."""
    return kernel.reshape(geometry.channels[0], -1)


def least_stable_rank(matrix: Array, k: int = 1) -> float:
    """Least stable rank of a matrix with the same ``k`` largest singular values: ``Σ_{i<=k} σ_i² / σ_1²``."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sum((values[:k] / values[0]) ** 2))


def matrix_stable_rank(matrix: Array) -> float:
    """``‖W‖_F² / ‖W‖₂²`` (paper, (1))."""
    return least_stable_rank(matrix, min(matrix.shape))


def matrix_srn(matrix: Array, stable_rank: float, k: int = 1) -> Array:
    """Nearest matrix with a given stable rank and the same ``k`` largest singular values.

    It is ``X = S₁ + η S₂``, where ``S₁`` is the part of ``W`` that belongs to the ``k`` largest singular values,
    ``S₂ = W − S₁``, and ``η >= 0`` is such that ``‖X‖_F² = r σ₁²``. Source: Sanyal, Torr, Dokania (ICLR 2020),
    theorem 1; paper, (3); docs/theory.md, prop. 17.

    Parameters
    ----------
    matrix : array, shape ``(m, n)``
    stable_rank : float
        ``r``, between :func:`least_stable_rank` and the stable rank of the matrix.
    k : int, optional
        Number of singular values to keep, by default 1.

    Raises
    ------
    TypeError, ValueError
        If ``k`` or the target is not valid. The message gives the feasible range.
    """
    require_count(k=k)
    if k > min(matrix.shape):
        raise ValueError(f"k: {k} given, expected at most {min(matrix.shape)}, the number of singular values")
    u, values, vh = np.linalg.svd(matrix, full_matrices=False)
    squares = (values / values[0]) ** 2
    low, own = float(np.sum(squares[:k])), float(np.sum(squares))
    if not low * (1 - _SAME) <= stable_rank <= own * (1 + _SAME):
        raise ValueError(
            f"stable_rank: {stable_rank!r} given, expected {low!r} (from the {k} largest singular values) "
            f"<= stable_rank <= {own!r} (the stable rank of the matrix)"
        )
    rest = float(np.sum(squares[k:]))
    shrink = np.sqrt(max(0.0, stable_rank - low) / rest) if rest > 0 else 0.0
    values[k:] *= min(shrink, 1.0)
    return (u * values) @ vh
