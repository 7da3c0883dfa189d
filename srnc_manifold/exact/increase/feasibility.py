"""Points moved onto the feasible set, to all digits."""

from __future__ import annotations

import numpy as np

from srnc_manifold.numerics import Array, bracketed_root
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.geometry import Geometry

# Entries of the matrix of Newton's method for polishing.
_NEWTON_ENTRIES = 5_000_000

# Polished kernels have the right gain up to this, relatively.
_GAIN_TOLERANCE = 1e-11


def polish(z: Array, direction: Array, geometry: Geometry, level: float) -> Array:
    """A unit kernel of gain ``c`` near a point that almost is one.

    Newton's method on the active constraints, for three opinions on what is active; failing these, and for points far
    from the set, a walk along a great circle: towards ``a`` if the gain is too low, else towards a delta kernel.
    """
    z = z / np.linalg.norm(z)
    for tolerance in (1e-6, 1e-5, 1e-4):
        corrected = _onto_active(z, geometry, level, tolerance)
        if abs(norms.gain(corrected, geometry) / level - 1) <= _GAIN_TOLERANCE:
            return corrected
    excess = float(norms.gain(z, geometry)) / level - 1
    end = direction if excess < 0 else atoms.nearest_delta(z, geometry)
    sign = 1.0 if excess < 0 else -1.0
    across = end - np.sum(end * z) * z
    length = float(np.linalg.norm(across))
    if length == 0:
        return z
    angle = float(np.arctan2(length, np.sum(end * z)))

    def point(t: float) -> Array:
        w = np.cos(t * angle) * z + np.sin(t * angle) * across / length
        return w / np.linalg.norm(w)

    def violation(t: float) -> float:
        return sign * (float(norms.gain(point(t), geometry)) / level - 1)

    return point(bracketed_root(violation, 0.0, 1.0, 0.1 * _GAIN_TOLERANCE))


def _onto_active(z: Array, geometry: Geometry, level: float, tolerance: float) -> Array:
    """Least corrections that bring the largest singular values to ``√c`` and the norm to one; a few Newton steps."""
    _, sizes, _ = symbol.singular_vectors(symbol.of(z, geometry))
    counts = np.sum(sizes**2 >= level * (1 - tolerance), axis=1)
    if not np.any(counts) or np.sum(counts**2) * z.size > _NEWTON_ENTRIES:
        return z
    for _ in range(6):
        u, sizes, vh = symbol.singular_vectors(symbol.of(z, geometry))
        rows, missing = [z.ravel()], [0.5 * (1 - float(np.sum(z * z)))]
        for block in np.flatnonzero(counts):
            k = counts[block]
            for i, j, factor in _hermitian_entries(k):
                matrices = np.zeros((geometry.n_blocks, *geometry.block_shape), complex)
                matrices[block] = factor * np.outer(u[block, :, i], vh[block, j])
                matrices[block] += np.conj(factor) * np.outer(u[block, :, j], vh[block, i])
                rows.append(0.5 * symbol.adjoint(matrices, geometry).ravel())
                missing.append(np.sqrt(level) - sizes[block, i] if i == j else 0.0)
        correction = np.linalg.lstsq(np.stack(rows), np.array(missing), rcond=1e-10)[0]
        if np.linalg.norm(correction) > 0.5:  # the point is too far from the set for Newton's method
            break
        z = z + correction.reshape(z.shape)
        if np.linalg.norm(correction) < 1e-15:
            break
    return z / np.linalg.norm(z)


def _hermitian_entries(k: int) -> list[tuple[int, int, complex]]:
    """Entries that make up a Hermitian ``k × k`` matrix: all must stay where they are if its eigenvalues shall."""
    entries: list[tuple[int, int, complex]] = [(i, i, 1.0) for i in range(k)]
    return entries + [(i, j, factor) for i in range(k) for j in range(i) for factor in (1.0, 1j)]
