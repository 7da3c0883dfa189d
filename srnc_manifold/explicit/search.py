"""The global minimizer over all blocks: bounds discard most, the rest are solved (docs/theory.md, sections 4 to 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import atoms, spectrum
from srnc_manifold.backends import Namespace
from srnc_manifold.certificates import caps
from srnc_manifold.explicit import alternation, rank_one
from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array

# Random atoms from which a block is searched that no bound closes; a tenth of it in large blocks.
_RESTARTS = 200

# Blocks whose atoms are looked at first: the best of these atoms excludes most of the others.
_PROMISING = 4

# Blocks that are solved together at about the cost of one.
_MANY = 1000

# Above the rounding errors of heights and levels in single precision, relative to the largest there can be.
_SINGLE = 2.0**-20

# Minimizers are tied if their distances differ by less than this part of the least one.
TIE = 1e-9


@dataclass(frozen=True)
class Nearest:
    """Nearest points of the caps to ``K`` unit vectors.

    Attributes
    ----------
    points : array, shape ``(K, *kernel_shape)``
        Unit vectors.
    squared_distances, bounds : arrays, shape ``(K,)``
        ``‖z − a‖²``, and a lower bound on it over all points of the caps.
    """

    points: Any
    squared_distances: Any
    bounds: Any


@dataclass
class Single:
    """Nearest points to one unit vector.

    Attributes
    ----------
    points : list of arrays
        The nearest first, then those tied with it; of a continuum of ties a few.
    squared_distance, bound : float
    certificate : CapsCertificate
        What proves the bound.
    closed_by : str
        ``"lemma"``, ``"multipliers"`` or ``"nothing"``: the strongest tool that was needed, or why there is a gap.
    runner_up : float
        Lower bound on the squared distance in every block but those of ``points``.
    blocks : list of int
        Those that hold the points.
    """

    points: list[Array]
    squared_distance: float
    bound: float
    certificate: caps.CapsCertificate
    closed_by: str
    runner_up: float
    blocks: list[int]


def always() -> bool:
    """A budget without end."""
    return True


def nearest(
    directions: Any, symbols: Any, norms: Any, levels: Any, geometry: Geometry, xp: Namespace, tol: float = 1e-9
) -> Nearest:
    """Nearest points of the caps to many unit vectors, none of which has a gain above its level.

    Parameters
    ----------
    directions : array, shape ``(K, *geometry.kernel_shape)``
    symbols : complex array, shape ``(K, n_blocks, *block_shape)``
        Their symbols, :func:`spectrum.symbol`.
    norms : array, shape ``(K, n_blocks)``
        Squared spectral norms of these.
    levels : array, shape ``(K,)``
    xp : Namespace
        Library of the arrays.
    tol : float, optional
        Difference of squared distance and bound that ends the search; blocks of rank one need no search.
    """
    if geometry.block_rank == 1:
        return _rank_one_batch(directions, symbols, norms, levels, geometry, xp)
    levels = atoms.as_level(levels)
    found = [
        _Search(xp.to_numpy(directions[k]), xp.to_numpy(symbols[k]), _on_host(levels[k]), geometry, tol).run(
            xp.to_numpy(norms[k])
        )
        for k in range(len(directions))
    ]
    return Nearest(
        xp.constant(np.stack([single.points[0] for single in found]), norms),
        xp.constant(np.array([single.squared_distance for single in found]), norms),
        xp.constant(np.array([single.bound for single in found]), norms),
    )


def _on_host(level: atoms.Level) -> atoms.Level:
    """The level of one kernel as numbers of NumPy."""
    return atoms.Level(np.float64(float(level.value)), np.float64(float(level.rest)))


def nearest_to_one(
    direction: Array,
    level: atoms.Level | float,
    geometry: Geometry,
    tol: float = 1e-9,
    keep_going: Callable[[], bool] = always,
    notify: Callable[[Array, float], None] | None = None,
    tests: tuple[spectrum.NormTests, float] | None = None,
    rescue: Callable[[Single], None] | None = None,
) -> Single:
    """Nearest points of the caps to one unit vector, with everything known about them.

    Parameters
    ----------
    keep_going : callable, optional
        Asked between steps; when it says no, the best point and bound so far are returned.
    notify : callable, optional
        Given every improvement: the point and its squared distance.
    tests : (NormTests, float), optional
        Of the symbol of the direction times that number, if they are known.
    rescue : callable, optional
        Given what is known when an exception, an interrupt for one, ends the search early.

    For blocks of rank one there is nothing to iterate: ``tol`` and the callables are not used.
    """
    symbols = spectrum.symbol(direction, geometry) if tests is None else tests[0].matrices / tests[1]
    if geometry.block_rank == 1:
        return _rank_one(direction, symbols, atoms.as_level(level), geometry)
    search = _Search(direction, symbols, level, geometry, tol, keep_going, notify, tests)
    try:
        return search.run()
    except BaseException:
        if rescue is not None and search.atoms:
            rescue(search.outcome())
        raise


# -- blocks of rank one ---------------------------------------------------------------------------------------


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
    points: rank_one.RimPoints
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

    def _points(self, owners: Any, blocks: Any) -> rank_one.RimPoints:
        matrices = self._matrices(owners, blocks)
        return rank_one.rim_points(
            matrices, blocks, self.directions[owners], self.level[owners], self.geometry, self.xp
        )

    def _lemma(self, owners: Any, blocks: Any) -> Any:
        heights = caps.safe_heights(self.xp.sqrt(self.energies[owners, blocks]), self.geometry)
        return caps.lemma_of(heights, self.top[blocks], self.level[owners], self.xp)

    def least(self, owners: Any, values: Any) -> tuple[Any, Any]:
        """The least of the values of each kernel, and its place among them."""
        xp = self.xp
        least = xp.least_by_group(values, owners, len(self.levels))
        there = xp.nonzero(values <= least[owners])[0]
        return least, there[xp.searchsorted(owners[there], self.kernels)]


def _rank_one_batch(
    directions: Any, symbols: Any, energies: Any, levels: Any, geometry: Geometry, xp: Namespace
) -> Nearest:
    problem = _RankOne(directions, symbols, energies, levels, geometry, xp)
    solved = problem.solve()
    distances, index = problem.least(solved.owners, solved.points.squared_distances)
    points = rank_one.assemble(solved.points, index, solved.blocks[index], directions, geometry, xp)
    return Nearest(points, distances, xp.minimum(problem.least(solved.owners, solved.bounds)[0], solved.floor))


def _rank_one(direction: Array, symbols: NDArray, level: atoms.Level, geometry: Geometry) -> Single:
    energies, levels = spectrum.energies(symbols), caps.repeated(level, 1)
    args = direction[None], symbols[None], energies[None], levels, geometry, spectrum.NUMPY
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
            z = rank_one.assemble(version, place, solved.blocks[place], direction[None], geometry, spectrum.NUMPY)
            found.append(z[0])
    blocks = [int(b) for b in solved.blocks[tied]]
    others = np.full(len(energies), np.inf)
    if np.isfinite(solved.floor[0]):
        others = caps.lemma(caps.safe_heights(np.sqrt(energies), geometry), geometry, level)
    others[solved.blocks] = solved.bounds
    others[blocks] = np.inf
    return Single(
        points=_distinct(found, np.sqrt(least)),
        squared_distance=least,
        bound=min(float(np.min(solved.bounds)), float(solved.floor[0])),
        certificate=caps.CapsCertificate(solved.blocks, points.multipliers),
        closed_by="multipliers",
        runner_up=float(np.min(others)),
        blocks=blocks,
    )


def _distinct(points: list[Array], distance: float) -> list[Array]:
    distinct: list[Array] = []
    for z in points:
        if all(np.linalg.norm(z - other) > 1e-6 * distance for other in distinct):
            distinct.append(z)
    return distinct


# -- all other blocks -----------------------------------------------------------------------------------------


class _Search:
    """Bounds from cheap to sharp on every block, alternation in those that stay open, until the best point is proved.

    ``bounds`` holds for each block the best lower bound known on the squared distance of its points.
    """

    def __init__(
        self,
        direction: Array,
        symbols: NDArray,
        level: atoms.Level | float,
        geometry: Geometry,
        tol: float,
        keep_going: Callable[[], bool] = always,
        notify: Callable[[Array, float], None] | None = None,
        tests: tuple[spectrum.NormTests, float] | None = None,
    ) -> None:
        self.symbols, self.known_tests = symbols, tests
        self.direction, self.level, self.geometry, self.tol = direction, atoms.as_level(level), geometry, tol
        self.keep_going, self.notify = keep_going, notify
        self.frame = atoms.frame(geometry)
        # Largest squared distance at which a block is known to hold no better point, infinite if its caps are empty.
        self.bounds = np.where(self.frame.safe_top >= self.level.value * (1 - caps.EMPTY), 0.0, np.inf)
        self.decomposed = ~np.isfinite(self.bounds)
        self.atoms: dict[int, tuple[NDArray, float]] = {}  # best atom of a block, and its squared distance
        self.others: dict[int, list[NDArray]] = {}  # atoms of a block that were as good when they were found
        self.shifts: dict[int, NDArray] = {}
        self._single: dict[int, alternation.Blocks] = {}
        self.squared_distance = self.told = np.inf

    def run(self, norms: Array | None = None) -> Single:
        """Search; the squared norms of the symbols are computed as far as they are needed, unless they are given."""
        index = np.flatnonzero(~self.decomposed)
        if norms is not None or self.geometry.block_rank <= spectrum.NormTests.SMALL:
            self._bound_by_norms(index, None if norms is None else norms[index])
            self._decompose(self._open()[:_PROMISING])
        else:
            tests, scale = self.known_tests or (spectrum.NormTests(self.symbols), 1.0)
            estimates = np.sqrt(tests.estimates[index]) / scale
            promising = index[np.argsort(self._lemma(index, estimates), kind="stable")[:_PROMISING]]
            self._bound_by_norms(promising)
            self._decompose(promising[[np.argmin(self.bounds[promising])]])
            self._bound_by_tests(index, tests, scale)
        self._survey()
        self._tighten()
        return self.outcome()

    def _blocks(self, index: NDArray) -> alternation.Blocks:
        turned = self.symbols[index] * self.frame.turns[index][:, None, :]
        return alternation.Blocks(turned, self.frame.upper[index], self.frame.lower[index], self.level)

    def _block(self, block: int) -> alternation.Blocks:
        """One of them, kept: it is asked for again."""
        if block not in self._single:
            self._single[block] = self._blocks(np.array([block]))
        return self._single[block]

    def _lemma(self, index: NDArray, heights: Array) -> Array:
        heights = caps.safe_heights(heights, self.geometry)
        return caps.lemma_of(heights, self.frame.safe_top[index], self.level, spectrum.NUMPY)

    def _bound_by_norms(self, index: NDArray, norms: Array | None = None) -> None:
        """The Lemma with squared norms, computed unless they are given."""
        heights = np.sqrt(spectrum.squared_norms(self.symbols[index]) if norms is None else norms)
        self.bounds[index] = np.maximum(self.bounds[index], self._lemma(index, heights))

    def _bound_by_tests(self, index: NDArray, tests: spectrum.NormTests, scale: float) -> None:
        """The Lemma where a norm is below what points tied with the best one ask for, without computing it."""
        within = np.array(self.squared_distance * (1 + 2 * TIE))
        top = np.maximum(self.frame.top[index], self.level.value)
        needed = caps.needed_heights(within, self.level, top, spectrum.NUMPY)
        candidates = np.flatnonzero((needed > 0) & (self.bounds[index] < within))
        levels = (needed[candidates] * scale) ** 2 / tests.margin
        passed = candidates[tests.below(index[candidates], levels)]
        self.bounds[index[passed]] = self._lemma(index[passed], needed[passed])

    def _is_open(self, index: NDArray) -> NDArray:
        """Which of some blocks may hold a better point than the best known."""
        if np.isinf(self.squared_distance):
            return np.isfinite(self.bounds[index])
        return self.bounds[index] < self.squared_distance * (1 - 1e-11) - 1e-14

    def _open(self) -> NDArray:
        """All such blocks, the most promising first."""
        index = np.flatnonzero(self._is_open(np.arange(len(self.bounds))))
        return index[np.argsort(self.bounds[index], kind="stable")]

    def _survey(self) -> None:
        """Look for points in every block that the bounds do not exclude."""
        at_once = max(1, 4096 // self.geometry.block_rank**2)
        index = self._open()
        unknown = index[self.bounds[index] == 0]
        if len(unknown):
            self._bound_by_norms(unknown)  # so that the most promising is known
        while self.keep_going():
            # Those, too, that may be tied with the best point.
            index = np.flatnonzero(~self.decomposed & (self.bounds <= self.squared_distance * (1 + TIE)))
            if not len(index):
                break
            self._decompose(index[np.argsort(self.bounds[index], kind="stable")][:at_once])

    def _decompose(self, index: NDArray) -> None:
        """The best atoms of some blocks, and the bounds that go with them."""
        self.decomposed[index] = True
        if not len(index):
            return
        blocks = self._blocks(index)
        first = alternation.start(blocks)
        distances = blocks.squared_distances(first)
        best = distances <= min(np.min(distances), self.squared_distance) * (1 + TIE)
        self._offer(index[best], first[best], distances[best])
        still = self._is_open(index)
        if np.sum(still) > 1:
            # Where the shift that goes with the first atom proves that nothing better is there, nothing is sought.
            self._sharpen(index[still], blocks[still], first[still])
        self._seek(index, blocks, first)
        if self._is_open(index).any():
            for w in alternation.other_starts(blocks):
                self._seek(index, blocks, w)
        self._tell()

    def _seek(self, index: NDArray, blocks: alternation.Blocks, w: NDArray) -> None:
        """Alternation from an atom of each of some blocks where they are open, and the bounds that go with the best."""
        still = self._is_open(index)
        if still.any():
            index, blocks = index[still], blocks[still]
            self._offer(index, *alternation.alternate(blocks, w[still]))
            self._sharpen(index, blocks, np.stack([self.atoms[block][0] for block in index.tolist()]))

    def _offer(self, index: NDArray, w: NDArray, squared_distances: Array) -> None:
        """Remember an atom of each of some blocks."""
        self.squared_distance = min(self.squared_distance, float(np.min(squared_distances, initial=np.inf)))
        for block, atom, distance in zip(index.tolist(), w, squared_distances.tolist(), strict=True):
            if np.isfinite(distance) and distance <= self.squared_distance * (1 + TIE):
                self.others.setdefault(block, []).append(atom)
            if block not in self.atoms or distance < self.atoms[block][1]:
                self.atoms[block] = atom, distance

    def _tell(self) -> None:
        """Show the best point, if it is new."""
        if self.notify is not None and self.squared_distance < self.told:
            self.told = self.squared_distance
            block = min(self.atoms, key=lambda b: self.atoms[b][1])
            self.notify(self._points(block, self.atoms[block][0][None])[0], self.told)

    def _bounds_of(self, index: NDArray, blocks: alternation.Blocks, shifts: NDArray) -> Array:
        levels = caps.repeated(self.level, len(index))
        return caps.shifted_bounds(blocks.matrices, index, shifts, self.geometry, levels)

    def _sharpen(self, index: NDArray, blocks: alternation.Blocks, w: NDArray) -> None:
        """Keep the bounds that go with an atom of each block where they are better than what is known."""
        shifts = alternation.shifts(blocks, w, self.squared_distance)
        for block, shift, bound in zip(index, shifts, self._bounds_of(index, blocks, shifts), strict=True):
            if bound > self.bounds[block]:
                self.bounds[block], self.shifts[int(block)] = bound, shift

    def _tighten(self) -> None:
        """The best shifts of the blocks that are still open; what they come across is improved by alternation."""
        tried: set[tuple[int, float]] = set()
        restarted: set[int] = set()
        while self.keep_going():
            index = self._open()
            index = index[self.bounds[index] < self.squared_distance - self.tol]
            index = np.array([b for b in index if (int(b), self.squared_distance) not in tried], dtype=np.int64)
            if not len(index):
                break
            block = int(index[0])
            tried.add((block, self.squared_distance))
            blocks = self._block(block)
            relaxed = alternation.tighten(
                blocks,
                self.atoms[block][0][None],
                self.squared_distance,
                lambda shift, index=index[:1], blocks=blocks: float(self._bounds_of(index, blocks, shift[None])[0]),  # type: ignore[misc]
                self.keep_going,
            )
            if relaxed.bound > self.bounds[block]:
                self.bounds[block], self.shifts[block] = relaxed.bound, relaxed.shift
            for w in relaxed.atoms:
                self._offer(index[:1], *alternation.alternate(blocks, w[None]))
            if self.bounds[block] < self.squared_distance - self.tol and block not in restarted:
                restarted.add(block)
                self._restart(block)
            self._tell()

    def _restart(self, block: int) -> None:
        """Alternation from random atoms, always the same ones: where a gap stays, there may be better ones."""
        count = _RESTARTS if self.geometry.block_rank <= spectrum.NormTests.SMALL else _RESTARTS // 10
        blocks = self._block(block)[np.zeros(count, int)]
        w = alternation.random_atoms(blocks, np.random.default_rng(block))
        found, distances = alternation.alternate(blocks, w)
        best = [np.argmin(distances)]
        self._offer(np.array([block]), found[best], distances[best])

    def _points(self, block: int, w: NDArray) -> Array:
        """Unit kernels of some atoms of one block."""
        of_block = self._block(block)
        push, pull = (
            values.reshape(-1, *[1] * self.direction.ndim)
            for values in alternation.coordinates(of_block, of_block.sizes(w))
        )
        z = push * atoms.synthesis(w, np.full(len(w), block), self.geometry) + pull * self.direction
        return z / np.linalg.norm(z.reshape(len(w), -1), axis=1).reshape(push.shape)

    def _minimizers(self, block: int) -> Array:
        """Of the best atom of a block, and of those tied with it among the ones met and its mirror images."""
        w, distance = self.atoms[block]
        settled = alternation.settle(self._block(block), w[None])[0]
        # Of symmetric kernels the conjugate is another minimizer, of antisymmetric ones its negative.
        candidates = np.stack([settled, settled.conj(), -settled.conj(), *self.others.get(block, [])[-20:]])
        distances = self._block(block).squared_distances(candidates)
        tied = distances <= self.squared_distance * (1 + TIE)
        if not distances[0] <= distance * (1 + 1e-12):
            candidates[0], tied[0], tied[1:3] = w, True, False
        return self._points(block, candidates[tied])

    def outcome(self) -> Single:
        """What is known so far."""
        least = self.squared_distance
        tied = sorted(
            (block for block, (_, distance) in self.atoms.items() if distance <= least * (1 + TIE)),
            key=lambda block: self.atoms[block][1],
        )
        points = [z for block in tied for z in self._minimizers(block)]
        bound = float(np.min(self.bounds))
        used = np.array(sorted(b for b in self.shifts if np.isfinite(self.bounds[b])), dtype=np.int64)
        closed = bound >= least - self.tol
        return Single(
            points=_distinct(points, np.sqrt(least)),
            squared_distance=least,
            bound=bound,
            certificate=caps.CapsCertificate(
                used, np.array([self.shifts[b] for b in used]).reshape(-1, *self.geometry.block_shape)
            ),
            closed_by=("multipliers" if len(used) else "lemma") if closed else "nothing",
            runner_up=float(np.min(np.delete(self.bounds, tied), initial=np.inf)),
            blocks=tied,
        )
