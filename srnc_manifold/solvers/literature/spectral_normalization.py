"""Spectral normalization, of the convolution (Gouk et al., 2021) or of the reshaped kernel (Miyato et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.literature.matrix import flattened
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.top_pairs import PAIRS, top_pairs
from srnc_manifold.validation import require_choice, require_count, require_positive

OPERATORS = ("convolution", "flattened")


@dataclass(frozen=True)
class SpectralNormalization(Solver):
    """Scales the kernel to the required spectral norm, ``x = M a / σ``. The stable rank does not change.

    This does not solve the problem. It shows the effect of normalizing the norm alone. The choice of ``operator``
    determines ``σ``:

    ``"convolution"``
        ``σ`` is the norm of the operator: Gouk et al. (Machine Learning 110, 2021; paper, (4)), RealSN of Ryu et al.
        (ICML 2019).
    ``"flattened"``
        ``σ`` is the norm of the ``c_out × (c_in · taps)`` matrix of the kernel: Miyato et al. (ICLR 2018).

    Parameters
    ----------
    operator : str
    pair : str
        How the norm of the convolution is computed. ``"power"``, as published: power iteration with convolutions, from
        random feature maps. ``"symbol"``: from the symbol, which is known as the padding is circular.
    tolerance : float
        Power iteration ends when the relative residual of the singular pair is at most this.
    max_steps : int
        Largest number of steps of the power iteration.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> srnc.solve(problem, srnc.solvers.SpectralNormalization(), rng=0).evaluation.spectral_norm_error < 1e-6
    True
    """

    operator: str = "convolution"
    pair: str = "power"
    tolerance: float = 1e-6
    max_steps: int = 10_000

    circular = True

    def __post_init__(self) -> None:
        require_choice(OPERATORS, operator=self.operator)
        require_choice(PAIRS, pair=self.pair)
        require_positive(tolerance=self.tolerance)
        require_count(max_steps=self.max_steps)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]  # only the start of power iteration is random
        return self.operator == "convolution" and self.pair == "power"

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        kernel, geometry = run.problem.unit_kernel, run.problem.geometry
        if self.operator == "flattened":
            run.count_evaluation()
            norm = float(np.linalg.norm(flattened(kernel, geometry), 2))
            run.deliver(kernel / norm)
            return Status.CONVERGED, f"the norm of the kernel's matrix was {norm:.6g} times the required norm"
        pairs = top_pairs(run, self.pair, tolerance=self.tolerance, max_steps=self.max_steps)
        pair = pairs.top(kernel)
        run.deliver(kernel / pair.value)
        if pair.converged:
            return Status.CONVERGED, f"scaled by the norm of the convolution, {pairs.effort}"
        return Status.LIMIT, f"power iteration was stopped after {pairs.effort}"
