"""Reduce regime of any operator: alternation between singular pairs and points (docs/theory.md, section 17).

A layer that is not block-circulant has no blocks to search one after the other. What is left of the explicit solution
is that the best point of the cap of one pair of feature maps is known, and that the top pair there has a better cap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import layers
from srnc_manifold.exact.reduce.effort import Effort
from srnc_manifold.exact.reduce.nearest import nearest_to_one
from srnc_manifold.exact.reduce.points import Single
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.base import DominantAtom, Operator

# Relative difference of a norm and its target that counts as none: a few hundred roundings.
_EXACT = 1e-13

# Steps from every start, starts that are followed to the end, steps until there, and in search of a longer atom.
_FIRST, _FOLLOWED, _STEPS, _LIFTS = 8, 3, 2000, 300

# Singular pairs to start from, frequencies among which others are sought, and the size of an operator from which on
# there are fewer of these and of random ones.
_PAIRS, _FREQUENCIES, _SMALL = 4, 64, 2.0**21

# Squared distances that differ by less, relatively, belong to one point.
_SAME = 1e-9


@dataclass(frozen=True)
class Reached:
    """Where an alternation is.

    Attributes
    ----------
    z : array
        A unit vector, the nearest one in the cap of the atom.
    atom : DominantAtom
    squared_distance : float
        To the direction.
    excess : float
        By how much the norm at ``z`` exceeds its target, relatively; infinite if it was not computed.
    """

    z: Array
    atom: DominantAtom
    squared_distance: float
    excess: float


class Alternation:
    """Unit vectors near a direction in the caps of an operator's atoms.

    Parameters
    ----------
    operator : Operator
    direction : array
        A unit vector, in the operator's coordinates.
    target : float
        ``√c``: the norm that unit vectors are to have.
    keep_going : callable
        Whether there may be another step.
    notify : callable
        Shown each better point, when its norm is right.
    tolerance : float
        Relative difference of a norm and its target at which it is right.

    Attributes
    ----------
    longest : float
        The largest ``γ`` met.
    steps : int
        Singular pairs computed.
    """

    def __init__(
        self,
        operator: Operator,
        direction: Array,
        target: float,
        keep_going: Callable[[], bool],
        notify: Callable[[Array, float], None],
        tolerance: float = _EXACT,
    ) -> None:
        self.operator, self.direction, self.target = operator, direction, target
        self.keep_going, self.notify, self.tolerance = keep_going, notify, tolerance
        self.longest, self.steps = 0.0, 0

    def search(self, starts: Iterable[DominantAtom]) -> Reached | None:
        """The best point that is reached from several atoms; None if all their caps are empty."""
        reached: list[Reached] = []
        for start in starts:
            if reached and not self.keep_going():
                break
            atom = self.lifted(start)
            if atom is not None:
                reached.append(self._alternate(atom, _FIRST))
        best: Reached | None = None
        for one in self._apart(reached)[:_FOLLOWED]:
            if best is not None and not self.keep_going():
                break
            end = self._followed(one)
            if best is None or end.squared_distance < best.squared_distance:
                best = end
                self.notify(end.z, end.squared_distance)
        return best

    def _apart(self, reached: list[Reached]) -> list[Reached]:
        """In order, without those that are where another one is."""
        ordered = sorted(reached, key=lambda one: one.squared_distance)
        return [
            one
            for k, one in enumerate(ordered)
            if not k or one.squared_distance > ordered[k - 1].squared_distance * (1 + _SAME)
        ]

    def _followed(self, reached: Reached) -> Reached:
        """To the end: until no random start finds a pair that is above the target at the point itself."""
        for seed in range(1, _STEPS):
            reached = self._alternate(reached.atom, _STEPS)
            if not self.keep_going():
                break
            # The pair may be the top one of an invariant subspace only, in which the steps would stay for ever.
            top = self._top(reached.z, seed)
            if np.sum(top.tensor * reached.z) <= self.target * (1 + 10 * self.tolerance):
                break
            reached = Reached(reached.z, top, reached.squared_distance, math.inf)
        return reached

    def _alternate(self, atom: DominantAtom, steps: int) -> Reached:
        """Steps until the norm is right: each to the nearest point of the cap of the top pair of the last one."""
        z, excess = self._nearest(atom), math.inf
        for _ in range(steps):
            top = self._top(z, near=atom)
            excess = float(np.sum(top.tensor * z)) / self.target - 1
            if excess <= self.tolerance or not self.keep_going():
                break
            atom, z = top, self._nearest(top)
        return Reached(z, atom, float(np.sum((z - self.direction) ** 2)), excess)

    def _top(self, z: Array, seed: int = 0, near: DominantAtom | None = None) -> DominantAtom:
        self.steps += 1
        return self.operator.dominant_atoms(z, 1, seed, None if near is None else near.start)[0]

    def _nearest(self, atom: DominantAtom) -> Array:
        # A cap that is a point, but for rounding, is not empty.
        level = min(self.target, float(np.linalg.norm(atom.tensor)))
        return atoms.nearest_in_cap(self.direction, atom.tensor, level)

    def lifted(self, atom: DominantAtom) -> DominantAtom | None:
        """An atom whose cap is not empty, from one that may be too short; None if the way there ends below."""
        for _ in range(_LIFTS):
            size = float(np.linalg.norm(atom.tensor))
            self.longest = max(self.longest, size)
            if size >= self.target * (1 - _EXACT):
                return atom
            # Of a unit kernel that is an atom, the top pair has an atom that is not shorter.
            following = self._top(atom.tensor / size, near=atom)
            if float(np.linalg.norm(following.tensor)) <= size * (1 + 1e-9):
                return None
            atom = following
        return None


@dataclass(frozen=True)
class Relaxed:
    """The problem of a circular layer that is like the one at hand.

    Attributes
    ----------
    single : Single
    input_size : tuple of int
        Of the circular layer.
    proves : bool
        Whether no point of the layer is nearer than its bound.
    """

    single: Single
    input_size: tuple[int, ...]
    proves: bool

    def certificate(self) -> dict[str, NDArray[Any]] | None:
        """What proves its bound for the layer; None if it does not."""
        return {**self.single.certificate.arrays(), "input_size": np.array(self.input_size)} if self.proves else None


def relaxed(operator: Operator, direction: Array, level: float, effort: Effort, closing: float) -> Relaxed | None:
    """Solve the circular problem that is like that of a layer; None if it has no solution, or a trivial one."""
    relaxation = operator.relaxation()
    if relaxation is None:
        return None
    geometry = relaxation.geometry
    own, top = layers.gain(direction, geometry), float(np.max(atoms.frame(geometry).top))
    for proves in (True, False):
        target = relaxation.level(level) if proves else level
        if proves <= relaxation.proves and own < target < top:
            start = direction.reshape(geometry.kernel_shape)
            single = nearest_to_one(start, target, geometry, effort=effort, closing=closing)
            return Relaxed(single, geometry.input_size, proves)
    return None


def starts(
    operator: Operator, direction: Array, like: Relaxed | None, target: float, effort: float
) -> Iterator[DominantAtom]:
    """Atoms to begin with.

    Those of the largest singular pairs, which often have about one frequency only; of the circular problem's solutions;
    of the nearest points of other frequencies; and random ones.
    """
    yield from operator.dominant_atoms(direction, _PAIRS)
    entries = float(np.prod(operator.input_shape)) * float(np.prod(operator.output_shape))
    most = int(max(_PAIRS // 2, min(3 * _PAIRS, _SMALL // entries)) * effort)
    points = [] if like is None else list(like.single.points[:_PAIRS])
    points += frequency_points(operator, direction, target)[:most]
    for seed in range(most):
        random = np.random.default_rng(seed).standard_normal(operator.kernel_shape)
        points.append(operator.coordinates(operator.kernel(random)))
    for point in points:
        yield operator.dominant_atoms(np.reshape(point, operator.kernel_shape), 1)[0]


def frequency_points(operator: Operator, direction: Array, target: float) -> list[Array]:
    """Of some frequencies of a circular layer that is like the operator the point of its best atom, nearest first.

    A frequency is to the circular problem what an invariant subspace is to alternation: it does not leave it.
    """
    relaxation = operator.relaxation()
    if relaxation is None:
        return []
    geometry = relaxation.geometry
    start = direction.reshape(geometry.kernel_shape)
    chosen = np.random.default_rng(0).permutation(geometry.n_blocks)[:_FREQUENCIES]
    found: list[tuple[float, float, Array]] = []
    for block in chosen:
        tensor = atoms.top_atom(start, geometry, int(block)).tensor
        size = float(np.linalg.norm(tensor))
        # Without a point that is nearest: an atom that is zero, or parallel to the direction.
        if float(np.linalg.norm(tensor - np.sum(tensor * start) * start)) <= 1e-9 * size:
            continue
        # Of caps that are empty the points that are nearest to them.
        point = atoms.nearest_in_cap(start, tensor, min(target, size))
        found.append((max(target - size, 0.0), float(np.sum((point - start) ** 2)), point))
    return [point for _, _, point in sorted(found, key=lambda one: one[:2])]


def stationarity(operator: Operator, y: Array, anchor: Array) -> float:
    """Norm of the part of ``y − anchor`` that is no combination of ``y`` and its dominant atom, relative."""
    gradient = (y - anchor).ravel()
    size = float(np.linalg.norm(gradient))
    if size == 0.0:
        return 0.0
    normals, _ = np.linalg.qr(np.column_stack([y.ravel(), np.ravel(operator.dominant_atom(y))]))
    return float(np.linalg.norm(gradient - normals @ (normals.T @ gradient))) / size
