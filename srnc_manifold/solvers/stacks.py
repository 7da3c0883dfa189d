"""Solvers of single kernels on stacks: one part after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from srnc_manifold.problem import Problem, SRNProblem, StackProblem
from srnc_manifold.problem.stack import listed
from srnc_manifold.result import Bound, Result, Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.runs import STOPPED_BY_CALLBACK, Callback, Run
from srnc_manifold.validation import Rng, as_generator


def carry_out(
    solver: Solver,
    problem: Problem,
    *,
    start: Any = None,
    budget: Budget | None = None,
    rng: Rng = None,
    callback: Callback | None = None,
    throw: bool = False,
) -> Result:
    """Run a solver; one of single kernels runs on each part of a stack, since nothing ties them together.

    Arguments as of :func:`srnc_manifold.solve`, of which this is the part that checks and scores nothing.
    """
    solver.load()
    if solver.products or isinstance(problem, SRNProblem):
        run = Run(problem, solver.name, start=start, budget=budget, rng=rng, callback=callback)
        return run.carry_out(solver.run, throw=throw)
    stack = cast(StackProblem, problem)
    n_parts = len(stack.parts)
    starts = [None] * n_parts if start is None else stack.kernels(start)
    generators = as_generator(rng).spawn(n_parts)
    results: list[Result] = []
    for part, own_start, generator in zip(stack.parts, starts, generators, strict=True):
        share = None if budget is None else _share(budget, results, n_parts - len(results))
        run = Run(part, solver.name, start=own_start, budget=share, rng=generator, callback=callback, whole=budget)
        results.append(run.carry_out(solver.run, throw=throw))
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
            **{name: worst.details[name] for name in ("interrupted", "traceback") if name in worst.details},
        },
    )
