"""Base class of the costs that add a penalty for the paper's constraint (15) to the distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.costs.base import ClosedForm, View
from srnc_manifold.validation import require_choice, require_nonnegative

SIDES = ("reach", "stay-below", "equal")


@dataclass(frozen=True)
class ConstrainedCost(ClosedForm):
    """``w |N| ‖ρ z − a‖² + Σ charge(h)``, with the distance in units of ``‖C(a)‖₂²``.

    ``side="reach"``: one constraint ``h = 1 − max σ²/c <= 0``, "some singular value reaches ``√c``". It uses the exact
    maximum, which is smooth where it is attained once. Minimizers avoid the other points, because the maximum is
    convex.
    ``side="stay-below"``: ``h_i = σ_i²/c − 1 <= 0`` for every singular value, with its multiplicity, "no singular value
    exceeds ``√c``".
    ``side="equal"``: one constraint ``h = max σ²/c − 1 = 0``.

    Parameters
    ----------
    side : str
    fidelity_weight : float
        ``w >= 0``.
    """

    side: str = "reach"
    fidelity_weight: float = 1.0

    smooth = False

    def __post_init__(self) -> None:
        require_choice(SIDES, side=self.side)
        require_nonnegative(fidelity_weight=self.fidelity_weight)

    def charge(self, h: Any, xp: Namespace) -> Any:
        """The penalty for each constraint value, elementwise."""
        raise NotImplementedError(f"{type(self).__name__} must define charge(h, xp)")

    def charge_slope(self, h: Any, xp: Namespace) -> Any:
        """The derivative of :meth:`charge`."""
        raise NotImplementedError(f"{type(self).__name__} must define charge_slope(h, xp)")

    def constraints(self, view: View, xp: Namespace = NUMPY) -> Any:
        """The constraint values ``h``."""
        values = view.squared_singular_values if self.side == "stay-below" else xp.max(view.squared_singular_values)
        return 1.0 - values / view.target_gain if self.side == "reach" else values / view.target_gain - 1.0

    def value(self, view: View, xp: Namespace) -> Any:
        counts = view.multiplicities if self.side == "stay-below" else 1.0
        return self.fidelity_weight * view.fidelity + xp.sum(counts * self.charge(self.constraints(view, xp), xp))

    def slopes(self, view: View, xp: Namespace) -> tuple[Any, Any]:
        values, forces = (
            view.squared_singular_values,
            self.charge_slope(self.constraints(view, xp), xp) / view.target_gain,
        )
        if self.side == "stay-below":
            return view.multiplicities * forces, self.fidelity_weight
        attained = values == xp.max(values)
        sign = -1.0 if self.side == "reach" else 1.0
        return sign * forces * attained / xp.sum(attained), self.fidelity_weight
