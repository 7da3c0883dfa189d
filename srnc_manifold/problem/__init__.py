"""The problems: of one kernel, of several, of kernels that stay separable; their scores; families of them."""

from srnc_manifold.problem.base import KernelProblem, Problem, Regime
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.separable import SeparableProblem
from srnc_manifold.problem.stack import StackProblem

__all__ = ["KernelProblem", "Problem", "Regime", "SRNProblem", "SeparableProblem", "StackProblem"]
