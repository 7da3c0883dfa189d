"""Kernels whose blocks have one row or column: the nearest point of every block that the Lemma leaves (section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import rim
from srnc_manifold.exact.reduce.points import TIE, Nearest, Single, distinct
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, autocorrelation, symbol
from srnc_manifold.operators.geometry import Geometry

# Blocks that are solved together at about the cost of one.
_MANY = 1000

# Classes of frequencies with similar largest γ².
_CLASSES = 16

# Above the rounding errors of the squared norms of unit kernels that come from autocorrelations.
_ROUNDING = 1e-11


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
    excluded : (owners, blocks, multipliers)
        Of the blocks among these others that the Lemma leaves and the multipliers of a nearer point do not.
    """

    owners: Any
    blocks: Any
    points: rim.RimPoints
    bounds: Any
    floor: Any
    excluded: tuple[Any, Any, Any]


@dataclass(frozen=True)
class _Classes:
    """Frequencies with similar largest ``γ²``, those with the largest first.

    Attributes
    ----------
    order : integer array, shape ``(L,)``
    ends : list of (int, int)
        Of each class in the order.
    highest : array, shape ``(len(ends),)``
        Largest ``γ²`` in each class.
    """

    order: NDArray[np.int64]
    ends: list[tuple[int, int]]
    highest: Array


