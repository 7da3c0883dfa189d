"""The symbols of the unit kernels, of which quadratic forms of a kernel are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry


def unit_symbols(geometry: Geometry) -> NDArray[np.complex128]:
    """Symbols of the unit kernels, with the smaller side of a block first; shape ``(Q, n_blocks, small, large)``.

    If a block has fewer columns than rows, it is replaced by its conjugate transpose, so that ``Θ`` acts from the left.
    """
    size = int(np.prod(geometry.kernel_shape))
    symbols = symbol.of(np.eye(size).reshape(size, *geometry.kernel_shape), geometry)
    m, n = geometry.block_shape
    return symbols if m <= n else symbols.conj().swapaxes(-1, -2)
