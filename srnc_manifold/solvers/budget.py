"""When a run ends, beside a solver's own settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Bound
from srnc_manifold.validation import require_count, require_positive


@dataclass(frozen=True)
class Budget:
    """When to end a run, beside a solver's own settings; ``None`` is never.

    Two limits, after which the status is ``LIMIT``, and three goals, at which it is ``CONVERGED`` with that iterate as
    the result; the message says which. What a limit cut short and what reached a goal are told apart.

    Attributes
    ----------
    max_evaluations : int
        Kernels whose singular values may be computed.
    max_time : float
        Seconds.
    gradient_norm : float
        Goal for the norm of the Riemannian gradient of what the solver minimizes.
    violation : float
        Goal for the larger relative error of stable rank and spectral norm; with a goal for the gap only both together.
    gap : float
        Goal for the distance of the objective to ``bound``, as a part of ``‖C(a)‖_F²``, of an iterate that is feasible
        (to ``violation``, or 1e-6).
    bound : Bound or float
        On the objective; see :func:`srnc_manifold.bound`. Needed for ``gap``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, "l-bfgs", rng=0, budget=srnc.Budget(max_evaluations=5))
    >>> result.status, result.n_evaluations
    (<Status.LIMIT: 'limit'>, 5)
    """

    max_evaluations: int | None = None
    max_time: float | None = None
    gradient_norm: float | None = None
    violation: float | None = None
    gap: float | None = None
    bound: Bound | float | None = None

    def __post_init__(self) -> None:
        if self.max_evaluations is not None:
            require_count(max_evaluations=self.max_evaluations)
        names = ("max_time", "gradient_norm", "violation", "gap")
        require_positive(**{name: getattr(self, name) for name in names if getattr(self, name) is not None})
        if (self.gap is None) != (self.bound is None):
            given = "gap" if self.bound is None else "bound"
            raise ValueError(f"{given}: given alone, expected gap and bound together")
        if self.bound is not None and not np.isfinite(self.bound_on_objective):
            raise ValueError(f"bound: {self.bound!r} given, expected a Bound or a finite number")

    @property
    def bound_on_objective(self) -> float:
        """``bound`` as a number."""
        return self.bound.objective if isinstance(self.bound, Bound) else float(self.bound or 0.0)

    def reached(self, row: dict[str, float], squared_norm: float) -> str:
        """Which goal a row of a history reaches, in words; empty if none."""
        violation = max(row["stable_rank_error"], row["spectral_norm_error"])
        if self.gradient_norm is not None and row["gradient_norm"] <= self.gradient_norm:
            return f"gradient norm {row['gradient_norm']:.1e} is within the goal of {self.gradient_norm:g}"
        if self.gap is not None:
            gap = (row["objective"] - self.bound_on_objective) / squared_norm
            allowed = FEASIBILITY_TOLERANCE if self.violation is None else self.violation
            if violation <= allowed and gap <= self.gap:
                return f"gap {gap:.1e} to the bound is within the goal of {self.gap:g}, violation {violation:.1e}"
        elif self.violation is not None and violation <= self.violation:
            return f"violation {violation:.1e} is within the goal of {self.violation:g}"
        return ""
