"""From a kernel to the singular values of its operator, and back by the adjoint.

The only transform code of the package: one path for dense matrices, 1-D, 2-D and 3-D kernels with any number of
channels, run by NumPy, autograd or torch. Leading axes of a kernel beyond ``geometry.kernel_shape`` are batch axes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.operators.geometry import Geometry, Weighted


def _by_product(geometry: Geometry) -> bool:
    """Whether a product with the phases costs less than an FFT, as measured by benchmarks/symbol.py."""
    if isinstance(geometry, Weighted):  # its weights are in the phases
        return True
    return geometry.n_taps <= (128 if geometry.channels == (1, 1) else 32)


def of(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Symbol of a kernel on half of the frequencies: ``X_l = Σ_j x[:, :, j] f_l(j)`` (docs/theory.md, section 1).

    Parameters
    ----------
    kernel : array, shape ``(*batch, *geometry.kernel_shape)``
        Real kernel.
    geometry : Geometry
        Shape and grid.
    xp : Namespace, optional
        Library of the array, NumPy by default.

    Returns
    -------
    array, shape ``(*batch, n_blocks, *block_shape)``
        Complex matrices, frequency by frequency and group by group; without groups and stride ``(L, c_out, c_in)``.
    """
    batch = tuple(kernel.shape)[: len(kernel.shape) - len(geometry.kernel_shape)]
    (c_out, c_in), n_phases = geometry.channels, geometry.n_phases
    rows = xp.reshape(kernel, (*batch, c_out * c_in, geometry.n_taps))
    if _by_product(geometry):
        values = xp.matmul(xp.constant(geometry.transform, kernel), xp.swapaxes(rows, -1, -2) + 0j)
    else:
        # Every tap in its place among zeros; a gather, since autograd knows no assignment.
        source = np.full(n_phases * geometry.n_points, geometry.n_taps)
        source[geometry.places] = np.arange(geometry.n_taps)
        padded = xp.concatenate([rows, rows[..., :1] * 0], axis=-1)[..., xp.constant(source, rows)]
        full = xp.real_fft(xp.reshape(padded, (*batch, c_out * c_in * n_phases, *geometry.grid)), geometry.grid)
        flat = xp.reshape(full, (*batch, c_out * c_in, n_phases, math.prod(geometry.fft_shape)))
        values = xp.swapaxes(flat[..., xp.constant(geometry.fft_index, flat)], -1, -3)
    if n_phases > 1:  # (L, phases, c_out, c_in) to (L, c_out, phases, c_in)
        values = xp.swapaxes(xp.reshape(values, (*batch, -1, n_phases, c_out, c_in)), -2, -3)
    return xp.reshape(values, (*batch, geometry.n_blocks, *geometry.block_shape))


