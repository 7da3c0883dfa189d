"""The problems of the contract tests."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from srnc_manifold.operators import Circular, Dense
from srnc_manifold.problem import Problem, SeparableProblem, SRNProblem, StackProblem

# Scaling by a power of two is exact, so a solver that works in units of the kernel takes the same steps.
FACTOR = 1024.0

# Relative difference that rounding explains: of kernels relative to their norm, of bounds relative to its square.
ROUNDING = 1e-9


def kernel_problems(rng: np.random.Generator) -> Iterator[SRNProblem]:
    for shape, size in (((4,), (9,)), ((3, 3), (6, 5)), ((2, 3, 3), (8,)), ((3, 2, 2, 2), (4, 5)), ((3, 4), ())):
        kernel = rng.standard_normal(shape)
        own = SRNProblem(kernel, size, stable_rank_fraction=1.0)
        low, high = own.feasible_range
        for end in (low, high):
            yield SRNProblem(kernel, size, stable_rank=(own.kernel_stable_rank + end) / 2)


def other_problems(rng: np.random.Generator) -> Iterator[Problem]:
    """On products of spheres, and of an operator that is no circular convolution, with a full Gram matrix."""
    yield StackProblem(list(kernel_problems(rng))[1:5])
    yield SeparableProblem(rng.standard_normal((3, 2)), (6, 5), stable_rank_fraction=0.8)
    yield SeparableProblem(rng.standard_normal((2, 3, 2)), (4, 3, 5), stable_rank=24.0)
    operator = Dense(rng.standard_normal((2, 3, 4, 5)))
    kernel = rng.standard_normal((2, 3))
    yield SRNProblem(kernel, operator, stable_rank_fraction=0.9)


def scaled(problem: Any, factor: float) -> Any:
    if isinstance(problem, StackProblem):
        return StackProblem(scaled(part, factor) for part in problem.parts)
    if isinstance(problem, SeparableProblem):
        free = problem.free
        return SeparableProblem(factor * free.kernel, free.input_size, stable_rank=free.stable_rank)
    where = problem.input_size if isinstance(problem.operator, Circular) else problem.operator
    return SRNProblem(factor * problem.kernel, where, stable_rank=problem.stable_rank)


def pickled(thing: Any, what: str) -> Any:
    """A copy by pickling, which is how worker processes receive it."""
    try:
        return pickle.loads(pickle.dumps(thing))
    except Exception as error:
        raise AssertionError(f"{what} does not survive pickling: {type(error).__name__}: {error}") from error
