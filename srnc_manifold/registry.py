"""The package's own solvers and costs by name, and those that plug-ins and scripts add.

Plug-ins are declared by other distributions as entry points of the groups ``srnc_manifold.costs`` and
``srnc_manifold.solvers``; scripts call :func:`register`. See :mod:`srnc_manifold.naming` for how names are written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from srnc_manifold import plugins
from srnc_manifold.costs import AugmentedLagrangianCost, Cost, ExactMax, ExactPenaltyCost, LogSumExp, Penalty
from srnc_manifold.exact.solver import Exact
from srnc_manifold.interop.pymanopt import OPTIMIZERS
from srnc_manifold.naming import COSTS, SOLVERS, Names
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.batch import Batch
from srnc_manifold.solvers.constrained.augmented_lagrangian import AugmentedLagrangian
from srnc_manifold.solvers.constrained.continuation import Continuation
from srnc_manifold.solvers.constrained.exact_penalty import ExactPenalty
from srnc_manifold.solvers.constrained.gradient_sampling import GradientSampling
from srnc_manifold.solvers.constrained.multi_start import METHODS, MultiStart
from srnc_manifold.solvers.constrained.subgradient import Subgradient
from srnc_manifold.solvers.literature.matrix_srn import MatrixSRN
from srnc_manifold.solvers.literature.reshape_then_srn import ReshapeThenSRN
from srnc_manifold.solvers.literature.spectral_normalization import SpectralNormalization
from srnc_manifold.solvers.literature.srnc import SRNC
from srnc_manifold.solvers.sphere.atom_search import AtomSearch
from srnc_manifold.solvers.sphere.gradient_descent import GradientDescent
from srnc_manifold.solvers.sphere.riemannian import Riemannian
from srnc_manifold.solvers.sphere.riemannian_lbfgs import RiemannianLBFGS

COSTS.add("lse", LogSumExp)
COSTS.add("exact-max", ExactMax)
COSTS.add("penalty", Penalty)

SOLVERS.add("exact", Exact)
for _method in METHODS:
    SOLVERS.add(_method.lower(), MultiStart, method=_method)
SOLVERS.add("atom-search", AtomSearch)
SOLVERS.add("augmented-lagrangian", AugmentedLagrangian)
SOLVERS.add("exact-penalty", ExactPenalty)
SOLVERS.add("exact-penalty-lse", ExactPenalty, smoothing="log-sum-exp")
SOLVERS.add("continuation", Continuation)
SOLVERS.add("continuation-cg", Continuation, optimizer="conjugate-gradient")
SOLVERS.add("gradient-sampling", GradientSampling)
SOLVERS.add("subgradient", Subgradient)
SOLVERS.add("subgradient-diminishing", Subgradient, step_rule="diminishing")
SOLVERS.add("subgradient-polyak-certified", Subgradient, step_rule="polyak-certified")
SOLVERS.add("srn-c", SRNC)
SOLVERS.add("srn-c-one-step", SRNC, repair="step")
SOLVERS.add("srn-c-repaired", SRNC, repair="iterated")
SOLVERS.add("matrix-srn", MatrixSRN)
SOLVERS.add("reshape-then-srn", ReshapeThenSRN)
SOLVERS.add("spectral-normalization", SpectralNormalization)
SOLVERS.add("spectral-normalization-flattened", SpectralNormalization, operator="flattened")
SOLVERS.add("gradient-descent", GradientDescent)
SOLVERS.add("gradient-descent-armijo", GradientDescent, step_rule="armijo")
SOLVERS.add("gradient-descent-bb", GradientDescent, step_rule="barzilai-borwein")
SOLVERS.add("l-bfgs", RiemannianLBFGS)
for _optimizer in OPTIMIZERS:
    SOLVERS.add(_optimizer, Riemannian, optimizer=_optimizer)
SOLVERS.add("batch", Batch, nested={"method": SOLVERS})

# For instances that no other name fits.
COSTS.add("augmented-lagrangian", AugmentedLagrangianCost, listed=False)
COSTS.add("exact-penalty", ExactPenaltyCost, listed=False)
SOLVERS.add("multi-start", MultiStart, listed=False)
SOLVERS.add("riemannian", Riemannian, listed=False)

#: The package's own names.
COST_NAMES, SOLVER_NAMES = tuple(COSTS), tuple(SOLVERS)

#: What a comparison runs unless told otherwise.
DEFAULT_SOLVERS = (
    "exact",
    "gradient-descent:lse",
    "steepest-descent:lse",
    "conjugate-gradient:lse",
    "trust-regions:lse",
    "trust-regions:exact-max",
    "trust-regions:penalty",
    "nelder-mead:lse",
    "particle-swarm:lse",
    "slsqp",
    "trust-constr",
    "cobyqa",
    "augmented-lagrangian",
    "exact-penalty",
    "continuation",
    "srn-c",
    "srn-c-repaired",
    "matrix-srn",
    "reshape-then-srn",
    "spectral-normalization",
)


def register(name: str, kind: Callable[..., Any]) -> None:
    """Give a name to a cost or a solver of one's own, for this process.

    With it ``srnc.solve(problem, "trust-regions:NAME")``, ``srnc.compare`` and saved results know it.

    Parameters
    ----------
    name : str
        Without any of ``[ ] , = :``.
    kind : type
        A subclass of :class:`srnc_manifold.costs.Cost` or :class:`srnc_manifold.solvers.Solver`.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or the name is not valid or taken.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> class Squared(srnc.costs.Cost):
    ...     def value(self, view, xp):
    ...         return (xp.max(view.squared_singular_values) - view.target_gain) ** 2 + 0.01 * view.fidelity
    ...
    >>> srnc.register("squared-example", Squared)
    >>> srnc.solve(problem, "trust-regions:squared-example", rng=0).solver
    'trust-regions[cost=squared-example]'
    """
    if not isinstance(name, str):
        raise TypeError(f"name: {name!r} given, expected text")
    for base, names in ((Cost, COSTS), (Solver, SOLVERS)):
        if inspect.isclass(kind) and issubclass(kind, base):
            names.add(name, kind)
            return
    raise TypeError(f"kind: {kind!r} given, expected a subclass of Cost or Solver")


@cache
def cost_plugins() -> dict[str, plugins.Plugin]:
    """Costs of other distributions, by name."""
    return plugins.find("srnc_manifold.costs", Cost, COST_NAMES)


@cache
def solver_plugins() -> dict[str, plugins.Plugin]:
    """Solvers of other distributions, by name."""
    return plugins.find("srnc_manifold.solvers", Solver, SOLVER_NAMES)


def cost_from_name(name: str) -> Cost:
    """The cost of a name, ``"lse"`` or ``"lse[alpha=100]"``; errors as of :func:`solver_from_name`."""
    _load_plugin(name, COSTS, cost_plugins())
    return COSTS.parse(name, cost_plugins())


def solver_from_name(name: str) -> Solver:
    """The solver of a name: ``"slsqp"``, ``"trust-regions:exact-max"`` with a cost, ``"slsqp[n_starts=3]"``.

    A class of one's own in a Python file is named as ``"mine.py:RandomSearch[steps=10]"``; the file is executed.

    Raises
    ------
    ValueError
        If the solver, its cost or a setting is not known, with those that are; if it is a plug-in that is broken, with
        the reason; or if two plug-ins share a name.
    """
    others = cost_plugins()
    for plugin in others.values():
        if plugin.name in name:
            _load_plugin(plugin.name, COSTS, others)
    _load_plugin(name, SOLVERS, solver_plugins())
    made = SOLVERS.parse(name, solver_plugins())
    if not isinstance(made, Solver):
        raise ValueError(f"solver: {name!r} given, which makes a {type(made).__name__}, expected a solver")
    return made


def _load_plugin(name: str, names: Names, found: dict[str, plugins.Plugin]) -> None:
    """Import the plug-in that a name begins with, if there is one, and add it to the names."""
    short = name.partition("[")[0].partition(":")[0].strip()
    if short in names or short not in found:
        return
    try:
        found[short].make()  # whether it works at all
        names.add(short, found[short].load())
    except plugins.PluginError as error:
        raise ValueError(f"{names.kind}: {name!r} given, but {error}") from error
