"""From a kernel to the singular values of its operator, and back by the adjoint.

The only transform code of the package: one path for dense matrices, 1-D, 2-D and 3-D kernels with any number of
channels, run by NumPy, autograd or torch. Leading axes of a kernel beyond ``geometry.kernel_shape`` are batch axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import Namespace, namespace, namespace_of
from srnc_manifold.geometry import Geometry, InputSize, as_kernel
from srnc_manifold.numerics import binary_scale

NUMPY = namespace("numpy")


def _by_product(geometry: Geometry) -> bool:
    """Whether a product with the phases costs less than an FFT, as measured by benchmarks/symbol.py."""
    return geometry.n_taps <= (128 if geometry.channels == (1, 1) else 32)


def symbol(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Symbol of a kernel on half of the frequencies: ``X_l = Σ_j x[:, :, j] f_l(j)`` (theory, section 1).

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
    array, shape ``(*batch, L, c_out, c_in)``
        Complex matrices in the order of ``geometry.frequencies``.
    """
    batch = tuple(kernel.shape)[: len(kernel.shape) - len(geometry.kernel_shape)]
    n_channels, n_taps = geometry.channels[0] * geometry.channels[1], geometry.n_taps
    if _by_product(geometry):
        columns = xp.swapaxes(xp.reshape(kernel, (*batch, n_channels, n_taps)), -1, -2)
        values = xp.matmul(xp.constant(geometry.phases, kernel), columns + 0j)
    else:
        padded = xp.reshape(kernel, (*batch, n_channels, *geometry.taps))
        full = xp.real_fft(padded, geometry.grid)
        flat = xp.reshape(full, (*batch, n_channels, int(np.prod(geometry.fft_shape))))
        values = xp.swapaxes(flat[..., xp.constant(geometry.fft_index, flat)], -1, -2)
    return xp.reshape(values, (*batch, values.shape[-2], *geometry.channels))


def adjoint(matrices: NDArray, geometry: Geometry) -> NDArray:
    """Adjoint of :func:`symbol`: the kernel ``Re Σ_l conj(f_l(j)) Y_l`` (theory, section 1).

    Adjoint for ``⟨x, y⟩ = Σ x y`` on kernels and ``Re Σ_l ⟨X_l, Y_l⟩`` on symbols, each listed frequency counted once.

    Parameters
    ----------
    matrices : array, shape ``(L, c_out, c_in)``
        Complex matrices in the order of ``geometry.frequencies``.

    Returns
    -------
    array, shape ``geometry.kernel_shape``
    """
    columns = matrices.reshape(len(geometry.frequencies), -1)
    if _by_product(geometry):
        kernel = (columns.T @ geometry.phases.conj()).real
    else:
        d = len(geometry.grid)
        full = np.zeros((int(np.prod(geometry.fft_shape)), columns.shape[1]), complex)
        full[geometry.fft_index] = columns
        # A complex transform, since an inverse real FFT would presume the other half of the spectrum.
        padded = np.zeros((*geometry.grid, columns.shape[1]), complex)
        padded[tuple(slice(n) for n in geometry.fft_shape)] = full.reshape(*geometry.fft_shape, -1)
        space = np.fft.ifftn(padded, axes=tuple(range(d))).real * geometry.n_points
        kernel = space[tuple(slice(k) for k in geometry.taps)].reshape(geometry.n_taps, -1).T
    return np.ascontiguousarray(kernel).reshape(geometry.kernel_shape)


def squared_singular_values(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Squared singular values on half of the frequencies, shape ``(*batch, L, min(c_out, c_in))``, descending in each.

    Smooth wherever the singular values of a frequency are distinct; with one input or output channel everywhere,
    since no decomposition is needed there.
    """
    matrices = symbol(kernel, geometry, xp)
    if geometry.min_channels == 1:
        energy = xp.sum(xp.real(matrices) ** 2 + xp.imag(matrices) ** 2, axis=-1)
        return xp.reshape(xp.sum(energy, axis=-1), (*tuple(energy.shape)[:-1], 1))
    return xp.singular_values(matrices) ** 2


def singular_vectors(matrices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Thin singular value decomposition ``U, σ, V*`` of stacked matrices; in closed form where one side is 1."""
    if min(matrices.shape[-2:]) > 1:
        return np.linalg.svd(matrices, full_matrices=False)
    norms = np.sqrt(np.sum(matrices.real**2 + matrices.imag**2, axis=(-2, -1)))
    zero = norms == 0
    units = matrices / np.where(zero, 1.0, norms)[..., None, None]
    units[zero, 0, 0] = 1.0
    ones = np.ones((*norms.shape, 1, 1), complex)
    u, vh = (ones, units) if matrices.shape[-2] == 1 else (units, ones)
    return u, norms[..., None], vh


def singular_values(kernel: Any, input_size: InputSize) -> Any:
    """All singular values of the convolution by a kernel, with circular padding (theory, section 1; paper, (8)).

    Parameters
    ----------
    kernel : array or tensor
        ``taps`` or ``(c_out, c_in, *taps)``; see :meth:`Geometry.of`.
    input_size : int or sequence of int
        Grid on which the operator acts; ``()`` for a dense matrix.

    Returns
    -------
    array, shape ``(min(c_out, c_in) · |N|,)``
        Descending, each with its multiplicity; in the library of ``kernel``.

    Raises
    ------
    TypeError, ValueError
        If the kernel or the input size is not valid.
    """
    kernel, geometry, xp, scale = _prepare(kernel, input_size)
    values = xp.sqrt(squared_singular_values(kernel, geometry, xp))
    ordered = xp.sort(values[np.repeat(np.arange(len(values)), geometry.multiplicities.astype(int))].reshape(-1))
    return ordered[np.arange(len(ordered))[::-1].copy()] * scale


def spectral_norm(kernel: Any, input_size: InputSize) -> Any:
    """Largest singular value of the convolution by a kernel; parameters as :func:`singular_values`."""
    kernel, geometry, xp, scale = _prepare(kernel, input_size)
    return xp.sqrt(xp.max(squared_singular_values(kernel, geometry, xp))) * scale


def frobenius_norm(kernel: Any, input_size: InputSize) -> Any:
    """Frobenius norm of the convolution by a kernel, ``√|N| ‖x‖``; parameters as :func:`singular_values`."""
    kernel, geometry, xp, scale = _prepare(kernel, input_size)
    return xp.sqrt(xp.sum(kernel**2) * geometry.n_points) * scale


def stable_rank(kernel: Any, input_size: InputSize) -> Any:
    """Stable rank ``‖C(x)‖_F² / ‖C(x)‖₂²`` of the convolution by a kernel (paper, (1), (9)).

    Parameters as :func:`singular_values`. Between ``|N| / q`` and ``min(c_out, c_in) |N|``.
    """
    kernel, geometry, xp, _ = _prepare(kernel, input_size)
    return geometry.n_points * xp.sum(kernel**2) / xp.max(squared_singular_values(kernel, geometry, xp))


def _prepare(kernel: Any, input_size: InputSize) -> tuple[Any, Geometry, Namespace, float]:
    """Check a kernel and bring its entries near one, where squares neither overflow nor vanish."""
    xp = namespace_of(kernel)
    if xp.name == "autograd":  # an array being differentiated: its values are not ours to inspect
        return kernel, Geometry.of(kernel.shape, input_size), xp, 1.0
    checked = as_kernel(kernel)
    scale = binary_scale(checked)
    kernel = xp.at_least_single(kernel) if xp.name == "torch" else checked
    return kernel / scale, Geometry.of(checked.shape, input_size), xp, scale
