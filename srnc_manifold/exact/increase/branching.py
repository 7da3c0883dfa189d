"""Branch and bound with moment relaxations of regions, for small kernels (docs/theory.md, propositions 15 and 15a)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.bounds.cone_programs.moments import STEPS, Answer, MomentProgram, State, chosen_blocks, missed_blocks
from srnc_manifold.certificates import moments, regions
from srnc_manifold.exact.increase.best import Search
from srnc_manifold.exact.increase.local_search import convex_concave
from srnc_manifold.numerics import Array

# Steps of the splitting for the whole sphere, for a region, and for all of them; answers between two looks at progress.
# With more values of a functional than for nine weights there are fewer, since each takes longer.
_ROOT_STEPS, _REGION_STEPS, _ALL_STEPS, _LOOK = 2000, 400, 5000, 4
_VALUES = 660

# Points from which the local method climbs, and the distance from the best point from which on that is worth while.
_CLIMBS, _NEAR = 12, 0.02

# A moment relaxation of the whole sphere is rarely farther from tight, relatively: the point is to blame. Then the
# relaxation is solved until it can lose only a part of the gap.
SUSPICIOUS, _SOLVED = 0.01, 0.2


@dataclass
class _Leaf:
    """A region: half-spaces, and the best multipliers known for it, its own or its parent's."""

    slopes: Array
    offsets: Array
    arrays: tuple[Array, NDArray[Any], Array]
    bound: float
    state: State | None = None
    normal: Array | None = None  # of the hyperplane that would split it
    threshold: float = 0.0
    place: tuple[int, int] = (-1, 0)  # the split it comes from, and the side


