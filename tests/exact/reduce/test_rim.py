"""Nearest points of the caps of one block against grids over the phase and a general-purpose solver."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import srnc_manifold as srnc
from srnc_manifold.backends import NUMPY
from srnc_manifold.exact.reduce import rim
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry

SINGLE = [Geometry.of((3,), 8), Geometry.of((4,), 8), Geometry.of((4,), 9, dilation=2), Geometry.of((3, 2), (5, 6))]


def solve_block(a, geometry, block, level):
    """Squared distance, nearest point, its mirror image, and whether the sign is free."""
    index, levels = np.array([block]), np.array([float(level)])
    matrices = atoms.turned_symbol(a, geometry)[index]
    points = rim.rim_points(matrices, index, a[None], levels, geometry, NUMPY)
    versions = [rim.assemble(p, np.array([0]), index, a[None], geometry, NUMPY)[0] for p in (points, points.mirrored())]
    return float(points.squared_distances[0]), *versions, bool(points.free()[0])


def rows_of(geometry, block):
    """Real and imaginary part of ``f_l(j)`` for the taps of each phase: ``‖Z_b‖²`` is the sum of their squares."""
    taps = np.array(list(np.ndindex(*geometry.taps)), int).reshape(geometry.n_taps, len(geometry.taps))
    place, residue = np.divmod(taps * np.array(geometry.dilation, int), np.array(geometry.stride, int))
    frequency, _ = divmod(block, geometry.groups)
    f = np.exp(-2j * np.pi * place @ (geometry.frequencies[frequency] / np.array(geometry.grid, float)))
    met = sorted({tuple(p) for p in residue})
    masks = [np.all(residue == p, axis=1) for p in met]
    return np.stack([part * mask for mask in masks for part in (f.real, f.imag)])


def energy(z, geometry, block):
    """``‖Z_b‖_F²``, with all channels of the block's group."""
    members = z.reshape(geometry.groups, -1, geometry.n_taps)[block % geometry.groups]
    return float(np.sum((members @ rows_of(geometry, block).T) ** 2))


def of_phase(psi, a, f, level):
    """Squared distance to the cap of ``Re(exp(iψ) f)``; infinite where it is empty."""
    g = np.real(np.exp(1j * np.atleast_1d(psi))[:, None] * f)
    norms, heights = np.sum(g**2, axis=1), g @ a.ravel()
    inside = norms >= level
    safe = np.where(inside, norms, level)
    angles = np.arccos(np.clip(heights / np.sqrt(safe), -1, 1)) - np.arccos(np.sqrt(level / safe))
    return np.where(inside, 4 * np.sin(0.5 * angles) ** 2, np.inf)


def brute_force(a, geometry, block, level):
    """The best phases on a grid, and around each of them on finer and finer ones."""
    real, imag = rows_of(geometry, block)
    f = real + 1j * imag
    if np.max(np.abs(imag)) < 1e-12:  # a real block has two atoms of interest, the others are shorter
        return np.min(of_phase(np.array([0.0, np.pi]), a, f, level))
    grid = np.arange(2000) * (2 * np.pi / 2000)
    values = of_phase(grid, a, f, level)
    best = np.min(values)
    lower = (values <= np.roll(values, 1)) & (values <= np.roll(values, -1)) & np.isfinite(values)
    for middle in grid[lower & (values < best + 1e-3)]:
        width = 2 * np.pi / 2000
        for _ in range(8):
            psi = middle + np.linspace(-width, width, 101)
            values = of_phase(psi, a, f, level)
            best, middle, width = min(best, np.min(values)), psi[np.argmin(values)], width / 25
    return best


def unit_kernel(rng, geometry, symmetry):
    a = rng.standard_normal(geometry.kernel_shape)
    a = a + symmetry * np.flip(a)
    return a / np.linalg.norm(a)


def check(a, geometry, block, level, expected, tolerance):
    distance, z, mirrored, free = solve_block(a, geometry, block, level)
    assert distance == pytest.approx(expected, abs=tolerance)
    for point in (z, mirrored) if free else (z,):
        assert np.linalg.norm(point) == pytest.approx(1, abs=1e-14)  # rounding
        assert energy(point, geometry, block) == pytest.approx(level, rel=1e-9)  # on the rim; the root's accuracy
        assert np.sum((point - a) ** 2) == pytest.approx(distance, abs=1e-11)
    return z, mirrored, free


