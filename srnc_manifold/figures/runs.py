"""The runs that several figures are drawn from; each is made once, when a figure first needs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import srnc_manifold as srnc
from srnc_manifold.costs import ExactMax, LogSumExp
from srnc_manifold.solvers import Exact, GradientDescent, MultiStart, Riemannian, Solver

#: The file beside the figures that keeps the runs of comparisons.
STORE = "figures.db"

#: The paper's instance, section 3.3. It does not tell the target of its figures; 32 is half of the kernel's own.
INSTANCE = srnc.SRNProblem([1.0, 0.0, 0.0], 64, stable_rank=32)

#: Steps of the paper's length: after these the descent has come near its end, and more would take minutes.
STEPS = 40_000

#: The paper's cost and step size.
DESCENT = GradientDescent(LogSumExp(alpha=10.0, fidelity_weight=0.1), step_size=1e-5, max_iterations=STEPS)

#: The start of the README's picture, from which the methods go different ways.
README_START = (-0.2, 0.9, 0.4)

#: What the settling of the paper's formulation is shown for.
ALPHAS, WEIGHTS = (10.0, 100.0, 1e3, 1e4), (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

COMPARED = (
    "exact",
    "slsqp[n_starts=1]",
    *("augmented-lagrangian", "exact-penalty", "continuation", "trust-regions:penalty"),
)


class Runs:
    """The runs, with the paper's parameters where they are the paper's.

    Parameters
    ----------
    store : path
        Keeps the runs of comparisons.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        #: Called with what is done now.
        self.report: Callable[[str], Any] = lambda *_: None

    @cached_property
    def descent(self) -> srnc.Result:
        """The paper's descent from a random start."""
        return self._descended(rng=0)

    @cached_property
    def settled(self) -> srnc.Result:
        """Where the paper's descent would end: the same cost from its last iterate, with a line search."""
        return solved(INSTANCE, GradientDescent(DESCENT.cost, step_rule="armijo"), start=self.descent.kernel)

    @cached_property
    def readme(self) -> dict[str, srnc.Result]:
        """Five methods from one start."""
        methods = {
            "trust regions, log-sum-exp": Riemannian(LogSumExp()),
            "trust regions, exact maximum": Riemannian(ExactMax()),
            "SLSQP": MultiStart(n_starts=1),
            "exact": Exact(),
        }
        found = {"gradient descent, log-sum-exp (the paper)": self._descended(start=README_START)}
        return found | {label: solved(INSTANCE, one, start=README_START) for label, one in methods.items()}

    @cached_property
    def comparison(self) -> srnc.Comparison:
        """Six solvers on four random kernels, halfway between the least stable rank and their own."""
        return self._compared(problems(), COMPARED, range(10), budget=srnc.Budget(max_evaluations=1500))

    @cached_property
    def sweep(self) -> srnc.Comparison:
        """Trust regions with log-sum-exp and several parameters."""
        costs = srnc.sweep(LogSumExp, alpha=[10, 1e3, 1e5], fidelity_weight=[1e-1, 1e-3, 1e-5, 1e-7])
        some = dict(list(problems().items())[:2])
        return self._compared(some, srnc.sweep("trust-regions", cost=costs), range(5))

    def _descended(self, **start: Any) -> srnc.Result:
        def tell(row: Any) -> None:
            if row["iteration"] % 500 == 0:
                self.report(f"step {row['iteration']:.0f} of {STEPS}")

        return solved(INSTANCE, DESCENT, callback=tell, **start)

    def _compared(self, *what: Any, **options: Any) -> srnc.Comparison:
        made = srnc.compare(
            *what,
            store=self._store,
            progress=lambda done, total, _: self.report(f"run {done} of {total}"),
            **options,
        )
        if made.interrupted:
            raise KeyboardInterrupt
        return made


def problems() -> dict[str, srnc.SRNProblem]:
    """Random kernels, halfway between the least stable rank and their own."""
    rng = np.random.default_rng(0)
    layouts: dict[str, Any] = {
        "5 taps": ((5,), 24),
        "3×3": ((3, 3), 8),
        "2×2×3": ((2, 2, 3), 8),
        "2×2×3×3": ((2, 2, 3, 3), 8),
    }
    return {name: srnc.partway(rng.standard_normal(shape), size, 0.5) for name, (shape, size) in layouts.items()}


def solved(problem: srnc.SRNProblem, solver: Solver, **options: Any) -> srnc.Result:
    """A whole run: a part of one would be drawn as if it were the whole.

    Raises
    ------
    KeyboardInterrupt
        If it is interrupted, where :func:`srnc_manifold.solve` returns what it has.
    """
    found = srnc.solve(problem, solver, **options)
    if found.details.get("interrupted"):
        raise KeyboardInterrupt
    return found


def settled_at(alpha: float, weight: float) -> srnc.Evaluation:
    """Where the paper's formulation settles with other parameters: the least cost from five random starts."""
    solver = Riemannian(LogSumExp(alpha=alpha, fidelity_weight=weight))
    found = min((solved(INSTANCE, solver, rng=seed) for seed in range(5)), key=lambda result: result.cost)
    assert found.evaluation is not None
    return found.evaluation