@dataclass
class _Tree:
    """Splits and leaves in the layout of :func:`srnc_manifold.certificates.moments.moments_bound`."""

    normals: list[Array] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    leaves: list[_Leaf] = field(default_factory=list)

    def arrays(self, blocks: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        for number, leaf in enumerate(self.leaves):
            split, side = leaf.place
            if split >= 0:
                self.children[split][side] = -1 - number
        size = self.leaves[0].slopes.shape[1]
        depth = max(len(leaf.arrays[2]) for leaf in self.leaves)
        cuts = np.zeros((len(self.leaves), depth, size + 1, size + 1))
        for number, leaf in enumerate(self.leaves):
            cuts[number, : len(leaf.arrays[2])] = leaf.arrays[2]
        return {
            "normals": np.reshape(self.normals, (-1, size)),
            "thresholds": np.array(self.thresholds, float),
            "children": np.reshape(np.array(self.children, np.int64), (-1, 2)),
            "blocks": blocks,
            "grams": np.stack([leaf.arrays[0] for leaf in self.leaves]),
            "multipliers": np.stack([leaf.arrays[1] for leaf in self.leaves]),
            "cuts": cuts,
        }


class Branching:
    """Splits the sphere until no region's bound exceeds the value by more than is allowed.

    The region of the largest bound is split next, across the direction in which the functional that solves its
    relaxation is farthest from the values at a single point: the first eigenvector of ``L(z zᵀ) − L(z) L(z)ᵀ``.

    Parameters
    ----------
    search : Search
    tolerance : float
        What the relaxation of the whole sphere aims for, as long as it gets there fast.
    allowed : float
        What the other ones aim for.
    effort : float
        Scales the numbers of steps.
    """

    def __init__(self, search: Search, tolerance: float, allowed: float, effort: float) -> None:
        self.search, self.tolerance, self.allowed, self.effort = search, tolerance, allowed, effort
        self.n_steps, self.n_climbs, self.missed = 0, 0, np.zeros(0, np.int64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The certificate of the tree, for :func:`srnc_manifold.certificates.moments.moments_bound`."""
        search, tree, root = self.search, _Tree(), self._root
        share = min(1.0, _VALUES / self.program.q.size)
        heap, count = [(-root.bound, 0, root)], 0
        while -heap[0][0] > search.value + self.allowed and self.n_steps < self._steps(_ALL_STEPS * share):
            if heap[0][2].normal is None or not search.keep_going():
                break
            parent = heapq.heappop(heap)[2]
            for child in self._children(parent, tree):
                self._relax(child, self._steps(_REGION_STEPS))
                count += 1
                heapq.heappush(heap, (-child.bound, count, child))
        tree.leaves.extend(leaf for _, _, leaf in heap)
        return tree.arrays(self.program.blocks)

    def root(self) -> dict[str, NDArray[Any]]:
        """The certificate of the whole sphere."""
        return _Tree(leaves=[self._root]).arrays(self.program.blocks)

    @cached_property
    def _root(self) -> _Leaf:
        """The whole sphere; blocks that were left out, and turn out to matter, are added."""
        search = self.search
        points = np.stack([search.direction, search.z])
        size, blocks = search.direction.size, chosen_blocks(points, search.geometry)
        self._use(blocks)
        order, side = size * (size + 3) // 2, (size + 1) * search.geometry.block_rank
        nothing = np.zeros((order, order)), np.zeros((len(blocks), side, side)), np.zeros((0, size + 1, size + 1))
        root = _Leaf(np.zeros((0, size)), np.zeros(0), nothing, np.inf)
        while True:
            self._relax(root, self._steps(_ROOT_STEPS) - self.n_steps)
            if not len(self.missed) or self.n_steps >= self._steps(_ROOT_STEPS):
                return root
            self._use(np.concatenate([self.program.blocks, self.missed]))
            gram, multipliers, cuts = root.arrays
            more = np.zeros((len(self.missed), side, side))
            root.arrays = gram, np.concatenate([multipliers, more]), cuts

    def _use(self, blocks: NDArray[np.int64]) -> None:
        search = self.search
        self.program = MomentProgram(search.direction, search.geometry, search.level, blocks)

    def _find_missed(self, answer: Answer) -> bool:
        """Whether blocks left out are violated by an answer that is accurate enough to tell."""
        found = missed_blocks(answer.second, self.program.blocks, self.search.geometry, self.search.level)
        self.missed = found if answer.residual < 0.01 else found[:0]
        return len(self.missed) > 0

    def _steps(self, number: float) -> int:
        return max(STEPS, round(number * self.effort))

    def _children(self, parent: _Leaf, tree: _Tree) -> Iterator[_Leaf]:
        assert parent.normal is not None
        split, number = parent.place, len(tree.thresholds)
        if split[0] >= 0:
            tree.children[split[0]][split[1]] = number
        tree.normals.append(parent.normal)
        tree.thresholds.append(parent.threshold)
        tree.children.append([0, 0])
        gram, multipliers, cuts = parent.arrays
        arrays = gram, multipliers, np.concatenate([cuts, np.zeros((1, *cuts.shape[1:]))])
        for side, sign in enumerate((1.0, -1.0)):
            slopes, offsets = regions.half_spaces(parent.normal, parent.threshold, sign)
            path = np.concatenate([parent.slopes, slopes[:1]]), np.concatenate([parent.offsets, offsets[:1]])
            yield _Leaf(*path, arrays, parent.bound, parent.state, place=(number, side))

    def _relax(self, leaf: _Leaf, max_steps: int) -> None:
        """Bound a region and find where to split it; it keeps its parent's multipliers if these are better."""
        search, cut = self.search, moments.cut_rows(leaf.slopes, leaf.offsets)
        own, looks, self.missed = np.inf, [np.inf], np.zeros(0, np.int64)
        for number, answer in enumerate(self.program.answers(leaf.slopes, leaf.offsets, leaf.state), 1):
            self.n_steps += STEPS
            arrays = answer.gram, answer.multipliers, answer.cuts
            bound = moments.leaf_bound(search.direction, self.program.rows, cut, *arrays)
            own = min(own, bound)
            if bound < leaf.bound:
                leaf.arrays, leaf.bound = arrays, bound
            if number == _LOOK and not len(cut):
                self._offer(answer)
            excess = leaf.bound - search.value
            if excess <= (self.allowed if len(cut) else self.tolerance) or number * STEPS >= max_steps:
                break
            if not search.keep_going():
                return
            if number % _LOOK == 0:
                looks.append(own)
                if not len(cut):
                    search.certify("moments", _Tree(leaves=[leaf]).arrays(self.program.blocks))  # kept if interrupted
                    if self._find_missed(answer):
                        break
                if self._is_hopeless(answer, looks, excess, not len(cut)):
                    break
        leaf.state = answer.state
        if leaf.bound > search.value + self.tolerance:
            self._offer(answer)
        spread = answer.second - np.outer(answer.mean, answer.mean)
        leaf.normal = np.linalg.eigh(spread)[1][:, -1]
        leaf.threshold = float(leaf.normal @ answer.mean)

    def _is_hopeless(self, answer: Answer, looks: list[float], excess: float, whole: bool) -> bool:
        """Whether more steps are of no use: the relaxation is not tight, or its bound falls slowly.

        Where the point is to blame, the relaxation must be solved before that counts: it shows where better ones are.
        """
        least = answer.value - 3 * answer.residual  # of what the bound may fall to
        to_solve = whole and excess > SUSPICIOUS * abs(self.search.value)
        solved = not to_solve or looks[-1] - least < _SOLVED * excess
        if solved and least > self.search.value + self.allowed:
            return True
        fell = looks[-2] - looks[-1]
        return fell < (0.5 if excess <= self.allowed else 0.1) * excess

    def _offer(self, answer: Answer) -> None:
        """Climb from the mean of the functional, and from its ends along the direction in which it is widest.

        Not where it is near the best point, and not from more points than the effort allows.
        """
        values, vectors = np.linalg.eigh(answer.second - np.outer(answer.mean, answer.mean))
        wide = np.sqrt(max(0.0, values[-1])) * vectors[:, -1]
        for start in (answer.mean, answer.mean + wide, answer.mean - wide):
            length = float(np.linalg.norm(start))
            if length == 0 or self.n_climbs >= _CLIMBS * self.effort or not self.search.keep_going():
                continue
            start = (start / length).reshape(self.search.direction.shape)
            if np.linalg.norm(start - self.search.z) > _NEAR:
                self.n_climbs += 1
                self.search.offer(convex_concave(start, self.search, weight=1.0, max_steps=40))
