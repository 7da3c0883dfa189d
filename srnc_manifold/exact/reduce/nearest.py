"""The global minimizer over all blocks, for one kernel or many (docs/theory.md, sections 4 to 8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from srnc_manifold.backends import Namespace
from srnc_manifold.exact.reduce import rank_one
from srnc_manifold.exact.reduce.effort import Effort
from srnc_manifold.exact.reduce.many import Many
from srnc_manifold.exact.reduce.points import Single
from srnc_manifold.exact.reduce.search import CLOSING, Search
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry


def many(directions: Any, geometry: Geometry, xp: Namespace) -> Many | rank_one.Many:
    """Unit kernels with the batch axis first, whose nearest points are sought."""
    return (rank_one.Many if geometry.block_rank == 1 else Many)(directions, geometry, xp)


def bytes_per_kernel(geometry: Geometry) -> int:
    """About the memory that the work on one of many kernels takes."""
    if geometry.block_rank == 1:  # a few blocks of each
        return 8192 + 512 * math.prod(geometry.kernel_shape)
    return 64 * geometry.n_blocks * math.prod(geometry.block_shape)  # its symbol, and copies of it


def nearest_to_one(
    direction: Array,
    level: atoms.Level | float,
    geometry: Geometry,
    tolerance: float = 1e-9,
    effort: Effort | None = None,
    closing: float = CLOSING,
    notify: Callable[[Array, float], None] | None = None,
    tests: tuple[norms.NormTests, float] | None = None,
    rescue: Callable[[Single], None] | None = None,
) -> Single:
    """Nearest points of the caps to one unit vector, with everything known about them.

    Parameters
    ----------
    effort : Effort, optional
        Counts the work; where none is left, the best point and bound so far are returned.
    closing : float, optional
        How much work may go into the blocks that stay open, as a multiple of that which left them open.
    notify : callable, optional
        Given every improvement: the point and its squared distance.
    tests : (NormTests, float), optional
        Of the symbol of the direction times that number, if they are known.
    rescue : callable, optional
        Given what is known when an exception, an interrupt for one, ends the search early.

    For blocks of rank one there is nothing to iterate: ``tolerance`` and the callables are not used.
    """
    symbols = symbol.of(direction, geometry) if tests is None else tests[0].matrices / tests[1]
    if geometry.block_rank == 1:
        return rank_one.nearest_of_one(direction, symbols, atoms.as_level(level), geometry)
    search = Search(direction, symbols, level, geometry, tolerance, effort, closing, notify, tests)
    try:
        return search.run()
    except BaseException:
        if rescue is not None and search.atoms:
            rescue(search.outcome())
        raise
