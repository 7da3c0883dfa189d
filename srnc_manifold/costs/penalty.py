"""The cost with squared hinges for both halves of the constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.backends import Namespace
from srnc_manifold.costs.base import ClosedForm, View
from srnc_manifold.validation import require_nonnegative, require_positive


@dataclass(frozen=True)
class Penalty(ClosedForm):
    """Squared hinges on the constraint ``max_l g_l = c`` of the paper's (15), split into its two halves.

    The cost is the sum of three terms:

    - "no singular value exceeds ``√c``": ``Σ [σ² − c]₊²`` over all singular values, with multiplicity;
    - "some singular value reaches ``√c``": ``[c − s]₊²`` with ``s = Σ σ² exp(α σ²) / Σ exp(α σ²)``, a smooth mean that
      never exceeds the maximum;
    - the distance ``λ |N| ‖ρ z − a‖² / ‖C(a)‖₂²``.

    The other constraint of (15), the norm, holds on the sphere. The cost is once continuously differentiable. Its
    Hessian is discontinuous where the argument of a hinge is zero.

    Parameters
    ----------
    alpha : float
        Sharpness ``α > 0`` of the smooth mean.
    fidelity_weight : float
        ``λ >= 0``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> function = srnc.costs.SphereFunction(problem, srnc.costs.Penalty(fidelity_weight=0))
    >>> round(function.value(problem.direction), 6)
    1.0
    """

    alpha: float = 20.0
    fidelity_weight: float = 1e-3

    def __post_init__(self) -> None:
        require_positive(alpha=self.alpha)
        require_nonnegative(fidelity_weight=self.fidelity_weight)

    def value(self, view: View, xp: Namespace) -> Any:
        values = view.squared_singular_values
        weights = view.multiplicities * xp.exp(self.alpha * (values - xp.max(values)))
        mean = xp.sum(weights * values) / xp.sum(weights)
        exceeds = xp.sum(view.multiplicities * xp.maximum(values - view.target_gain, 0.0) ** 2)
        return exceeds + xp.maximum(view.target_gain - mean, 0.0) ** 2 + self.fidelity_weight * view.fidelity

    def slopes(self, view: View, xp: Namespace) -> tuple[Any, Any]:
        values = view.squared_singular_values
        weights = view.multiplicities * xp.exp(self.alpha * (values - xp.max(values)))
        weights = weights / xp.sum(weights)
        mean = xp.sum(weights * values)
        mean_gradient = weights * (1 + self.alpha * (values - mean))
        exceeds = 2 * view.multiplicities * xp.maximum(values - view.target_gain, 0.0)
        return exceeds - 2 * xp.maximum(view.target_gain - mean, 0.0) * mean_gradient, self.fidelity_weight
