"""Blocks with one row or column: their squared norms from the autocorrelation of the taps, for many kernels at once.

Summed over the entries of a block, ``|Σ_j x_j f_l(j)|²`` is a trigonometric polynomial: ``Σ_m R_m cos(turn of lag m at
l)``, where ``R_m`` is the sum of the products of all pairs of taps with the lag ``m``. So the squared norms of many
kernels at all frequencies are one real matrix product. They have the accuracy of the largest of them, not of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import Namespace
from srnc_manifold.operators import grids
from srnc_manifold.operators.geometry import Geometry


@dataclass(frozen=True)
class Lags:
    """Pairs of taps of one phase by their lag, and what a lag contributes.

    Attributes
    ----------
    first, second : integer arrays, shape ``(n_pairs,)``
        Taps.
    members : array, shape ``(n_pairs, n_lags)``
        1 where a pair has a lag, 2 where the pair turned round has it, too; times the scales of its taps.
    cosines : array, shape ``(n_lags, L)``
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    members: NDArray[np.float64]
    cosines: NDArray[np.float64]


@lru_cache(maxsize=16)
def lags(geometry: Geometry) -> Lags:
    """The lags of a geometry."""
    first, second = np.triu_indices(geometry.n_taps)
    same = geometry.phase_of_tap[first] == geometry.phase_of_tap[second]
    first, second = first[same], second[same]
    phases = grids.phases(geometry.taps, geometry.grid, geometry.stride, geometry.dilation)
    products = phases[:, first] * phases[:, second].conj()  # (L, n_pairs)
    grid = np.array(geometry.grid, dtype=np.int64)
    offsets = (geometry.axis_offsets[:, first] - geometry.axis_offsets[:, second]).T % grid
    turned = -offsets % grid
    smaller = np.array([min(tuple(a), tuple(b)) for a, b in zip(offsets.tolist(), turned.tolist(), strict=True)])
    _, place, lag = np.unique(smaller.reshape(len(first), -1), axis=0, return_index=True, return_inverse=True)
    members = np.zeros((len(first), len(place)))
    scales = geometry.tap_scales[first] * geometry.tap_scales[second]
    members[np.arange(len(first)), lag.ravel()] = np.where(first == second, 1.0, 2.0) * scales
    return Lags(first, second, members, np.ascontiguousarray(products.real[:, place].T))


def of(kernels: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Autocorrelations ``R`` of kernels with the batch axis first, shape ``(K, groups, n_lags)``."""
    table, count = lags(geometry), len(kernels)
    # Taps first: whole rows are gathered and multiplied, which is several times as fast as columns.
    taps = xp.reshape(kernels, (-1, geometry.n_taps)).T
    first, second = (xp.constant(of_pair, taps) for of_pair in (table.first, table.second))
    products = xp.matmul(xp.constant(table.members.T, taps), taps[first] * taps[second])
    by_kernel = xp.reshape(products, (len(products), count, geometry.groups, -1))
    summed = by_kernel[..., 0] if by_kernel.shape[-1] == 1 else xp.sum(by_kernel, axis=-1)
    return xp.moveaxis(summed, 0, -1)


def squared_norms(
    autocorrelations: Any, geometry: Geometry, xp: Namespace, order: NDArray[Any] | None = None
) -> Iterator[tuple[slice, Any]]:
    """Squared norms of all blocks, chunk by chunk: which kernels, and an array of shape ``(k, groups, L)``.

    The array is used again for the next chunk. The frequencies are in the given order, or in that of the geometry.
    """
    cosines = lags(geometry).cosines
    cosines = xp.constant(cosines if order is None else cosines[:, order], autocorrelations)
    count, groups, n_frequencies = len(autocorrelations), geometry.groups, cosines.shape[1]
    size = max(1, min(count, xp.at_once(autocorrelations) // (groups * n_frequencies)))
    if count == 0:
        return
    rows = xp.reshape(autocorrelations, (count * groups, -1))  # one product of matrices, not many of vectors
    buffer = xp.matmul(rows[: size * groups], cosines)
    for start in range(0, count, size):
        part = rows[start * groups : (start + size) * groups]
        squares = xp.matmul(part, cosines, out=buffer[: len(part)])
        yield slice(start, start + len(part) // groups), xp.reshape(squares, (-1, groups, n_frequencies))


def gains(kernels: Any, geometry: Geometry, xp: Namespace) -> Any:
    """The largest squared norm of a block of each kernel, shape ``(K,)``."""
    chunks = squared_norms(of(kernels, geometry, xp), geometry, xp)
    return xp.concatenate([xp.max(xp.reshape(squares, (len(squares), -1)), axis=1) for _, squares in chunks], axis=0)


def dominant_blocks(kernels: Any, geometry: Geometry, xp: Namespace) -> Any:
    """The block with the largest norm of each kernel, shape ``(K,)``."""
    found = []
    for _, squares in squared_norms(of(kernels, geometry, xp), geometry, xp):
        place = xp.argmax(xp.reshape(squares, (len(squares), -1)), axis=1)
        # From group by group to frequency by frequency.
        n_frequencies = squares.shape[2]
        found.append((place % n_frequencies) * geometry.groups + place // n_frequencies)
    return xp.concatenate(found, axis=0)
