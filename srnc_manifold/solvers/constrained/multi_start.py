"""The one place that knows SciPy's optimizers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array, Memo
from srnc_manifold.problem import Problem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.process import one_thread
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.optimality import objective_weight, stationarity
from srnc_manifold.solvers.runs import STOPPED_BY_CALLBACK, Callback, Run, Stop
from srnc_manifold.validation import require_count, require_positive

# SciPy's name -> most kernel entries for which one start is bearable (dense factorizations of that order).
METHODS = {"SLSQP": 500, "trust-constr": 500, "COBYQA": 100}

# Below this relative violation, points are ranked by objective.
_NEGLIGIBLE_VIOLATION = 1e-8

# The largest number of iterations that SciPy's compiled methods count.
_C_INT = 2**31 - 1


@dataclass(frozen=True)
class MultiStart(Solver):
    """The constrained problem (15) by one of SciPy's optimizers from several starts; the best feasible one is kept.

    Minimizes ``‖ρ z − a‖² / ‖a‖²`` subject to ``‖z‖² = 1`` and the half of ``max_l g_l(z) = c`` that binds: when
    reducing, ``max_l g_l >= c`` with the gradient of an active frequency; when raising, ``g_l <= c`` for all of them.
    On a product of spheres, one constraint for each sphere and as many gains as there are kernels.

    Parameters
    ----------
    method : str or callable
        ``"SLSQP"``, ``"trust-constr"`` or ``"COBYQA"``, or a minimizer of one's own as SciPy takes them:
        ``method(fun, x0, args=(), jac=…, hess=…, constraints=…, callback=…, maxiter=…, tol=…, **options)``, which
        returns a ``scipy.optimize.OptimizeResult``. The constraints are two ``scipy.optimize.NonlinearConstraint``: an
        equation and inequalities; SciPy does not rewrite them for such a method. The history has the points that it
        passes to ``callback(x)``.
    n_starts : int
        Starts on the sphere ``‖x‖ = ρ``: the given one, if any, then random ones.
    max_iterations : int
        Of each start.
    tolerance : float
        SciPy's ``ftol`` (SLSQP), ``gtol`` and ``xtol`` (trust-constr), ``final_tr_radius`` (COBYQA, at least 1e-8,
        below which its models are rounding errors), ``tol`` of a callable.
    n_jobs : int
        Processes (joblib); results do not depend on it.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.MultiStart("SLSQP", n_starts=2), rng=0)
    >>> round(result.evaluation.objective, 4)
    10.6667
    """

    method: str | Callable[..., Any] = "SLSQP"
    n_starts: int = 10
    max_iterations: int = 300
    tolerance: float = 1e-12
    n_jobs: int = 1

    products = True

    def __post_init__(self) -> None:
        if not callable(self.method) and self.method not in tuple(METHODS):
            raise ValueError(f"method: {self.method!r} given, expected one of {', '.join(METHODS)} or a callable")
        require_count(n_starts=self.n_starts, max_iterations=self.max_iterations)
        require_positive(tolerance=self.tolerance)

    def supports(self, problem: Problem) -> tuple[bool, str]:
        if not isinstance(self.method, str):
            return True, ""
        size, limit = problem.spheres.size, METHODS[self.method]
        if size > limit:
            return False, f"{self.method} works with dense matrices of the kernel's size, {size}; limited to {limit}"
        return True, ""

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        import joblib

        problem, spheres = run.problem, run.problem.spheres
        first = run.first_point()
        run.offer(problem.unit_kernels_at(first), np.inf)
        # A budget of few evaluations is spent on few starts.
        n_starts = min(self.n_starts, run.budget.max_evaluations or self.n_starts)
        # Drawn when they are needed, so that a budget of time ends any number of them.
        drawn = (spheres.random_point(run.rng.spawn(1)[0]) for _ in range(n_starts - 1))
        others = takewhile(lambda _: run.time_is_left(), drawn)
        share = _share(run.budget, n_starts, joblib.effective_n_jobs(self.n_jobs))
        # A callback cannot cross to another process; there it is called with the starts' last rows.
        watcher = run.callback if self.n_jobs == 1 else None
        outcomes: list[_Outcome] = []
        tasks = (
            joblib.delayed(_one_start)(self, problem, z, share, run.whole, watcher) for z in chain([first], others)
        )
        try:
            for outcome in joblib.Parallel(n_jobs=self.n_jobs, return_as="generator")(tasks):
                outcomes.append(outcome)
                result = outcome.result
                if result.details.get("interrupted"):
                    raise KeyboardInterrupt
                if result.message == STOPPED_BY_CALLBACK:
                    raise Stop(Status.LIMIT, STOPPED_BY_CALLBACK)
                if watcher is None and len(result.history):
                    run.notify({name: column[-1] for name, column in result.history.columns.items()})
            best = min(outcomes, key=_rank).result
            return best.status, best.message
        finally:
            _merge(run, outcomes)


@dataclass(frozen=True)
class _Outcome:
    """Of one local search: its result, and its kernel in units of the spectral norms."""

    result: Result
    unit_kernel: Array
    violation: float


def _one_start(
    solver: MultiStart, problem: Problem, z: Array, budget: Budget, whole: Budget, callback: Callback | None
) -> _Outcome:
    """One local search, a run of its own with a share of the whole budget: it may be in another process."""
    # Before the limit below, which reaches only the linear algebra libraries that are loaded.
    import scipy.optimize  # noqa: F401

    run: Run[Problem] = Run(problem, solver.name, budget=budget, callback=callback, whole=whole)
    functions = _Functions(problem, run)
    run.offer(problem.unit_kernels_at(z), np.inf, np.inf)
    with one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = run.carry_out(lambda _: _minimize(solver, functions, z))
    violation, cost = (*run.best_key, np.inf)[:2]
    if result.status is Status.CONVERGED and violation > max(FEASIBILITY_TOLERANCE, budget.violation or 0.0):
        message = f"SciPy says {result.message!r}, but the constraints are violated by {violation:.0e}"
        result = replace(result, status=Status.STALLED, message=message)
    assert run.best is not None
    return _Outcome(replace(result, cost=cost), run.best, violation)


def _minimize(solver: MultiStart, functions: _Functions, z: Array) -> tuple[Status, str]:
    from scipy import optimize

    functions.iterate(z)
    gradients = solver.method != "COBYQA"
    constraints = [
        optimize.NonlinearConstraint(functions.norms, 0.0, 0.0, **_jac(functions.norms_jacobian, gradients)),
        optimize.NonlinearConstraint(functions.gain, 0.0, np.inf, **_jac(functions.gain_jacobian, gradients)),
    ]
    options: dict[str, Any] = {"maxiter": min(solver.max_iterations, _C_INT)}
    method = solver.method if isinstance(solver.method, str) else "custom"
    options |= {
        "SLSQP": {"ftol": solver.tolerance},
        "trust-constr": {"gtol": solver.tolerance, "xtol": solver.tolerance},
        "COBYQA": {"final_tr_radius": max(solver.tolerance, 1e-8), "maxfev": 20 * solver.max_iterations},
        "custom": {"tol": solver.tolerance},
    }[method]
    derivatives: dict[str, Any] = {"jac": functions.objective_gradient} if gradients else {}
    if method in ("trust-constr", "custom"):
        derivatives["hess"] = functions.objective_hessian
    outcome = optimize.minimize(
        functions.objective,
        z,
        method=solver.method,
        constraints=constraints,
        options=options,
        callback=functions.iterate,
        **derivatives,
    )
    if not isinstance(outcome, optimize.OptimizeResult) or not {"x", "success", "message"} <= outcome.keys():
        raise TypeError(f"method: returned {outcome!r}, expected an OptimizeResult with x, success and message")
    functions.watch(np.asarray(outcome.x))
    if outcome.success or (solver.method == "trust-constr" and outcome.status in (1, 2)):
        return Status.CONVERGED, str(outcome.message)
    limited = outcome.nit >= solver.max_iterations if "nit" in outcome else False
    return (Status.LIMIT if limited else Status.STALLED), str(outcome.message)


def _jac(jacobian: Any, used: bool) -> dict[str, Any]:
    return {"jac": jacobian} if used else {}


class _Functions:
    """Objective and constraints of (15) by flat points near the spheres, singular values computed once for each."""

    def __init__(self, problem: Problem, run: Run[Problem]) -> None:
        self.problem, self.run, self.spheres = problem, run, problem.spheres
        self._kernels = list(zip(problem.parts, problem.kernel_slices, strict=True))
        self._raising = [regime == "raise" for regime in problem.regimes]
        self._anchor = np.concatenate([part.unit_kernel.ravel() for part in problem.parts])
        # The weight of each entry's square in the objective over ‖C(a)‖², and the radius of its kernel.
        self._weights, self._radii = np.empty_like(self._anchor), np.empty_like(self._anchor)
        for part, place in self._kernels:
            self._weights[place] = part.operator.gram_weight * objective_weight(problem, part)
            self._radii[place] = part.unit_radius
        self._known: Memo[list[Array]] = Memo()

    def objective(self, z: Array) -> float:
        return float(np.sum(self._weights * self._difference(z) ** 2))

    def objective_gradient(self, z: Array) -> Array:
        return self.problem.embed_adjoint(z, 2 * self._weights * self._radii * self._difference(z))

    def objective_hessian(self, z: Array) -> Array:
        return np.stack([self._hessian_product(z, unit) for unit in np.eye(z.size)])

    def _hessian_product(self, z: Array, vector: Array) -> Array:
        covector = 2 * self._weights * self._radii**2 * self.problem.embed_derivative(z, vector)
        slope = 2 * self._weights * self._radii * self._difference(z)
        return self.problem.embed_adjoint(z, covector) + self.problem.embed_curvature(z, vector, slope)

    def _difference(self, z: Array) -> Array:
        return self._radii * self.problem.embed(z) - self._anchor

    def norms(self, z: Array) -> Array:
        return np.array([float(factor @ factor) - 1.0 for factor in self.spheres.split(z)])

    def norms_jacobian(self, z: Array) -> Array:
        jacobian = np.zeros((len(self.spheres.sizes), z.size))
        for k, place in enumerate(self.spheres.slices):
            jacobian[k, place] = 2 * z[place]
        return jacobian

    def gain(self, z: Array) -> Array:
        return np.concatenate(
            [
                1.0 - gains if raising else np.max(gains, keepdims=True) - 1.0
                for raising, gains in zip(self._raising, self._gains(z), strict=True)
            ]
        )

    def gain_jacobian(self, z: Array) -> Array:
        self.run.n_gradients += 1
        w, rows = self.problem.embed(z), []
        for (part, place), raising in zip(self._kernels, self._raising, strict=True):
            factor = (-2.0 if raising else 2.0) * part.unit_radius**2
            pairs = part.singular_values_at(w[place], _first_of_each if raising else _first_of_all)
            for value, gradient in zip(*pairs, strict=True):
                covector = np.zeros_like(w)
                covector[place] = factor * value * gradient
                rows.append(self.problem.embed_adjoint(z, covector))
        return np.stack(rows)

    def watch(self, z: Array) -> None:
        """Offer a point to the run, feasible ones first, then by objective."""
        gains = [abs(float(np.sqrt(np.max(own))) - 1) for own in self._gains(z)]
        violation = max(*gains, *(abs(float(norm)) for norm in self.norms(z)))
        key = violation if violation >= _NEGLIGIBLE_VIOLATION else 0.0, self.objective(z)
        self.run.offer(self.problem.unit_kernels_at(z), *key)

    def iterate(self, z: Array, *_: Any) -> None:
        """Callback of SciPy."""
        self.watch(z)
        gains = [float(np.max(own)) for own in self._gains(z)]
        self.run.record(self.problem.unit_kernels_at(z), *gains, cost=self.objective(z), gradient_norm=np.nan)

    def _gains(self, z: Array) -> list[Array]:
        """Of each kernel the largest squared singular value at every frequency, in units of ``M²``."""
        return self._known.at(z, lambda: self._computed_gains(z))

    def _computed_gains(self, z: Array) -> list[Array]:
        if not np.all(np.isfinite(z)):
            raise Stop(Status.NONFINITE, "the optimizer proposed a point that is not finite")
        self.run.count_evaluation()
        w = self.problem.embed(z)
        values = [part.operator.squared_singular_values(w[place]) for part, place in self._kernels]
        return [part.unit_radius**2 * own[:, 0] for (part, _), own in zip(self._kernels, values, strict=True)]


def _first_of_each(singular_values: Array) -> NDArray[np.bool_]:
    """The largest of every block."""
    chosen = np.zeros(singular_values.shape, bool)
    chosen[:, 0] = True
    return chosen


def _first_of_all(singular_values: Array) -> NDArray[np.bool_]:
    """The largest of all blocks, the first one if several are tied."""
    chosen = np.zeros(singular_values.shape, bool)
    chosen[np.argmax(singular_values[:, 0]), 0] = True
    return chosen


def _rank(outcome: _Outcome) -> tuple[float, float]:
    """Clearly feasible starts by cost, then the others by violation; local searches end well on either side."""
    violation = outcome.violation
    return violation if violation > FEASIBILITY_TOLERANCE / 4 else 0.0, outcome.result.cost


def _share(budget: Budget, n_starts: int, n_jobs: int) -> Budget:
    """What each start may use of a budget for all; independent of ``n_jobs`` in evaluations, so that results are."""
    evaluations = None if budget.max_evaluations is None else max(1, budget.max_evaluations // n_starts)
    time = None if budget.max_time is None else budget.max_time * min(n_jobs, n_starts) / n_starts
    return replace(budget, max_evaluations=evaluations, max_time=time)


def _merge(run: Run[Problem], outcomes: list[_Outcome]) -> None:
    """The best start's kernel and history, everyone's counts."""
    if outcomes:
        best = min(outcomes, key=_rank)
        run.best, run.history, run.cost = best.unit_kernel, best.result.history, best.result.cost
        run.n_evaluations = sum(outcome.result.n_evaluations for outcome in outcomes)
        run.n_gradients = sum(outcome.result.n_gradients for outcome in outcomes)
        run.details["starts"] = [
            {"cost": o.result.cost, "violation": o.violation, "status": o.result.status.value} for o in outcomes
        ]
    run.gradient_norm = stationarity(run.problem, run.problem.to_sphere(run.kernel))
