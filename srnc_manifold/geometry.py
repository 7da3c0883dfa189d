"""Shapes: what a kernel and an input size mean together, and the frequencies of the grid.

Everything here is integers and constants; the only floating-point object is the matrix of phases.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

InputSize = int | Sequence[int]


@dataclass(frozen=True)
class Geometry:
    """A kernel's shape on a periodic grid (theory, section 1).

    Attributes
    ----------
    channels : (int, int)
        Output and input channels, ``(1, 1)`` for a single-channel kernel.
    taps : tuple of int
        Kernel size along each of the ``d`` spatial axes; ``()`` for a dense matrix.
    grid : tuple of int
        Input size along each spatial axis.
    kernel_shape : tuple of int
        Shape of the kernel as its owner writes it: ``taps`` or ``channels + taps``.
    """

    channels: tuple[int, int]
    taps: tuple[int, ...]
    grid: tuple[int, ...]
    kernel_shape: tuple[int, ...]

    @classmethod
    def of(cls, kernel_shape: Sequence[int], input_size: InputSize) -> Geometry:
        """Geometry of a kernel on an input.

        Parameters
        ----------
        kernel_shape : sequence of int
            ``taps`` (single-channel) or ``(c_out, c_in, *taps)``, PyTorch's weight layout.
        input_size : int or sequence of int
            A sequence fixes the number ``d`` of spatial axes; ``()`` is a dense matrix. An int is the size of
            every axis, with ``d = ndim`` for kernels of at most two axes and ``d = ndim - 2`` above.

        Raises
        ------
        TypeError
            If ``input_size`` is not made of integers.
        ValueError
            If the kernel is empty, has the wrong number of axes, or is larger than the input.
        """
        shape = tuple(int(n) for n in kernel_shape)
        if 0 in shape:
            raise ValueError(f"kernel: empty, its shape is {shape}; every axis needs at least one entry")
        grid = _grid(input_size, len(shape))
        d = len(grid)
        if len(shape) not in (d, d + 2):
            raise ValueError(
                f"kernel: {len(shape)} axes, shape {shape}, do not fit input_size {grid}: expected {d} axes "
                f"(single-channel) or {d + 2} axes (c_out, c_in and {d} spatial)"
            )
        channels = (shape[0], shape[1]) if len(shape) == d + 2 else (1, 1)
        taps = shape[len(shape) - d :]
        if any(k > n for k, n in zip(taps, grid, strict=True)):
            raise ValueError(
                f"kernel: {taps} taps are more than the input has points, input_size {grid}; "
                f"expected input_size >= {taps}"
            )
        return cls(channels, taps, grid, shape)

    @property
    def n_points(self) -> int:
        """Number of grid points, ``|N|``."""
        return math.prod(self.grid)

    @property
    def n_taps(self) -> int:
        """Number of taps, ``q``."""
        return math.prod(self.taps)

    @property
    def min_channels(self) -> int:
        """Singular values per frequency."""
        return min(self.channels)

    @property
    def stable_rank_range(self) -> tuple[float, float]:
        """Least and largest stable rank of any kernel of this shape (theory, section 2; paper, section 3.1)."""
        return self.n_points / self.n_taps, float(self.min_channels * self.n_points)

    @property
    def frequencies(self) -> NDArray[np.int64]:
        """One frequency of each pair ``±l``, shape ``(L, d)``."""
        return _half_spectrum(self.grid)[0]

    @property
    def multiplicities(self) -> NDArray[np.float64]:
        """Number of frequencies each one stands for, 1 or 2, shape ``(L,)``; sums to ``|N|``."""
        return _half_spectrum(self.grid)[1]

    @property
    def fft_index(self) -> NDArray[np.int64]:
        """Places of ``frequencies`` in the flattened output of a real FFT, shape ``(L,)``."""
        return _half_spectrum(self.grid)[2]

    @property
    def fft_shape(self) -> tuple[int, ...]:
        """Shape of the output of a real FFT over the grid."""
        return _fft_shape(self.grid)

    @property
    def phases(self) -> NDArray[np.complex128]:
        """``f_l(j) = exp(-2πi Σ_s l_s j_s / N_s)``, shape ``(L, q)``."""
        return _phases(self.taps, self.grid)


def as_kernel(kernel: Any, name: str = "kernel") -> NDArray[np.float64]:
    """A kernel as a finite, non-zero array of doubles; integers are converted.

    Raises
    ------
    TypeError
        If the entries are not real numbers (complex, text, boolean, object).
    ValueError
        If the kernel is empty, zero, or has an entry that is not finite.
    """
    if hasattr(kernel, "detach"):  # a torch tensor, possibly on a GPU or part of a graph
        kernel = kernel.detach().cpu()
        kernel = kernel.double() if kernel.is_floating_point() else kernel
    try:
        array = np.asarray(kernel)
    except ValueError as error:
        raise TypeError(f"{name}: not an array of numbers ({error})") from None
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{name}: dtype {array.dtype} given, expected real numbers (floating point or integers)")
    array = np.array(array, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"{name}: empty, its shape is {array.shape}; expected at least one entry")
    if not np.all(np.isfinite(array)):
        n_bad = int(np.sum(~np.isfinite(array)))
        raise ValueError(f"{name}: {n_bad} of {array.size} entries are NaN or infinite, expected finite numbers")
    if not np.any(array):
        raise ValueError(f"{name}: all entries are zero; a zero kernel has no stable rank")
    return array


def _grid(input_size: InputSize, ndim: int) -> tuple[int, ...]:
    given = input_size if isinstance(input_size, Sequence | np.ndarray) else None
    if isinstance(input_size, str | bool):
        given = (input_size,)  # strings are sequences and booleans are integers: both refused below
    try:
        if given is None:
            grid = (operator.index(input_size),) * (ndim if ndim <= 2 else ndim - 2)  # type: ignore[arg-type]
        else:
            if any(isinstance(n, bool) for n in given):
                raise TypeError
            grid = tuple(operator.index(n) for n in given)
    except TypeError:
        raise TypeError(f"input_size: {input_size!r} given, expected an int or a sequence of ints") from None
    if any(n < 1 for n in grid):
        raise ValueError(f"input_size: {input_size!r} given, expected positive sizes")
    return grid


def _fft_shape(grid: tuple[int, ...]) -> tuple[int, ...]:
    return grid[:-1] + tuple(n // 2 + 1 for n in grid[-1:])


@lru_cache(maxsize=64)
def _half_spectrum(
    grid: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    d, shape = len(grid), _fft_shape(grid)
    frequencies = np.indices(shape).reshape(d, math.prod(shape)).T
    # A real FFT keeps half of the last axis, but where that coordinate is its own mirror it keeps both of a
    # pair. The rank below orders by the last coordinate first, so that the first of each pair is kept.
    sizes = np.array(grid, dtype=np.int64)
    weights = np.array([math.prod(grid[:s]) for s in range(d)], dtype=np.int64)
    rank, mirror_rank = frequencies @ weights, (-frequencies % sizes) @ weights
    keep = rank <= mirror_rank
    return (
        _frozen(frequencies[keep].astype(np.int64)),
        _frozen(np.where(rank == mirror_rank, 1.0, 2.0)[keep]),
        _frozen(np.flatnonzero(keep).astype(np.int64)),
    )


@lru_cache(maxsize=16)
def _phases(taps: tuple[int, ...], grid: tuple[int, ...]) -> NDArray[np.complex128]:
    d, period = len(grid), math.lcm(*grid)
    offsets = np.indices(taps).reshape(d, math.prod(taps))
    turns_per_step = np.array([period // n for n in grid], dtype=np.int64)
    turns = ((_half_spectrum(grid)[0] * turns_per_step) @ offsets) % period
    # Integers up to here; quarter turns are split off so that i, -1 and -i come out exact.
    quarter, rest = np.divmod(4 * turns + period // 2, period)
    angle = (0.5 * np.pi) * ((rest - period // 2) / period)
    return _frozen(np.array([1, -1j, -1, 1j])[quarter % 4] * (np.cos(angle) - 1j * np.sin(angle)))


def _frozen(array: NDArray) -> NDArray:
    array.setflags(write=False)
    return array
