"""Upper bounds on ``⟨a, z⟩`` over unit kernels whose gain does not exceed a level (docs/theory.md, sections 10 and 11).

Every function takes a dual point, repairs it and evaluates weak duality in NumPy. The bound holds for any input, also
if the dual point is inaccurate. ``a`` is ``direction``, ``c`` is ``level``, and the set is
``{‖z‖ = 1, ‖Z_b‖₂² <= c for all b}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import regions
from srnc_manifold.certificates.deltas import deltas_bound
from srnc_manifold.certificates.moments import moments_bound
from srnc_manifold.certificates.repair import HUGE, ROUNDING, usable
from srnc_manifold.certificates.symbols import unit_symbols
from srnc_manifold.numerics import Array, bracketed_root
from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry

# Least eigenvalue of a matrix that is inverted, relative to the largest. The error of eigenvalues is much smaller.
_MARGIN = 1e-12


def certified_bound(
    kind: str, arrays: Mapping[str, NDArray[Any]], direction: Array, geometry: Geometry, level: float
) -> float:
    """Upper bound on ``⟨a, z⟩`` from a stored certificate of one of the kinds of the raise regime."""
    functions = {
        "ball": ball_bound,
        "sphere": sphere_bound,
        "branched": branched_bound,
        "moments": moments_bound,
        "deltas": deltas_bound,
    }
    if kind not in functions:
        raise ValueError(f"kind: {kind!r} given, expected one of {sorted(functions)}")
    return float(functions[kind](direction, geometry, level, **arrays))  # type: ignore[operator]


def ball_bound(direction: Array, geometry: Geometry, level: float, multipliers: NDArray[Any]) -> float:
    """The bound ``‖a − adjoint(Y)‖ + √c Σ_b ‖Y_b‖_*`` (docs/theory.md, section 10).

    It follows from ``⟨a, z⟩ = ⟨a − adjoint(Y), z⟩ + Re Σ_b ⟨Y_b, Z_b⟩``, which holds for any ``Y``, because the nuclear
    norm is dual to the spectral norm. It also holds over the ball ``‖z‖ <= 1``.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
    geometry : Geometry
    level : float
    multipliers : complex array, shape ``(n_blocks, *block_shape)``
        ``Y``. Any values are valid. Zeros give the trivial bound ``‖a‖``. The result is never larger than this.
    """
    trivial = float(np.linalg.norm(direction))
    matrices = np.reshape(multipliers, (geometry.n_blocks, *geometry.block_shape))
    matrices = np.where(usable(matrices), matrices, 0.0)
    rest = np.linalg.norm(direction - symbol.adjoint(matrices, geometry))
    nuclear = np.sum(np.linalg.svd(matrices, compute_uv=False))
    return min(trivial, float(rest + np.sqrt(level) * nuclear)) * (1 + ROUNDING)


def sphere_bound(direction: Array, geometry: Geometry, level: float, multipliers: NDArray[Any]) -> float:
    """Shor's bound ``½ aᵀ H⁻¹ a + ½ (η + c Σ_b tr Θ_b)`` with ``H = ηI + Σ_b Θ_b ∘`` positive definite.

    Source: docs/theory.md, section 10.

    ``Θ_b ∘`` stands for the form ``z -> tr(Θ_b Z_b Z_b*)``, or ``tr(Θ_b Z_b* Z_b)`` if a block has fewer columns than
    rows. ``η``, which can have either sign, is not an argument: the best ``η`` for a given ``Θ`` is the root of a
    scalar equation.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
    geometry : Geometry
        Geometry of a small kernel, because dense matrices of its size are factorized.
    level : float
    multipliers : array, shape ``(n_blocks, block_rank, block_rank)``
        ``Θ``. Any values are valid: the negative part of its Hermitian part is removed.
    """
    matrix, trace = _constraint_form(geometry, multipliers)
    bound = _least_over_eta(matrix, direction.ravel(), 0.5 * level * trace, level * trace)
    return min(bound, float(np.linalg.norm(direction)) * (1 + ROUNDING))


def branched_bound(
    direction: Array,
    geometry: Geometry,
    level: float,
    normals: NDArray[Any],
    thresholds: NDArray[Any],
    children: NDArray[Any],
    multipliers: NDArray[Any],
    pairs: NDArray[Any],
    weights: NDArray[Any],
) -> float:
    """The largest of Shor's bounds over the leaves of a binary tree of half-spaces.

    Products of two functions ``h`` of :func:`srnc_manifold.certificates.regions.leaves` are added to the Lagrangian.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
    geometry : Geometry
    level : float
    normals, thresholds, children : arrays
        The tree of half-spaces.
    multipliers : array, shape ``(n_leaves, n_blocks, block_rank, block_rank)``
        ``Θ`` of each leaf, as in :func:`sphere_bound`.
    pairs : int array, shape ``(n_leaves, n_products, 2)``
        Indices of the two ``h`` of each product, counted along the leaf's path; ``−1`` if the entry is not used.
    weights : array, shape ``(n_leaves, n_products)``
        Multipliers of the products. Negative ones count as zero.
    """
    bound = -np.inf
    for leaf, slopes, offsets in regions.leaves(normals, thresholds, children):
        region = slopes, offsets, multipliers[leaf], pairs[leaf], weights[leaf]
        bound = max(bound, region_bound(direction, geometry, level, *region))
    return min(bound, float(np.linalg.norm(direction)) * (1 + ROUNDING))


def region_bound(
    direction: Array,
    geometry: Geometry,
    level: float,
    slopes: Array,
    offsets: Array,
    multipliers: NDArray[Any],
    pairs: NDArray[Any],
    weights: NDArray[Any],
) -> float:
    """Shor's bound on the region where all ``h_i = offset_i + ⟨slope_i, z⟩ >= 0``; see :func:`branched_bound`."""
    used = (np.min(pairs, axis=1) >= 0) & (weights > 0) & (weights < HUGE)
    form, linear, constant = products(slopes, offsets, pairs[used])
    matrix, trace = _constraint_form(geometry, multipliers)
    w = weights[used]
    matrix, linear = matrix - np.tensordot(w, form, axes=1), direction.ravel() + w @ linear
    value, magnitude = 0.5 * (level * trace + float(w @ constant)), level * trace + float(np.sum(w))
    return _least_over_eta(matrix, linear, value, magnitude)


