"""Atoms of the operator norm and the spherical caps they cut (theory, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import spectrum
from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array


@dataclass(frozen=True)
class Atom:
    """``G[o, i, j] = Re(conj(u_o) v_i f_l(j))``, so that ``⟨x, G⟩ = Re(u* X_l v)``.

    Attributes
    ----------
    frequency : int
        Row of ``geometry.frequencies``.
    u, v : complex arrays, shapes ``(c_out,)`` and ``(c_in,)``
        Unit vectors.
    tensor : array, shape ``geometry.kernel_shape``
        The atom ``G``.
    """

    frequency: int
    u: NDArray[np.complex128]
    v: NDArray[np.complex128]
    tensor: Array

    @property
    def norm(self) -> float:
        """``γ = ‖G‖``."""
        return float(np.linalg.norm(self.tensor))


def atom(geometry: Geometry, frequency: int, u: NDArray, v: NDArray) -> Atom:
    """The atom of a frequency and two unit vectors."""
    tensor = np.einsum("o,i,j->oij", u.conj(), v, geometry.phases[frequency]).real
    return Atom(frequency, u, v, tensor.reshape(geometry.kernel_shape))


def dominant_atom(kernel: Array, geometry: Geometry) -> Atom:
    """The atom with the largest ``⟨x, G⟩``: the top singular pair of the kernel's operator."""
    matrices = spectrum.symbol(kernel, geometry)
    norms = np.linalg.norm(matrices, 2, axis=(-2, -1))
    frequency = int(np.argmax(norms))
    u, _, vh = np.linalg.svd(matrices[frequency])
    return atom(geometry, frequency, u[:, 0], vh[0].conj())


def nearest_in_cap(anchor: Array, tensor: Array, level: float) -> Array:
    """Point of the cap ``{‖z‖ = 1, ⟨z, G⟩ >= level}`` nearest to an anchor outside it: ``x(G) / ρ`` of the theorem.

    Raises
    ------
    ValueError
        If the cap is empty (``‖G‖ < level``), or the anchor is parallel to the atom and every point of the
        rim is as near as any other.
    """
    norm = np.linalg.norm(tensor)
    axis = tensor / norm
    if norm < level:
        raise ValueError(f"empty cap: the atom has norm {norm:.6g}, below the level {level:.6g}")
    height = level / norm
    across = anchor - np.sum(anchor * axis) * axis
    length = np.linalg.norm(across)
    if length <= 1e-14 * np.linalg.norm(anchor):
        if height < 1.0:
            raise ValueError("the anchor is parallel to the atom")
        return axis
    return height * axis + np.sqrt(np.maximum(0.0, 1.0 - height**2)) * across / length
