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
    """``G[o, i, j] = Re(conj(u_o) v_i f_l(j))`` in one group of channels, so that ``⟨x, G⟩ = Re(u* X_l v)``.

    Attributes
    ----------
    block : int
        Place in :func:`spectrum.symbol`: frequency times groups plus group.
    u, v : complex arrays, shapes ``(rows,)`` and ``(columns,)`` of a block
        Unit vectors.
    tensor : array, shape ``geometry.kernel_shape``
        The atom ``G``.
    """

    block: int
    u: NDArray[np.complex128]
    v: NDArray[np.complex128]
    tensor: Array

    @property
    def norm(self) -> float:
        """``γ = ‖G‖``."""
        return float(np.linalg.norm(self.tensor))


def atom(geometry: Geometry, block: int, u: NDArray, v: NDArray) -> Atom:
    """The atom of a block and two unit vectors."""
    frequency, group = divmod(block, geometry.groups)
    m, _ = geometry.block_shape
    by_phase = v.reshape(geometry.n_phases, geometry.channels[1])
    columns = by_phase[geometry.phase_of_tap].T * geometry.phases[frequency]
    tensor = np.zeros((geometry.groups, m, geometry.channels[1], geometry.n_taps))
    tensor[group] = np.einsum("o,ij->oij", u.conj(), columns).real
    return Atom(block, u, v, tensor.reshape(geometry.kernel_shape))


def dominant_atom(kernel: Array, geometry: Geometry) -> Atom:
    """The atom with the largest ``⟨x, G⟩``: the top singular pair of the kernel's operator."""
    matrices = spectrum.symbol(kernel, geometry)
    block, _ = spectrum.dominant_block(matrices)
    u, _, vh = spectrum.singular_vectors(matrices[block])
    return atom(geometry, block, u[:, 0], vh[0].conj())


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