def at(kernels: Any, owners: Any, blocks: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Some blocks of some kernels: that of ``kernels[owners[k]]`` at ``blocks[k]``, shape ``(R, *block_shape)``.

    Much less work than :func:`of` where these are few.
    """
    (c_out, c_in), n_phases, groups = geometry.channels, geometry.n_phases, geometry.groups
    rows = xp.reshape(kernels, (len(kernels), groups, c_out // groups * c_in, geometry.n_taps))
    frequencies, members = blocks // groups, blocks % groups
    transform = xp.constant(geometry.transform.reshape(-1, n_phases, geometry.n_taps), kernels)[frequencies]
    taps = rows[owners, members] if groups > 1 else rows[owners, 0]  # (R, c_out / groups · c_in, q)
    if taps.shape[1] * n_phases <= 16:  # products of many small matrices are slow
        values = xp.sum(taps[:, :, None, :] * transform[:, None, :, :], axis=-1)
    else:
        values = xp.matmul(taps + 0j, xp.swapaxes(transform, -1, -2))
    by_entry = xp.reshape(values, (len(owners), c_out // groups, c_in, n_phases))
    return xp.reshape(xp.swapaxes(by_entry, -1, -2), (len(owners), *geometry.block_shape))


def adjoint(matrices: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Adjoint of :func:`of`: the kernel ``Re Σ_l conj(f_l(j)) Y_l`` (docs/theory.md, section 1).

    Adjoint for ``⟨x, y⟩ = Σ x y`` on kernels and ``Re Σ_b ⟨X_b, Y_b⟩`` on symbols, each listed block counted once.

    Parameters
    ----------
    matrices : array, shape ``(n_blocks, *block_shape)``
        Complex matrices in the order of :func:`of`.

    Returns
    -------
    array, shape ``geometry.kernel_shape``
    """
    (c_out, c_in), n_phases = geometry.channels, geometry.n_phases
    by_phase = matrices.reshape(-1, c_out, n_phases, c_in).swapaxes(1, 2)
    columns = by_phase.reshape(-1, n_phases, c_out * c_in)
    if _by_product(geometry):
        kernel = (columns.reshape(-1, c_out * c_in).T @ geometry.transform.conj()).real
    else:
        d = len(geometry.grid)
        full = np.zeros((math.prod(geometry.fft_shape), n_phases, c_out * c_in), complex)
        full[geometry.fft_index] = columns
        # A complex transform, since an inverse real FFT would presume the other half of the spectrum.
        padded = np.zeros((*geometry.grid, n_phases, c_out * c_in), complex)
        padded[tuple(slice(n) for n in geometry.fft_shape)] = full.reshape(*geometry.fft_shape, n_phases, -1)
        space = np.fft.ifftn(padded, axes=tuple(range(d))).real * geometry.n_points
        by_place = space.reshape(geometry.n_points, n_phases, -1).swapaxes(0, 1).reshape(-1, c_out * c_in)
        kernel = by_place[geometry.places].T
    return np.ascontiguousarray(kernel).reshape(geometry.kernel_shape)


def row_matrix(geometry: Geometry) -> NDArray[np.float64]:
    """The matrix from taps to real and then imaginary parts, shape ``(q, 2 L n_phases)``."""
    return np.concatenate([geometry.transform.real, geometry.transform.imag]).T


def of_rows(rows: Any, matrix: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Symbols of many kernels by one real product, which a large batch makes faster than FFTs.

    Parameters
    ----------
    rows : array, shape ``(B, n)``
        Flat kernels.
    matrix : array
        :func:`row_matrix` in the library and on the device of the rows.

    Returns
    -------
    array, shape ``(B, 2, n_blocks, *block_shape)``
        Real and imaginary parts of :func:`of`.
    """
    (c_out, c_in), n_phases = geometry.channels, geometry.n_phases
    values = xp.matmul(xp.reshape(rows, (-1, geometry.n_taps)), matrix)
    if (c_out, c_in, n_phases) != (1, 1, 1):
        values = xp.reshape(values, (-1, c_out, c_in, 2, len(geometry.frequencies), n_phases))
        values = xp.permute_dims(values, (0, 3, 4, 1, 5, 2))
    return xp.reshape(values, (-1, 2, geometry.n_blocks, *geometry.block_shape))


def adjoint_rows(matrices: Any, matrix: Any, geometry: Geometry, xp: Namespace) -> Any:
    """Adjoint of :func:`of_rows`, shape ``(B, n)``."""
    (c_out, c_in), n_phases = geometry.channels, geometry.n_phases
    values, count = matrices, len(matrices)
    if (c_out, c_in, n_phases) != (1, 1, 1):
        values = xp.reshape(matrices, (count, 2, -1, c_out, n_phases, c_in))
        values = xp.permute_dims(values, (0, 3, 5, 1, 2, 4))
    return xp.reshape(xp.matmul(xp.reshape(values, (-1, matrix.shape[1])), matrix.T), (count, -1))


def grams(matrices: Any) -> Any:
    """``X X*`` of stacked matrices or, if it is smaller, ``X* X``."""
    adjoints = matrices.conj().swapaxes(-1, -2)
    return matrices @ adjoints if matrices.shape[-2] <= matrices.shape[-1] else adjoints @ matrices


def squared_singular_values(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Squared singular values of the blocks, shape ``(*batch, n_blocks, block_rank)``, descending in each.

    Smooth wherever the singular values of a frequency are distinct; with one input or output channel everywhere,
    since no decomposition is needed there.
    """
    matrices = of(kernel, geometry, xp)
    if geometry.block_rank == 1:
        return energies(matrices, xp)[..., None]
    return xp.singular_values(matrices) ** 2


def singular_vectors(matrices: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Thin singular value decomposition ``U, σ, V*`` of stacked matrices; in closed form where one side is 1."""
    if min(matrices.shape[-2:]) > 1:
        return np.linalg.svd(matrices, full_matrices=False)
    norms = np.sqrt(energies(matrices))
    zero = norms == 0
    units = matrices / np.where(zero, 1.0, norms)[..., None, None]
    units[zero, 0, 0] = 1.0
    ones = np.ones((*norms.shape, 1, 1), complex)
    u, vh = (ones, units) if matrices.shape[-2] == 1 else (units, ones)
    return u, norms[..., None], vh


def energies(matrices: Any, xp: Namespace = NUMPY) -> Any:
    """Squared Frobenius norms of stacked matrices."""
    squares = xp.real(matrices) ** 2 + xp.imag(matrices) ** 2
    if tuple(matrices.shape[-2:]) == (1, 1):  # summing over an axis of one entry is slow
        return squares[..., 0, 0]
    return xp.sum(xp.sum(squares, axis=-1), axis=-1)
