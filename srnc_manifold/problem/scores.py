"""What a problem says of a kernel: its scores, and where it goes when it is restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import namespace_of
from srnc_manifold.display import Shown, short
from srnc_manifold.numerics import Array

FEASIBILITY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Evaluation:
    """Scores of a kernel on a problem, the same for every solver.

    Attributes
    ----------
    objective : float
        ``‖C(x) − C(a)‖_F² = |N| ‖x − a‖²`` (paper, (7)).
    stable_rank, spectral_norm : float
        Of the operator of the kernel.
    stable_rank_error, spectral_norm_error : float
        Relative to the target stable rank and to ``‖C(a)‖₂``.
    relative_distance : float
        ``‖x − a‖ / ‖a‖``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> scores = problem.evaluate([1, 0, 0])
    >>> round(scores.stable_rank, 6), round(scores.violation, 6), scores.feasible
    (64.0, 1.0, False)
    """

    objective: float
    stable_rank: float
    spectral_norm: float
    stable_rank_error: float
    spectral_norm_error: float
    relative_distance: float

    @property
    def violation(self) -> float:
        """The larger of the two relative errors."""
        return max(self.stable_rank_error, self.spectral_norm_error)

    @property
    def feasible(self) -> bool:
        """Whether both relative errors are below 1e-6."""
        return self.violation < FEASIBILITY_TOLERANCE


@dataclass(frozen=True, repr=False, eq=False)
class BatchEvaluation(Shown):
    """Scores of many kernels: the fields of :class:`Evaluation`, as arrays of shape ``(B,)`` in their library."""

    objective: Any
    stable_rank: Any
    spectral_norm: Any
    stable_rank_error: Any
    spectral_norm_error: Any
    relative_distance: Any

    def summary(self) -> dict[str, str]:
        objective, violation = self.objective, self.violation
        return {
            "kernels": f"{len(objective)}, {namespace_of(objective).name}",
            "objectives": f"{float(objective.min()):.6g} to {float(objective.max()):.6g}",
            "violations": f"{float(violation.min()):.1e} to {float(violation.max()):.1e}",
            "feasible": str(int(self.feasible.sum())),
        }

    @property
    def violation(self) -> Any:
        """The larger of the two relative errors."""
        errors, others = self.stable_rank_error, self.spectral_norm_error
        return namespace_of(errors).maximum(errors, others)

    @property
    def feasible(self) -> Any:
        """Whether both relative errors are below 1e-6."""
        return self.violation < FEASIBILITY_TOLERANCE


@dataclass(frozen=True, repr=False, eq=False)
class Restoration(Shown):
    """Outcome of a restoration: a kernel on the feasible set, or the given kernel if the restoration failed.

    Attributes
    ----------
    kernel : array
        The restored kernel; the given one, scaled to the right norm, if ``success`` is false.
    success : bool
    distance : float
        Distance of the move on the unit sphere, that is, relative to the norm ``ρ`` of a feasible kernel.
    message : str
        The distance in words, or the reason why the kernel could not be moved.

    It can be used wherever an array is expected, for example in ``problem.evaluate(problem.restore(x))``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> restored = problem.restore([0.9, 0.2, 0.1])
    >>> problem.evaluate(restored).feasible
    True
    """

    kernel: Array
    success: bool
    distance: float
    message: str

    def summary(self) -> dict[str, str]:
        words = "success" if self.success else "failed"
        return {"restoration": f"{words}, {short(self.message)}", "kernel": f"shape {np.shape(self.kernel)}"}

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.kernel, dtype=dtype)
