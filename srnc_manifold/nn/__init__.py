"""Layers of PyTorch: stable rank normalization in training (docs/theory.md, section 17)."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("srnc_manifold.nn needs PyTorch, pip install 'srnc-manifold[torch]'") from error

from srnc_manifold.nn.normalize import normalize_
from srnc_manifold.nn.parametrization import certify, stable_rank_norm

__all__ = ["certify", "normalize_", "stable_rank_norm"]
