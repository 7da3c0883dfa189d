"""The global minimizer over all blocks, for one kernel or many (docs/theory.md, sections 4 to 8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from srnc_manifold.backends import Namespace
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import rank_one
from srnc_manifold.exact.reduce.effort import Effort
from srnc_manifold.exact.reduce.points import Nearest, Single
from srnc_manifold.exact.reduce.search import CLOSING, Search
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry


class Many:
    """``K`` unit kernels of one shape whose nearest points are sought, each by itself and on the host.

    Parameters and attributes as :class:`srnc_manifold.exact.reduce.rank_one.Many`, which takes those with blocks of one
    row or column all at once.
    """

    def __init__(self, directions: Any, geometry: Geometry, xp: Namespace) -> None:
        self.directions, self.geometry, self.xp = xp.to_numpy(directions), geometry, xp
        if geometry.block_rank <= norms.NormTests.SMALL:  # the norms of all blocks are needed again, by the search
            self.symbols = symbol.of(self.directions, geometry)
            self.squares = norms.squared_norms(self.symbols)
            self.gains = xp.constant(np.max(self.squares, axis=1), directions)
        else:
            self.gains = norms.gains(directions, geometry, xp)

    def of(self, index: Any) -> Many:
        """Some of the kernels."""
        some, on_host = copy(self), index if isinstance(index, slice) else self.xp.to_numpy(index)
        some.directions, some.gains = self.directions[on_host], self.gains[index]
        if self.geometry.block_rank <= norms.NormTests.SMALL:
            some.symbols, some.squares = self.symbols[on_host], self.squares[on_host]
        return some

    def nearest(self, levels: atoms.Level, tolerance: float = 1e-9) -> Nearest:
        """Nearest points of the caps to each kernel, none of which has a gain above its level."""
        xp = self.xp
        found = [self._nearest(k, _on_host(levels[k]), tolerance) for k in range(len(self.directions))]
        return Nearest(
            xp.constant(np.stack([single.points[0] for single in found]), self.gains),
            xp.constant(np.array([single.squared_distance for single in found]), self.gains),
            xp.constant(np.array([single.bound for single in found]), self.gains),
            np.repeat(np.arange(len(found)), [len(single.certificate.blocks) for single in found]),
            CapsCertificate.joined([single.certificate for single in found]),
        )

    def _nearest(self, k: int, level: atoms.Level, tolerance: float) -> Single:
        if self.geometry.block_rank > norms.NormTests.SMALL:
            return nearest_to_one(self.directions[k], level, self.geometry, tolerance)
        return Search(self.directions[k], self.symbols[k], level, self.geometry, tolerance).run(self.squares[k])


def many(directions: Any, geometry: Geometry, xp: Namespace) -> Many | rank_one.Many:
    """Unit kernels with the batch axis first, whose nearest points are sought."""
    return (rank_one.Many if geometry.block_rank == 1 else Many)(directions, geometry, xp)


def bytes_per_kernel(geometry: Geometry) -> int:
    """About the memory that the work on one of many kernels takes."""
    if geometry.block_rank == 1:  # a few blocks of each
        return 8192 + 512 * math.prod(geometry.kernel_shape)
    return 64 * geometry.n_blocks * math.prod(geometry.block_shape)  # its symbol, and copies of it


def _on_host(level: atoms.Level) -> atoms.Level:
    """The level of one kernel as numbers of NumPy."""
    return atoms.Level(np.float64(float(level.value)), np.float64(float(level.rest)))


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
