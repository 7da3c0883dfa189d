"""The paper's cost with a smooth maximum (log-sum-exp)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.backends import Namespace
from srnc_manifold.costs.base import ClosedForm, View
from srnc_manifold.validation import require_nonnegative, require_positive


@dataclass(frozen=True)
class LogSumExp(ClosedForm):
    """The paper's formulation (14), (16): ``(g_lse(z) − c)² + λ |N| ‖ρ z − a‖² / ‖C(a)‖₂²``.

    ``g_lse = (1/α) log Σ exp(α σ²)``, where the sum is over all singular values of all ``|N|`` frequencies. It exceeds
    the maximum by at most ``log(min(c_out, c_in) |N|) / α``. The paper has one channel and, in its experiment,
    ``‖C(a)‖₂ = 1``.

    Parameters
    ----------
    alpha : float
        Sharpness ``α > 0`` of the smooth maximum.
    fidelity_weight : float
        ``λ >= 0``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> sharp, smooth = (srnc.costs.LogSumExp(alpha=alpha, fidelity_weight=0) for alpha in (1000, 10))
    >>> [round(srnc.costs.SphereFunction(problem, cost).value(problem.direction), 4) for cost in (sharp, smooth)]
    [0.9917, 0.3412]
    """

    alpha: float = 10.0
    fidelity_weight: float = 0.1

    def __post_init__(self) -> None:
        require_positive(alpha=self.alpha)
        require_nonnegative(fidelity_weight=self.fidelity_weight)

    def value(self, view: View, xp: Namespace) -> Any:
        values = view.squared_singular_values
        largest = xp.max(values)  # subtracted, so that no exponential overflows
        total = xp.sum(view.multiplicities * xp.exp(self.alpha * (values - largest)))
        return (largest + xp.log(total) / self.alpha - view.target_gain) ** 2 + self.fidelity_weight * view.fidelity

    def slopes(self, view: View, xp: Namespace) -> tuple[Any, Any]:
        values = view.squared_singular_values
        largest = xp.max(values)
        terms = view.multiplicities * xp.exp(self.alpha * (values - largest))
        total = xp.sum(terms)
        excess = largest + xp.log(total) / self.alpha - view.target_gain
        return 2 * excess * terms / total, self.fidelity_weight
