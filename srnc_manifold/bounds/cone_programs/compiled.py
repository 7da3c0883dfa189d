"""The compiled programs: each is compiled once for each geometry and then solved with different data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates.symbols import unit_symbols
from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry

if TYPE_CHECKING:
    import cvxpy as cp


@dataclass(frozen=True)
class BallProgram:
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
def ball_program(geometry: Geometry) -> BallProgram:
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
    return BallProgram(problem, objective, root, z, gains, cones)


def _norm_limit(cp: Any, symbols: NDArray[Any], z: cp.Variable, root: cp.Parameter) -> cp.Constraint:
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
class SphereProgram:
    problem: cp.Problem
    direction: cp.Parameter
    level: cp.Parameter
    eta: cp.Variable
    theta: cp.Variable


@lru_cache(maxsize=16)
def sphere_program(geometry: Geometry) -> SphereProgram:
    import cvxpy as cp

    k, n_blocks = geometry.block_rank, geometry.n_blocks
    symbols, basis = unit_symbols(geometry), hermitian_basis(k)
    size = len(symbols)
    # The form Re tr(Θ Z_i Z_j*) of every element of the basis, in every block.
    forms = np.stack([_block_forms(symbols, element) for element in basis], axis=1).reshape(n_blocks * k * k, size**2)
    direction, level = cp.Parameter(size), cp.Parameter(nonneg=True)
    eta, top = cp.Variable(), cp.Variable((1, 1))
    theta = cp.Variable(n_blocks * k * k)
    traces = np.tile(np.trace(basis, axis1=1, axis2=2).real, n_blocks)
    matrix = cp.reshape(forms.T @ theta + eta * np.eye(size).ravel(), (size, size), order="C")
    border = cp.reshape(direction, (size, 1), order="C")
    value = 0.5 * top[0, 0] + 0.5 * (eta + level * (traces @ theta))
    positive = (
        [theta >= 0] if k == 1 else [_embedded(cp, theta[b * k * k : (b + 1) * k * k], k) >> 0 for b in range(n_blocks)]
    )
    problem = cp.Problem(cp.Minimize(value), [cp.bmat([[matrix, border], [border.T, top]]) >> 0, *positive])
    return SphereProgram(problem, direction, level, eta, theta)


def _block_forms(symbols: NDArray[Any], element: NDArray[Any]) -> Array:
    """Matrices of ``z -> Re tr(E Z_b Z_b*)`` for all blocks, shape ``(n_blocks, Q, Q)``."""
    by_block = symbols.swapaxes(0, 1)
    left, right = element @ by_block, by_block.conj()
    flat = (*by_block.shape[:2], -1)
    matrices = (left.reshape(flat) @ right.reshape(flat).swapaxes(1, 2)).real
    return 0.5 * (matrices + matrices.swapaxes(1, 2))


@lru_cache(maxsize=16)
def hermitian_basis(k: int) -> NDArray[np.complex128]:
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
    basis = hermitian_basis(k)
    real = np.concatenate(
        [np.concatenate([basis.real, -basis.imag], axis=2), np.concatenate([basis.imag, basis.real], axis=2)], axis=1
    )
    return cp.reshape(real.reshape(k * k, -1).T @ coordinates, (2 * k, 2 * k), order="C")


@dataclass(frozen=True)
class CapProgram:
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
def cap_program(m: int, n: int) -> CapProgram:
    import cvxpy as cp

    real, imag = cp.Parameter((m, n)), cp.Parameter((m, n))
    scale_real, scale_imag = cp.Parameter((m, n), nonneg=True), cp.Parameter((m, n), nonneg=True)
    sine, factor = cp.Parameter(1, nonneg=True), cp.Parameter(nonneg=True)
    t_real, t_imag = cp.Variable((m, n)), cp.Variable((m, n))
    x, y = real + cp.multiply(scale_real, t_real), imag + cp.multiply(scale_imag, t_imag)
    terms = cp.hstack([sine, cp.vec(t_real, order="C"), cp.vec(t_imag, order="C")])
    cost = cp.sigma_max(cp.bmat([[x, -y], [y, x]])) + factor * cp.norm(terms)
    problem = cp.Problem(cp.Minimize(cost))
    return CapProgram(problem, real, imag, scale_real, scale_imag, sine, factor, t_real, t_imag)


@lru_cache(maxsize=1)
def _installed_solvers() -> tuple[str, ...]:
    import cvxpy as cp

    return tuple(cp.installed_solvers())  # looks for packages, which takes longer than solving a small program


def solve(problem: cp.Problem, solver: str, options: dict[str, Any]) -> bool:
    """Solve a program. Return whether the solver delivered numbers, accurate or not."""
    import cvxpy as cp

    if solver not in _installed_solvers():
        raise ValueError(f"solver: {solver!r} given, expected one of {', '.join(_installed_solvers())}")
    with warnings.catch_warnings():
        # A solver that has to stop early returns inaccurate solutions. This is not a problem: the bounds are repaired.
        warnings.simplefilter("ignore")
        try:
            # No warm start, so that the same program always has the same solution.
            problem.solve(solver=solver, warm_start=False, **options)
        except cp.SolverError:
            return False
    return problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE, cp.USER_LIMIT)
