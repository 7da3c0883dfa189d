"""What a solver is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from srnc_manifold.naming import SOLVERS
from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.result import Status
from srnc_manifold.solvers.runs import Run


class Solver(ABC):
    """A method with its settings; a frozen dataclass. A new one is one file with ``supports`` and ``run``.

    It prints nothing, scores nothing, counts nothing and keeps no clock: the run that it is given does.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> class Shrink(srnc.solvers.Solver):
    ...     def run(self, run):
    ...         run.offer(run.problem.unit_kernel / 2, 0.0)
    ...         return srnc.Status.STALLED, "halved"
    ...
    >>> srnc.solve(problem, Shrink()).kernel
    array([0.5, 0. , 0. ])
    """

    #: Whether the result depends on the start or on ``run.rng``; if not, a comparison runs it once, not once a seed.
    stochastic: ClassVar[bool] = True

    #: Whether ``run`` takes every :class:`srnc_manifold.Problem`, not those of a single free kernel only.
    products: ClassVar[bool] = False

    #: Whether it works on the frequencies, or the feature maps, of a circular convolution, and takes no other operator.
    circular: ClassVar[bool] = False

    #: Whether it takes operators that do not depend on every entry of a kernel, as where taps meet nothing.
    unseen: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Its canonical name, as shown in tables; see :mod:`srnc_manifold.naming`."""
        return SOLVERS.of(self)

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        """Whether the solver takes this problem, and if not, why."""
        return True, ""

    def load(self) -> None:  # noqa: B027 - most have nothing to do here
        """Import what takes long to import, before the clock of a run starts."""

    @abstractmethod
    def run(self, run: Run[Any]) -> tuple[Status, str]:
        """Carry out the method; called by :func:`srnc_manifold.solve`.

        Parameters
        ----------
        run : Run
            With the problem, ``run.start`` (a kernel or None), ``run.rng`` and the budget. A method on spheres opens an
            oracle on it, ``Oracle(run, cost)``; any other offers kernels, ``run.offer(kernel, key)``, of which the one
            with the least key is returned, and records them, ``run.record(…)``.

        Returns
        -------
        status, message : Status, str
            How it ended, and in words. May raise :class:`srnc_manifold.solvers.Stop` instead.
        """


class SphereSolver(Solver):
    """A method on products of spheres, which takes every problem that leaves something to choose on them."""

    products = True

    def supports(self, problem: Problem) -> tuple[bool, str]:
        """Whether there is anything to optimize."""
        if problem.spheres.dimension < 1:
            return False, "a kernel with one entry leaves nothing to optimize on a sphere"
        return True, ""
