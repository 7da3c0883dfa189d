"""What a layer of PyTorch is as an operator."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from srnc_manifold.operators import Operator
from srnc_manifold.operators.layers import operator_of

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

_SUPPORTED = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)

RECURRENT = (nn.RNNBase, nn.RNNCellBase)

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

    @property
    def geometry(self) -> str:
        """Its words, where they are not what a layer has by default."""
        if not self.axes:
            return ""
        padding = _short(self.words["padding"])
        parts = [f"{self.words['padding_mode']} {padding}" if padding not in ("0", "valid") else "no padding"]
        for name, default in (("stride", "1"), ("dilation", "1"), ("groups", "1"), ("output_padding", "0")):
            value = _short(self.words.get(name, default))
            parts += [f"{name.replace('_', ' ')} {value}"] if value != default else []
        return ", ".join(parts)

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
    reason = obstacle(module)
    if reason:
        raise TypeError(f"module: {reason}; expected {_EXPECTED}")
    shape = _shape_of(module, name)
    if isinstance(module, nn.Linear):
        return Layout(shape)
    names = ("groups", "stride", "dilation", "padding", "padding_mode")
    words = {name: getattr(module, name) for name in names}
    if isinstance(module, _TRANSPOSED):
        words |= {"transposed": True, "output_padding": module.output_padding}
    return Layout(shape, len(module.kernel_size), words)  # type: ignore[arg-type]


def _shape_of(module: Any, name: str) -> tuple[int, ...]:
    """The shape of a weight, without computing one that is parametrized: in training that would change its state."""
    if not (name == "weight" and parametrize.is_parametrized(module, name)):
        return tuple(getattr(module, name).shape)
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    c_out, c_in = module.out_channels, module.in_channels
    channels = (c_in, c_out // module.groups) if isinstance(module, _TRANSPOSED) else (c_out, c_in // module.groups)
    return *channels, *module.kernel_size


def obstacle(module: nn.Module) -> str:
    """Why the operator of a module is not known, in words; empty if it is."""
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        return f"{getattr(module, 'original_name', kind)} is a compiled ScriptModule"
    if has_no_weight_yet(module):
        return f"{kind} has no weight yet, which it gets from its first input"
    if isinstance(module, RECURRENT):
        seen = "its compiled kernels do not see parametrized weights"
        return f"{kind} is recurrent, and {seen}; normalize_ takes its matrices"
    if not isinstance(module, _SUPPORTED):
        return f"{kind} is neither linear nor a convolution"
    if _has_own_forward(module):
        return f"{kind} has a forward of its own, not that of torch.nn"
    return ""


def has_no_weight_yet(module: nn.Module) -> bool:
    """Whether it is one of torch's lazy modules that has not seen an input."""
    return isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params()


def _has_own_forward(module: nn.Module) -> bool:
    """Whether a layer does something else than its class in torch, as one that standardizes its weight."""
    (kind,) = (kind for kind in _SUPPORTED if isinstance(module, kind))
    methods = [name for name in ("forward", "_conv_forward") if hasattr(kind, name)]
    return any(name in vars(module) or getattr(type(module), name) is not getattr(kind, name) for name in methods)


def _short(value: Any) -> str:
    """An amount for each axis, or a word."""
    values = value if isinstance(value, tuple) else (value,)
    return "×".join(map(str, dict.fromkeys(values) if len(set(values)) == 1 else values))
