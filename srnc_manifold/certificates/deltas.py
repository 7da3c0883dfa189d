"""At the largest stable rank only delta kernels are feasible (docs/theory.md, proposition 15b)."""

from __future__ import annotations

import numpy as np

from srnc_manifold.certificates.repair import ROUNDING
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry


def deltas_bound(direction: Array, geometry: Geometry, level: float) -> float:
    """``max_j |a_j|`` where the feasible unit kernels are ``±e_j``, else the trivial bound ``‖a‖``."""
    if are_feasible_alone(geometry, level):
        return float(np.max(np.abs(direction)))
    return float(np.linalg.norm(direction)) * (1 + ROUNDING)


def are_feasible_alone(geometry: Geometry, level: float) -> bool:
    """Whether the feasible unit kernels are ``±e_j``."""
    return level <= 1 and only_deltas(geometry)


def only_deltas(geometry: Geometry) -> bool:
    """Whether a single-channel kernel with singular values that are all the same has one tap that is not zero.

    It has if there is one phase, and different differences of two taps are different modulo the grid.
    """
    if geometry.channels != (1, 1) or geometry.groups != 1 or geometry.n_phases != 1:
        return False
    offsets = geometry.axis_offsets.T
    differences = np.unique((offsets[:, None] - offsets).reshape(len(offsets) ** 2, -1), axis=0)
    return len(np.unique(differences % np.array(geometry.grid, np.int64), axis=0)) == len(differences)
