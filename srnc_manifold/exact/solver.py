"""The certified global solution as a solver."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold import bounds, certificates
from srnc_manifold.bounds.layers import layer_bound
from srnc_manifold.exact import reduce
from srnc_manifold.exact.reduce import CLOSING, Effort, general
from srnc_manifold.numerics import Array
from srnc_manifold.operators.circular import Circular
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Bound, Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.optimality import stationarity
from srnc_manifold.solvers.runs import Run
from srnc_manifold.validation import require_positive

# Gaps that solvers of cone programs close.
_CONE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Exact(Solver):
    """The global solution, with a certificate of how far from optimal it can be.

    *Reducing* the stable rank (docs/theory.md, section 4): where every block of the operator has one row or column
    (single-channel and depthwise kernels, one input or output channel) a scalar equation for each frequency; otherwise
    atoms improved by alternation, in the frequencies that bounds do not exclude, and multipliers that close what the
    bounds leave open. A dense matrix is a case of both. Other operators, such as layers with other padding, have no
    frequencies: alternation from several pairs of feature maps, and bounds that mostly leave a gap (section 17).
    *Raising* it (docs/theory.md, section 10): a cone program,
    which solves the problem if its solution lies on the sphere; otherwise a local search from several starts and, for
    up to twelve weights, moment relaxations with branch and bound. They aim for a gap of 1e-4 of ``‖C(a)‖_F²`` and of
    ``⟨a, z⟩``, which they reach for most kernels (``benchmarks/raising.py``). For larger ones there is Shor's bound.

    ``result.bound`` is proved in any case, ``result.gap`` the distance to it. ``result.alternatives`` has the
    minimizers tied with the one returned, as far as they lie at other frequencies or are mirror images;
    ``result.details["distance_to_tie"]`` tells how much farther the next frequency is, or None if no other one has
    kernels of the target stable rank (see :func:`srnc_manifold.sensitivity`).

    Parameters
    ----------
    tolerance : float
        Gap, as a part of ``‖C(a)‖_F²``, that is optimal for the purpose of the status; the search goes on until there.
        In the raise regime at least 1e-6, the accuracy of cone programs.
    effort : float
        How much work may go into what is open after the first bounds: restarts, parts of a block, starts and regions of
        the raise regime. It is counted, not timed, so that the same problem has the same solution. 1 keeps the slowest
        problems of a kind within about 20 times the time of most; 10 allows ten times as much.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.Exact())
    >>> result.kernel.round(6), result.status.value, len(result.alternatives)
    (array([0.666667, 0.166667, 0.166667]), 'converged', 1)
    """

    tolerance: float = 1e-8
    effort: float = 1.0

    stochastic = False
    unseen = True

    def __post_init__(self) -> None:
        require_positive(tolerance=self.tolerance, effort=self.effort)

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        if problem.regime == "raise" and not isinstance(problem.operator, Circular):
            return False, (
                f"it raises the stable rank from {problem.kernel_stable_rank:.6g} to {problem.stable_rank:.6g}, which "
                "is for convolutions with circular padding only"
            )
        return True, ""

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        # Neither the user's start nor the generator is used: the starts of the raise regime are always the same.
        run.bound = Bound(run.problem.bound_at(0.0), "the norms alone", "trivial")
        run.n_evaluations += 1  # whatever the budget: a kernel and a bound are returned in any case
        try:
            reduce_ = self._reduce if isinstance(run.problem.operator, Circular) else self._alternate
            return {"none": self._keep, "reduce": reduce_, "raise": self._raise}[run.problem.regime](run)
        finally:
            run.cost = float(run.history["objective"][-1]) if len(run.history) else np.nan

    def _keep(self, run: Run[SRNProblem]) -> tuple[Status, str]:
        run.gradient_norm = 0.0
        _show(run, run.problem.direction)
        return Status.CONVERGED, "the kernel has the target stable rank already"

    def _reduce(self, run: Run[SRNProblem]) -> tuple[Status, str]:
        problem = run.problem

        def take(single: reduce.Single) -> None:
            run.best = problem.unit_radius * single.points[0]
            ties = single.points[1:]
            run.alternatives = tuple(problem.to_kernel(z) for z in ties)
            method = {
                "lemma": "the Lemma",
                "multipliers": "the Lemma and multipliers",
                "nothing": "the Lemma and multipliers, which leave a gap",
            }[single.closed_by]
            run.bound = Bound(problem.bound_at(single.bound), method, "caps", single.certificate.arrays())
            apart = max(0.0, np.sqrt(single.runner_up) - np.sqrt(single.squared_distance))
            run.details |= {
                "closed_by": single.closed_by,
                "blocks": single.blocks,
                # None if no other frequency has kernels of the target stable rank.
                "distance_to_tie": 0.0 if ties else float(apart) if np.isfinite(apart) else None,
            }

        single = reduce.nearest_to_one(
            problem.direction,
            problem.level,
            problem.geometry,
            tolerance=self.tolerance * _squared_distance_of_gap(problem),
            effort=Effort(run.time_is_left),
            closing=CLOSING * self.effort,
            notify=lambda z, _: _show(run, z),
            tests=problem.norm_tests,
            rescue=take,
        )
        take(single)
        if run.time_is_left():  # in large layers it takes as long as some steps of the search
            run.gradient_norm = stationarity(problem, single.points[0], single.blocks)
        _record(run, single.points[0])
        ties = f"; {len(run.alternatives)} other minimizers are tied with it" if run.alternatives else ""
        return self._status(run, f"global minimizer{ties}")

    def _alternate(self, run: Run[SRNProblem]) -> tuple[Status, str]:
        problem, effort = run.problem, Effort(run.time_is_left)
        operator, direction = problem.operator, problem.direction
        relaxed = general.relaxed(operator, direction, problem.target_gain, effort, CLOSING * self.effort)
        run.bound = layer_bound(problem, relaxed)
        target = math.sqrt(problem.target_gain)
        search = general.Alternation(operator, direction, target, run.time_is_left, lambda z, _: _show(run, z))
        best = search.search(general.starts(operator, direction, relaxed, target, self.effort))
        run.n_evaluations += search.steps
        run.details |= {"closed_by": run.bound.method}
        if best is None:
            least = operator.gram_weight / search.longest**2
            run.details["least_stable_rank"] = least
            run.gradient_norm = np.nan
            return Status.STALLED, f"no kernel of this stable rank was found, the least found is {least:.6g}"
        run.gradient_norm = general.stationarity(operator, problem.unit_radius * best.z, problem.unit_kernel)
        return self._status(run, "global minimizer")

    def _raise(self, run: Run[SRNProblem]) -> tuple[Status, str]:
        from srnc_manifold.exact.increase import search as raising  # brings cvxpy, which takes a second to import

        problem = run.problem
        args = problem.direction, problem.geometry, certificates.upper_level(problem.level)
        search = raising.Search(*args, run.time_is_left, lambda z: _show(run, z))
        unit = 0.5 * _squared_distance_of_gap(problem)  # difference of ⟨a, z⟩ that is ‖C(a)‖² in the objective
        try:
            raising.raise_gain(
                *args,
                effort=self.effort,
                tolerance=unit * max(self.tolerance, _CONE_TOLERANCE),
                unit=unit,
                keep_going=run.time_is_left,
                search=search,
            )
        finally:
            if search.kind:
                run.bound = bounds.raise_bound(problem, search.bound, search.kind, search.arrays)
                run.details["closed_by"] = run.bound.method
        run.gradient_norm = stationarity(problem, search.z)
        return self._status(run, "global minimizer")

    def _status(self, run: Run[SRNProblem], message: str) -> tuple[Status, str]:
        problem, bound = run.problem, run.bound
        assert bound is not None
        objective = float(run.history["objective"][-1])
        gap = (objective - bound.objective) / problem.squared_norm
        if gap <= (self.tolerance if problem.regime == "reduce" else max(self.tolerance, _CONE_TOLERANCE)):
            return Status.CONVERGED, f"{message}; proved to {max(gap, 0.0):.1g} of ‖C(a)‖²: {bound.method}"
        if not run.time_is_left():
            return Status.LIMIT, f"the budget of {run.budget.max_time:g} s is used up; gap {gap:.2g} of ‖C(a)‖²"
        return Status.STALLED, f"best kernel found; proved to {gap:.2g} of ‖C(a)‖² only: {bound.method}"


def _show(run: Run[SRNProblem], z: Array) -> None:
    """Offer and record a unit kernel of the target gain."""
    run.offer(run.problem.unit_radius * z, float(np.linalg.norm(z - run.problem.direction)))
    _record(run, z)


def _record(run: Run[SRNProblem], z: Array) -> None:
    distance = float(np.linalg.norm(z - run.problem.direction))
    cost = run.problem.objective_at(distance**2)
    run.record(run.problem.unit_radius * z, 1.0, cost=cost, gradient_norm=np.nan)


def _squared_distance_of_gap(problem: SRNProblem) -> float:
    """Difference of squared distances on the unit sphere that is a difference of ``‖C(a)‖²`` in the objective."""
    return float(np.linalg.norm(problem.unit_kernel)) / problem.unit_radius
