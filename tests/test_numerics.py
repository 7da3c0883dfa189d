"""Roots and scaling against functions whose roots are known."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold.backends import namespace
from srnc_manifold.numerics import Memo, binary_scale, bracketed_root, newton_root

SHAPES = {
    "line": lambda x: (x, np.ones_like(x)),
    "cube": lambda x: (x**3, 3 * x**2),  # flat at its root, where Newton's method alone converges linearly
    "arctangent": lambda x: (np.arctan(20 * x), 20 / (1 + 400 * x**2)),  # from afar Newton's method alone diverges
    "exponential": lambda x: (np.expm1(9 * x), 9 * np.exp(9 * x)),
    "root": lambda x: (np.sign(x) * np.sqrt(np.abs(x)), 0.5 / np.sqrt(np.abs(x) + 1e-300)),  # it cycles
}


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 2**31), st.sampled_from([1, 3, 2000]))
def test_newton_finds_the_roots_of_increasing_functions(shape, seed, count):
    rng = np.random.default_rng(seed)
    low, high = -rng.uniform(0.1, 10, count), rng.uniform(0.1, 10, count)
    roots = rng.uniform(low, high)
    calls = []

    def function(x, which):
        calls.append(len(x))
        return SHAPES[shape](x - roots[which])

    found = newton_root(function, low, high, 1e-13)
    # The value is within the tolerance and what four ulps of the argument make of it, or the argument is the root's.
    value, slope = SHAPES[shape](found - roots)
    resolution = 1e-13 + 2.0**-51 * np.abs(found * slope)
    assert np.all((np.abs(value) <= resolution) | (np.abs(found - roots) <= 1e-14 * np.maximum(1, np.abs(roots))))
    assert len(calls) < 200


@given(st.integers(0, 2**31), st.floats(-700, -30))
def test_newton_does_not_search_for_what_rounding_hides(seed, root):
    """Of a function of slope two the values next to a root of this size are larger than the tolerance."""
    calls = []

    def function(x, which):
        calls.append(len(x))
        return 2 * (x - roots[which]) + 0.1 * np.expm1(x - roots[which]), 2 + 0.1 * np.exp(x - roots[which])

    roots = root + np.random.default_rng(seed).uniform(-1, 1, 3)
    newton_root(function, roots - 5, np.zeros(3), 4e-15)
    assert len(calls) < 15


def test_newton_takes_an_end_that_is_the_root():
    low, high = np.array([0.0, -1.0]), np.array([1.0, 0.0])
    found = newton_root(lambda x, _: (x, np.ones_like(x)), low, high, 1e-15)
    np.testing.assert_allclose(found, 0, atol=1e-15)


@given(st.integers(0, 2**31))
def test_bracketed_roots(seed):
    rng = np.random.default_rng(seed)
    roots = rng.uniform(-1, 1, 5)
    found = bracketed_root(lambda x: np.sign(x - roots) * np.abs(x - roots) ** 0.2, -np.ones(5), np.ones(5))
    np.testing.assert_allclose(found, roots, atol=1e-15)  # the bracket shrinks to neighbouring doubles


@pytest.mark.parametrize(("array", "scale"), [([0.0], 1.0), ([3.0, -5.0], 8.0), ([1e-300], 2.0**-996)])
def test_binary_scale(array, scale):
    assert binary_scale(np.array(array)) == scale


@given(st.integers(0, 2**31))
def test_least_by_group(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, 6)
    groups, values = np.repeat(np.arange(6), counts), rng.standard_normal(sum(counts))
    expected = [np.min(values[groups == k]) for k in range(6)]
    np.testing.assert_array_equal(namespace("numpy").least_by_group(values, groups, 6), expected)
    tensors = namespace("torch").least_by_group(torch.tensor(values), torch.tensor(groups), 6)
    np.testing.assert_array_equal(tensors.numpy(), expected)


def test_a_memo_computes_again_only_for_another_point():
    memo, calls = Memo(), []

    def first(z):
        calls.append(1)
        return z[0]

    point = np.array([1.0, 2.0])
    for z in (point, point.copy(), -point, point):
        assert memo.at(z, partial(first, z)) == z[0]
    assert len(calls) == 3
    memo.remember(-point, "known")
    assert memo.at(-point, lambda: "computed") == "known"
