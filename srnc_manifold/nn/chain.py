"""Whether a model is a chain: layers one after the other, with functions between them of known Lipschitz constants.

Then the product of all constants is one of the model. A forward is followed function by function. What is not known to
be harmless ends the chain, so that no bound is claimed for a model that was not understood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from srnc_manifold.nn.model import arguments, as_it_was

# Functions that read nothing of the values of a tensor.
_QUERIES = frozenset((
    "shape", "size", "dim", "ndim", "ndimension", "numel", "nelement", "dtype", "device", "layout", "stride",
    "is_contiguous", "is_cuda", "is_floating_point", "is_complex", "is_sparse", "is_quantized", "is_nested", "is_meta",
    "requires_grad", "get_device", "element_size", "__len__",
))  # fmt: skip

# Functions of one tensor, in Euclidean norms no two of whose values are further apart than their arguments.
_CONTRACTIONS = (
    "relu", "relu6", "hardtanh", "sigmoid", "hardsigmoid", "tanh", "softsign", "log_sigmoid", "abs",
    "softmax", "neg", "mean", "flatten", "reshape", "permute", "transpose", "movedim", "squeeze", "unsqueeze",
    "contiguous", "clone", "to", "float", "double", "flip", "roll", "pixel_shuffle", "pixel_unshuffle", "narrow",
    "select",
)  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """What is known of the functions between the layers.

    Attributes
    ----------
    factor : float
        The product of their Lipschitz constants.
    broken : str
        Why the model is not known to be a chain, in words; empty if it is.
    """

    factor: float
    broken: str


def chain_of(model: nn.Module, example_input: Any, layers: Mapping[nn.Module, str]) -> Chain:
    """Whether some layers of a model, given with their names, and functions between them are all that it computes.

    It holds for all inputs of these shapes: the values are not read on the way.
    """
    args, kwargs = arguments(example_input)
    inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if len(inputs) != 1:
        return Chain(math.nan, f"its input has {len(inputs)} tensors, not one")
    follow, handles = _Follow(model, inputs[0], layers), []
    try:
        for module in layers:
            # Whatever other hooks do is outside of the layer, and seen.
            handles.append(module.register_forward_pre_hook(follow.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(follow.leave, prepend=True))
        with as_it_was(model), torch.no_grad(), follow:
            output = model(*args, **kwargs)
    except Exception as error:
        return Chain(math.nan, f"it could not be followed ({type(error).__name__})")
    finally:
        for handle in handles:
            handle.remove()
    results = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    if not follow.broken and not (len(results) == 1 and results[0] is follow.head):
        follow.broken = "its output is not that of the last function alone"
    return Chain(math.nan if follow.broken else follow.factor, follow.broken)


class _Follow(TorchFunctionMode):
    """Follows the one tensor in which all that depends on the input must be, the head."""

    def __init__(self, model: nn.Module, head: Tensor, layers: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.head, self.factor, self.broken = head, 1.0, ""
        self._layers = layers
        self._inside = False
        # Tensors are kept, so that their identity is theirs alone.
        self._derived = {id(head): head}
        self._constant = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A layer begins."""
        given = args[0] if args else kwargs["input"]
        if given is not self.head:
            self._break(f"{self._layers[module]} takes an output that is not the last one")
        self._inside = True

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A layer ends."""
        self._inside = False
        self._advance(output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if not self._inside and not self.broken:
            self._follow(_name(func), args, kwargs, output)
        return output

    def _follow(self, name: str, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        results = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
        if all(id(tensor) in self._constant for tensor in tensors):
            self._constant |= {id(tensor): tensor for tensor in results}
        elif name not in _QUERIES or results:
            self._step(name, tensors, args, kwargs, output)

    def _step(self, name: str, tensors: list[Tensor], args: Any, kwargs: dict[str, Any], output: Any) -> None:
        others = [tensor for tensor in tensors if tensor is not self.head]
        if any(id(tensor) in self._derived for tensor in others):
            self._break(f"{name} takes an output that is not the last one")
        elif any(id(tensor) not in self._constant for tensor in others):
            self._break(f"{name} takes a tensor of unknown origin")
        elif sum(tensor is self.head for tensor in tensors) > 1:
            self._break(f"{name} takes an output twice")
        elif not isinstance(output, Tensor):
            self._break(f"{name} reads values or has several outputs")
        elif id(output) in self._constant:
            self._break(f"{name} writes to a parameter or buffer")
        else:
            factor = _FACTORS.get(name, lambda _: None)(_Call(name, self.head, args, kwargs, output))
            if factor is None or not math.isfinite(factor) or not output.is_floating_point():
                self._break(f"{name} has no Lipschitz constant that is known")
            else:
                self.factor *= factor
                self._advance(output)

    def _advance(self, output: Tensor) -> None:
        self.head = output
        self._derived[id(output)] = output

    def _break(self, reason: str) -> None:
        self.broken = self.broken or reason


@dataclass(frozen=True)
class _Call:
    """A call of a function with one tensor that depends on the input."""

    name: str
    head: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor

    def value(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by its place or name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def per_axis(self, place: int, name: str, default: Any = None) -> tuple[int, ...]:
        """One with a number for each spatial axis, of which there are as many as the name of the function says."""
        given, axes = self.value(place, name, default), int(self.name[-2])
        values = tuple(given) if isinstance(given, tuple | list) else (given,)
        return values * axes if len(values) == 1 else values

    @property
    def other(self) -> Any:
        """The other of two arguments."""
        return self.args[1] if self.args[0] is self.head else self.args[0]


def _with_constant(call: _Call) -> float | None:
    return 1.0 if call.output.shape == call.head.shape else None


def _scaling(call: _Call) -> float | None:
    return _largest(call.other) if call.output.shape == call.head.shape else None


def _division(call: _Call) -> float | None:
    if call.args[0] is not call.head or call.output.shape != call.head.shape or call.value(2, "rounding_mode"):
        return None
    return _largest(1 / torch.as_tensor(call.other, dtype=torch.float64))


def _slope(place: int, name: str, default: float | None = None) -> Callable[[_Call], float | None]:
    """Of functions that are the identity above zero, and less steep than a number below."""
    return lambda call: max(1.0, _largest(call.value(place, name, default)))


def _softplus(call: _Call) -> float | None:
    return 1.0 if call.value(2, "threshold", 20) >= 20 else None  # where it goes over to the identity, with a jump


def _dropout(call: _Call) -> float | None:
    return None if call.value(2, "training", True) else 1.0


def _normalization(call: _Call) -> float | None:
    """Of a batch normalization with fixed statistics: a number for each channel."""
    variance, weight = call.value(2, "running_var"), call.value(3, "weight")
    if call.value(5, "training", False) or variance is None:
        return None
    scale = torch.rsqrt(variance.double() + call.value(7, "eps", 1e-5))
    return _largest(scale if weight is None else weight.double() * scale)


def _windows(call: _Call) -> tuple[int, int]:
    """In how many windows of a pooling an entry is at most, and how many entries a window has."""
    kernel = call.per_axis(1, "kernel_size")
    stride = call.per_axis(2, "stride") if call.value(2, "stride") else kernel
    return math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True)), math.prod(kernel)


def _largest_of_windows(call: _Call) -> float | None:
    dilated = any(d != 1 for d in call.per_axis(4, "dilation", 1))
    return None if dilated else math.sqrt(_windows(call)[0])


def _mean_of_windows(call: _Call) -> float | None:
    windows, entries = _windows(call)
    bordered = any(call.per_axis(3, "padding", 0)) or call.value(4, "ceil_mode", False)
    return None if bordered or call.value(6, "divisor_override") else math.sqrt(windows / entries)


def _mean_of_all(call: _Call) -> float | None:
    return 1.0 if all(n == 1 for n in call.per_axis(1, "output_size")) else None


def _viewing(call: _Call) -> float | None:
    return 1.0 if call.output.dtype == call.head.dtype else None  # not the bits as other numbers


def _indexing(call: _Call) -> float | None:
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    basic = all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in index)
    return 1.0 if basic else None


def _padding(call: _Call) -> float | None:
    return 1.0 if call.value(2, "mode", "constant") == "constant" else None


def _largest(numbers: Any) -> float:
    return float(torch.max(torch.abs(torch.as_tensor(numbers, dtype=torch.float64))))


# The Lipschitz constant of a call, by the name of the function; None if it is not known.
_FACTORS: dict[str, Callable[[_Call], float | None]] = {
    **dict.fromkeys(_CONTRACTIONS, lambda _: 1.0),
    **dict.fromkeys(
        ("add", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__rsub__", "__isub__"), _with_constant
    ),
    **dict.fromkeys(("clamp", "clip", "maximum", "minimum"), _with_constant),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "__imul__"), _scaling),
    **dict.fromkeys(("div", "__truediv__", "__itruediv__"), _division),
    "softplus": _softplus,
    "leaky_relu": _slope(1, "negative_slope", 0.01),
    "elu": _slope(1, "alpha", 1.0),
    "prelu": _slope(1, "weight"),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), _dropout),
    "batch_norm": _normalization,
    **dict.fromkeys((f"max_pool{d}d" for d in (1, 2, 3)), _largest_of_windows),
    **dict.fromkeys((f"avg_pool{d}d" for d in (1, 2, 3)), _mean_of_windows),
    **dict.fromkeys((f"adaptive_avg_pool{d}d" for d in (1, 2, 3)), _mean_of_all),
    "__getitem__": _indexing,
    "pad": _padding,
    "view": _viewing,
}


def _name(func: Any) -> str:
    """The name of a function, a method or an attribute; without the underscore of one that works in place."""
    name = str(getattr(func, "__name__", ""))
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", ""))
    return name if name.endswith("__") else name.removesuffix("_")
