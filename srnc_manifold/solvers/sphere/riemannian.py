"""Minimization of a cost on a product of spheres by pymanopt's optimizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from srnc_manifold.backends import NAMES as BACKENDS
from srnc_manifold.backends import namespace
from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.costs.base import require_cost
from srnc_manifold.interop import pymanopt as pymanopt_optimizers
from srnc_manifold.interop.pymanopt import OPTIMIZERS, uses_gradients
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import SphereSolver
from srnc_manifold.solvers.oracle import Oracle
from srnc_manifold.solvers.runs import Run, Stop
from srnc_manifold.validation import require_choice, require_count, require_nonnegative

# An optimizer without gradients is stopped after this many evaluations without progress, per entry of a point.
# Otherwise pymanopt would continue up to its limits.
_PATIENCE = 200


@dataclass(frozen=True)
class Riemannian(SphereSolver):
    """Minimizes a cost on the unit sphere, or on a product of spheres, by one of pymanopt's optimizers.

    Parameters
    ----------
    cost : Cost
        The formulation; the paper's :class:`srnc_manifold.costs.LogSumExp` by default.
    optimizer : str or pymanopt optimizer
        ``"steepest-descent"``, ``"conjugate-gradient"``, ``"trust-regions"``, ``"nelder-mead"`` or
        ``"particle-swarm"``; or an instance of a class of pymanopt's or your own that is derived from
        ``pymanopt.optimizers.optimizer.Optimizer``. A copy of the instance is run, silently, with its own settings,
        such as its ``max_iterations`` and ``min_gradient_norm``.
    max_iterations : int
        Not for an instance.
    tolerance : float
        The run has converged if the norm of the Riemannian gradient is at most this. Not for an instance.
    backend : str
        How derivatives are computed: ``"numpy"`` (the gradient of the cost and the chain rule), ``"autograd"`` or
        ``"torch"``.

    Raises
    ------
    TypeError, ValueError
        If a setting is not valid, or an instance is given together with settings that it has itself.

    Notes
    -----
    Iterates of an instance are the points where it takes a gradient and, as long as it has taken none, each
    improvement. The best point is returned, or the last with a gradient if it has converged there.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> cost = srnc.costs.LogSumExp(alpha=1000, fidelity_weight=1e-5)
    >>> result = srnc.solve(problem, srnc.solvers.Riemannian(cost, "trust-regions"), rng=0)
    >>> result.evaluation.stable_rank_error < 1e-2
    True
    """

    cost: Cost = field(default_factory=LogSumExp)
    optimizer: Any = "trust-regions"
    max_iterations: int = 1000
    tolerance: float = 1e-6
    backend: str = "numpy"

    def __post_init__(self) -> None:
        require_cost(self.cost)
        if isinstance(self.optimizer, str):
            require_choice(OPTIMIZERS, optimizer=self.optimizer)
        else:
            self._require_instance()
        require_choice(BACKENDS, backend=self.backend)
        require_nonnegative(tolerance=self.tolerance)
        require_count(max_iterations=self.max_iterations)

    def _require_instance(self) -> None:
        pymanopt_optimizers.require_instance(self.optimizer)
        for name, own in (("max_iterations", "max_iterations"), ("tolerance", "min_gradient_norm")):
            if getattr(self, name) != getattr(type(self), name):
                raise ValueError(
                    f"{name}: {getattr(self, name)!r} given together with an instance of an optimizer, expected "
                    f"{own} in the instance, whose own settings are used"
                )

    def supports(self, problem: Problem) -> tuple[bool, str]:
        if pymanopt_optimizers.method_of(self.optimizer) == "nelder-mead" and problem.spheres.size > 200:
            return False, f"Nelder-Mead needs a simplex of {problem.spheres.size} points; the limit is 200 entries"
        return super().supports(problem)

    def load(self) -> None:
        pymanopt_optimizers.load()
        namespace(self.backend)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        tolerance, oracle = self.tolerance, self._oracle(run)
        if not isinstance(self.optimizer, str):
            own, _ = pymanopt_optimizers.limits_of(self.optimizer)
            tolerance = self.tolerance if own is None else own
        try:
            status, message = self._optimize(oracle, tolerance)
        except Stop as stop:
            status, message = stop.status, stop.message
        if status is Status.STALLED and self.cost.smooth and oracle.best_gradient_norm() <= tolerance:
            oracle.return_best()
            norm = oracle.best_gradient_norm()
            return (
                Status.CONVERGED,
                f"gradient norm {norm:.1e} is within the tolerance (not used by the optimizer)",
            )
        return status, message

    def _oracle(self, run: Run[Any]) -> Oracle:
        if not isinstance(self.optimizer, str):
            return _Watched(run, self.cost, backend=self.backend)
        patience = None if uses_gradients(self.optimizer) else _PATIENCE * run.problem.spheres.size
        return Oracle(run, self.cost, backend=self.backend, patience=patience)

    def _optimize(self, oracle: Oracle, tolerance: float) -> tuple[Status, str]:
        objective = pymanopt_optimizers.Objective(oracle.value, oracle.gradient, oracle.hessian)
        place, rng = (objective, oracle.spheres, oracle.start), oracle.run.rng
        limit: float | None = self.max_iterations
        if isinstance(oracle, _Watched):
            _, limit = pymanopt_optimizers.limits_of(self.optimizer)
            outcome = pymanopt_optimizers.minimize_with(*place, self.optimizer, rng=rng)
            oracle.end_at(outcome.point)
        else:
            outcome = pymanopt_optimizers.minimize(
                *place, self.optimizer, tolerance=tolerance, max_iterations=self.max_iterations, rng=rng
            )
        if outcome.gradient_norm <= tolerance:
            where = "the starting point is critical, " if outcome.iterations == 0 else ""
            return Status.CONVERGED, f"{where}gradient norm {outcome.gradient_norm:.1e} is within the tolerance"
        if limit is not None and outcome.iterations >= limit:
            return Status.LIMIT, f"{limit} iterations"
        if isinstance(oracle, _Watched):
            status = Status.LIMIT if outcome.own_limit else Status.STALLED
            return status, f"the optimizer ended after {outcome.iterations} iterations: {outcome.reason}"
        return Status.STALLED, (
            f"no further progress after {outcome.iterations} iterations; the cost may not be smooth here: try another "
            "start, a smoother cost or a derivative-free optimizer"
        )


class _Watched(Oracle):
    """The oracle of an optimizer of which it is not known whether it takes gradients.

    Until it takes one, each improvement is an iterate; from then on, each point where it takes one.
    """

    def __init__(self, run: Run[Any], cost: Cost, *, backend: str) -> None:
        super().__init__(run, cost, backend=backend)
        self._takes_gradients = False
        self._improvement: tuple[Array, float] | None = None

    def value(self, z: Array) -> float:
        self._record_improvement()
        before = self.run.best_key[0]
        value = super().value(z)
        if not self._takes_gradients and value < before:
            # Recorded with the next evaluation, as a gradient may follow, which makes it an iterate of another kind.
            self._improvement = np.array(z), value
        return value

    def gradient(self, z: Array, *, iterate: bool = True) -> Array:
        self.cost_at(z)
        self._takes_gradients, self._improvement = True, None
        return super().gradient(z, iterate=iterate)

    def end_at(self, z: Array) -> None:
        """Consider the point that the optimizer returned, of which it may not have asked the cost."""
        at_iterate = self._iterate is not None and np.array_equal(z, self._iterate[0])
        if not at_iterate and not np.array_equal(z, self.best_point):
            self.cost_at(z)
        self._record_improvement()

    def _record_improvement(self) -> None:
        if self._improvement is not None:
            (z, value), self._improvement = self._improvement, None
            self._record(z, value, np.nan)
