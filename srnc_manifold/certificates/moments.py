"""Sums of squares of degree four: the dual points of the moment relaxation (docs/theory.md, proposition 15a)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import regions
from srnc_manifold.certificates.quartics import Quartics, quartics
from srnc_manifold.certificates.repair import ROUNDING, positive_part, usable
from srnc_manifold.certificates.symbols import unit_symbols
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry


def moments_bound(
    direction: Array,
    geometry: Geometry,
    level: float,
    normals: NDArray[Any],
    thresholds: NDArray[Any],
    children: NDArray[Any],
    blocks: NDArray[Any],
    grams: NDArray[Any],
    multipliers: NDArray[Any],
    cuts: NDArray[Any],
) -> float:
    """The largest of the bounds of all leaves of a tree, each from a sum of squares of degree four.

    With the basis ``m(z)`` of :class:`srnc_manifold.certificates.quartics.Quartics`, the polynomial ``t − ⟨a, z⟩`` is
    written as ``mᵀ S m + Σ_b ⟨P_b, (1, z)(1, z)ᵀ ⊗ (c I − Z_b Z_b*)⟩ + Σ_i ⟨R_i, (1, z)(1, z)ᵀ⟩ h_i`` on the sphere.
    ``P_b`` and ``R_i`` are made positive semidefinite, and ``S`` is corrected so that the identity holds. The bound is
    ``t`` plus what a negative eigenvalue of ``S`` can take away.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
    geometry : Geometry
        Geometry of a small kernel.
    level : float
    normals, thresholds, children : arrays
        The tree of half-spaces, see :func:`srnc_manifold.certificates.regions.leaves`. Of the functions ``h`` only
        those with even numbers are used.
    blocks : int array, shape ``(n_used,)``
        Blocks that have multipliers.
    grams : array, shape ``(n_leaves, D, D)``
        ``S``, where ``D = Q (Q + 3) / 2`` for ``Q`` entries of a kernel. Any values are valid, so for the other arrays.
    multipliers : array, shape ``(n_leaves, n_used, (Q + 1) k, (Q + 1) k)``
        ``P``, real or complex; ``k`` is the rank of the blocks. If a block has fewer columns than rows, it is replaced
        by its conjugate transpose.
    cuts : array, shape ``(n_leaves, depth, Q + 1, Q + 1)``
        ``R``, in the order of the splits on a leaf's path; entries beyond its end are not used.

    Raises
    ------
    ValueError
        If an array has another shape, or for a tree that is not one.
    """
    _check_shapes(geometry, normals, thresholds, children, blocks, grams, multipliers, cuts)
    trivial = float(np.linalg.norm(direction)) * (1 + ROUNDING)
    rows, bound = constraint_rows(geometry, level, blocks), -np.inf
    for leaf, slopes, offsets in regions.leaves(normals, thresholds, children):
        if not 0 <= leaf < len(grams):
            raise ValueError(f"children: leaf {leaf} given, expected one of {len(grams)}")
        if len(slopes) > 2 * cuts.shape[1]:
            raise ValueError(f"cuts: {cuts.shape[1]} for a leaf given, expected {len(slopes) // 2}")
        cut = cut_rows(slopes[::2], offsets[::2])
        own = cuts[leaf, : len(cut)]
        bound = max(bound, leaf_bound(direction, rows, cut, grams[leaf], multipliers[leaf], own))
    return min(bound, trivial)


def leaf_bound(
    direction: Array, rows: NDArray[Any], cut: Array, gram: NDArray[Any], multipliers: NDArray[Any], cuts: NDArray[Any]
) -> float:
    """The bound of one leaf, for rows of :func:`constraint_rows` and :func:`cut_rows`."""
    a = direction.ravel()
    q = quartics(a.size)
    gram = np.real(_hermitian(gram[None])[0])
    table = q.gram_adjoint(gram)
    magnitude = float(np.sum(np.abs(gram)))
    for polynomials, matrices in ((rows, multipliers), (cut[:, None, None], cuts)):
        semidefinite = positive_part(_hermitian(matrices))
        table = table + localizing_adjoint(q, polynomials, semidefinite)
        sizes = np.maximum(1.0, np.sum(np.abs(polynomials), axis=(1, 2, 3)))
        magnitude += float(np.sum(sizes * np.sum(np.abs(semidefinite), axis=(1, 2))))
    # What the sum of squares is to be: t − ⟨a, z⟩. The best t in the sense of least squares; any one would do.
    found = q.table_adjoint(table) + q.linear(a)
    weighted = q.one / q.multiplicities
    t = float(weighted @ found) / float(weighted @ q.one)
    corrected = q.corrected(gram, t * q.one - found)
    negative = min(0.0, float(np.linalg.eigvalsh(corrected)[0]))
    return t - 2 * negative + ROUNDING * (1 + abs(t) + magnitude + float(np.sum(np.abs(corrected - gram))))


def constraint_rows(geometry: Geometry, level: float, blocks: NDArray[np.int64]) -> NDArray[Any]:
    """Coefficients of the entries of ``c I − Z_b Z_b*`` for some blocks, shape ``(n, k, k, D)``; real if ``k = 1``."""
    symbols = unit_symbols(geometry)[:, blocks]
    q, k = quartics(len(symbols)), geometry.block_rank
    rows = np.zeros((len(blocks), k, k, len(q.pairs) + q.n), complex)
    for number, (i, j) in enumerate(q.pairs):
        product = symbols[i] @ symbols[j].conj().swapaxes(1, 2)
        rows[..., number] = level * np.eye(k) - product if i == j else -product - product.conj().swapaxes(1, 2)
    return rows.real if k == 1 else rows


def cut_rows(slopes: Array, offsets: Array) -> Array:
    """Coefficients of the functions ``h = offset ‖z‖² + ⟨slope, z⟩``, shape ``(n, D)``."""
    q = quartics(slopes.shape[1])
    return np.concatenate([offsets[:, None] * (q.pairs[:, 0] == q.pairs[:, 1]), slopes], axis=1)


def localizing(q: Quartics, rows: NDArray[Any], table: Array) -> NDArray[Any]:
    """The values of a functional at ``(1, z)(1, z)ᵀ ⊗ G(z)`` for matrices ``G`` with these coefficients."""
    n_blocks, k, _, _ = rows.shape
    values = (rows.reshape(n_blocks * k * k, len(table)) @ table).reshape(n_blocks, k, k, len(table.T))[..., q.lifts]
    order = (q.n + 1) * k
    return values.transpose(0, 3, 1, 4, 2).reshape(n_blocks, order, order)


def localizing_adjoint(q: Quartics, rows: NDArray[Any], matrices: NDArray[Any]) -> Array:
    """The table of ``Σ_b ⟨P_b, (1, z)(1, z)ᵀ ⊗ G_b(z)⟩``; the adjoint of :func:`localizing`."""
    n_blocks, k, _, width = rows.shape
    entries = matrices.reshape(n_blocks, q.n + 1, k, q.n + 1, k).transpose(0, 2, 4, 1, 3)
    flat = rows.reshape(n_blocks * k * k, width).conj().T @ entries.reshape(n_blocks * k * k, (q.n + 1) ** 2)
    return q.folded(np.real(flat))


def _hermitian(matrices: NDArray[Any]) -> NDArray[Any]:
    """The Hermitian parts of a stack of matrices; zeros for those that are unusable."""
    matrices = np.where(usable(matrices), matrices, 0.0)
    return 0.5 * (matrices + matrices.conj().swapaxes(1, 2))


def _check_shapes(
    geometry: Geometry,
    normals: NDArray[Any],
    thresholds: NDArray[Any],
    children: NDArray[Any],
    blocks: NDArray[Any],
    grams: NDArray[Any],
    multipliers: NDArray[Any],
    cuts: NDArray[Any],
) -> None:
    size = int(np.prod(geometry.kernel_shape))
    order, n_splits, n_leaves = size * (size + 3) // 2, len(np.atleast_1d(thresholds)), len(np.atleast_1d(grams))
    side = (size + 1) * geometry.block_rank
    expected = {
        "normals": (normals, (n_splits, size)),
        "thresholds": (thresholds, (n_splits,)),
        "children": (children, (n_splits, 2)),
        "grams": (grams, (n_leaves, order, order)),
        "blocks": (blocks, (np.size(blocks),)),
        "multipliers": (multipliers, (n_leaves, np.size(blocks), side, side)),
        "cuts": (cuts, (n_leaves, np.shape(cuts)[1] if np.ndim(cuts) > 1 else 0, size + 1, size + 1)),
    }
    for name, (array, shape) in expected.items():
        if np.shape(array) != shape:
            raise ValueError(f"{name}: shape {np.shape(array)} given, expected {shape}")
    if not np.issubdtype(blocks.dtype, np.integer) or np.any((blocks < 0) | (blocks >= geometry.n_blocks)):
        raise ValueError(f"blocks: {blocks} given, expected numbers of the {geometry.n_blocks} blocks")
