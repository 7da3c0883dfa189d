"""What a cost sees, what a cost is, and its derivatives on the unit sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from srnc_manifold import spectrum
from srnc_manifold.backends import Namespace, namespace
from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array


class SphereProblem(Protocol):
    """What a cost needs of a problem; :class:`srnc_manifold.SRNProblem` is one."""

    geometry: Geometry
    target_gain: float
    unit_kernel: Array
    unit_radius: float


@dataclass(frozen=True)
class View:
    """What a problem shows a cost at a point ``z`` of the unit sphere. No shapes: vectors and scalars.

    Attributes
    ----------
    squared_singular_values : array, shape ``(m,)``
        ``σ_i(Z_l)²`` for the blocks ``l`` of half of the frequencies and every ``i``.
    multiplicities : array, shape ``(m,)``
        How many singular values of the operator each entry stands for.
    fidelity : scalar
        ``|N| ‖ρ z − a‖² / ‖C(a)‖₂²``: the paper's distance in units of the spectral norm, so that scaling a kernel
        changes no trade-off. With ``‖C(a)‖₂ = 1``, as in the paper's experiment, it is the distance itself.
    target : float
        ``c = |N| / r``, which the largest squared singular value shall equal.
    """

    squared_singular_values: Any
    multiplicities: Any
    fidelity: Any
    target: float

    @classmethod
    def at(cls, problem: SphereProblem, z: Any, xp: Namespace) -> View:
        """The view of a problem at ``z``, in the library of ``z``."""
        geometry = problem.geometry
        values = spectrum.squared_singular_values(xp.reshape(z, geometry.kernel_shape), geometry, xp)
        return cls.of_values(problem, z, xp.reshape(values, (-1,)), xp)

    @classmethod
    def of_values(cls, problem: SphereProblem, z: Any, values: Any, xp: Namespace) -> View:
        """The view at ``z`` where the squared singular values are known already."""
        geometry = problem.geometry
        kernel = xp.reshape(z, geometry.kernel_shape)
        multiplicities = np.repeat(geometry.multiplicities, geometry.block_rank)
        difference = problem.unit_radius * kernel - xp.constant(problem.unit_kernel, z)
        return cls(
            squared_singular_values=values,
            multiplicities=xp.constant(multiplicities, z),
            fidelity=geometry.n_points * xp.sum(difference**2),
            target=problem.target_gain,
        )


class Cost:
    """A formulation: a scalar to minimize on the unit sphere.

    A new one is a subclass with :meth:`value`. Its gradient and Hessian come from automatic differentiation unless it
    gives :meth:`gradient`. :func:`srnc_manifold.testing.check_cost` tells whether it is right.
    """

    #: Whether second derivatives exist almost everywhere that matters.
    smooth: bool = True

    def value(self, view: View, xp: Namespace) -> Any:
        """The cost, computed with the functions of ``xp`` (see :mod:`srnc_manifold.backends`)."""
        raise NotImplementedError(f"{type(self).__name__} must define value(view, xp)")

    def gradient(self, view: View) -> tuple[Array, float]:
        """Partial derivatives by ``view.squared_singular_values`` and by ``view.fidelity``."""
        _, gradient = namespace("autograd").value_and_gradient(self._of_vector(view), _as_vector(view))
        return gradient[:-1], float(gradient[-1])

    def hessian_product(self, view: View, values: Array, fidelity: float) -> tuple[Array, float]:
        """Derivative of :meth:`gradient` along a change of the singular values and of the fidelity."""
        vector = np.append(values, fidelity)
        product = namespace("autograd").hessian_product(self._of_vector(view), _as_vector(view), vector)
        return product[:-1], float(product[-1])

    def _of_vector(self, view: View) -> Any:
        xp = namespace("autograd")
        return lambda w: self.value(View(w[:-1], view.multiplicities, w[-1], view.target), xp)

    def __str__(self) -> str:
        return type(self).__name__


class SphereFunction:
    """A cost as a function on the unit sphere of a problem, with Euclidean derivatives.

    Points are flat vectors. With ``backend="numpy"`` the chain rule from the singular values to the kernel is
    written out here, so that a cost differentiates only its own formula; with ``"autograd"`` or ``"torch"`` the library
    differentiates everything, which is an independent check.
    """

    def __init__(self, problem: SphereProblem, cost: Cost, backend: str = "numpy") -> None:
        self.problem, self.cost = problem, cost
        self.xp = namespace(backend)
        self._seen: tuple[bytes, View] | None = None

    def view(self, z: Array) -> View:
        """The view at ``z``; asked again for the same point, it is not computed again."""
        key = z.tobytes()
        if self._seen is None or self._seen[0] != key:
            self._seen = key, View.at(self.problem, z, spectrum.NUMPY)
        return self._seen[1]

    def value(self, z: Array) -> float:
        """The cost at ``z``."""
        if self.xp.name == "numpy":
            return float(self.cost.value(self.view(z), self.xp))
        return float(self._traced(self.xp.asarray(z)))

    def gradient(self, z: Array) -> Array:
        """Euclidean gradient at ``z``."""
        if self.xp.name != "numpy":
            return self.xp.value_and_gradient(self._traced, z)[1]
        geometry = self.problem.geometry
        u, s, vh, view = self._decomposed(z)
        by_values, by_fidelity = self.cost.gradient(view)
        weights = np.reshape(by_values, s.shape)
        kernel = spectrum.adjoint((u * (2 * weights * s)[:, None, :]) @ vh, geometry)
        return kernel.ravel() + by_fidelity * self._fidelity_gradient(z)

    def hessian(self, z: Array, vector: Array) -> Array:
        """Euclidean Hessian at ``z`` times a vector."""
        if self.xp.name != "numpy":
            return self.xp.hessian_product(self._traced, z, vector)
        geometry = self.problem.geometry
        u, s, vh, view = self._decomposed(z)
        by_values, by_fidelity = self.cost.gradient(view)
        weights = np.reshape(by_values, s.shape)
        change = spectrum.symbol(vector.reshape(geometry.kernel_shape), geometry)
        inner = _adjoint(u) @ change @ _adjoint(vh)
        values_change = 2 * s * np.einsum("lii->li", inner).real
        fidelity_change = float(self._fidelity_gradient(z) @ vector)
        weights_change, by_fidelity_change = self.cost.hessian_product(view, values_change.ravel(), fidelity_change)
        # The gradient is adjoint(2 W X), W = U diag(w) U*, or with the same values adjoint(2 X W), W = V diag(w) V*.
        # The smaller side is taken, where W is a function of the whole Gram matrix (Daleckii-Krein formula).
        left = u.shape[-2] <= vh.shape[-1]
        half = inner * s[:, None, :] if left else s[:, :, None] * inner
        turned = self._divided_differences(s**2, weights, view) * (half + _adjoint(half))
        index = np.arange(s.shape[-1])
        turned[:, index, index] = np.reshape(weights_change, s.shape)
        if left:
            matrices = u @ (turned * s[:, None, :]) @ vh + (u * weights[:, None, :]) @ (_adjoint(u) @ change)
        else:
            matrices = u @ (s[:, :, None] * turned) @ vh + (change @ _adjoint(vh)) @ (weights[:, :, None] * vh)
        fidelity_hessian = 2 * geometry.n_points * self.problem.unit_radius**2 * vector
        return (
            spectrum.adjoint(2 * matrices, geometry).ravel()
            + by_fidelity_change * self._fidelity_gradient(z)
            + by_fidelity * fidelity_hessian
        )

    def _traced(self, z: Any) -> Any:
        return self.cost.value(View.at(self.problem, z, self.xp), self.xp)

    def _decomposed(self, z: Array) -> tuple[Any, Array, Any, View]:
        kernel = z.reshape(self.problem.geometry.kernel_shape)
        u, s, vh = spectrum.singular_vectors(spectrum.symbol(kernel, self.problem.geometry))
        view = View.of_values(self.problem, z, s.reshape(-1) ** 2, self.xp)
        self._seen = z.tobytes(), view
        return u, s, vh, view

    def _divided_differences(self, values: Array, weights: Array, view: View) -> Array:
        """``(w_i - w_j) / (λ_i - λ_j)``; for ties its limit, from values set apart a little."""
        gaps = np.abs(values[:, :, None] - values[:, None, :])
        tied = gaps <= 1e-9 * np.max(values)
        quotients = _quotients(values, weights)
        if np.count_nonzero(tied) > values.size:  # more than the diagonal
            apart = values + 1e-6 * np.max(values) * np.arange(values.shape[1])[::-1]
            shifted = View(apart.ravel(), view.multiplicities, view.fidelity, view.target)
            limits = _quotients(apart, np.reshape(self.cost.gradient(shifted)[0], values.shape))
            quotients = np.where(tied, limits, quotients)
        return quotients

    def _fidelity_gradient(self, z: Array) -> Array:
        radius = self.problem.unit_radius
        return 2 * self.problem.geometry.n_points * radius * (radius * z - self.problem.unit_kernel.ravel())


def _adjoint(matrices: Any) -> Any:
    return matrices.conj().swapaxes(-1, -2)


def _as_vector(view: View) -> Array:
    return np.append(view.squared_singular_values, view.fidelity)


def _quotients(values: Array, weights: Array) -> Array:
    """``(w_i - w_j) / (λ_i - λ_j)`` within each frequency, zero where the values are equal."""
    gaps = values[:, :, None] - values[:, None, :]
    rises = weights[:, :, None] - weights[:, None, :]
    return np.divide(rises, gaps, out=np.zeros_like(gaps), where=gaps != 0)
