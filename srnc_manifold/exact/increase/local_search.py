"""The convex-concave procedure from several starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from srnc_manifold.bounds import cone_programs
from srnc_manifold.exact.increase.best import Search
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry


def climb(search: Search, starts: Iterator[Array], tolerance: float) -> None:
    """The convex-concave procedure from several starts."""
    for k, start in enumerate(starts):
        if search.gap <= tolerance or not search.keep_going():
            return
        # A small weight makes long steps, which skip poor maxima; a large one stays near the start. Both are needed.
        search.offer(convex_concave(start, search, weight=(0.2, 1.0)[k % 2]))


def starts(direction: Array, relaxed: Array, rng: np.random.Generator) -> Iterator[Array]:
    """The relaxed solution and ``a``; by turns the largest entries of ``a``, each alone, and random points."""
    yield from (relaxed, direction) if np.any(relaxed) else (direction,)
    for count, entry in enumerate(np.argsort(-np.abs(direction), axis=None)):
        unit = np.zeros(direction.size)
        unit[entry] = 1.0 if direction.flat[entry] >= 0 else -1.0
        yield unit.reshape(direction.shape)
        if count < 8:
            yield rng.standard_normal(direction.shape)
    while True:
        yield rng.standard_normal(direction.shape)


def deltas(direction: Array, geometry: Geometry) -> list[Array]:
    """For every tap the kernel of the least gain nearest to ``a`` that has this tap, the nearest to ``a`` first."""
    found = []
    for tap, phase in enumerate(geometry.phase_of_tap):
        alone = (geometry.phase_of_tap != phase) | (np.arange(geometry.n_taps) == tap)
        masked = direction.reshape(-1, geometry.n_taps) * alone
        found.append(atoms.nearest_delta(masked.reshape(direction.shape), geometry))
    return sorted(found, key=lambda delta: -float(np.sum(delta * direction)))


def convex_concave(start: Array, search: Search, weight: float, max_steps: int = 100) -> Array:
    """Local maximizer of ``⟨a, z⟩ + τ ‖z‖`` over the convex set, with ``τ`` large enough for norm one.

    Each step maximizes ``⟨a + τ z_k / ‖z_k‖, z⟩``, so that no step decreases that function: the norm is convex and lies
    above its tangent planes. ``τ`` starts at ``weight`` and is doubled where the iterates settle inside the ball.
    """
    z, moved = start / np.linalg.norm(start), np.inf
    for _ in range(max_steps):
        if moved < 1e-6 or not search.keep_going():
            break
        unit = z / np.linalg.norm(z)
        after, _ = cone_programs.ball_maximizer(search.direction + weight * unit, search.geometry, search.level)
        if not np.any(after):
            break
        moved, z = float(np.linalg.norm(after - z)), after
        if moved < 1e-3 and np.linalg.norm(z) < cone_programs.ON_SPHERE and weight < 1e3:
            weight, moved = 2 * weight, np.inf
    return z
