"""Regions of the sphere: the leaves of a binary tree of half-spaces (docs/theory.md, proposition 15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates.repair import ROUNDING
from srnc_manifold.numerics import Array


def leaves(
    normals: NDArray[Any], thresholds: NDArray[Any], children: NDArray[Any]
) -> Iterator[tuple[int, Array, Array]]:
    """The numbers of the leaves, each with slopes and offsets of the functions ``h`` of its path, in order.

    Split ``k`` divides its region into ``⟨d_k, z⟩ <= t_k`` and ``⟨d_k, z⟩ >= t_k``, so the leaves cover the sphere for
    any values of ``d_k`` and ``t_k``. Every split on the path to a leaf gives two functions that are nonnegative on the
    part of the sphere that belongs to this leaf: ``h_{2i} = ±(t − ⟨d, z⟩)`` and ``h_{2i+1} = 1 ± ⟨d, z⟩``.

    Parameters
    ----------
    normals : array, shape ``(n_splits, Q)``
        ``d``. It is scaled to norm one.
    thresholds : array, shape ``(n_splits,)``
        ``t``.
    children : int array, shape ``(n_splits, 2)``
        For each of the two sides, the number of a later split, or ``−1 − leaf``. Split 0 is the root. If there are no
        splits, leaf 0 is the root.

    Raises
    ------
    ValueError
        If a split leads to an earlier one, or if its numbers are not finite.
    """
    size = normals.shape[1]
    open_nodes = [(0 if len(thresholds) else -1, np.zeros((0, size)), np.zeros(0))]
    while open_nodes:
        node, slopes, offsets = open_nodes.pop()
        if node < 0:
            yield -1 - node, slopes, offsets
            continue
        for side, child in zip((1.0, -1.0), children[node], strict=True):
            if 0 <= child <= node:
                raise ValueError(f"children: split {node} leads to split {child}, expected a later one")
            slope, offset = half_spaces(normals[node], float(thresholds[node]), side)
            path = np.concatenate([slopes, slope]), np.concatenate([offsets, offset])
            open_nodes.append((int(child), *path))


def half_spaces(normal: Array, threshold: float, side: float) -> tuple[Array, Array]:
    """Slopes and offsets of the two functions ``h = offset + ⟨slope, z⟩`` for one side of a split.

    The first one is nonnegative on this side, the second one for every unit ``z``.
    """
    if not (np.all(np.isfinite(normal)) and np.isfinite(threshold)):
        raise ValueError(f"split: normal {normal} and threshold {threshold} given, expected finite numbers")
    normal = normal / max(float(np.linalg.norm(normal)) * (1 + ROUNDING), 1e-300)
    return np.stack([-side * normal, side * normal]), np.array([side * threshold, 1.0])
