"""What certifying a layer tells."""

from __future__ import annotations

from dataclasses import dataclass

from srnc_manifold.display import Shown
from srnc_manifold.result import Result


@dataclass(frozen=True, repr=False, eq=False)
class Certified(Shown):
    """How far a layer was from what it should be, and the explicit solution.

    Attributes
    ----------
    norm_error : float
        Of the spectral norm that the layer had, relatively.
    stable_rank_error : float
        Of its stable rank, relatively; zero if that was at most the target.
    change : float
        ``‖after − before‖ / ‖before‖`` of the weight.
    excess : float
        How much larger the objective of the layer's weight is now than that of the explicit solution, as a part of
        ``‖C(a)‖²``; zero but for rounding unless the layer stays at the solution that it followed.
    result : Result or None
        Of :func:`srnc_manifold.solve` for the raw weight; None if its stable rank was at most the target.
    """

    norm_error: float
    stable_rank_error: float
    change: float
    excess: float
    result: Result | None

    def summary(self) -> dict[str, str]:
        return {
            "error of the norm before": f"{self.norm_error:.1e}",
            "error of the stable rank before": f"{self.stable_rank_error:.1e}",
            "change": f"{self.change:.1e}",
            "farther than the explicit solution by": f"{self.excess:.1e} of ‖C(a)‖²",
            "explicit solution": "not needed" if self.result is None else self.result.status.value,
        }
