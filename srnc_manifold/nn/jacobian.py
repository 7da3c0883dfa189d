"""How much a model stretches small changes of given inputs: the norm of its Jacobian."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree  # what torch.func itself takes containers apart with

from srnc_manifold.display import Shown
from srnc_manifold.nn.model import arguments, as_it_was, attributes_kept, calling
from srnc_manifold.nn.tensors import on_host
from srnc_manifold.numerics import Array
from srnc_manifold.operators import brackets
from srnc_manifold.process import alone
from srnc_manifold.validation import Rng, as_generator

# Of the Lanczos method: vectors of a sweep, sweeps at most, and the relative accuracy at which it ends.
_KRYLOV, _RESTARTS, _TOLERANCE = 24, 20, 1e-6


@dataclass(frozen=True, repr=False, eq=False)
class JacobianNorm(Shown):
    """The norm of the Jacobian of a model at given inputs.

    Attributes
    ----------
    value : float
        ``‖J v‖`` for a unit ``v``, so never above the norm but for rounding. No Lipschitz constant of the model, in
        Euclidean norms, is smaller.
    residual : float
        ``‖Jᵀu − value v‖ / value``: some singular value of ``J`` is that near, relatively.
    precision : str
        In which the model was computed: ``"float64"``, or its own if it does not work in that.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> linear = torch.nn.Linear(2, 2, bias=False)
    >>> _ = torch.nn.init.eye_(linear.weight)
    >>> round(nn.jacobian_norm(linear, torch.zeros(1, 2)).value, 6)
    1.0
    """

    value: float
    residual: float
    precision: str

    def summary(self) -> dict[str, str]:
        return {"value": f"{self.value:.6g}", "residual": f"{self.residual:.1e}", "precision": self.precision}


def jacobian_norm(model: nn.Module, example_input: Any, *, rng: Rng = 0) -> JacobianNorm:
    """The spectral norm of the Jacobian of a model in evaluation mode, at given inputs: its local Lipschitz constant.

    By the Lanczos method, power iteration that keeps what it has seen, on ``JᵀJ`` with :func:`torch.func.jvp` and
    :func:`torch.func.vjp`. The Jacobian is that of all floating-point outputs with respect to all floating-point
    inputs, as PyTorch differentiates them. Of a batch whose examples do not meet, it is the largest of the examples'.

    Parameters
    ----------
    model : Module
        It is left as it was, and computed in double precision if it works in that.
    example_input : tensor, tuple, dict or any other object
        A tuple has the positional arguments of the model, a mapping its keyword arguments.
    rng : int or numpy.random.Generator, optional
        Of the vector to start from.

    Returns
    -------
    JacobianNorm

    Raises
    ------
    TypeError
        If ``model`` is not a module.
    ValueError
        If the model cannot be called with the input, no input or output is of floating-point numbers, PyTorch cannot
        differentiate the model, or its derivative is zero or not finite.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    >>> nn.jacobian_norm(model, torch.zeros(1, 3)).value <= torch.linalg.matrix_norm(model[0].weight, 2).item() + 1e-6
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: {type(model).__name__} given, expected a torch.nn.Module")
    with as_it_was(model):
        try:
            function = _Function(model, example_input, torch.float64)
        except Exception:
            function = _Function(model, example_input, None)
        return function.norm(as_generator(rng))


class _Function:
    """The floating-point outputs of a model as a function of its floating-point inputs."""

    def __init__(self, model: nn.Module, example_input: Any, dtype: torch.dtype | None) -> None:
        self._model, self._dtype = model, dtype
        self._leaves, self._structure = pytree.tree_flatten(arguments(example_input))
        self._leaves = [self._cast(leaf) for leaf in self._leaves]
        self._places = [place for place, leaf in enumerate(self._leaves) if _is_real(leaf)]
        # Parameters require gradients, as in training: fused kernels for inference cannot be differentiated.
        named = model.named_parameters()
        self._parameters = {name: self._cast(p.detach()).requires_grad_(_is_real(p)) for name, p in named}
        self._buffers = {name: self._cast(buffer) for name, buffer in model.named_buffers()}
        self.inputs = tuple(self._leaves[place].detach() for place in self._places)
        if not self.inputs:
            raise ValueError("example_input: no floating-point tensor in it, with respect to which to differentiate")
        with calling(), torch.no_grad():
            self.outputs = self(*self.inputs)
        if not self.outputs:
            raise ValueError("model: no floating-point tensor in its output, which to differentiate")
        with _differentiating():
            self._vjp = torch.func.vjp(self, *self.inputs)[1]

    def _cast(self, tensor: Any) -> Any:
        return tensor.to(self._dtype) if self._dtype is not None and _is_real(tensor) else tensor

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, inputs, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        # Copies of the buffers, for the model may change them.
        state = self._parameters | {name: buffer.clone() for name, buffer in self._buffers.items()}
        with attributes_kept(self._model):  # of modules with two names functional_call does not put back what it took
            output = torch.func.functional_call(self._model, state, args, kwargs)
        return tuple(leaf for leaf in pytree.tree_leaves(output) if _is_real(leaf))

    def norm(self, generator: np.random.Generator) -> JacobianNorm:
        rows, columns = (sum(t.numel() for t in tensors) for tensors in (self.outputs, self.inputs))
        with _differentiating():
            pairs = brackets.largest_pairs(
                self._times,
                self._transposed,
                (rows, columns),
                1,
                generator.standard_normal(min(rows, columns)),
                _KRYLOV,
                tolerance=_TOLERANCE,
                restarts=_RESTARTS,
            )
        value = float(pairs.values[0])
        if value == 0:
            raise ValueError("model: its derivative is zero at this input, or PyTorch does not see it")
        gap = float(np.linalg.norm(self._transposed(pairs.u[0]) - value * pairs.v[0]))
        return JacobianNorm(value, gap / value, str(self.outputs[0].dtype).removeprefix("torch."))

    def _times(self, flat: Array) -> Array:
        """``J v``."""
        return _flat(torch.func.jvp(self, self.inputs, _like(flat, self.inputs))[1])

    def _transposed(self, flat: Array) -> Array:
        """``Jᵀ u``."""
        return _flat(self._vjp(_like(flat, self.outputs)))


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


@contextlib.contextmanager
def _differentiating() -> Iterator[None]:
    try:
        # The fused kernels of attention have no forward mode. What torch loads for this mode warns of itself.
        with alone(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
            yield
    except RuntimeError as error:
        text = (str(error).splitlines() or [""])[0]
        raise ValueError(f"model: PyTorch cannot differentiate it: {type(error).__name__}: {text}") from error


def _like(flat: Array, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The parts of a vector in the shapes of tensors."""
    parts = np.split(np.ravel(flat), np.cumsum([tensor.numel() for tensor in tensors])[:-1])
    return tuple(
        torch.from_numpy(np.ascontiguousarray(part)).to(tensor).reshape(tensor.shape)
        for part, tensor in zip(parts, tensors, strict=True)
    )


def _flat(tensors: tuple[Tensor, ...]) -> Array:
    flat = np.concatenate([on_host(tensor).ravel() for tensor in tensors])
    if not np.all(np.isfinite(flat)):
        raise ValueError("model: its derivative is not finite at this input")
    return flat
