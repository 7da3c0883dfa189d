"""Cone programs. Only this package uses cvxpy (docs/theory.md, sections 10 and 11).

The functions return points and dual points, never bounds. Bounds are computed from dual points by
:mod:`srnc_manifold.certificates`. A program is compiled once for each geometry and then solved with different data, so
these functions must not run in two threads at the same time. If a solver fails, the result is zeros, which are valid
dual points.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.bounds.cone_programs.compiled import (
    ball_program,
    cap_program,
    hermitian_basis,
    solve,
    sphere_program,
)
from srnc_manifold.bounds.cone_programs.moments import moments_fit
from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry

__all__ = [
    "BALL_ENTRIES",
    "ON_SPHERE",
    "SHOR_ENTRIES",
    "SHOR_SIZE",
    "ball_fits",
    "ball_maximizer",
    "cap_dual",
    "cap_multiplier",
    "moments_fit",
    "shor_fits",
    "sphere_dual",
]

# Limit for the entries of a kernel times the entries of its symbol. Up to it, the relaxation to the ball takes seconds.
BALL_ENTRIES = 500_000

# A solution of the relaxation to the ball with this norm, or more, is on the sphere: solvers stop at about 1e-8.
ON_SPHERE = 1 - 1e-6

# Limits for the entries of a kernel and of all its constraint matrices. Up to them, Shor's relaxation takes seconds.
SHOR_SIZE, SHOR_ENTRIES = 81, 10_000_000


def ball_fits(geometry: Geometry) -> bool:
    """Whether the relaxation to the ball is small enough to be solved."""
    size = math.prod(geometry.kernel_shape)
    return size * geometry.n_blocks * math.prod(geometry.block_shape) <= BALL_ENTRIES


def shor_fits(geometry: Geometry) -> bool:
    """Whether Shor's relaxation is small enough to be solved."""
    size = math.prod(geometry.kernel_shape)
    return size <= SHOR_SIZE and size**2 * geometry.n_blocks * geometry.block_rank**2 <= SHOR_ENTRIES


def ball_maximizer(
    objective: Array, geometry: Geometry, level: float, *, solver: str = "CLARABEL", **options: Any
) -> tuple[Array, NDArray[np.complex128]]:
    """Maximizer of ``⟨a, z⟩`` over ``‖z‖ <= 1``, ``‖Z_b‖₂² <= c``, and multipliers ``Y`` (docs/theory.md, section 10).

    Parameters
    ----------
    objective : array, shape ``geometry.kernel_shape``
    geometry : Geometry
    level : float
        ``c``.
    solver : str
        A cvxpy solver for second-order cones and, if both sides of a block exceed one, semidefinite cones.
    **options
        Options of the solver.

    Returns
    -------
    z : array, shape ``geometry.kernel_shape``
    multipliers : complex array, shape ``(n_blocks, *block_shape)``
        For :func:`srnc_manifold.certificates.ball.ball_bound`.
    """
    program = ball_program(geometry)
    program.objective.value, program.root.value = objective.ravel(), np.sqrt(level)
    shape = (geometry.n_blocks, *geometry.block_shape)
    if not solve(program.problem, solver, options) or program.z.value is None:
        return np.zeros(geometry.kernel_shape), np.zeros(shape, complex)
    return np.asarray(program.z.value, float).reshape(geometry.kernel_shape), program.multipliers(shape)


def sphere_dual(
    direction: Array, geometry: Geometry, level: float, *, solver: str = "CLARABEL", **options: Any
) -> tuple[float, NDArray[np.complex128]]:
    """Shor's dual of ``max ⟨a, z⟩`` over ``‖z‖ = 1``, ``‖Z_b‖₂² <= c``: ``η`` and ``Θ`` (docs/theory.md, section 10).

    The parameters are those of :func:`ball_maximizer`. ``Θ`` has shape ``(n_blocks, block_rank, block_rank)`` and is
    used by :func:`srnc_manifold.certificates.ball.sphere_bound`, which does not need ``η``.
    """
    program = sphere_program(geometry)
    program.direction.value, program.level.value = direction.ravel(), level
    k = geometry.block_rank
    if not solve(program.problem, solver, options) or program.eta.value is None or program.theta.value is None:
        return 0.0, np.zeros((geometry.n_blocks, k, k), complex)
    theta = np.tensordot(np.reshape(program.theta.value, (geometry.n_blocks, k * k)), hermitian_basis(k), axes=1)
    return float(program.eta.value), theta


