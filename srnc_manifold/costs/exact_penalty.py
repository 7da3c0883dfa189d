"""The exact penalty cost, smoothed or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.backends import Namespace
from srnc_manifold.costs.constraints import ConstrainedCost
from srnc_manifold.validation import require_choice, require_nonnegative, require_positive

SMOOTHINGS = ("log-sum-exp", "huber")


@dataclass(frozen=True)
class ExactPenaltyCost(ConstrainedCost):
    """Exact penalty of the paper's (15): ``w |N| ‖ρ z − a‖² + p Σ [h]₊``, or ``p |h|`` for equality, smoothed or not.

    With ``smoothing="log-sum-exp"`` the hinge ``[h]₊`` is replaced by ``ε log(1 + exp(h/ε))``. With ``"huber"`` it is
    replaced by ``h²/(2ε)`` for ``0 <= h <= ε`` and by ``h − ε/2`` for ``h >= ε`` (C. Liu, N. Boumal, Appl. Math. Optim.
    82, 2020, section 4.2). ``|h|`` is the sum of the hinges of ``h`` and ``−h``. With ``epsilon=0`` there is no
    smoothing.

    Parameters
    ----------
    side, fidelity_weight
        As in :class:`srnc_manifold.costs.constraints.ConstrainedCost`.
    penalty : float
        ``p > 0``. If it exceeds the multiplier, minimizers are feasible.
    epsilon : float
        ``ε >= 0``.
    smoothing : str

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> function = srnc.costs.SphereFunction(problem, srnc.costs.ExactPenaltyCost())
    >>> round(function.value(problem.direction), 6)
    6.990332
    """

    penalty: float = 3.0
    epsilon: float = 0.0
    smoothing: str = "huber"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(penalty=self.penalty)
        require_nonnegative(epsilon=self.epsilon)
        require_choice(SMOOTHINGS, smoothing=self.smoothing)

    def charge(self, h: Any, xp: Namespace) -> Any:
        hinges = self._hinge(h, xp)
        return self.penalty * (hinges + self._hinge(-h, xp) if self.side == "equal" else hinges)

    def charge_slope(self, h: Any, xp: Namespace) -> Any:
        slope = self._hinge_slope(h, xp)
        return self.penalty * (slope - self._hinge_slope(-h, xp) if self.side == "equal" else slope)

    def _hinge(self, h: Any, xp: Namespace) -> Any:
        positive = xp.maximum(h, 0.0 * h)
        if self.epsilon == 0:
            return positive
        if self.smoothing == "log-sum-exp":
            return positive + self.epsilon * xp.log(1.0 + xp.exp(-xp.abs(h) / self.epsilon))
        return xp.where(positive < self.epsilon, positive**2 / (2 * self.epsilon), positive - 0.5 * self.epsilon)

    def _hinge_slope(self, h: Any, xp: Namespace) -> Any:
        one = 0.0 * h + 1.0
        if self.epsilon == 0:
            return xp.where(h > 0, one, 0.0)
        if self.smoothing == "log-sum-exp":
            decay = xp.exp(-xp.abs(h) / self.epsilon)
            return xp.where(h > 0, one, decay) / (1.0 + decay)
        return xp.minimum(xp.maximum(h / self.epsilon, 0.0 * h), one)
