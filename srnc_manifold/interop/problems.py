"""Problems for pymanopt, and kernels from its points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.arrays import as_kernel
from srnc_manifold.backends import NAMES as BACKENDS
from srnc_manifold.costs import Cost, SphereFunction
from srnc_manifold.costs.base import require_cost
from srnc_manifold.interop import pymanopt as adapter
from srnc_manifold.interop.objective import Objective
from srnc_manifold.numerics import Array
from srnc_manifold.problem.base import KernelProblem, Problem
from srnc_manifold.validation import require_choice

MANIFOLDS = ("product", "oblique")

# Norms of points may differ from one by this much, which is more than the rounding errors of single precision.
_OFF_THE_SPHERE = 1e-5


def to_pymanopt(problem: Problem, cost: Cost, backend: str = "numpy", *, manifold: str = "product") -> Any:
    """A cost as a problem of pymanopt, on pymanopt's own manifolds.

    It has the Euclidean gradient and Hessian of :class:`srnc_manifold.costs.SphereFunction`; pymanopt converts them.

    Parameters
    ----------
    problem : SRNProblem, StackProblem or SeparableProblem
    cost : Cost
    backend : str, optional
        How derivatives are computed: ``"numpy"`` (the gradient of the cost and the chain rule), ``"autograd"`` or
        ``"torch"``. Points are NumPy arrays in all cases.
    manifold : str, optional
        ``"product"``: a ``Sphere`` of the kernel's shape for a :class:`srnc_manifold.SRNProblem`; otherwise a
        ``Product`` of a ``Sphere`` for each kernel of a stack, of its shape, or for each axis of a separable kernel.
        ``"oblique"``: an ``Oblique`` manifold, of matrices whose columns are the points of the spheres.

    Returns
    -------
    pymanopt.Problem

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid; if there is only one entry, which leaves nothing to optimize; if ``"oblique"`` is
        asked for and the spheres have different sizes.

    Notes
    -----
    In pymanopt 2.2.1, Nelder-Mead does not work on a ``Product``; it does on ``Oblique``. Particle swarms do not work
    if one of the spheres has one entry. Both draw their points from NumPy's global random state.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> taken = srnc.interop.to_pymanopt(problem, srnc.costs.LogSumExp())
    >>> type(taken.manifold).__name__, float(taken.cost(problem.direction)) > 0
    ('Sphere', True)
    """
    _require_problem(problem)
    require_cost(cost)
    require_choice(BACKENDS, backend=backend)
    require_choice(MANIFOLDS, manifold=manifold)
    sizes = problem.spheres.sizes
    if problem.spheres.dimension < 1:
        raise ValueError(f"problem: spheres of {sizes} entries given, which leave nothing to optimize")
    if manifold == "oblique" and len(set(sizes)) > 1:
        raise ValueError(f"manifold: 'oblique' given, but the spheres have {sizes} entries, expected 'product'")
    function = SphereFunction(problem, cost, backend)
    objective = Objective(function.value, function.gradient, function.hessian)
    single = isinstance(problem, KernelProblem) and manifold == "product"
    return adapter.own_problem(objective, _shapes(problem), "sphere" if single else manifold)


def from_pymanopt(problem: Problem, point: Any) -> NDArray[Any]:
    """The kernel of a point of one of the manifolds of :func:`to_pymanopt`.

    Parameters
    ----------
    problem : SRNProblem, StackProblem or SeparableProblem
    point : array, or list or tuple of arrays
        An array of the kernel's shape for ``Sphere``, a list for ``Product``, a matrix for ``Oblique``.

    Returns
    -------
    array
        Of the shape of ``problem.kernel`` and of type ``problem.dtype``, with the norm of a feasible kernel.

    Raises
    ------
    TypeError, ValueError
        If the point is not one of such a manifold.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> kernel = srnc.interop.from_pymanopt(problem, [1.0, 0.0, 0.0])
    >>> kernel / problem.radius
    array([1., 0., 0.])
    """
    _require_problem(problem)
    z = _joined(problem, point)
    for k, factor in enumerate(problem.spheres.split(z)):
        norm = float(np.linalg.norm(factor))
        if abs(norm - 1) > _OFF_THE_SPHERE:
            which = "" if len(problem.spheres.sizes) == 1 else f" of factor {k + 1}"
            raise ValueError(f"point: a norm{which} of {norm:.6g} given, expected 1")
    return problem.from_units(problem.unit_kernels_at(problem.spheres.normalized(z))).astype(problem.dtype)


def _joined(problem: Problem, point: Any) -> Array:
    """The point as a flat array."""
    shapes, sizes = _shapes(problem), problem.spheres.sizes
    single = isinstance(problem, KernelProblem)
    forms = [f"an array of shape {shapes[0]}" if single else f"a list of arrays of shapes {shapes}"]
    if len(set(sizes)) == 1:
        forms.append(f"a matrix of shape {(sizes[0], len(sizes))} with the points as columns")
    expected = f"expected {' or '.join(forms)}"
    if not single and isinstance(point, list | tuple):
        if len(point) != len(shapes):
            raise ValueError(f"point: {len(point)} arrays given, {expected}")
        factors = [as_kernel(factor, f"point[{k}]") for k, factor in enumerate(point)]
        given = [factor.shape for factor in factors]
        if given != shapes:
            raise ValueError(f"point: shapes {given} given, {expected}")
        return np.concatenate([factor.ravel() for factor in factors])
    if hasattr(point, "stopping_criterion"):
        raise TypeError(f"point: {type(point).__name__} given, {expected}; it is the attribute 'point' of a result")
    array = as_kernel(point, "point")
    if single and array.shape == shapes[0]:
        return array.ravel()
    if len(set(sizes)) == 1 and array.shape == (sizes[0], len(sizes)):
        return array.T.ravel()
    raise ValueError(f"point: shape {array.shape} given, {expected}")


def _shapes(problem: Problem) -> list[tuple[int, ...]]:
    """Shapes of the spheres: those of kernels, where the spheres are those of kernels."""
    sizes = problem.spheres.sizes
    if sizes == tuple(part.kernel.size for part in problem.parts):
        return [part.kernel.shape or (1,) for part in problem.parts]
    return [(size,) for size in sizes]


def _require_problem(problem: Any) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
