"""Certificates of lower bounds on the objective. A bound is recomputed in plain NumPy, without the solver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.certificates import ball, caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.numerics import Array
from srnc_manifold.operators.atoms import Level, as_level
from srnc_manifold.operators.geometry import Geometry

__all__ = [
    "VERSIONS",
    "CapsCertificate",
    "ball",
    "caps",
    "least_objective",
    "relative_objective",
    "squared_distance",
    "upper_level",
]

#: Kinds of certificates and the newest form of each that is known here. ``"caps"`` 2 has ``parameters``.
VERSIONS = {
    "sum": 1,
    "trivial": 1,
    "caps": 2,
    "ball": 1,
    "sphere": 1,
    "branched": 1,
    "moments": 1,
    "deltas": 1,
    "norm": 1,
    "supremum": 1,
}

# Relative rounding errors: of the radius (in addition to those of the spectral norm), and of the sums of squares that
# the bound is multiplied with.
_RADIUS, _SQUARES = 2.0**-49, 2.0**-46


def squared_distance(
    kind: str, arrays: Mapping[str, NDArray[Any]], direction: Array, geometry: Geometry, level: Level | float
) -> float:
    """Lower bound on ``‖z − a‖²`` over the feasible unit kernels of a problem, from a certificate.

    Parameters
    ----------
    kind : str
        ``"caps"`` (reduce regime), ``"ball"``, ``"sphere"``, ``"branched"``, ``"moments"`` or ``"deltas"`` (raise
        regime), or ``"trivial"``, which gives zero.
    arrays : dict of arrays
        The arguments for this kind; see :mod:`srnc_manifold.certificates.caps`, ``ball``, ``moments`` and ``deltas``.
    direction, geometry, level
        ``a / ‖a‖``, its geometry, and ``c``.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind == "trivial":
        return 0.0
    if kind == "caps":
        return CapsCertificate(**arrays).squared_distance(direction, geometry, level)
    upper = upper_level(level)
    return max(0.0, 2.0 - 2.0 * ball.certified_bound(kind, arrays, direction, geometry, upper))


def upper_level(level: Level | float) -> float:
    """The least double that is not below ``c``: at the largest stable rank an ulp more makes another problem."""
    level = as_level(level)
    return float(level.value) if level.rest <= 0 else float(np.nextafter(level.value, np.inf))


def relative_objective(
    radius: Any, squared_distance: Any, level: Any, geometry: Geometry, xp: Namespace = NUMPY
) -> Any:
    """Lower bound on ``‖C(x) − C(a)‖_F² / ‖C(a)‖_F²``, rounded down, from a lower bound on ``‖z − a‖²``.

    For kernels of norm ``s ‖a‖`` it is ``(s − 1)² + s ‖z − a‖²`` (docs/theory.md, section 2).

    Parameters
    ----------
    radius : array
        ``s = ρ / ‖a‖`` as computed. Its error, which comes from the spectral norm of ``a``, is taken into account.
    squared_distance : array
        The lower bound on ``‖z − a‖²`` for unit kernels.
    level : array
        ``c``.
    """
    height = radius * level**0.5
    error = radius * ((caps.safe_heights(height, geometry) - height) / height + _RADIUS)
    return least_objective(radius, squared_distance, error, xp)


def least_objective(radius: Any, squared_distance: Any, error: Any, xp: Namespace = NUMPY) -> Any:
    """:func:`relative_objective` of a radius with a known error."""
    apart = xp.abs(radius - 1.0) - error
    apart = xp.where(apart > 0, apart, 0.0)
    return (apart**2 + (radius - error) * squared_distance) * (1 - _SQUARES)
