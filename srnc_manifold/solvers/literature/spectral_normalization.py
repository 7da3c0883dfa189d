from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.operators.feature_maps import Convolution
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.literature.matrix import flattened
from srnc_manifold.solvers.runs import Run
from srnc_manifold.validation import require_choice, require_count, require_positive

OPERATORS = ("convolution", "flattened")


@dataclass(frozen=True)
class SpectralNormalization(Solver):
    """The kernel scaled to the spectral norm asked for, ``x = M a / σ``; its stable rank stays what it is.

    It does not solve the problem, and shows what normalizing the norm alone does. ``σ`` is the norm of

    ``"convolution"``
        the operator, by power iteration with convolutions: Gouk et al. (Machine Learning 110, 2021; paper,
        (4)), Ryu et al.'s RealSN (ICML 2019).
    ``"flattened"``
        the ``c_out × (c_in · taps)`` matrix of the kernel: Miyato et al. (ICLR 2018).

    Parameters
    ----------
    operator : str
    tol : float
        Relative residual of the singular pair at which power iteration ends.
    max_steps : int
        Limit of its steps.
    """

    operator: str = "convolution"
    tol: float = 1e-6
    max_steps: int = 10_000

    circular = True

    def __post_init__(self) -> None:
        require_choice(OPERATORS, operator=self.operator)
        require_positive(tol=self.tol)
        require_count(max_steps=self.max_steps)

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        run.count_evaluation()
        kernel, geometry = run.problem.unit_kernel, run.problem.geometry
        if self.operator == "flattened":
            norm = float(np.linalg.norm(flattened(kernel, geometry), 2))
            run.deliver(kernel / norm)
            return Status.CONVERGED, f"the matrix of the kernel had {norm:.6g} times the norm asked for"
        convolution = Convolution(geometry)
        first = run.rng.standard_normal(convolution.input_shape)
        pair = convolution.top_pair(kernel, first, tol=self.tol, max_steps=self.max_steps, keep_going=run.time_is_left)
        run.details["convolutions"] = convolution.count
        run.deliver(kernel / pair.value)
        if pair.converged:
            return Status.CONVERGED, f"power iteration ended after {convolution.count} convolutions"
        return Status.LIMIT, f"power iteration was stopped after {convolution.count} convolutions"
