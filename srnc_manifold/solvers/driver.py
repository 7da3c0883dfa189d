"""The way into every solver: check the arguments, run, score."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from srnc_manifold.problem import SAME_STABLE_RANK, Restoration, SRNProblem
from srnc_manifold.result import Evaluation, Result
from srnc_manifold.solvers.base import Budget, Callback, Rng, Solver
from srnc_manifold.solvers.exact import Exact
from srnc_manifold.spectrum import NormTests
from srnc_manifold.validation import require_rng


def solve(
    problem: SRNProblem,
    solver: Solver | None = None,
    *,
    start: Any = None,
    budget: Budget | None = None,
    rng: Rng = None,
    callback: Callback | None = None,
) -> Result:
    """Solve a problem and score what was found.

    Parameters
    ----------
    problem : SRNProblem
    solver : Solver, optional
        The explicit global solution, :class:`Exact`, by default.
    start : array, optional
        Kernel to start from; drawn with ``rng`` by default. :class:`Exact` needs none.
    budget : Budget, optional
        Limits on evaluations and time.
    rng : int or numpy.random.Generator, optional
        Source of everything random; the same ``rng`` gives the same result, bit for bit.
    callback : callable, optional
        Called with each row of the history; may raise ``StopIteration`` to end the run.

    Returns
    -------
    Result
        With ``evaluation`` of the kernel as found and ``restored`` after the local restoration. A solver's failure is
        a status, not an exception.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the solver does not support the problem, with the reason, or ``start`` is not valid.
    """
    from threadpoolctl import threadpool_limits

    solver = Exact() if solver is None else solver
    if not isinstance(problem, SRNProblem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    if not isinstance(solver, Solver):
        raise TypeError(f"solver: {solver!r} given, expected an instance of a solver, such as srnc.solvers.Exact()")
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget: {budget!r} given, expected a srnc.Budget")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: {callback!r} given, expected a callable")
    require_rng(rng)
    supported, reason = solver.supports(problem)
    if not supported:
        raise ValueError(f"solver: {solver.name} does not support this problem: {reason}")
    if start is not None:
        start = problem.to_sphere(start)
    # One thread for whatever is iterated from a random start, since sums of another order would lead to another point,
    # and for large blocks, since threads do not pay for many matrices of their size.
    one_thread = solver.stochastic or problem.geometry.block_rank > NormTests.SMALL
    with threadpool_limits(1) if one_thread else nullcontext():
        result = solver.run(problem, start, budget=budget, rng=rng, callback=callback)
        return score(problem, result)


def score(problem: SRNProblem, result: Result) -> Result:
    """The result with the scores that the problem gives to its kernel, as found and restored."""
    result = replace(
        result,
        kernel=result.kernel.astype(problem.dtype),
        alternatives=tuple(kernel.astype(problem.dtype) for kernel in result.alternatives),
    )
    evaluation = problem.evaluate(result.kernel)
    if evaluation.violation <= SAME_STABLE_RANK:
        restoration = Restoration(result.kernel, True, 0.0, "not moved: feasible as found")
        restored: Evaluation | None = evaluation
    else:
        restoration = problem.restore(result.kernel)
        restored = problem.evaluate(restoration.kernel) if restoration.success else None
    tiny = evaluation.objective <= 1e-24 * problem.squared_norm
    excess = None if result.bound is None else evaluation.objective - result.bound.objective
    return replace(
        result,
        evaluation=evaluation,
        restored=restored,
        restored_kernel=restoration.kernel if restoration.success else None,
        restore_message=restoration.message,
        gap=None if excess is None else excess / problem.squared_norm,
        # Without a distance there is nothing to compare with but rounding.
        gap_to_objective=None if excess is None or tiny else excess / evaluation.objective,
    )
