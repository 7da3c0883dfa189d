"""Raising the stable rank: maximize ``⟨a, z⟩`` over unit kernels with ``‖Z_b‖₂² <= c`` (docs/theory.md, section 10).

The convex relaxation to the ball is solved first; where its solution has norm one, it is the global one. Otherwise the
convex-concave procedure climbs from several starts, and Shor's relaxation, with branch and bound for the smallest
kernels, says how far from optimal the best point can be.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import atoms, spectrum
from srnc_manifold.bounds import sdp
from srnc_manifold.certificates import ball
from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array, bracketed_root

# Entries of a kernel up to which branch and bound closes most gaps within seconds.
BRANCHING_SIZE = 12

# A solution of a cone program with this norm, or more, is on the sphere: solvers stop at about 1e-8.
_ON_SPHERE = 1 - 1e-6

# Products of half-spaces in the relaxation of a region.
_PRODUCTS = 40

# Entries of the matrix of Newton's method for polishing.
_NEWTON_ENTRIES = 5_000_000

# Polished kernels have the right gain up to this, relatively.
_GAIN_TOLERANCE = 1e-11


@dataclass(frozen=True)
class RaiseOutcome:
    """What :func:`raise_gain` found.

    Attributes
    ----------
    z : array, shape ``geometry.kernel_shape``
        Unit kernel of gain ``c``.
    value, bound : float
        ``⟨a, z⟩``, and a certified upper bound on it over all such kernels.
    kind : str
        ``"ball"``, ``"sphere"`` or ``"branched"``: with ``arrays`` what
        :func:`srnc_manifold.certificates.ball.certified_bound` evaluates to ``bound``.
    arrays : dict of arrays
    how : str
        The way it was found, in words.
    n_regions : int
        Leaves of the branch and bound tree; 0 without one.
    """

    z: Array
    value: float
    bound: float
    kind: str
    arrays: dict[str, NDArray]
    how: str
    n_regions: int = 0


def raise_gain(
    direction: Array,
    geometry: Geometry,
    level: float,
    *,
    n_starts: int = 10,
    rng: np.random.Generator | None = None,
    tol: float = 1e-6,
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
    tol : float, optional
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
    if not sdp.ball_fits(geometry):
        search.offer(direction)
        return search.outcome("moved to the feasible set along a great circle: too large for cone programs")
    relaxed, multipliers = sdp.ball_maximizer(direction, geometry, level)
    search.certify("ball", {"multipliers": multipliers})
    search.offer(relaxed if np.any(relaxed) else direction)
    if search.gap <= tol:
        return search.outcome("the relaxation to the ball is tight")
    starts = islice(_starts(direction, relaxed, np.random.default_rng(0) if rng is None else rng), n_starts)
    climb(search, islice(starts, 2), tol)
    how = "best of several local searches"
    if sdp.shor_fits(geometry) and keep_going():
        _, theta = sdp.sphere_dual(direction, geometry, level)
        search.certify("sphere", {"multipliers": theta})
    climb(search, starts, tol)  # until the value meets the bound
    if search.gap <= tol:
        return search.outcome(f"{how}, which meets the bound of a relaxation")
    if direction.size > branching_size or not keep_going():
        return search.outcome(how)
    tree = branch_and_bound(search, max(tol, gap * abs(search.value)), max_regions)
    search.certify("branched", tree.arrays())
    return search.outcome(f"{how}, and branch and bound", len(tree.leaves))


class Search:
    """The best point and the best certificate so far; ``notify`` is given every better point."""

    def __init__(
        self,
        direction: Array,
        geometry: Geometry,
        level: float,
        keep_going: Callable[[], bool],
        notify: Callable[[Array], None] = lambda _: None,
    ) -> None:
        self.direction, self.geometry, self.level, self.keep_going = direction, geometry, level, keep_going
        self.notify = notify
        self.z, self.value = direction, -np.inf
        self.kind, self.bound = "", np.inf
        self.arrays: dict[str, NDArray] = {}

    @property
    def gap(self) -> float:
        return self.bound - self.value

    def offer(self, z: Array) -> None:
        """Polish a point and keep it if it is better."""
        polished = polish(z, self.direction, self.geometry, self.level)
        value = float(np.sum(self.direction * polished))
        if value > self.value:
            self.z, self.value = polished, value
            self.notify(polished)

    def certify(self, kind: str, arrays: dict[str, NDArray]) -> None:
        """Keep a certificate if its bound is lower."""
        bound = ball.certified_bound(kind, arrays, self.direction, self.geometry, self.level)
        if bound < self.bound:
            self.kind, self.arrays, self.bound = kind, arrays, bound

    def outcome(self, how: str, n_regions: int = 0) -> RaiseOutcome:
        return RaiseOutcome(self.z, self.value, self.bound, self.kind, self.arrays, how, n_regions)


# -- local search -----------------------------------------------------------------------------------------------


def climb(search: Search, starts: Iterator[Array], tol: float) -> None:
    """The convex-concave procedure from several starts."""
    for k, start in enumerate(starts):
        if search.gap <= tol or not search.keep_going():
            return
        # A small weight makes long steps, which skip poor maxima; a large one stays near the start. Both are needed.
        search.offer(convex_concave(start, search, weight=(0.2, 1.0)[k % 2]))


def _starts(direction: Array, relaxed: Array, rng: np.random.Generator) -> Iterator[Array]:
    """The relaxed solution and ``a``; by turns the largest entries of ``a``, each alone, and random points."""
    yield from (relaxed, direction) if np.any(relaxed) else (direction,)
    for count, entry in enumerate(np.argsort(-np.abs(direction), axis=None)):
        unit = np.zeros(direction.size)
        unit[entry] = 1.0 if direction.flat[entry] >= 0 else -1.0
        yield unit.reshape(direction.shape)
        if count < 8:
            yield rng.standard_normal(direction.shape)
    while True:
        yield rng.standard_normal(direction.shape)


def convex_concave(start: Array, search: Search, weight: float, max_steps: int = 100) -> Array:
    """Local maximizer of ``⟨a, z⟩ + τ ‖z‖`` over the convex set, with ``τ`` large enough for norm one.

    Each step maximizes ``⟨a + τ z_k / ‖z_k‖, z⟩``, so that no step decreases that function: the norm is convex and lies
    above its tangent planes. ``τ`` starts at ``weight`` and is doubled where the iterates settle inside the ball.
    """
    z, moved = start / np.linalg.norm(start), np.inf
    for _ in range(max_steps):
        if moved < 1e-6 or not search.keep_going():
            break
        unit = z / np.linalg.norm(z)
        after, _ = sdp.ball_maximizer(search.direction + weight * unit, search.geometry, search.level)
        if not np.any(after):
            break
        moved, z = float(np.linalg.norm(after - z)), after
        if moved < 1e-3 and np.linalg.norm(z) < _ON_SPHERE and weight < 1e3:
            weight, moved = 2 * weight, np.inf
    return z


# -- exact feasibility ------------------------------------------------------------------------------------------


def polish(z: Array, direction: Array, geometry: Geometry, level: float) -> Array:
    """A unit kernel of gain ``c`` near a point that almost is one.

    Newton's method on the active constraints, for three opinions on what is active; failing these, and for points far
    from the set, a walk along a great circle: towards ``a`` if the gain is too low, else towards a delta kernel.
    """
    z = z / np.linalg.norm(z)
    for tolerance in (1e-6, 1e-5, 1e-4):
        corrected = _onto_active(z, geometry, level, tolerance)
        if abs(spectrum.gain(corrected, geometry) / level - 1) <= _GAIN_TOLERANCE:
            return corrected
    excess = float(spectrum.gain(z, geometry)) / level - 1
    end = direction if excess < 0 else atoms.nearest_delta(z, geometry)
    sign = 1.0 if excess < 0 else -1.0
    across = end - np.sum(end * z) * z
    length = float(np.linalg.norm(across))
    if length == 0:
        return z
    angle = float(np.arctan2(length, np.sum(end * z)))

    def point(t: float) -> Array:
        w = np.cos(t * angle) * z + np.sin(t * angle) * across / length
        return w / np.linalg.norm(w)

    def violation(t: float) -> float:
        return sign * (float(spectrum.gain(point(t), geometry)) / level - 1)

    return point(bracketed_root(violation, 0.0, 1.0, 0.1 * _GAIN_TOLERANCE))


def _onto_active(z: Array, geometry: Geometry, level: float, tolerance: float) -> Array:
    """Least corrections that bring the largest singular values to ``√c`` and the norm to one; a few Newton steps."""
    _, sizes, _ = spectrum.singular_vectors(spectrum.symbol(z, geometry))
    counts = np.sum(sizes**2 >= level * (1 - tolerance), axis=1)
    if not np.any(counts) or np.sum(counts**2) * z.size > _NEWTON_ENTRIES:
        return z
    for _ in range(6):
        u, sizes, vh = spectrum.singular_vectors(spectrum.symbol(z, geometry))
        rows, missing = [z.ravel()], [0.5 * (1 - float(np.sum(z * z)))]
        for block in np.flatnonzero(counts):
            k = counts[block]
            for i, j, factor in _hermitian_entries(k):
                matrices = np.zeros((geometry.n_blocks, *geometry.block_shape), complex)
                matrices[block] = factor * np.outer(u[block, :, i], vh[block, j])
                matrices[block] += np.conj(factor) * np.outer(u[block, :, j], vh[block, i])
                rows.append(0.5 * spectrum.adjoint(matrices, geometry).ravel())
                missing.append(np.sqrt(level) - sizes[block, i] if i == j else 0.0)
        correction = np.linalg.lstsq(np.stack(rows), np.array(missing), rcond=1e-10)[0]
        if np.linalg.norm(correction) > 0.5:  # the point is too far from the set for Newton's method
            break
        z = z + correction.reshape(z.shape)
        if np.linalg.norm(correction) < 1e-15:
            break
    return z / np.linalg.norm(z)


def _hermitian_entries(k: int) -> list[tuple[int, int, complex]]:
    """Entries that make up a Hermitian ``k × k`` matrix: all must stay where they are if its eigenvalues shall."""
    entries: list[tuple[int, int, complex]] = [(i, i, 1.0) for i in range(k)]
    return entries + [(i, j, factor) for i in range(k) for j in range(i) for factor in (1.0, 1j)]


# -- branch and bound -------------------------------------------------------------------------------------------


@dataclass
class _Leaf:
    """A region: half-spaces, and the best multipliers known for it, its own or its parent's."""

    slopes: Array
    offsets: Array
    theta: NDArray
    pairs: NDArray
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

    def arrays(self) -> dict[str, NDArray]:
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
    _, theta, weights, moments = sdp.region_dual(a, geometry, level, forms, floor=search.value - 0.05)
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
