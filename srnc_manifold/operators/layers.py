"""From the words for a layer, which are PyTorch's, to its operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.geometry import Geometry, InputSize, PerAxis
from srnc_manifold.operators.padded import Padded
from srnc_manifold.operators.padding import MODES, Amount
from srnc_manifold.validation import require_choice


class Layer(TypedDict, total=False):
    """What a layer has beside its kernel and its input size; see :func:`operator_of`."""

    groups: int
    stride: PerAxis
    dilation: PerAxis
    padding: Amount | None
    padding_mode: str
    transposed: bool
    output_padding: PerAxis


#: What is meant where nothing is given: the circular convolution.
DEFAULTS: Mapping[str, Any] = {
    "groups": 1,
    "stride": 1,
    "dilation": 1,
    "padding": None,
    "padding_mode": "circular",
    "transposed": False,
    "output_padding": 0,
}


def operator_of(
    kernel_shape: tuple[int, ...],
    input_size: InputSize | Operator,
    *,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Amount | None = None,
    padding_mode: str = "circular",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Operator:
    """The operator of a layer on inputs of one size, or the one that is given as the input size.

    Without ``padding`` it is the circular convolution with as many outputs as fit the stride. With it, the layer of
    PyTorch; where that is block-circulant, again the circular convolution, whose outputs it shifts.

    Raises
    ------
    TypeError, ValueError
        If the sizes do not fit together, or if a layout is given for an operator.
    """
    given = Layer(
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    if isinstance(input_size, Operator):
        return _checked(input_size, kernel_shape, given)
    require_choice(MODES, padding_mode=padding_mode)
    if padding is None:
        for name, value in given.items():
            if name in ("padding_mode", "transposed", "output_padding") and value != DEFAULTS[name]:
                raise ValueError(f"padding: none given with {name}={value!r}, expected an amount, 'same' or 'valid'")
        return Circular(Geometry.of(kernel_shape, input_size, groups=groups, stride=stride, dilation=dilation))
    layer = Padded(
        kernel_shape,
        input_size,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    if layer.transposed or not all(axis.is_circulant for axis in layer.axes):
        return layer
    try:
        return Circular(Geometry.of(kernel_shape, input_size, groups=groups, stride=stride, dilation=dilation))
    except ValueError:  # taps that meet on a small input, or a symbol that does not fit into memory
        return layer


def _checked(operator: Operator, kernel_shape: tuple[int, ...], given: Mapping[str, Any]) -> Operator:
    for name, value in given.items():
        if value != DEFAULTS[name]:
            raise TypeError(f"{name}: {value!r} given, but input_size is an operator, which has its own")
    if operator.kernel_shape != kernel_shape:
        raise ValueError(f"kernel: shape {kernel_shape} given, expected that of the operator, {operator.kernel_shape}")
    return operator