@given(st.sampled_from(SINGLE), st.integers(0, 2**31), st.sampled_from([0, 1, -1]), st.floats(0.001, 0.999))
def test_single_channel_blocks_against_all_phases(geometry, seed, symmetry, fraction):
    a = unit_kernel(np.random.default_rng(seed), geometry, symmetry)
    for block in range(geometry.n_blocks):
        rows, own = rows_of(geometry, block), energy(a, geometry, block)
        top = np.linalg.norm(rows, 2) ** 2
        level = own + fraction * (top - own)
        if top - own < 1e-6 * top:
            continue
        # The last grid has steps of 1e-12. Arccosines lose eight digits near one, which squares of angles get back.
        check(a, geometry, block, level, brute_force(a, geometry, block, level), 1e-9)


def near_top(rng, rows, amount):
    """A unit vector almost orthogonal to the first eigenvector of a block."""
    _, vectors = np.linalg.eigh(rows.T @ rows)
    a = rng.standard_normal(rows.shape[1])
    a -= (a @ vectors[:, -1]) * vectors[:, -1]
    a = a / np.linalg.norm(a) + amount * vectors[:, -1]
    return a / np.linalg.norm(a)


@given(st.integers(0, 2**31), st.floats(-18, -1), st.floats(0.01, 0.99), st.sampled_from([1, 2]))
def test_near_the_hard_case(seed, exponent, fraction, block):
    geometry = SINGLE[2]
    rows = rows_of(geometry, block)
    a = near_top(np.random.default_rng(seed), rows, 10.0**exponent)
    own, top = energy(a, geometry, block), np.linalg.norm(rows, 2) ** 2
    level = own + fraction * (top - own)
    check(a, geometry, block, level, brute_force(a, geometry, block, level), 1e-9)


def test_the_hard_case_of_an_antisymmetric_kernel():
    """``(−1, 0, 1)`` has no part along DC's eigenvector (1, 1, 1)/√3: ``d² = 2 − 2 cos(π/2 − β)``, on both sides."""
    geometry, a = Geometry.of((3,), 8), np.array([-1.0, 0.0, 1.0]) / np.sqrt(2)
    for level in (0.1, 1.0, 2.0, 2.9, 3 - 1e-9):
        expected = 2 - 2 * np.sqrt(1 - level / 3)  # sin β = √(1 − c/3)
        z, mirrored, free = check(a, geometry, 0, level, expected, 1e-13)  # a closed form
        assert free
        # Part along a the same, part along (1, 1, 1) opposite.
        np.testing.assert_allclose(mirrored, z - 2 * np.mean(z), atol=1e-14)
        assert np.linalg.norm(z - mirrored) == pytest.approx(2 * np.sqrt(level / 3), abs=1e-12)


def test_the_symmetric_saddle_of_the_theory():
    geometry, level = Geometry.of((4,), 5), 1.4985
    a = np.array([1.37195, -1.41225, -1.41225, 1.37195])
    problem = srnc.SRNProblem(a, 5, stable_rank=5 / level)
    a = a / np.linalg.norm(a)
    z, mirrored, free = check(a, geometry, 1, level, brute_force(a, geometry, 1, level), 1e-9)
    assert free
    np.testing.assert_allclose(mirrored, z[::-1], atol=1e-12)
    assert problem.objective_at(float(np.sum((z - a) ** 2))) == pytest.approx(3.620, abs=5e-4)  # the theory's digits


