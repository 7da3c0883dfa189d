"""Norm, stable rank and singular values of the operator of a layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srnc_manifold import operators
from srnc_manifold.nn.layout import Layout, layout_of
from srnc_manifold.nn.model import as_it_was


def operator_norm(module: nn.Module, input_size: Any = None) -> Tensor:
    """The largest singular value of a layer: how much it can stretch a difference of two inputs of this size.

    It is that of the operator with its padding, stride, dilation and groups, not of the flattened weight.
    :func:`srnc_manifold.norm_bracket` says how accurate it is for large layers with other padding than circular.

    Parameters
    ----------
    module : Module
        ``Linear``, ``Conv1d`` to ``Conv3d`` or ``ConvTranspose1d`` to ``ConvTranspose3d``, with any padding. If its
        weight is parametrized, the one that it has in evaluation mode counts.
    input_size : int or sequence of int
        Size of the input along each spatial axis; not for ``Linear``, which has none.

    Returns
    -------
    Tensor
        A number in double precision on the device of the weight, with a gradient if the weight requires one.

    Raises
    ------
    TypeError
        If the operator of such a layer is not known.
    ValueError
        If the input size is missing or does not fit, or the weight has entries that are not finite.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> layer = torch.nn.Conv2d(1, 1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(layer.weight, 3.0)
    >>> round(nn.operator_norm(layer, 8).item(), 5)
    3.0
    """
    weight, layout, size = measured(module, input_size)
    if not torch.any(weight):
        return torch.sum(weight)
    return operators.spectral_norm(weight, size, **layout.words)


def stable_rank(module: nn.Module, input_size: Any = None) -> Tensor:
    """The stable rank ``‖C‖_F² / ‖C‖₂²`` of the operator of a layer; as :func:`operator_norm`.

    Parameters
    ----------
    module, input_size
        As in :func:`srnc_manifold.nn.operator_norm`.

    Returns
    -------
    tensor, scalar
        In double precision, with gradients.

    Raises
    ------
    ValueError
        Also if the weight is zero, which has none.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> layer = torch.nn.Conv2d(1, 1, 1, bias=False)
    >>> round(nn.stable_rank(layer, 8).item(), 4)
    64.0
    """
    weight, layout, size = measured(module, input_size)
    if not torch.any(weight):
        raise ValueError("module: its weight is zero, which has no stable rank")
    return operators.stable_rank(weight, size, **layout.words)


def singular_values(module: nn.Module, input_size: Any = None, k: int | None = None) -> Tensor:
    """The singular values of the operator of a layer, descending, each with its multiplicity; as :func:`operator_norm`.

    Parameters
    ----------
    module, input_size
    k : int, optional
        How many of the largest; by default all, which is an error where the matrix is too large to write out.
        Multiplicities and gradients as in :func:`srnc_manifold.singular_values`.

    Returns
    -------
    tensor, shape ``(k,)`` or of all
        In double precision, with gradients.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> layer = torch.nn.Conv2d(2, 3, 3, padding=1)
    >>> nn.singular_values(layer, 8, k=2).shape
    torch.Size([2])
    """
    weight, layout, size = measured(module, input_size)
    if not torch.any(weight):  # as many, all zero
        return 0.0 * operators.singular_values(torch.ones_like(weight), size, k=k, **layout.words)
    return operators.singular_values(weight, size, k=k, **layout.words)


def measured(module: nn.Module, input_size: Any) -> tuple[Tensor, Layout, tuple[int, ...]]:
    """The weight that a layer applies, in double precision, its layout, and the size of its input."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: {type(module).__name__} given, expected a torch.nn.Module")
    layout = layout_of(module)
    if layout.axes == 0 and input_size not in (None, ()):
        raise ValueError(f"input_size: {input_size!r} given, expected none for a Linear layer")
    size = layout.input_size_from(input_size) if layout.axes else ()
    weight = effective_weight(module, size).double()
    if not torch.isfinite(weight).all():
        raise ValueError("module: its weight has entries that are not finite, expected finite ones")
    return weight, layout, size


def effective_weight(module: nn.Module, size: tuple[int, ...]) -> Tensor:
    """The weight that a layer applies in evaluation mode, also if it is computed from others."""
    with as_it_was(module):
        if "weight" in vars(module):
            # Hooks compute it before each forward, from parameters that may have changed since the last one.
            shape = (module.in_channels, *size) if size else (module.in_features,)
            module(torch.zeros(1, *shape).to(module.weight))  # type: ignore[arg-type]
        weight = module.weight
    assert isinstance(weight, Tensor)
    if not weight.is_floating_point():
        raise TypeError(f"module: its weight has the dtype {weight.dtype}, expected real floating-point numbers")
    return weight
