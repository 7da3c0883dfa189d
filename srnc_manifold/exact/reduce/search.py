"""Blocks of several rows and columns: bounds discard most, the rest are searched.

Source: docs/theory.md, sections 5 to 7 and 16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import alternation, boxes, shifts, weights
from srnc_manifold.exact.reduce.effort import Effort
from srnc_manifold.exact.reduce.points import TIE, Single, distinct
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms
from srnc_manifold.operators.geometry import Geometry

# Work on the blocks that stay open, as a multiple of that which left them open.
CLOSING = 20.0

# Random atoms from which a block is searched at once, with so many steps each, and how often.
_RESTARTS, _STEPS, _ROUNDS = 20, 12, 10

# Steps in which an atom mostly comes to rest.
_SETTLING = 100

# Blocks whose atoms are looked at first: the best of these atoms excludes most of the others.
_PROMISING = 4

# Parts of a block after which halving ends, and the work that the cone program of one is.
_PARTS, _PER_PART = 31, 60.0


class Search:
    """Bounds from cheap to sharp on every block, alternation in those that stay open, until the best point is proved.

    ``bounds`` holds for each block the best lower bound known on the squared distance of its points.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
    symbols : complex array, shape ``(n_blocks, *block_shape)``, or what gives the blocks at an array of indices
    level : Level, or a number
    geometry : Geometry
    tolerance : float
        Difference of squared distance and bound that ends the search.
    effort : Effort, optional
        Counts the work, and may limit it.
    closing : float, optional
        Work on the blocks that the survey leaves open, as a multiple of that of the survey.
    notify, tests
        As in :func:`nearest_to_one`.
    """

    def __init__(
        self,
        direction: Array,
        symbols: Any,
        level: atoms.Level | float,
        geometry: Geometry,
        tolerance: float,
        effort: Effort | None = None,
        closing: float = CLOSING,
        notify: Callable[[Array, float], None] | None = None,
        tests: tuple[norms.NormTests, float] | None = None,
    ) -> None:
        self.symbols, self.known_tests = symbols, tests
        self.direction, self.level, self.geometry = direction, atoms.as_level(level), geometry
        self.tolerance = tolerance
        self.effort, self.closing, self.notify = effort or Effort(), closing, notify
        self.frame = atoms.frame(geometry)
        # Largest squared distance at which a block is known to hold no better point, infinite if its caps are empty.
        self.bounds = np.where(self.frame.safe_top >= self.level.value * (1 - caps.EMPTY), 0.0, np.inf)
        self.decomposed = ~np.isfinite(self.bounds)
        self.atoms: dict[int, tuple[NDArray[Any], float]] = {}  # best atom of a block, and its squared distance
        self.starts: dict[int, NDArray[Any]] = {}  # where to begin in a block, where that is known
        self.others: dict[int, list[NDArray[Any]]] = {}  # atoms of a block that were as good when they were found
        self.proofs: dict[int, CapsCertificate] = {}  # the multipliers of the bound of a block
        self._single: dict[int, alternation.Blocks] = {}
        self.squared_distance = self.told = np.inf

    def run(self, squares: Array | None = None) -> Single:
        """Search; the squared norms of the symbols are computed as far as they are needed, unless they are given."""
        index = np.flatnonzero(~self.decomposed)
        if squares is not None or self.geometry.block_rank <= norms.NormTests.SMALL:
            self._bound_by_norms(index, None if squares is None else squares[index])
            self._decompose(self._open()[:_PROMISING])
        else:
            tests, scale = self.known_tests or (norms.NormTests(self.symbols), 1.0)
            estimates = np.sqrt(tests.estimates[index]) / scale
            promising = index[np.argsort(self._lemma(index, estimates), kind="stable")[:_PROMISING]]
            self._bound_by_norms(promising)
            self._decompose(promising[[np.argmin(self.bounds[promising])]])
            self._bound_by_tests(index, tests, scale)
        self._survey()
        self._close()
        return self.outcome()

    def resume(self, bounds: Array, starts: dict[int, NDArray[Any]]) -> Single:
        """Search on from bounds on the blocks that are known, and from atoms of some of the others."""
        self.bounds = np.maximum(self.bounds, bounds)
        self.starts = starts
        index = np.fromiter(starts, np.int64)
        self._bound_by_norms(index)
        self._decompose(index)
        self._survey()
        self._close()
        return self.outcome()

    def _blocks(self, index: NDArray[Any]) -> alternation.Blocks:
        turned = self.symbols[index] * self.frame.turns[index][:, None, :]
        return alternation.Blocks(turned, self.frame.upper[index], self.frame.lower[index], self.level, self.effort)

    def _block(self, block: int) -> alternation.Blocks:
        """One of them, kept: it is asked for again."""
        if block not in self._single:
            self._single[block] = self._blocks(np.array([block]))
        return self._single[block]

    def _lemma(self, index: NDArray[Any], heights: Array) -> Array:
        heights = caps.safe_heights(heights, self.geometry)
        return caps.lemma_of(heights, self.frame.safe_top[index], self.level, NUMPY)

    def _bound_by_norms(self, index: NDArray[Any], squares: Array | None = None) -> None:
        """The Lemma with squared norms, computed, as long as there is time, unless they are given."""
        if squares is not None:
            # Counted as if they had been computed, so that what stays open has as much work as without them.
            self.effort.count(self.symbols[index])
            self.bounds[index] = np.maximum(self.bounds[index], self._lemma(index, np.sqrt(squares)))
            return
        for part in self.effort.portions(index, self.geometry.block_shape):
            heights = np.sqrt(norms.squared_norms(self.symbols[part]))
            self.bounds[part] = np.maximum(self.bounds[part], self._lemma(part, heights))

    def _bound_by_tests(self, index: NDArray[Any], tests: norms.NormTests, scale: float) -> None:
        """The Lemma where a norm is below what points tied with the best one ask for, without computing it."""
        within = np.array(self.squared_distance * (1 + 2 * TIE))
        top = np.maximum(self.frame.top[index], self.level.value)
        needed = caps.needed_heights(within, self.level, top, NUMPY)
        candidates = np.flatnonzero((needed > 0) & (self.bounds[index] < within))
        levels = (needed * scale) ** 2 / tests.margin
        for part in self.effort.portions(candidates, self.geometry.block_shape):
            passed = part[tests.below(index[part], levels[part])]
            self.bounds[index[passed]] = self._lemma(index[passed], needed[passed])

    def _is_open(self, index: NDArray[Any]) -> NDArray[Any]:
        """Which of some blocks may hold a better point than the best known."""
        if np.isinf(self.squared_distance):
            return np.isfinite(self.bounds[index])
        return self.bounds[index] < self.squared_distance * (1 - 1e-11) - 1e-14

    def _open(self) -> NDArray[Any]:
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
        while self.effort.left():
            # Those, too, that may be tied with the best point.
            index = np.flatnonzero(~self.decomposed & (self.bounds <= self.squared_distance * (1 + TIE)))
            if not len(index):
                break
            self._decompose(index[np.argsort(self.bounds[index], kind="stable")][:at_once])

    def _decompose(self, index: NDArray[Any]) -> None:
        """The best atoms of some blocks, and the bounds that go with them."""
        self.decomposed[index] = True
        if not len(index):
            return
        blocks = self._blocks(index)
        first = self._starts(index, blocks)
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

    def _starts(self, index: NDArray[Any], blocks: alternation.Blocks) -> NDArray[Any]:
        """Atoms to begin with: those of the symbols, or known ones that are nearer."""
        w = alternation.start(blocks)
        known = np.array([block in self.starts for block in index.tolist()])
        if known.any():
            others = np.stack([self.starts[block] for block in index[known].tolist()])
            some = blocks[known]
            nearer = some.squared_distances(others) < some.squared_distances(w[known])
            w[known] = np.where(nearer[:, None, None], others, w[known])
        return w

    def _seek(self, index: NDArray[Any], blocks: alternation.Blocks, w: NDArray[Any]) -> None:
        """Alternation from an atom of each of some blocks where they are open, and the bounds that go with the best."""
        still = self._is_open(index)
        if still.any():
            index, blocks = index[still], blocks[still]
            self._offer(index, *alternation.alternate(blocks, w[still]))
            self._sharpen(index, blocks, np.stack([self.atoms[block][0] for block in index.tolist()]))

    def _offer(self, index: NDArray[Any], w: NDArray[Any], squared_distances: Array) -> None:
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

    def _sharpen(self, index: NDArray[Any], blocks: alternation.Blocks, w: NDArray[Any]) -> None:
        """Keep the bounds that go with an atom of each block where they are better than what is known."""
        self.effort.count(blocks.matrices)
        rows = CapsCertificate(index, *weights.multipliers(blocks, w, self.squared_distance))
        bounds = rows.bounds(blocks.matrices, self.geometry, self.level)
        for k in np.flatnonzero(bounds > self.bounds[index]):
            self._prove(int(index[k]), float(bounds[k]), rows.of(np.array([k])))

    def _prove(self, block: int, bound: float, proof: CapsCertificate) -> None:
        """Keep a bound on a block if it is better than what is known."""
        if bound > self.bounds[block]:
            self.bounds[block], self.proofs[block] = bound, proof

    def _close(self) -> None:
        """Sharper bounds on the blocks that are still open, and better points in them; the cheapest means first."""
        self.effort.limit = min(self.effort.limit, (1 + self.closing) * self.effort.spent)
        attempts = (
            self._settle,
            partial(self._restart, range(2)),
            partial(self._tighten, 30),
            partial(self._split, 1),
            partial(self._restart, range(2, _ROUNDS)),
            partial(self._tighten, 300),
            partial(self._split, _PARTS),
        )
        for attempt in attempts:
            for block in self._open().tolist():
                if self.bounds[block] < self.squared_distance - self.tolerance and self.effort.left():
                    attempt(block)
                    self._tell()

    def _settle(self, block: int) -> None:
        """The bound of an atom that does not move any more, where it is sharp."""
        self._sharpen_at(block, alternation.settle(self._block(block), self.atoms[block][0][None], _SETTLING))

    def _sharpen_at(self, block: int, w: NDArray[Any]) -> None:
        """Remember an atom of a block, and keep the bound that goes with the best one."""
        index, blocks = np.array([block]), self._block(block)
        self._offer(index, w, blocks.squared_distances(w))
        self._sharpen(index, blocks, self.atoms[block][0][None])

    def _restart(self, rounds: range, block: int) -> None:
        """Alternation from random atoms, always the same ones: it may have ended in a saddle."""
        blocks = self._block(block)[np.zeros(_RESTARTS, int)]
        for number in rounds:
            if self._is_open(np.array([block]))[0] and self.effort.left():
                self._improve(block, alternation.random_atoms(blocks, np.random.default_rng([block, number])))

    def _improve(self, block: int, w: NDArray[Any]) -> None:
        """Some steps from several atoms of a block, and all that are needed from the best of them."""
        found, distances = alternation.alternate(self._block(block)[np.zeros(len(w), int)], w, _STEPS)
        best = [int(np.argmin(distances))]
        if distances[best] < self.atoms[block][1] * (1 + TIE):
            self._sharpen_at(block, alternation.settle(self._block(block), found[best], _SETTLING))

    def _tighten(self, max_steps: int, block: int) -> None:
        """The best shift; what it comes across is improved by alternation."""
        blocks, index = self._block(block), np.array([block])

        def bound_of(shift: NDArray[Any]) -> float:
            return float(CapsCertificate(index, shift[None]).bounds(blocks.matrices, self.geometry, self.level)[0])

        relaxed = shifts.tighten(blocks, self.atoms[block][0][None], self.squared_distance, bound_of, max_steps)
        self._prove(block, relaxed.bound, CapsCertificate(index, relaxed.shift[None]))
        self._improve(block, np.stack(relaxed.atoms))

    def _split(self, parts: int, block: int) -> None:
        """Bounds on parts of the atoms."""
        blocks = self._block(block)
        if sum(self.geometry.block_shape) > boxes.SIDES:
            return
        w = alternation.settle(blocks, self.atoms[block][0][None], _SETTLING)
        goal = self.squared_distance - self.tolerance
        for bound, values, numbers in boxes.split(blocks, block, self.geometry, w, self.squared_distance, goal):
            self.effort.spent += _PER_PART
            rows = np.concatenate([np.zeros((len(numbers), 1)), numbers], axis=1)
            self._prove(block, bound, CapsCertificate(np.full(len(rows), block), values, rows))
            if len(rows) >= parts or not self.effort.left():
                return

    def _points(self, block: int, w: NDArray[Any]) -> Array:
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
        self.effort.limit = np.inf  # the last steps make the kernel accurate
        least = self.squared_distance
        tied = sorted(
            (block for block, (_, distance) in self.atoms.items() if distance <= least * (1 + TIE)),
            key=lambda block: self.atoms[block][1],
        )
        points = [z for block in tied for z in self._minimizers(block)]
        bound = float(np.min(self.bounds))
        used = [self.proofs[b] for b in sorted(self.proofs) if np.isfinite(self.bounds[b])]
        closed = bound >= least - self.tolerance
        return Single(
            points=distinct(points, np.sqrt(least)),
            squared_distance=least,
            bound=bound,
            certificate=CapsCertificate.joined(used) if used else CapsCertificate.empty(self.geometry),
            closed_by=("multipliers" if len(used) else "lemma") if closed else "nothing",
            runner_up=float(np.min(np.delete(self.bounds, tied), initial=np.inf)),
            blocks=tied,
        )
