"""Blocks with one row or column: the nearest point of the caps from a scalar equation (docs/theory.md, section 8).

There ``‖X_b‖² = Σ |entries|²`` is a quadratic form whose eigenvectors are the real and the imaginary part of the turned
``f_l(j)`` in each phase of the stride. Everything is computed for ``R`` pairs of a kernel and a block at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from srnc_manifold.backends import Namespace
from srnc_manifold.numerics import newton_root
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry

# Of the logarithm of a quotient of two sums.
_ROUNDING = 4e-15

# In the place of zero where it is divided by.
_TINY = 1e-300


@dataclass(frozen=True)
class RimPoints:
    """Nearest points of ``R`` sets ``{‖z‖ = 1, ‖Z_b‖² >= c}`` to unit vectors ``a`` outside them.

    In coordinates along the ``P`` eigenspaces of ``‖Z_b‖²`` and along what the block does not see of ``a``.

    Attributes
    ----------
    squared_distances : array, shape ``(R,)``
        ``‖z − a‖²``.
    projections : complex array, shape ``(R, *block_shape)``
        Coefficients (see :func:`atoms.synthesis`) of the part of ``a`` that the block sees.
    eigenvalues : array, shape ``(P, R)``
    sizes, lengths : arrays, shape ``(P, R)``
        Lengths of the parts of ``a`` and of ``z`` in the eigenspaces.
    rest : array, shape ``(R,)``
        Length of the part of ``z`` that the block does not see; its direction is that of ``a``.
    multipliers : array, shape ``(R, 2)``
        ``(η, τ)`` of :func:`certificates.caps.rank_one_bounds`, which is tight there.
    """

    squared_distances: Any
    projections: Any
    eigenvalues: Any
    sizes: Any
    lengths: Any
    rest: Any
    multipliers: Any

    def free(self) -> Any:
        """Whether the sign of the part in the first eigenspace is free, ``a`` having none there; of NumPy's arrays."""
        ours, theirs = (np.linalg.norm(np.where(self._tops, part, 0.0), axis=0) for part in (self.sizes, self.lengths))
        # A part of a below its rounding errors does not choose between z and its mirror image.
        return 4 * ours * theirs <= 1e-12 * self.squared_distances

    def mirrored(self) -> RimPoints:
        """The same points with the part in the first eigenspace turned round; of NumPy's arrays."""
        return replace(self, lengths=np.where(self._tops, -self.lengths, self.lengths))

    @property
    def _tops(self) -> Any:
        return self.eigenvalues >= np.max(self.eigenvalues, axis=0)


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
    levels : Level or array, shape ``(R,)``
        ``c``, at most the largest eigenvalue of the block up to rounding.
    """
    frame, c_in, levels = atoms.frame(geometry), geometry.channels[1], atoms.as_level(levels)
    upper, lower = (xp.constant(values[:, ::c_in], levels.value)[blocks] for values in (frame.upper, frame.lower))
    planar = lower > 0
    real, imag = xp.real(matrices), xp.where(_by_column(planar, geometry, xp), -xp.imag(matrices), 0.0)
    safe = xp.where(planar, lower, 1.0)

    def squares_of(part: Any, weights: Any) -> Any:  # (R, rows, columns) to (n_phases, R)
        by_phase = xp.reshape(xp.sum(part**2, axis=1), (len(blocks), geometry.n_phases, c_in))
        return (xp.sum(by_phase, axis=-1) / weights).T

    # Numbers of one block along the first axis: sums over a few numbers are slow along the last.
    eigenvalues = xp.concatenate([upper.T, lower.T], axis=0)
    squares = xp.concatenate([squares_of(real, upper), squares_of(imag, safe)], axis=0)
    projections = real / _by_column(upper, geometry, xp) + 1j * (imag / _by_column(safe, geometry, xp))
    rest = _rest(squares, projections, blocks, directions, geometry, xp)
    sizes = xp.sqrt(squares)
    lengths, along_rest, multipliers = _scalar_equation(sizes, rest, eigenvalues, levels, xp)
    distances = xp.sum((lengths - sizes) ** 2, axis=0) + (along_rest - rest) ** 2
    return RimPoints(distances, projections, eigenvalues, sizes, lengths, along_rest, multipliers)


def assemble(points: RimPoints, index: Any, blocks: Any, directions: Any, geometry: Geometry, xp: Namespace) -> Any:
    """The unit vectors ``z`` of some of the points; ``blocks`` and ``directions`` are those at ``index``."""
    axes = tuple(range(1, directions.ndim))
    remainder = directions - atoms.synthesis(points.projections[index], blocks, geometry, xp)
    norms = _norms(remainder, xp)
    units = remainder / _spread(xp.where(norms > 0, norms, 1.0), axes)
    coefficients = _coefficients(points, index, geometry, xp)
    z = atoms.synthesis(coefficients, blocks, geometry, xp) + _spread(points.rest[index], axes) * units
    return z / _spread(_norms(z, xp), axes)


def _coefficients(points: RimPoints, index: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Coefficients of the part of ``z`` that the block sees."""
    sizes, lengths, eigenvalues = points.sizes[:, index], points.lengths[:, index], points.eigenvalues[:, index]
    projections, n = points.projections[index], geometry.n_phases
    stretch = xp.where(sizes > 0, lengths / xp.where(sizes > 0, sizes, 1.0), 0.0)
    coefficients = xp.real(projections) * _by_column(stretch[:n].T, geometry, xp) + 1j * (
        xp.imag(projections) * _by_column(stretch[n:].T, geometry, xp)
    )
    # Where a has no part along an eigenvector and z does, any direction in its eigenspace will do: the first entry's.
    new = (sizes == 0) & (lengths != 0)
    if not xp.any(new):
        return coefficients
    fresh = xp.where(new, lengths / xp.sqrt(xp.where(new, eigenvalues, 1.0)), 0.0)
    first = np.zeros(geometry.block_shape)
    first[0, :: geometry.channels[1]] = 1.0
    return coefficients + xp.constant(first, sizes) * (
        _by_column(fresh[:n].T, geometry, xp) + 1j * _by_column(fresh[n:].T, geometry, xp)
    )


