"""Singular values, norms and stable rank of a convolution: the public functions of a kernel and a layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from srnc_manifold.arrays import as_kernel, as_kernels
from srnc_manifold.backends import Namespace, namespace_of
from srnc_manifold.numerics import binary_scale
from srnc_manifold.operators import norms, symbol
from srnc_manifold.operators.geometry import Geometry, InputSize, PerAxis


def singular_values(
    kernel: Any, input_size: InputSize, *, groups: int = 1, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Any:
    """All singular values of the convolution by a kernel, with circular padding (paper, (8); docs/theory.md, prop. 1).

    Parameters
    ----------
    kernel : array or tensor
        ``taps`` or ``(c_out, c_in / groups, *taps)``; see :meth:`Geometry.of`. It is one kernel: an array of shape
        ``(1000, 1, 3, 3)`` is a layer with 1000 outputs, not 1000 kernels.
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
    kernel, geometry, xp, scale = _prepare(kernel, input_size, groups, stride, dilation)
    if geometry.block_rank == 1:
        values = _root(symbol.squared_singular_values(kernel, geometry, xp), xp)
    else:  # not squared: where it is zero, a root of a square has no derivative
        values = xp.singular_values(symbol.of(kernel, geometry, xp))
    ordered = xp.sort(values[np.repeat(np.arange(len(values)), geometry.multiplicities.astype(int))].reshape(-1))
    return ordered[np.arange(len(ordered))[::-1].copy()] * scale


def spectral_norm(
    kernel: Any,
    input_size: InputSize,
    *,
    all_sizes: bool = False,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
) -> Any:
    """Largest singular value of the convolution by a kernel; parameters as :func:`singular_values`.

    With ``all_sizes`` an upper bound on it for every input that is at least as large along each axis, and for zero
    padding (docs/theory.md, section 11): the maximum over the frequencies of this grid times :func:`size_factor`.
    """
    kernel, geometry, xp, scale = _prepare(kernel, input_size, groups, stride, dilation)
    norm = xp.sqrt(norms.gain(kernel, geometry, xp)) * scale
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


def frobenius_norm(
    kernel: Any, input_size: InputSize, *, groups: int = 1, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Any:
    """Frobenius norm of the convolution by a kernel, ``√|N| ‖x‖``; parameters as :func:`singular_values`."""
    kernel, geometry, xp, scale = _prepare(kernel, input_size, groups, stride, dilation)
    return xp.sqrt(xp.sum(kernel**2) * geometry.n_points) * scale


def stable_rank(
    kernel: Any, input_size: InputSize, *, groups: int = 1, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Any:
    """Stable rank ``‖C(x)‖_F² / ‖C(x)‖₂²`` of the convolution by a kernel (paper, (1), (9)).

    Parameters as :func:`singular_values`. Between ``|N| / q`` and ``min(c_out, c_in) |N|`` without groups and stride.
    """
    kernel, geometry, xp, _ = _prepare(kernel, input_size, groups, stride, dilation)
    return geometry.n_points * xp.sum(kernel**2) / norms.gain(kernel, geometry, xp)


def spectral_norms(
    kernels: Any, input_size: InputSize, *, groups: int = 1, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Any:
    """Spectral norms of the convolutions by many kernels of one shape, at once.

    Parameters
    ----------
    kernels : array or tensor, shape ``(K, *kernel_shape)``
        With the batch axis first.
    input_size, groups, stride, dilation
        As in :func:`singular_values`, for one kernel.

    Returns
    -------
    array, shape ``(K,)``
        In the library and on the device of the kernels, and in double precision. Tensors that require gradients have
        them: those of the singular value that is the largest one, a subgradient where several are.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid; the first kernel that is not is named.
    """
    return _norms_and_sizes(kernels, input_size, groups, stride, dilation)[0]


def stable_ranks(
    kernels: Any, input_size: InputSize, *, groups: int = 1, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Any:
    """Stable ranks of the convolutions by many kernels of one shape, at once; parameters as :func:`spectral_norms`."""
    norms_of, sizes, n_points = _norms_and_sizes(kernels, input_size, groups, stride, dilation)
    return n_points * (sizes / norms_of) ** 2


def _norms_and_sizes(
    kernels: Any, input_size: InputSize, groups: int, stride: PerAxis, dilation: PerAxis
) -> tuple[Any, Any, int]:
    """Spectral norms of many kernels, their own norms, and the number of points of the output."""
    given = as_kernels(kernels)
    xp, count = given.xp, len(given.values)
    geometry = Geometry.of(tuple(given.values.shape)[1:], input_size, groups=groups, stride=stride, dilation=dilation)
    scales = xp.max(xp.abs(xp.reshape(given.values, (count, -1))), axis=1)
    # Through these the gradients go; what was read is detached.
    doubles = xp.doubles(kernels) / xp.reshape(scales, (count, *[1] * len(geometry.kernel_shape)))
    sizes = xp.sqrt(xp.sum(xp.reshape(doubles, (count, -1)) ** 2, axis=1))
    return xp.sqrt(norms.gains(doubles, geometry, xp)) * scales, sizes * scales, geometry.n_points


def _prepare(
    kernel: Any, input_size: InputSize, groups: int, stride: PerAxis, dilation: PerAxis
) -> tuple[Any, Geometry, Namespace, float]:
    """Check a kernel and bring its entries near one, where squares neither overflow nor vanish."""
    xp = namespace_of(kernel)
    if xp.is_traced(kernel):  # its values cannot be inspected
        kernel = xp.at_least_single(kernel)
        return (
            kernel,
            Geometry.of(tuple(kernel.shape), input_size, groups=groups, stride=stride, dilation=dilation),
            xp,
            1.0,
        )
    checked = as_kernel(kernel)
    scale = binary_scale(checked)
    kernel = checked if xp.name == "numpy" else xp.at_least_single(kernel)
    return (
        kernel / scale,
        Geometry.of(checked.shape, input_size, groups=groups, stride=stride, dilation=dilation),
        xp,
        scale,
    )


def _root(values: Any, xp: Namespace) -> Any:
    """Square roots, with the derivative zero instead of an infinite one where they are zero."""
    positive = values > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, values, 1.0)), 0.0 * values)
