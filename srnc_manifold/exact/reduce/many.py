"""Many kernels whose blocks have several rows and columns: surveyed together where they are, finished on the host."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import alternation, rounds
from srnc_manifold.exact.reduce.alternation import Blocks
from srnc_manifold.exact.reduce.points import TIE, Nearest
from srnc_manifold.exact.reduce.search import Search
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry

# Blocks of a kernel whose first atoms are compared: the best one excludes most other blocks.
_PROMISING = 4

# Atoms whose squared distance is at most this times the least one go on at once, with so many steps at most.
_NEAR, _SETTLING = 1.001, 100


class Many:
    """``K`` unit kernels of one shape whose nearest points are sought.

    Parameters and attributes as :class:`srnc_manifold.exact.reduce.rank_one.Many`, which takes those with blocks of one
    row or column.
    """

    def __init__(self, directions: Any, geometry: Geometry, xp: Namespace) -> None:
        self.directions, self.geometry, self.xp = directions, geometry, xp
        matrices = xp.reshape(symbol.of(directions, geometry, xp), (-1, *geometry.block_shape))
        self._tests = norms.tests_of(matrices, xp)
        self.gains = self._tests.dominant_of(len(directions))[1]
        self._members = xp.arange(len(directions), device=directions.device)

    def of(self, index: Any) -> Many:
        """Some of the kernels."""
        some = copy(self)
        some.directions, some.gains, some._members = self.directions[index], self.gains[index], self._members[index]
        return some

    def nearest(self, levels: atoms.Level, tolerance: float = 1e-9) -> Nearest:
        """Nearest points of the caps to each kernel, none of which has a gain above its level."""
        xp = self.xp
        directions, bounds, starts = self._survey(levels)
        on_host = atoms.Level(xp.to_numpy(levels.value), xp.to_numpy(levels.rest))
        found = []
        for k, direction in enumerate(directions):
            search = Search(direction, _Symbol(direction, self.geometry), on_host[k], self.geometry, tolerance)
            found.append(search.resume(bounds[k], starts[k]))
        return Nearest(
            xp.constant(np.stack([single.points[0] for single in found]), self.gains),
            xp.constant(np.array([single.squared_distance for single in found]), self.gains),
            xp.constant(np.array([single.bound for single in found]), self.gains),
            np.repeat(np.arange(len(found)), [len(single.certificate.blocks) for single in found]),
            CapsCertificate.joined([single.certificate for single in found]),
        )

    def _survey(self, levels: atoms.Level) -> tuple[Array, Array, list[dict[int, NDArray[Any]]]]:
        """The directions, bounds on all blocks, and atoms of some that these do not exclude; all on the host."""
        xp, n_blocks, count = self.xp, self.geometry.n_blocks, len(self.directions)
        numbers = xp.arange(count * n_blocks, device=self.directions.device)
        owners, blocks = numbers // n_blocks, numbers % n_blocks
        found = self._first(owners, blocks, levels)
        bounds = self._bounds(owners, blocks, levels, found.distances)
        if xp.is_remote(bounds):
            # All the others, too. On the host the search excludes most of them before any is improved.
            left = xp.nonzero(bounds <= found.distances[owners] * (1 + TIE))[0]
            found = self._others(owners[left], blocks[left], levels, found)
            least = xp.least_by_group(found.distances, found.owners, count)
            bounds[left] = self._bounds(owners[left], blocks[left], levels, least)
        starts: list[dict[int, NDArray[Any]]] = [{} for _ in range(count)]
        for owner, block, atom in found.on_host():
            starts[owner][block] = atom
        return xp.to_numpy(self.directions), xp.to_numpy(bounds).reshape(count, n_blocks), starts

    def _first(self, owners: Any, blocks: Any, levels: atoms.Level) -> _Found:
        """An improved atom of the block of each kernel that promises most."""
        xp, count = self.xp, len(self.directions)
        heights = xp.sqrt(self._tests.estimates[self._places(owners, blocks)])
        guesses = xp.reshape(caps.lemma_of(heights, self._safe_top(blocks), levels[owners], xp), (count, -1))
        promising = xp.argsort(guesses, axis=1)[:, :_PROMISING]
        each, kernels = promising.shape[1], owners[:: self.geometry.n_blocks]
        rows = self._rows(xp.repeat(kernels, each), xp.reshape(promising, (-1,)), levels)
        w = rounds.start(rows)
        chosen = xp.argmin(xp.reshape(rows.squared_distances(w), (count, each)), axis=1)
        places = kernels * each + chosen
        return self._improved(kernels, promising[kernels, chosen], rows[places], w[places])

    def _others(self, owners: Any, blocks: Any, levels: atoms.Level, first: _Found) -> _Found:
        """Improved atoms of more blocks, of each kernel the first among them."""
        xp, rows = self.xp, self._rows(owners, blocks, levels)
        known = (first.blocks[owners] == blocks)[:, None, None]
        return self._improved(owners, blocks, rows, xp.where(known, first.w[owners], rounds.start(rows)))

    def _improved(self, owners: Any, blocks: Any, rows: Blocks, w: Any) -> _Found:
        if self.xp.is_remote(w):
            return _Found(owners, blocks, rows, *rounds.alternate(rows, w))
        # With decompositions it takes fewer steps.
        w, distances = alternation.alternate(rows.on_host(), self.xp.to_numpy(w))
        return _Found(owners, blocks, rows, self.xp.constant(w, rows.matrices), self.xp.constant(distances, self.gains))

    def _bounds(self, owners: Any, blocks: Any, levels: atoms.Level, least: Any) -> Any:
        """The Lemma where the norm of a block is below what points within the least distances ask for; else zero."""
        xp, top, levels = self.xp, self._safe_top(blocks), levels[owners]
        # No unit vectors are farther apart. Those tied with the nearest point are not excluded.
        within = xp.where(least < 4, least * (1 + 2 * TIE), 4.0)[owners]
        needed = caps.needed_heights(within, levels, xp.maximum(top, levels.value), xp)
        passed = self._tests.below(self._places(owners, blocks), needed**2 / self._tests.margin)
        bounds = caps.lemma_of(caps.safe_heights(needed, self.geometry), top, levels, xp)
        return xp.where(passed | (bounds == np.inf), bounds, 0.0)

    def _places(self, owners: Any, blocks: Any) -> Any:
        """Where the symbols of some kernels stand in some blocks."""
        return self._members[owners] * self.geometry.n_blocks + blocks

    def _safe_top(self, blocks: Any) -> Any:
        return self.xp.constant(atoms.frame(self.geometry).safe_top, self.gains)[blocks]

    def _rows(self, owners: Any, blocks: Any, levels: atoms.Level) -> Blocks:
        frame, matrices = atoms.frame(self.geometry), self._tests.matrices[self._places(owners, blocks)]
        turns, upper, lower = (
            self.xp.constant(values, self.gains)[blocks] for values in (frame.turns, frame.upper, frame.lower)
        )
        return Blocks(matrices * turns[:, None, :], upper, lower, levels[owners], xp=self.xp)


@dataclass(frozen=True)
class _Found:
    """Atoms ``w`` of some blocks of some kernels, and their squared distances."""

    owners: Any
    blocks: Any
    rows: Blocks
    w: Any
    distances: Any

    def on_host(self) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Each owner, block and atom. The best of each kernel go on until they stand, in fewer steps than there."""
        xp, rows = self.rows.xp, self.rows.on_host()
        owners, blocks, w, distances = (
            xp.to_numpy(part) for part in (self.owners, self.blocks, self.w, self.distances)
        )
        least = NUMPY.least_by_group(distances, owners, int(owners[-1]) + 1)
        near, w = distances <= _NEAR * least[owners], np.array(w)
        w[near] = alternation.settle(rows[near], w[near], _SETTLING)
        return zip(owners.tolist(), blocks.tolist(), w, strict=True)


class _Symbol:
    """The symbol of a kernel, of which only the blocks that are asked for are computed."""

    def __init__(self, direction: Array, geometry: Geometry) -> None:
        self._kernels, self._geometry = direction[None], geometry

    def __getitem__(self, index: NDArray[Any]) -> NDArray[Any]:
        return symbol.at(self._kernels, np.zeros(len(index), np.int64), index, self._geometry, NUMPY)
