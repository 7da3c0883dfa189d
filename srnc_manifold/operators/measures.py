"""Singular values, norms and stable rank of a layer: the public functions of a kernel and a layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from srnc_manifold.arrays import as_kernel, as_kernels
from srnc_manifold.backends import Namespace, namespace_of
from srnc_manifold.numerics import binary_scale
from srnc_manifold.operators import norms, symbol
from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.brackets import NormBracket
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.geometry import Geometry, InputSize, PerAxis
from srnc_manifold.operators.layers import Layer, operator_of
from srnc_manifold.operators.norms import size_factor
from srnc_manifold.operators.padded import Padded
from srnc_manifold.operators.padding import Amount
from srnc_manifold.validation import require_count

# Above this part of all singular values it is less work to find all.
_PART_OF_ALL = 0.25


def singular_values(
    kernel: Any,
    input_size: InputSize | Operator,
    *,
    k: int | None = None,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Amount | None = None,
    padding_mode: str = "circular",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Any:
    """All singular values of a layer, or the largest (paper, (8); docs/theory.md, prop. 1).

    Parameters
    ----------
    kernel : array or tensor
        ``taps`` or ``(c_out, c_in / groups, *taps)``; see :meth:`Geometry.of`. It is one kernel: an array of shape
        ``(1000, 1, 3, 3)`` is a layer with 1000 outputs, not 1000 kernels. Of a transposed convolution, PyTorch's
        ``(c_in, c_out / groups, *taps)``.
    input_size : int or sequence of int
        Grid on which the operator acts; ``()`` for a dense matrix.
    k : int, optional
        How many of the largest to return, or all if there are fewer. Of large layers with other padding than circular
        these are found by the Lanczos method, without writing the matrix out. By default all are returned.
    groups, stride, dilation : int or sequence of int, optional
        With PyTorch's meaning; see :meth:`Geometry.of`.
    padding : int, sequence of int, ``"same"`` or ``"valid"``, optional
        With PyTorch's meaning. Without it the convolution is circular, with as many outputs as the stride leaves.
    padding_mode : ``"circular"``, ``"zeros"``, ``"reflect"`` or ``"replicate"``, optional
        What is padded, if ``padding`` is given.
    transposed : bool, optional
        Whether it is a transposed convolution, with ``padding_mode="zeros"``.
    output_padding : int or sequence of int, optional
        Of a transposed convolution, with PyTorch's meaning.

    Returns
    -------
    array, shape ``(groups · min(c_out / groups, c_in / groups · phases) · |N|,)``
        Descending, each with its multiplicity; in the library of ``kernel``. ``|N|`` is the number of outputs and
        ``phases`` that of the phases of the stride which meet a tap; further singular values are zero. With other
        padding, the ``groups · min(rows, columns)`` singular values of the matrices of the groups. Where one is zero,
        as those of Sobel's kernel and of layers with dead or equal filters are, its gradient is a subgradient.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or the matrix of a padded layer is too large to write out.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> srnc.singular_values([1, 2], 4).round(4)
    array([3.    , 2.2361, 2.2361, 1.    ])
    >>> srnc.singular_values([1, 2], 4, k=1)
    array([3.])
    """
    if k is not None:
        require_count(k=k)
    layer = Layer(
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    kernel, operator, xp, scale = _prepare(kernel, input_size, layer)
    large = isinstance(operator, Padded) and not operator.is_decomposed and not xp.is_traced(kernel)
    if (
        large
        and k is not None
        and k <= _PART_OF_ALL * min(map(math.prod, (operator.input_shape, operator.output_shape)))
    ):
        return _largest(kernel, operator, k, xp) * scale
    if operator.block_rank == 1 and isinstance(operator, Circular):
        values = _root(symbol.squared_singular_values(kernel, operator.geometry, xp), xp)
    else:  # not squared: where it is zero, a root of a square has no derivative
        values = xp.singular_values(operator.blocks(_coordinates(kernel, operator, xp), xp))
    ordered = xp.sort(values[np.repeat(np.arange(len(values)), operator.multiplicities.astype(int))].reshape(-1))
    return ordered[np.arange(len(ordered))[::-1][:k].copy()] * scale


def spectral_norm(
    kernel: Any,
    input_size: InputSize | Operator,
    *,
    all_sizes: bool = False,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Amount | None = None,
    padding_mode: str = "circular",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Any:
    """Largest singular value of a layer.

    Of large layers with other padding than circular it is found by the Lanczos method, from below;
    :func:`norm_bracket` says how accurate it is.

    With ``all_sizes`` an upper bound on it for every input that is at least as large along each axis, and for zero
    padding (docs/theory.md, section 11): the maximum over the frequencies of this grid times a factor of its size and
    the kernel's. With padding, the bound of docs/theory.md, proposition 28, which holds for this padding on every such
    input.

    Parameters
    ----------
    kernel, input_size, groups, stride, dilation, padding, padding_mode, transposed, output_padding
        As in :func:`srnc_manifold.singular_values`.
    all_sizes : bool, optional
        Whether a bound for every larger input is asked for.

    Returns
    -------
    scalar
        In the library of the kernel, with gradients in torch and autograd.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> float(srnc.spectral_norm([1, 2], 4))
    3.0
    >>> round(float(srnc.spectral_norm([1, 2], 4, padding=0, padding_mode="zeros")), 4)
    2.7979
    """
    layer = Layer(
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    kernel, operator, xp, scale = _prepare(kernel, input_size, layer)
    if isinstance(operator, Circular):
        norm = xp.sqrt(norms.gain(kernel, operator.geometry, xp)) * scale
        return norm * size_factor(operator.geometry) if all_sizes else norm
    if all_sizes and isinstance(operator, Padded):
        grid = operator.grid
        on_grid = xp.sqrt(norms.gain(xp.reshape(kernel, grid.kernel_shape), grid, xp))
        return on_grid * operator.symbol_factor_at_any_size * scale
    return _norm(kernel, operator, xp) * scale


def norm_bracket(
    kernel: Any,
    input_size: InputSize | Operator,
    *,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Amount | None = None,
    padding_mode: str = "circular",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> NormBracket:
    """The spectral norm of a layer from below and from above, and what proves it.

    Parameters
    ----------
    kernel, input_size, groups, stride, dilation, padding, padding_mode, transposed, output_padding
        As in :func:`srnc_manifold.singular_values`.

    Returns
    -------
    NormBracket

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> bracket = srnc.norm_bracket([1, 2], 4)
    >>> bracket.lower <= 3 <= bracket.upper, bracket.proof
    (True, 'decomposition')
    """
    layer = Layer(
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    kernel, operator, xp, scale = _prepare(kernel, input_size, layer)
    return operator.norm_bracket(operator.coordinates(xp.to_numpy(xp.detached(kernel)))).scaled(scale)


def frobenius_norm(
    kernel: Any,
    input_size: InputSize | Operator,
    *,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Amount | None = None,
    padding_mode: str = "circular",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Any:
    """Frobenius norm of a layer, ``√|N| ‖x‖`` if it is circular.

    Parameters
    ----------
    kernel, input_size, groups, stride, dilation, padding, padding_mode, transposed, output_padding
        As in :func:`srnc_manifold.singular_values`.

    Returns
    -------
    scalar
        In the library of the kernel, with gradients in torch and autograd.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> float(srnc.frobenius_norm([3, 4], 16))
    20.0
    """
    layer = Layer(
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    kernel, operator, xp, scale = _prepare(kernel, input_size, layer)
    return xp.sqrt(operator.squared_frobenius_norm(kernel, xp)) * scale


def stable_rank(
    kernel: Any,
    input_size: InputSize | Operator,
    *,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Amount | None = None,
    padding_mode: str = "circular",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Any:
    """Stable rank ``‖C(x)‖_F² / ‖C(x)‖₂²`` of a layer (paper, (1), (9)).

    Between ``|N| / q`` and ``min(c_out, c_in) |N|`` without groups and stride.

    Parameters
    ----------
    kernel, input_size, groups, stride, dilation, padding, padding_mode, transposed, output_padding
        As in :func:`srnc_manifold.singular_values`.

    Returns
    -------
    scalar
        At least 1; in the library of the kernel, with gradients in torch and autograd.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> float(srnc.stable_rank([1, 0, 0], 64)), round(float(srnc.stable_rank([1, 1, 1], 64)), 4)
    (64.0, 21.3333)
    """
    layer = Layer(
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    kernel, operator, xp, _ = _prepare(kernel, input_size, layer)
    if isinstance(operator, Circular):
        return operator.geometry.n_points * xp.sum(kernel**2) / norms.gain(kernel, operator.geometry, xp)
    return operator.squared_frobenius_norm(kernel, xp) / _norm(kernel, operator, xp) ** 2


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

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> srnc.spectral_norms([[1, 2], [3, 4]], 4)
    array([3., 7.])
    """
    return _norms_and_sizes(kernels, input_size, groups, stride, dilation)[0]


