"""Branch and bound over regions of the sphere, for the smallest kernels (docs/theory.md, proposition 15)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.bounds import cone_programs
from srnc_manifold.certificates import ball
from srnc_manifold.exact.increase.best import Search
from srnc_manifold.exact.increase.local_search import convex_concave
from srnc_manifold.numerics import Array

# Entries of a kernel up to which branch and bound closes most gaps within seconds.
BRANCHING_SIZE = 12

# Products of half-spaces in the relaxation of a region.
_PRODUCTS = 40


@dataclass
class _Leaf:
    """A region: half-spaces, and the best multipliers known for it, its own or its parent's."""

    slopes: Array
    offsets: Array
    theta: NDArray[Any]
    pairs: NDArray[Any]
    weights: Array
    bound: float
    normal: Array | None = None  # of the hyperplane that would split it
    threshold: float = 0.0
    start: Array | None = None  # a point of norm one that the relaxation takes for feasible
    place: tuple[int, int] = (-1, 0)  # the split it comes from, and the side


@dataclass
class _Tree:
    """Splits and leaves in the layout of :func:`srnc_manifold.certificates.ball.branched_bound`."""

    normals: list[Array] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    leaves: list[_Leaf] = field(default_factory=list)

    def arrays(self) -> dict[str, NDArray[Any]]:
        size = self.leaves[0].slopes.shape[1]
        for number, leaf in enumerate(self.leaves):
            split, side = leaf.place
            if split >= 0:
                self.children[split][side] = -1 - number
        return {
            "normals": np.reshape(self.normals, (-1, size)),
            "thresholds": np.array(self.thresholds, float),
            "children": np.reshape(np.array(self.children, np.int64), (-1, 2)),
            "multipliers": np.stack([leaf.theta for leaf in self.leaves]),
            "pairs": np.stack([leaf.pairs for leaf in self.leaves]),
            "weights": np.stack([leaf.weights for leaf in self.leaves]),
        }


def branch_and_bound(search: Search, allowed: float, max_regions: int) -> _Tree:
    """Split the sphere until no region's bound exceeds the value by more than is allowed.

    A region is an intersection of half-spaces; its bound is Shor's, with products of the half-spaces. The region of the
    largest bound is split next, across the direction in which the relaxed solution, a matrix ``Z`` in the place of
    ``z zᵀ``, is farthest from one of a single point: the first eigenvector of ``Z − z zᵀ``.
    """
    tree, k, size = _Tree(), search.geometry.block_rank, search.direction.size
    root = _Leaf(
        np.zeros((0, size)),
        np.zeros(0),
        np.zeros((search.geometry.n_blocks, k, k), complex),
        np.full((_PRODUCTS, 2), -1),
        np.zeros(_PRODUCTS),
        np.inf,
    )
    _relax(root, search)
    heap, count = [(-root.bound, 0, root)], 0
    while -heap[0][0] > search.value + allowed and count < 2 * max_regions and search.keep_going():
        _, _, parent = heapq.heappop(heap)
        if parent.normal is None or parent.start is None:  # the solver failed there, so that the bound will not fall
            tree.leaves.append(parent)
            break
        if len(tree.thresholds) < 10 or len(tree.thresholds) % 10 == 0:
            # The region that is least understood may hide a better point, near its relaxed one.
            search.offer(convex_concave(parent.start, search, weight=1.0, max_steps=40))
        split, side = parent.place
        number = len(tree.thresholds)
        if split >= 0:
            tree.children[split][side] = number
        tree.normals.append(parent.normal)
        tree.thresholds.append(parent.threshold)
        tree.children.append([0, 0])
        for side, sign in enumerate((1.0, -1.0)):
            count += 1
            child = _child(parent, sign, (number, side))
            _relax(child, search)
            heapq.heappush(heap, (-child.bound, count, child))
    tree.leaves.extend(leaf for _, _, leaf in heap)
    return tree


def _child(parent: _Leaf, sign: float, place: tuple[int, int]) -> _Leaf:
    assert parent.normal is not None
    slopes, offsets = ball.half_spaces(parent.normal, parent.threshold, sign)
    return _Leaf(
        np.concatenate([parent.slopes, slopes]),
        np.concatenate([parent.offsets, offsets]),
        parent.theta,
        parent.pairs,
        parent.weights,
        parent.bound,
        place=place,
    )


def _relax(leaf: _Leaf, search: Search) -> None:
    """Bound a region and find where to split it; it keeps its parent's multipliers if these are better."""
    a, geometry, level = search.direction, search.geometry, search.level
    pairs = _pairs(len(leaf.offsets) // 2)
    used = pairs[:, 0] >= 0
    size = a.size
    forms = np.zeros((_PRODUCTS, size, size)), np.zeros((_PRODUCTS, size)), np.ones(_PRODUCTS)
    for whole, part in zip(forms, ball.products(leaf.slopes, leaf.offsets, pairs[used]), strict=True):
        whole[used] = part
    # Bounds far below the best value are as good as any: the floor keeps multipliers of empty regions finite.
    _, theta, weights, moments = cone_programs.region_dual(a, geometry, level, forms, floor=search.value - 0.05)
    bound = ball.region_bound(a, geometry, level, leaf.slopes, leaf.offsets, theta, pairs, weights)
    if bound < leaf.bound:
        leaf.theta, leaf.pairs, leaf.weights, leaf.bound = theta, pairs, weights, bound
    if moments is None or not moments[-1, -1] > 0:
        return
    z = -moments[:-1, -1] / moments[-1, -1]
    spread = moments[:-1, :-1] / moments[-1, -1] - np.outer(z, z)
    values, vectors = np.linalg.eigh(spread)
    leaf.normal, leaf.threshold = vectors[:, -1], float(vectors[:, -1] @ z)
    leaf.start = (z + np.sqrt(max(0.0, values[-1])) * vectors[:, -1]).reshape(a.shape)


def _pairs(depth: int) -> NDArray[np.int64]:
    """Which half-spaces are multiplied: the slabs of the last splits, then the last splits with each other."""
    chosen = [(2 * i, 2 * i + 1) for i in reversed(range(depth))]
    chosen += [(2 * i, 2 * j) for i in reversed(range(depth)) for j in reversed(range(i))]
    pairs = np.full((_PRODUCTS, 2), -1)
    kept = chosen[:_PRODUCTS]
    if kept:
        pairs[: len(kept)] = kept
    return pairs
