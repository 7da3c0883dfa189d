"""Scores of many kernels at once are those of each."""

import dataclasses

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.testing.problems import kernel_problems, other_problems


def problems():
    rng = np.random.default_rng(0)
    yield from kernel_problems(rng)
    yield from other_problems(rng)
    yield srnc.SRNProblem(rng.standard_normal((4, 2, 3, 3)), 8, stable_rank_fraction=0.9, groups=2, stride=2)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_scores_are_those_of_each_kernel(library):
    xp, rng = namespace(library), np.random.default_rng(1)
    for problem in problems():
        kernels = rng.standard_normal((6, *problem.kernel.shape)) * 10.0 ** rng.uniform(-9, 9, 6).reshape(
            -1, *(1 for _ in problem.kernel.shape)
        )
        kernels[0] = problem.kernel
        given = kernels if library == "numpy" else xp.tensor(kernels, "float64", "cpu")
        found = problem.evaluate_batch(given)
        singles = [problem.evaluate(kernel) for kernel in kernels]
        for field in dataclasses.fields(found):
            expected = np.array([getattr(single, field.name) for single in singles])
            values = xp.to_numpy(getattr(found, field.name))
            # Sums of a few hundred terms in another order; errors are differences from one.
            assert np.allclose(values, expected, rtol=1e-12, atol=1e-13), (field.name, problem)
        assert xp.to_numpy(found.feasible).tolist() == [single.feasible for single in singles]
        np.testing.assert_allclose(xp.to_numpy(found.violation), [s.violation for s in singles], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (np.ones((2, 4)), r"x: shape \(2, 4\) given, expected \(B, 3\)"),
        (np.ones(3), "expected at least one kernel with entries, and the batch axis first"),
        (np.array([[1.0, 2, 3], [0, 0, 0]]), r"x\[1\]: all entries are zero"),
        (np.array([[1.0, 2, 3], [0, np.nan, 0]]), r"x\[1\]: some entries are NaN"),
    ],
)
def test_what_is_no_batch_of_kernels_is_refused(kernels, message, paper):
    with pytest.raises(ValueError, match=message):
        paper(32).evaluate_batch(kernels)


def test_stacks_check_their_shape(paper):
    stack = srnc.StackProblem([paper(32), paper(40)])
    with pytest.raises(ValueError, match=r"x: shape \(2, 3\) given, expected \(B, 2, 3\)"):
        stack.evaluate_batch(np.ones((2, 3)))
