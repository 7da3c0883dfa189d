"""Singular pairs in torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Singular pairs of an operator, in some of its blocks.

    Attributes
    ----------
    blocks : integer tensor, shape ``(R,)``
    u, v : tensors, shapes ``(R, *shape of a left vector)`` and ``(R, *shape of a right one)``
        Unit vectors.
    """

    blocks: Tensor
    u: Tensor
    v: Tensor


def normalized(vectors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors, or the others where a vector is zero; and their lengths."""
    sizes = torch.linalg.vector_norm(vectors.flatten(1), dim=1)
    positive = (sizes > 0).reshape(-1, *[1] * (vectors.ndim - 1))
    return torch.where(positive, vectors / torch.where(positive, sizes.reshape(positive.shape), 1.0), others), sizes
