"""Products of unit spheres. A point or tangent vector is a flat array: one factor after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array
from srnc_manifold.validation import require_count


@dataclass(frozen=True)
class Spheres:
    """``S^{n₁−1} × … × S^{n_K−1}`` with the metric of the surrounding space. For ``K = 1`` it is a single sphere.

    Parameters
    ----------
    sizes : tuple of int
        ``n_k``, the number of entries of each factor.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("sizes: none given, expected at least one sphere")
        for size in self.sizes:
            require_count(sizes=size)

    @property
    def size(self) -> int:
        """Number of entries of a point."""
        return sum(self.sizes)

    @property
    def dimension(self) -> int:
        """Dimension of the manifold."""
        return self.size - len(self.sizes)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The positions of the factors in a point."""
        return tuple(slice(int(start), int(start) + n) for start, n in zip(self._starts, self.sizes, strict=True))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum((0, *self.sizes[:-1]))

    def split(self, point: Array) -> tuple[Array, ...]:
        """The factors of a point or vector."""
        return tuple(point[place] for place in self.slices)

    def inner(self, x: Array, y: Array) -> Array | float:
        """Inner products of the factors, each repeated for every entry of its factor."""
        if len(self.sizes) == 1:
            return float(x @ y)
        return np.repeat(np.add.reduceat(x * y, self._starts), self.sizes)

    def projected(self, vector: Array, z: Array) -> Array:
        """Projection of a vector onto the tangent space at ``z`` (paper, (18))."""
        return vector - self.inner(vector, z) * z

    def retracted(self, z: Array, tangent: Array) -> Array:
        """Retraction of a tangent vector at ``z`` (paper, (19))."""
        return self.normalized(z + tangent)

    def normalized(self, x: Array) -> Array:
        """The point of the manifold nearest to ``x``."""
        return x / np.sqrt(self.inner(x, x))

    def random_point(self, rng: np.random.Generator) -> Array:
        """A uniformly distributed random point."""
        return self.normalized(rng.standard_normal(self.size))

    def riemannian_hessian(self, z: Array, gradient: Array, product: Array, vector: Array) -> Array:
        """Riemannian Hessian times a tangent vector, from the Euclidean gradient and Hessian-vector product."""
        return self.projected(product - self.inner(gradient, z) * vector, z)
