"""Cone programs. Only this module uses cvxpy (docs/theory.md, sections 10 and 11).

The functions return points and dual points, never bounds. Bounds are computed from dual points by
:mod:`srnc_manifold.certificates`. A program is compiled once for each geometry and then solved with different data, so
these functions must not run in two threads at the same time. If a solver fails, the result is zeros, which are valid
dual points.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates.ball import unit_symbols
from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry

if TYPE_CHECKING:
    import cvxpy as cp


# Limit for the entries of a kernel times the entries of its symbol. Up to it, the relaxation to the ball takes seconds.
BALL_ENTRIES = 500_000

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
    program = _ball_program(geometry)
    program.objective.value, program.root.value = objective.ravel(), np.sqrt(level)
    shape = (geometry.n_blocks, *geometry.block_shape)
    if not _solve(program.problem, solver, options) or program.z.value is None:
        return np.zeros(geometry.kernel_shape), np.zeros(shape, complex)
    return np.asarray(program.z.value, float).reshape(geometry.kernel_shape), program.multipliers(shape)


def sphere_dual(
    direction: Array, geometry: Geometry, level: float, *, solver: str = "CLARABEL", **options: Any
) -> tuple[float, NDArray[np.complex128]]:
    """Shor's dual of ``max ⟨a, z⟩`` over ``‖z‖ = 1``, ``‖Z_b‖₂² <= c``: ``η`` and ``Θ`` (docs/theory.md, section 10).

    The parameters are those of :func:`ball_maximizer`. ``Θ`` has shape ``(n_blocks, block_rank, block_rank)`` and is
    used by :func:`srnc_manifold.certificates.ball.sphere_bound`, which does not need ``η``.
    """
    eta, theta, _, _ = region_dual(direction, geometry, level, None, solver=solver, **options)
    return eta, theta


def region_dual(
    direction: Array,
    geometry: Geometry,
    level: float,
    forms: tuple[Array, Array, Array] | None,
    *,
    floor: float = -1.0,
    solver: str = "CLARABEL",
    **options: Any,
) -> tuple[float, NDArray[np.complex128], Array, Array | None]:
    """Shor's dual with additional constraints ``zᵀ F_k z + 2 ⟨g_k, z⟩ + e_k >= 0``.

    Parameters
    ----------
    direction, geometry, level, solver, **options
        As in :func:`sphere_dual`.
    forms : (F, g, e) or None
        Arrays of shapes ``(n, Q, Q)``, ``(n, Q)`` and ``(n,)``. An entry of zeros is no constraint.
    floor : float
        Lower limit of the dual value. Without it, the dual is unbounded if the constraints contradict each other.

    Returns
    -------
    eta : float
    theta : complex array, shape ``(n_blocks, block_rank, block_rank)``
    weights : array, shape ``(n,)``
        Multipliers of the additional constraints.
    moments : array, shape ``(Q + 1, Q + 1)``, or None if the solver failed
        Primal solution ``[[Z, z], [zᵀ, 1]]``, up to its scale.
    """
    n = 0 if forms is None else len(forms[2])
    program = _sphere_program(geometry, n)
    program.direction.value, program.level.value = direction.ravel(), level
    program.floor.value = floor
    if forms is not None:
        program.forms.value, program.linear.value, program.constants.value = (
            forms[0].reshape(n, -1).T,
            forms[1].T,
            forms[2],
        )
    k = geometry.block_rank
    if not _solve(program.problem, solver, options) or program.eta.value is None or program.theta.value is None:
        return 0.0, np.zeros((geometry.n_blocks, k, k), complex), np.zeros(n), None
    theta = np.tensordot(np.reshape(program.theta.value, (geometry.n_blocks, k * k)), _hermitian_basis(k), axes=1)
    values = None if program.weights is None else program.weights.value
    weights = np.zeros(n) if values is None else np.maximum(values, 0.0)
    return float(program.eta.value), theta, weights, program.lmi.dual_value


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
    if not _solve(problem, solver, options) or eta.value is None or theta.value is None:
        return 0.0, 0.0
    return float(eta.value), max(0.0, float(theta.value))


def cap_multiplier(
    matrix: NDArray, upper: Array, lower: Array, level: float, sine: float, *, solver: str = "CLARABEL", **options: Any
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
    program = _cap_program(matrix.shape[0], matrix.shape[1])
    program.real.value, program.imag.value = np.real(matrix), np.imag(matrix)
    scale_real = np.broadcast_to(np.sqrt(np.maximum(0.0, top - upper)), matrix.shape)
    scale_imag = np.broadcast_to(np.sqrt(np.maximum(0.0, top - lower)), matrix.shape)
    program.scale_real.value, program.scale_imag.value = scale_real, scale_imag
    program.sine.value, program.factor.value = [sine], np.sqrt(max(0.0, top - level))
    solved = _solve(program.problem, solver, options)
    if not solved or program.t_real.value is None or program.t_imag.value is None:
        return np.zeros(matrix.shape, complex)
    return scale_real * program.t_real.value + 1j * scale_imag * program.t_imag.value


# -- compiled programs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BallProgram:
    problem: cp.Problem
    objective: cp.Parameter
    root: cp.Parameter
    z: cp.Variable
    gains: list[cp.Constraint]
    cones: bool  # whether the cones are second-order cones instead of semidefinite ones

    def multipliers(self, shape: tuple[int, int, int]) -> NDArray[np.complex128]:
        """``Y`` from the dual values of the constraints on the gain."""
        n_blocks, m, n = shape
        if self.cones:
            real, imag = np.split(np.asarray(self.gains[0].dual_value[1]).reshape(2 * m * n, n_blocks), 2)
            return -(real + 1j * imag).T.reshape(shape)
        corners = np.stack([np.asarray(gain.dual_value)[: 2 * m, 2 * m :] for gain in self.gains])
        real = corners[:, :m, :n] + corners[:, m:, n:]
        imag = corners[:, m:, :n] - corners[:, :m, n:]
        return -2 * (real + 1j * imag)


@lru_cache(maxsize=8)
def _ball_program(geometry: Geometry) -> _BallProgram:
    import cvxpy as cp

    m, n = geometry.block_shape
    size, n_blocks = int(np.prod(geometry.kernel_shape)), geometry.n_blocks
    symbols = symbol.of(np.eye(size).reshape(size, *geometry.kernel_shape), geometry)
    objective, root, z = cp.Parameter(size), cp.Parameter(nonneg=True), cp.Variable(size)
    cones = geometry.block_rank == 1
    if cones:
        by_entry = np.moveaxis(symbols.reshape(size, n_blocks, m * n), 0, -1).swapaxes(0, 1)  # (mn, n_blocks, Q)
        rows = np.concatenate([by_entry.real, by_entry.imag]).reshape(-1, size)
        values = cp.reshape(rows @ z, (2 * m * n, n_blocks), order="C")
        gains: list[cp.Constraint] = [cp.SOC(root * np.ones(n_blocks), values, axis=0)]
    else:
        gains = [_norm_limit(cp, symbols[:, block], z, root) for block in range(n_blocks)]
    problem = cp.Problem(cp.Maximize(objective @ z), [cp.norm(z) <= 1, *gains])
    return _BallProgram(problem, objective, root, z, gains, cones)


def _norm_limit(cp: Any, symbols: NDArray, z: cp.Variable, root: cp.Parameter) -> cp.Constraint:
    """The constraint ``‖Z_b‖₂ <= √c`` for the block with the given symbols of the unit kernels."""
    size, m, n = symbols.shape
    embedded = np.concatenate(
        [
            np.concatenate([symbols.real, -symbols.imag], axis=2),
            np.concatenate([symbols.imag, symbols.real], axis=2),
        ],
        axis=1,
    )
    symmetric = np.zeros((size, 2 * (m + n), 2 * (m + n)))
    symmetric[:, : 2 * m, 2 * m :], symmetric[:, 2 * m :, : 2 * m] = embedded, embedded.swapaxes(1, 2)
    order = 2 * (m + n)
    return root * np.eye(order) + cp.reshape(symmetric.reshape(size, -1).T @ z, (order, order), order="C") >> 0


@dataclass(frozen=True)
class _SphereProgram:
    problem: cp.Problem
    direction: cp.Parameter
    level: cp.Parameter
    floor: cp.Parameter
    eta: cp.Variable
    theta: cp.Variable
    lmi: cp.Constraint
    weights: cp.Variable | None
    forms: cp.Parameter
    linear: cp.Parameter
    constants: cp.Parameter


@lru_cache(maxsize=16)
def _sphere_program(geometry: Geometry, n_forms: int) -> _SphereProgram:
    import cvxpy as cp

    k, n_blocks = geometry.block_rank, geometry.n_blocks
    symbols, basis = unit_symbols(geometry), _hermitian_basis(k)
    size = len(symbols)
    # The form Re tr(Θ Z_i Z_j*) of every element of the basis, in every block.
    forms = np.stack([_block_forms(symbols, element) for element in basis], axis=1).reshape(n_blocks * k * k, size**2)
    direction, level, floor = cp.Parameter(size), cp.Parameter(nonneg=True), cp.Parameter()
    eta, top = cp.Variable(), cp.Variable((1, 1))
    theta = cp.Variable(n_blocks * k * k)
    traces = np.tile(np.trace(basis, axis1=1, axis2=2).real, n_blocks)
    flat = forms.T @ theta + eta * np.eye(size).ravel()
    column, constant = direction, level * (traces @ theta)
    weights, parameters = None, (cp.Parameter(), cp.Parameter(), cp.Parameter())
    if n_forms:
        weights = cp.Variable(n_forms, nonneg=True)
        parameters = cp.Parameter((size**2, n_forms)), cp.Parameter((size, n_forms)), cp.Parameter(n_forms)
        flat, column = flat - parameters[0] @ weights, column + parameters[1] @ weights
        constant = constant + parameters[2] @ weights
    matrix = cp.reshape(flat, (size, size), order="C")
    border = cp.reshape(column, (size, 1), order="C")
    lmi = cp.bmat([[matrix, border], [border.T, top]]) >> 0
    value = 0.5 * top[0, 0] + 0.5 * (eta + constant)
    positive = (
        [theta >= 0] if k == 1 else [_embedded(cp, theta[b * k * k : (b + 1) * k * k], k) >> 0 for b in range(n_blocks)]
    )
    problem = cp.Problem(cp.Minimize(value), [lmi, value >= floor, *positive])
    return _SphereProgram(problem, direction, level, floor, eta, theta, lmi, weights, *parameters)


def _block_forms(symbols: NDArray, element: NDArray) -> Array:
    """Matrices of ``z -> Re tr(E Z_b Z_b*)`` for all blocks, shape ``(n_blocks, Q, Q)``."""
    by_block = symbols.swapaxes(0, 1)
    left, right = element @ by_block, by_block.conj()
    flat = (*by_block.shape[:2], -1)
    matrices = (left.reshape(flat) @ right.reshape(flat).swapaxes(1, 2)).real
    return 0.5 * (matrices + matrices.swapaxes(1, 2))


@lru_cache(maxsize=16)
def _hermitian_basis(k: int) -> NDArray[np.complex128]:
    """A basis of the Hermitian matrices over the reals, shape ``(k², k, k)``."""
    basis = np.zeros((k, k, k, k), complex)
    for i in range(k):
        basis[i, i, i, i] = 1
        for j in range(i):
            basis[i, j, i, j] = basis[i, j, j, i] = 1
            basis[j, i, i, j], basis[j, i, j, i] = 1j, -1j
    return basis.reshape(k * k, k, k)


def _embedded(cp: Any, coordinates: cp.Expression, k: int) -> cp.Expression:
    """Real symmetric matrix of order ``2k`` with the eigenvalues of a Hermitian matrix, each of them twice."""
    basis = _hermitian_basis(k)
    real = np.concatenate(
        [np.concatenate([basis.real, -basis.imag], axis=2), np.concatenate([basis.imag, basis.real], axis=2)], axis=1
    )
    return cp.reshape(real.reshape(k * k, -1).T @ coordinates, (2 * k, 2 * k), order="C")


@dataclass(frozen=True)
class _CapProgram:
    problem: cp.Problem
    real: cp.Parameter
    imag: cp.Parameter
    scale_real: cp.Parameter
    scale_imag: cp.Parameter
    sine: cp.Parameter
    factor: cp.Parameter
    t_real: cp.Variable
    t_imag: cp.Variable


@lru_cache(maxsize=16)
def _cap_program(m: int, n: int) -> _CapProgram:
    import cvxpy as cp

    real, imag = cp.Parameter((m, n)), cp.Parameter((m, n))
    scale_real, scale_imag = cp.Parameter((m, n), nonneg=True), cp.Parameter((m, n), nonneg=True)
    sine, factor = cp.Parameter(1, nonneg=True), cp.Parameter(nonneg=True)
    t_real, t_imag = cp.Variable((m, n)), cp.Variable((m, n))
    x, y = real + cp.multiply(scale_real, t_real), imag + cp.multiply(scale_imag, t_imag)
    terms = cp.hstack([sine, cp.vec(t_real, order="C"), cp.vec(t_imag, order="C")])
    cost = cp.sigma_max(cp.bmat([[x, -y], [y, x]])) + factor * cp.norm(terms)
    problem = cp.Problem(cp.Minimize(cost))
    return _CapProgram(problem, real, imag, scale_real, scale_imag, sine, factor, t_real, t_imag)


def _solve(problem: cp.Problem, solver: str, options: dict[str, Any]) -> bool:
    """Solve a program. Return whether the solver delivered numbers, accurate or not."""
    import cvxpy as cp

    if solver not in cp.installed_solvers():
        raise ValueError(f"solver: {solver!r} given, expected one of {', '.join(cp.installed_solvers())}")
    with warnings.catch_warnings():
        # A solver that has to stop early returns inaccurate solutions. This is not a problem: the bounds are repaired.
        warnings.simplefilter("ignore")
        try:
            # No warm start, so that the same program always has the same solution.
            problem.solve(solver=solver, warm_start=False, **options)
        except cp.SolverError:
            return False
    return problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE, cp.USER_LIMIT)
