"""The door for arrays: every function reads the kernels that it is given here, and refuses them in the same words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import Namespace, namespace_of

# Kernels of problems may be of any size whose square, times the number of points, is a double.
LARGEST = 1e152


@dataclass(frozen=True)
class Real:
    """An array of real numbers that was given.

    Attributes
    ----------
    values : array
        In double precision, in its library and on its device.
    xp : Namespace
        Its library.
    dtype : numpy.dtype
        Precision in which results are returned: single if the array was given in single or less, otherwise double.
    """

    values: Any
    xp: Namespace
    dtype: np.dtype[Any]


def real(array: Any, name: str) -> Real:
    """Read an array of real numbers.

    Raises
    ------
    TypeError
        If it is not an array of real numbers (complex, text, boolean, object), or if its values cannot be read (a meta
        or sparse tensor, a masked array, an array that autograd differentiates).
    """
    xp = namespace_of(array)
    values, single = xp.real_doubles(array, name)
    return Real(values, xp, np.dtype(np.float32 if single else np.float64))


def as_kernel(kernel: Any, name: str = "kernel") -> NDArray[np.float64]:
    """A kernel as a finite, non-zero array of doubles of NumPy; see :func:`kernel_and_dtype`."""
    return kernel_and_dtype(kernel, name)[0]


def kernel_and_dtype(
    kernel: Any, name: str = "kernel", *, of_problem: bool = False
) -> tuple[NDArray[np.float64], np.dtype[Any]]:
    """A kernel as an array of doubles of NumPy, and the precision of results; see :func:`require_entries`.

    Raises
    ------
    TypeError
        As in :func:`real`.
    ValueError
        If the kernel is empty, zero, or has an entry that is not finite.
    """
    given = real(kernel, name)
    values = np.array(given.xp.to_numpy(given.values))  # a copy: a tensor of doubles would share its memory
    if values.size == 0:
        raise ValueError(f"{name}: empty, its shape is {values.shape}; expected at least one entry")
    require_entries(np.array([np.max(np.abs(values))]), lambda _: name, of_problems=of_problem)
    return values, given.dtype


def as_kernels(kernels: Any, name: str = "kernels") -> Real:
    """Kernels of one shape, with the batch axis first. They stay in their library and on their device.

    Raises
    ------
    TypeError
        As in :func:`real`.
    ValueError
        If there are none, they have no entries, or one of them is not fit for a problem; the first such is named.
    """
    given = real(kernels, name)
    shape = tuple(given.values.shape)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{name}: shape {shape} given, expected at least one kernel with entries, and the batch axis first"
        )
    xp = given.xp
    largest = xp.to_numpy(xp.max(xp.abs(xp.reshape(given.values, (shape[0], -1))), axis=1))
    require_entries(largest, lambda k: f"{name}[{k}]", of_problems=True)
    return given


def require_entries(largest: NDArray[Any], name_of: Callable[[int], str], *, of_problems: bool = False) -> None:
    """Raise an error if the largest absolute value of a kernel is not one that a kernel can have.

    Parameters
    ----------
    largest : array, shape ``(K,)``
        Of each kernel.
    name_of : callable
        The name of the k-th kernel in the error message.
    of_problems : bool, optional
        Whether squares of entries, times the number of points, must be doubles.
    """
    outside = ~((largest >= 1 / LARGEST) & (largest <= LARGEST))  # or not a number
    if not np.any(outside):
        return
    for bad, reason in (
        (~np.isfinite(largest), "some entries are NaN or infinite, expected finite numbers"),
        (largest == 0, "all entries are zero; a zero kernel has no stable rank"),
        (
            outside & of_problems,
            f"its largest entry is about {{:.0e}}, expected between {1 / LARGEST:.0e} and {LARGEST:.0e}, where squares "
            "neither overflow nor vanish; scale it",
        ),
    ):
        if np.any(bad):
            k = int(np.argmax(bad))
            raise ValueError(f"{name_of(k)}: {reason.format(largest[k])}")
