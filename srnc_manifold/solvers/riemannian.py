"""The one place that knows pymanopt.

What pymanopt 2.2.1 does that users must not meet, and what is done about it here: it draws from NumPy's global
state (a sphere with its own generator, and a state that is set aside); steepest descent divides by zero at a critical
starting point (tested before it starts); a NaN cost runs on to a NaN point (ends the run); stopping reasons are
prose, and ``cost_evaluations`` and ``gradient_norm`` are not what they say (statuses, counts and norms are our own);
Nelder-Mead refuses a simplex of the right size (it draws it from our sphere).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from srnc_manifold.backends import NAMES as BACKENDS
from srnc_manifold.costs import Cost, LogSumExp
from srnc_manifold.numerics import Array
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.base import Budget, Callback, Rng, Solver, SphereRun, require_cost
from srnc_manifold.validation import as_generator, require_choice, require_count, require_nonnegative

# Name here -> (class in pymanopt, whether it uses gradients).
OPTIMIZERS = {
    "steepest-descent": ("SteepestDescent", True),
    "conjugate-gradient": ("ConjugateGradient", True),
    "trust-regions": ("TrustRegions", True),
    "nelder-mead": ("NelderMead", False),
    "particle-swarm": ("ParticleSwarm", False),
}

# NumPy's global random state is one for all threads: one run at a time.
_RANDOM_STATE = threading.RLock()

# Evaluations without progress, per kernel entry, after which an optimizer without gradients is stopped;
# pymanopt's run on to their limits.
_PATIENCE = 200


@dataclass(frozen=True)
class Riemannian(Solver):
    """A cost minimized on the unit sphere by one of pymanopt's optimizers.

    Parameters
    ----------
    cost : Cost
        The formulation; the paper's :class:`LogSumExp` by default.
    optimizer : str
        ``"steepest-descent"``, ``"conjugate-gradient"``, ``"trust-regions"``, ``"nelder-mead"`` or
        ``"particle-swarm"``.
    max_iterations : int
    tolerance : float
        Riemannian gradient norm at which the run has converged.
    backend : str
        What differentiates: ``"numpy"`` (the cost's own gradient and the chain rule), ``"autograd"`` or ``"torch"``.
    """

    cost: Cost = field(default_factory=LogSumExp)
    optimizer: str = "trust-regions"
    max_iterations: int = 1000
    tolerance: float = 1e-6
    backend: str = "numpy"

    def __post_init__(self) -> None:
        require_cost(self.cost)
        require_choice(OPTIMIZERS, optimizer=self.optimizer)
        require_choice(BACKENDS, backend=self.backend)
        require_nonnegative(tolerance=self.tolerance)
        require_count(max_iterations=self.max_iterations)

    @property
    def name(self) -> str:
        return f"{self.optimizer} [{self.cost}]"

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        if problem.kernel.size < 2:
            return False, "a kernel with one entry leaves nothing to optimize on a sphere"
        if self.optimizer == "nelder-mead" and problem.kernel.size > 200:
            return False, f"Nelder-Mead keeps a simplex of {problem.kernel.size} kernels; it is limited to 200 entries"
        return True, ""

    def run(
        self,
        problem: SRNProblem,
        start: Array | None = None,
        *,
        budget: Budget | None = None,
        rng: Rng = None,
        callback: Callback | None = None,
    ) -> Result:
        import pymanopt  # noqa: F401 - before the clock starts: it imports whatever it can differentiate with

        generator = as_generator(rng)
        kind, uses_gradients = OPTIMIZERS[self.optimizer]
        run = SphereRun(
            problem,
            self.cost,
            self.name,
            start,
            budget=budget,
            rng=generator,
            callback=callback,
            backend=self.backend,
            patience=None if uses_gradients else _PATIENCE * problem.kernel.size,
        )

        def optimize() -> tuple[Status, str]:
            if uses_gradients:
                norm = float(np.linalg.norm(run.gradient(run.start)))
                if norm <= self.tolerance:
                    return Status.CONVERGED, f"the starting point is critical, gradient norm {norm:.1e}"
            with _own_random_state(generator), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", RuntimeWarning)
                return self._optimize(run, kind, uses_gradients, generator)

        result = run.finish(optimize)
        if result.status is Status.STALLED and self.cost.smooth and result.gradient_norm <= self.tolerance:
            message = f"gradient norm {result.gradient_norm:.1e} is within the tolerance, though none was used"
            return replace(result, status=Status.CONVERGED, message=message)
        return result

    def _optimize(
        self, run: SphereRun, kind: str, uses_gradients: bool, generator: np.random.Generator
    ) -> tuple[Status, str]:
        import pymanopt

        manifold = _seeded_sphere(run, generator)
        problem = pymanopt.Problem(
            manifold,
            pymanopt.function.numpy(manifold)(run.value),
            riemannian_gradient=pymanopt.function.numpy(manifold)(run.gradient),
            riemannian_hessian=pymanopt.function.numpy(manifold)(run.hessian),
        )
        limits: dict[str, Any] = {"max_iterations": self.max_iterations, "max_time": np.inf, "verbosity": 0}
        if not uses_gradients:
            limits["max_cost_evaluations"] = np.inf
        optimizer = getattr(pymanopt.optimizers, kind)(min_gradient_norm=self.tolerance, **limits)
        # The derivative-free optimizers draw their first points from the manifold, ours first.
        outcome = optimizer.run(problem, initial_point=run.start if uses_gradients else None)
        if uses_gradients and run.history["gradient_norm"][-1] <= self.tolerance:
            return Status.CONVERGED, f"gradient norm {run.history['gradient_norm'][-1]:.1e} is within the tolerance"
        if outcome.iterations >= self.max_iterations:
            return Status.LIMIT, f"{self.max_iterations} iterations"
        return Status.STALLED, (
            f"no further progress after {outcome.iterations} iterations; the cost may not be smooth here: try another "
            "start, a smoother cost or a derivative-free optimizer"
        )


def _seeded_sphere(run: SphereRun, generator: np.random.Generator) -> Any:
    """pymanopt's sphere, drawing from our generator; the first point drawn is the run's start."""
    from pymanopt.manifolds import Sphere

    class SeededSphere(Sphere):
        def __init__(self) -> None:
            super().__init__(run.start.size)
            self._first: Array | None = run.start

        def random_point(self) -> Array:
            if self._first is not None:
                point, self._first = self._first, None
                return point
            return self._normalize(generator.standard_normal(self._shape))

        def random_tangent_vector(self, point: Array) -> Array:
            return self._normalize(self.projection(point, generator.standard_normal(self._shape)))

    return SeededSphere()


@contextmanager
def _own_random_state(generator: np.random.Generator) -> Iterator[None]:
    """Seed NumPy's global state, from which pymanopt's particle swarm draws, and put it back afterwards."""
    with _RANDOM_STATE:
        saved = np.random.get_state()  # noqa: NPY002 - the global state is what this is about
        np.random.seed(generator.integers(2**32))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(saved)  # noqa: NPY002
