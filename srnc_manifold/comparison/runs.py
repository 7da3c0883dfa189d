"""One run of a comparison: what is to be done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from srnc_manifold.comparison.rows import FAILED, Row
from srnc_manifold.exchange import pack
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.result import Result
from srnc_manifold.solvers import Budget, Solver, solve
from srnc_manifold.writing import writable


@dataclass(frozen=True)
class Task:
    """A run that is to be done.

    Attributes
    ----------
    number : int
        Its place in the comparison.
    entry : NamedProblem
    label : str
        The solver's name in tables.
    solver : Solver
    seed : int
    budget : Budget or None
    settings : str
        The solver's canonical name, told here because other processes do not know the names that a script registers.
    """

    number: int
    entry: NamedProblem
    label: str
    solver: Solver
    seed: int
    budget: Budget | None
    settings: str

    def failed(self, message: str) -> Outcome:
        """The outcome of a run that returned nothing, and why."""
        row = Row(self.entry.name, self.label, self.seed, FAILED, writable(message), settings=self.settings)
        return Outcome(self.number, row)

    def carry_out(self) -> Outcome:
        """Do it, in this process."""
        try:
            found = solve(self.entry.problem, self.solver, budget=self.budget, rng=self.seed)
            result = replace(found, solver=self.settings)
            row, content = _row(self, result), pack(result.to_fields())
        except (Exception, SystemExit) as error:
            return self.failed(f"{type(error).__name__}: {error}")
        return Outcome(self.number, row, content, bool(result.details.get("interrupted")))


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    number : int
        That of the task.
    row : Row
    content : bytes or None
        The result, packed; None if there is none.
    interrupted : bool
        Whether the user stopped it.
    environment : dict
        Of the process that it was made in; see :mod:`srnc_manifold.comparison.environment`.
    """

    number: int
    row: Row
    content: bytes | None = None
    interrupted: bool = False


def _row(task: Task, result: Result) -> Row:
    evaluation, restored = result.evaluation, result.restored
    assert evaluation is not None
    return Row(
        problem=task.entry.name,
        solver=task.label,
        seed=task.seed,
        status=result.status.value,
        message=result.message,
        feasible=evaluation.feasible,
        stable_rank_error=evaluation.stable_rank_error,
        spectral_norm_error=evaluation.spectral_norm_error,
        objective=evaluation.objective,
        restored_objective=np.nan if restored is None else restored.objective,
        bound=np.nan if result.bound is None else result.bound.objective,
        squared_norm=task.entry.problem.squared_norm,
        evaluations=result.n_evaluations,
        gradients=result.n_gradients,
        hessians=result.n_hessians,
        gradient_norm=result.gradient_norm,
        time=result.runtime,
        settings=task.settings,
    )
