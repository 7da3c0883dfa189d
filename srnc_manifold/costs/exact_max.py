"""The paper's cost with the exact maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.backends import Namespace
from srnc_manifold.costs.base import ClosedForm, View
from srnc_manifold.validation import require_nonnegative


@dataclass(frozen=True)
class ExactMax(ClosedForm):
    """The paper's (16) with the exact maximum: ``(max_l ‖Z_l‖₂² − c)² + λ |N| ‖ρ z − a‖² / ‖C(a)‖₂²``.

    It is not differentiable where several singular values attain the maximum. There the gradient is the mean of their
    gradients. Smooth optimizers tend to stall at such points with a large gradient norm.

    Parameters
    ----------
    fidelity_weight : float
        ``λ >= 0``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> function = srnc.costs.SphereFunction(problem, srnc.costs.ExactMax(fidelity_weight=0))
    >>> round(function.value(problem.direction), 6)  # (1 - 2)²: the gain is 1, the target gain 2
    1.0
    """

    fidelity_weight: float = 1e-3
    smooth = False

    def __post_init__(self) -> None:
        require_nonnegative(fidelity_weight=self.fidelity_weight)

    def value(self, view: View, xp: Namespace) -> Any:
        return (xp.max(view.squared_singular_values) - view.target_gain) ** 2 + self.fidelity_weight * view.fidelity

    def slopes(self, view: View, xp: Namespace) -> tuple[Any, Any]:
        largest = xp.max(view.squared_singular_values)
        attained = view.squared_singular_values == largest
        return 2 * (largest - view.target_gain) * attained / xp.sum(attained), self.fidelity_weight
