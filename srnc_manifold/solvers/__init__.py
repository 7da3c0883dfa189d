"""Methods, one a file, and the way into them, :func:`solve`."""

from srnc_manifold.solvers.base import Budget, Run, Solver, SphereRun, Stop
from srnc_manifold.solvers.batch import BatchResult, solve_batch
from srnc_manifold.solvers.driver import solve
from srnc_manifold.solvers.exact import Exact
from srnc_manifold.solvers.gradient_descent import GradientDescent
from srnc_manifold.solvers.multi_start import MultiStart
from srnc_manifold.solvers.riemannian import Riemannian

__all__ = [
    "BatchResult",
    "Budget",
    "Exact",
    "GradientDescent",
    "MultiStart",
    "Riemannian",
    "Run",
    "Solver",
    "SphereRun",
    "Stop",
    "solve",
    "solve_batch",
]
