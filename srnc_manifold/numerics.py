"""Small numerical tools: scaling, rounding errors, roots, the shortest vector of a hull, and a memo of one value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

T = TypeVar("T")

# After this many halvings, a bracket of doubles cannot shrink any further.
_HALVINGS = 100


def binary_scale(array: NDArray[Any]) -> float:
    """Power of two near the largest magnitude. Dividing by it is exact and prevents overflow in squares."""
    largest = float(np.max(np.abs(array), initial=0.0))
    return 2.0 ** min(max(math.frexp(largest)[1], -1021), 1023) if largest > 0 else 1.0


def division_error(numerator: float, quotient: Any, divisor: Any) -> Any:
    """Error of a rounded quotient: ``numerator / divisor - quotient``, elementwise.

    The product of quotient and divisor is computed without error (T. J. Dekker, Numer. Math. 18, 1971).
    """
    (q, q_low), (d, d_low) = _halves(quotient), _halves(divisor)
    product = quotient * divisor
    lost = ((q * d - product) + q * d_low + q_low * d) + q_low * d_low
    return ((numerator - product) - lost) / divisor


def _halves(numbers: Any) -> tuple[Any, Any]:
    """Two numbers with half as many digits whose sum is the given number."""
    shifted = (2.0**27 + 1) * numbers
    high = shifted - (shifted - numbers)
    return high, numbers - high


def bracketed_root(function: Callable[[Any], Any], low: Any, high: Any, tolerance: float = 0.0, xp: Any = np) -> Any:
    """Elementwise root between ``low``, where ``function < 0``, and ``high``, where ``function >= 0``.

    This is the Illinois variant of the false position method (Dowell and Jarratt, BIT 11, 1971). Every third step is a
    bisection, so that the brackets shrink for any function. If a function is discontinuous or not monotone, one of its
    sign changes is found. The method works on whole arrays at once, in any library with ``where`` and ``all``.

    Returns
    -------
    array
        A point with ``|function| <= tolerance``, or the side with ``function >= 0`` of a bracket that cannot shrink.
        If there is no sign change, ``low`` or ``high``.
    """
    f_low, f_high = function(low), function(high)
    # If there is no root to search for, the bracket is a single point.
    low, high = xp.where(f_high <= tolerance, high, low), xp.where((f_low >= -tolerance) & (f_high > 0), low, high)
    last_up = last_down = low != low
    for step in range(3 * _HALVINGS):
        middle = 0.5 * (low + high)
        if step % 3 != 2:
            rise = f_high - f_low
            secant = high - f_high * (high - low) / xp.where(rise > 0, rise, 1.0)
            middle = xp.where((rise > 0) & (secant > low) & (secant < high), secant, middle)
        open_ = (middle > low) & (middle < high)
        if not xp.any(open_):
            break
        value = function(middle)
        above, done = value >= 0, xp.abs(value) <= tolerance
        up, down = open_ & (above | done), open_ & (~above | done)
        # If a side of the bracket stays twice in a row, its value is halved, which moves the next secant towards it.
        f_low = xp.where(down, value, xp.where(last_up, 0.5 * f_low, f_low))
        f_high = xp.where(up, value, xp.where(last_down, 0.5 * f_high, f_high))
        low, high = xp.where(down, middle, low), xp.where(up, middle, high)
        last_up, last_down = up, down
    return high


# Relative rounding error of an argument.
_RESOLUTION = 2.0**-51

# Below this size, the cost of an array operation hardly depends on the number of elements.
_FEW = 1000


def newton_root(
    function: Callable[[Any, Any], tuple[Any, Any]], low: Any, high: Any, tolerance: float, xp: Any = np
) -> Any:
    """Elementwise root of increasing functions by Newton's method, starting from ``low``.

    It is assumed that ``function(low) <= 0 <= function(high)``. If a step does not halve the value, the next step is a
    bisection, so that the method converges for any such functions.

    Parameters
    ----------
    function : callable
        Takes arguments, and the elements that they belong to (a slice or an array of indices). Returns values and
        derivatives.
    low, high : arrays, shape ``(R,)``
    tolerance : float
        A value of this size counts as zero. The effect of rounding the argument is added to it.
    """
    root, which, at = xp.where(low < high, low, high), slice(None), low
    before, going = xp.full_like(low, np.inf), low == low
    for _ in range(2 * _HALVINGS):
        value, slope = function(at, which)
        low, high = xp.where(value < 0, at, low), xp.where(value < 0, high, at)
        ahead = at - value / xp.where(slope > 0, slope, 1.0)
        ahead = xp.minimum(xp.maximum(ahead, low), high)
        ahead = xp.where(xp.abs(value) > 0.5 * before, 0.5 * (low + high), ahead)
        # A value is not more accurate than the rounding of its argument allows.
        resolution = tolerance + _RESOLUTION * xp.abs(at * slope)
        going = going & (xp.abs(value) > resolution) & (ahead != at)
        at, before = xp.where(going, ahead, at), xp.abs(value)
        if len(at) > _FEW:  # continue with the elements that have not converged
            root[which] = at
            left = xp.nonzero(going)[0]
            which = left if isinstance(which, slice) else which[left]
            at, before, low, high, going = at[left], before[left], low[left], high[left], going[left]
        if not xp.any(going):
            break
    root[which] = at
    return root


def shortest_in_hull(vectors: Array, tolerance: float = 1e-12) -> Array:
    """The shortest vector in the convex hull of some vectors, given as an array of shape ``(count, n)``.

    P. Wolfe, *Finding the nearest point in a polytope*, Math. Program. 11 (1976).
    """
    # The vectors are scaled, because the linear systems for the weights contain both squared lengths and ones.
    units = vectors / (float(np.max(np.linalg.norm(vectors, axis=1))) or 1.0)
    gram = units @ units.T
    chosen, weights = [int(np.argmin(np.diag(gram)))], np.array([1.0])
    for _ in range(10 * len(vectors)):
        products = gram[:, chosen] @ weights
        new, squared = int(np.argmin(products)), float(products[chosen] @ weights)
        if new in chosen or products[new] >= squared - tolerance:
            break
        chosen, weights = [*chosen, new], np.append(weights, 0.0)
        chosen, weights = _onto_affine_minimum(gram, chosen, weights)
    return weights @ vectors[chosen]


def _onto_affine_minimum(gram: Array, chosen: list[int], weights: Array) -> tuple[list[int], Array]:
    """Move towards the shortest vector of the affine hull. Vectors whose weights become zero are removed."""
    while True:
        size = len(chosen)
        system = np.ones((size + 1, size + 1))
        system[:size, :size], system[size, size] = gram[np.ix_(chosen, chosen)], 0.0
        target = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0][:size]
        falling = target < 1e-14
        if not np.any(falling):
            return chosen, target / np.sum(target)
        steps = weights[falling] / np.maximum(weights[falling] - target[falling], 1e-300)
        weights = np.maximum(weights + min(1.0, float(np.min(steps))) * (target - weights), 0.0)
        weights[np.flatnonzero(falling)[np.argmin(steps)]] = 0.0
        stay = np.flatnonzero(weights > 0)
        chosen, weights = [chosen[k] for k in stay], weights[stay] / np.sum(weights[stay])


class Memo(Generic[T]):
    """The last value of a function of a point, so that it is not computed again for the same point."""

    def __init__(self) -> None:
        self._last: tuple[bytes, T] | None = None

    def at(self, point: Array, compute: Callable[[], T]) -> T:
        """The value at a point: remembered, or computed and remembered."""
        key = point.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, compute()
        return self._last[1]

    def remember(self, point: Array, value: T) -> None:
        """Store the value at a point that was computed elsewhere."""
        self._last = point.tobytes(), value


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array, made read-only, as it is used again."""
    array.setflags(write=False)
    return array
