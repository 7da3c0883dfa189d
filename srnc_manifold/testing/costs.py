"""The contract test for costs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from srnc_manifold.backends import namespace
from srnc_manifold.costs import Cost, SphereFunction, View
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.testing.problems import kernel_problems, other_problems, scaled

# Relative difference between libraries that rounding explains: sums of a few hundred terms in double precision.
_AGREEMENT = 1e-8


def check_cost(cost: Cost, *, rng: int | np.random.Generator = 0) -> None:
    """Assert that a cost keeps the contract of :class:`srnc_manifold.costs.Cost`.

    The problems are in 1-D, in 2-D, with channels and dense, for reducing and for raising the stable rank, and on
    products of spheres (a stack, separable kernels). On each of them:

    - The value is a finite number.
    - The Taylor remainder of the gradient along the spheres has slope 2 or more (with tolerance 0.1). If the cost is
      declared smooth, the remainder of the Hessian has slope 3 or more (with tolerance 0.2).
    - NumPy, autograd and torch (if installed) agree.
    - The value depends on the operator only. It does not depend on the order of the singular values, on the kernel's
      scale, or on whether a repeated singular value is listed twice or once with multiplicity 2.

    Parameters
    ----------
    cost : Cost
        An instance.
    rng : int or numpy.random.Generator, optional
        Source of the points.

    Raises
    ------
    AssertionError
        If a property does not hold. The message gives the property, the problem and the numbers.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> from srnc_manifold.testing import check_cost
    >>> check_cost(srnc.costs.ExactMax())
    """
    generator = np.random.default_rng(rng)
    for problem in (*kernel_problems(generator), *other_problems(generator)):
        z = problem.spheres.random_point(generator)
        vector = problem.spheres.projected(generator.standard_normal(z.size), z)
        vector /= np.linalg.norm(vector)
        _check_value(cost, problem, z)
        _check_backends(cost, problem, z, vector)
        _check_derivatives(cost, problem, z, vector)
        if isinstance(problem, SRNProblem):
            _check_invariance(cost, problem, z, generator)


def taylor_slope(remainder: Callable[[float], float], floor: float) -> float:
    """Slope of ``log remainder(t)`` against ``log t`` at the smallest steps where the remainder exceeds ``floor``.

    The slope is infinite if it never exceeds ``floor``, that is, if the expansion is exact up to rounding.

    Parameters
    ----------
    remainder : callable
        The size of the remainder of a Taylor polynomial, as a function of the step ``t > 0``.
    floor : float
        Rounding error of the remainder.

    Returns
    -------
    float
        About 2 for a correct gradient, 3 for a correct Hessian.

    Examples
    --------
    >>> from math import exp
    >>> from srnc_manifold.testing import taylor_slope
    >>> round(taylor_slope(lambda t: abs(exp(t) - 1 - t), 1e-12))
    2
    """
    steps = np.logspace(-1, -7, 25)
    errors = np.array([abs(remainder(float(t))) for t in steps])
    seen = errors > floor
    if seen.sum() < 5:
        return np.inf
    # The steps from the largest one down to the first that is too small. The last of them are closest to the limit.
    last = int(np.argmin(seen)) if not seen.all() else len(seen)
    window = slice(max(0, last - 5), last)
    if last < 5:
        return np.inf
    return float(np.polyfit(np.log(steps[window]), np.log(errors[window]), 1)[0])


def _check_value(cost: Cost, problem: Problem, z: Array) -> None:
    view = View.at(problem.parts[0], problem.embed(z)[problem.kernel_slices[0]], namespace("numpy"))
    value = cost.value(view, namespace("numpy"))
    assert np.ndim(value) == 0, f"{cost}: value has shape {np.shape(value)}, expected a scalar, on {problem}"
    assert np.isfinite(value), f"{cost}: value is {value} on {problem}"


def _check_backends(cost: Cost, problem: Problem, z: Array, vector: Array) -> None:
    names = ["autograd"]
    with contextlib.suppress(ImportError):  # torch is optional
        names.append(namespace("torch").name)
    ours = SphereFunction(problem, cost)
    for name in names:
        try:
            theirs = SphereFunction(problem, cost, name)
            pairs = [
                ("value", np.array(ours.value(z)), np.array(theirs.value(z))),
                ("gradient", ours.gradient(z), theirs.gradient(z)),
            ]
            if cost.smooth:
                pairs.append(("Hessian", ours.hessian(z, vector), theirs.hessian(z, vector)))
        except Exception as error:
            raise AssertionError(
                f"{cost}: {name} raised {type(error).__name__}: {error}; does value use only functions of xp?"
            ) from error
        for what, expected, found in pairs:
            difference = float(np.max(np.abs(expected - found)) / max(1e-300, float(np.max(np.abs(found)))))
            assert difference <= _AGREEMENT, (
                f"{cost}: {what} by {name} differs from the cost's own by {difference:.1e} (relative), on {problem}"
            )


def _check_derivatives(cost: Cost, problem: Problem, z: Array, vector: Array) -> None:
    function = SphereFunction(problem, cost)
    value, gradient = function.value(z), function.gradient(z)
    first = float(gradient @ vector)
    # A hundred times the rounding error of a value of the size of the cost's terms.
    floor = 100 * np.finfo(float).eps * max(abs(value), abs(first))

    def along(t: float) -> float:
        return function.value(problem.spheres.retracted(z, t * vector))  # equal to a geodesic up to second order

    slope = taylor_slope(lambda t: along(t) - value - t * first, floor)
    assert slope >= 1.9, (  # larger than 2 where the next derivative almost vanishes
        f"{cost}: gradient is wrong, its Taylor remainder has slope {slope:.2f}, expected 2 or more, on {problem}"
    )
    if cost.smooth:
        product = problem.spheres.riemannian_hessian(z, gradient, function.hessian(z, vector), vector)
        second = float(vector @ product)
        slope = taylor_slope(lambda t: along(t) - value - t * first - 0.5 * t**2 * second, floor)
        assert slope >= 2.8, (
            f"{cost}: Hessian is wrong, its Taylor remainder has slope {slope:.2f}, expected 3 or more, on {problem}"
        )


def _check_invariance(cost: Cost, problem: SRNProblem, z: Array, rng: np.random.Generator) -> None:
    xp = namespace("numpy")
    view = View.at(problem, z, xp)
    values, counts = view.squared_singular_values, view.multiplicities
    order = rng.permutation(len(values))
    one_by_one = np.repeat(values, counts.astype(int))
    for what, changed in (
        ("the order of the singular values", View(values[order], counts[order], view.fidelity, view.target_gain)),
        (
            "how repeated singular values are listed",
            View(one_by_one, np.ones_like(one_by_one), view.fidelity, view.target_gain),
        ),
        ("the scale of the kernel", View.at(scaled(problem, 1e3), z, xp)),
    ):
        before, after = float(cost.value(view, xp)), float(cost.value(changed, xp))
        assert abs(before - after) <= 1e-9 * max(abs(before), abs(after)), (
            f"{cost}: value depends on {what}: {before!r} became {after!r}, on {problem}"
        )