@pytest.mark.parametrize("block", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("symmetry", [0, 1, -1])
@pytest.mark.parametrize("taps", [3, 4])
def test_the_level_equal_to_the_eigenvalue(block, symmetry, taps):
    """The cap is the unit sphere of the first eigenspace: its nearest point is the projection, if there is one."""
    geometry = Geometry.of((taps,), 8)
    a = unit_kernel(np.random.default_rng(3), geometry, symmetry)
    rows = rows_of(geometry, block)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    first = vectors[:, values >= values[-1] * (1 - 1e-12)]  # a plane for four taps on eight points at l = 1
    part = np.linalg.norm(first.T @ a)
    # The eigenvalue as the package has it, and another one, a few ulps off, of which the distance sees the root.
    for level, tolerance in ((float(atoms.frame(geometry).top[block]), 1e-10), (values[-1], 1e-7)):
        distance, z, mirrored, free = solve_block(a, geometry, block, level)
        assert distance == pytest.approx(2 - 2 * part, abs=tolerance)
        np.testing.assert_allclose(first @ (first.T @ z), z, atol=1e-7)
        assert free == (part < 1e-12)
        if free:
            assert np.sum((mirrored - a) ** 2) == pytest.approx(2, abs=tolerance)


def test_levels_just_below_the_eigenvalue():
    geometry = SINGLE[0]
    for seed in range(5):
        a = unit_kernel(np.random.default_rng(seed), geometry, 0)
        part = abs(np.sum(a)) / np.sqrt(3)  # along DC's eigenvector
        for t in (1e-4, 1e-8, 1e-11):
            cosine = np.sqrt(1 - t) * part + np.sqrt(t) * np.sqrt(1 - part**2)
            distance, *_ = solve_block(a, geometry, 0, 3 * (1 - t))
            # c is rounded to 1e-16 of itself, t to that over t, and the cosine has its square root.
            assert distance == pytest.approx(2 - 2 * cosine, abs=1e-14 / np.sqrt(t) + 1e-13)


SEVERAL = [
    Geometry.of((3, 1, 3), (8,), groups=3, stride=2),
    Geometry.of((2, 1, 4), (12,), groups=2, stride=2, dilation=3),
    Geometry.of((1, 2, 3), (8,), stride=2),
    Geometry.of((2, 1, 2, 3), (4, 6), groups=2, stride=(1, 2)),
    Geometry.of((3, 1, 3), (6,)),
    Geometry.of((2, 2, 4), (6,), groups=2, stride=3),
]


@pytest.mark.parametrize("geometry", SEVERAL, ids=str)
@pytest.mark.parametrize(("symmetry", "fraction"), [(0, 0.2), (0, 0.9), (1, 0.5), (-1, 0.5)])
def test_several_phases_or_channels_against_a_general_solver(geometry, symmetry, fraction):
    rng = np.random.default_rng(1)
    shaped = rng.standard_normal((*geometry.channels, *geometry.taps))
    shaped = shaped + symmetry * np.flip(shaped, axis=tuple(range(2, shaped.ndim)))
    a = (shaped / np.linalg.norm(shaped)).reshape(geometry.kernel_shape)
    flat, compared = a.ravel(), 0
    for block in range(min(geometry.n_blocks, 3 * geometry.groups)):
        rows = rows_of(geometry, block)
        own, top = energy(a, geometry, block), np.linalg.norm(rows, 2) ** 2
        level = own + fraction * (top - own)
        if top - own < 1e-6:
            continue
        members = np.zeros((geometry.groups, a.size // geometry.groups // geometry.n_taps))
        members[block % geometry.groups] = 1
        form = np.kron(np.diag(members.ravel()), rows.T @ rows)
        constraints = [
            {"type": "eq", "fun": lambda z: z @ z - 1, "jac": lambda z: 2 * z},
            {
                "type": "ineq",
                "fun": lambda z, form=form, level=level: z @ form @ z - level,
                "jac": lambda z, form=form: 2 * form @ z,
            },
        ]
        best = np.inf
        for _ in range(5):
            found = optimize.minimize(
                lambda z: (-flat @ z, -flat),
                rng.standard_normal(a.size),
                jac=True,
                constraints=constraints,
                method="SLSQP",
                options={"ftol": 1e-14, "maxiter": 200},
            )
            violation = max(abs(found.x @ found.x - 1), level - found.x @ form @ found.x)
            if violation < 1e-8:
                best = min(best, 2 + 2 * found.fun)
        compared += np.isfinite(best)
        # SLSQP violates constraints by up to 1e-8 and gains that times a multiplier.
        if np.isfinite(best):
            check(a, geometry, block, level, best, 2e-7)
    assert compared >= 1


def test_blocks_are_solved_together_as_alone():
    geometry = SEVERAL[0]
    a = np.random.default_rng(0).standard_normal(geometry.kernel_shape)
    a /= np.linalg.norm(a)
    blocks = np.arange(geometry.n_blocks)
    own = np.array([energy(a, geometry, b) for b in blocks])
    levels = 0.5 * (own + atoms.frame(geometry).top)
    directions = np.stack([a] * len(blocks))
    matrices = atoms.turned_symbol(a, geometry)
    points = rim.rim_points(matrices, blocks, directions, levels, geometry, NUMPY)
    together = rim.assemble(points, blocks, blocks, directions, geometry, NUMPY)
    for block in blocks:
        distance, z, *_ = solve_block(a, geometry, block, levels[block])
        assert points.squared_distances[block] == pytest.approx(distance, abs=1e-13)  # rounding
        np.testing.assert_allclose(together[block], z, atol=1e-12)
