"""Stable rank normalization of the kernel as a dense matrix, in closed form (Sanyal, Torr and Dokania, 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.numerics import Array
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.literature.matrix import flattened, least_stable_rank, matrix_srn, matrix_stable_rank
from srnc_manifold.solvers.runs import Run
from srnc_manifold.validation import require_count


@dataclass(frozen=True)
class MatrixSRN(Solver):
    """Stable rank normalization of a dense matrix in closed form. The ``k`` largest singular values are kept.

    Source: paper, (2)-(3); Sanyal, Torr, Dokania (ICLR 2020), theorem 1; docs/theory.md, proposition 17. For a dense
    matrix and ``k = 1`` it solves the problem. For a convolution it treats the kernel as a ``c_out × (c_in · taps)``
    matrix, as is common in practice. The target stable rank is then the stable rank of this matrix times the ratio of
    the problem's target to the stable rank of the operator, and the norm of this matrix is kept. The norm and stable
    rank of this matrix are not those of the operator.

    Parameters
    ----------
    k : int
        Number of singular values to keep.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> import numpy as np
    >>> problem = srnc.SRNProblem(np.diag([3.0, 2.0, 1.0]), (), stable_rank=1.3)
    >>> srnc.solve(problem, srnc.solvers.MatrixSRN()).kernel.diagonal().round(4)
    array([3.    , 1.4697, 0.7348])
    """

    k: int = 1

    stochastic = False
    circular = True

    def __post_init__(self) -> None:
        require_count(k=self.k)

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        matrix, target = _matrix_problem(problem)
        if problem.regime == "raise":
            return False, "the closed form can only reduce the stable rank, but this problem raises it"
        if self.k > min(matrix.shape):
            return False, f"k = {self.k}, but the matrix has only {min(matrix.shape)} singular values"
        low = least_stable_rank(matrix, self.k)
        if target < low * (1 - 1e-12):
            return False, (
                f"the target is a stable rank of {target:.6g} for a {matrix.shape[0]} × {matrix.shape[1]} matrix, but "
                f"with k = {self.k} of its singular values kept, it is at least {low:.6g}"
            )
        return True, ""

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        problem = run.problem
        run.count_evaluation()
        matrix, target = _matrix_problem(problem)
        run.deliver(matrix_srn(matrix, target, self.k).reshape(problem.kernel.shape))
        if not problem.input_size and problem.geometry.groups == 1:
            return Status.CONVERGED, f"closed form, {self.k} singular values kept"
        return Status.CONVERGED, f"closed form for the {matrix.shape[0]} × {matrix.shape[1]} matrix of the kernel"


def _matrix_problem(problem: SRNProblem) -> tuple[Array, float]:
    """The kernel as a matrix, in units of the spectral norm, and the target stable rank of this matrix."""
    matrix = flattened(problem.unit_kernel, problem.geometry)
    return matrix, matrix_stable_rank(matrix) * problem.stable_rank / problem.kernel_stable_rank
