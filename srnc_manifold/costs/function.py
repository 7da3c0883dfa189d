"""A cost as a function on spheres, with its derivatives: the chain rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from srnc_manifold.backends import NUMPY, namespace
from srnc_manifold.costs.base import Cost, View, costs_of_parts
from srnc_manifold.numerics import Array, Memo, frozen
from srnc_manifold.problem.base import KernelProblem, Problem


class SphereFunction:
    """A cost as a function on a problem's product of unit spheres, with Euclidean derivatives; the sum over its parts.

    Points are flat vectors. With ``backend="numpy"`` the chain rule from the singular values to the point is
    written out here, so that a cost differentiates only its own formula; with ``"autograd"`` or ``"torch"`` the library
    differentiates everything, which is an independent check.

    Parameters
    ----------
    problem : Problem
    cost : Cost, or one for each part
    backend : str, optional

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> function = srnc.costs.SphereFunction(problem, srnc.costs.LogSumExp())
    >>> z = problem.direction
    >>> function.gradient(z).shape, function.hessian(z, z).shape
    ((3,), (3,))
    """

    def __init__(self, problem: Problem, cost: Cost | Sequence[Cost], backend: str = "numpy") -> None:
        costs = costs_of_parts(problem, cost)
        self.problem, self.xp = problem, namespace(backend)
        self._functions = [_KernelFunction(part, own) for part, own in zip(problem.parts, costs, strict=True)]
        self._slices = problem.kernel_slices
        self._gradients: Memo[Array] = Memo()

    def views(self, z: Array) -> list[View]:
        """The view of each part at ``z``; asked again for the same point, they are not computed again."""
        return [function.view(kernel) for function, kernel in self._kernels(z)]

    def value(self, z: Array) -> float:
        """The cost at ``z``."""
        if self.xp.name == "numpy":
            return sum(float(function.cost.value(function.view(w), self.xp)) for function, w in self._kernels(z))
        return self.xp.value(self._traced, z)

    def gradient(self, z: Array) -> Array:
        """Euclidean gradient at ``z``."""
        if self.xp.name != "numpy":
            return self.xp.value_and_gradient(self._traced, z)[1]
        return self.problem.embed_adjoint(z, self._kernel_gradient(z))

    def hessian(self, z: Array, vector: Array) -> Array:
        """Euclidean Hessian at ``z`` times a vector."""
        if self.xp.name != "numpy":
            return self.xp.hessian_product(self._traced, z, vector)
        change = self.problem.embed_derivative(z, vector)
        products = [
            function.hessian(w, change[place])
            for (function, w), place in zip(self._kernels(z), self._slices, strict=True)
        ]
        along = self.problem.embed_adjoint(z, np.concatenate(products))
        if self.problem.linear:
            return along
        return along + self.problem.embed_curvature(z, vector, self._kernel_gradient(z))

    def _kernels(self, z: Array) -> Iterator[tuple[_KernelFunction, Array]]:
        w = self.problem.embed(z)
        return ((function, w[place]) for function, place in zip(self._functions, self._slices, strict=True))

    def _kernel_gradient(self, z: Array) -> Array:
        """Gradient by the kernels; a Hessian asks again for that of its point."""
        return self._gradients.at(z, lambda: np.concatenate([function.gradient(w) for function, w in self._kernels(z)]))

    def _traced(self, z: Any) -> Any:
        w, xp = self.problem.embed(z, self.xp), self.xp
        values = [
            function.cost.value(View.at(function.problem, w[place], xp), xp)
            for function, place in zip(self._functions, self._slices, strict=True)
        ]
        return sum(values[1:], start=values[0])


class _KernelFunction:
    """A cost as a function of one unit kernel, flat."""

    def __init__(self, problem: KernelProblem, cost: Cost) -> None:
        self.problem, self.cost = problem, cost
        self._views: Memo[View] = Memo()

    def view(self, z: Array) -> View:
        """The view at ``z``; not computed again for the same point."""
        return self._views.at(z, lambda: _kept(View.at(self.problem, z, NUMPY)))

    def gradient(self, z: Array) -> Array:
        """Euclidean gradient at ``z``."""
        u, s, vh, view = self._decomposed(z)
        by_values, by_fidelity = self.cost.gradient(view)
        weights = np.reshape(by_values, s.shape)
        kernel = self.problem.operator.adjoint((u * (2 * weights * s)[:, None, :]) @ vh)
        return kernel.ravel() + by_fidelity * self._fidelity_gradient(z)

    def hessian(self, z: Array, vector: Array) -> Array:
        """Euclidean Hessian at ``z`` times a vector."""
        operator = self.problem.operator
        u, s, vh, view = self._decomposed(z)
        by_values, by_fidelity = self.cost.gradient(view)
        weights = np.reshape(by_values, s.shape)
        change = operator.blocks(vector)
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
        fidelity_hessian = 2 * operator.gram_weight * self.problem.unit_radius**2 * vector
        return (
            operator.adjoint(2 * matrices).ravel()
            + by_fidelity_change * self._fidelity_gradient(z)
            + by_fidelity * fidelity_hessian
        )

    def _decomposed(self, z: Array) -> tuple[Any, Array, Any, View]:
        u, s, vh = self.problem.operator.decomposition(z)
        view = _kept(View.of_values(self.problem, z, s.reshape(-1) ** 2, NUMPY))
        self._views.remember(z, view)
        return u, s, vh, view

    def _divided_differences(self, values: Array, weights: Array, view: View) -> Array:
        """``(w_i - w_j) / (λ_i - λ_j)``; for ties its limit, from values set apart a little."""
        gaps = np.abs(values[:, :, None] - values[:, None, :])
        tied = gaps <= 1e-9 * np.max(values)
        quotients = _quotients(values, weights)
        if np.count_nonzero(tied) > values.size:  # more than the diagonal
            apart = values + 1e-6 * np.max(values) * np.arange(values.shape[1])[::-1]
            shifted = View(apart.ravel(), view.multiplicities, view.fidelity, view.target_gain)
            limits = _quotients(apart, np.reshape(self.cost.gradient(shifted)[0], values.shape))
            quotients = np.where(tied, limits, quotients)
        return quotients

    def _fidelity_gradient(self, z: Array) -> Array:
        radius = self.problem.unit_radius
        return 2 * self.problem.operator.gram_weight * radius * (radius * z - self.problem.unit_kernel.ravel())


def _kept(view: View) -> View:
    """A view that is asked for again, so that no cost may write to it."""
    frozen(view.squared_singular_values)
    return view


def _adjoint(matrices: Any) -> Any:
    return matrices.conj().swapaxes(-1, -2)


def _quotients(values: Array, weights: Array) -> Array:
    """``(w_i - w_j) / (λ_i - λ_j)`` within each frequency, zero where the values are equal."""
    gaps = values[:, :, None] - values[:, None, :]
    rises = weights[:, :, None] - weights[:, None, :]
    return np.divide(rises, gaps, out=np.zeros_like(gaps), where=gaps != 0)
