"""What the searches over frequencies return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.numerics import Array

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
    owners : integer array of NumPy, shape ``(R,)``
        To which vector each row of the certificate belongs.
    certificate : CapsCertificate
        What proves the bounds.
    """

    points: Any
    squared_distances: Any
    bounds: Any
    owners: NDArray[Any]
    certificate: CapsCertificate


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
    certificate: CapsCertificate
    closed_by: str
    runner_up: float
    blocks: list[int]


def distinct(points: list[Array], distance: float) -> list[Array]:
    distinct: list[Array] = []
    for z in points:
        if all(np.linalg.norm(z - other) > 1e-6 * distance for other in distinct):
            distinct.append(z)
    return distinct
