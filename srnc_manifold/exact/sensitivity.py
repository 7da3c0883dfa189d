"""How the solution moves with the target and the kernel (docs/theory.md, proposition 12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.arrays import as_kernel
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.problem import SRNProblem
from srnc_manifold.process import exclusive
from srnc_manifold.result import Result, Status

# Singular values, or caps, nearer to each other than this (relatively) are taken for equal.
_SIMPLE = 1e-7


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Derivatives of a solution.

    Attributes
    ----------
    by_stable_rank : array, shape of the kernel
        Derivative of the minimizer with respect to the target ``r``.
    objective_by_stable_rank : float
        Derivative of ``‖C(x) − C(a)‖_F²`` with respect to ``r``.
    distance_to_tie : float
        By how much the next best frequency is farther from ``a / ‖a‖`` on the unit sphere, or a lower bound on it. The
        solution jumps where it is zero.
    """

    by_stable_rank: Array
    objective_by_stable_rank: float
    distance_to_tie: float
    _problem: SRNProblem = field(repr=False)
    _system: _System = field(repr=False)

    def along(self, change: Array) -> Array:
        """Directional derivative of the minimizer with respect to the kernel ``a``.

        The target is held as the problem was given it: if it is a fraction of the kernel's stable rank, the stable rank
        ``r`` changes with the kernel. (A target that was clipped, or read from a file, is a stable rank.)

        Raises
        ------
        ValueError
            If ``change`` does not have the kernel's shape, or the spectral norm of ``a`` is not differentiable.
        """
        problem = self._problem
        change = as_kernel(change, "change") if np.any(change) else np.zeros(np.shape(change))
        if change.shape != problem.kernel.shape:
            raise ValueError(f"change: shape {change.shape} given, expected the kernel's shape {problem.kernel.shape}")
        unit = change / problem.spectral_norm
        of_norm = float(np.sum(_norm_gradient(problem) * unit))
        along = float(np.sum(problem.direction * unit))
        size = float(np.linalg.norm(problem.unit_kernel))
        tangent = (unit - problem.direction * along) / size
        moved = problem.radius * (self._system.solve(tangent, 0.0) + self._system.z * of_norm)
        if not problem.follows_kernel:
            return moved
        # srank = w ‖a‖² / ‖C(a)‖², so its relative change is 2 (d‖a‖/‖a‖ − d‖C(a)‖/‖C(a)‖).
        return moved + self.by_stable_rank * problem.stable_rank * 2 * (along / size - of_norm)


@exclusive
def sensitivity(problem: SRNProblem, result: Result) -> Sensitivity:
    """Derivatives of the global minimizer of a problem that reduces the stable rank.

    Parameters
    ----------
    problem : SRNProblem
    result : Result
        Of :class:`srnc_manifold.solvers.Exact` on that problem.

    Raises
    ------
    ValueError
        Where the solution is not differentiable, with the reason: another minimizer is tied with it, several singular
        values are largest, the target is the least feasible, or the problem does not reduce the stable rank.
    """
    if not isinstance(problem, SRNProblem) or not isinstance(result, Result):
        raise TypeError(f"problem, result: {type(problem).__name__} and {type(result).__name__} given, expected both")
    if problem.regime != "reduce":
        raise ValueError(f"problem: its regime is {problem.regime!r}, expected one that reduces the stable rank")
    if result.kernel.shape != problem.kernel.shape or "distance_to_tie" not in result.details:
        raise ValueError("result: expected what Exact() returned for this problem")
    if result.alternatives:
        raise ValueError(
            f"result: {len(result.alternatives)} other minimizers are tied with it; the solution jumps there"
        )
    if result.status is not Status.CONVERGED:
        raise ValueError(f"result: {result.status.value}, expected a proved global minimizer")
    system = _System(problem, result.kernel)
    c, r = problem.target_gain, problem.stable_rank
    dz = system.solve(np.zeros_like(system.z), -c / r)
    size = float(np.linalg.norm(problem.unit_kernel))
    slope = problem.operator.gram_weight * problem.unit_radius * (problem.unit_radius - size * system.eta) / r
    by_rank = problem.radius * (dz + system.z / (2 * r))
    apart = result.details["distance_to_tie"]
    tie = np.inf if apart is None else float(apart)
    return Sensitivity(by_rank, slope * problem.spectral_norm * problem.spectral_norm, tie, problem, system)


def _norm_gradient(problem: SRNProblem) -> Array:
    """Gradient of ``‖C(a)‖₂`` at ``a``: its dominant atom, if there is one."""
    sizes = np.sqrt(symbol.squared_singular_values(problem.unit_kernel, problem.geometry)).ravel()
    if np.sum(sizes >= np.max(sizes) * (1 - _SIMPLE)) > 1:
        raise ValueError("kernel: several of its singular values are largest; its spectral norm is not differentiable")
    return atoms.dominant_atom(problem.unit_kernel, problem.geometry).tensor


