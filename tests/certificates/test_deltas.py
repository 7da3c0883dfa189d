"""Where every kernel of the largest stable rank has a single tap, and what that proves."""

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.certificates import ball, deltas
from srnc_manifold.operators import norms
from srnc_manifold.operators.geometry import Geometry


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (Geometry.of((3,), 8), True),
        (Geometry.of((3,), 5), True),  # differences −2 … 2, all different modulo 5
        (Geometry.of((3,), 4), False),  # −2 is 2
        (Geometry.of((4,), 11, dilation=2), True),
        (Geometry.of((3, 3), (8, 8)), True),
        (Geometry.of((2, 2), (2, 2)), False),  # (1, 1, 1, −1) has singular values that are all the same
        (Geometry.of((2, 1, 3), 8), False),
        (Geometry.of((1, 1, 4), 8, stride=2), False),
        (Geometry.of((1, 2), ()), False),
    ],
    ids=str,
)
def test_where_only_deltas_are_feasible(geometry, expected):
    assert deltas.only_deltas(geometry) == expected
    direction = np.random.default_rng(0).standard_normal(geometry.kernel_shape)
    direction /= np.linalg.norm(direction)
    bound = ball.certified_bound("deltas", {}, direction, geometry, 1.0)
    assert bound == (np.max(np.abs(direction)) if expected else pytest.approx(1, abs=1e-12))  # ‖a‖, rounded upwards
    # A level above one has other kernels, however little it is above.
    assert ball.certified_bound("deltas", {}, direction, geometry, 1 + 2**-52) >= 1 - 1e-15


def test_the_kernel_of_two_by_two_points():
    geometry = Geometry.of((2, 2), (2, 2))
    assert norms.gain(np.array([[1.0, 1.0], [1.0, -1.0]]) / 2, geometry) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(("shape", "size"), [((3,), 5), ((2, 2), (3, 4)), ((4,), 11)])
def test_kernels_that_are_no_deltas_have_a_larger_gain(shape, size):
    geometry, rng = Geometry.of(shape, size), np.random.default_rng(0)
    for spread in (1.0, 1e-2, 1e-4):
        for _ in range(50):
            z = np.zeros(shape)
            z.flat[rng.integers(z.size)] = 1.0
            z = z + spread * rng.standard_normal(shape)
            assert norms.gain(z / np.linalg.norm(z), geometry) > 1 + 1e-3 * spread**2


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_stable_rank_is_solved(seed):
    kernel = np.random.default_rng(seed).standard_normal((3, 3))
    problem = srnc.SRNProblem(kernel, 8, stable_rank=64)
    result = srnc.solve(problem)
    assert result.status == "converged"
    assert result.bound.kind == "deltas"
    assert result.bound.verify(problem) == result.bound.objective
    expected = np.zeros((3, 3))
    largest = np.unravel_index(np.argmax(np.abs(kernel)), (3, 3))
    expected[largest] = np.sign(kernel[largest]) * np.linalg.norm(result.kernel)
    np.testing.assert_allclose(result.kernel, expected, atol=1e-9)  # a gain that is right to 1e-11 leaves its root
    assert srnc.bound(problem).kind == "deltas"
