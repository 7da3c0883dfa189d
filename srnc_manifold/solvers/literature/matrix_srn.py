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
    """Stable rank normalization of a dense matrix, the ``k`` largest singular values kept, in closed form.

    Paper, (2)-(3); Sanyal, Torr, Dokania (ICLR 2020), theorem 1; docs/theory.md, proposition 17. It solves the problem
    of a dense matrix for ``k = 1``. On a convolution it acts on the kernel as a ``c_out × (c_in · taps)`` matrix, as
    practice does: the target is the same fraction of that matrix's stable rank as the problem's is of the operator's,
    and the norm that is kept is that matrix's. Neither is the operator's.

    Parameters
    ----------
    k : int
        Singular values to keep.
    """

    k: int = 1

    stochastic = False
    circular = True

    def __post_init__(self) -> None:
        require_count(k=self.k)

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        matrix, target = _matrix_problem(problem)
        if problem.regime == "raise":
            return False, "the closed form reduces the stable rank; this problem raises it"
        if self.k > min(matrix.shape):
            return False, f"k = {self.k} is more than the {min(matrix.shape)} singular values of the matrix"
        low = least_stable_rank(matrix, self.k)
        if target < low * (1 - 1e-12):
            return False, (
                f"asked for a stable rank of {target:.6g} of a {matrix.shape[0]} × {matrix.shape[1]} matrix, but "
                f"keeping k = {self.k} of its singular values takes at least {low:.6g}"
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
    """The kernel as a matrix, in units of the spectral norm, and the target stable rank that goes with it."""
    matrix = flattened(problem.unit_kernel, problem.geometry)
    return matrix, matrix_stable_rank(matrix) * problem.stable_rank / problem.kernel_stable_rank
