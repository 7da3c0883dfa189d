"""Reduce regime of layers that are not block-circulant: lower bounds on ``‖z − a‖²`` (docs/theory.md, section 17)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.atoms import Level
from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.geometry import Weighted

#: ``"norm"`` is the Lemma with the norm of the layer; ``"supremum"`` the caps of a circular layer that contains it, on
#: inputs of the size ``input_size``.
KINDS = ("norm", "supremum")

# Relative rounding errors of a squared distance, and of a height, that are not those of a symbol.
_DISTANCE, _HEIGHT = 1e-12, 2.0**-40


def squared_distance(
    kind: str, arrays: Mapping[str, NDArray[Any]], direction: Array, operator: Operator, level: Level
) -> float:
    """What a certificate of one of the :data:`KINDS` proves, evaluated in plain NumPy."""
    if kind == "norm":
        return lemma(direction, operator, level)
    arrays = dict(arrays)
    relaxation = operator.relaxation(tuple(int(n) for n in arrays.pop("input_size", ())))
    if relaxation is None or not relaxation.proves:
        raise ValueError(f"the feasible set of {operator!r} is not contained in that of a circular layer")
    geometry = relaxation.geometry
    if gain(direction, geometry) >= relaxation.level(level.value):
        return 0.0
    own = CapsCertificate(**arrays).squared_distance(
        direction.reshape(geometry.kernel_shape), geometry, relaxation.level(level.value)
    )
    return own if np.isfinite(own) else 0.0


def gain(direction: Array, geometry: Weighted) -> float:
    """The largest squared norm in the symbol of a unit vector, rounded up."""
    from srnc_manifold.operators import norms

    found = norms.gain(direction.reshape(geometry.kernel_shape), geometry)
    return float(caps.safe_heights(np.sqrt(found), geometry)) ** 2


def lemma(direction: Array, operator: Operator, level: Level) -> float:
    """The Lemma with a proved bound on the norm of the direction, and one on all ``γ²`` (proposition 5)."""
    height = operator.norm_bracket(direction).upper * (1 + _HEIGHT)
    top = operator.gram_weight / operator.stable_rank_range[0] * (1 + _HEIGHT)
    if height**2 >= level.value or top <= level.value:
        return 0.0
    return float(atoms.squared_distance(np.float64(height), np.float64(top), level)) * (1 - _DISTANCE)
