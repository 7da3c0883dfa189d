"""Polynomials of degree four on the unit sphere, and linear functionals on them (docs/theory.md, proposition 15a).

On the sphere ``1 = ‖z‖²``, so that every polynomial of degree at most four is the sum of a form of degree four and one
of degree three. Its coefficients, and the values of a functional at the monomials, are vectors of one length: first the
monomials of degree four, then those of degree three.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array


@dataclass(frozen=True)
class Quartics:
    """Tables of monomials in ``n`` variables; ``p`` is the number of those of degree two.

    The *basis* is ``m(z)``: the monomials of degree two, of which those that are no squares have the factor ``√2``,
    then the variables. So ``‖m(z)‖² = ‖z‖⁴ + ‖z‖² = 2`` on the sphere. *Lifts* are the entries of ``(1, z)(1, z)ᵀ``:
    one, the variables, the monomials of degree two. A *table* has the values of a functional at all products of a
    monomial of degree two or one (rows) with a lift (columns); its shape is ``(p + n, 1 + n + p)``.

    Attributes
    ----------
    n : int
    pairs : int array, shape ``(p, 2)``
        Monomials of degree two.
    square : int array, shape ``(n, n)``
        Number of the monomial ``z_i z_j``.
    quartic, cubic : int arrays, shapes ``(p, p)``, ``(p, n)``
        Places of the products of monomials of degree two with those of degree two and one.
    raised : int array, shape ``(p, n)``
        Places of ``z_i z_j z_k²``; the sum over ``k`` is ``z_i z_j`` on the sphere.
    raised_variable : int array, shape ``(n, n)``
        Places of ``z_i z_k²``.
    size : int
        Length of the vectors.
    """

    n: int
    pairs: NDArray[np.int64]
    square: NDArray[np.int64]
    quartic: NDArray[np.int64]
    cubic: NDArray[np.int64]
    raised: NDArray[np.int64]
    raised_variable: NDArray[np.int64]
    size: int

    @cached_property
    def factors(self) -> Array:
        """Factors of the monomials of degree two in the basis, shape ``(p,)``."""
        return np.where(self.pairs[:, 0] == self.pairs[:, 1], 1.0, np.sqrt(2.0))

    @cached_property
    def one(self) -> Array:
        """Coefficients of the constant one."""
        squares = self.square[np.arange(self.n), np.arange(self.n)]
        return self._summed(self.raised[squares], np.ones((self.n, self.n)))

    @cached_property
    def lifts(self) -> NDArray[np.int64]:
        """Numbers of the lifts in ``(1, z)(1, z)ᵀ``, shape ``(n + 1, n + 1)``."""
        numbers = np.zeros((self.n + 1, self.n + 1), np.int64)
        numbers[0, 1:] = numbers[1:, 0] = 1 + np.arange(self.n)
        numbers[1:, 1:] = 1 + self.n + self.square
        return numbers

    @cached_property
    def multiplicities(self) -> Array:
        """Squares of all factors with which a monomial stands in the first ``p`` rows and columns of ``m mᵀ``."""
        factors = np.outer(self.factors, self.factors) ** 2
        mixed = np.repeat(2 * self.factors[:, None] ** 2, self.n, axis=1)
        return self._summed(self.quartic, factors) + self._summed(self.cubic, mixed)

    def linear(self, direction: Array) -> Array:
        """Coefficients of ``⟨a, z⟩``."""
        return self._summed(self.raised_variable, np.repeat(direction[:, None], self.n, axis=1))

    def quadratic(self, matrix: NDArray[np.complexfloating] | Array) -> NDArray[np.complex128] | Array:
        """Coefficients of forms ``Σ A_ij z_i z_j`` in the monomials of degree two, along the last axis."""
        i, j = self.pairs.T
        return np.where(i == j, matrix[..., i, j], matrix[..., i, j] + matrix[..., j, i])

    def table(self, values: Array) -> Array:
        """The table of a functional."""
        second = np.sum(values[self.raised], axis=1)
        cubic, quartic = values[self.cubic], values[self.quartic]
        first = np.sum(values[self.raised_variable], axis=1)
        p, n = self.cubic.shape
        table = np.empty((p + n, 1 + n + p))
        table[:p, 0], table[:p, 1 : 1 + n], table[:p, 1 + n :] = second, cubic, quartic
        table[p:, 0], table[p:, 1 : 1 + n], table[p:, 1 + n :] = first, second[self.square], cubic.T
        return table

    def table_adjoint(self, table: NDArray[np.float64]) -> Array:
        """Coefficients of the polynomial with such factors at the products; the adjoint of :meth:`table`."""
        p, n = len(self.pairs), self.n
        second = table[:p, 0] + np.bincount(self.square.ravel(), table[p:, 1 : 1 + n].ravel(), p)
        return (
            self._summed(self.quartic, table[:p, 1 + n :])
            + self._summed(self.cubic, table[:p, 1 : 1 + n] + table[p:, 1 + n :].T)
            + self._summed(self.raised, np.repeat(second[:, None], n, axis=1))
            + self._summed(self.raised_variable, np.repeat(table[p:, :1], n, axis=1))
        )

    def gram(self, table: Array) -> Array:
        """The values of a functional at ``m mᵀ``, shape ``(p + n, p + n)``."""
        n = self.n
        factors = np.concatenate([self.factors, np.ones(n)])
        columns = np.concatenate([table[:, 1 + n :], table[:, 1 : 1 + n]], axis=1)
        return factors[:, None] * columns * factors

    def gram_adjoint(self, gram: Array) -> Array:
        """The table of ``mᵀ S m``; the adjoint of :meth:`gram`."""
        p, n = len(self.pairs), self.n
        factors = np.concatenate([self.factors, np.ones(n)])
        columns = factors[:, None] * gram * factors
        return np.concatenate([np.zeros((p + n, 1)), columns[:, p:], columns[:, :p]], axis=1)

    def folded(self, products: Array) -> Array:
        """From the entries of ``(1, z)(1, z)ᵀ`` to lifts, along the last axis: equal ones are added up."""
        upper, lower, both = self._halves
        return products[..., upper] + both * products[..., lower]

    @cached_property
    def _halves(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """For every lift its two places in the flattened ``(1, z)(1, z)ᵀ``, and zero where they are the same."""
        i, j = np.triu_indices(self.n + 1)
        order = np.argsort(self.lifts[i, j])
        i, j = i[order], j[order]
        return (self.n + 1) * i + j, (self.n + 1) * j + i, np.where(i == j, 0.0, 1.0)

    def corrected(self, gram: Array, missing: Array) -> Array:
        """A matrix ``S`` changed evenly, so that ``mᵀ S m`` gains a polynomial."""
        p, n = len(self.pairs), self.n
        share = missing / self.multiplicities
        change = np.zeros((p + n, p + n))
        change[:p, :p] = np.outer(self.factors, self.factors) * share[self.quartic]
        change[:p, p:] = self.factors[:, None] * share[self.cubic]
        change[p:, :p] = change[:p, p:].T
        return gram + change

    def _summed(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> Array:
        return np.bincount(places.ravel(), values.ravel(), self.size).astype(float)


@lru_cache(maxsize=16)
def quartics(n: int) -> Quartics:
    """The tables for ``n`` variables."""
    pairs = np.stack(np.triu_indices(n), axis=1)
    square = np.zeros((n, n), np.int64)
    square[pairs[:, 0], pairs[:, 1]] = square[pairs[:, 1], pairs[:, 0]] = np.arange(len(pairs))
    variables = np.arange(n)
    doubled = np.stack([variables, variables], axis=1)
    fourth, third = _keys(n, pairs, pairs), _keys(n, pairs, variables[:, None])
    known = np.unique(fourth), np.unique(third)
    size = len(known[0]) + len(known[1])

    def places(keys: NDArray[np.int64], degree: int) -> NDArray[np.int64]:
        if degree == 4:
            return np.searchsorted(known[0], keys)
        return len(known[0]) + np.searchsorted(known[1], keys)

    raised = places(_keys(n, pairs, doubled), 4)
    raised_variable = places(_keys(n, variables[:, None], doubled), 3)
    return Quartics(n, pairs, square, places(fourth, 4), places(third, 3), raised, raised_variable, size)


def _keys(n: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for every product of monomials, which are given by the indices of their variables."""
    shape = (len(left), len(right))
    factors = [np.broadcast_to(column[:, None], shape) for column in left.T]
    factors += [np.broadcast_to(column, shape) for column in right.T]
    ordered = np.sort(np.stack(factors), axis=0)
    return np.tensordot(n ** np.arange(len(factors)), ordered, axes=1)
