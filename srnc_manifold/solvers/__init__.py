"""Methods, one a file, and the way into them, :func:`solve`."""

from srnc_manifold.solvers.atom_search import AtomSearch
from srnc_manifold.solvers.augmented_lagrangian import AugmentedLagrangian
from srnc_manifold.solvers.base import Budget, Run, Solver, SphereRun, Stop
from srnc_manifold.solvers.batch import BatchResult, solve_batch
from srnc_manifold.solvers.continuation import Continuation
from srnc_manifold.solvers.driver import solve, supported
from srnc_manifold.solvers.exact import Exact
from srnc_manifold.solvers.exact_penalty import ExactPenalty
from srnc_manifold.solvers.gradient_descent import GradientDescent
from srnc_manifold.solvers.gradient_sampling import GradientSampling
from srnc_manifold.solvers.matrix_srn import MatrixSRN
from srnc_manifold.solvers.multi_start import MultiStart
from srnc_manifold.solvers.reshape_then_srn import ReshapeThenSRN
from srnc_manifold.solvers.riemannian import Riemannian
from srnc_manifold.solvers.riemannian_lbfgs import RiemannianLBFGS
from srnc_manifold.solvers.spectral_normalization import SpectralNormalization
from srnc_manifold.solvers.srnc import SRNC
from srnc_manifold.solvers.subgradient import Subgradient

__all__ = [
    "SRNC",
    "AtomSearch",
    "AugmentedLagrangian",
    "BatchResult",
    "Budget",
    "Continuation",
    "Exact",
    "ExactPenalty",
    "GradientDescent",
    "GradientSampling",
    "MatrixSRN",
    "MultiStart",
    "ReshapeThenSRN",
    "Riemannian",
    "RiemannianLBFGS",
    "Run",
    "Solver",
    "SpectralNormalization",
    "SphereRun",
    "Stop",
    "Subgradient",
    "solve",
    "solve_batch",
    "supported",
]
