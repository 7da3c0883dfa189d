"""Raising the stable rank: maximize ``⟨a, z⟩`` over unit kernels with ``‖Z_b‖₂² <= c`` (docs/theory.md, section 10).

The convex relaxation to the ball is solved first; where its solution has norm one, it is the global one. Otherwise the
convex-concave procedure climbs from several starts. Moment relaxations with branch and bound for small kernels, Shor's
relaxation for larger ones, say how far from optimal the best point can be.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np

from srnc_manifold.bounds import cone_programs
from srnc_manifold.exact.increase.best import RaiseOutcome, Search
from srnc_manifold.exact.increase.branching import SUSPICIOUS, Branching
from srnc_manifold.exact.increase.local_search import climb, deltas, starts
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry

# Starts of the local method, and kernels of the least gain that are tried.
_STARTS, _STARTS_IF_SMALL, _DELTAS = 10, 20, 12


def raise_gain(
    direction: Array,
    geometry: Geometry,
    level: float,
    *,
    effort: float = 1.0,
    rng: np.random.Generator | None = None,
    tolerance: float = 1e-6,
    gap: float = 1e-4,
    unit: float = np.inf,
    moments: bool = True,
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
    effort : float, optional
        Scales the numbers of starts of the local method and of steps of the moment relaxations.
    rng : numpy.random.Generator, optional
        For random starts.
    tolerance : float, optional
        The work ends where the bound exceeds the value by no more.
    gap, unit : float, optional
        The same for branch and bound, relative to the value or to ``unit``, whichever is less.
    moments : bool, optional
        Whether to use moment relaxations where they are small enough.
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
    search.certify("deltas", {})
    for delta in deltas(direction, geometry)[:_DELTAS]:
        search.offer(delta)
    small = moments and cone_programs.moments_fit(geometry)
    n_starts = max(1, round((_STARTS_IF_SMALL if small else _STARTS) * effort))
    remaining = islice(starts(direction, relaxed, np.random.default_rng(0) if rng is None else rng), n_starts)
    climb(search, islice(remaining, 2), tolerance)
    how = "best of several local searches"
    if small and search.gap > tolerance and keep_going():
        allowed = max(tolerance, gap * min(unit, abs(search.value)))
        branching = Branching(search, tolerance, allowed, effort)
        search.certify("moments", branching.root())
        climb(search, remaining, max(allowed, SUSPICIOUS * abs(search.value)))
        arrays = branching.arrays()
        search.certify("moments", arrays)
        return search.outcome(f"{how}, and moment relaxations", len(arrays["grams"]))
    if cone_programs.shor_fits(geometry) and keep_going():
        _, theta = cone_programs.sphere_dual(direction, geometry, level)
        search.certify("sphere", {"multipliers": theta})
    climb(search, remaining, tolerance)  # until the value meets the bound
    if search.gap <= tolerance:
        return search.outcome(f"{how}, which meets the bound of a relaxation")
    return search.outcome(how)
