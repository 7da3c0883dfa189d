"""Stable rank normalization of convolution kernels: exact solutions, Riemannian solvers, honest comparisons."""

from srnc_manifold import bounds, costs, files, interop, plots, solvers
from srnc_manifold.bounds import bound
from srnc_manifold.comparison import Comparison, Ranking, compare, rank, sweep
from srnc_manifold.comparison.html import report
from srnc_manifold.exact.path import PathResult, solve_path
from srnc_manifold.exact.sensitivity import Sensitivity, sensitivity
from srnc_manifold.files import read_arrays
from srnc_manifold.operators import Circular, Dense, NormBracket, Operator, Padded
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.operators.measures import (
    frobenius_norm,
    norm_bracket,
    singular_values,
    spectral_norm,
    spectral_norms,
    stable_rank,
    stable_ranks,
)
from srnc_manifold.problem import Problem, SeparableProblem, SRNProblem, StackProblem, families, load_problem
from srnc_manifold.problem.families import NamedProblem, UnavailableProblem, load_family, partway
from srnc_manifold.problem.scores import Restoration
from srnc_manifold.registry import register
from srnc_manifold.result import Bound, Evaluation, History, Result, Status
from srnc_manifold.solvers import BatchResult, Budget, solve, solve_batch

__version__ = "0.1.0"

__all__ = [
    "BatchResult",
    "Bound",
    "Budget",
    "Circular",
    "Comparison",
    "Dense",
    "Evaluation",
    "Geometry",
    "History",
    "NamedProblem",
    "NormBracket",
    "Operator",
    "Padded",
    "PathResult",
    "Problem",
    "Ranking",
    "Restoration",
    "Result",
    "SRNProblem",
    "Sensitivity",
    "SeparableProblem",
    "StackProblem",
    "Status",
    "UnavailableProblem",
    "bound",
    "bounds",
    "compare",
    "costs",
    "families",
    "files",
    "frobenius_norm",
    "interop",
    "load_family",
    "load_problem",
    "norm_bracket",
    "partway",
    "plots",
    "rank",
    "read_arrays",
    "register",
    "report",
    "sensitivity",
    "singular_values",
    "solve",
    "solve_batch",
    "solve_path",
    "solvers",
    "spectral_norm",
    "spectral_norms",
    "stable_rank",
    "stable_ranks",
    "sweep",
]
