"""Small numerical tools shared by everything above: exact scaling and roots."""

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


def bracketed_root(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Point with ``|function| <= tolerance`` between ``low``, where ``function < 0``, and ``high``; few evaluations.

    The Illinois variant of the false position method (Dowell and Jarratt, BIT 11, 1971), with a bisection at every
    third step, so that the bracket shrinks whatever the function. ``high`` if the function is negative there, too.
    """
    f_low, f_high = function(low), function(high)
    if f_high <= tolerance or f_low >= 0:
        return high if f_high <= tolerance else low
    for step in range(3 * _HALVINGS):
        middle = 0.5 * (low + high) if step % 3 == 2 else high - f_high * (high - low) / (f_high - f_low)
        if not low < middle < high:
            break
        value = function(middle)
        if abs(value) <= tolerance:
            return middle
        if value > 0:
            high, f_high, f_low = middle, value, 0.5 * f_low
        else:
            low, f_low, f_high = middle, value, 0.5 * f_high
    return high
