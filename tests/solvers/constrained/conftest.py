"""What the tests of several methods need."""

import numpy as np
import pytest

import srnc_manifold as srnc

SHAPES = [((3,), (64,)), ((5,), (12,)), ((3, 3), (8, 9)), ((2, 2, 3), (8,)), ((3, 4), ())]


@pytest.fixture
def solved_shapes(random_problem):
    """On how many of five problems the best feasible result of five starts is optimal, to 1e-5 of ``‖C(a)‖²``."""

    def best_gap(solver, problem):
        optimum = srnc.solve(problem).evaluation.objective
        results = [srnc.solve(problem, solver, rng=seed) for seed in range(5)]
        gaps = [(r.evaluation.objective - optimum) / problem.squared_norm for r in results if r.evaluation.feasible]
        assert all(gap >= -1e-6 for gap in gaps)  # bought by the violation allowed
        return min(gaps, default=np.inf)

    return lambda solver: sum(best_gap(solver, random_problem(shape, size)) < 1e-5 for shape, size in SHAPES)


@pytest.fixture
def assert_solves_the_paper_s_instance(paper):
    """Assert that a solver converges to the optimum of the paper's instance from a start where it can."""

    def check(solver):
        result = srnc.solve(paper(32), solver, start=[0.9, 0.3, 0.2])
        assert result.status is srnc.Status.CONVERGED
        assert result.evaluation.violation < 1e-6
        # The slope of the optimum by the stable rank is 1/3: as much as a violation of 1e-6 of 32 is worth.
        assert result.evaluation.objective == pytest.approx(32 / 3, abs=2e-5)
        np.testing.assert_allclose(result.kernel, [2 / 3, 1 / 6, 1 / 6], atol=1e-5)

    return check