def cap_dual(
    direction: Array, geometry: Geometry, level: float, block: int, *, solver: str = "CLARABEL", **options: Any
) -> tuple[float, float]:
    """``η`` and ``θ >= 0`` that minimize ``½ aᵀ(ηI − θB_b)⁻¹a + ½(η − θc)``.

    This is the dual of ``max ⟨a, z⟩`` over ``‖z‖ = 1``, ``‖Z_b‖_F² >= c``. It is tight by the S-lemma if blocks have
    rank one (docs/theory.md, theorem 10). The program uses the whole matrix ``B_b``, so it is independent of the
    explicit solution. The cap must not be empty. The result is ``(0, 0)`` if the solver fails.
    """
    import cvxpy as cp

    size = direction.size
    units = np.eye(size).reshape(size, *geometry.kernel_shape)
    parts = np.array_split(units, math.ceil(size * geometry.n_blocks * math.prod(geometry.block_shape) / 1e6))
    rows = np.concatenate([symbol.of(part, geometry)[:, block] for part in parts]).reshape(size, -1)
    form = rows.real @ rows.real.T + rows.imag @ rows.imag.T
    eta, theta, top = cp.Variable(), cp.Variable(nonneg=True), cp.Variable((1, 1))
    column = direction.reshape(-1, 1)
    lmi = cp.bmat([[eta * np.eye(size) - theta * form, column], [column.T, top]]) >> 0
    problem = cp.Problem(cp.Minimize(0.5 * top[0, 0] + 0.5 * (eta - theta * level)), [lmi])
    if not solve(problem, solver, options) or eta.value is None or theta.value is None:
        return 0.0, 0.0
    return float(eta.value), max(0.0, float(theta.value))


def cap_multiplier(
    matrix: NDArray[Any],
    upper: Array,
    lower: Array,
    level: float,
    sine: float,
    *,
    solver: str = "CLARABEL",
    **options: Any,
) -> NDArray[np.complex128]:
    """``T`` that minimizes ``‖A + T‖₂ + √(top − c) √(s² + Σ|Re T|²/(top − upper) + |Im T|²/(top − lower))``.

    Parameters
    ----------
    matrix : complex array, shape ``(m, n)``
        ``A``.
    upper, lower : array, shape ``(n,)``
        Weights of the columns, ``upper >= lower >= 0``. The largest one is ``top``. ``Re T`` is zero in columns with
        ``upper = top``, and ``Im T`` in columns with ``lower = top``.
    level : float
        ``c <= top``.
    sine : float
        ``0 < s <= 1``.
    solver, **options
        As in :func:`ball_maximizer`. The program has one semidefinite cone of order ``2 (m + n)``, so it is for small
        matrices only.

    Returns
    -------
    complex array, shape ``(m, n)``
        ``T``, or zeros if the solver fails.
    """
    top = float(np.max(upper))
    program = cap_program(matrix.shape[0], matrix.shape[1])
    program.real.value, program.imag.value = np.real(matrix), np.imag(matrix)
    scale_real = np.broadcast_to(np.sqrt(np.maximum(0.0, top - upper)), matrix.shape)
    scale_imag = np.broadcast_to(np.sqrt(np.maximum(0.0, top - lower)), matrix.shape)
    program.scale_real.value, program.scale_imag.value = scale_real, scale_imag
    program.sine.value, program.factor.value = [sine], np.sqrt(max(0.0, top - level))
    solved = solve(program.problem, solver, options)
    if not solved or program.t_real.value is None or program.t_imag.value is None:
        return np.zeros(matrix.shape, complex)
    return scale_real * program.t_real.value + 1j * scale_imag * program.t_imag.value
