"""The curves along which kernels are restored, and what is said where there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import srnc_manifold as srnc
from srnc_manifold.problem.restoration import arc, gain_ascent, gain_descents, restored

seeds = st.integers(0, 2**31)


@given(seeds, st.integers(2, 9))
def test_an_arc_is_the_shorter_great_circle(seed, n):
    rng = np.random.default_rng(seed)
    start, end = rng.standard_normal((2, n))
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    curve = arc(start, end)
    np.testing.assert_allclose(curve(0.0), start, atol=1e-14)
    np.testing.assert_allclose(curve(1.0), end, atol=1e-12)
    angle = np.arccos(np.clip(start @ end, -1, 1))
    for t in (0.25, 0.7):
        assert np.linalg.norm(curve(t)) == pytest.approx(1, abs=1e-14)
        # Arccosines lose half of the digits near one.
        assert np.arccos(np.clip(curve(t) @ start, -1, 1)) == pytest.approx(t * angle, abs=1e-7)


def test_there_is_no_shorter_arc_between_opposite_points():
    with pytest.raises(ValueError, match="opposite"):
        arc(np.array([1.0, 0.0]), np.array([-1.0, 0.0]))


@given(seeds)
def test_the_gain_rises_along_its_gradient(seed):
    rng = np.random.default_rng(seed)
    problem = srnc.partway(rng.standard_normal((3, 2)), (6, 5), 0.3)
    z = problem.spheres.random_point(rng)
    if problem.gain(z) > 0.99 * problem.target_gain:
        return
    curve = gain_ascent(problem)(z)
    np.testing.assert_allclose(curve(0.0), z, atol=1e-14)
    assert problem.gain(curve(1e-3)) > problem.gain(z)


@given(seeds)
def test_the_gain_falls_along_the_least_step_that_lowers_it(seed):
    rng = np.random.default_rng(seed)
    problem = srnc.partway(rng.standard_normal((3, 2)), (6, 5), 0.3, increase=True)
    z = problem.spheres.random_point(rng)
    if problem.gain(z) < 1.01 * problem.target_gain:
        return
    try:
        curve = gain_descents(problem)[0](z)
    except ValueError:  # no direction lowers all of them
        return
    assert np.linalg.norm(curve(1e-6) - z) < 1e-3
    assert problem.gain(curve(1e-6)) < problem.gain(z)


def test_curves_are_tried_one_after_the_other_and_the_last_reason_is_told():
    problem = srnc.partway([1.0, 0.3, -0.2], 16, 0.5)
    z = problem.direction.ravel()  # its gain is too low

    def nowhere(_):
        raise ValueError("no way out")

    def still(at):
        return lambda _: at

    refused = restored(problem, z, too_low=[still, nowhere], too_high=[])
    assert not refused.success
    assert refused.message == "cannot be restored: no way out"
    assert refused.distance == 0
    found = restored(problem, z, too_low=[nowhere, gain_ascent(problem)], too_high=[])
    assert found.success
    assert problem.evaluate(found).violation < 1e-9


def test_where_no_direction_lowers_all_singular_values_there_is_no_endless_step():
    # At a single tap every singular value is one. Each direction raises some of them; none leads to a gain below one.
    problem = srnc.SRNProblem([1.0, 2.0], 8, stable_rank=7.9)
    problem.target_gain = 0.9
    for way in gain_descents(problem):
        with pytest.raises(ValueError, match="no direction lowers all singular values"):
            way(np.array([1.0, 0.0]))
