"""Stable rank normalization of convolution kernels: exact solutions, Riemannian solvers, honest comparisons."""

from srnc_manifold import costs, solvers
from srnc_manifold.geometry import Geometry
from srnc_manifold.problem import Restoration, SRNProblem
from srnc_manifold.result import Evaluation, History, Result, Status
from srnc_manifold.solvers import Budget, solve
from srnc_manifold.spectrum import frobenius_norm, singular_values, spectral_norm, stable_rank

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Evaluation",
    "Geometry",
    "History",
    "Restoration",
    "Result",
    "SRNProblem",
    "Status",
    "costs",
    "frobenius_norm",
    "singular_values",
    "solve",
    "solvers",
    "spectral_norm",
    "stable_rank",
]
