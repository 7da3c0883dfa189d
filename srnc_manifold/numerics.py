"""Two small numerical tools shared by everything above: exact scaling and bisection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Halvings after which a bracket of doubles cannot shrink any further.
_HALVINGS = 100


def binary_scale(array: NDArray) -> float:
    """Power of two next to the largest magnitude: dividing by it is exact and prevents overflow in squares."""
    largest = float(np.max(np.abs(array), initial=0.0))
    return float(2.0 ** np.clip(np.frexp(largest)[1], -1021, 1023)) if largest > 0 else 1.0


def bisect(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Elementwise root between ``low``, where ``function < 0``, and ``high``, where ``function >= 0``.

    Works on whole arrays at once, and on a discontinuous or non-monotone function finds one of its
    changes of sign. The side returned is the one with ``function >= 0``.
    """
    low, high = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if np.all((middle == low) | (middle == high)):
            break
        above = function(middle) >= 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high
