"""Costs: formulations of the problem as a scalar function on the unit sphere, one per module."""

from srnc_manifold.costs.augmented import AugmentedLagrangianCost
from srnc_manifold.costs.base import Cost, View
from srnc_manifold.costs.batched import BatchFunction
from srnc_manifold.costs.exact_max import ExactMax
from srnc_manifold.costs.exact_penalty import ExactPenaltyCost
from srnc_manifold.costs.function import SphereFunction
from srnc_manifold.costs.log_sum_exp import LogSumExp
from srnc_manifold.costs.penalty import Penalty

__all__ = [
    "AugmentedLagrangianCost",
    "BatchFunction",
    "Cost",
    "ExactMax",
    "ExactPenaltyCost",
    "LogSumExp",
    "Penalty",
    "SphereFunction",
    "View",
]
