"""Products of unit spheres, whose points and tangent vectors are flat: one factor after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array
from srnc_manifold.validation import require_count


@dataclass(frozen=True)
class Spheres:
    """``S^{n₁−1} × … × S^{n_K−1}`` with the metric of the surrounding space; a single sphere is the case ``K = 1``.

    Parameters
    ----------
    sizes : tuple of int
        ``n_k``, entries of the factors.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("sizes: none given, expected at least one sphere")
        for size in self.sizes:
            require_count(sizes=size)

    @property
    def size(self) -> int:
        """Entries of a point."""
        return sum(self.sizes)

    @property
    def dimension(self) -> int:
        """Of the manifold."""
        return self.size - len(self.sizes)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the factors lie in a point."""
        return tuple(slice(int(start), int(start) + n) for start, n in zip(self._starts, self.sizes, strict=True))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum((0, *self.sizes[:-1]))

    def split(self, point: Array) -> tuple[Array, ...]:
        """The factors of a point or vector."""
        return tuple(point[place] for place in self.slices)

    def inner(self, x: Array, y: Array) -> Array | float:
        """Inner products of the factors, each as often as its factor has entries."""
        if len(self.sizes) == 1:
            return float(x @ y)
        return np.repeat(np.add.reduceat(x * y, self._starts), self.sizes)

    def projected(self, vector: Array, z: Array) -> Array:
        """Part of a vector in the tangent space at ``z`` (paper, (18))."""
        return vector - self.inner(vector, z) * z

    def retracted(self, z: Array, tangent: Array) -> Array:
        """The point that a tangent vector leads to (paper, (19))."""
        return self.normalized(z + tangent)

    def normalized(self, x: Array) -> Array:
        """The nearest point."""
        return x / np.sqrt(self.inner(x, x))

    def random_point(self, rng: np.random.Generator) -> Array:
        """Uniformly distributed point."""
        return self.normalized(rng.standard_normal(self.size))

    def riemannian_hessian(self, z: Array, gradient: Array, product: Array, vector: Array) -> Array:
        """Riemannian Hessian times a tangent vector, from the Euclidean gradient and Hessian product."""
        return self.projected(product - self.inner(gradient, z) * vector, z)
