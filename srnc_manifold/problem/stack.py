"""Several kernels as one problem on a product of spheres (docs/theory.md, section 14)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np

from srnc_manifold.arrays import as_kernel, as_kernels
from srnc_manifold.backends import Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.problem.base import Problem
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.scores import BatchEvaluation, Evaluation, Restoration
from srnc_manifold.spheres import Spheres


class StackProblem(Problem):
    """Several kernels, each with its own target, solved as one problem on a product of spheres.

    The objective is the sum of the objectives. The kernels are independent, so the optima of the parts form the optimum
    of the stack. A solver for single kernels is applied to one part after another. Other solvers work on all parts
    together.

    Parameters
    ----------
    problems : iterable of SRNProblem

    Attributes
    ----------
    parts : tuple of SRNProblem
    kernel : array
        Of shape ``(K, *shape)`` if all kernels have the same shape. Otherwise a flat array, one kernel after another.
        See :meth:`kernels`.

    Raises
    ------
    TypeError, ValueError
        If an element is not an :class:`SRNProblem`, or if there are none.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> stack = srnc.StackProblem([problem, srnc.SRNProblem([2, 1], 8, stable_rank_fraction=0.9)])
    >>> result = srnc.solve(stack)
    >>> [kernel.shape for kernel in stack.kernels(result.kernel)]
    [(3,), (2,)]
    """

    kind = "StackProblem"

    def __init__(self, problems: Iterable[SRNProblem]) -> None:
        if not isinstance(problems, Iterable):
            raise TypeError(f"problems: {type(problems).__name__} given, expected several SRNProblems")
        self._parts = tuple(problems)
        if not self._parts:
            raise ValueError("problems: none given, expected at least one")
        for part in self._parts:
            if not isinstance(part, SRNProblem):
                raise TypeError(f"problems: {type(part).__name__} given, expected SRNProblems")
        self.kernel = self._joined([part.kernel for part in self._parts])
        self.kernel.setflags(write=False)
        self.dtype = np.result_type(*(part.dtype for part in self._parts))

    def __repr__(self) -> str:
        first, more = self._parts[:3], len(self._parts) - 3
        return f"StackProblem({', '.join(map(repr, first))}{f', … {more} more' if more > 0 else ''})"

    def to_fields(self) -> dict[str, Any]:
        return {"kind": self.kind, "parts": [part.to_fields() for part in self._parts]}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        return cls([SRNProblem.from_fields(part) for part in fields["parts"]])

    @property
    def parts(self) -> tuple[SRNProblem, ...]:
        return self._parts

    @cached_property
    def spheres(self) -> Spheres:
        """The spheres of unit kernels."""
        return Spheres(tuple(part.kernel.size for part in self._parts))

    def describe(self) -> str:
        return f"{len(self._parts)} kernels: {listed(part.describe() for part in self._parts)}"

    def kernels(self, x: Any) -> list[Array]:
        """The kernels of a stack, each with its own shape."""
        return self._split(x, "x")

    def _split(self, x: Any, name: str) -> list[Array]:
        flat = self._checked(x, name)
        return [
            flat[place].reshape(part.kernel.shape) for part, place in zip(self._parts, self.kernel_slices, strict=True)
        ]

    def stack(self, kernels: Iterable[Any]) -> Array:
        """The stack of the given kernels, the inverse of :meth:`kernels`.

        Raises
        ------
        TypeError, ValueError
            If they are not kernels, or not of the shapes of the parts.
        """
        arrays = [as_kernel(kernel, f"kernels[{k}]") for k, kernel in enumerate(kernels)]
        given, expected = [array.shape for array in arrays], [part.kernel.shape for part in self._parts]
        if given != expected:
            raise ValueError(f"kernels: shapes {given} given, expected those of the parts, {expected}")
        return self._joined(arrays)

    def to_sphere(self, x: Any, name: str = "x") -> Array:
        """The point of a stack: every kernel divided by its norm."""
        pairs = zip(self._parts, self._split(x, name), strict=True)
        return np.concatenate([part.to_sphere(kernel, name).ravel() for part, kernel in pairs])

    def evaluate(self, x: Any) -> Evaluation:
        """Scores of a stack: the sum of the objectives, the constraints of the kernel with the largest violation."""
        return combined(
            [part.evaluate(kernel) for part, kernel in zip(self._parts, self.kernels(x), strict=True)], self._parts
        )

    def evaluate_batch(self, x: Any) -> BatchEvaluation:
        """Scores of many stacks, shape ``(B, *kernel.shape)``: of each as :meth:`evaluate` gives them."""
        given = as_kernels(x, "x")
        shape, xp = tuple(given.values.shape), given.xp
        if shape[1:] != self.kernel.shape:
            raise ValueError(f"x: shape {shape} given, expected (B, {', '.join(map(str, self.kernel.shape))})")
        rows = xp.reshape(given.values, (shape[0], -1))
        return combined_batch(
            [
                part.evaluate_batch(xp.reshape(rows[:, place], (-1, *part.kernel.shape)))
                for part, place in zip(self._parts, self.kernel_slices, strict=True)
            ],
            self._parts,
            xp,
        )

    def restore(self, x: Any) -> Restoration:
        """Restore every kernel separately. It is a success if all of them are restored."""
        found = [part.restore(kernel) for part, kernel in zip(self._parts, self.kernels(x), strict=True)]
        success = all(restoration.success for restoration in found)
        return Restoration(
            self.stack(restoration.kernel for restoration in found),
            success,
            math.hypot(*(restoration.distance for restoration in found)),
            listed(restoration.message for restoration in found if restoration.success == success),
        )

    def _joined(self, kernels: list[Array]) -> Array:
        if len({kernel.shape for kernel in kernels}) == 1:
            return np.stack(kernels)
        return np.concatenate([kernel.ravel() for kernel in kernels])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.kernel.setflags(write=False)

    def _checked(self, x: Any, name: str) -> Array:
        array = as_kernel(x, name)
        if array.shape != self.kernel.shape:
            raise ValueError(f"{name}: shape {array.shape} given, expected the shape of the stack, {self.kernel.shape}")
        return array.ravel()


def listed(texts: Iterable[str]) -> str:
    """The first few distinct texts, joined."""
    distinct = list(dict.fromkeys(texts))
    return "; ".join([*distinct[:3], *(["…"] if len(distinct) > 3 else [])])


def combined(evaluations: list[Evaluation], parts: tuple[SRNProblem, ...]) -> Evaluation:
    """The scores of several kernels as one: the sum of the objectives, the constraints with the largest violation."""
    worst = max(evaluations, key=lambda evaluation: evaluation.violation)
    norms = [float(np.sqrt(part.squared_norm)) for part in parts]
    moved = math.hypot(*(e.relative_distance * norm for e, norm in zip(evaluations, norms, strict=True)))
    return Evaluation(
        objective=sum(evaluation.objective for evaluation in evaluations),
        stable_rank=worst.stable_rank,
        spectral_norm=worst.spectral_norm,
        stable_rank_error=worst.stable_rank_error,
        spectral_norm_error=worst.spectral_norm_error,
        relative_distance=moved / math.hypot(*norms),
    )


def combined_batch(evaluations: list[BatchEvaluation], parts: tuple[SRNProblem, ...], xp: Namespace) -> BatchEvaluation:
    """What :func:`combined` gives, of many stacks."""

    def stacked(name: str) -> Any:
        return xp.stack([getattr(evaluation, name) for evaluation in evaluations])

    worst = xp.argmax(stacked("violation"), axis=0)
    index = xp.arange(len(worst))

    def of_worst(name: str) -> Any:
        return stacked(name)[worst, index]

    norms = [float(np.sqrt(part.squared_norm)) for part in parts]
    moved = [evaluation.relative_distance * norm for evaluation, norm in zip(evaluations, norms, strict=True)]
    return BatchEvaluation(
        objective=xp.sum(stacked("objective"), axis=0),
        stable_rank=of_worst("stable_rank"),
        spectral_norm=of_worst("spectral_norm"),
        stable_rank_error=of_worst("stable_rank_error"),
        spectral_norm_error=of_worst("spectral_norm_error"),
        relative_distance=xp.sqrt(xp.sum(xp.stack(moved) ** 2, axis=0)) / math.hypot(*norms),
    )
