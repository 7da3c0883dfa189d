"""What a convolution is: shapes, the symbol, norms, atoms, feature maps."""

from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.brackets import NormBracket
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.dense import Dense
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.operators.measures import (
    frobenius_norm,
    norm_bracket,
    singular_values,
    spectral_norm,
    spectral_norms,
    stable_rank,
    stable_ranks,
)
from srnc_manifold.operators.padded import Padded

__all__ = [
    "Circular",
    "Dense",
    "Geometry",
    "NormBracket",
    "Operator",
    "Padded",
    "frobenius_norm",
    "norm_bracket",
    "singular_values",
    "spectral_norm",
    "spectral_norms",
    "stable_rank",
    "stable_ranks",
]
