"""What has had another name says so, and works."""

import pytest

import srnc_manifold as srnc


def test_the_target_of_a_view_is_its_target_gain(paper):
    problem = paper(32)
    view = srnc.costs.View.at(problem, problem.direction.ravel(), srnc.backends.NUMPY)
    with pytest.warns(DeprecationWarning, match=r"target_gain"):
        assert view.target == view.target_gain == problem.target_gain == 2
