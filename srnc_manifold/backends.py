"""The namespaces ``xp`` in which the same source runs: NumPy, autograd and torch.

A namespace offers the functions common to ``autograd.numpy`` and the Python array API (``sum``, ``max``,
``exp``, ``log``, ``sqrt``, ``abs``, ``where``, ``maximum``, ``minimum``, ``matmul``, …, with ``axis=``) and, beside
them, what the libraries spell differently: constants, real FFTs, singular values and derivatives.
autograd and torch are imported on first use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.process import alone

NAMES = ("numpy", "autograd", "torch")

# An array of NumPy has no more.
_MOST_AXES = 64

#: From the gradient by a value to those by the inputs that it was computed from.
Pullback = Callable[[NDArray[Any]], "tuple[NDArray[Any] | None, ...]"]


class Namespace:
    """One array library behind the names the package uses; unknown names are looked up in the library."""

    name: str
    _module: ModuleType

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        setattr(self, name, found)  # the next time it is found at once
        return found

    def __repr__(self) -> str:
        return f"<namespace {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return namespace, (self.name,)  # a module is imported again where a pickle is read

    def constant(self, array: NDArray[Any], like: Any) -> Any:
        """A NumPy constant as an array of this library, on the device and in the precision of ``like``."""
        return array

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """An array of this library as one of NumPy."""
        return np.asarray(array)

    def of_numpy(self, array: NDArray[Any]) -> Any:
        """An array of NumPy as one of this library, in the host's memory and in its own precision."""
        return array

    def real_doubles(self, array: Any, name: str) -> tuple[Any, bool]:
        """An array of real numbers in double precision, detached, and whether it was given in less.

        Raises
        ------
        TypeError
            If it is not an array of real numbers, or if its values cannot be read. The message begins with ``name``.
        """
        plain = _without_tensors(array, name)
        try:
            read = np.asarray(plain)
        except (ValueError, TypeError, RuntimeError) as error:
            raise TypeError(f"{name}: not an array of numbers ({_first_line(error)})") from None
        if read.dtype.kind not in "fiu":
            raise TypeError(f"{name}: dtype {read.dtype} given, expected real numbers (floating point or integers)")
        return np.array(read, np.float64), read.dtype.kind == "f" and read.dtype.itemsize < 8

    def is_traced(self, array: Any) -> bool:
        """Whether the library traces a function through this array, so that its values cannot be inspected."""
        return False

    def at_least_single(self, array: Any) -> Any:
        """The array in single or double precision: in less there are no complex numbers; integers become doubles."""
        return array

    def detached(self, array: Any) -> Any:
        """The same numbers, through which nothing is differentiated."""
        return array

    def needs_gradient(self, array: Any) -> bool:
        """Whether what is computed from this array is to be differentiated by it."""
        return False

    def with_pullback(self, value: Any, inputs: tuple[Any, ...], pullback: Pullback) -> Any:
        """``value`` as a function of the inputs, whose gradients ``pullback`` computes from one by the value.

        It is given and returns arrays of NumPy, one for each input or None where none is needed. There are no second
        derivatives.
        """
        return value

    def doubles(self, array: Any) -> Any:
        """An array of real numbers in double precision, through which gradients still go."""
        return self._module.asarray(array, dtype=self._module.float64)

    def to_double(self, array: Any) -> Any:
        """An array of real numbers in double precision, detached."""
        return self._module.asarray(array, dtype=self._module.float64)

    def to_single(self, array: Any) -> Any:
        """An array of real numbers in single precision."""
        return self._module.asarray(array, dtype=self._module.float32)

    def least_by_group(self, values: Any, groups: Any, count: int) -> Any:
        """The least of the values of each of ``count`` groups, none of them empty; ``groups`` ascend."""
        return np.minimum.reduceat(values, np.searchsorted(groups, np.arange(count)))

    def singular_values(self, matrices: Any) -> Any:
        """Singular values of stacked matrices, descending."""
        return self.linalg.svd(matrices, compute_uv=False)

    def eigenvalues(self, grams: Any) -> Any:
        """Eigenvalues of stacked Hermitian matrices, ascending."""
        return np.linalg.eigvalsh(grams)

    def is_remote(self, array: Any) -> bool:
        """Whether it is on a device for which the host would have to wait to know its values."""
        return False

    def at_once(self, array: Any) -> int:
        """How many numbers to work on at once: few enough to stay in the cache of the device that has the array."""
        return 1 << 19

    def exceed(self, levels: Any, grams: Any, index: Any) -> Any:
        """Which levels exceed all eigenvalues of Hermitian matrices ``grams[index]``: those with Cholesky factors."""
        exceed, diagonal = np.zeros(len(index), bool), np.arange(grams.shape[-1])
        for k in range(len(index)):
            shifted = -grams[index[k]]
            shifted[diagonal, diagonal] += levels[k]
            with contextlib.suppress(np.linalg.LinAlgError):
                np.linalg.cholesky(shifted)
                exceed[k] = True
        return exceed

    def parts(self, matrices: Any) -> Any:
        """The real and imaginary parts of stacked complex matrices, one after the other, in a row each."""
        return np.ascontiguousarray(matrices).reshape(len(matrices), -1).view(float)

    def of_parts(self, rows: Any, shape: tuple[int, ...]) -> Any:
        """Complex matrices of these shapes from their :meth:`parts`."""
        return rows.view(complex).reshape(shape)

    def real_fft(self, array: Any, sizes: tuple[int, ...]) -> Any:
        """Real FFT over the last axes, zero-padded to ``sizes``, half of the last axis kept."""
        return self.fft.rfftn(array, s=sizes, axes=tuple(range(-len(sizes), 0)))

    def value(self, function: Callable[[Any], Any], point: NDArray[Any]) -> float:
        """Value of a scalar function at a NumPy point."""
        return float(function(point))

    def value_and_gradient(self, function: Callable[[Any], Any], point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Value and gradient of a scalar function at a NumPy point."""
        raise NotImplementedError(f"{self.name} does not differentiate; use 'autograd' or 'torch'")

    def hessian_product(
        self, function: Callable[[Any], Any], point: NDArray[Any], vector: NDArray[Any]
    ) -> NDArray[Any]:
        """Hessian of a scalar function at a NumPy point, times a vector."""
        raise NotImplementedError(f"{self.name} does not differentiate; use 'autograd' or 'torch'")


class _NumPy(Namespace):
    name = "numpy"
    _module = np


class _Autograd(Namespace):
    name = "autograd"

    def real_doubles(self, array: Any, name: str) -> tuple[Any, bool]:
        raise TypeError(f"{name}: an array of autograd given, expected one of NumPy or torch")

    def is_traced(self, array: Any) -> bool:
        return True

    def __init__(self) -> None:
        import autograd
        import autograd.numpy

        self._module = autograd.numpy
        self._autograd = autograd

    def real_fft(self, array: Any, sizes: tuple[int, ...]) -> Any:
        # autograd does not differentiate real FFTs of odd length.
        full = self._module.fft.fftn(array, s=sizes, axes=tuple(range(-len(sizes), 0)))
        return full[..., : sizes[-1] // 2 + 1]

    def value_and_gradient(self, function: Callable[[Any], Any], point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        value, gradient = self._autograd.value_and_grad(function)(point)
        return float(value), gradient

    def hessian_product(
        self, function: Callable[[Any], Any], point: NDArray[Any], vector: NDArray[Any]
    ) -> NDArray[Any]:
        return self._autograd.hessian_vector_product(function)(point, vector)


class _Torch(Namespace):
    name = "torch"

    def __init__(self) -> None:
        import array_api_compat.torch
        import torch

        self._module = array_api_compat.torch
        self._torch = torch

    def constant(self, array: NDArray[Any], like: Any) -> Any:
        tensor = self._torch.as_tensor(np.array(array), device=like.device)
        if tensor.is_complex():
            return tensor.to(self._torch.promote_types(like.dtype, self._torch.complex64))
        return tensor.to(like.dtype) if tensor.is_floating_point() else tensor

    def to_numpy(self, array: Any) -> NDArray[Any]:
        return array.detach().cpu().resolve_conj().resolve_neg().numpy()

    def of_numpy(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array))

    def real_doubles(self, array: Any, name: str) -> tuple[Any, bool]:
        kind = f"a tensor of dtype {array.dtype} given"
        if array.is_complex() or array.dtype == self._torch.bool:
            raise TypeError(f"{name}: {kind}, expected real numbers (floating point or integers)")
        try:
            single = array.is_floating_point() and array.element_size() < 8
            doubles = array.detach().double()
            self.to_numpy(doubles.reshape(-1)[:1])
        except (RuntimeError, TypeError, ValueError) as error:  # of meta, sparse, quantized, wrapped, lazy tensors
            raise TypeError(
                f"{name}: {kind} whose values cannot be read ({_first_line(error)}), expected a dense tensor of numbers"
            ) from None
        return doubles, single

    def is_traced(self, array: Any) -> bool:
        return bool(self._torch._C._functorch.is_functorch_wrapped_tensor(array))  # by torch.func.grad, for example

    def detached(self, array: Any) -> Any:
        return array.detach()

    def needs_gradient(self, array: Any) -> bool:
        return bool(array.requires_grad and self._torch.is_grad_enabled())

    def with_pullback(self, value: Any, inputs: tuple[Any, ...], pullback: Pullback) -> Any:
        return self._function_with_pullback.apply(value, pullback, *inputs)

    @cached_property
    def _function_with_pullback(self) -> Any:
        """The function of torch's tape; its class needs torch to be defined."""
        to_numpy, constant = self.to_numpy, self.constant

        class WithPullback(self._torch.autograd.Function):  # type: ignore[name-defined]
            @staticmethod
            def forward(ctx: Any, value: Any, pullback: Pullback, *inputs: Any) -> Any:
                ctx.pullback, ctx.likes = pullback, [array.new_empty(0) for array in inputs]
                return value.clone()

            @staticmethod
            @self._torch.autograd.function.once_differentiable
            def backward(ctx: Any, gradient: Any) -> Any:
                found = zip(ctx.pullback(to_numpy(gradient)), ctx.likes, strict=True)
                return None, None, *(None if array is None else constant(array, like) for array, like in found)

        return WithPullback

    def doubles(self, array: Any) -> Any:
        return array.double()

    def to_double(self, array: Any) -> Any:
        return array.detach().double()

    def singular_values(self, matrices: Any) -> Any:
        return self._where_fast(self._torch.linalg.svdvals, matrices)

    def is_remote(self, array: Any) -> bool:
        return bool(array.device.type != "cpu")

    def at_once(self, array: Any) -> int:
        return 1 << (25 if self.is_remote(array) else 19)  # launching its many small pieces of work takes longer

    def exceed(self, levels: Any, grams: Any, index: Any) -> Any:
        shifted = -grams[index]
        shifted.diagonal(dim1=-2, dim2=-1).add_(levels[:, None])
        return self._torch.linalg.cholesky_ex(shifted)[1] == 0

    def parts(self, matrices: Any) -> Any:
        return self._torch.view_as_real(matrices.resolve_conj()).reshape(len(matrices), -1)

    def of_parts(self, rows: Any, shape: tuple[int, ...]) -> Any:
        return self._torch.view_as_complex(rows.reshape(*shape, 2))

    def to_single(self, array: Any) -> Any:
        return array.float()

    def least_by_group(self, values: Any, groups: Any, count: int) -> Any:
        least = self._torch.full((count,), np.inf, dtype=values.dtype, device=values.device)
        return least.scatter_reduce(0, groups, values, "amin")

    def at_least_single(self, array: Any) -> Any:
        if not array.is_floating_point():
            return array.double()
        return array.float() if array.element_size() < 4 else array

    def value_and_gradient(self, function: Callable[[Any], Any], point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        with self._own_settings():
            tensor = self._torch.tensor(point, requires_grad=True)
            value = function(tensor)
            (gradient,) = self._torch.autograd.grad(value, tensor)
        return float(value.detach()), gradient.numpy()

    def hessian_product(
        self, function: Callable[[Any], Any], point: NDArray[Any], vector: NDArray[Any]
    ) -> NDArray[Any]:
        with self._own_settings():
            tensor = self._torch.tensor(point, requires_grad=True)
            (gradient,) = self._torch.autograd.grad(function(tensor), tensor, create_graph=True)
            product = self._torch.sum(gradient * self._torch.tensor(vector))
            if not product.requires_grad:  # the gradient does not depend on the point
                return np.zeros_like(point)
            (result,) = self._torch.autograd.grad(product, tensor)
        return result.numpy()

    def value(self, function: Callable[[Any], Any], point: NDArray[Any]) -> float:
        with self._own_settings():
            return float(function(self._torch.tensor(point)).detach())

    # -- many points at once ---------------------------------------------------------------------------------

    def device_of(self, name: str | None) -> Any:
        """The device of a name, the CPU by default.

        Raises
        ------
        ValueError
            If torch knows no such device, or has none here.
        """
        try:
            device = self._torch.device(name or "cpu")
            self._torch.empty(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ValueError(f"device: {name!r} given, which torch does not have here ({_first_line(error)})") from None
        return device

    def tensor(self, array: Any, dtype: str, device: Any) -> Any:
        """An array as a tensor of real numbers of the given precision, on a device."""
        given = array if isinstance(array, self._torch.Tensor) else self._torch.from_numpy(np.array(array))
        return given.detach().to(device, getattr(self._torch, dtype))

    @contextlib.contextmanager
    def exactly(self) -> Iterator[None]:
        """Without gradients, and without TF32, whose products have an error of 1e-3; one thread at a time."""
        with alone():
            before = self._torch.get_float32_matmul_precision()
            self._torch.set_float32_matmul_precision("highest")
            try:
                with self._torch.inference_mode(False), self._torch.no_grad():
                    yield
            finally:
                self._torch.set_float32_matmul_precision(before)

    def over_rows(self, function: Callable[..., Any], in_dims: Any = 0) -> Callable[..., Any]:
        """A function of single points as one of many, along a leading axis."""
        return self._torch.func.vmap(function, in_dims=in_dims)

    def value_and_slopes(self, function: Callable[..., Any], *arguments: int) -> Callable[..., Any]:
        """A scalar function with its derivatives by some of its arguments: ``(derivatives, value)``."""
        return self._torch.func.grad_and_value(function, argnums=arguments)

    def pullback(self, function: Callable[[Any], Any], points: Any) -> tuple[Any, Callable[[Any], Any]]:
        """What a function gives, and the adjoint of its derivative there."""
        found = self._torch.func.vjp(function, points)
        return found[0], lambda covectors: found[1](covectors)[0]

    def eigenvalues(self, grams: Any) -> Any:
        return self._where_fast(self._torch.linalg.eigvalsh, grams)

    def eigenvectors(self, grams: Any) -> tuple[Any, Any]:
        """Eigenvalues, ascending, and eigenvectors of stacked Hermitian matrices."""
        return self._where_fast(self._torch.linalg.eigh, grams)

    def _where_fast(self, function: Callable[[Any], Any], matrices: Any) -> Any:
        # Batched decompositions on CUDA are a hundred times slower above 32 rows.
        if not self.is_remote(matrices) or min(matrices.shape[-2:]) <= 32:
            return function(matrices)
        found, device = function(matrices.cpu()), matrices.device
        return tuple(part.to(device) for part in found) if isinstance(found, tuple) else found.to(device)

    @contextlib.contextmanager
    def _own_settings(self) -> Iterator[None]:
        """Gradients on the CPU, whatever the caller has set: no_grad, inference mode, another default device."""
        with self._torch.inference_mode(False), self._torch.enable_grad(), self._torch.device("cpu"):
            yield


def _without_tensors(given: Any, name: str, depth: int = 0) -> Any:
    """What is given, or a sequence of such, with arrays of NumPy instead of tensors, each read as it would be alone.

    NumPy would use the hidden values of masked arrays in a sequence, and does not read every tensor in one.

    Raises
    ------
    TypeError
        If it holds a masked array, a tensor whose values cannot be read, or one whose gradient would be lost.
    """
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array given, expected one without hidden values")
    if isinstance(given, list | tuple) and depth < _MOST_AXES:
        return [_without_tensors(item, name, depth + 1) for item in given]
    if isinstance(given, int | float | np.ndarray):
        return given
    xp = namespace_of(given)
    if xp.name == "numpy":
        return given
    if xp.needs_gradient(given):
        raise TypeError(f"{name}: a tensor that requires gradients given in a sequence, expected torch.stack of them")
    doubles, single = xp.real_doubles(given, name)
    return xp.to_numpy(doubles).astype(np.float32 if single else np.float64)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@cache
def namespace(name: str) -> Namespace:
    """The namespace of a name.

    Raises
    ------
    ValueError
        If the name is not one of ``NAMES``.
    ImportError
        If the library is not installed.
    """
    kinds = {"numpy": _NumPy, "autograd": _Autograd, "torch": _Torch}
    if name not in kinds:
        raise ValueError(f"backend: {name!r} given, expected one of {', '.join(NAMES)}")
    return kinds[name]()


def namespace_of(array: Any) -> Namespace:
    """The namespace whose arrays ``array`` belongs to; NumPy for everything that is not recognised.

    A subclass belongs where its base does, whatever module defines it.
    """
    libraries = (base.__module__.partition(".")[0] for base in type(array).__mro__)
    return namespace(next((library for library in libraries if library in NAMES), "numpy"))


#: NumPy's, in which everything runs unless told otherwise.
NUMPY = namespace("numpy")
