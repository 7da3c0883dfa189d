"""Shapes: what a kernel and an input size mean together, and the frequencies of the grid.

Everything here is integers and constants; the only floating-point objects are phases of frequencies.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import frozen
from srnc_manifold.operators import grids
from srnc_manifold.validation import memory_of_machine, require_count

# A dilation from here on is a mistake; its multiples are still integers of 64 bits.
_TOO_LARGE = 2**40

PerAxis = int | Sequence[int]
InputSize = PerAxis


class Layout(TypedDict, total=False):
    """What a convolution has beside its kernel and its input size; see :meth:`Geometry.of`."""

    groups: int
    stride: PerAxis
    dilation: PerAxis


@dataclass(frozen=True)
class Shapes:
    """What the arguments of a layer mean, whatever its borders; attributes as in :class:`Geometry`."""

    channels: tuple[int, int]
    taps: tuple[int, ...]
    input_size: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    groups: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(
        cls,
        kernel_shape: Sequence[int],
        input_size: InputSize,
        *,
        groups: int = 1,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
    ) -> Shapes:
        """Read them; arguments and errors as of :meth:`Geometry.of`."""
        shape = tuple(int(n) for n in kernel_shape)
        if 0 in shape:
            raise ValueError(f"kernel: empty, its shape is {shape}; every axis needs at least one entry")
        size = _sizes("input_size", input_size, len(shape) if len(shape) <= 2 else len(shape) - 2)
        d = len(size)
        if len(shape) not in (d, d + 2):
            raise ValueError(
                f"kernel: {len(shape)} axes, shape {shape}, do not fit input_size {size}: expected {d} axes "
                f"(single-channel) or {d + 2} axes (c_out, c_in and {d} spatial)"
            )
        channels = (shape[0], shape[1]) if len(shape) == d + 2 else (1, 1)
        taps = shape[len(shape) - d :]
        steps, spacing = _sizes("stride", stride, d), _sizes("dilation", dilation, d)
        if any(n >= _TOO_LARGE for n in spacing):
            raise ValueError(f"dilation: {dilation!r} given, expected less than {_TOO_LARGE}")
        require_count(groups=groups)
        if channels[0] % groups:
            raise ValueError(f"groups: {groups} given, expected a divisor of the {channels[0]} output channels")
        for name, values in (("stride", steps), ("dilation", spacing)):
            if len(values) != d:
                raise ValueError(f"{name}: {values} given, expected an int or {d} values, one for each spatial axis")
        return cls(channels, taps, size, shape, int(groups), steps, spacing)


@dataclass(frozen=True)
class Geometry:
    """A kernel's shape on a periodic grid (docs/theory.md, section 1).

    The operator is block-diagonal in the Fourier basis: one block for each frequency of the output grid and each group
    of channels. With a stride, the columns of a block are the input channels times the phases of the stride (the
    polyphase components of the input), and every tap meets one phase only.

    Attributes
    ----------
    channels : (int, int)
        Output channels, and input channels per group; ``(1, 1)`` for a single-channel kernel.
    taps : tuple of int
        Kernel size along each of the ``d`` spatial axes; ``()`` for a dense matrix.
    input_size : tuple of int
        Points of the input along each spatial axis.
    kernel_shape : tuple of int
        Shape of the kernel as its owner writes it: ``taps`` or ``channels + taps``.
    groups : int
    stride, dilation : tuple of int
        For each spatial axis, with PyTorch's meaning.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> geometry = srnc.Geometry.of((16, 8, 3, 3), (32, 32), stride=2)
    >>> geometry.grid, geometry.block_shape, [round(end, 4) for end in geometry.stable_rank_range]
    ((16, 16), (16, 32), [64.0, 4096.0])
    """

    channels: tuple[int, int]
    taps: tuple[int, ...]
    input_size: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    groups: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(
        cls,
        kernel_shape: Sequence[int],
        input_size: InputSize,
        *,
        groups: int = 1,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
    ) -> Geometry:
        """Geometry of a kernel on an input, with circular padding.

        Parameters
        ----------
        kernel_shape : sequence of int
            ``taps`` (single-channel) or ``(c_out, c_in / groups, *taps)``, PyTorch's weight layout.
        input_size : int or sequence of int
            A sequence fixes the number ``d`` of spatial axes; ``()`` is a dense matrix. An int is the size of
            every axis, with ``d = ndim`` for kernels of at most two axes and ``d = ndim - 2`` above.
        groups : int, optional
            Groups of channels that do not see each other.
        stride, dilation : int or sequence of int, optional
            Steps between outputs and between taps.

        Raises
        ------
        TypeError
            If a size is not an integer.
        ValueError
            If the kernel is empty or has the wrong number of axes, if taps coincide on the input (a kernel larger than
            it, for one), if ``groups`` does not divide the output channels or a stride the input size, or if the symbol
            does not fit into the memory of this machine.
        """
        found = Shapes.of(kernel_shape, input_size, groups=groups, stride=stride, dilation=dilation)
        shape, size, channels, taps = found.kernel_shape, found.input_size, found.channels, found.taps
        steps, spacing = found.stride, found.dilation
        if any(n % s for n, s in zip(size, steps, strict=True)):
            raise ValueError(f"stride: {steps} given, expected divisors of input_size {size}")
        distinct = tuple(n // math.gcd(n, step) for n, step in zip(size, spacing, strict=True))
        if any(k > n for k, n in zip(taps, distinct, strict=True)):
            if distinct == size:
                raise ValueError(
                    f"kernel: {taps} taps are more than the input has points, input_size {size}; "
                    f"expected input_size >= {taps}"
                )
            raise ValueError(
                f"dilation: {spacing} given, with which taps of a kernel of {taps} coincide on input_size {size}; "
                f"expected at most {distinct} taps"
            )
        grid, n_taps = tuple(n // s for n, s in zip(size, steps, strict=True)), math.prod(taps)
        apart = grids.tap_places(taps, steps, spacing).apart
        n_distinct = math.prod(n // math.gcd(n, step) for n, step in zip(grid, apart, strict=True))
        per_point = max(channels[0] * channels[1] * min(math.prod(steps), n_taps), n_taps)
        # Complex numbers at half of the distinct frequencies, and three copies of them.
        needed, there_is = 4 * 16 * (n_distinct / 2) * per_point, memory_of_machine()
        if needed > there_is:
            raise ValueError(
                f"input_size: {size} given, where the symbol of a kernel of shape {shape} needs about "
                f"{needed / 1e9:.3g} GB; this machine has {there_is / 1e9:.3g} GB"
            )
        return cls(channels, taps, size, shape, found.groups, steps, spacing)

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Points of the output along each spatial axis; its frequencies are those of the operator."""
        return tuple(n // s for n, s in zip(self.input_size, self.stride, strict=True))

    @cached_property
    def n_points(self) -> int:
        """Number of points of the output, ``|N|``; ``‖C(x)‖_F² = |N| ‖x‖²``."""
        return math.prod(self.grid)

    @cached_property
    def n_taps(self) -> int:
        """Number of taps, ``q``."""
        return math.prod(self.taps)

    @cached_property
    def n_phases(self) -> int:
        """Phases of the stride that meet a tap; 1 without a stride."""
        return len(self.taps_per_phase)

    @cached_property
    def taps_per_phase(self) -> NDArray[np.int64]:
        """Number of taps in each phase, shape ``(n_phases,)``."""
        return grids.tap_places(self.taps, self.stride, self.dilation).taps_per_phase

    @property
    def tap_scales(self) -> NDArray[np.float64]:
        """What the taps are multiplied with in the symbol, shape ``(q,)``: ones; weighted taps have others."""
        return np.ones(self.n_taps)

    @property
    def squares_per_phase(self) -> NDArray[Any]:
        """Their squares, summed in each phase, shape ``(n_phases,)``."""
        return self.taps_per_phase

    @cached_property
    def phase_of_tap(self) -> NDArray[np.int64]:
        """Phase that each tap meets, shape ``(q,)``."""
        return grids.tap_places(self.taps, self.stride, self.dilation).phase_of_tap

    @cached_property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of a block: output channels of a group, and its input channels times the phases."""
        return self.channels[0] // self.groups, self.channels[1] * self.n_phases

    @cached_property
    def block_rank(self) -> int:
        """Singular values of a block."""
        return min(self.block_shape)

    @cached_property
    def stable_rank_range(self) -> tuple[float, float]:
        """Least and largest stable rank of any kernel of this shape (docs/theory.md, section 2; paper, section 3.1)."""
        return self.n_points / int(max(self.taps_per_phase)), float(self.groups * self.block_rank * self.n_points)

    @cached_property
    def frequencies(self) -> NDArray[np.int64]:
        """Frequencies of the output grid whose blocks differ, shape ``(L, d)``.

        One of each pair ``±l``, whose blocks are conjugate, and one of all for which the phases of all taps agree, up
        to a factor for each phase of the stride. With taps next to each other on each axis, only pairs do.
        """
        return self._spectrum.frequencies

    @cached_property
    def n_blocks(self) -> int:
        """Blocks on the listed frequencies: ``L · groups``, block ``l · groups + group``."""
        return len(self.frequencies) * self.groups

    @cached_property
    def multiplicities(self) -> NDArray[np.float64]:
        """Number of blocks of the operator each listed one stands for, shape ``(n_blocks,)``."""
        return frozen(np.repeat(self._spectrum.multiplicities, self.groups))

    @cached_property
    def are_real(self) -> NDArray[np.bool_]:
        """Whether each frequency is its own mirror image, so that its blocks are real; shape ``(L,)``."""
        return frozen(np.all(2 * self.frequencies % np.array(self.grid, dtype=np.int64) == 0, axis=1))

    @cached_property
    def fft_index(self) -> NDArray[np.int64]:
        """Places of ``frequencies`` in the flattened output of a real FFT, shape ``(L,)``."""
        return self._spectrum.fft_index

    def listed(self, frequencies: NDArray[Any]) -> NDArray[np.int64]:
        """Rows of :attr:`frequencies` whose blocks those of some frequencies are like, ``(n, d)`` to ``(n,)``."""
        rows = {tuple(turns): k for k, turns in enumerate(self._relative_turns(self.frequencies).tolist())}
        return np.array([rows[tuple(turns)] for turns in self._relative_turns(frequencies).tolist()], dtype=np.int64)

    def _relative_turns(self, frequencies: NDArray[Any]) -> NDArray[np.int64]:
        return grids.relative_turns(frequencies, self.taps, self.grid, self.stride, self.dilation)

    @cached_property
    def _spectrum(self) -> grids.Spectrum:
        return grids.spectrum(self.taps, self.grid, self.stride, self.dilation)

    @cached_property
    def fft_shape(self) -> tuple[int, ...]:
        """Shape of the output of a real FFT over the grid."""
        return grids.fft_shape(self.grid)

    @cached_property
    def phases(self) -> NDArray[np.complex128]:
        """``f_l(j) = exp(-2πi Σ_s l_s o_s(j) / N_s)``, with ``o(j)`` the place of tap ``j``; shape ``(L, q)``."""
        return grids.phases(self.taps, self.grid, self.stride, self.dilation)

    @cached_property
    def phase_sums(self) -> NDArray[np.complex128]:
        """``S_l = Σ_j f_l(j)²`` over the taps of each phase, shape ``(L, n_phases)``."""
        sums = [np.sum(self.phases[:, taps] ** 2, axis=1) for taps in self.taps_by_phase]
        return frozen(np.stack(sums, axis=1))

    @cached_property
    def transform(self) -> NDArray[np.complex128]:
        """Matrix from taps to frequencies and phases, shape ``(L · n_phases, q)``; ``phases`` without a stride."""
        if self.n_phases == 1:
            return self.phases
        met = self.phase_of_tap == np.arange(self.n_phases)[:, None]
        return np.where(met, self.phases[:, None, :], 0).reshape(-1, self.n_taps)

    @cached_property
    def axis_offsets(self) -> NDArray[np.int64]:
        """Place ``o(j)`` of each tap on the output grid, not wrapped around, shape ``(d, q)``."""
        return grids.tap_places(self.taps, self.stride, self.dilation).offsets

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Place of each tap in a flattened array of shape ``(n_phases, *grid)``, shape ``(q,)``."""
        flat = np.zeros(self.n_taps, dtype=np.int64)
        for offsets, n in zip(self.axis_offsets, self.grid, strict=True):
            flat = flat * n + offsets % n
        return frozen(self.phase_of_tap * self.n_points + flat)

    @cached_property
    def taps_by_phase(self) -> list[NDArray[np.int64]]:
        """Taps that meet each phase of the stride."""
        return [np.flatnonzero(self.phase_of_tap == p) for p in range(self.n_phases)]

    def __getstate__(self) -> dict[str, object]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # what is cached is soon made again


@dataclass(frozen=True)
class Weighted(Geometry):
    """A geometry whose symbol is that of ``(ω_j x_j)``, for taps that weigh differently (docs/theory.md, section 17).

    All of sections 3 to 8 holds with ``ω_j f_l(j)`` in place of ``f_l(j)``.

    Attributes
    ----------
    scales : tuple of float
        ``ω``, at most one.
    """

    scales: tuple[float, ...]

    @classmethod
    def weighing(cls, geometry: Geometry, scales: NDArray[np.float64]) -> Weighted:
        """A geometry with weights of its taps."""
        return cls(**geometry.__getstate__(), scales=tuple(float(scale) for scale in scales))  # type: ignore[arg-type]

    @property
    def tap_scales(self) -> NDArray[np.float64]:
        return np.array(self.scales)

    @property
    def squares_per_phase(self) -> NDArray[Any]:
        # Rounded up: unlike numbers of taps, these are not exact.
        return np.array([np.sum(self.tap_scales[taps] ** 2) for taps in self.taps_by_phase]) * (1 + 2.0**-46)

    @cached_property
    def phases(self) -> NDArray[np.complex128]:
        return grids.phases(self.taps, self.grid, self.stride, self.dilation) * self.tap_scales


def _sizes(name: str, given: PerAxis, n_axes: int) -> tuple[int, ...]:
    """A setting for each axis from one for all of them or from a sequence."""
    values = given if isinstance(given, Sequence | np.ndarray) else None
    if isinstance(given, str | bool):
        values = (given,)  # strings are sequences and booleans are integers: both refused below
    try:
        if values is None:
            sizes = (operator.index(given),) * n_axes  # type: ignore[arg-type]
        else:
            if any(isinstance(n, bool) for n in values):
                raise TypeError
            sizes = tuple(operator.index(n) for n in values)
    except TypeError:
        raise TypeError(f"{name}: {given!r} given, expected an int or a sequence of ints") from None
    if any(n < 1 for n in sizes):
        raise ValueError(f"{name}: {given!r} given, expected positive sizes")
    return sizes
