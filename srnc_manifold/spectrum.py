"""From a kernel to the singular values of its operator, and back by the adjoint.

The only transform code of the package: one path for dense matrices, 1-D, 2-D and 3-D kernels with any number of
channels, run by NumPy, autograd or torch. Leading axes of a kernel beyond ``geometry.kernel_shape`` are batch axes.
"""

from __future__ import annotations

import contextlib
import math
from functools import cached_property
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import Namespace, namespace, namespace_of
from srnc_manifold.geometry import Geometry, InputSize, Layout, as_kernel
from srnc_manifold.numerics import binary_scale

NUMPY = namespace("numpy")


def _by_product(geometry: Geometry) -> bool:
    """Whether a product with the phases costs less than an FFT, as measured by benchmarks/symbol.py."""
    return geometry.n_taps <= (128 if geometry.channels == (1, 1) else 32)


def symbol(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
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


def adjoint(matrices: NDArray, geometry: Geometry) -> NDArray:
    """Adjoint of :func:`symbol`: the kernel ``Re Σ_l conj(f_l(j)) Y_l`` (docs/theory.md, section 1).

    Adjoint for ``⟨x, y⟩ = Σ x y`` on kernels and ``Re Σ_b ⟨X_b, Y_b⟩`` on symbols, each listed block counted once.

    Parameters
    ----------
    matrices : array, shape ``(n_blocks, *block_shape)``
        Complex matrices in the order of :func:`symbol`.

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


def squared_singular_values(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Squared singular values of the blocks, shape ``(*batch, n_blocks, block_rank)``, descending in each.

    Smooth wherever the singular values of a frequency are distinct; with one input or output channel everywhere,
    since no decomposition is needed there.
    """
    matrices = symbol(kernel, geometry, xp)
    if geometry.block_rank == 1:
        return energies(matrices, xp)[..., None]
    return xp.singular_values(matrices) ** 2


def _root(values: Any, xp: Namespace) -> Any:
    """Square roots, with the derivative zero instead of an infinite one where they are zero."""
    positive = values > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, values, 1.0)), 0.0 * values)


