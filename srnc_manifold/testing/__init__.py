"""Contract tests for costs, solvers and bounds: they check the properties that this package relies on."""

from srnc_manifold.testing.bounds import check_bound
from srnc_manifold.testing.costs import check_cost, taylor_slope
from srnc_manifold.testing.solvers import check_solver

__all__ = ["check_bound", "check_cost", "check_solver", "taylor_slope"]