def products(slopes: Array, offsets: Array, pairs: NDArray[Any]) -> tuple[Array, Array, Array]:
    """All ``F``, ``g`` and ``e`` of the products ``h_i h_j = zᵀ F z + 2 ⟨g, z⟩ + e`` of affine functions."""
    first, second = pairs[:, 0], pairs[:, 1]
    outer = np.einsum("ka,kb->kab", slopes[first], slopes[second])
    linear = offsets[first, None] * slopes[second] + offsets[second, None] * slopes[first]
    return 0.5 * (outer + outer.swapaxes(1, 2)), 0.5 * linear, offsets[first] * offsets[second]


def _constraint_form(geometry: Geometry, multipliers: NDArray[Any]) -> tuple[Array, float]:
    """Matrix of the form ``z -> Σ_b tr(Θ_b Z_b Z_b*)``, and ``Σ_b tr Θ_b``, for the positive part of ``Θ``."""
    k, size = geometry.block_rank, int(np.prod(geometry.kernel_shape))
    theta = np.reshape(multipliers, (geometry.n_blocks, k, k))
    theta = np.where(usable(theta), theta, 0.0)
    values, vectors = np.linalg.eigh(0.5 * (theta + theta.conj().swapaxes(1, 2)))
    values = np.maximum(values, 0.0)
    # A Gram matrix: positive semidefinite by construction.
    roots = np.sqrt(values)[:, :, None] * vectors.conj().swapaxes(1, 2)
    rows = (roots @ unit_symbols(geometry)).reshape(size, -1)
    return rows.real @ rows.real.T + rows.imag @ rows.imag.T, float(np.sum(values))


def _least_over_eta(matrix: Array, linear: Array, constant: float, magnitude: float) -> float:
    """Least value of ``½ gᵀ (ηI + M)⁻¹ g + ½ η`` over all ``η`` with ``ηI + M`` positive definite, plus a constant.

    The result is rounded up. The function is convex in ``η``, and its derivative is zero where ``‖(ηI + M)⁻¹ g‖ = 1``.
    The arguments are sums; ``magnitude`` is the size of their terms.
    """
    values, vectors = np.linalg.eigh(matrix)
    parts, scale = vectors.T @ linear, max(1.0, magnitude, float(np.max(np.abs(values))))
    above, low = values - values[0], _MARGIN * scale

    def excess(s: float) -> float:  # almost linear, unlike the derivative itself
        return 1.0 / (float(np.linalg.norm(parts / (s + above))) + 1e-300) - 1.0

    s = bracketed_root(excess, low, max(2 * low, float(np.linalg.norm(linear))), 1e-10)
    quadratic = float(np.sum(parts**2 / (s + above)))
    # An error E in the matrix changes the form by xᵀEx, where x has norm one. E is a few ulps of the matrix times its
    # order.
    lost = 1e-15 * (len(values) + 10) * scale + ROUNDING * (quadratic + abs(s - values[0]) + magnitude)
    return 0.5 * (quadratic + (s - values[0]) + lost) + constant
