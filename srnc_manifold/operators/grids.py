"""Taps and frequencies: where taps meet the grid, which frequencies have blocks of their own, and the phases of taps.

Integers up to the phases, so that frequencies are told apart without rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import frozen


@dataclass(frozen=True)
class TapPlaces:
    """Where the taps meet the polyphase components of the input."""

    offsets: NDArray[np.int64]  # (d, q), on the output grid
    phase_of_tap: NDArray[np.int64]  # (q,)
    taps_per_phase: NDArray[np.int64]  # (n_phases,)
    apart: tuple[int, ...]  # greatest common divisor of the distances between taps of one phase, on each axis


@lru_cache(maxsize=64)
def tap_places(taps: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> TapPlaces:
    """The taps of a kernel, in the order of its entries."""
    d, q = len(taps), math.prod(taps)

    def column(values: tuple[int, ...]) -> NDArray[np.int64]:
        return np.array(values, dtype=np.int64).reshape(d, 1)

    positions = np.indices(taps).reshape(d, q) * column(dilation)
    offsets = positions // column(stride)
    residues = positions % column(stride)
    label = np.zeros(q, dtype=np.int64)
    for residue, step in zip(residues, stride, strict=True):
        label = label * step + residue
    _, first, phase, counts = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    phase = phase.reshape(q)
    apart = tuple(int(step) for step in np.gcd.reduce(offsets - offsets[:, first[phase]], axis=1))
    return TapPlaces(frozen(offsets), frozen(phase.astype(np.int64)), frozen(counts.astype(np.int64)), apart)


def fft_shape(grid: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the output of a real FFT over the grid."""
    return grid[:-1] + tuple(n // 2 + 1 for n in grid[-1:])


@dataclass(frozen=True)
class Spectrum:
    """Listed frequencies: what they are, how many each stands for, and where a real FFT has them."""

    frequencies: NDArray[np.int64]  # (L, d)
    multiplicities: NDArray[np.float64]  # (L,)
    fft_index: NDArray[np.int64]  # (L,)


@lru_cache(maxsize=64)
def _half_spectrum(grid: tuple[int, ...]) -> Spectrum:
    """One frequency of each pair ``±l``."""
    d, shape = len(grid), fft_shape(grid)
    frequencies = np.indices(shape).reshape(d, math.prod(shape)).T
    # A real FFT keeps half of the last axis, but where that coordinate is its own mirror it keeps both of a
    # pair. The rank below orders by the last coordinate first, so that the first of each pair is kept.
    sizes = np.array(grid, dtype=np.int64)
    weights = np.array([math.prod(grid[:s]) for s in range(d)], dtype=np.int64)
    rank, mirror_rank = frequencies @ weights, (-frequencies % sizes) @ weights
    keep = rank <= mirror_rank
    return Spectrum(
        frozen(frequencies[keep].astype(np.int64)),
        frozen(np.where(rank == mirror_rank, 1.0, 2.0)[keep]),
        frozen(np.flatnonzero(keep).astype(np.int64)),
    )


@lru_cache(maxsize=64)
def spectrum(
    taps: tuple[int, ...], grid: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Spectrum:
    """One of all frequencies whose blocks are alike."""
    half = _half_spectrum(grid)
    turns = relative_turns(half.frequencies, taps, grid, stride, dilation)
    # The relative turns are additive in the frequency: some are alike only if those of a frequency are all zero.
    if np.count_nonzero(~turns.any(axis=1)) == 1:
        return half
    # Preferably those that are their own mirror images, whose blocks are real.
    order = np.argsort(half.multiplicities, kind="stable")
    _, first, group = np.unique(turns[order], axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(group.ravel(), weights=half.multiplicities[order])
    kept = order[first]
    rows = np.argsort(kept)
    kept = kept[rows]
    return Spectrum(frozen(half.frequencies[kept]), frozen(counts[rows]), frozen(half.fft_index[kept]))


def relative_turns(
    frequencies: NDArray[Any],
    taps: tuple[int, ...],
    grid: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> NDArray[np.int64]:
    """Turns of the taps, less that of the first tap of their phase, or the negative of all; shape ``(n, q)``."""
    turns, period = _turns(frequencies, taps, grid, stride, dilation)
    phases = tap_places(taps, stride, dilation).phase_of_tap
    _, first = np.unique(phases, return_index=True)
    turns = (turns - turns[:, first[phases]]) % period
    # Of the two that are negatives of each other that in which the first tap that turns does so by less than half.
    turning = np.argmax((turns != 0) & (2 * turns != period), axis=1)
    down = 2 * turns[np.arange(len(turns)), turning] > period
    return np.where(down[:, None], -turns % period, turns)


def _turns(
    frequencies: NDArray[Any],
    taps: tuple[int, ...],
    grid: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[NDArray[np.int64], int]:
    """``Σ_s l_s o_s(j) / N_s`` as integers, and the integer that is a whole turn."""
    period = math.lcm(*grid)
    turns_per_step = np.array([period // n for n in grid], dtype=np.int64)
    return ((frequencies * turns_per_step) @ tap_places(taps, stride, dilation).offsets) % period, period


@lru_cache(maxsize=16)
def phases(
    taps: tuple[int, ...], grid: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> NDArray[np.complex128]:
    """``f_l(j)`` at the listed frequencies, shape ``(L, q)``."""
    frequencies = spectrum(taps, grid, stride, dilation).frequencies
    turns, period = _turns(frequencies, taps, grid, stride, dilation)
    # Integers up to here; quarter turns are split off so that i, -1 and -i come out exact.
    quarter, rest = np.divmod(4 * turns + period // 2, period)
    angle = (0.5 * np.pi) * ((rest - period // 2) / period)
    return frozen(np.array([1, -1j, -1, 1j])[quarter % 4] * (np.cos(angle) - 1j * np.sin(angle)))
