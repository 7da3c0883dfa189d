"""What figures of runs show: the lines of each problem, columns of histories, gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold import bounds
from srnc_manifold.numerics import Array
from srnc_manifold.problem.base import Problem
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Bound, Result

# How far scores that are computed again may be from the saved ones, relative to their size.
_SAME_SCORES = 1e-6


@dataclass(frozen=True)
class Line:
    """The run of one line."""

    label: str
    result: Result


@dataclass(frozen=True)
class Panel:
    """The lines of one problem, and what gaps are measured by, if it is known."""

    title: str
    lines: list[Line]
    squared_norm: float | None = None
    reference: float | None = None


def require_own(label: str, result: Result, problem: Problem) -> None:
    """Raise an error if a result is not of a problem: by the shape of its kernel, and by its scores if it has any.

    Raises
    ------
    TypeError, ValueError
        If it is not, or if one of the two is something else.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    if result.kernel.shape != problem.kernel.shape:
        raise ValueError(
            f"results: {label!r} has a kernel of shape {result.kernel.shape}, expected that of the problem, "
            f"{problem.kernel.shape}; a result is drawn with its own problem"
        )
    if result.evaluation is None:
        return
    there, here = result.evaluation, problem.evaluate(result.kernel)
    for name in ("objective", "stable_rank_error", "spectral_norm_error"):
        size = problem.squared_norm if name == "objective" else 1.0
        one, other = getattr(there, name), getattr(here, name)
        if not abs(one - other) <= _SAME_SCORES * max(size, abs(one), abs(other)):
            raise ValueError(
                f"results: {label!r} is of another problem, its {name} is {one:.6g}, and {other:.6g} by this one; a "
                "result is drawn with its own problem"
            )


def results_by_label(results: Any) -> dict[str, Result]:
    """Results by label."""
    runs = {results.solver: results} if isinstance(results, Result) else results
    if not isinstance(runs, Mapping):
        raise TypeError(f"results: {type(results).__name__} given, expected a Result or a mapping of labels to Results")
    for label, result in runs.items():
        if not isinstance(result, Result):
            raise TypeError(f"results: {type(result).__name__} given as {label!r}, expected a Result")
    if not runs:
        raise ValueError("results: none given, expected at least one")
    return {str(label): result for label, result in runs.items()}


def panels_to_draw(results: Any, problem: Any, reference: float | Bound | None, y: str) -> list[Panel]:
    """What is drawn: one panel, or one for each problem of a comparison."""
    value = reference.objective if isinstance(reference, Bound) else None if reference is None else float(reference)
    if hasattr(results, "row_list"):  # a Comparison, which is above this module
        return _panels_of(results, problem, value)
    runs = results_by_label(results)
    optimum = None
    if isinstance(problem, NamedProblem):
        problem, optimum = problem.problem, problem.optimum
    lines = [Line(label, result) for label, result in runs.items()]
    if problem is None:
        return [Panel("", lines, None, value)]
    for label, result in runs.items():
        require_own(label, result, problem)
    if y == "gap" and value is None:
        value = _reference(lines, problem, optimum)
    return [Panel("", lines, problem.squared_norm, value)]


def _panels_of(comparison: Any, chosen: Any, value: float | None) -> list[Panel]:
    """The panels of a comparison."""
    names = list(comparison.problems)
    if chosen is not None:
        name = chosen if isinstance(chosen, str) else getattr(chosen, "name", None)
        if name is None:
            name = next((n for n in names if comparison.problems[n].problem is chosen), None)
        if name not in comparison.problems:
            raise ValueError(f"problem: {chosen!r} given, expected one of {', '.join(names)}")
        names = [name]
    table = comparison.table()
    panels = []
    for name in names:
        lines = [Line(key[1], comparison.results[key]) for key in comparison.results if key[0] == name]
        if lines:
            known = table[table["problem"] == name]["reference"].iloc[0] if value is None else value
            own = float(known) if np.isfinite(known) else None
            panels.append(Panel(name, lines, comparison.problems[name].problem.squared_norm, own))
    if not panels:
        raise ValueError("results: nothing to plot, no run has returned a kernel")
    return panels


def _reference(lines: Sequence[Line], problem: Problem, optimum: float | None) -> float:
    """The objective to compare with: the optimum, or else the best bound."""
    if optimum is not None:
        return optimum
    proved = [line.result.bound.objective for line in lines if line.result.bound is not None]
    return max(proved) if proved else float(bounds.bound(problem).objective)


def column(line: Line, name: str) -> Array:
    """A column of a run's history; without a history, what its scores say."""
    recorded, result = line.result.history, line.result
    if len(recorded):
        if name == "violation" and name not in recorded.columns:
            return np.maximum(recorded["stable_rank_error"], recorded["spectral_norm_error"])
        if name not in recorded.columns:
            # A column of one solver, such as a penalty, is no column of the others: they have no line.
            return np.full(len(recorded), np.nan)
        return recorded[name]
    alone: dict[str, Any] = {
        "evaluations": result.n_evaluations,
        "iteration": 0,
        "time": result.runtime,
        "cost": result.cost,
        "gradient_norm": result.gradient_norm,
    }
    value = alone[name] if name in alone else getattr(result.evaluation, name, np.nan)
    return np.array([value], float)


def gaps_of(line: Line, panel: Panel) -> Array:
    """Gaps of the iterates; NaN where an iterate that is not feasible is below the reference."""
    result, bound = line.result, line.result.bound
    reference, size = panel.reference, panel.squared_norm
    if reference is None and bound is not None:
        reference = bound.objective
    if size is None and result.evaluation is not None and result.evaluation.relative_distance > 0:
        # By the definitions of the two scores; docs/theory.md, section 2.
        size = result.evaluation.objective / result.evaluation.relative_distance**2
    if reference is None or size is None:
        raise ValueError(
            f"y: 'gap' given, but {line.label!r} has no bound to measure it by; expected problem= or reference="
        )
    gaps = (column(line, "objective") - reference) / size
    feasible = column(line, "violation") < FEASIBILITY_TOLERANCE
    return np.where((gaps < 0) & ~feasible, np.nan, gaps)
