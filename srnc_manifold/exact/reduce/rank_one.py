"""Kernels whose blocks have one row or column: the nearest point of every block that the Lemma leaves (section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import rim
from srnc_manifold.exact.reduce.points import TIE, Nearest, Single, distinct
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, symbol
from srnc_manifold.operators.geometry import Geometry

# Blocks that are solved together at about the cost of one.
_MANY = 1000

# Above the rounding errors of heights and levels in single precision, relative to the largest there can be.
_SINGLE = 2.0**-20


@dataclass(frozen=True)
class _Solved:
    """Blocks of rank one that may hold the nearest points of ``K`` kernels, with their points.

    Attributes
    ----------
    owners, blocks : integer arrays, shape ``(R,)``
        Of which kernel, in ascending order, and where.
    points : RimPoints of length ``R``
    bounds : array, shape ``(R,)``
        On the squared distance in these blocks.
    floor : array, shape ``(K,)``
        On that in all others; infinite if their caps are empty.
    """

    owners: Any
    blocks: Any
    points: rim.RimPoints
    bounds: Any
    floor: Any


class _RankOne:
    """``K`` kernels whose blocks have one row or column; parameters as :func:`nearest`."""

    def __init__(
        self, directions: Any, symbols: Any, energies: Any, levels: Any, geometry: Geometry, xp: Namespace
    ) -> None:
        self.directions, self.symbols, self.energies = directions, symbols, energies
        self.level = atoms.as_level(levels)  # with the digits that differences lack
        self.levels = self.level.value
        self.geometry, self.xp = geometry, xp
        self.turns = xp.constant(atoms.frame(geometry).turns, symbols)
        self.top = xp.constant(atoms.frame(geometry).safe_top, self.levels)
        self.kernels = xp.constant(np.arange(len(self.levels)), self.levels)

    def solve(self) -> _Solved:
        """The nearest points in every block that the Lemma does not exclude, and the bounds that prove them."""
        xp = self.xp
        filled = self.top[None, :] >= self.levels[:, None] * (1 - caps.EMPTY)
        if filled.shape[0] * filled.shape[1] <= _MANY:  # to choose among so few would cost more than it saves
            owners, blocks = xp.nonzero(filled)
            lemma, floor = self._lemma(owners, blocks), xp.full_like(self.levels, np.inf)
        else:
            owners, blocks, lemma, floor = self._promising(filled)
        points = self._points(owners, blocks)
        matrices, levels = self._matrices(owners, blocks), self.level[owners]
        dual = caps.rank_one_bounds(matrices, blocks, points.multipliers, self.geometry, levels, xp)
        return _Solved(owners, blocks, points, xp.maximum(lemma, dual), caps.lowered(floor, xp))

    def _promising(self, filled: Any) -> tuple[Any, Any, Any, Any]:
        """Blocks that the Lemma does not exclude, its bounds on them, and a bound on the others."""
        xp = self.xp
        # By the Lemma, a block has points within the angle φ only if height + sin φ · deep >= cos φ · √level. In single
        # precision, since the time goes into memory; what that may get wrong is added in favour of the block.
        largest = float(xp.max(self.top))
        heights, top = xp.to_single(xp.sqrt(self.energies)), xp.to_single(self.top)
        levels = xp.to_single(self.levels - _SINGLE * largest)
        deep = xp.sqrt(xp.maximum(top[None, :] - levels[:, None], 0.0 * levels[:, None]))
        # The angle between the largest height and the largest atom is a first guess of φ, mostly half of it.
        peaks = xp.sqrt(xp.max(self.energies, axis=1))
        _, sine = caps.angle(atoms.squared_distance(peaks, xp.max(self.top), self.level, xp=xp), xp)
        reach = heights + xp.to_single(2 * sine)[:, None] * deep
        first = xp.argmax(xp.where(filled, reach, -1.0), axis=1)
        known = self._points(self.kernels, first).squared_distances
        cosine, sine = caps.angle(known * (1 + 4 * TIE), xp)
        needed = xp.to_single(cosine * xp.sqrt(self.levels) - _SINGLE * largest**0.5)
        candidates = filled & (heights + xp.to_single(sine)[:, None] * deep >= needed[:, None])
        candidates[self.kernels, first] = True  # whatever the roundings, one block stays
        owners, blocks = xp.nonzero(candidates)
        lemma = self._lemma(owners, blocks)
        # The block of the least bound has a better point for most kernels, which leaves far fewer blocks.
        best = self.least(owners, lemma)[1]
        known = xp.minimum(known, self._points(self.kernels, blocks[best]).squared_distances)
        keep = lemma <= known[owners] * (1 + TIE)
        keep[best] = True
        return owners[keep], blocks[keep], lemma[keep], known

    def _matrices(self, owners: Any, blocks: Any) -> Any:
        """Turned symbols."""
        return self.symbols[owners, blocks] * self.turns[blocks][:, None, :]

    def _points(self, owners: Any, blocks: Any) -> rim.RimPoints:
        matrices = self._matrices(owners, blocks)
        return rim.rim_points(matrices, blocks, self.directions[owners], self.level[owners], self.geometry, self.xp)

    def _lemma(self, owners: Any, blocks: Any) -> Any:
        heights = caps.safe_heights(self.xp.sqrt(self.energies[owners, blocks]), self.geometry)
        return caps.lemma_of(heights, self.top[blocks], self.level[owners], self.xp)

    def least(self, owners: Any, values: Any) -> tuple[Any, Any]:
        """The least of the values of each kernel, and its place among them."""
        xp = self.xp
        least = xp.least_by_group(values, owners, len(self.levels))
        there = xp.nonzero(values <= least[owners])[0]
        return least, there[xp.searchsorted(owners[there], self.kernels)]


def nearest_of_many(
    directions: Any, symbols: Any, energies: Any, levels: Any, geometry: Geometry, xp: Namespace
) -> Nearest:
    problem = _RankOne(directions, symbols, energies, levels, geometry, xp)
    solved = problem.solve()
    distances, index = problem.least(solved.owners, solved.points.squared_distances)
    points = rim.assemble(solved.points, index, solved.blocks[index], directions, geometry, xp)
    bounds = xp.minimum(problem.least(solved.owners, solved.bounds)[0], solved.floor)
    owners, blocks, values = (xp.to_numpy(x) for x in (solved.owners, solved.blocks, solved.points.multipliers))
    return Nearest(points, distances, bounds, owners, CapsCertificate(blocks, values))


def nearest_of_one(direction: Array, symbols: NDArray[Any], level: atoms.Level, geometry: Geometry) -> Single:
    energies, levels = symbol.energies(symbols), caps.repeated(level, 1)
    args = direction[None], symbols[None], energies[None], levels, geometry, NUMPY
    solved = _RankOne(*args).solve()
    points, distances = solved.points, solved.points.squared_distances
    least = float(np.min(distances))
    tied = np.flatnonzero(distances <= least * (1 + TIE))
    tied = tied[np.argsort(distances[tied], kind="stable")]
    free = points.free()
    versions = [points, points.mirrored()] if np.any(free[tied]) else [points]
    found: list[Array] = []
    for k in tied:
        for version in versions[: 2 if free[k] else 1]:
            place = np.array([k])
            z = rim.assemble(version, place, solved.blocks[place], direction[None], geometry, NUMPY)
            found.append(z[0])
    blocks = [int(b) for b in solved.blocks[tied]]
    others = np.full(len(energies), np.inf)
    if np.isfinite(solved.floor[0]):
        others = caps.lemma(caps.safe_heights(np.sqrt(energies), geometry), geometry, level)
    others[solved.blocks] = solved.bounds
    others[blocks] = np.inf
    return Single(
        points=distinct(found, np.sqrt(least)),
        squared_distance=least,
        bound=min(float(np.min(solved.bounds)), float(solved.floor[0])),
        certificate=CapsCertificate(solved.blocks, points.multipliers),
        closed_by="multipliers",
        runner_up=float(np.min(others)),
        blocks=blocks,
    )
