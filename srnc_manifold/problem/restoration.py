"""The local restoration: a point is moved along a path until its stable rank is right."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array, bracketed_root, shortest_in_hull
from srnc_manifold.operators import atoms
from srnc_manifold.problem.base import KernelProblem, Problem
from srnc_manifold.problem.scores import Restoration
from srnc_manifold.problem.target import SAME_STABLE_RANK

# When singular values are lowered, those within this distance of the target count as near, in units of the excess. The
# widths are tried one after another.
_WIDTHS = (3.0, 30.0, 300.0, 3e3)

# Largest number of singular values near the target, because their gradients are kept as a dense matrix.
_MOST_NEAR = 300

# The hull of gradients holds zero if the square of its shortest vector is this part of the largest square, or less.
_NO_DIRECTION = 1e-20

# A path on the product of spheres, as a function of t from 0 to 1.
Curve = Callable[[float], Array]


def restored(
    problem: Problem,
    z: Array,
    *,
    too_low: Sequence[Callable[[Array], Curve]],
    too_high: Sequence[Callable[[Array], Curve]],
) -> Restoration:
    """The kernel of a point, moved along the first path on which its stable rank becomes right.

    The functions in ``too_low`` and ``too_high`` take the point and return a path. Those in ``too_low`` are used if the
    gain is too low, the others if it is too high. They raise a ValueError with the reason if there is no path.
    """
    part = problem.parts[0]
    gain = part.operator.nearby_gains()

    def excess(at: Array) -> float:  # of the gain over the target, relative to the target
        return gain(problem.embed(at)) / part.target_gain - 1.0

    def outcome(at: Array, success: bool, distance: float, message: str) -> Restoration:
        return Restoration(part.to_kernel(problem.embed(at)), success, distance, message)

    before, reason = excess(z), ""
    if abs(before) <= SAME_STABLE_RANK:
        return outcome(z, True, 0.0, "not moved: the stable rank is right")
    for way in too_low if before < 0 else too_high:
        try:
            path = way(z)
        except ValueError as error:
            reason = str(error)
            continue

        def beyond(t: float, path: Curve = path) -> float:
            return math.copysign(1.0, -before) * excess(path(t))

        end, left = _first_root(beyond, -abs(before))
        if abs(left) <= 10 * SAME_STABLE_RANK:
            moved = path(end)
            distance = float(np.linalg.norm(problem.embed(moved) - problem.embed(z)))
            return outcome(moved, True, distance, f"moved by {distance:.3g} of its norm")
        reason = "its gain does not reach the target on the path"
    return outcome(z, False, 0.0, f"cannot be restored: {reason}")


def gain_ascent(problem: Problem) -> Callable[[Array], Curve]:
    """The path along the gradient of the largest singular value, up to infinity.

    To first order, the largest singular value reaches the target at ``t = 1/2``.
    """

    def way(z: Array) -> Curve:
        values, slopes = _slopes(problem, z, lambda s: s == np.max(s))
        missing = math.sqrt(problem.parts[0].target_gain) - values[0]
        step = missing * slopes[0] / max(float(slopes[0] @ slopes[0]), 1e-300)
        return lambda t: problem.spheres.retracted(z, math.tan(0.499 * math.pi * t) * step)

    return way


def gain_descents(problem: Problem) -> list[Callable[[Array], Curve]]:
    """The paths along the least step that lowers all singular values near the target or above it.

    To first order, the step lowers the singular values above the target to the target, and then all of them by the
    largest excess once more. A singular value counts as near if its distance to the target is at most a multiple of
    this excess. The multiple increases from one path to the next, because other singular values may rise above the
    target.
    """

    def within(width: float, z: Array) -> Curve:
        level = math.sqrt(problem.parts[0].target_gain)

        def near(singular_values: Array) -> NDArray[np.bool_]:
            found = singular_values >= level - width * (np.max(singular_values) - level)
            if np.sum(found) > _MOST_NEAR:
                raise ValueError(f"more than {_MOST_NEAR} singular values are near the target")
            return found

        values, slopes = _slopes(problem, z, near)
        above = values - level
        # The least x with ⟨slope, x⟩ <= −d for all of them is −p/‖p‖² of the shortest p in the hull of slope/d.
        rows = slopes / (np.maximum(above, 0.0) + np.max(above))[:, None]
        shortest = shortest_in_hull(rows)
        squared = float(shortest @ shortest)
        if squared <= _NO_DIRECTION * float(np.max(np.sum(rows**2, axis=1))):  # the step would have no end
            raise ValueError("no direction lowers all singular values near the target")
        step = -shortest / squared
        return lambda t: problem.spheres.retracted(z, t * step)

    return [partial(within, width) for width in _WIDTHS]


def to_dominant_atom(problem: KernelProblem) -> Callable[[Array], Curve]:
    """The great circle to the nearest point of the cap of the kernel's own dominant atom."""

    def way(z: Array) -> Curve:
        kernel = z.reshape(problem.kernel.shape)
        atom = problem.operator.dominant_atom(kernel)
        try:
            end = atoms.nearest_in_cap(kernel, atom, math.sqrt(problem.target_gain))
        except ValueError as error:
            end = atom / float(np.linalg.norm(atom))  # still good if another frequency rises along the way
            if problem.gain(end) < problem.target_gain:
                raise ValueError(f"its dominant frequency cannot reach the target: {error}") from None
        return arc(z, end.ravel())

    return way


