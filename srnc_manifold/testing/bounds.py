"""The contract test for bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Bound, Result, Status
from srnc_manifold.solvers import solve
from srnc_manifold.testing.problems import FACTOR, ROUNDING, kernel_problems, pickled, scaled


def check_bound(bound: Callable[[SRNProblem], Bound], *, rng: int | np.random.Generator = 0) -> None:
    """Assert that a function returns valid lower bounds, as described in :class:`srnc_manifold.Bound`.

    The function takes a problem. The problems are those of :func:`check_cost`; a problem is left out if the function
    raises a ``ValueError`` for it. On each of the others:

    - The bound is a finite number. It does not exceed the objective of any feasible kernel that is tried: the exact
      solution, and random kernels after :meth:`srnc_manifold.SRNProblem.restore`.
    - Its certificate proves it, also after it is written to JSON and read back, and after pickling.
    - For a kernel 1024 times as large, the bound is 1024² times as large.

    The tolerance is 1e-9 of ``‖C(a)‖_F²``.

    Parameters
    ----------
    bound : callable
        Called with a problem it returns a :class:`srnc_manifold.Bound`.
    rng : int or numpy.random.Generator, optional
        Source of the problems.

    Raises
    ------
    AssertionError
        If a property does not hold. The message gives the property, the problem and the numbers.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> from srnc_manifold.testing import check_bound
    >>> check_bound(lambda problem: srnc.Bound(problem.bound_at(0.0), "the norms alone", "trivial"))
    """
    generator = np.random.default_rng(rng)
    name, refusals, bounded = getattr(bound, "__name__", repr(bound)), [], 0
    for problem in kernel_problems(generator):
        try:
            found = bound(problem)
        except ValueError as error:
            refusals.append(str(error))
            continue
        bounded += 1
        _check_bound_value(name, problem, found, generator)
        _check_certificate(name, problem, found)
        expected, other = FACTOR**2 * found.objective, bound(scaled(problem, FACTOR)).objective
        assert abs(other - expected) <= ROUNDING * FACTOR**2 * problem.squared_norm, (
            f"{name}: depends on the scale of the kernel: with {FACTOR:g} times the kernel {other!r} instead of "
            f"{expected!r}, on {problem}"
        )
    assert bounded, f"{name}: refuses every problem of the test, the last one with: {refusals[-1]}"


def _check_bound_value(name: str, problem: SRNProblem, found: Bound, rng: np.random.Generator) -> None:
    assert isinstance(found, Bound), f"{name}: {type(found).__name__} returned, expected a Bound, on {problem}"
    assert np.isfinite(found.objective), f"{name}: the bound is {found.objective}, on {problem}"
    kernels = [solve(problem).kernel, *rng.standard_normal((20, *problem.kernel.shape))]
    restored = [restoration.kernel for restoration in map(problem.restore, kernels) if restoration.success]
    least = min(problem.evaluate(kernel).objective for kernel in restored)
    assert found.objective <= least + ROUNDING * problem.squared_norm, (
        f"{name}: the bound {found.objective!r} exceeds the objective {least!r} of a feasible kernel, on {problem}"
    )


def _check_certificate(name: str, problem: SRNProblem, found: Bound) -> None:
    try:
        proved = found.verify(problem)
    except Exception as error:
        message = f"the certificate cannot be verified: {type(error).__name__}: {error}"
        raise AssertionError(f"{name}: {message}, on {problem}") from error
    assert abs(proved - found.objective) <= ROUNDING * problem.squared_norm, (
        f"{name}: the certificate proves {proved!r}, the bound says {found.objective!r}, on {problem}"
    )
    copies = {"pickling": pickled(found, f"{name}: the bound"), "JSON": _through_json(name, problem, found)}
    for trip, copy in copies.items():
        assert (copy.objective, copy.verify(problem)) == (found.objective, proved), (
            f"{name}: the bound is different after {trip}, on {problem}"
        )


def _through_json(name: str, problem: SRNProblem, found: Bound) -> Bound:
    result = Result(problem.kernel, Status.CONVERGED, "", name, bound=found)
    try:
        copy = Result.from_json(result.to_json()).bound
    except (TypeError, ValueError, AttributeError) as error:
        raise AssertionError(f"{name}: the bound cannot be written as JSON: {error}, on {problem}") from error
    assert copy is not None
    return copy
