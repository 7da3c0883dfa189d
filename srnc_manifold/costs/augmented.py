from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.backends import Namespace, namespace
from srnc_manifold.costs.base import Cost, View
from srnc_manifold.numerics import Array
from srnc_manifold.validation import require_choice, require_nonnegative, require_positive

NUMPY = namespace("numpy")

SIDES = ("reach", "stay-below")


@dataclass(frozen=True)
class AugmentedLagrangianCost(Cost):
    """Augmented Lagrangian of the half of the paper's (15) that binds: ``w |N| ‖ρ z − a‖² + (p/2) Σ [h + μ/p]₊²``.

    The distance is in units of ``‖C(a)‖₂²``, as in every view.

    ``side="reach"``: one constraint ``h = 1 − max σ²/c``, "some singular value reaches", with the maximum itself, which
    is smooth where it is attained once; minimizers of this cost avoid the other points, as the maximum is convex.
    ``side="stay-below"``: ``h_i = σ_i²/c − 1`` for every singular value, with its multiplicity, "none exceeds";
    differentiable everywhere for equal multipliers.

    Parameters
    ----------
    side : str
    fidelity_weight : float
        ``w >= 0``.
    penalty : float
        ``p > 0``.
    multipliers : float or array
        ``μ >= 0``, one or one for each singular value.
    """

    side: str = "reach"
    fidelity_weight: float = 1.0
    penalty: float = 10.0
    multipliers: Any = 0.0

    smooth = False

    def __post_init__(self) -> None:
        require_choice(SIDES, side=self.side)
        require_positive(penalty=self.penalty)
        require_nonnegative(fidelity_weight=self.fidelity_weight)

    def constraints(self, view: View, xp: Namespace) -> Any:
        """``h``, not positive where the constraints hold."""
        if self.side == "reach":
            return 1.0 - xp.max(view.squared_singular_values) / view.target
        return view.squared_singular_values / view.target - 1.0

    def value(self, view: View, xp: Namespace) -> Any:
        shifted = self.constraints(view, xp) + self._offsets(view, xp)
        counts = 1.0 if self.side == "reach" else view.multiplicities
        hinges = xp.sum(counts * xp.maximum(shifted, 0.0 * shifted) ** 2)
        return self.fidelity_weight * view.fidelity + 0.5 * self.penalty * hinges

    def gradient(self, view: View) -> tuple[Array, float]:
        values = view.squared_singular_values
        forces = (
            self.penalty / view.target * np.maximum(self.constraints(view, NUMPY) + self._offsets(view, NUMPY), 0.0)
        )
        if self.side == "stay-below":
            return view.multiplicities * forces, self.fidelity_weight
        attained = values == np.max(values)
        return -forces * attained / np.sum(attained), self.fidelity_weight

    def _offsets(self, view: View, xp: Namespace) -> Any:
        offsets = np.asarray(self.multipliers, float) / self.penalty
        return xp.constant(offsets, view.squared_singular_values) if offsets.ndim else float(offsets)

    def __str__(self) -> str:
        return f"augmented Lagrangian p={self.penalty:g}"
