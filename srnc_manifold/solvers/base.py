"""What a solver is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from srnc_manifold.costs import Cost
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.result import Result
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.runs import Callback

Rng = int | np.random.Generator | None


class Solver(ABC):
    """A method with its settings; a frozen dataclass. A new one is one file with ``supports`` and ``run``."""

    #: Whether the result depends on the start or on ``rng``; if not, a comparison runs it once, not once a seed.
    stochastic: ClassVar[bool] = True

    #: Whether ``run`` takes every :class:`srnc_manifold.problem.Problem`, not those of a single free kernel only.
    products: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name and settings, as shown in tables."""
        return type(self).__name__

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        """Whether the solver takes this problem, and if not, why."""
        return True, ""

    @abstractmethod
    def run(
        self,
        problem: SRNProblem,
        start: Array | None = None,
        *,
        budget: Budget | None = None,
        rng: Rng = None,
        callback: Callback | None = None,
    ) -> Result:
        """Solve, without printing and without scoring; :func:`srnc_manifold.solve` checks, calls this and scores."""


class SphereSolver(Solver):
    """A method on products of spheres, which takes every problem that leaves something to choose on them."""

    products = True

    def supports(self, problem: Problem) -> tuple[bool, str]:
        """Whether there is anything to optimize."""
        if problem.spheres.dimension < 1:
            return False, "a kernel with one entry leaves nothing to optimize on a sphere"
        return True, ""


def require_cost(cost: Any) -> None:
    """Refuse what is not an instance of a cost."""
    if not isinstance(cost, Cost):
        raise TypeError(f"cost: {cost!r} given, expected an instance of a cost, such as srnc.costs.LogSumExp()")