def to_given(problem: KernelProblem) -> Callable[[Array], Curve]:
    """The great circle to the given kernel ``a``."""
    return lambda z: arc(z, problem.direction.ravel())


def to_least_gain(problem: KernelProblem) -> Callable[[Array], Curve]:
    """The great circle to a kernel of the least gain, such as a single tap."""

    def way(z: Array) -> Curve:
        end = problem.operator.least_gain_kernel(z)
        if end is None:
            raise ValueError("no kernel of a lower gain is known")
        return arc(z, end.ravel())

    return way


def arc(start: Array, end: Array) -> Curve:
    """The shorter great circle between two unit vectors.

    Raises
    ------
    ValueError
        If they are opposite.
    """
    cosine = float(start @ end)
    if cosine <= -1 + 1e-14:
        raise ValueError("it is opposite to the point that it would move to")
    across = end - cosine * start
    length = float(np.linalg.norm(across))

    def point(t: float) -> Array:
        angle = t * math.atan2(length, cosine)
        z = math.cos(angle) * start + math.sin(angle) * across / (length or 1.0)
        return z / np.linalg.norm(z)

    return point


def _slopes(problem: Problem, z: Array, chosen: Callable[[Array], NDArray[np.bool_]]) -> tuple[Array, Array]:
    """The chosen singular values at a point, and their gradients in the tangent space, one per row."""
    values, gradients = problem.parts[0].singular_values_at(problem.embed(z), chosen)
    return values, np.array([problem.spheres.projected(problem.embed_adjoint(z, g), z) for g in gradients])


def _first_root(beyond: Callable[[float], float], at_zero: float) -> tuple[float, float]:
    """A zero of a function on [0, 1], or 1 if there is none, and the value there.

    The value at 0 is given, and is negative. The zero is searched with steps that grow tenfold, or to beyond where a
    straight line would have it. So it is near the first one, unless a step passes over several of them.
    """
    value = functools.cache(beyond)
    low, high = 0.0, 1e-9
    while high < 1 and value(high) < 0:
        rise = value(high) - at_zero
        straight = -at_zero / rise * high if rise > 0 else 0.0
        low, high = high, min(1.0, max(10 * high, 1.5 * straight))
    tolerance = 0.1 * SAME_STABLE_RANK
    if abs(value(high)) <= tolerance:  # as at the end of a path that leads to the target
        return high, value(high)
    end = float(bracketed_root(lambda t: np.asarray(value(float(t))), np.array(low), np.array(high), tolerance))
    return end, value(end)
