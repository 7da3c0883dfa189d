"""What is measured of every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

import srnc_manifold as srnc


def measured(weight: Tensor, size: tuple[int, ...]) -> dict[str, float]:
    """Norm, stable rank and Frobenius norm of the operator of a circular layer, or of a matrix."""
    kernel = weight.detach().double().numpy()
    norm, rank = float(srnc.spectral_norm(kernel, size)), float(srnc.stable_rank(kernel, size))
    return {"norm": norm, "stable_rank": rank, "frobenius": norm * math.sqrt(rank)}


def errors_of(found: Sequence[Mapping[str, float]], wanted: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Largest relative errors over some layers, of what was asked: the norm, and a stable rank above its target."""
    norms = [abs(f["norm"] / w["norm"] - 1) for f, w in zip(found, wanted, strict=True) if "norm" in w]
    ranks = [f["stable_rank"] / w["stable_rank"] - 1 for f, w in zip(found, wanted, strict=True) if "stable_rank" in w]
    errors = {"norm_error": max(norms)} if norms else {}
    return errors | ({"stable_rank_error": max(ranks)} if ranks else {})
