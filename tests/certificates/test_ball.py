"""Bounds on ``⟨a, z⟩`` hold for any multipliers and are sharp where the optimum is known in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import srnc_manifold as srnc
from srnc_manifold.certificates import ball, regions
from srnc_manifold.operators import norms, symbol
from srnc_manifold.operators.geometry import Geometry

GEOMETRIES = [
    Geometry.of((3,), 8),
    Geometry.of((2, 2), (4, 5)),
    Geometry.of((2, 2, 2), (5,)),
    Geometry.of((3, 2, 2), (4,)),
    Geometry.of((2, 3, 2), (5,)),
    Geometry.of((4, 1, 3), (6,), groups=2),
    Geometry.of((2, 1, 3), (6,), stride=2),
    Geometry.of((3,), 8, dilation=2),
]


def random_numbers(rng, shape):
    """Complex numbers of sizes from 1e-6 to 1e6, sparse or not: what a broken solver could return."""
    values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (
        values * 10.0 ** rng.uniform(-6, 6) * (rng.random(shape[0]) < rng.random()).reshape(-1, *[1] * (len(shape) - 1))
    )


def random_tree(rng, geometry, n_splits):
    """Certificate with random numbers for every split and leaf."""
    size, k = int(np.prod(geometry.kernel_shape)), geometry.block_rank
    children, open_ends = np.zeros((n_splits, 2), int), []
    for split in range(n_splits):
        if open_ends:
            parent, side = open_ends.pop(rng.integers(len(open_ends)))
            children[parent, side] = split
        open_ends += [(split, 0), (split, 1)]
    for leaf, (parent, side) in enumerate(open_ends):
        children[parent, side] = -1 - leaf
    pairs = rng.integers(0, 2, (n_splits + 1, 5, 2))  # every leaf has at least two half-spaces
    pairs[rng.random(pairs.shape) < 0.1] = -1
    return {
        "normals": rng.standard_normal((n_splits, size)),
        "thresholds": 0.5 * rng.standard_normal(n_splits),
        "children": children,
        "multipliers": random_numbers(rng, (n_splits + 1, geometry.n_blocks, k, k)),
        "pairs": pairs,
        "weights": 10.0 ** rng.uniform(-3, 1) * rng.standard_normal((n_splits + 1, 5)),
    }


@given(st.sampled_from(GEOMETRIES), st.integers(0, 2**31))
def test_no_multipliers_give_less_than_a_feasible_value(geometry, seed):
    rng = np.random.default_rng(seed)
    direction, z = rng.standard_normal((2, *geometry.kernel_shape))
    direction, z = direction / np.linalg.norm(direction), z / np.linalg.norm(z)
    # Any kernel is feasible for a level of its own gain. The direction is drawn near it, so that bounds can fail.
    direction = direction + rng.choice([0.0, 1.0, 10.0]) * z
    direction /= np.linalg.norm(direction)
    level, value = float(norms.gain(z, geometry)), float(np.sum(direction * z))
    k, shape = geometry.block_rank, (geometry.n_blocks, *geometry.block_shape)
    # No tolerance: bounds are rounded upwards.
    assert ball.ball_bound(direction, geometry, level, random_numbers(rng, shape)) >= value
    # The best Y of its size for one random z is aligned with Z; so is the worst for the bound.
    assert ball.ball_bound(direction, geometry, level, rng.random() * symbol.of(z, geometry)) >= value
    theta = random_numbers(rng, (geometry.n_blocks, k, k))
    assert ball.sphere_bound(direction, geometry, level, theta) >= value
    assert ball.sphere_bound(direction, geometry, level, 0.1 * np.abs(theta)) >= value
    tree = random_tree(rng, geometry, int(rng.integers(0, 4)))
    if not len(tree["thresholds"]):
        tree["pairs"][:] = -1
    assert ball.branched_bound(direction, geometry, level, **tree) >= value


def half_space(points, halves, number):
    """``h`` of :func:`ball.branched_bound` at some points; two of them for every ``(normal, threshold, side)``."""
    normal, threshold, side = halves[number // 2]
    return 1 + side * (points @ normal) if number % 2 else side * (threshold - points @ normal)


def lagrangian(z, direction, geometry, level, halves, theta, pairs, weights):
    """What :func:`ball.region_bound` bounds over the unit sphere, term by term, for a stack of points."""
    symbols = symbol.of(z, geometry)
    adjoints = symbols.conj().swapaxes(-1, -2)
    m, n = geometry.block_shape
    grams = symbols @ adjoints if m <= n else adjoints @ symbols
    gains = np.sum(theta * grams.swapaxes(-1, -2), axis=(-3, -2, -1)).real  # Σ_b tr(Θ_b Z_b Z_b*)
    rows, flat = np.tensordot(z, direction, axes=direction.ndim), z.reshape(len(z), -1)
    values = rows + 0.5 * (level * np.trace(theta, axis1=1, axis2=2).sum().real - gains)
    for (i, j), weight in zip(pairs, weights, strict=True):
        values = values + 0.5 * weight * half_space(flat, halves, i) * half_space(flat, halves, j)
    return values


@pytest.mark.parametrize(("shape", "size"), [((2,), 7), ((1, 2), ()), ((2, 1, 1), (3,)), ((2, 2, 1), (2,))])
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_of_a_region_is_the_maximum_of_its_lagrangian(shape, size, seed):
    """On a sphere a quadratic function has no duality gap: the bound is neither too low nor too high."""
    rng, geometry = np.random.default_rng(seed), Geometry.of(shape, size)
    direction, k = rng.standard_normal(shape), geometry.block_rank
    direction /= np.linalg.norm(direction)
    roots = rng.standard_normal((2, geometry.n_blocks, k, k))
    theta = 0.3 * (roots[0] + 1j * roots[1]) @ (roots[0] + 1j * roots[1]).conj().swapaxes(1, 2)
    normals = rng.standard_normal((3, direction.size))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    halves = [(normal, float(0.5 * rng.standard_normal()), float(rng.choice([-1, 1]))) for normal in normals]
    slopes, offsets = (np.concatenate(p) for p in zip(*(regions.half_spaces(*half) for half in halves), strict=True))
    pairs, weights = rng.integers(0, 6, (7, 2)), rng.random(7)
    bound = ball.region_bound(direction, geometry, 1.1, slopes, offsets, theta, pairs, weights)
    if direction.size == 2:
        angles = np.linspace(0, 2 * np.pi, 20001)
        points, tolerance = np.stack([np.cos(angles), np.sin(angles)], axis=1), 1e-6  # curvature times (3e-4)²
    else:
        points, tolerance = rng.standard_normal((200_000, direction.size)), 2e-2  # the nearest is about 0.03 away
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    values = lagrangian(points.reshape(-1, *shape), direction, geometry, 1.1, halves, theta, pairs, weights)
    assert np.max(values) - 1e-11 <= bound <= np.max(values) + tolerance  # below: rounding of the sums above


@given(st.sampled_from(GEOMETRIES), st.integers(0, 2**31))
def test_the_form_of_the_constraints(geometry, seed):
    """Complex ``Θ`` act on the smaller side of the blocks, as in the definition."""
    rng, k = np.random.default_rng(seed), geometry.block_rank
    roots = rng.standard_normal((geometry.n_blocks, k, k)) + 1j * rng.standard_normal((geometry.n_blocks, k, k))
    theta, z = roots @ roots.conj().swapaxes(1, 2), rng.standard_normal((1, *geometry.kernel_shape))
    matrix, trace = ball._constraint_form(geometry, theta)
    zero = np.zeros((0, 2), int)
    expected = -2 * lagrangian(z, 0 * z[0], geometry, 0.0, [], theta, zero, np.zeros(0))
    assert z.ravel() @ matrix @ z.ravel() == pytest.approx(float(expected[0]), rel=1e-12)  # rounding
    assert trace == pytest.approx(np.sum(np.abs(roots) ** 2), rel=1e-12)


def test_two_taps_on_two_points():
    """On the unit circle the gain is ``1 + |sin 2φ|``, so that the optimum for ``a`` at 45° is ``√(c/2)``."""
    geometry, level = Geometry.of((2,), 2), 1.3
    direction = np.full(2, np.sqrt(0.5))
    best = np.sqrt(level / 2)
    y = np.zeros((2, 1, 1), complex)
    y[0] = np.sqrt(0.5)  # a is its adjoint
    assert best <= ball.ball_bound(direction, geometry, level, y) <= best + 1e-12  # its rounding margin
    theta = np.zeros((2, 1, 1))
    theta[0] = 1 / np.sqrt(2 * level)  # the minimizer of ½ / 2θ + ½ c θ, the value for η → 0
    assert best <= ball.sphere_bound(direction, geometry, level, theta) <= best + 1e-11  # η has a margin of 1e-12


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200, 1e308])
def test_numbers_beyond_all_bounds_give_the_trivial_bound(value):
    geometry = Geometry.of((2, 2, 2), (5,))
    direction = np.full((2, 2, 2), 8**-0.5)
    y, theta = np.full((3, 2, 2), value + 0j), np.full((3, 2, 2), value + 0j)
    for bound in (ball.ball_bound(direction, geometry, 1.0, y), ball.sphere_bound(direction, geometry, 1.0, theta)):
        assert bound == pytest.approx(1.0, abs=1e-12)  # ‖a‖, rounded upwards


def test_a_tree_without_splits_is_shor_s_bound():
    rng, geometry = np.random.default_rng(0), Geometry.of((3,), 8)
    direction = np.full(3, 3**-0.5)  # at DC its gain is 3
    tree = random_tree(rng, geometry, 0)
    tree["multipliers"], tree["pairs"][:] = np.zeros((1, 5, 1, 1)), -1
    tree["multipliers"][0, 0] = 0.3
    bound = ball.certified_bound("branched", tree, direction, geometry, 1.2)
    shor = ball.certified_bound("sphere", {"multipliers": tree["multipliers"][0]}, direction, geometry, 1.2)
    assert bound == shor < 1


def test_malformed_certificates_are_refused():
    rng, geometry = np.random.default_rng(0), Geometry.of((3,), 8)
    direction = np.array([1.0, 0.0, 0.0])
    tree = random_tree(rng, geometry, 2)
    with pytest.raises(ValueError, match="expected a later one"):
        ball.branched_bound(direction, geometry, 1.2, **tree | {"children": np.zeros((2, 2), int)})
    with pytest.raises(ValueError, match="expected finite"):
        ball.branched_bound(direction, geometry, 1.2, **tree | {"thresholds": np.array([0.0, np.nan])})
    with pytest.raises(ValueError, match="kind"):
        ball.certified_bound("cube", {}, direction, geometry, 1.2)


def test_the_public_names_of_the_problem_fit():
    problem = srnc.SRNProblem([3.0, 1.0, 1.0], 16, stable_rank=10)
    zeros = np.zeros((problem.geometry.n_blocks, *problem.geometry.block_shape))
    bound = ball.ball_bound(problem.direction, problem.geometry, problem.target_gain, zeros)
    assert bound == pytest.approx(1.0, abs=1e-12)  # ‖a‖, rounded upwards
