"""What proves a lower bound on the objective: recomputed in plain NumPy, without the solver that found it."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import NDArray

from srnc_manifold.certificates import ball, caps
from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array


def squared_distance(
    kind: str, arrays: Mapping[str, NDArray], direction: Array, geometry: Geometry, level: float
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
    return max(0.0, 2.0 - 2.0 * ball.certified_bound(kind, arrays, direction, geometry, level))
