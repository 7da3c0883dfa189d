"""Blocks with one row or column: the nearest point of the caps from a scalar equation (docs/theory.md, section 8).

There ``‖X_b‖² = Σ |entries|²`` is a quadratic form whose eigenvectors are the real and the imaginary part of the turned
``f_l(j)`` in each phase of the stride. Everything is computed for ``R`` pairs of a kernel and a block at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from srnc_manifold import atoms
from srnc_manifold.backends import Namespace
from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import bracketed_root

# Of a sum of terms whose absolute values add up to one.
_ROUNDING = 2e-15


@dataclass(frozen=True)
class RimPoints:
    """Nearest points of ``R`` sets ``{‖z‖ = 1, ‖Z_b‖² >= c}`` to unit vectors ``a`` outside them.

    Attributes
    ----------
    squared_distances : array, shape ``(R,)``
        ``‖z − a‖²``.
    projections : complex array, shape ``(R, *block_shape)``
        Coefficients (see :func:`atoms.synthesis`) of the part of ``a`` that the block sees.
    coefficients : complex array, shape ``(R, *block_shape)``
        Coefficients of the same part of ``z``.
    rest : array, shape ``(R,)``
        Length of the part of ``z`` that the block does not see; its direction is that of ``a``.
    free : boolean array, shape ``(R,)``
        Whether the sign of the part along the first eigenvector is free, since ``a`` has none along it.
    multipliers : array, shape ``(R, 2)``
        ``(η, τ)`` of :func:`certificates.caps.rank_one_bounds`, which is tight there.
    """

    squared_distances: Any
    projections: Any
    coefficients: Any
    rest: Any
    free: Any
    multipliers: Any

    def mirrored(self, blocks: Any, geometry: Geometry) -> RimPoints:
        """The same points with the part along the first eigenspace turned round."""
        frame = atoms.frame(geometry)
        real = np.where(frame.upper >= frame.top[:, None], -1.0, 1.0)[blocks][:, None]
        imag = np.where(frame.lower >= frame.top[:, None], -1.0, 1.0)[blocks][:, None]
        return replace(self, coefficients=real * self.coefficients.real + 1j * imag * self.coefficients.imag)


def rim_points(
    matrices: Any, blocks: Any, directions: Any, levels: Any, geometry: Geometry, xp: Namespace
) -> RimPoints:
    """The nearest points.

    Parameters
    ----------
    matrices : complex array, shape ``(R, *block_shape)``
        Turned symbols of the directions in their blocks.
    blocks : integer array, shape ``(R,)``
    directions : array, shape ``(R, *kernel_shape)``
        Unit vectors ``a``.
    levels : array, shape ``(R,)``
        ``c``, at most the largest eigenvalue of the block up to rounding.
    """
    count, n_phases = len(blocks), geometry.n_phases
    frame = atoms.frame(geometry)
    upper = xp.constant(frame.upper, levels)[blocks][:, None, :]
    lower = xp.constant(frame.lower, levels)[blocks][:, None, :]
    planar = lower > 0
    safe = xp.where(planar, lower, 1.0)
    cosines, sines = xp.real(matrices) / upper, xp.where(planar, -xp.imag(matrices) / safe, 0.0)

    def by_phase(values: Any) -> Any:  # (R, rows, columns) to (R, n_phases)
        return xp.sum(xp.sum(xp.reshape(values, (count, -1, n_phases, geometry.channels[1])), axis=-1), axis=1)

    first = (slice(None), 0, slice(None, None, geometry.channels[1]))
    eigenvalues = xp.concatenate([upper[first], lower[first]], axis=1)
    squares = xp.concatenate([by_phase(upper * cosines**2), by_phase(lower * sines**2)], axis=1)
    rest = _rest(squares, cosines + 1j * sines, blocks, directions, geometry, xp)
    sizes = xp.sqrt(squares)
    lengths, along_rest, multipliers = _scalar_equation(sizes, rest, eigenvalues, levels, xp)

    stretch = xp.where(sizes > 0, lengths / xp.where(sizes > 0, sizes, 1.0), 0.0)
    columns = xp.constant(np.repeat(np.arange(n_phases), geometry.channels[1]), blocks)
    coefficients = cosines * stretch[:, :n_phases][:, columns][:, None, :] + 1j * (
        sines * stretch[:, n_phases:][:, columns][:, None, :]
    )
    # Where a has no part along an eigenvector and z does, any direction in its eigenspace will do: the first entry's.
    fresh = xp.where((sizes == 0) & (lengths > 0), lengths / xp.sqrt(xp.where(eigenvalues > 0, eigenvalues, 1.0)), 0.0)
    units = xp.constant(np.eye(n_phases).repeat(geometry.channels[1], axis=1) * _first_columns(geometry), levels)
    top_row = xp.constant(np.eye(1, geometry.block_shape[0]).T, levels)
    coefficients = coefficients + top_row * xp.matmul(
        fresh[:, None, :n_phases] + 1j * fresh[:, None, n_phases:], units + 0j
    )

    largest = xp.max(eigenvalues, axis=1)
    tops = eigenvalues >= largest[:, None]
    leading_size = xp.sqrt(xp.sum(xp.where(tops, squares, 0.0), axis=1))
    leading = xp.sqrt(xp.sum(xp.where(tops, lengths**2, 0.0), axis=1))
    distances = xp.sum((lengths - sizes) ** 2, axis=1) + (along_rest - rest) ** 2
    # A part of a below its rounding errors does not choose between z and its mirror image.
    free = 4 * leading_size * leading <= 1e-12 * distances
    return RimPoints(distances, cosines + 1j * sines, coefficients, along_rest, free, multipliers)


def assemble(points: RimPoints, index: Any, blocks: Any, directions: Any, geometry: Geometry, xp: Namespace) -> Any:
    """The unit vectors ``z`` of some of the points; ``blocks`` and ``directions`` are those at ``index``."""
    axes = tuple(range(1, directions.ndim))
    remainder = directions - atoms.synthesis(points.projections[index], blocks, geometry, xp)
    norms = _norms(remainder, xp)
    units = remainder / _spread(xp.where(norms > 0, norms, 1.0), axes)
    z = atoms.synthesis(points.coefficients[index], blocks, geometry, xp) + _spread(points.rest[index], axes) * units
    return z / _spread(_norms(z, xp), axes)


def _rest(squares: Any, projections: Any, blocks: Any, directions: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Length of what the block does not see of ``a``."""
    rest = xp.sqrt(xp.maximum(1.0 - xp.sum(squares, axis=1), 0.0 * squares[:, 0]))
    small = xp.nonzero(rest < 1e-4)[0]  # the difference of squares has lost its digits
    if len(small):
        seen = atoms.synthesis(projections[small], blocks[small], geometry, xp)
        rest[small] = _norms(directions[small] - seen, xp)
    return rest


