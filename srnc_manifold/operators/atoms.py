"""Atoms of the operator norm and the spherical caps they cut (docs/theory.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array, division_error
from srnc_manifold.operators import norms, symbol
from srnc_manifold.operators.geometry import Geometry

# A divisor that may be zero is raised by this number, which single precision has, too.
_LEAST = 1e-37


@dataclass(frozen=True)
class Frame:
    """Frequencies turned so that ``S_l`` is real and positive in every phase (docs/theory.md, section 3).

    In this frame the norm of an atom is ``γ² = Σ upper Re(w)² + lower Im(w)²``, with ``w = conj(u) vᵀ``.

    Attributes
    ----------
    turns : complex array, shape ``(n_blocks, columns)``
        Factors of the columns of the symbol.
    upper, lower : arrays, shape ``(n_blocks, columns)``
        ``(n_p ± |S_{l,p}|) / 2`` for the phase of each column, the eigenvalues of ``B_l`` (paper, (12)).
    rows : complex array, shape ``(L, q)``
        The turned ``f_l(j)``.
    """

    turns: NDArray[np.complex128]
    upper: Array
    lower: Array
    rows: NDArray[np.complex128]

    @cached_property
    def top(self) -> Array:
        """Largest ``γ²`` of an atom of each block, shape ``(n_blocks,)``; a number of taps where ``lower`` is zero."""
        return np.max(self.upper, axis=1)

    @cached_property
    def safe_upper(self) -> Array:
        """``upper``, raised above its rounding errors; it has none where it is a number of taps."""
        return self.upper * np.where(self.lower == 0, 1.0, 1 + 2.0**-50)

    @cached_property
    def safe_top(self) -> Array:
        """``top``, likewise."""
        return np.max(self.safe_upper, axis=1)

    @cached_property
    def spread(self) -> Array:
        """:func:`spread_of` these."""
        return spread_of(self.upper, self.lower)


def spread_of(upper: Array, lower: Array) -> Array:
    """``upper − lower``, which is ``|S_{l,p}|``, lowered by its rounding errors, and zero where it has no more."""
    return np.maximum(upper - lower - 2.0**-46 * upper, 0.0)


@lru_cache(maxsize=32)
def frame(geometry: Geometry) -> Frame:
    """The frame of a geometry."""
    phase = geometry.phase_of_tap
    turns = np.exp(-0.5j * np.angle(geometry.phase_sums))
    rows = turns[:, phase] * geometry.phases
    # Sums of squares, not (n ± |S|) / 2: no digits are lost where the smaller one is almost zero.
    upper, lower = (
        np.stack([np.sum(part[:, taps] ** 2, axis=1) for taps in geometry.taps_by_phase], axis=1)
        for part in (rows.real, rows.imag)
    )
    # An eigenvalue that is zero but for rounding, as at DC and Nyquist. The other one is then the number of taps.
    lower = np.where(lower > 1e-20 * upper, lower, 0.0)
    upper = np.where(lower > 0, upper, geometry.squares_per_phase)

    def by_column(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(np.repeat(values, geometry.channels[1], axis=1), geometry.groups, axis=0)

    return Frame(by_column(turns), by_column(upper), by_column(lower), rows)


def turned_symbol(kernels: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """The symbol in the frame of the geometry, shape ``(*batch, n_blocks, *block_shape)``."""
    matrices = symbol.of(kernels, geometry, xp)
    return matrices * xp.constant(frame(geometry).turns, matrices)[:, None, :]


def synthesis(coefficients: Any, blocks: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Kernels ``Re(w f_l(j))`` of one block each, in the frame of the geometry; for ``w = conj(u) vᵀ`` the atoms.

    Parameters
    ----------
    coefficients : complex array, shape ``(R, *block_shape)``
        ``w``.
    blocks : integer array, shape ``(R,)``
        Places in the symbol.

    Returns
    -------
    array, shape ``(R, *geometry.kernel_shape)``
    """
    m, _ = geometry.block_shape
    c_in, count = geometry.channels[1], len(blocks)
    rows = xp.constant(frame(geometry).rows, coefficients)[blocks // geometry.groups]
    by_phase = xp.reshape(coefficients, (count, m, geometry.n_phases, c_in))
    by_tap = xp.swapaxes(by_phase, -1, -2)[..., xp.constant(geometry.phase_of_tap, blocks)]
    kernels = xp.real(by_tap * rows[:, None, None, :])
    if geometry.groups > 1:
        members = xp.constant(np.arange(geometry.groups), blocks) == (blocks % geometry.groups)[:, None]
        kernels = xp.where(members[:, :, None, None, None], kernels[:, None], 0.0)
    return xp.reshape(kernels, (count, *geometry.kernel_shape))


@dataclass(frozen=True)
class Level:
    """``c = |N| / r``, the gain that unit kernels are to have, as ``value + rest``, with twice the digits of a double.

    It stands in differences ``top − c`` that are almost zero near the least feasible stable rank, and of which square
    roots are taken.

    Attributes
    ----------
    value, rest : floats or arrays
    """

    value: Any
    rest: Any

    @classmethod
    def of_target(cls, weight: float, stable_rank: Any) -> Level:
        """The level of a target, or of an array of them, taken for exact."""
        value = np.float64(weight) / stable_rank
        return cls(value, division_error(float(weight), value, stable_rank))

    def below(self, top: Any) -> Any:
        """``top − c``."""
        return (top - self.value) - self.rest

    def at_most(self, top: Any, xp: Namespace) -> Level:
        """The lesser of ``c`` and a number."""
        return Level(xp.minimum(self.value, top), xp.where(self.value > top, 0.0, self.rest))

    def __getitem__(self, index: Any) -> Level:
        return Level(self.value[index], self.rest[index])


def as_level(level: Any) -> Level:
    """A level, or a number that is one without a rest."""
    if isinstance(level, Level):
        return level
    value = np.float64(level) if isinstance(level, float) else level
    return Level(value, 0.0 * value)


def squared_distance(height: Any, top: Any, level: Any, slack: Any = 0.0, xp: Namespace = NUMPY) -> Any:
    """Least ``‖z − a‖²`` of unit vectors ``z`` in the caps of a block, of which some numbers are known.

    With ``slack = 0`` it is that of a single cap with ``⟨a, G⟩ = height`` and ``γ² = top``, and therefore, since it
    decreases in both, a lower bound for all atoms with at most that height and norm (the Lemma: docs/theory.md,
    proposition 5). With a multiplier ``T`` of the block, ``height = σ₁(A + T)`` and ``slack = Σ Re(T)²/(top − upper) +
    Im(T)²/(top − lower)`` it is a sharper one (docs/theory.md, proposition 6).

    Parameters
    ----------
    height, top, level, slack : arrays
        With ``level <= top``, where the caps are not all empty; ``a`` is a unit vector. The level may be a
        :class:`Level`.

    Returns
    -------
    array
        Computed without differences of nearly equal numbers but for ``level − height²``.
    """
    level = as_level(level)
    return distance_to_rim(height, top, level.value, level.below(top), slack, xp)


def distance_to_rim(height: Any, top: Any, level: Any, room: Any, slack: Any = 0.0, xp: Namespace = NUMPY) -> Any:
    """:func:`squared_distance` for a difference ``room = top − level`` that is known with more digits than these."""
    zero, scale = 0.0 * height, 1.0 + slack
    root = scale if isinstance(slack, float) and slack == 0.0 else xp.sqrt(scale)
    square, along, deep = height**2, xp.sqrt(level), xp.sqrt(xp.maximum(room, zero))
    missing, across = xp.maximum(level * scale - square, zero), xp.sqrt(xp.maximum(top * scale - square, zero))
    # Sine and cosine of the angle between a and the rim. The sine is a difference, written as a quotient where it loses
    # digits, and zero where both terms are.
    flat, steep = along * across, height * deep
    depth = flat + steep
    sine = xp.where(height >= 0, missing / xp.where(depth > 0, depth, 1.0), (flat - steep) / top) / root
    cosine = (height * along + across * deep) / (top * root)
    versine = xp.where(cosine > 0, sine**2 / (1.0 + xp.abs(cosine)), 1.0 - cosine)
    return xp.maximum(2.0 * (root * versine - slack / (1.0 + root)), zero)


def rim_coordinates(height: Any, norm: Any, level: Any, room: Any, xp: Namespace = NUMPY) -> tuple[Any, Any]:
    """``(push, pull)`` with ``push · G + pull · a`` the point of the cap of ``G`` nearest to the unit vector ``a``.

    Source: docs/theory.md, section 7; ``height = ⟨a, G⟩``, ``norm = ‖G‖²``, ``room = norm − level``.
    """
    norm, inside = xp.maximum(norm, level), room > 0
    # Neither difference is negative but for rounding. A root of zero would have no derivative.
    pull = xp.where(inside, xp.sqrt(xp.where(inside, room, 1.0) / (xp.abs(norm - height * height) + _LEAST)), 0.0)
    return (xp.sqrt(level) - pull * height) / norm, pull


@dataclass(frozen=True)
class Atom:
    """``G[o, i, j] = Re(conj(u_o) v_i f_l(j))`` in one group of channels, so that ``⟨x, G⟩ = Re(u* X_l v)``.

    Attributes
    ----------
    block : int
        Place in :func:`symbol.of`: frequency times groups plus group.
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


def atom(geometry: Geometry, block: int, u: NDArray[Any], v: NDArray[Any]) -> Atom:
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
    matrices = symbol.of(kernel, geometry)
    block, _ = norms.dominant_block(matrices)
    u, _, vh = symbol.singular_vectors(matrices[block])
    return atom(geometry, block, u[:, 0], vh[0].conj())


def top_atom(kernel: Array, geometry: Geometry, block: int, columns: slice = slice(None)) -> Atom:
    """The atom with the largest ``⟨x, G⟩`` in one block, of those whose ``v`` is zero outside of some columns.

    Only this block of the symbol is computed.
    """
    frequency, group = divmod(block, geometry.groups)
    m, n = geometry.block_shape
    taps = kernel.reshape(geometry.groups, -1, geometry.n_taps)[group]
    transform = geometry.transform.reshape(-1, geometry.n_phases, geometry.n_taps)[frequency]
    by_phase = (taps @ transform.T).reshape(m, geometry.channels[1], geometry.n_phases)
    u, _, vh = symbol.singular_vectors(by_phase.swapaxes(1, 2).reshape(m, n)[:, columns])
    v = np.zeros(n, complex)
    v[columns] = vh[0].conj()
    return atom(geometry, block, u[:, 0], v)


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


def nearest_delta(z: Array, geometry: Geometry) -> Array:
    """A unit kernel of the least gain there is, near ``z``: one tap in each phase, with orthonormal channels."""
    m, _ = geometry.block_shape
    taps = z.reshape(geometry.groups, m, geometry.channels[1], geometry.n_taps)
    delta = np.zeros_like(taps)
    for group, of_group in enumerate(taps):
        # In each phase the tap whose matrix is nearest to one with orthonormal rows or columns.
        sizes = np.sum(np.linalg.svd(np.moveaxis(of_group, -1, 0), compute_uv=False), axis=1)
        chosen = [max(of_phase, key=lambda j: sizes[j]) for of_phase in geometry.taps_by_phase]
        u, _, vh = np.linalg.svd(np.concatenate([of_group[..., j] for j in chosen], axis=1), full_matrices=False)
        for j, columns in zip(chosen, np.split(u @ vh, geometry.n_phases, axis=1), strict=True):
            delta[group, ..., j] = columns
    return (delta / np.linalg.norm(delta)).reshape(z.shape)
