"""Many starts of one method at once, in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from srnc_manifold.backends import namespace
from srnc_manifold.costs.batched import device_name, dtype_name
from srnc_manifold.costs.rows import Family, Rows
from srnc_manifold.numerics import Array
from srnc_manifold.operators import Operator
from srnc_manifold.problem import Problem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver, SphereSolver
from srnc_manifold.solvers.constrained import augmented_lagrangian
from srnc_manifold.solvers.constrained.augmented_lagrangian import AugmentedLagrangian
from srnc_manifold.solvers.many.descent import BarzilaiBorwein, Steps
from srnc_manifold.solvers.many.loop import QUANTILES, Loop
from srnc_manifold.solvers.many.multipliers import Multipliers
from srnc_manifold.solvers.many.objectives import CostObjective, LagrangianObjective
from srnc_manifold.solvers.many.quasi_newton import LimitedMemory
from srnc_manifold.solvers.many.rows import STATUSES
from srnc_manifold.solvers.optimality import stationarity
from srnc_manifold.solvers.oracle import penalty_factors
from srnc_manifold.solvers.runs import Run, Stop
from srnc_manifold.solvers.sphere.gradient_descent import GradientDescent
from srnc_manifold.solvers.sphere.riemannian_lbfgs import RiemannianLBFGS
from srnc_manifold.validation import Rng, as_generator, require_count, require_memory, require_positive

ACCEPTED = "GradientDescent(step_rule='barzilai-borwein'), RiemannianLBFGS() or AugmentedLagrangian()"

# In single precision gradients and violations have errors of about 1e-6; a test of convergence must stay clear of them.
_SINGLE = 1e-5

# Of how many end points in single precision the search goes on in double precision, for each problem.
_POLISHED = 20

# Vectors of the size of a point that a start needs: the point, its gradient, and ten pairs that L-BFGS remembers.
_ROWS = 22


@dataclass(frozen=True)
class Batch(SphereSolver):
    """Many starts of one method, all in one loop in torch; the best feasible end point is the result.

    The starts step together, but each has its own step size, memory, penalty and multipliers. In a step each is
    evaluated once, at a trial point: one that does not decrease the cost enough is shortened to a quarter, where the
    methods by themselves have a line search. Every 25 steps one number is read from the device, how many starts are
    still on their way, with a row for the history; when they are half, the others are left out.

    The history is that of the best start at the time, with quantiles over all starts, ``cost_25``, ``cost_50``,
    ``cost_75``, ``violation_25``, …, and how many of them are ``going``. ``details["starts"]`` has the cost, objective,
    violation and status of every end point. Where no end point is feasible, as with formulations that miss the target,
    the one of the least cost is returned; or of the least violation, by the augmented Lagrangian method.

    Where the stable rank is reduced, the augmented Lagrangian method repeats its rounds with larger penalties until a
    point is feasible; here it does so only while no start has been. With ``dtype="float32"`` the starts run to a
    tolerance of 1e-5 at best; the search then goes on in double precision from the 20 best end points, whose optimum is
    that of double precision; the last rows of the history are theirs.

    Blocks with several rows and columns are decomposed by their Gram matrices, on the host if they have more than 32
    rows and columns. On a GPU torch itself then waits for its decompositions, to see whether they have failed.

    Parameters
    ----------
    method : GradientDescent, RiemannianLBFGS or AugmentedLagrangian
        With its settings; gradient descent with ``step_rule="barzilai-borwein"``. The subproblems of the augmented
        Lagrangian are solved by L-BFGS.
    starts : int
        The given start, if any, then random ones. A budget of few evaluations is spent on few starts.
    device : str, optional
        A device of torch, the CPU by default.
    dtype : str, optional
        ``"float64"``, the default, or ``"float32"``.
    patience : float, optional
        When half of the starts have ended, the others may take this many times the steps until then, and have the
        status ``LIMIT`` if they do not end: a few often take a hundred times as long as most. With None all may end.

    Raises
    ------
    TypeError
        If the method is another one.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> batch = srnc.solvers.Batch(srnc.solvers.AugmentedLagrangian(), starts=5)
    >>> srnc.solve(problem, batch, rng=0).evaluation.feasible
    True
    """

    method: Solver = field(default_factory=AugmentedLagrangian)
    starts: int = 1000
    device: str | None = None
    dtype: str | None = None
    patience: float | None = 5.0

    def __post_init__(self) -> None:
        descent = type(self.method) is GradientDescent and self.method.step_rule == "barzilai-borwein"
        if not descent and type(self.method) not in (RiemannianLBFGS, AugmentedLagrangian):
            given = self.method.name if isinstance(self.method, Solver) else repr(self.method)
            raise TypeError(f"method: {given} given, expected {ACCEPTED}")
        require_count(starts=self.starts)
        if self.patience is not None:
            require_positive(patience=self.patience)
        object.__setattr__(self, "device", device_name(self.device))
        object.__setattr__(self, "dtype", None if self.dtype is None else dtype_name(self.dtype))

    def load(self) -> None:
        namespace("torch").device_of(self.device)

    def supports(self, problem: Problem) -> tuple[bool, str]:
        try:
            namespace("torch")
        except ImportError as error:
            return False, f"it needs PyTorch, pip install torch ({error})"
        return super().supports(problem)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        watch = _Watch(run, isinstance(self.method, AugmentedLagrangian))
        count = min(self.starts, run.budget.max_evaluations or self.starts)
        require_memory(8.0 * _ROWS * count * run.problem.spheres.size, starts=count)
        first = run.first_point()
        run.offer(run.problem.unit_kernels_at(first), np.inf)
        points = [first, *(run.problem.spheres.random_point(run.rng) for _ in range(count - 1))]
        run.conclude = watch.conclude
        self.descend(Family.of_problem(run.problem), np.stack(points)[None], watch.count, watch.look)
        return watch.outcome()

    def descend(
        self,
        family: Family,
        starts: Array,
        count: Callable[[int], None] = lambda _: None,
        look: Callable[[Loop], None] = Loop.count_going,
    ) -> Loop:
        """Run the method from ``S`` starts on each of ``K`` problems that share their operators.

        Parameters
        ----------
        family : Family
            The ``K`` problems; ``Family.of_kernels`` makes it of directions and target gains.
        starts : array, shape ``(K, S, n)``
            Points of the spheres.
        count, look : callable, optional
            Called before each step with the number of evaluations, and every 25 steps; see ``Loop.run``.

        Returns
        -------
        Loop
            The rows of its ``ends`` are those of the starts, problem by problem; ``Loop.best`` tells the best of
            each problem. After single precision those of the best end points only, ``(K, 20)``.
        """
        with namespace("torch").exactly():
            loop = self._loop(family, starts, dtype_name(self.dtype))
            loop.run(count, look)
            if self.dtype == "float32":
                loop = self._polished(family, loop)
                loop.run(count, look)
        return loop

    def best_points(self, family: Family, starts: Array) -> tuple[Array, Array, Array]:
        """The best of ``S`` starts on each of ``K`` problems.

        Parameters
        ----------
        family, starts
            As of :meth:`descend`.

        Returns
        -------
        points : array, shape ``(K, n)``
            On the spheres.
        objectives : array, shape ``(K,)``
            Over ``‖C(a)‖_F²``.
        violations : array, shape ``(K,)``
        """
        loop = self.descend(family, starts)
        found = loop.ends.take(loop.best())
        points, *numbers = (loop.xp.to_numpy(part) for part in (found.z, found.objective, found.violation))
        return points, numbers[0], numbers[1]

    def nearest_points(self, operator: Operator, directions: Array, target_gains: Array, rng: Rng = None) -> Array:
        """What :func:`srnc_manifold.solve_batch` asks for: the best of the starts on each of ``K`` kernels.

        Parameters
        ----------
        operator : Operator
        directions : array, shape ``(K, n)``
            Unit vectors, from which the first start of each goes; the others are random.
        target_gains : array, shape ``(K,)``
            Above the gains of the directions.
        rng : int or numpy.random.Generator, optional

        Returns
        -------
        array, shape ``(K, n)``
            Unit vectors.
        """
        starts = as_generator(rng).standard_normal((len(directions), self.starts, directions.shape[1]))
        starts[:, 0] = directions
        starts /= np.linalg.norm(starts, axis=2, keepdims=True)
        return self.best_points(Family.of_kernels(operator, directions, target_gains), starts)[0]

    def bytes_per_problem(self, operator: Operator) -> int:
        """About the memory that the starts on one of many kernels of one layer take."""
        return 64 * self.starts * operator.multiplicities.size * max(1, operator.block_rank)

    def _loop(self, family: Family, starts: Any, dtype: str, given: dict[str, Any] | None = None) -> Loop:
        rows, method = Rows(family, self.device, dtype), self.method
        least = _SINGLE if dtype == "float32" else 0.0
        feasible = max(FEASIBILITY_TOLERANCE, 10 * least)
        points = rows.tensor(starts)
        if isinstance(method, AugmentedLagrangian):
            steps: Steps = LimitedMemory(method.max_iterations, memory=10)
            raising = any(part.regime == "raise" for part in family.parts)
            tolerance = max(method.tolerance, least)
            outer = _outer(method, len(family), raising, tolerance, feasible, polishing=given is not None)
            lagrangian, first = LagrangianObjective(rows), outer.first_tolerance
            return Loop(rows, lagrangian, steps, outer, points, first, feasible, given, self.patience)
        assert isinstance(method, GradientDescent | RiemannianLBFGS)
        if isinstance(method, GradientDescent):
            steps = BarzilaiBorwein(method.max_iterations, method.step_size, method.momentum)
        else:
            steps = LimitedMemory(method.max_iterations, method.memory)
        tolerance = max(method.tolerance, least)
        objective = CostObjective(rows, method.cost)
        return Loop(rows, objective, steps, None, points, tolerance, feasible, given, self.patience)

    def _polished(self, family: Family, loop: Loop) -> Loop:
        """A loop in double precision from the best end points of one in single precision."""
        chosen = loop.ranking()[:, :_POLISHED]
        found = loop.ends.take(chosen.reshape(-1))
        given = {name: found.columns[name].double() for name in ("penalty", "multipliers") if name in found.columns}
        polished = self._loop(family, found.z.reshape(*chosen.shape, -1), "float64", given)
        polished.before, polished.chosen = loop.ends, chosen.reshape(-1)
        return polished


class _Watch:
    """What a run is told of its loop: evaluations, a row of the history at each look, and the end."""

    def __init__(self, run: Run[Any], constrained: bool) -> None:
        self.run, self._constrained = run, constrained
        self._loop: Loop | None = None
        self._reached_goal = False

    def count(self, rows: int) -> None:
        self.run.count_evaluation(rows)
        self.run.n_gradients += rows

    def look(self, loop: Loop) -> None:
        self._loop = loop
        found = loop.report()
        kernels, problem = self._kernels(found["z"]), self.run.problem
        gains = [part.unit_radius**2 * gain for part, gain in zip(problem.parts, found["gains"], strict=True)]
        names = [f"{name}_{round(100 * part)}" for name in ("cost", "violation") for part in QUANTILES]
        more = dict(zip(names, [*found["value_quantiles"], *found["violation_quantiles"]], strict=True))
        more |= {name: found[name][0] for name in ("penalty", "multiplier") if name in found}
        numbers = {"cost": float(found["value"][0]), "gradient_norm": float(found["norm"][0])}
        try:
            self.run.record(kernels, *gains, going=loop.going, **numbers, **more)
        except Stop as stop:
            self._reached_goal = stop.status is Status.CONVERGED
            raise

    def conclude(self, status: Status) -> None:
        """Tell the run the best end point, unless another one reached a goal, and how all of them ended."""
        loop, run = self._loop, self.run
        if loop is None:
            return
        with loop.xp.exactly():
            loop.collect()
            found, ends = loop.report(), loop.all_ends()
        if not self._reached_goal:
            run.best = self._kernels(found["z"])
            run.cost, run.gradient_norm = float(found["value"][0]), float(found["norm"][0])
        if self._constrained:
            assert run.best is not None
            run.cost = run.problem.scores(run.best, np.ones(len(run.problem.parts)))["objective"]  # whatever the gains
            run.gradient_norm = stationarity(run.problem, run.problem.to_sphere(run.kernel))
        run.details["starts"] = {
            "cost": ends["value"].tolist(),
            "objective": (run.problem.squared_norm * ends["objective"]).tolist(),
            "violation": ends["violation"].tolist(),
            "status": _statuses(ends["code"]),
        }

    def outcome(self) -> tuple[Status, str]:
        """How the best start ended, and how many ended how."""
        assert self._loop is not None
        with self._loop.xp.exactly():
            found, codes = self._loop.report(), self._loop.all_ends()["code"]
        statuses = _statuses(codes)
        counts = [f"{statuses.count(name)} {name}" for name in dict.fromkeys(statuses)]
        numbers = f"violation {found['violation'][0]:.1e}, gradient norm {found['norm'][0]:.1e}"
        return Status(
            _statuses(found["code"])[0]
        ), f"best of {len(codes)} starts, {numbers}; of all, {', '.join(counts)}"

    def _kernels(self, point: Array) -> Array:
        return self.run.problem.unit_kernels_at(self.run.problem.spheres.normalized(point))


def _statuses(codes: Array) -> list[str]:
    """Names of how rows ended; those that were still on their way were cut short."""
    return [STATUSES.get(int(code), Status.LIMIT).value for code in codes]


def _outer(
    method: AugmentedLagrangian, problems: int, raising: bool, tolerance: float, feasible: float, *, polishing: bool
) -> Multipliers:
    factors = penalty_factors(raising)
    return Multipliers(
        problems,
        method.penalty,
        tolerance,
        method.max_rounds,
        factors[:1] if polishing else factors,
        raising,
        feasible,
        augmented_lagrangian.ENOUGH,
        augmented_lagrangian.GROWTH,
        augmented_lagrangian.SHARPER,
        augmented_lagrangian.LARGEST,
        augmented_lagrangian.FIRST_TOLERANCE,
    )
