"""Solvers and costs by name, for the command line and other scripts; everything else passes instances.

Names are the package's own and those of plug-ins, which other distributions declare as entry points of the groups
``srnc_manifold.costs`` and ``srnc_manifold.solvers``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from srnc_manifold import plugins
from srnc_manifold.costs import Cost, ExactMax, LogSumExp, Penalty
from srnc_manifold.solvers import (
    SRNC,
    AtomSearch,
    AugmentedLagrangian,
    Continuation,
    Exact,
    ExactPenalty,
    GradientDescent,
    GradientSampling,
    MatrixSRN,
    MultiStart,
    ReshapeThenSRN,
    Riemannian,
    RiemannianLBFGS,
    Solver,
    SpectralNormalization,
    Subgradient,
)
from srnc_manifold.solvers.constrained.multi_start import METHODS
from srnc_manifold.solvers.sphere.riemannian import OPTIMIZERS

COSTS: dict[str, Callable[[], Cost]] = {"lse": LogSumExp, "exact-max": ExactMax, "penalty": Penalty}

#: Solvers that minimize a cost, by name: ``NAME`` or ``NAME:COST``.
_WITH_COST: dict[str, Callable[[Cost], Solver]] = {
    "gradient-descent": lambda cost: GradientDescent(cost=cost),
    "gradient-descent-armijo": lambda cost: GradientDescent(cost=cost, step_rule="armijo"),
    "gradient-descent-bb": lambda cost: GradientDescent(cost=cost, step_rule="barzilai-borwein"),
    "l-bfgs": lambda cost: RiemannianLBFGS(cost=cost),
    **{name: (lambda cost, name=name: Riemannian(cost=cost, optimizer=name)) for name in OPTIMIZERS},  # type: ignore[misc]
}
_WITHOUT_COST: dict[str, Callable[[], Solver]] = {
    "exact": Exact,
    **{name.lower(): (lambda name=name: MultiStart(method=name)) for name in METHODS},  # type: ignore[misc]
    "atom-search": AtomSearch,
    "augmented-lagrangian": AugmentedLagrangian,
    "exact-penalty": ExactPenalty,
    "exact-penalty-lse": lambda: ExactPenalty(smoothing="log-sum-exp"),
    "continuation": Continuation,
    "continuation-cg": lambda: Continuation(optimizer="conjugate-gradient"),
    "gradient-sampling": GradientSampling,
    "subgradient": Subgradient,
    "subgradient-diminishing": lambda: Subgradient(step_rule="diminishing"),
    "subgradient-polyak-certified": lambda: Subgradient(step_rule="polyak-certified"),
    "srn-c": SRNC,
    "srn-c-one-step": lambda: SRNC(repair="step"),
    "srn-c-repaired": lambda: SRNC(repair="iterated"),
    "matrix-srn": MatrixSRN,
    "reshape-then-srn": ReshapeThenSRN,
    "spectral-normalization": SpectralNormalization,
    "spectral-normalization-flattened": lambda: SpectralNormalization("flattened"),
}

#: The package's own.
SOLVER_NAMES = (*_WITHOUT_COST, *_WITH_COST)

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


@cache
def cost_plugins() -> dict[str, plugins.Plugin]:
    """Costs of other distributions, by name."""
    return plugins.find("srnc_manifold.costs", Cost, COSTS)


@cache
def solver_plugins() -> dict[str, plugins.Plugin]:
    """Solvers of other distributions, by name; those whose callable has a parameter ``cost`` take one."""
    return plugins.find("srnc_manifold.solvers", Solver, SOLVER_NAMES)


def solver_from_name(name: str) -> Solver:
    """The solver of a name, ``"slsqp"``, or of a name and a cost, ``"trust-regions:exact-max"``.

    Raises
    ------
    ValueError
        If the solver or the cost is not known, with those that are; if it is a plug-in that is broken, with the reason;
        or if two plug-ins share a name.
    """
    solver, _, cost = name.partition(":")
    others = solver_plugins()
    costs = COSTS | {plugin.name: plugin.make for plugin in cost_plugins().values()}
    if solver not in (*SOLVER_NAMES, *others):
        names = ", ".join((*SOLVER_NAMES, *others))
        raise ValueError(f"solver: {name!r} given, expected one of {names}, some with :COST after it")
    if cost and cost not in costs:
        raise ValueError(f"solver: {name!r} given, its cost is not one of {', '.join(costs)}")
    try:
        if solver in _WITH_COST:
            return _WITH_COST[solver](costs[cost or "lse"]())
        if not cost:
            return _WITHOUT_COST[solver]() if solver in _WITHOUT_COST else others[solver].make()
        if solver in others and others[solver].takes("cost"):
            return others[solver].make(cost=costs[cost]())
    except plugins.PluginError as error:
        raise ValueError(f"solver: {name!r} given, but {error}") from error
    raise ValueError(f"solver: {name!r} given, but {solver} takes no cost")
