"""Stable rank normalization of a dense matrix in closed form (paper, (2)-(3); docs/theory.md, proposition 17)."""

from __future__ import annotations

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.validation import require_count

# Stable ranks this close are the same up to rounding.
_SAME = 1e-12


def flattened(kernel: Array, geometry: Geometry) -> Array:
    """The kernel as a matrix with a row for each output channel, as spectral normalization layers take it."""
    return kernel.reshape(geometry.channels[0], -1)


def least_stable_rank(matrix: Array, k: int = 1) -> float:
    """Least stable rank of a matrix with the ``k`` largest singular values of this one: ``Σ_{i<=k} σ_i² / σ_1²``."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sum((values[:k] / values[0]) ** 2))


def matrix_stable_rank(matrix: Array) -> float:
    """``‖W‖_F² / ‖W‖₂²`` (paper, (1))."""
    return least_stable_rank(matrix, min(matrix.shape))


def matrix_srn(matrix: Array, stable_rank: float, k: int = 1) -> Array:
    """Nearest matrix of a given stable rank with the ``k`` largest singular values kept.

    ``X = S₁ + η S₂`` with ``S₁`` the part of the ``k`` largest singular values of ``W``, ``S₂ = W − S₁`` and ``η >= 0``
    such that ``‖X‖_F² = r σ₁²``. Sanyal, Torr, Dokania (ICLR 2020), theorem 1; paper, (3); docs/theory.md, prop. 17.

    Parameters
    ----------
    matrix : array, shape ``(m, n)``
    stable_rank : float
        ``r``, from :func:`least_stable_rank` to the matrix's own.
    k : int, optional
        Singular values to keep, 1 by default.

    Raises
    ------
    TypeError, ValueError
        If ``k`` or the target is not valid; the feasible range is told.
    """
    require_count(k=k)
    if k > min(matrix.shape):
        raise ValueError(f"k: {k} given, expected at most {min(matrix.shape)}, the singular values of the matrix")
    u, values, vh = np.linalg.svd(matrix, full_matrices=False)
    squares = (values / values[0]) ** 2
    low, own = float(np.sum(squares[:k])), float(np.sum(squares))
    if not low * (1 - _SAME) <= stable_rank <= own * (1 + _SAME):
        raise ValueError(
            f"stable_rank: {stable_rank!r} given, expected {low!r} (what the {k} largest singular values have) "
            f"<= stable_rank <= {own!r} (the matrix's own)"
        )
    rest = float(np.sum(squares[k:]))
    shrink = np.sqrt(max(0.0, stable_rank - low) / rest) if rest > 0 else 0.0
    values[k:] *= min(shrink, 1.0)
    return (u * values) @ vh
