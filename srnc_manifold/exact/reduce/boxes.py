"""Parts of the atoms of a block, each with its own bound (docs/theory.md, proposition 26)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.boxes import box_bounds
from srnc_manifold.exact.reduce.alternation import Blocks
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry

# Difference of two values of p that are the same but for rounding.
_SAME = 1e-9

# Largest number of rows and columns together. Up to it, a cone program takes a small part of a second.
SIDES = 16


@dataclass(order=True)
class _Box:
    """Atoms with ``p`` between two ends, and the multipliers of their bound."""

    bound: float
    ends: tuple[float, float]
    shift: NDArray[Any] = field(compare=False)
    numbers: Array = field(compare=False)


def split(
    block: Blocks, index: int, geometry: Geometry, w: NDArray[Any], squared_distance: float, goal: float
) -> Iterator[tuple[float, NDArray[Any], Array]]:
    """Better and better bounds on the squared distance of one block: the box of the least bound is halved, and so on.

    Parameters
    ----------
    block : Blocks of length 1
    index : int
        Its place in the symbol.
    w : complex array, shape ``(1, *block_shape)``
        The best atom known in the block, which stands still.
    squared_distance : float
        That of the best kernel known.
    goal : float
        Bound after which none is needed.

    Yields
    ------
    bound : float
    shifts : complex array, shape ``(boxes, *block_shape)``
    numbers : array, shape ``(boxes, 7)``
    """
    boxes_of = _Boxes(block, index, geometry, w, squared_distance)
    heap = [boxes_of.box((0.0, 1.0))]
    while True:
        yield heap[0].bound, np.stack([box.shift for box in heap]), np.stack([box.numbers for box in heap])
        if heap[0].bound >= goal:
            return
        parent = heapq.heappop(heap)
        middle = 0.5 * sum(parent.ends)
        for ends in ((parent.ends[0], middle), (middle, parent.ends[1])):
            # The parent's multipliers may be as good for a part.
            box = max(boxes_of.box(ends), boxes_of.bounded(parent.shift, parent.numbers, ends))
            heapq.heappush(heap, box)


class _Boxes:
    """The boxes of one block; parameters as :func:`split`."""

    def __init__(self, block: Blocks, index: int, geometry: Geometry, w: NDArray[Any], squared_distance: float) -> None:
        self.block, self.index, self.geometry = block, np.array([index]), geometry
        self.upper, self.lower = block.upper[0], block.lower[0]
        self.spread = atoms.spread_of(self.upper, self.lower)
        _, sine = caps.angle(np.array(squared_distance), NUMPY)
        room = float(block.sizes(w).rooms[0])
        self.kappa = float(sine) / max(room, 1e-12) ** 0.5
        # The vectors of the atom, turned so that uᵀu is p.
        u, sizes, vh = np.linalg.svd(w[0])
        turn = np.exp(-0.5j * np.angle(np.sum(u[:, 0].conj() ** 2)))
        self.u, self.v = u[:, 0].conj() * turn, vh[0] * sizes[0] * turn

    def box(self, ends: tuple[float, float]) -> _Box:
        """The best bound on the atoms between two ends."""
        from srnc_manifold.bounds.cone_programs.boxes import box_multipliers  # brings cvxpy, which is slow to import

        args = self.upper + self.lower, self.spread, self.kappa, ends
        shift, numbers = box_multipliers(self.block.matrices[0], *args)
        box = self.bounded(shift, numbers, ends)
        p = abs(np.sum(self.u**2))
        if min(abs(p - end) for end in ends) < _SAME and numbers[0] > 0:
            box = max(box, self.bounded(*self._polished(numbers), ends))
        return box

    def bounded(self, shift: NDArray[Any], numbers: Array, ends: tuple[float, float]) -> _Box:
        """The bound of given multipliers between two ends."""
        numbers = np.array(numbers)
        numbers[1:3] = ends
        levels = caps.repeated(self.block.level, 1)
        bound = box_bounds(self.block.matrices, self.index, shift[None], self.geometry, levels, numbers[None])
        return _Box(float(bound[0]), ends, shift, numbers)

    def _polished(self, numbers: Array) -> tuple[NDArray[Any], Array]:
        """The multipliers near given ones for which the atom itself is stationary, to all digits.

        They satisfy ``T = tS∘Im w`` and ``MX = B_T Y``. Where the atom is real, ``μ₂`` is free.
        """
        t, u, v = numbers[3], self.u, self.v
        shift = 1j * t * self.spread * np.imag(np.outer(u.conj(), v))
        image = (self.block.matrices[0] + shift) @ v
        numbers = np.array(numbers)
        numbers[4] = u.real @ image.real / (u.real @ u.real)
        if u.imag @ u.imag > _SAME:
            numbers[5] = u.imag @ image.imag / (u.imag @ u.imag)
        numbers[6] = u.real @ image.imag / (u.real @ u.real)
        return shift, numbers
