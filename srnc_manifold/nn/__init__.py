"""Layers and models of PyTorch: stable rank normalization in training, measures (docs/theory.md, sections 17 and 18)."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("srnc_manifold.nn needs PyTorch, pip install 'srnc-manifold[torch]'") from error

from srnc_manifold.nn.jacobian import JacobianNorm, jacobian_norm
from srnc_manifold.nn.measures import operator_norm, singular_values, stable_rank
from srnc_manifold.nn.parametrization import certify, stable_rank_norm
from srnc_manifold.nn.report import Report, report
from srnc_manifold.nn.whole_model import normalize_

__all__ = [
    "JacobianNorm",
    "Report",
    "certify",
    "jacobian_norm",
    "normalize_",
    "operator_norm",
    "report",
    "singular_values",
    "stable_rank",
    "stable_rank_norm",
]
