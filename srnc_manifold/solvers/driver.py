"""The way into every solver: check the arguments, run, score."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np

from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.products import StackProblem, listed
from srnc_manifold.restoration import SAME_STABLE_RANK, Restoration
from srnc_manifold.result import Bound, Evaluation, Result, Status
from srnc_manifold.solvers.base import STOPPED_BY_CALLBACK, Budget, Callback, Rng, Solver
from srnc_manifold.solvers.exact import Exact
from srnc_manifold.spectrum import NormTests
from srnc_manifold.validation import as_generator, require_rng


def solve(
    problem: Problem,
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
    problem : SRNProblem, StackProblem or SeparableProblem
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
        start = problem.from_units(problem.unit_kernels_at(problem.to_sphere(start).ravel()))
    # One thread for whatever is iterated from a random start, since sums of another order would lead to another point;
    # for large blocks, since threads do not pay for many matrices of their size; and for least squares where the stable
    # rank is raised, which on a busy machine take ten times as long with threads that wait for each other.
    large = any(part.geometry.block_rank > NormTests.SMALL for part in problem.parts)
    one_thread = solver.stochastic or large or "raise" in problem.regimes
    with threadpool_limits(1) if one_thread else nullcontext():
        return score(problem, _run(solver, problem, start, budget, rng, callback))


def supported(solver: Solver, problem: Problem) -> tuple[bool, str]:
    """Whether a solver takes a problem, as a whole or one part after the other, and if not, why."""
    if solver.products or isinstance(problem, SRNProblem):
        return solver.supports(cast(SRNProblem, problem))
    if not isinstance(problem, StackProblem):
        return False, f"{solver.name} is a method for kernels whose entries are free"
    for k, part in enumerate(problem.parts):
        taken, reason = solver.supports(part)
        if not taken:
            return False, f"part {k + 1}: {reason}"
    return True, ""


def _run(
    solver: Solver, problem: Problem, start: Any, budget: Budget | None, rng: Rng, callback: Callback | None
) -> Result:
    """Run a solver; one of single kernels runs on each part of a stack, since nothing ties them together."""
    if solver.products or isinstance(problem, SRNProblem):
        return solver.run(cast(SRNProblem, problem), start, budget=budget, rng=rng, callback=callback)
    stack = cast(StackProblem, problem)
    n_parts = len(stack.parts)
    starts = [None] * n_parts if start is None else stack.kernels(start)
    generators = as_generator(rng).spawn(n_parts)
    results: list[Result] = []
    for part, own_start, generator in zip(stack.parts, starts, generators, strict=True):
        share = None if budget is None else _share(budget, results, n_parts - len(results))
        results.append(solver.run(part, own_start, budget=share, rng=generator, callback=callback))
        if _ended(results[-1]):
            break
    return _joined(stack, solver, results)


def _ended(result: Result) -> bool:
    """Whether the user ended the run."""
    return result.details.get("interrupted", False) or result.message == STOPPED_BY_CALLBACK


def _share(budget: Budget, done: Sequence[Result], left: int) -> Budget:
    """What is left of a budget, for each of the parts that are left; at least a little, so that each has a kernel."""
    evaluations, seconds = budget.max_evaluations, budget.max_time
    if evaluations is not None:
        evaluations = max(1, (evaluations - sum(result.n_evaluations for result in done)) // left)
    if seconds is not None:
        seconds = max(1e-3, (seconds - sum(result.runtime for result in done)) / left)
    # A bound on the whole objective says nothing of a part's.
    return replace(budget, max_evaluations=evaluations, max_time=seconds, gap=None, bound=None)


def _joined(problem: StackProblem, solver: Solver, results: Sequence[Result]) -> Result:
    """One result of those of the parts, the first ones if the user ended it: the others' kernels stay as given."""
    worst = results[-1] if _ended(results[-1]) else max(results, key=lambda r: list(Status).index(r.status))
    kernels = [result.kernel for result in results] + [part.kernel for part in problem.parts[len(results) :]]
    bounds = [result.bound for result in results if result.bound is not None]
    return Result(
        kernel=problem.stack(kernels),
        status=worst.status,
        message=listed(result.message for result in results if result.status is worst.status),
        solver=solver.name,
        n_evaluations=sum(result.n_evaluations for result in results),
        n_gradients=sum(result.n_gradients for result in results),
        n_hessians=sum(result.n_hessians for result in results),
        gradient_norm=float(np.max([result.gradient_norm for result in results])),
        cost=sum(result.cost for result in results),
        runtime=sum(result.runtime for result in results),
        bound=Bound.total(bounds) if len(bounds) == len(problem.parts) else None,
        details={
            "parts": [{"status": r.status.value, "message": r.message, "cost": r.cost} for r in results],
            **({"interrupted": True} if results[-1].details.get("interrupted") else {}),
        },
    )


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