@lru_cache(maxsize=16)
def _classes(geometry: Geometry) -> _Classes:
    top = atoms.frame(geometry).safe_top[:: geometry.groups]
    order = np.argsort(-top, kind="stable")
    parts = np.array_split(order, max(1, min(_CLASSES, len(order) // 8)))
    stops = np.cumsum([len(part) for part in parts]).tolist()
    starts = [0, *stops[:-1]]
    return _Classes(order, list(zip(starts, stops, strict=True)), top[order[starts]])


class Many:
    """``K`` unit kernels whose blocks have one row or column.

    Parameters
    ----------
    directions : array, shape ``(K, *geometry.kernel_shape)``
    geometry : Geometry
    xp : Namespace
    symbols : array, shape ``(K, n_blocks, *block_shape)``, optional
        Of the kernels, if they are known; otherwise only some blocks are computed.

    Attributes
    ----------
    gains : array, shape ``(K,)``
        Largest squared norm of a block.
    """

    def __init__(self, directions: Any, geometry: Geometry, xp: Namespace, symbols: Any = None) -> None:
        self.directions, self.geometry, self.xp, self._symbols = directions, geometry, xp, symbols

    # Where there are few blocks in all, none of these is asked for.
    @cached_property
    def autocorrelations(self) -> Any:
        return autocorrelation.of(self.directions, self.geometry, self.xp)

    @cached_property
    def gains(self) -> Any:
        owners, (peaks, places) = self.xp.constant(np.arange(len(self.directions)), self.directions), self.peaks
        blocks = places[owners, self.xp.argmax(peaks, axis=1)]
        return symbol.energies(self.blocks(owners, blocks), self.xp)

    @cached_property
    def peaks(self) -> tuple[Any, Any]:
        """Largest squared norm of every class, and its block, shape ``(K, classes)``."""
        xp, geometry, classes = self.xp, self.geometry, _classes(self.geometry)
        found: list[Any] = []
        for _, squares in autocorrelation.squared_norms(self.autocorrelations, geometry, xp, classes.order):
            rows = xp.constant(np.arange(len(squares)), self.directions)
            for start, stop in classes.ends:
                values = xp.reshape(squares[:, :, start:stop], (len(squares), -1))
                place = xp.argmax(values, axis=1)
                found.append((values[rows, place], place))
        count = len(classes.ends)
        peaks, places = (
            xp.stack([xp.concatenate([pair[part] for pair in found[k::count]], axis=0) for k in range(count)], axis=1)
            for part in (0, 1)
        )
        starts, stops = (xp.constant(np.array(ends), places) for ends in zip(*classes.ends, strict=True))
        sizes = stops - starts
        frequencies = xp.constant(classes.order, places)[starts + places % sizes]
        return peaks, frequencies * geometry.groups + places // sizes

    def blocks(self, owners: Any, blocks: Any) -> Any:
        """Symbols of some kernels in some blocks, shape ``(R, *block_shape)``."""
        if self._symbols is not None:
            return self._symbols[owners, blocks]
        return symbol.at(self.directions, owners, blocks, self.geometry, self.xp)

    def of(self, index: Any) -> Many:
        """Some of the kernels."""
        some = Many(self.directions[index], self.geometry, self.xp)
        some.autocorrelations, some.gains = self.autocorrelations[index], self.gains[index]
        some.peaks = self.peaks[0][index], self.peaks[1][index]
        return some

    def nearest(self, levels: atoms.Level) -> Nearest:
        """Nearest points of the caps to each kernel, none of which has a gain above its level."""
        problem = _RankOne(self, levels)
        solved = problem.solve()
        distances, index = problem.least(solved.owners, solved.points.squared_distances)
        directions, geometry, xp = self.directions, self.geometry, self.xp
        points = rim.assemble(solved.points, index, solved.blocks[index], directions, geometry, xp)
        bounds = xp.minimum(problem.least(solved.owners, solved.bounds)[0], solved.floor)
        rows = zip((solved.owners, solved.blocks, solved.points.multipliers), solved.excluded, strict=True)
        owners, blocks, values = (np.concatenate([xp.to_numpy(part) for part in parts]) for parts in rows)
        return Nearest(points, distances, bounds, owners, CapsCertificate(blocks, values))


class _RankOne:
    """Kernels and the levels that they are to reach."""

    def __init__(self, many: Many, levels: Any) -> None:
        self.many, self.directions, self.geometry, self.xp = many, many.directions, many.geometry, many.xp
        self.level = atoms.as_level(levels)  # with the digits that differences lack
        self.levels = self.level.value
        self.turns = self.xp.constant(atoms.frame(self.geometry).turns, self.directions)
        self.top = self.xp.constant(atoms.frame(self.geometry).safe_top, self.levels)
        self.kernels = self.xp.constant(np.arange(len(self.levels)), self.levels)

    def solve(self) -> _Solved:
        """The nearest points in every block that the Lemma does not exclude, and the bounds that prove them."""
        xp = self.xp
        if len(self.levels) * self.geometry.n_blocks <= _MANY:  # to choose among so few would cost more than it saves
            owners, blocks = xp.nonzero(self._are_filled(self.top[None, :], self.levels[:, None]))
            matrices, floor = self._matrices(owners, blocks), xp.full_like(self.levels, np.inf)
            lemma = self._lemma(owners, blocks, matrices)
            excluded = owners[:0], blocks[:0], xp.reshape(self.levels[:0], (0, 2))
        else:
            owners, blocks, matrices, lemma, floor, excluded = self._promising()
        points = self._points(owners, blocks, matrices)
        bounds = xp.maximum(lemma, self._dual(owners, blocks, matrices, points.multipliers))
        return _Solved(owners, blocks, points, bounds, caps.lowered(floor, xp), excluded)

    def _dual(self, owners: Any, blocks: Any, matrices: Any, multipliers: Any) -> Any:
        return caps.rank_one_bounds(matrices, blocks, multipliers, self.geometry, self.level[owners], self.xp)

    def _are_filled(self, top: Any, levels: Any) -> Any:
        return top >= levels * (1 - caps.EMPTY)

    def _promising(self) -> tuple[Any, ...]:
        """Blocks that may have the nearest points, their matrices, the Lemma's bounds, and what is known of the others.

        That is a bound, and the blocks that need multipliers for it.
        """
        xp = self.xp
        first, of_first = self._first()
        nearest = self._points(self.kernels, first, self._matrices(self.kernels, first))
        known, multipliers = nearest.squared_distances, nearest.multipliers
        owners, blocks = self._candidates(known, first, of_first)
        matrices = self._matrices(owners, blocks)
        lemma = self._lemma(owners, blocks, matrices)
        if len(owners) > 2 * len(known):
            # The block of the least bound has a better point for most kernels, which leaves far fewer blocks.
            best = self.least(owners, lemma)[1]
            better = self._points(self.kernels, blocks[best], matrices[best])
            nearer = better.squared_distances < known
            known = xp.where(nearer, better.squared_distances, known)
            multipliers = xp.where(nearer[:, None], better.multipliers, multipliers)
        keep = (lemma <= known[owners] * (1 + TIE)) | (blocks == first[owners])
        owners, blocks, matrices, lemma = owners[keep], blocks[keep], matrices[keep], lemma[keep]
        # The multipliers of a point are almost those of the nearest one at a frequency nearby. Where they belong to it,
        # the bound is not above its distance, so that of each kernel one block stays.
        beaten = owners < 0
        if len(owners) > _MANY:
            beaten = self._dual(owners, blocks, matrices, multipliers[owners]) > known[owners] * (1 + TIE)
        excluded, stay = (owners[beaten], blocks[beaten], multipliers[owners[beaten]]), ~beaten
        return owners[stay], blocks[stay], matrices[stay], lemma[stay], known, excluded

    def _first(self) -> tuple[Any, Any]:
        """A block of each kernel, and its class, with caps that are near: mostly, the nearest are not much nearer."""
        xp, levels, (peaks, places) = self.xp, self.levels[:, None], self.many.peaks
        # The angle between the largest height and the largest atom is a first guess, mostly half of what it is.
        heights, top = xp.sqrt(xp.maximum(peaks, 0.0 * peaks)), self.top[places]
        _, sine = caps.angle(atoms.squared_distance(xp.max(heights, axis=1), xp.max(self.top), self.level, xp=xp), xp)
        deep = xp.sqrt(xp.maximum(top - levels, 0.0 * top))
        filled = self._are_filled(top, levels)
        reach = xp.where(filled, heights + 2 * sine[:, None] * deep, -1.0)
        # Where the largest blocks of all classes have empty caps: one with the largest atoms, whose are not.
        largest, none = int(_classes(self.geometry).order[0]) * self.geometry.groups, ~xp.any(filled, axis=1)
        classes = xp.where(none, 0, xp.argmax(reach, axis=1))
        return xp.where(none, largest, places[self.kernels, classes]), classes

    def _candidates(self, known: Any, first: Any, of_first: Any) -> tuple[Any, Any]:
        """Kernels and blocks that may be nearer than what is known, and the blocks where that was found."""
        xp, geometry, classes = self.xp, self.geometry, _classes(self.geometry)
        # By the Lemma, a block has points within the angle φ only if height + sin φ · deep >= cos φ · √level. The
        # squared heights are right to the rounding of the largest, which is allowed for.
        highest = xp.constant(classes.highest, self.levels)[None, :]
        within = (known * (1 + 4 * TIE))[:, None]
        needed = caps.needed_heights(within, self.level[:, None], highest, xp)
        thresholds = xp.where(self._are_filled(highest, self.levels[:, None]), needed**2 - _ROUNDING, np.inf)
        # The block where it was found, whatever the roundings.
        peaks, places = self.many.peaks
        its_peak = first == places[self.kernels, of_first]
        own = xp.where(its_peak, peaks[self.kernels, of_first] - _ROUNDING, -1.0)
        thresholds[self.kernels, of_first] = xp.minimum(thresholds[self.kernels, of_first], own)
        found = []
        for k, (start, stop) in enumerate(classes.ends):
            # Most classes have no such block, as their largest ones tell.
            rows = xp.nonzero(peaks[:, k] >= thresholds[:, k])[0]
            part, own = classes.order[start:stop], thresholds[rows, k][:, None, None]
            frequencies = xp.constant(part, rows)
            for chunk, squares in autocorrelation.squared_norms(self.many.autocorrelations[rows], geometry, xp, part):
                flat = xp.nonzero(xp.reshape(squares >= own[chunk], (-1,)))[0]  # much faster than of several axes
                row, groups = flat // len(part), flat // len(part) % geometry.groups
                owners = rows[chunk.start + row // geometry.groups]
                found.append((owners, frequencies[flat % len(part)] * geometry.groups + groups))
        owners, blocks = (xp.concatenate(parts, axis=0) for parts in zip(*found, strict=True))
        by_owner = xp.argsort(owners, stable=True)
        owners, blocks = owners[by_owner], blocks[by_owner]
        filled = self._are_filled(self.top[blocks], self.levels[owners])
        return owners[filled], blocks[filled]

    def _matrices(self, owners: Any, blocks: Any) -> Any:
        """Turned symbols."""
        return self.many.blocks(owners, blocks) * self.turns[blocks][:, None, :]

    def _points(self, owners: Any, blocks: Any, matrices: Any) -> rim.RimPoints:
        return rim.rim_points(matrices, blocks, self.directions[owners], self.level[owners], self.geometry, self.xp)

    def _lemma(self, owners: Any, blocks: Any, matrices: Any) -> Any:
        heights = caps.safe_heights(self.xp.sqrt(symbol.energies(matrices, self.xp)), self.geometry)
        return caps.lemma_of(heights, self.top[blocks], self.level[owners], self.xp)

    def least(self, owners: Any, values: Any) -> tuple[Any, Any]:
        """The least of the values of each kernel, and its place among them."""
        xp = self.xp
        least = xp.least_by_group(values, owners, len(self.levels))
        there = xp.nonzero(values <= least[owners])[0]
        return least, there[xp.searchsorted(owners[there], self.kernels)]


def nearest_of_one(direction: Array, symbols: NDArray[Any], level: atoms.Level, geometry: Geometry) -> Single:
    energies = symbol.energies(symbols)
    solved = _RankOne(Many(direction[None], geometry, NUMPY, symbols[None]), caps.repeated(level, 1)).solve()
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
    _, beaten, multipliers = solved.excluded
    others[beaten] = np.maximum(others[beaten], solved.floor[0])
    return Single(
        points=distinct(found, np.sqrt(least)),
        squared_distance=least,
        bound=min(float(np.min(solved.bounds)), float(solved.floor[0])),
        certificate=CapsCertificate(
            np.concatenate([solved.blocks, beaten]), np.concatenate([points.multipliers, multipliers])
        ),
        closed_by="multipliers",
        runner_up=float(np.min(others)),
        blocks=blocks,
    )
