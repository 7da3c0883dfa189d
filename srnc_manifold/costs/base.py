"""What a cost sees, and what a cost is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.backends import NUMPY, Namespace, namespace
from srnc_manifold.naming import COSTS
from srnc_manifold.numerics import Array
from srnc_manifold.problem.base import KernelProblem, Problem


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
    target_gain : float
        ``c = |N| / r``, which the largest squared singular value shall equal.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> from srnc_manifold.backends import NUMPY
    >>> view = srnc.costs.View.at(problem, problem.direction, NUMPY)
    >>> round(float(view.squared_singular_values.max()), 6), int(view.multiplicities.sum()), view.target_gain
    (1.0, 64, 2.0)
    """

    squared_singular_values: Any
    multiplicities: Any
    fidelity: Any
    target_gain: float

    @property
    def target(self) -> float:
        """The former name of ``target_gain``."""
        warnings.warn("view.target: it is called view.target_gain", DeprecationWarning, stacklevel=2)
        return self.target_gain

    @classmethod
    def at(cls, problem: KernelProblem, z: Any, xp: Namespace) -> View:
        """The view of a problem at ``z``, in the library of ``z``."""
        values = problem.operator.squared_singular_values(z, xp)
        return cls.of_values(problem, z, xp.reshape(values, (-1,)), xp)

    @classmethod
    def of_values(cls, problem: KernelProblem, z: Any, values: Any, xp: Namespace) -> View:
        """The view at ``z`` where the squared singular values are known already."""
        operator = problem.operator
        kernel = xp.reshape(z, operator.kernel_shape)
        difference = problem.unit_radius * kernel - xp.constant(problem.unit_kernel, z)
        return cls(
            squared_singular_values=values,
            multiplicities=xp.constant(operator.value_multiplicities, z),
            fidelity=operator.gram_weight * xp.sum(difference**2),
            target_gain=problem.target_gain,
        )


class Cost:
    """A formulation: a scalar to minimize on the unit sphere.

    A new one is a subclass with :meth:`value`. Its gradient and Hessian come from automatic differentiation unless it
    gives :meth:`gradient`. :func:`srnc_manifold.testing.check_cost` tells whether it is right.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> class Squared(srnc.costs.Cost):
    ...     def value(self, view, xp):
    ...         return (xp.max(view.squared_singular_values) - view.target_gain) ** 2 + 0.001 * view.fidelity
    ...
    >>> srnc.solve(problem, srnc.solvers.RiemannianLBFGS(Squared()), rng=0).evaluation.stable_rank_error < 0.01
    True
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
        return lambda w: self.value(View(w[:-1], view.multiplicities, w[-1], view.target_gain), xp)

    def __str__(self) -> str:
        return COSTS.of(self)


class ClosedForm(Cost):
    """A cost with a formula of its derivatives, which every library runs."""

    def slopes(self, view: View, xp: Namespace) -> tuple[Any, Any]:
        """What :meth:`gradient` gives, computed with the functions of ``xp``."""
        raise NotImplementedError(f"{type(self).__name__} must define slopes(view, xp)")

    def gradient(self, view: View) -> tuple[Array, float]:
        by_values, by_fidelity = self.slopes(view, NUMPY)
        return by_values, by_fidelity


def require_cost(cost: Any) -> None:
    """Refuse what is not an instance of a cost."""
    if not isinstance(cost, Cost):
        raise TypeError(f"cost: {cost!r} given, expected an instance of a cost, such as srnc.costs.LogSumExp()")


def costs_of_parts(problem: Problem, cost: Cost | Sequence[Cost]) -> list[Cost]:
    """The cost of each part of a problem: the same for all, or those that are given.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else, or there are not as many costs as parts.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    if isinstance(cost, Cost):
        return [cost] * len(problem.parts)
    costs = list(cost) if isinstance(cost, Sequence) and not isinstance(cost, str) else [cost]
    for own in costs:
        require_cost(own)
    if len(costs) != len(problem.parts):
        raise ValueError(f"cost: {len(costs)} costs given, expected one, or one for each of {len(problem.parts)} parts")
    return costs


def _as_vector(view: View) -> Array:
    return np.append(view.squared_singular_values, view.fidelity)
