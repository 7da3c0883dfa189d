"""What proves a lower bound on the objective: recomputed in plain NumPy, without the solver that found it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.certificates import ball, caps
from srnc_manifold.numerics import Array
from srnc_manifold.operators.atoms import Level, as_level
from srnc_manifold.operators.geometry import Geometry

# Of the radius beside those of the spectral norm, and of the sums of squares that a bound is multiplied with.
_RADIUS, _SQUARES = 2.0**-49, 2.0**-46


def squared_distance(
    kind: str, arrays: Mapping[str, NDArray], direction: Array, geometry: Geometry, level: Level | float
) -> float:
    """Least ``‖z − a‖²`` that a certificate leaves possible for the unit kernels of a problem.

    Parameters
    ----------
    kind : str
        ``"caps"`` (reduce regime), ``"ball"``, ``"sphere"`` or ``"branched"`` (raise regime), or ``"trivial"``: zero.
    arrays : dict of arrays
        The arguments of that kind, see :mod:`srnc_manifold.certificates.caps` and ``ball``.
    direction, geometry, level
        ``a / ‖a‖``, where it lives, and ``c``.

    Raises
    ------
    ValueError
        If the kind is not known.
    """
    if kind == "trivial":
        return 0.0
    if kind == "caps":
        return caps.CapsCertificate(**arrays).squared_distance(direction, geometry, level)
    # The bounds of this kind are raised above what the rounding of the level could change.
    value = float(as_level(level).value)
    return max(0.0, 2.0 - 2.0 * ball.certified_bound(kind, arrays, direction, geometry, value))


def relative_objective(
    radius: Any, squared_distance: Any, level: Any, geometry: Geometry, xp: Namespace = NUMPY
) -> Any:
    """Lower bound on ``‖C(x) − C(a)‖_F² / ‖C(a)‖_F²``, rounded down, from one on ``‖z − a‖²``.

    It is ``(s − 1)² + s ‖z − a‖²`` for kernels of norm ``s ‖a‖`` (docs/theory.md, section 2).

    Parameters
    ----------
    radius : array
        ``s = ρ / ‖a‖`` as computed: as inexact as the spectral norm of ``a``, which is allowed for.
    squared_distance : array
        Of unit kernels: the bound.
    level : array
        ``c``.
    """
    height = radius * level**0.5
    error = radius * ((caps.safe_heights(height, geometry) - height) / height + _RADIUS)
    apart = xp.abs(radius - 1.0) - error
    apart = xp.where(apart > 0, apart, 0.0)
    return (apart**2 + (radius - error) * squared_distance) * (1 - _SQUARES)
