"""The best point and the best certificate of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import ball
from srnc_manifold.exact.increase.feasibility import polish
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry


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
    arrays: dict[str, NDArray[Any]]
    how: str
    n_regions: int = 0


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
        self.arrays: dict[str, NDArray[Any]] = {}

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

    def certify(self, kind: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Keep a certificate if its bound is lower."""
        bound = ball.certified_bound(kind, arrays, self.direction, self.geometry, self.level)
        if bound < self.bound:
            self.kind, self.arrays, self.bound = kind, arrays, bound

    def outcome(self, how: str, n_regions: int = 0) -> RaiseOutcome:
        return RaiseOutcome(self.z, self.value, self.bound, self.kind, self.arrays, how, n_regions)
