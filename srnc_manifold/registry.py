"""Solvers and costs by name, for the command line and other scripts; everything else passes instances."""

from __future__ import annotations

from collections.abc import Callable

from srnc_manifold.costs import Cost, ExactMax, LogSumExp, Penalty
from srnc_manifold.solvers import (
    SRNC,
    AtomSearch,
    AugmentedLagrangian,
    Exact,
    GradientDescent,
    MatrixSRN,
    MultiStart,
    ReshapeThenSRN,
    Riemannian,
    RiemannianLBFGS,
    Solver,
    SpectralNormalization,
)
from srnc_manifold.solvers.multi_start import METHODS
from srnc_manifold.solvers.riemannian import OPTIMIZERS

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
    "srn-c": SRNC,
    "srn-c-one-step": lambda: SRNC(repair="step"),
    "srn-c-repaired": lambda: SRNC(repair="iterated"),
    "matrix-srn": MatrixSRN,
    "reshape-then-srn": ReshapeThenSRN,
    "spectral-normalization": SpectralNormalization,
    "spectral-normalization-flattened": lambda: SpectralNormalization("flattened"),
}

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
    "srn-c",
    "srn-c-repaired",
    "matrix-srn",
    "reshape-then-srn",
    "spectral-normalization",
)


def solver_from_name(name: str) -> Solver:
    """The solver of a name, ``"slsqp"``, or of a name and a cost, ``"trust-regions:exact-max"``.

    Raises
    ------
    ValueError
        If the solver or the cost is not known, with those that are.
    """
    solver, _, cost = name.partition(":")
    if solver in _WITH_COST:
        if cost and cost not in COSTS:
            raise ValueError(f"solver: {name!r} given, its cost is not one of {', '.join(COSTS)}")
        return _WITH_COST[solver](COSTS[cost or "lse"]())
    if solver in _WITHOUT_COST:
        if cost:
            raise ValueError(f"solver: {name!r} given, but {solver} takes no cost")
        return _WITHOUT_COST[solver]()
    raise ValueError(f"solver: {name!r} given, expected one of {', '.join(SOLVER_NAMES)}, some with :COST after it")
