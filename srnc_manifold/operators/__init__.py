"""What a convolution is: shapes, the symbol, norms, atoms, feature maps."""

from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.dense import Dense
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.operators.measures import (
    frobenius_norm,
    singular_values,
    spectral_norm,
    spectral_norms,
    stable_rank,
    stable_ranks,
)

__all__ = [
    "Circular",
    "Dense",
    "Geometry",
    "Operator",
    "frobenius_norm",
    "singular_values",
    "spectral_norm",
    "spectral_norms",
    "stable_rank",
    "stable_ranks",
]
