"""The way into every solver: check the arguments, run, score."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

from srnc_manifold.exact.solver import Exact
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.norms import NormTests
from srnc_manifold.problem import Problem, SRNProblem, StackProblem
from srnc_manifold.problem.scores import Restoration
from srnc_manifold.problem.target import SAME_STABLE_RANK
from srnc_manifold.process import exclusive, one_thread
from srnc_manifold.registry import solver_from_name
from srnc_manifold.result import Evaluation, Result
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.runs import Callback
from srnc_manifold.solvers.stacks import carry_out
from srnc_manifold.validation import Rng, require_rng


@exclusive
def solve(
    problem: Problem,
    solver: Solver | str | None = None,
    *,
    start: Any = None,
    budget: Budget | None = None,
    rng: Rng = None,
    callback: Callback | None = None,
    throw: bool = False,
) -> Result:
    """Solve a problem and score what was found. One thread at a time solves; others wait.

    Parameters
    ----------
    problem : SRNProblem, StackProblem or SeparableProblem
    solver : Solver or str, optional
        A solver or the name of one, ``"slsqp"`` or ``"trust-regions[cost=lse[alpha=100]]"``; the explicit global
        solution, :class:`srnc_manifold.solvers.Exact`, by default.
    start : array, optional
        Kernel to start from; drawn with ``rng`` by default. :class:`srnc_manifold.solvers.Exact` needs none.
    budget : Budget, optional
        Limits on evaluations and time.
    rng : int or numpy.random.Generator, optional
        Source of everything random; the same ``rng`` gives the same result, bit for bit.
    callback : callable, optional
        Called with each row of the history; may raise ``StopIteration`` to end the run.
    throw : bool, optional
        Whether an exception in a solver is raised. By default it is the status ``FAILED`` of a result, which has the
        traceback in ``details["traceback"]``.

    Returns
    -------
    Result
        With ``evaluation`` of the kernel as found and ``restored`` after the local restoration.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the solver does not support the problem, with the reason, or ``start`` is not valid.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem)
    >>> result.status, round(result.evaluation.stable_rank, 6), result.gap < 1e-8
    (<Status.CONVERGED: 'converged'>, 32.0, True)
    >>> srnc.solve(problem, "slsqp", rng=0).evaluation.feasible
    True
    """
    if solver is None or isinstance(solver, str):
        solver = Exact() if solver is None else solver_from_name(solver)
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    if not isinstance(solver, Solver):
        raise TypeError(f"solver: {solver!r} given, expected an instance of a solver, such as srnc.solvers.Exact()")
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget: {budget!r} given, expected a srnc.Budget")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: {callback!r} given, expected a callable")
    require_rng(rng)
    taken, reason = supported(solver, problem)
    if not taken:
        raise ValueError(f"solver: {solver.name} does not support this problem: {reason}")
    if start is not None:
        start = problem.from_units(problem.unit_kernels_at(problem.to_sphere(start, "start").ravel()))
    # One thread for whatever is iterated from a random start, since sums of another order would lead to another point;
    # for large blocks, since threads do not pay for many matrices of their size; and for least squares where the stable
    # rank is raised, which on a busy machine take ten times as long with threads that wait for each other.
    large = any(part.operator.block_rank > NormTests.SMALL for part in problem.parts)
    alone = solver.stochastic or large or "raise" in problem.regimes
    with one_thread() if alone else nullcontext():
        found = carry_out(solver, problem, start=start, budget=budget, rng=rng, callback=callback, throw=throw)
        return score(problem, found)


def supported(solver: Solver, problem: Problem) -> tuple[bool, str]:
    """Whether a solver takes a problem, as a whole or one part after the other, and if not, why.

    Parameters
    ----------
    solver : Solver
        The method.
    problem : Problem
        A kernel's, or a stack.

    Returns
    -------
    supports : bool
    reason : str
        Empty where it does.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> srnc.solvers.supported(srnc.solvers.MatrixSRN(), problem)[0]
    False
    """
    if solver.circular and not all(isinstance(part.operator, Circular) for part in problem.parts):
        return False, f"{solver.name} is a method for convolutions with circular padding"
    if not solver.unseen and any(part.operator.unseen(part.kernel) is not None for part in problem.parts):
        return False, "some taps meet no entry of the input, which only exact leaves as they are"
    if solver.products or isinstance(problem, SRNProblem):
        return solver.supports(cast(SRNProblem, problem))
    if not isinstance(problem, StackProblem):
        return False, f"{solver.name} is a method for kernels whose entries are free"
    for k, part in enumerate(problem.parts):
        taken, reason = solver.supports(part)
        if not taken:
            return False, f"part {k + 1}: {reason}"
    return True, ""


def score(problem: Problem, result: Result) -> Result:
    """The result with the scores that the problem gives to its kernel, as found and restored."""
    kernel = result.kernel.astype(problem.dtype)
    evaluation = problem.evaluate(kernel)
    if evaluation.violation <= SAME_STABLE_RANK:
        restoration = Restoration(kernel, True, 0.0, "not moved: feasible as found")
        restored: Evaluation | None = evaluation
    else:
        restoration = problem.restore(kernel)
        restored = problem.evaluate(restoration.kernel) if restoration.success else None
    tiny = evaluation.objective <= 1e-24 * problem.squared_norm
    excess = None if result.bound is None else evaluation.objective - result.bound.objective
    return replace(
        result,
        kernel=kernel,
        alternatives=tuple(alternative.astype(problem.dtype) for alternative in result.alternatives),
        evaluation=evaluation,
        restored=restored,
        restored_kernel=restoration.kernel if restoration.success else None,
        restore_message=restoration.message,
        gap=None if excess is None else excess / problem.squared_norm,
        # Without a distance there is nothing to compare with but rounding.
        gap_to_objective=None if excess is None or tiny else excess / evaluation.objective,
    )
