"""The bound that goes with an atom of a block, and the best one there is (docs/theory.md, proposition 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import caps
from srnc_manifold.exact.reduce.alternation import Blocks, top_atoms
from srnc_manifold.numerics import Array, bracketed_root


def shifts(blocks: Blocks, w: NDArray[Any], squared_distance: float) -> NDArray[Any]:
    """Shifts ``T`` of the symbol that bound each block best if ``w`` is its best atom (docs/theory.md, proposition 6).

    For a ``w`` in the hull of the atoms, too; ``squared_distance`` is that of the best kernel known.
    """
    _, sine = caps.angle(np.array(squared_distance), NUMPY)
    top = blocks.top[:, None, None]
    for_real, for_imag = top - blocks.upper[:, None], top - blocks.lower[:, None]
    room = blocks.level.below(blocks.top) - np.sum(for_real * w.real**2 + for_imag * w.imag**2, axis=(1, 2))
    inside = room[:, None, None] > 1e-14 * top
    rate = sine / np.sqrt(np.where(inside, room[:, None, None], 1.0))
    # Where the level is the largest γ² there is, shifts cost nothing: all that may be taken away is.
    free = np.where(for_real > 0, -blocks.matrices.real, 0.0) + 1j * np.where(for_imag > 0, -blocks.matrices.imag, 0.0)
    return np.where(inside, rate * (-for_real * w.real + 1j * for_imag * w.imag), free)


@dataclass
class Relaxation:
    """Outcome of :func:`tighten`: the best shift, its bound on ``‖z − a‖²``, and atoms worth starting from."""

    shift: NDArray[Any]
    bound: float
    atoms: list[NDArray[Any]] = field(default_factory=list)


def tighten(
    block: Blocks,
    w: NDArray[Any],
    squared_distance: float,
    bound_of: Callable[[NDArray[Any]], float],
    max_steps: int = 300,
) -> Relaxation:
    """The best bound that a shift can give for one block, from the hull of the atoms.

    Pairwise Frank-Wolfe (Lacoste-Julien and Jaggi, NeurIPS 2015) for the concave maximization over the nuclear-norm
    ball which the atoms' relaxation is (docs/theory.md, proposition 6). The linear subproblem is a singular value
    decomposition, whose value is a bound.

    Parameters
    ----------
    block : Blocks of length 1
    w : array, shape ``(1, *block_shape)``
        Atom to start from.
    squared_distance : float
        Of the best kernel known; the bound is sharp there.
    bound_of : callable
        Bound of a shift, computed safely.

    It ends early where the effort of the block does.
    """
    pool, weights = [w[0]], [1.0]
    best = Relaxation(shifts(block, w, squared_distance)[0], 0.0, pool)
    best.bound = bound_of(best.shift)
    for _ in range(max_steps):
        if best.bound >= squared_distance * (1 - 1e-12) or not block.effort.left():
            break
        for _ in range(3):  # a decomposition for the direction, one for the bound, and the line search
            block.effort.count(block.matrices)
        point = np.tensordot(weights, pool, axes=1)[None]
        shift = shifts(block, point, squared_distance)
        bound = bound_of(shift[0])
        if bound > best.bound:
            best.shift, best.bound = shift[0], bound
        slope = block.matrices[0] + shift[0]
        new = top_atoms(slope[None])[0]
        values = [np.sum(slope * atom).real for atom in pool]
        worst = int(np.argmin(values))
        rise = np.sum(slope * new).real
        if rise - float(np.dot(weights, values)) <= 1e-15 * max(rise, 1e-300):
            break
        length = _line_search(block, point[0], new - pool[worst], weights[worst], squared_distance)
        if length <= 0:
            break
        weights[worst] -= length
        pool.append(new)
        weights.append(length)
        if weights[worst] <= 1e-14:
            del pool[worst], weights[worst]
    return best


def _line_search(
    block: Blocks, point: NDArray[Any], along: NDArray[Any], limit: float, squared_distance: float
) -> float:
    """Where on the segment the concave function ``Re Σ A w + sin φ √(γ² − c)`` is largest."""
    _, sine = caps.angle(np.array(squared_distance), NUMPY)
    top = float(block.top[0])
    weights = np.stack([np.broadcast_to(top - part[0], point.shape) for part in (block.upper, block.lower)])
    p, d = np.stack([point.real, point.imag]), np.stack([along.real, along.imag])
    constant, linear, square = (float(np.sum(weights * x * y)) for x, y in ((p, p), (p, d), (d, d)))
    gain = float(np.sum(block.matrices[0] * along).real)

    def falling(t: Array) -> Array:
        room = block.level.below(top) - constant - 2 * linear * t - square * t**2
        slope = gain - sine * (linear + square * t) / np.sqrt(np.maximum(room, 1e-300))
        return np.where(room > 0, -slope, 1.0)

    if falling(np.array(limit)) < 0:
        return limit
    return float(bracketed_root(falling, np.array(0.0), np.array(limit)))
