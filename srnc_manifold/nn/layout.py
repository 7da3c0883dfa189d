"""What a layer of PyTorch is as an operator."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from srnc_manifold.operators import Operator
from srnc_manifold.operators.layers import operator_of

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

_SUPPORTED = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)

_EXPECTED = "Linear, Conv1d to Conv3d or ConvTranspose1d to ConvTranspose3d"


@dataclass(frozen=True)
class Layout:
    """How a layer applies its weight.

    Attributes
    ----------
    weight_shape : tuple of int
    axes : int
        Number of spatial axes; a ``Linear`` layer has none.
    words : dict
        The arguments of the layer, as :class:`srnc_manifold.SRNProblem` takes them.
    """

    weight_shape: tuple[int, ...]
    axes: int = 0
    words: dict[str, Any] = field(default_factory=dict)

    def operator(self, input_size: tuple[int, ...]) -> Operator:
        """The layer on inputs of a size."""
        return operator_of(self.weight_shape, input_size, **self.words)

    def input_size_from(self, given: Any) -> tuple[int, ...]:
        """The size of the input along each spatial axis.

        Raises
        ------
        ValueError
            If it is none.
        """
        values = (given,) * self.axes if isinstance(given, numbers.Integral) else given
        if not isinstance(values, Sequence) or len(values) != self.axes:
            raise ValueError(f"input_size: {given!r} given, expected an int, or one for each of {self.axes} axes")
        if any(isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1 for n in values):
            raise ValueError(f"input_size: {given!r} given, expected integers >= 1")
        return tuple(int(n) for n in values)


def layout_of(module: nn.Module, name: str = "weight") -> Layout:
    """The layout of a layer.

    Raises
    ------
    TypeError
        If the operator of such a layer is not known.
    """
    if has_no_weight_yet(module):
        raise TypeError(f"module: {type(module).__name__} has no weight yet, expected one that has seen an input")
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        raise TypeError(
            f"module: {type(module).__name__} given, whose compiled kernels do not see parametrized weights; expected "
            f"{_EXPECTED}"
        )
    if not isinstance(module, _SUPPORTED):
        raise TypeError(f"module: {type(module).__name__} given, expected {_EXPECTED}")
    if _has_own_forward(module):
        raise TypeError(f"module: {type(module).__name__} given, with a forward of its own; expected that of torch.nn")
    shape = tuple(getattr(module, name).shape)
    if isinstance(module, nn.Linear):
        return Layout(shape)
    names = ("groups", "stride", "dilation", "padding", "padding_mode")
    words = {name: getattr(module, name) for name in names}
    if isinstance(module, _TRANSPOSED):
        words |= {"transposed": True, "output_padding": module.output_padding}
    return Layout(shape, len(module.kernel_size), words)


def has_no_weight_yet(module: nn.Module) -> bool:
    """Whether it is one of torch's lazy modules that has not seen an input."""
    return isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params()


def _has_own_forward(module: nn.Module) -> bool:
    """Whether a layer does something else than its class in torch, as one that standardizes its weight."""
    (kind,) = (kind for kind in _SUPPORTED if isinstance(module, kind))
    methods = [name for name in ("forward", "_conv_forward") if hasattr(kind, name)]
    return any(name in vars(module) or getattr(type(module), name) is not getattr(kind, name) for name in methods)