def _scalar_equation(sizes: Any, rest: Any, eigenvalues: Any, levels: Any, xp: Namespace) -> tuple[Any, Any, Any]:
    """Coordinates of the nearest point along the parts of ``a``, and its multipliers.

    ``sizes`` ``(R, K)`` and ``rest`` ``(R,)`` are the lengths of the parts of ``a`` along the eigenspaces and beside
    them. With ``τ = 1 − t λ₁`` the point is ``(α_k λ₁ / (λ₁ − λ_k + τ λ_k), rest)`` up to its length, for the ``τ`` in
    ``(0, 1]`` that puts it on the rim. ``τ`` may be tiny (``a`` nearly orthogonal to the first eigenspace), so it is
    sought on a logarithmic scale; if ``a`` is orthogonal to it, it may be 0, the hard case.
    """
    largest = xp.max(eigenvalues, axis=1)
    tops = eigenvalues >= largest[:, None]
    levels = xp.minimum(levels, largest)
    head = xp.sqrt(xp.sum(xp.where(tops, sizes**2, 0.0), axis=1))
    tail = xp.where(tops, 0.0, sizes)
    gaps = xp.where(tops, 1.0, largest[:, None] - eigenvalues)
    above, others = largest - levels, eigenvalues - levels[:, None]

    def tail_at(tau: Any) -> Any:
        return tail * largest[:, None] / (gaps + tau[:, None] * eigenvalues)

    def shortfall(log_tau: Any) -> Any:
        tau = xp.exp(log_tau)
        outside, first, further = levels * rest**2, above * (head / tau) ** 2, others * tail_at(tau) ** 2
        size = outside + first + xp.sum(xp.abs(further), axis=1)
        return (outside - first - xp.sum(further, axis=1)) / xp.where(size > 0, size, 1.0)

    zero = 0.0 * head
    at_limit = tail * largest[:, None] / gaps
    needed = levels * rest**2 + xp.sum(xp.where(others < 0, -others * at_limit**2, 0.0), axis=1)
    # Below this τ the part along the first eigenspace alone lifts the point over the rim.
    quotient = above / xp.where(needed > 0, needed, 1.0)
    lowest = xp.where(needed > 0, head * xp.sqrt(quotient), zero + 1.0)
    lowest = xp.minimum(xp.maximum(lowest, zero + 1e-150), zero + 1.0)
    tau = xp.exp(bracketed_root(shortfall, xp.log(lowest), zero, _ROUNDING, xp))
    y_head, y_tail = head / tau, tail_at(tau)

    missing = levels * rest**2 - xp.sum(others * at_limit**2, axis=1)  # as τ tends to 0, if a has no first part
    hard = (head == 0) & (missing > 0) & (above > 0)
    y_head = xp.where(hard, xp.sqrt(xp.where(hard, missing / xp.where(above > 0, above, 1.0), 0.0)), y_head)
    y_tail = xp.where(hard[:, None], at_limit, y_tail)

    # The level is the eigenvalue itself: the cap is the unit sphere of the eigenspaces with that eigenvalue.
    axis = above <= 1e-14 * largest
    peak = eigenvalues >= largest[:, None] * (1 - 1e-14)
    on_peak = xp.where(peak, sizes, 0.0)
    none = xp.sum(on_peak, axis=1) == 0

    first_top = xp.cumsum(xp.where(tops, 1.0, 0.0), axis=1) == 1
    share = xp.where(head[:, None] > 0, sizes / xp.where(head > 0, head, 1.0)[:, None], xp.where(first_top, 1.0, 0.0))
    lengths = xp.where(tops, share * y_head[:, None], y_tail)
    lengths = xp.where(axis[:, None], xp.where(none[:, None], xp.where(tops & first_top, 1.0, 0.0), on_peak), lengths)
    along_rest = xp.where(axis, zero, rest)
    norm = xp.sqrt(xp.sum(lengths**2, axis=1) + along_rest**2)

    # η(I − tB)z = a. Where τ = 0 or there is no such η, a nearby pair bounds almost as well.
    on_axis = xp.maximum(xp.sqrt(xp.sum(on_peak**2, axis=1)), zero + 1e-10)
    eta = xp.where(axis, zero + 1e10, norm)
    tau = xp.where(axis, on_axis / eta, xp.where(hard, zero + 1e-13, tau))
    return lengths / norm[:, None], along_rest / norm, xp.stack([eta, tau], axis=1)


def _first_columns(geometry: Geometry) -> Any:
    """Mask of the first column of each phase."""
    return np.tile(np.eye(1, geometry.channels[1])[0], geometry.n_phases)


def _norms(kernels: Any, xp: Namespace) -> Any:
    return xp.sqrt(xp.sum(xp.reshape(kernels, (len(kernels), -1)) ** 2, axis=1))


def _spread(values: Any, axes: tuple[int, ...]) -> Any:
    """Values along the first axis, to be multiplied with kernels."""
    return values.reshape((-1, *(1 for _ in axes)))
