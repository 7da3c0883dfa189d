"""The global minimizer over all blocks, for one kernel or many (docs/theory.md, sections 4 to 8)."""

from __future__ import annotations

from collections.abc import Callable
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


def nearest(
    directions: Any, symbols: Any, norms: Any, levels: Any, geometry: Geometry, xp: Namespace, tolerance: float = 1e-9
) -> Nearest:
    """Nearest points of the caps to many unit vectors, none of which has a gain above its level.

    Parameters
    ----------
    directions : array, shape ``(K, *geometry.kernel_shape)``
    symbols : complex array, shape ``(K, n_blocks, *block_shape)``
        Their symbols, :func:`symbol.of`.
    norms : array, shape ``(K, n_blocks)``
        Squared spectral norms of these.
    levels : array, shape ``(K,)``
    xp : Namespace
        Library of the arrays.
    tolerance : float, optional
        Difference of squared distance and bound that ends the search; blocks of rank one need no search.
    """
    if geometry.block_rank == 1:
        return rank_one.nearest_of_many(directions, symbols, norms, levels, geometry, xp)
    levels = atoms.as_level(levels)
    found = [
        Search(xp.to_numpy(directions[k]), xp.to_numpy(symbols[k]), _on_host(levels[k]), geometry, tolerance).run(
            xp.to_numpy(norms[k])
        )
        for k in range(len(directions))
    ]
    return Nearest(
        xp.constant(np.stack([single.points[0] for single in found]), norms),
        xp.constant(np.array([single.squared_distance for single in found]), norms),
        xp.constant(np.array([single.bound for single in found]), norms),
        np.repeat(np.arange(len(found)), [len(single.certificate.blocks) for single in found]),
        CapsCertificate.joined([single.certificate for single in found]),
    )


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
