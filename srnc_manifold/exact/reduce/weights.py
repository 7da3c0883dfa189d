"""The bounds that go with an atom of a block: of a shift, or weighted, where columns differ.

Source: docs/theory.md, propositions 6 and 25.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import caps
from srnc_manifold.certificates.certificate import PARAMETERS
from srnc_manifold.exact.reduce.alternation import Blocks
from srnc_manifold.exact.reduce.shifts import shifts
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms

# Where the best rest 1 − τ · top is zero: large enough that the weights do not amplify rounding errors, small enough to
# cost no more than these.
_LEAST = 1e-10


def multipliers(blocks: Blocks, w: NDArray[Any], squared_distance: float) -> tuple[NDArray[Any], Array]:
    """Values and parameters of a :class:`CapsCertificate` that bound each block best if ``w`` is its best atom.

    ``squared_distance`` is that of the best kernel known.
    """
    values, parameters = shifts(blocks, w, squared_distance), np.zeros((len(blocks), PARAMETERS))
    differ = np.flatnonzero(np.min(blocks.upper, axis=1) < blocks.top * (1 - 1e-12))
    if len(differ):
        weighted, rests = weights(blocks[differ], w[differ], squared_distance)
        valid = (rests > 0) & (rests < 1)
        values[differ[valid]], parameters[differ[valid], 0] = weighted[valid], rests[valid]
    return values, parameters


def weights(blocks: Blocks, w: NDArray[Any], squared_distance: float) -> tuple[NDArray[Any], Array]:
    """Shift ``T`` and ``1 − τ · top`` that bound each block best if ``w`` is its best atom.

    ``squared_distance`` is that of the best kernel known. The rest is not positive where no bound goes with ``w``.
    """
    _, sine = caps.angle(np.array(squared_distance), NUMPY)
    sizes = blocks.sizes(w)
    spread = atoms.spread_of(blocks.upper, blocks.lower)
    inside = sizes.rooms > 1e-14 * blocks.top
    kappa = sine / np.sqrt(np.where(inside, sizes.rooms, 1.0))
    shifts = kappa[:, None, None] * spread[:, None] * w.imag
    tau = kappa / np.maximum(sizes.heights + kappa * sizes.norms, 1e-300)
    # Where the level is the largest γ² there is, shifts cost nothing: all that may be taken away is.
    free = np.where(spread[:, None] > 0, -blocks.matrices.imag, 0.0)
    rests = 1 - tau * blocks.top
    rests = np.where(inside & (np.abs(rests) > _LEAST), rests, _LEAST)
    return 1j * np.where(inside[:, None, None], shifts, free), rests