def stable_ranks(
    kernels: Any, input_size: InputSize, *, groups: int = 1, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Any:
    """Stable ranks of the convolutions by many kernels of one shape, at once.

    Parameters
    ----------
    kernels, input_size, groups, stride, dilation
        As in :func:`srnc_manifold.spectral_norms`.

    Returns
    -------
    array, shape ``(K,)``
        In the library of the kernels, with gradients in torch.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> srnc.stable_ranks([[1, 0], [1, 1]], 4)
    array([4., 2.])
    """
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


def _prepare(kernel: Any, input_size: InputSize | Operator, layer: Layer) -> tuple[Any, Operator, Namespace, float]:
    """Check a kernel and bring its entries near one, where squares neither overflow nor vanish."""
    xp = namespace_of(kernel)
    if xp.is_traced(kernel):  # its values cannot be inspected
        kernel = xp.at_least_single(kernel)
        return kernel, operator_of(tuple(kernel.shape), input_size, **layer), xp, 1.0
    checked = as_kernel(kernel)
    scale = binary_scale(checked)
    kernel = checked if xp.name == "numpy" else xp.at_least_single(kernel)
    return kernel / scale, operator_of(checked.shape, input_size, **layer), xp, scale


def _coordinates(kernel: Any, operator: Operator, xp: Namespace) -> Any:
    """``y`` of a kernel of any library."""
    return operator.coordinate_rows(xp.reshape(kernel, (1, -1)), xp)[0]


def _norm(kernel: Any, operator: Operator, xp: Namespace) -> Any:
    """The spectral norm of a layer that is not circular: ``⟨x, G⟩`` with the atom of its largest singular pair.

    So it has a gradient, which is ``G`` (docs/theory.md, proposition 18). Traced values are decomposed.
    """
    y = _coordinates(kernel, operator, xp)
    if xp.is_traced(kernel):
        return xp.max(xp.singular_values(operator.blocks(y, xp)))
    atom = operator.dominant_atom(np.reshape(xp.to_numpy(xp.detached(y)), operator.kernel_shape))
    return xp.sum(y * xp.constant(np.ravel(atom), y))


def _largest(kernel: Any, operator: Any, k: int, xp: Namespace) -> Any:
    """The largest singular values without the others, ``⟨y, G⟩`` with their atoms: with gradients as :func:`_norm`."""
    y = _coordinates(kernel, operator, xp)
    found = operator.pairs(np.reshape(xp.to_numpy(xp.detached(y)), operator.kernel_shape), k, complete=True)
    atoms = [np.ravel(operator.kernel(operator.gradient(u, v))) for u, v in zip(found.u, found.v, strict=True)]
    return xp.matmul(xp.constant(np.stack(atoms), y), y)


def _root(values: Any, xp: Namespace) -> Any:
    """Square roots, with the derivative zero instead of an infinite one where they are zero."""
    positive = values > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, values, 1.0)), 0.0 * values)
