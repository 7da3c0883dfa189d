"""Raising the stable rank: maximize ``⟨a, z⟩`` over unit kernels with ``‖Z_b‖₂² <= c`` (docs/theory.md, section 10).

The convex relaxation to the ball is solved first; where its solution has norm one, it is the global one. Otherwise the
convex-concave procedure climbs from several starts, and Shor's relaxation, with branch and bound for the smallest
kernels, says how far from optimal the best point can be.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np

from srnc_manifold.bounds import cone_programs
from srnc_manifold.exact.increase.best import RaiseOutcome, Search
from srnc_manifold.exact.increase.branching import BRANCHING_SIZE, branch_and_bound
from srnc_manifold.exact.increase.local_search import climb, starts
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry


def raise_gain(
    direction: Array,
    geometry: Geometry,
    level: float,
    *,
    n_starts: int = 10,
    rng: np.random.Generator | None = None,
    tolerance: float = 1e-6,
    gap: float = 1e-4,
    branching_size: int = BRANCHING_SIZE,
    max_regions: int = 300,
    keep_going: Callable[[], bool] = lambda: True,
    search: Search | None = None,
) -> RaiseOutcome:
    """Nearest unit kernel to ``a`` whose gain is at most ``c``, and an upper bound on ``⟨a, z⟩`` over all of them.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
        ``a``, of norm one, with a gain above ``c``.
    geometry : Geometry
    level : float
        ``c``, no less than the least gain of any unit kernel.
    n_starts : int, optional
        Of the local method, which is used where the relaxation to the ball is not tight.
    rng : numpy.random.Generator, optional
        For the random ones among them.
    tolerance : float, optional
        The work ends where the bound exceeds the value by no more.
    gap : float, optional
        The same, relative to the value, for branch and bound.
    branching_size : int, optional
        Most entries of a kernel for branch and bound.
    max_regions : int, optional
        Regions after which branch and bound gives up.
    keep_going : callable, optional
        Asked between cone programs; once it says no, the best so far is returned, with a valid bound.
    search : Search, optional
        Where point and certificate are kept, for callers who may be interrupted.

    Kernels too large for a cone program are only moved onto the feasible set, with the trivial bound.
    """
    search = Search(direction, geometry, level, keep_going) if search is None else search
    search.certify("ball", {"multipliers": np.zeros((geometry.n_blocks, *geometry.block_shape))})
    if not cone_programs.ball_fits(geometry):
        search.offer(direction)
        return search.outcome("moved to the feasible set along a great circle: too large for cone programs")
    relaxed, multipliers = cone_programs.ball_maximizer(direction, geometry, level)
    search.certify("ball", {"multipliers": multipliers})
    search.offer(relaxed if np.any(relaxed) else direction)
    if search.gap <= tolerance:
        return search.outcome("the relaxation to the ball is tight")
    remaining = islice(starts(direction, relaxed, np.random.default_rng(0) if rng is None else rng), n_starts)
    climb(search, islice(remaining, 2), tolerance)
    how = "best of several local searches"
    if cone_programs.shor_fits(geometry) and keep_going():
        _, theta = cone_programs.sphere_dual(direction, geometry, level)
        search.certify("sphere", {"multipliers": theta})
    climb(search, remaining, tolerance)  # until the value meets the bound
    if search.gap <= tolerance:
        return search.outcome(f"{how}, which meets the bound of a relaxation")
    if direction.size > branching_size or not keep_going():
        return search.outcome(how)
    tree = branch_and_bound(search, max(tolerance, gap * abs(search.value)), max_regions)
    search.certify("branched", tree.arrays())
    return search.outcome(f"{how}, and branch and bound", len(tree.leaves))
