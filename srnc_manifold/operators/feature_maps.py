"""A convolution as an operator on feature maps: applied, transposed and differentiated, never formed (paper, (4)).

What methods of the literature compute with. Everything else in the package works on the symbol, :mod:`spectrum`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import Geometry

# A convolution of a unit feature map that is this small, relative to the kernel, is zero but for rounding.
_NOTHING = 1e-13


@dataclass(frozen=True)
class TopPair:
    """A singular pair found by power iteration.

    Attributes
    ----------
    u, v : arrays, shapes ``(groups, rows, |N|)`` and ``(groups, c_in, points of the input)``
        Unit feature maps.
    value : float
        ``uᵀ C(x) v``, never above the spectral norm but for rounding.
    converged : bool
        Whether ``‖C(x)ᵀu − value · v‖`` is within the tolerance.
    """

    u: Array
    v: Array
    value: float
    converged: bool


class Convolution:
    """Convolutions with kernels of one geometry, counted in ``count``.

    Parameters
    ----------
    geometry : Geometry

    Attributes
    ----------
    count : int
    sources : integer array, shape ``(q, |N|)``
        Where in the flattened input each tap finds each output's share.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry, self.count = geometry, 0
        d = len(geometry.grid)
        outputs = np.indices(geometry.grid).reshape(d, 1, geometry.n_points)
        taps = np.indices(geometry.taps).reshape(d, geometry.n_taps, 1)
        flat: NDArray[Any] = np.zeros((geometry.n_taps, geometry.n_points), dtype=np.int64)
        for axis, n in enumerate(geometry.input_size):
            place = geometry.stride[axis] * outputs[axis] - geometry.dilation[axis] * taps[axis]
            flat = flat * n + place % n
        self.sources = flat
        rows, _ = geometry.block_shape
        self.input_shape = (geometry.groups, geometry.channels[1], int(np.prod(geometry.input_size, dtype=int)))
        self.output_shape = (geometry.groups, rows, geometry.n_points)

    def apply(self, kernel: Array, maps: Array) -> Array:
        """``C(x) v``: the convolution."""
        self.count += 1
        return self._matrices(kernel) @ self._patches(maps)

    def transposed(self, kernel: Array, maps: Array) -> Array:
        """``C(x)ᵀ u``: the transposed convolution."""
        self.count += 1
        groups, c_in, _ = self.input_shape
        shares = self._matrices(kernel).swapaxes(1, 2) @ maps
        shares = shares.reshape(groups, c_in, *self.sources.shape)
        result = np.zeros(self.input_shape)
        for tap, places in enumerate(self.sources):  # the places of one tap are distinct
            result[:, :, places] += shares[:, :, tap]
        return result

    def gradient(self, u: Array, v: Array) -> Array:
        """``∇_x (uᵀ (x ∗ v))`` (paper, (6)): the kernel ``G`` with ``⟨x, G⟩ = uᵀ C(x) v`` for all ``x``."""
        self.count += 1
        return (u @ self._patches(v).swapaxes(1, 2)).reshape(self.geometry.kernel_shape)

    def top_pair(
        self,
        kernel: Array,
        start: Array,
        *,
        tolerance: float,
        max_steps: int,
        keep_going: Callable[[], bool] = lambda: True,
        project: Callable[[Array], Array] = lambda v: v,
    ) -> TopPair:
        """The largest singular value and its feature maps by power iteration; each step is two convolutions.

        ``keep_going`` is asked between steps; ``project`` is applied to ``v``, to keep it in an invariant subspace,
        which rounding errors would leave.
        """
        v = start / np.linalg.norm(start)
        u, value, converged = np.zeros(self.output_shape), 0.0, False
        nothing = _NOTHING * float(np.linalg.norm(kernel))
        for _ in range(max_steps):
            u = self.apply(kernel, v)
            value = float(np.linalg.norm(u))
            if value <= nothing:  # as of a filter that is zero on constant maps
                return TopPair(np.zeros(self.output_shape), v, 0.0, True)
            u = u / value
            back = project(self.transposed(kernel, u))
            converged = float(np.linalg.norm(back - value * v)) <= tolerance * value
            if converged or not keep_going():
                break
            v = back / np.linalg.norm(back)
        return TopPair(u, v, value, converged)

    def _matrices(self, kernel: Array) -> Array:
        groups, rows, _ = self.output_shape
        return kernel.reshape(groups, rows, -1)

    def _patches(self, maps: Array) -> Array:
        """What each output sees, shape ``(groups, c_in · q, |N|)``."""
        return maps[:, :, self.sources].reshape(len(maps), -1, self.sources.shape[1])
