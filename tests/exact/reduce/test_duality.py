"""The shifted bound and the alternation are two sides of one thing (docs/theory.md, propositions 6 to 8)."""

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.backends import NUMPY
from srnc_manifold.bounds import cone_programs
from srnc_manifold.certificates import caps
from srnc_manifold.exact import reduce
from srnc_manifold.exact.reduce import alternation, shifts
from srnc_manifold.operators import atoms, norms

LAYOUTS = [
    ((2, 3, 3), (8,), {}),
    ((3, 2, 2, 3), (4, 5), {}),
    ((4, 4, 3), (8,), {"groups": 2, "stride": 2}),
    ((2, 2, 5), (9,), {"stride": 3}),
    ((2, 3, 3), (9,), {"dilation": 2}),
]


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS)
def test_the_shifted_symbol_is_that_of_the_nearest_point_less_a_multiple_of_its_atom(shape, size, layout):
    rng = np.random.default_rng(0)
    geometry = srnc.Geometry.of(shape, size, **layout)
    a = rng.standard_normal(shape)
    a /= np.linalg.norm(a)
    level = 0.5 * (float(norms.gain(a, geometry)) + float(np.max(atoms.frame(geometry).top)))
    index = np.flatnonzero(atoms.frame(geometry).top > level)
    frame = atoms.frame(geometry)
    blocks = alternation.Blocks(atoms.turned_symbol(a, geometry)[index], frame.upper[index], frame.lower[index], level)
    w, distances = alternation.alternate(blocks, alternation.random_atoms(blocks, rng))
    assert np.all(np.isfinite(distances))
    push, pull = (values[:, None, None] for values in alternation.coordinates(blocks, blocks.sizes(w)))
    symbols, near = alternation.images_of(blocks, w)
    np.testing.assert_allclose(2 - 2 * near, distances, atol=1e-14)  # rounding of numbers of size one
    for k in range(len(index)):
        shift = shifts.shifts(blocks[np.array([k])], w[[k]], float(distances[k]))[0]
        expected = (symbols[k] - push[k] * blocks.top[k] * w[k].conj()) / pull[k]
        # Matrices of size one; close to the rim √(γ² − c) magnifies the rounding of γ².
        np.testing.assert_allclose(blocks.matrices[k] + shift, expected, atol=1e-9)
        # The symbol at x(G) is that of the kernel that coordinates describe.
        z = push[k] * atoms.synthesis(w[[k]], index[[k]], geometry)[0].reshape(1, -1) + pull[k] * a.reshape(1, -1)
        turned = atoms.turned_symbol(z.reshape(shape), geometry)[index[k]]
        np.testing.assert_allclose(turned, symbols[k], atol=1e-12)
        assert np.linalg.norm(z) == pytest.approx(1, abs=1e-12)


RANK_ONE = [
    ((3,), (8,), {}),
    ((4,), (5,), {}),
    ((3, 3), (5, 6), {}),
    ((3, 1, 3), (8,), {}),
    ((1, 2, 3), (8,), {}),
    ((2, 1, 5), (8,), {"groups": 2, "stride": 2}),
]


@pytest.mark.parametrize(("shape", "size", "layout"), RANK_ONE)
@pytest.mark.parametrize("symmetry", [0, 1, -1])
def test_the_best_shift_leaves_no_gap_in_blocks_of_rank_one(shape, size, layout, symmetry):
    rng = np.random.default_rng(2)
    kernel = rng.standard_normal(shape)
    kernel = kernel + symmetry * np.flip(kernel, axis=tuple(range(len(shape) - len(size), len(shape))))
    low = srnc.Geometry.of(shape, size, **layout).stable_rank_range[0]
    own = float(srnc.stable_rank(kernel, size, **layout))
    problem = srnc.SRNProblem(kernel, size, stable_rank=0.5 * (low + own), **layout)
    geometry, level = problem.geometry, problem.target_gain
    single = reduce.nearest_to_one(problem.direction, level, geometry)
    block = single.blocks[0]
    matrix = atoms.turned_symbol(problem.direction, geometry)[block]
    frame = atoms.frame(geometry)
    _, sine = caps.angle(np.array(single.squared_distance), NUMPY)
    shift = cone_programs.cap_multiplier(matrix, frame.upper[block], frame.lower[block], level, float(sine))
    index = np.array([block])
    bound = caps.shifted_bounds(matrix[None], index, shift[None], geometry, np.array([level]))[0]
    # The cone program is solved to about 1e-9 of numbers of size one.
    assert bound == pytest.approx(single.squared_distance, abs=1e-6)
    assert bound <= single.squared_distance * (1 + 1e-12)


def test_minus_the_symbol_is_the_best_shift_of_the_symmetric_saddle():
    problem = srnc.SRNProblem([1.37195, -1.41225, -1.41225, 1.37195], 5, stable_rank=5 / 1.4985)
    geometry, level = problem.geometry, problem.target_gain
    single = reduce.nearest_to_one(problem.direction, level, geometry)
    block = np.array(single.blocks[:1])
    matrices = atoms.turned_symbol(problem.direction, geometry)[block]
    # Zero where a shift must be: the symbol there is imaginary but for rounding.
    shifts = np.where(np.abs(matrices.real) < 1e-12, -1j * matrices.imag, -matrices)
    bound = caps.shifted_bounds(matrices, block, shifts, geometry, np.array([level]))[0]
    assert bound == pytest.approx(single.squared_distance, rel=1e-10)