def singular_vectors(matrices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
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


def squared_norms(matrices: NDArray) -> NDArray:
    """Squared spectral norms of stacked matrices."""
    if min(matrices.shape[-2:]) == 1:
        return energies(matrices)
    return np.linalg.svd(matrices, compute_uv=False)[..., 0] ** 2


class NormTests:
    """Which of many matrices have a spectral norm above a level, at a fraction of the cost of their decompositions.

    ``σ₁(X)² < μ`` if and only if ``μ I − X X*`` is positive definite, which a Cholesky factorization tells. Where
    ``‖X X*‖_F < μ`` already, as for most matrices of trained layers, none is needed.

    Parameters
    ----------
    matrices : complex array, shape ``(n, rows, columns)``
    """

    #: Below this size decomposing a stack of matrices costs less than factorizing one after the other.
    SMALL = 12

    def __init__(self, matrices: NDArray) -> None:
        self.matrices, self.size = matrices, min(matrices.shape[-2:])
        adjoints = matrices.conj().swapaxes(-1, -2)
        self._grams = matrices @ adjoints if matrices.shape[-2] <= matrices.shape[-1] else adjoints @ matrices
        # A factorization is exact for a matrix that differs by this part of the level (Higham 2002, theorem 10.3).
        self.margin = 1 + 2.0**-50 * (self.size + 4) ** 1.5

    @cached_property
    def estimates(self) -> NDArray:
        """Lower bounds on the squared norms by a few steps of power iteration, each from the same vector."""
        phase = np.arange(self.size) * (0.5 * np.sqrt(5.0) - 0.5)
        vectors = np.tile(np.exp(2j * np.pi * phase)[:, None], (len(self._grams), 1, 1))
        norms = np.zeros((len(vectors), 1, 1))
        for _ in range(4):
            sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = self._grams @ (vectors / np.where(sizes > 0, sizes, 1.0))
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return norms[:, 0, 0]

    @cached_property
    def _ceilings(self) -> NDArray:
        """Upper bounds on the squared norms: ``‖X X*‖_F``, the square of Schatten's 4-norm."""
        entries = self._grams.view(float)
        return np.sqrt(np.einsum("ijk,ijk->i", entries, entries))

    def dominant(self) -> tuple[int, float]:
        """Index of the matrix with the largest norm, and that norm squared."""
        best, largest, left = 0, 0.0, np.argsort(-self.estimates, kind="stable")
        while len(left):
            first, left = left[0], left[1:]
            value = float(squared_norms(self.matrices[[first]])[0])
            if value > largest:
                best, largest = int(first), value
                left = left[~self.below(left, np.full(len(left), largest / self.margin))]
        return best, largest

    def below(self, index: NDArray, levels: NDArray) -> NDArray:
        """Which of the matrices at ``index`` surely have a squared norm below ``levels · margin``."""
        diagonal = np.arange(self.size)
        below = self._ceilings[index] <= levels
        for k in np.flatnonzero(~below):
            shifted = -self._grams[index[k]]
            shifted[diagonal, diagonal] += levels[k]
            with contextlib.suppress(np.linalg.LinAlgError):
                np.linalg.cholesky(shifted)
                below[k] = True
        return below


def gain(kernel: Any, geometry: Geometry, xp: Namespace = NUMPY) -> Any:
    """Largest squared singular value of the operator of one kernel, ``‖C(x)‖₂²``.

    In NumPy most frequencies are discarded by a bound; where it is to be differentiated all are decomposed.
    """
    if xp.name != "numpy" or geometry.block_rank <= NormTests.SMALL:
        return xp.max(squared_singular_values(kernel, geometry, xp))
    return NormTests(symbol(kernel, geometry)).dominant()[1]


def dominant_block(matrices: NDArray) -> tuple[int, float]:
    """Index of the matrix with the largest spectral norm in a stack, and that norm squared."""
    if min(matrices.shape[-2:]) > NormTests.SMALL:
        return NormTests(matrices).dominant()
    values = squared_norms(matrices)
    return int(np.argmax(values)), float(np.max(values))


def singular_values(kernel: Any, input_size: InputSize, **layout: Unpack[Layout]) -> Any:
    """All singular values of the convolution by a kernel, with circular padding (paper, (8); docs/theory.md, prop. 1).

    Parameters
    ----------
    kernel : array or tensor
        ``taps`` or ``(c_out, c_in / groups, *taps)``; see :meth:`Geometry.of`.
    input_size : int or sequence of int
        Grid on which the operator acts; ``()`` for a dense matrix.
    groups, stride, dilation : int or sequence of int, optional
        With PyTorch's meaning; see :meth:`Geometry.of`.

    Where a singular value is zero, as those of Sobel's kernel and of layers with dead or equal filters are, its
    gradient in torch and autograd is a subgradient.

    Returns
    -------
    array, shape ``(groups · min(c_out / groups, c_in / groups · phases) · |N|,)``
        Descending, each with its multiplicity; in the library of ``kernel``. ``|N|`` is the number of outputs and
        ``phases`` that of the phases of the stride which meet a tap; further singular values are zero.

    Raises
    ------
    TypeError, ValueError
        If the kernel or the input size is not valid.
    """
    kernel, geometry, xp, scale = _prepare(kernel, input_size, layout)
    if geometry.block_rank == 1:
        values = _root(squared_singular_values(kernel, geometry, xp), xp)
    else:  # not squared: where it is zero, a root of a square has no derivative
        values = xp.singular_values(symbol(kernel, geometry, xp))
    ordered = xp.sort(values[np.repeat(np.arange(len(values)), geometry.multiplicities.astype(int))].reshape(-1))
    return ordered[np.arange(len(ordered))[::-1].copy()] * scale


def spectral_norm(kernel: Any, input_size: InputSize, *, all_sizes: bool = False, **layout: Unpack[Layout]) -> Any:
    """Largest singular value of the convolution by a kernel; parameters as :func:`singular_values`.

    With ``all_sizes`` an upper bound on it for every input that is at least as large along each axis, and for zero
    padding (docs/theory.md, section 11): the maximum over the frequencies of this grid times :func:`size_factor`.
    """
    kernel, geometry, xp, scale = _prepare(kernel, input_size, layout)
    norm = xp.sqrt(gain(kernel, geometry, xp)) * scale
    return norm * size_factor(geometry) if all_sizes else norm


def size_factor(geometry: Geometry) -> float:
    """Bound on how much the spectral norm of a kernel can grow when the grid does.

    Along an axis with ``N`` frequencies and taps at ``0 … k - 1`` the smaller of ``(1 - (k - 1)/N)^(-1/2)`` and
    ``1 / cos(π (k - 1) / 2N)`` (docs/theory.md, proposition 16).
    """
    factor = 1.0
    for offsets, n in zip(geometry.axis_offsets, geometry.grid, strict=True):
        step = math.gcd(*(int(o) for o in offsets)) or 1  # a dilated kernel is a smaller one on fewer frequencies
        degree, n = int(max(offsets)) // step, n // math.gcd(n, step)
        if degree >= n:  # taps that wrap around at this size and not at others
            return math.inf
        factor *= min((1 - degree / n) ** -0.5, 1 / math.cos(math.pi * degree / (2 * n)))
    return factor


def frobenius_norm(kernel: Any, input_size: InputSize, **layout: Unpack[Layout]) -> Any:
    """Frobenius norm of the convolution by a kernel, ``√|N| ‖x‖``; parameters as :func:`singular_values`."""
    kernel, geometry, xp, scale = _prepare(kernel, input_size, layout)
    return xp.sqrt(xp.sum(kernel**2) * geometry.n_points) * scale


def stable_rank(kernel: Any, input_size: InputSize, **layout: Unpack[Layout]) -> Any:
    """Stable rank ``‖C(x)‖_F² / ‖C(x)‖₂²`` of the convolution by a kernel (paper, (1), (9)).

    Parameters as :func:`singular_values`. Between ``|N| / q`` and ``min(c_out, c_in) |N|`` without groups and stride.
    """
    kernel, geometry, xp, _ = _prepare(kernel, input_size, layout)
    return geometry.n_points * xp.sum(kernel**2) / gain(kernel, geometry, xp)


def _prepare(kernel: Any, input_size: InputSize, layout: Layout) -> tuple[Any, Geometry, Namespace, float]:
    """Check a kernel and bring its entries near one, where squares neither overflow nor vanish."""
    xp = namespace_of(kernel)
    if xp.name == "autograd":  # an array being differentiated: its values are not ours to inspect
        return kernel, Geometry.of(kernel.shape, input_size, **layout), xp, 1.0
    checked = as_kernel(kernel)
    scale = binary_scale(checked)
    kernel = xp.at_least_single(kernel) if xp.name == "torch" else checked
    return kernel / scale, Geometry.of(checked.shape, input_size, **layout), xp, scale
