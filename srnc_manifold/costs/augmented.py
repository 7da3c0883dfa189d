"""The augmented Lagrangian cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.backends import Namespace
from srnc_manifold.costs.constraints import ConstrainedCost
from srnc_manifold.validation import require_positive


@dataclass(frozen=True)
class AugmentedLagrangianCost(ConstrainedCost):
    """Augmented Lagrangian of the binding half of the paper's (15): ``w |N| ‖ρ z − a‖² + (p/2) Σ [h + μ/p]₊²``.

    With ``side="stay-below"`` and equal multipliers, it is differentiable everywhere.

    Parameters
    ----------
    side, fidelity_weight
        As in :class:`srnc_manifold.costs.constraints.ConstrainedCost`, but
        ``side`` must be one of inequalities: ``"reach"`` or ``"stay-below"``.
    penalty : float
        ``p > 0``.
    multipliers : float or array
        ``μ >= 0``: a single multiplier, or one for each singular value.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> function = srnc.costs.SphereFunction(problem, srnc.costs.AugmentedLagrangianCost())
    >>> round(function.value(problem.direction), 6)
    6.740332
    """

    penalty: float = 10.0
    multipliers: Any = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(penalty=self.penalty)
        if self.side == "equal":
            raise ValueError(f"side: {self.side!r} given, expected 'reach' or 'stay-below'")

    def charge(self, h: Any, xp: Namespace) -> Any:
        return charge(h, self._multipliers(h, xp), self.penalty, xp)

    def charge_slope(self, h: Any, xp: Namespace) -> Any:
        return charge_slope(h, self._multipliers(h, xp), self.penalty, xp)

    def _multipliers(self, h: Any, xp: Namespace) -> Any:
        given = np.asarray(self.multipliers, float)
        return xp.constant(given, h) if given.ndim else float(given)


def charge(h: Any, multipliers: Any, penalty: Any, xp: Namespace) -> Any:
    """``(p/2) [h + μ/p]₊²``, elementwise."""
    shifted = h + multipliers / penalty
    return 0.5 * penalty * xp.maximum(shifted, 0.0 * shifted) ** 2


def charge_slope(h: Any, multipliers: Any, penalty: Any, xp: Namespace) -> Any:
    """The derivative of :func:`charge` by ``h``."""
    shifted = h + multipliers / penalty
    return penalty * xp.maximum(shifted, 0.0 * shifted)
