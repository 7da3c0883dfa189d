"""The contract tests for the cost and the solver of this package."""

from srnc_plugin_template import PNorm, RandomSearch

from srnc_manifold.testing import check_cost, check_solver


def test_the_cost_keeps_the_contract():
    check_cost(PNorm())


def test_the_solver_keeps_the_contract():
    check_solver(RandomSearch())
    check_solver(RandomSearch(PNorm()))
