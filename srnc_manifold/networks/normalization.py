"""The stable rank normalization of all layers of a network, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.networks.layers import NetworkLayer
from srnc_manifold.networks.outcome import Normalization
from srnc_manifold.networks.rows import FOUND, LIMIT, OPTIMAL, UNCHANGED, Row, skipped
from srnc_manifold.operators import Operator
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.target import Target
from srnc_manifold.progress import Progress
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.solve import solve
from srnc_manifold.validation import require_positive

# Of the least stable rank that was found, as a target: nearer to it the solver needs ever more steps.
_ABOVE_LEAST = 1.01

_STATUSES = {Status.CONVERGED: OPTIMAL, Status.LIMIT: LIMIT}


@dataclass(frozen=True)
class Goal:
    """What the stable rank of every layer shall be at most.

    Attributes
    ----------
    name : str
        ``"stable_rank"``, ``"relative_stable_rank"`` or ``"stable_rank_fraction"``, as of
        :class:`srnc_manifold.SRNProblem`.
    value : float
    clip : bool
        Whether a target that is not feasible is moved to the nearest that is, or is an error.
    """

    name: str
    value: float
    clip: bool = True

    @classmethod
    def of(
        cls,
        stable_rank: float | None,
        relative_stable_rank: float | None,
        stable_rank_fraction: float | None,
        clip: bool = True,
    ) -> Goal:
        """The one of three that is given.

        Raises
        ------
        TypeError, ValueError
            If none or several are given, or it is not a number in its range.
        """
        target = Target.of_one(stable_rank, relative_stable_rank, stable_rank_fraction)
        name, value = target.name, float(target.values[0])
        require_positive(**{name: value})
        if name != "stable_rank" and value > 1:
            raise ValueError(f"{name}: {value!r} given, expected at most 1")
        return cls(name, value, clip)

    def problem(self, kernel: NDArray[np.float64], operator: Operator) -> SRNProblem:
        """The problem of a layer, whose target may lie above what the layer has."""
        if self.name == "stable_rank_fraction":
            return SRNProblem(kernel, operator, stable_rank_fraction=self.value, clip=self.clip)
        high = operator.stable_rank_range[1]
        unit = high if self.name == "relative_stable_rank" else 1.0
        return SRNProblem(kernel, operator, stable_rank=min(self.value * unit, high), clip=self.clip)


def normalize(
    layers: Iterable[NetworkLayer],
    goal: Goal,
    *,
    max_time: float | None = None,
    progress: Progress | None = None,
) -> Normalization:
    """The nearest weights of all layers whose stable ranks are at most a target, with the norms that they have.

    Parameters
    ----------
    layers : iterable of NetworkLayer
    goal : Goal
    max_time : float, optional
        Seconds for each layer, after which the best weight so far is taken.
    progress : callable, optional

    Returns
    -------
    Normalization

    Raises
    ------
    TypeError, ValueError
        If an argument or a layer is not valid, which is found before any is solved. The message names the layer.
    """
    layers = list(layers)
    budget = Budget(max_time=max_time)
    operators = [_checked(layer) for layer in layers]
    rows: list[Row] = []
    weights: dict[str, NDArray[Any]] = {}
    for k, (layer, operator) in enumerate(zip(layers, operators, strict=True)):
        if progress is not None:
            progress(f"{layer.name} {'×'.join(map(str, layer.weight.shape))}", k, len(layers))
        began = time.perf_counter()
        try:
            row, weight = _normalized(layer, operator, goal, budget)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{layer.name}: {error}") from error
        rows.append(replace(row, seconds=time.perf_counter() - began))
        if weight is not None:
            weights[layer.name] = weight
    if progress is not None:
        progress("", len(layers), len(layers))
    return Normalization(tuple(rows), weights)


def _checked(layer: NetworkLayer) -> Operator:
    if layer.weight.dtype.kind != "f":
        raise TypeError(f"{layer.name}: dtype {layer.weight.dtype} given, expected real numbers")
    if not np.all(np.isfinite(layer.weight)):
        raise ValueError(f"{layer.name}: entries that are not finite, expected finite ones")
    return layer.operator()


def _normalized(layer: NetworkLayer, operator: Operator, goal: Goal, budget: Budget) -> tuple[Row, NDArray[Any] | None]:
    """What becomes of a layer, and its new weight if it has one."""
    # In doubles: the result is rounded once, to what the layer is kept in.
    kernel = np.asarray(layer.weight, np.float64)
    if not np.any(operator.coordinates(kernel)):
        return skipped(layer.name, "its entries that meet the input are all zero: it has no stable rank"), None
    problem = goal.problem(kernel, operator)
    row = Row(
        layer.name,
        UNCHANGED,
        shape=kernel.shape,
        input_size=problem.input_size,
        stable_rank_before=problem.kernel_stable_rank,
        target=problem.stable_rank,
        stable_rank_after=problem.kernel_stable_rank,
        clipped=problem.clipped,
        norm_before=problem.spectral_norm,
        norm_after=problem.spectral_norm,
        relative_distance=0.0,
        note=layer.note,
    )
    if problem.regime != "reduce":
        why = "no weight of its shape has less" if problem.clipped else "it is not above the target"
        return replace(row, message=why), None
    solution = _solved(problem, goal, budget)
    problem = solution.problem
    values = layer.rounded(solution.kernel)
    found = problem.evaluate(values)
    row = replace(
        row,
        status=_STATUSES.get(solution.status, FOUND),
        message=solution.message,
        target=problem.stable_rank,
        stable_rank_after=found.stable_rank,
        clipped=solution.clipped,
        norm_after=found.spectral_norm,
        relative_distance=found.relative_distance,
        gap=solution.gap,
        error=found.violation,
    )
    return row, values


@dataclass(frozen=True)
class _Solution:
    problem: SRNProblem
    status: Status
    message: str
    kernel: NDArray[np.float64]
    gap: float
    clipped: bool


def _solved(problem: SRNProblem, goal: Goal, budget: Budget) -> _Solution:
    """A weight of the target, or of the least stable rank that was found if there seems to be none."""
    result = _run(problem, budget)
    least, clipped, before = result.details.get("least_stable_rank"), problem.clipped, ""
    if least is not None:
        # What is feasible with other padding than circular is known from outside only.
        if not goal.clip:
            raise ValueError(f"{goal.name}: {goal.value!r} given; {result.message}, or clip=True")
        target = min(_ABOVE_LEAST * least, problem.kernel_stable_rank)
        problem, clipped = SRNProblem(problem.kernel, problem.operator, stable_rank=target), True
        before = f"{result.message}; "
        result = _run(problem, budget)
    # When time was up, the kernel as found may be short of its norm.
    ends = ((result.kernel, result.evaluation), (result.restored_kernel, result.restored))
    kernel, evaluation = next((end for end in ends if end[1] is not None and end[1].feasible), (None, None))
    if kernel is None or evaluation is None:
        raise ValueError(f"no weight of stable rank {problem.stable_rank:.6g} was found: {result.message}")
    proved = 0.0 if result.bound is None else result.bound.objective
    gap = (evaluation.objective - proved) / problem.squared_norm
    return _Solution(problem, result.status, before + result.message, kernel, gap, clipped)


def _run(problem: SRNProblem, budget: Budget) -> Result:
    result = solve(problem, budget=budget, throw=True)
    if result.details.get("interrupted"):  # a solver returns what it has; here that is not all
        raise KeyboardInterrupt
    return result
