"""Methods, one a file, and the way into them, :func:`solve`."""

from srnc_manifold.exact.batch import BatchResult, solve_batch
from srnc_manifold.exact.solver import Exact
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.batch import Batch
from srnc_manifold.solvers.budget import Budget
from srnc_manifold.solvers.constrained.augmented_lagrangian import AugmentedLagrangian
from srnc_manifold.solvers.constrained.continuation import Continuation
from srnc_manifold.solvers.constrained.exact_penalty import ExactPenalty
from srnc_manifold.solvers.constrained.gradient_sampling import GradientSampling
from srnc_manifold.solvers.constrained.multi_start import MultiStart
from srnc_manifold.solvers.constrained.subgradient import Subgradient
from srnc_manifold.solvers.literature.matrix_srn import MatrixSRN
from srnc_manifold.solvers.literature.reshape_then_srn import ReshapeThenSRN
from srnc_manifold.solvers.literature.spectral_normalization import SpectralNormalization
from srnc_manifold.solvers.literature.srnc import SRNC
from srnc_manifold.solvers.oracle import ConstrainedOracle, Oracle
from srnc_manifold.solvers.runs import Run, Stop
from srnc_manifold.solvers.solve import solve, supported
from srnc_manifold.solvers.sphere.atom_search import AtomSearch
from srnc_manifold.solvers.sphere.gradient_descent import GradientDescent
from srnc_manifold.solvers.sphere.riemannian import Riemannian
from srnc_manifold.solvers.sphere.riemannian_lbfgs import RiemannianLBFGS

__all__ = [
    "SRNC",
    "AtomSearch",
    "AugmentedLagrangian",
    "Batch",
    "BatchResult",
    "Budget",
    "ConstrainedOracle",
    "Continuation",
    "Exact",
    "ExactPenalty",
    "GradientDescent",
    "GradientSampling",
    "MatrixSRN",
    "MultiStart",
    "Oracle",
    "ReshapeThenSRN",
    "Riemannian",
    "RiemannianLBFGS",
    "Run",
    "Solver",
    "SpectralNormalization",
    "Stop",
    "Subgradient",
    "solve",
    "solve_batch",
    "supported",
]
