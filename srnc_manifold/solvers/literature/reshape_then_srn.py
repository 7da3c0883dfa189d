"""Spectral and stable rank normalization of the kernel reshaped to a matrix (Sanyal, Torr and Dokania, 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.literature.matrix import flattened, matrix_srn, matrix_stable_rank
from srnc_manifold.solvers.runs import Run


@dataclass(frozen=True)
class ReshapeThenSRN(Solver):
    """Spectral normalization, then stable rank normalization, of the kernel reshaped to a matrix.

    This is algorithm 1 of Sanyal, Torr, Dokania (ICLR 2020; paper, section 2.1), applied to a convolution as if it were
    a dense layer. The ``c_out × (c_in · taps)`` matrix is scaled to the spectral norm of the operator. Its stable rank
    is lowered to the fraction ``β`` of the largest possible one, where ``β`` is the same fraction as in the target for
    the operator. A matrix with a lower stable rank is not changed. The norm and stable rank of a reshaped kernel are
    not those of its operator.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> import numpy as np
    >>> layer = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    >>> problem = srnc.SRNProblem(layer, 8, stable_rank=70)
    >>> srnc.solve(problem, srnc.solvers.ReshapeThenSRN()).evaluation.feasible
    False
    """

    stochastic = False
    circular = True

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        matrix, target = _matrix_problem(problem)
        if min(matrix.shape) == 1:
            return False, f"the kernel is a {matrix.shape[0]} × {matrix.shape[1]} matrix, whose stable rank is always 1"
        if target < 1 - 1e-12:
            return False, f"the target is a stable rank of {target:.6g} for a matrix, but it is always at least 1"
        return True, ""

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        run.count_evaluation()
        matrix, target = _matrix_problem(run.problem)
        own = matrix_stable_rank(matrix)
        run.deliver(matrix_srn(matrix, min(max(target, 1.0), own)).reshape(run.problem.kernel.shape))
        lowered = f"lowered from {own:.6g} to {target:.6g}" if target < own else f"left at {own:.6g}"
        return Status.CONVERGED, f"closed form; the stable rank of the reshaped kernel is {lowered}"


def _matrix_problem(problem: SRNProblem) -> tuple[Array, float]:
    """The kernel as a matrix of spectral norm one, and the target stable rank."""
    matrix = flattened(problem.unit_kernel, problem.geometry)
    relative = problem.stable_rank / problem.feasible_range[1]
    return matrix / np.linalg.norm(matrix, 2), relative * min(matrix.shape)