def _by_column(values: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Values of the phases, shape ``(R, n_phases)``, for the columns of a block, shape ``(R, 1, columns)``."""
    if geometry.channels[1] > 1:
        columns = np.repeat(np.arange(geometry.n_phases), geometry.channels[1])
        values = values[:, xp.constant(columns, values)]
    return values[:, None, :]


def _rest(squares: Any, projections: Any, blocks: Any, directions: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Length of what the block does not see of ``a``."""
    rest = xp.sqrt(xp.maximum(1.0 - xp.sum(squares, axis=0), 0.0 * squares[0]))
    small = xp.nonzero(rest < 1e-4)[0]  # the difference of squares has lost its digits
    if len(small):
        seen = atoms.synthesis(projections[small], blocks[small], geometry, xp)
        rest[small] = _norms(directions[small] - seen, xp)
    return rest


def _scalar_equation(
    sizes: Any, rest: Any, eigenvalues: Any, level: atoms.Level, xp: Namespace
) -> tuple[Any, Any, Any]:
    """Coordinates of the nearest point along the parts of ``a``, and its multipliers.

    ``sizes`` ``(P, R)`` and ``rest`` ``(R,)`` are the lengths of the parts of ``a`` along the eigenspaces and beside
    them. With ``τ = 1 − t λ₁`` the point is ``(α_k λ₁ / (λ₁ − λ_k + τ λ_k), rest)`` up to its length, for the ``τ`` in
    ``(0, 1]`` that puts it on the rim. ``τ`` may be tiny (``a`` nearly orthogonal to the first eigenspace), so it is
    sought on a logarithmic scale; if ``a`` is orthogonal to it, it may be 0, the hard case.
    """
    largest = xp.max(eigenvalues, axis=0)
    tops = eigenvalues >= largest
    level = level.at_most(largest, xp)
    # Not eigenvalues minus levels: near the largest eigenvalue only this difference has all its digits.
    levels, above = level.value, xp.maximum(level.below(largest), 0.0 * largest)
    gaps = largest - eigenvalues
    others = above - gaps
    scaled, outside = sizes * largest, levels * rest**2

    def shortfall(log_tau: Any, which: Any) -> tuple[Any, Any]:
        """Logarithm of what keeps the point off the rim over what lifts it there: increasing and almost linear."""
        shrunk = xp.exp(log_tau) * eigenvalues[:, which]
        spans = gaps[:, which] + shrunk
        parts = others[:, which] * (scaled[:, which] / spans) ** 2
        lifts = xp.maximum(parts, 0.0 * parts)
        holds, rates = lifts - parts, shrunk / spans
        up, down = xp.sum(lifts, axis=0), outside[which] + xp.sum(holds, axis=0)
        up, down = xp.where(up > 0, up, _TINY), xp.where(down > 0, down, _TINY)
        slope = xp.sum(lifts * rates, axis=0) / up - xp.sum(holds * rates, axis=0) / down
        return xp.log(down) - xp.log(up), 2 * slope

    zero, one = 0.0 * rest, 0.0 * rest + 1.0
    head = xp.sqrt(xp.sum(xp.where(tops, sizes**2, 0.0), axis=0))
    at_limit = xp.where(tops, 0.0, scaled / xp.where(tops, 1.0, gaps))
    pulls = others * at_limit**2
    needed = outside - xp.sum(xp.minimum(pulls, 0.0 * pulls), axis=0)
    # Below this τ the part along the first eigenspace alone lifts the point over the rim.
    lowest = xp.where(needed > 0, head * xp.sqrt(above / xp.where(needed > 0, needed, 1.0)), one)
    lowest = xp.minimum(xp.maximum(lowest, zero + 1e-150), one)
    tau = xp.exp(newton_root(shortfall, xp.log(lowest), zero, _ROUNDING, xp))
    lengths = scaled / (gaps + tau * eigenvalues)
    norm = xp.sqrt(xp.sum(lengths**2, axis=0) + rest**2)
    eta = norm

    missing = outside - xp.sum(pulls, axis=0)  # as τ tends to 0, if a has no first part
    hard = (head == 0) & (missing > 0) & (above > 0)
    axis = above <= 0
    if xp.any(hard | axis):
        first_top = xp.where(tops & (xp.cumsum(xp.where(tops, 1.0, 0.0), axis=0) == 1), 1.0, 0.0)
        height = xp.sqrt(xp.where(hard, missing / xp.where(above > 0, above, 1.0), 0.0))
        lengths = xp.where(hard, xp.where(tops, first_top * height, at_limit), lengths)
        # The level is the eigenvalue itself: the cap is the unit sphere of the eigenspaces with that eigenvalue.
        on_peak = xp.where(eigenvalues >= largest * (1 - 1e-14), sizes, 0.0)
        lengths = xp.where(axis, xp.where(xp.sum(on_peak, axis=0) == 0, first_top, on_peak), lengths)
        rest = xp.where(axis, zero, rest)
        norm = xp.sqrt(xp.sum(lengths**2, axis=0) + rest**2)
        # η(I − tB)z = a. Where τ = 0 or there is no such η, a nearby pair bounds almost as well.
        eta = xp.where(axis, zero + 1e10, norm)
        on_axis = xp.maximum(xp.sqrt(xp.sum(on_peak**2, axis=0)), zero + 1e-10)
        tau = xp.where(axis, on_axis / eta, xp.where(hard, zero + 1e-13, tau))
    return lengths / norm, rest / norm, xp.stack([eta, tau], axis=1)


def _norms(kernels: Any, xp: Namespace) -> Any:
    return xp.sqrt(xp.sum(xp.reshape(kernels, (len(kernels), -1)) ** 2, axis=1))


def _spread(values: Any, axes: tuple[int, ...]) -> Any:
    """Values along the first axis, to be multiplied with kernels."""
    return values.reshape((-1, *(1 for _ in axes)))