class _System:
    """The linearized optimality conditions at the solution ``z`` on the unit sphere.

    ``(ηI − ½θ∇²g) dz + z dη − √c G dθ = dâ``, ``⟨z, dz⟩ = 0``, ``⟨√c G, dz⟩ = ½ dc``.
    """

    def __init__(self, problem: SRNProblem, kernel: Array) -> None:
        self.geometry, self.level = problem.geometry, problem.target_gain
        self.z = problem.to_sphere(kernel)
        symbols = symbol.of(self.z, self.geometry)
        self.block, _ = norms.dominant_block(symbols)
        self.u, self.s, self.vh = np.linalg.svd(symbols[self.block])
        if len(self.s) > 1 and self.s[1] >= self.s[0] * (1 - _SIMPLE):
            raise ValueError("result: two singular values of its dominant frequency are equal; not differentiable")
        self.atom = atoms.atom(self.geometry, self.block, self.u[:, 0], self.vh[0].conj()).tensor
        height, norm = float(np.sum(problem.direction * self.atom)), float(np.sum(self.atom**2))
        room = norm - self.level
        if room <= _SIMPLE * self.level:
            raise ValueError("result: its cap is a single point (the least feasible target); not differentiable")
        self.eta = np.sqrt((norm - height**2) / room)
        sine = np.linalg.norm(self.z - problem.direction * np.sum(self.z * problem.direction))
        self.theta = float(sine) / np.sqrt(self.level * room)
        residual = self.eta * self.z - self.theta * np.sqrt(self.level) * self.atom - problem.direction
        if np.linalg.norm(residual) > 1e-6 * self.eta:
            raise ValueError("result: it is not stationary, or not of this problem")
        q, _ = np.linalg.qr(np.stack([self.z.ravel(), self.atom.ravel()], axis=1))
        self._normals = q
        self._require_minimum()

    def _require_minimum(self) -> None:
        """Refuse points where the system is not positive definite on the tangent space (the second-order condition)."""
        from scipy.sparse.linalg import eigsh

        size = self.z.size
        if size <= 100:
            least = float(np.linalg.eigvalsh(np.stack([self._product(e) for e in np.eye(size)]))[0])
        else:
            start = np.random.default_rng(0).standard_normal(size)
            least = float(eigsh(self._operator(), k=1, which="SA", v0=start, return_eigenvectors=False, tol=1e-4)[0])
        if least <= _SIMPLE * self.eta:
            raise ValueError("result: minimizers nearby are as good, or better, to second order; not differentiable")

    def _tangent(self, w: Array) -> Array:
        return w - self._normals @ (self._normals.T @ w)

    def _product(self, w: Array) -> Array:
        """The system on the tangent space of the constraints, a multiple of the identity beside it."""
        w = np.ravel(w)
        tangent = self._tangent(w)
        return self._tangent(self._apply(tangent)) + self.eta * (w - tangent)

    def _operator(self) -> Any:
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator((self.z.size, self.z.size), matvec=self._product, dtype=float)

    def solve(self, rise: Array, gain: float) -> Array:
        """``dz`` for a change ``dâ`` of the direction and ``dc`` of the level."""
        from scipy.sparse.linalg import cg

        # What the constraints ask for in the plane of z and G, and the rest from a positive definite system.
        rows = np.stack([self.z.ravel(), np.sqrt(self.level) * self.atom.ravel()])
        fixed = np.linalg.lstsq(rows, np.array([0.0, 0.5 * gain]), rcond=None)[0]
        right = self._tangent(rise.ravel() - self._apply(fixed))
        if not np.any(right):
            return fixed.reshape(self.z.shape)
        w, info = cg(self._operator(), right, rtol=1e-12, maxiter=20 * right.size)
        if info != 0:
            raise ValueError("result: the linear system of its derivative cannot be solved; it is nearly singular")
        return (fixed + self._tangent(w)).reshape(self.z.shape)

    def _apply(self, w: Array) -> Array:
        """``(ηI − ½θ∇²g) w``, with the derivative of ``½∇σ₁² = u₁u₁*X`` (perturbation of a simple eigenvector)."""
        symbols = symbol.of(w.reshape(self.geometry.kernel_shape), self.geometry)
        change = symbols[self.block]
        first, sizes = self.u[:, 0], np.zeros(self.u.shape[1])
        sizes[: len(self.s)] = self.s
        matrix = (self.u[:, : len(self.s)] * self.s) @ self.vh[: len(self.s)]
        turned = self.u.conj().T @ (change @ matrix.conj().T + matrix @ change.conj().T) @ first
        turned[0] = 0
        moved = self.u @ (turned / np.where(sizes < sizes[0], sizes[0] ** 2 - sizes**2, 1.0))
        projector = np.outer(moved, first.conj())
        derivative = (projector + projector.conj().T) @ matrix + np.outer(first, first.conj() @ change)
        matrices: NDArray[np.complex128] = np.zeros(symbols.shape, complex)
        matrices[self.block] = derivative
        return self.eta * w - self.theta * symbol.adjoint(matrices, self.geometry).ravel()
