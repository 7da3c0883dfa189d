"""Derivatives of a minimizer: the linear system of proposition 12 (docs/theory.md), solved both ways.

The system is symmetric. So changes of the kernel and the target are pushed forward to the minimizer, and gradients with
respect to the minimizer pulled back to the kernel and the target, by the same solve.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry

# Singular values, or caps, nearer to each other than this (relatively) are taken for equal.
SIMPLE = 1e-7

# Entries of a kernel up to which its system is decomposed; larger ones are solved by conjugate gradients.
_FEW = 100


class NoDerivativeError(ValueError):
    """Why a minimizer has no derivative."""


class Symbol:
    """The turned symbol of a unit kernel, of whose norms only those near a level are computed."""

    def __init__(self, direction: Array, geometry: Geometry) -> None:
        self.matrices = atoms.turned_symbol(direction, geometry)
        self._tests = norms.NormTests(self.matrices) if geometry.block_rank > norms.NormTests.SMALL else None

    def dominant(self) -> tuple[int, float]:
        """The block with the largest norm, and that norm squared."""
        return norms.dominant_block(self.matrices) if self._tests is None else self._tests.dominant()

    def reaching(self, index: NDArray[Any], levels: Array) -> NDArray[Any]:
        """Which of some blocks have a squared norm of at least their level."""
        if self._tests is not None:
            left = ~self._tests.below(index, levels / self._tests.margin)
            index, levels = index[left], levels[left]
        return index[norms.squared_norms(self.matrices[index]) >= levels]


class Derivative:
    """Derivative of the minimizer ``x`` with respect to the kernel ``a`` and the target ``r``, in units of ``‖C(a)‖₂``.

    Parameters
    ----------
    direction, z : arrays, shape ``geometry.kernel_shape``
        ``a / ‖a‖``, and the minimizer on the unit sphere.
    block : int
        Where the norm of ``z`` is attained.
    gain, stable_rank : float
        Largest squared singular value of ``direction``, and the target ``r``.
    geometry : Geometry

    Raises
    ------
    NoDerivativeError
        If the conditions of proposition 12 are not met at ``z``. Ties are for the caller to look for.
    """

    def __init__(
        self, direction: Array, z: Array, block: int, gain: float, stable_rank: float, geometry: Geometry
    ) -> None:
        self.direction, self.z, self.geometry, self.stable_rank = direction, z, geometry, stable_rank
        weight = geometry.n_points
        self.level = weight / stable_rank
        self.size, self.radius = 1 / np.sqrt(gain), np.sqrt(stable_rank / weight)
        self.system = System(direction, z, block, self.level, geometry)

    @cached_property
    def norm_gradient(self) -> Array:
        """Gradient of ``‖C(a)‖₂``: the dominant atom of ``a``, if there is one."""
        given = Symbol(self.direction, self.geometry)
        block, gain = given.dominant()
        blocks = np.arange(len(given.matrices))
        largest = given.reaching(blocks, np.full(len(blocks), gain * (1 - SIMPLE) ** 2))
        u, s, vh = symbol.singular_vectors(given.matrices[block])
        if len(largest) > 1 or np.sum(s >= s[0] * (1 - SIMPLE)) > 1:
            raise NoDerivativeError(
                "several singular values of the kernel are largest; its spectral norm is not differentiable"
            )
        return atoms.synthesis((u[:, :1] * vh[:1]).conj()[None], np.array([block]), self.geometry)[0]

    @cached_property
    def own_gradient(self) -> Array:
        """Gradient of the logarithm of the stable rank of ``a``, which is ``|N| ‖a‖² / ‖C(a)‖₂²``."""
        return 2 * (self.direction / self.size - self.norm_gradient)

    def pushed(self, change: Array | None, rank_change: float) -> Array:
        """Change of ``x`` that goes with one of ``a``, or none, and one of ``r``."""
        rise, growth = np.zeros_like(self.z), rank_change / (2 * self.stable_rank)
        if change is not None:
            rise = (change - self.direction * np.sum(self.direction * change)) / self.size
            growth += float(np.sum(self.norm_gradient * change))
        dz = self.system.solve(rise, -self.level / self.stable_rank * rank_change)
        return self.radius * (dz + self.z * growth)

    def pulled(self, gradient: Array, *, to_kernel: bool = True, follows: bool = False) -> tuple[Array | None, float]:
        """Gradients with respect to ``a`` and ``r`` of what has this one with respect to ``x``.

        Parameters
        ----------
        to_kernel : bool, optional
            Whether that with respect to ``a`` is asked for; else it is None.
        follows : bool, optional
            Whether ``r`` is a fraction of the stable rank of ``a``, and so changes with it.
        """
        rise, gain = self.system.transposed(self.radius * gradient)
        growth = self.radius * float(np.sum(gradient * self.z))
        by_rank = (0.5 * growth - gain * self.level) / self.stable_rank
        if not to_kernel:
            return None, by_rank
        by_kernel = (rise - self.direction * np.sum(self.direction * rise)) / self.size + growth * self.norm_gradient
        if follows:
            by_kernel = by_kernel + by_rank * self.stable_rank * self.own_gradient
        return by_kernel, by_rank


class System:
    """The linearized optimality conditions at the minimizer ``z`` on the unit sphere.

    ``(ηI − ½θ∇²g) dz + z dη − √c G dθ = dâ``, ``⟨z, dz⟩ = 0``, ``⟨√c G, dz⟩ = ½ dc``.

    Parameters are those of :class:`Derivative`; ``level`` is ``c``.
    """

    def __init__(self, direction: Array, z: Array, block: int, level: float, geometry: Geometry) -> None:
        self.z, self.block, self.level, self.geometry = z, block, level, geometry
        self._place = np.array([block])
        frame = atoms.frame(geometry)
        self._turns, self.top = frame.turns[block], float(frame.top[block])
        self.matrix = self._block_of(z[None])[0]
        self.u, self.s, self.vh = np.linalg.svd(self.matrix)
        if len(self.s) > 1 and self.s[1] >= self.s[0] * (1 - SIMPLE):
            raise NoDerivativeError("two singular values of its dominant frequency are equal")
        self.w = np.outer(self.u[:, 0], self.vh[0]).conj()
        self.atom = self._synthesis(self.w[None])[0]
        height, norm = float(np.sum(direction * self.atom)), float(np.sum(self.atom**2))
        room = norm - level
        if room <= SIMPLE * level:
            raise NoDerivativeError("its cap is a single point (the least feasible target)")
        self.eta = np.sqrt((norm - height**2) / room)
        sine = np.linalg.norm(z - direction * np.sum(z * direction))
        self.theta = float(sine) / np.sqrt(level * room)
        residual = self.eta * z - self.theta * np.sqrt(level) * self.atom - direction
        if np.linalg.norm(residual) > 1e-6 * self.eta:
            raise NoDerivativeError("it is not stationary, or not of this problem")
        normals = np.stack([z.ravel(), self.atom.ravel()], axis=1)
        self._normals, _ = np.linalg.qr(normals)
        # What the constraints ask for in the plane of z and G, for a unit change of the level.
        self._fixed = np.linalg.lstsq(normals.T, np.array([0.0, 0.5 / np.sqrt(level)]), rcond=None)[0]
        # On the tangent space the system must be positive definite: the second-order condition.
        if self._least_eigenvalue() <= SIMPLE * self.eta:
            raise NoDerivativeError("minimizers nearby are as good, or better, to second order")

    def solve(self, rise: Array, gain: float) -> Array:
        """``dz`` for a change ``dâ`` of the direction and ``dc`` of the level."""
        fixed = gain * self._fixed
        return (fixed + self._tangential(rise.ravel() - self._applied(fixed[None])[0])).reshape(self.z.shape)

    def transposed(self, gradient: Array) -> tuple[Array, float]:
        """Gradients with respect to ``â`` and ``c`` of what has this one with respect to ``z``."""
        rise = self._tangential(gradient.ravel())
        gain = float(self._fixed @ (gradient.ravel() - self._applied(rise[None])[0]))
        return rise.reshape(self.z.shape), gain

    def _tangential(self, right: Array) -> Array:
        """The ``w`` in the tangent space for which the system takes the value ``right`` there."""
        right = self._tangent(right)
        if not np.any(right):
            return right
        if self._decomposed is not None:
            values, vectors = self._decomposed
            return self._tangent(vectors @ ((right @ vectors) / values))
        from scipy.sparse.linalg import cg

        w, info = cg(self._operator(), right, rtol=1e-12, maxiter=20 * right.size)
        if info != 0:
            raise NoDerivativeError("the linear system of its derivative cannot be solved; it is nearly singular")
        return self._tangent(w)

    def _least_eigenvalue(self) -> float:
        if self._decomposed is not None:
            return float(self._decomposed[0][0])
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).standard_normal(self.z.size)
        return float(eigsh(self._operator(), k=1, which="SA", v0=start, return_eigenvectors=False, tol=1e-4)[0])

    @cached_property
    def _decomposed(self) -> tuple[Array, Array] | None:
        """Eigenvalues and eigenvectors of the system on the tangent space, if there are few."""
        size = self.z.size
        return np.linalg.eigh(self._products(np.eye(size))) if size <= _FEW else None

    def _operator(self) -> Any:
        from scipy.sparse.linalg import LinearOperator

        def product(w: Array) -> Array:
            return self._products(w.reshape(1, -1))[0]

        return LinearOperator((self.z.size, self.z.size), matvec=product, dtype=float)

    def _products(self, w: Array) -> Array:
        """The system on the tangent space of the constraints, a multiple of the identity beside it, times some rows."""
        tangent = self._tangent(w)
        return self._tangent(self._applied(tangent)) + self.eta * (w - tangent)

    def _tangent(self, w: Array) -> Array:
        return w - (w @ self._normals) @ self._normals.T

    def _applied(self, w: Array) -> Array:
        """``(ηI − ½θ∇²g) w`` for some rows, with the derivative of ``½∇σ₁² = u₁u₁*X`` (of a simple eigenvector)."""
        change = self._block_of(w.reshape(-1, *self.z.shape))
        first, matrix = self.u[:, 0], self.matrix
        sizes = np.zeros(len(first))
        sizes[: len(self.s)] = self.s
        turned = (
            change @ (matrix.conj().T @ first) + (change.conj().swapaxes(1, 2) @ first) @ matrix.T
        ) @ self.u.conj()
        turned[:, 0] = 0
        moved = (turned / np.where(sizes < sizes[0], sizes[0] ** 2 - sizes**2, 1.0)) @ self.u.T
        forwards = moved[:, :, None] * (first.conj() @ matrix)
        backwards = first[:, None] * (moved.conj() @ matrix + first.conj() @ change)[:, None, :]
        return self.eta * w - self.theta * self._synthesis((forwards + backwards).conj()).reshape(w.shape)

    def _block_of(self, kernels: Array) -> NDArray[Any]:
        """The turned symbol of some kernels in the block."""
        owners = np.arange(len(kernels))
        return symbol.at(kernels, owners, np.repeat(self._place, len(kernels)), self.geometry) * self._turns

    def _synthesis(self, coefficients: NDArray[Any]) -> Array:
        return atoms.synthesis(coefficients, np.repeat(self._place, len(coefficients)), self.geometry)
