"""What a layer of PyTorch is as an operator."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from srnc_manifold.operators.geometry import Geometry

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

_EXPECTED = "Linear, or Conv1d, Conv2d or Conv3d with circular padding"


@dataclass(frozen=True)
class Layout:
    """How a layer applies its weight.

    Attributes
    ----------
    weight_shape : tuple of int
    groups : int
    stride, dilation : tuple of int
        For each spatial axis; a ``Linear`` layer has none.
    """

    weight_shape: tuple[int, ...]
    groups: int = 1
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.stride)

    def geometry(self, input_size: tuple[int, ...]) -> Geometry:
        """The operator on inputs of a size, which is block-diagonal in the Fourier basis.

        PyTorch correlates, and pads on both sides. That moves and reflects the taps, which changes no singular value.
        """
        return Geometry.of(self.weight_shape, input_size, **self.arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """The layout as other functions of the package take it."""
        return {"groups": self.groups, "stride": self.stride, "dilation": self.dilation} if self.axes else {}

    def input_size_from(self, given: Any) -> tuple[int, ...]:
        """The size of the input along each spatial axis.

        Raises
        ------
        ValueError
            If it is none.
        """
        values = (given,) * self.axes if isinstance(given, numbers.Integral) else given
        if not isinstance(values, Sequence) or len(values) != self.axes:
            raise ValueError(
                f"input_size: {given!r} given, expected an int, or one for each of {self.axes} spatial axes"
            )
        if any(isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1 for n in values):
            raise ValueError(f"input_size: {given!r} given, expected integers >= 1")
        return tuple(int(n) for n in values)


def layout_of(module: nn.Module, name: str = "weight") -> Layout:
    """The layout of a layer.

    Raises
    ------
    TypeError
        If the operator of such a layer is not known.
    ValueError
        If its padding is another one.
    """
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        raise TypeError(f"module: {type(module).__name__} has no weight yet, expected one that has seen an input")
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        raise TypeError(
            f"module: {type(module).__name__} given, whose compiled kernels do not see parametrized weights; expected "
            f"{_EXPECTED}"
        )
    if not isinstance(module, (nn.Linear, *_CONVOLUTIONS)):
        raise TypeError(f"module: {type(module).__name__} given, expected {_EXPECTED}")
    shape = tuple(getattr(module, name).shape)
    if isinstance(module, nn.Linear):
        return Layout(shape)
    needed = tuple(d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    if any(needed) and module.padding_mode != "circular":
        raise ValueError(f"module: padding_mode={module.padding_mode!r} given, expected 'circular'")
    amounts = (0,) * len(needed) if module.padding == "valid" else module.padding
    if amounts != "same" and tuple(2 * int(n) for n in amounts) != needed:
        raise ValueError(
            f"module: padding={module.padding!r} given, expected half of dilation · (kernel_size - 1) = {needed}, "
            "which keeps the size of the input"
        )
    return Layout(shape, module.groups, tuple(module.stride), tuple(module.dilation))
