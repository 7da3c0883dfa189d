"""The moment relaxation of order two, solved by operator splitting (docs/theory.md, proposition 15a).

It is: maximize ``L(⟨a, z⟩)`` over functionals ``L`` on the polynomials of degree four on the sphere with ``L(1) = 1``,
for which ``L(m mᵀ)``, ``L((1, z)(1, z)ᵀ ⊗ (c I − Z_b Z_b*))`` and ``L((1, z)(1, z)ᵀ h_i)`` are positive semidefinite.
The cones are many and small, and the equations are the same in every step, so that a step takes milliseconds in NumPy,
while one of an interior point method takes seconds. It also stops at once when it is told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import moments
from srnc_manifold.certificates.quartics import Quartics, quartics
from srnc_manifold.certificates.repair import positive_part
from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.geometry import Geometry

# Limits for the entries of a kernel, and for the order of the matrix of a block. Up to them a step takes milliseconds.
MOMENT_SIZE, MOMENT_ORDER = 12, 40

# With more blocks, a part of them is used: spread over all frequencies, and those that matter.
_BLOCKS = 80

# Of the blocks left out, so many are added at once, if their constraint is violated by such a part of the level.
_ADDED, _VIOLATION = 10, 1e-5

# Steps between two answers.
STEPS = 25

# Constraints are scaled to this norm, and steps over-relaxed by this factor: what converges fast on random problems.
_NORM, _RELAXATION = 4.0, 1.6

# Steps that are combined in one extrapolation (Anderson's), and the growth of the residual that is accepted after it.
_MEMORY, _GROWTH = 5, 2.0


def moments_fit(geometry: Geometry) -> bool:
    """Whether the moment relaxation is small enough to be solved."""
    size = int(np.prod(geometry.kernel_shape))
    return size <= MOMENT_SIZE and (size + 1) * geometry.block_rank <= MOMENT_ORDER


def chosen_blocks(points: Array, geometry: Geometry) -> NDArray[np.int64]:
    """Blocks for a relaxation: all or, of many, some spread evenly and those of the largest gain at some points."""
    if geometry.n_blocks <= _BLOCKS:
        return np.arange(geometry.n_blocks)
    spread = np.linspace(0, geometry.n_blocks - 1, _BLOCKS // 2).astype(int)
    gains = np.max(symbol.squared_singular_values(points, geometry)[..., 0], axis=0)
    return np.union1d(spread, np.argsort(-gains, kind="stable")[: _BLOCKS // 2])


def missed_blocks(second: Array, blocks: NDArray[np.int64], geometry: Geometry, level: float) -> NDArray[np.int64]:
    """Blocks beside the chosen ones that a functional violates most, by a part of ``c`` that matters, worst first."""
    if len(blocks) == geometry.n_blocks:
        return np.zeros(0, np.int64)
    values, vectors = np.linalg.eigh(second)
    kernels = (np.sqrt(np.maximum(values, 0.0)) * vectors).T.reshape(-1, *geometry.kernel_shape)
    symbols = symbol.of(kernels, geometry)
    symbols = symbols if geometry.block_shape[0] <= geometry.block_shape[1] else symbols.conj().swapaxes(-1, -2)
    gains = np.linalg.eigvalsh(np.sum(symbols @ symbols.conj().swapaxes(-1, -2), axis=0))[:, -1]
    gains[blocks] = 0.0
    worst = np.argsort(-gains, kind="stable")[:_ADDED]
    return worst[gains[worst] > (1 + _VIOLATION) * level]


@dataclass(frozen=True)
class State:
    """Where the splitting stands: its point, and the penalty."""

    point: Array
    penalty: float


@dataclass(frozen=True)
class Answer:
    """What is known after some steps.

    Attributes
    ----------
    gram, multipliers, cuts : arrays
        For :func:`srnc_manifold.certificates.moments.leaf_bound`.
    value : float
        ``L(⟨a, z⟩)``, the maximum once the steps have converged.
    residual : float
        How far the functional is from one of the relaxation.
    mean, second : arrays, shapes ``(Q,)`` and ``(Q, Q)``
        ``L(z)`` and ``L(z zᵀ)``.
    state : State
        To go on from.
    """

    gram: Array
    multipliers: NDArray[Any]
    cuts: Array
    value: float
    residual: float
    mean: Array
    second: Array
    state: State


class MomentProgram:
    """The relaxation for one direction, with the functions ``h = offset + ⟨slope, z⟩`` of a region.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
    geometry : Geometry
    level : float
    blocks : int array
        The blocks whose constraints are used.
    """

    def __init__(self, direction: Array, geometry: Geometry, level: float, blocks: NDArray[np.int64]) -> None:
        self.direction, self.blocks = direction.ravel(), blocks
        self.q = quartics(direction.size)
        self.rows = moments.constraint_rows(geometry, level, blocks)
        self._objective = self.q.linear(self.direction)
        self._scale = _scale(self.rows)
        self._inverse = np.linalg.inv(_normal_matrix(self.q, self._scale * self.rows)).astype(float)

    def answers(self, slopes: Array, offsets: Array, state: State | None = None) -> Iterator[Answer]:
        """The answers for a region, one after every few steps, without end.

        Parameters
        ----------
        slopes, offsets : arrays, shapes ``(n, Q)`` and ``(n,)``
        state : State, optional
            That of an answer for the first of these functions ``h``.
        """
        return _Splitting(self, moments.cut_rows(slopes, offsets)).answers(state)

    def certificate(self, n_answers: int) -> dict[str, NDArray[Any]]:
        """The best of some answers for the whole sphere, in the layout of the certificate ``"moments"``."""
        size, cut, best, bound = self.direction.size, np.zeros((0, self.rows.shape[-1])), None, np.inf
        for answer in islice(self.answers(np.zeros((0, size)), np.zeros(0)), n_answers):
            found = moments.leaf_bound(self.direction, self.rows, cut, answer.gram, answer.multipliers, answer.cuts)
            if best is None or found < bound:
                best, bound = answer, found
        assert best is not None
        return {
            "normals": np.zeros((0, size)),
            "thresholds": np.zeros(0),
            "children": np.zeros((0, 2), np.int64),
            "blocks": self.blocks,
            "grams": best.gram[None],
            "multipliers": best.multipliers[None],
            "cuts": best.cuts[None],
        }


def _scale(rows: NDArray[Any]) -> float:
    return float(_NORM / np.max(np.linalg.norm(rows.reshape(-1, rows.shape[-1]), axis=1)))


def _normal_matrix(q: Quartics, rows: NDArray[Any]) -> Array:
    """``𝓜*𝓜`` for ``𝓜``, which maps a functional to all its matrices; no linear terms in the rows."""
    p, n = len(q.pairs), q.n
    flat = rows.reshape(-1, rows.shape[-1])[:, :p]
    form = np.real(flat.conj().T @ flat)
    contraction = np.zeros((p, q.size))  # of a functional to its values at the monomials of degree two
    np.add.at(contraction, (np.repeat(np.arange(p), n), q.raised.ravel()), 1.0)
    counts = np.bincount(q.square.ravel(), minlength=p)
    matrix = np.diag(q.multiplicities) + contraction.T @ ((np.diag(counts) + form) @ contraction)
    for places, weight in [(q.cubic[:, i], 2.0) for i in range(n)] + [
        (q.quartic[:, j], float(counts[j])) for j in range(p)
    ]:
        matrix[np.ix_(places, places)] += weight * form
    return matrix


class _Splitting:
    """Douglas-Rachford splitting: projections onto the cones, and onto the matrices of functionals."""

    def __init__(self, program: MomentProgram, cuts: Array) -> None:
        self.q, self.direction, self._objective = program.q, program.direction, program._objective
        self._rows = program._scale * program.rows
        self._scales = program._scale, _scale(cuts) if len(cuts) else 1.0
        self._cuts = self._scales[1] * cuts[:, None, None]
        order, side = len(self.q.pairs) + self.q.n, (self.q.n + 1) * self._rows.shape[1]
        self._shapes = (order, order), (len(self._rows), side, side), (len(cuts), self.q.n + 1, self.q.n + 1)
        self._types = np.dtype(float), self._rows.dtype, np.dtype(float)
        lengths = [
            int(np.prod(shape)) * kind.itemsize // 8 for shape, kind in zip(self._shapes, self._types, strict=True)
        ]
        self._ends = np.cumsum(lengths)
        self._inverse = self._updated(program._inverse)
        self._one = self._inverse @ self.q.one

    def _updated(self, inverse: Array) -> Array:
        """The inverse of the normal matrix with the cuts, by Woodbury's formula."""
        if not len(self._cuts):
            return inverse
        q, lifts = self.q, 1 + self.q.n + len(self.q.pairs)
        counts = np.sqrt(np.bincount(q.lifts.ravel(), minlength=lifts))
        rows = np.stack(
            [q.table_adjoint(np.outer(cut, unit)) for cut in self._cuts[:, 0, 0] for unit in np.diag(counts)]
        )
        halfway = inverse @ rows.T
        return inverse - halfway @ np.linalg.solve(np.eye(len(rows)) + rows @ halfway, halfway.T)

    def answers(self, state: State | None) -> Iterator[Answer]:
        point, penalty = self._start(state)
        history: list[tuple[Array, Array]] = []
        fallback, limit, previous = point, np.inf, point
        for step in range(1, 10**9):
            inside, outside, moments_of, values = self._step(point, penalty)
            image = point + _RELAXATION * (moments_of - inside)
            change = image - point
            if np.linalg.norm(change) > limit:  # the extrapolation was a bad one
                point, limit = fallback, np.inf
                history.clear()
                continue
            limit, point = np.inf, image
            history.append((change, image))
            if step % STEPS == 0:
                residual, duals = float(np.linalg.norm(moments_of - inside)), -penalty * outside
                if step % (4 * STEPS) == 0:
                    moved = penalty * float(np.linalg.norm(inside - previous))
                    ratio = float(np.clip(np.sqrt(residual / max(moved, 1e-300)), 1 / 3, 3))
                    if not 0.75 < ratio < 1.3:  # the two residuals shall decrease together
                        penalty, point = penalty * ratio, inside + outside / ratio
                        history.clear()
                yield self._answer(duals, values, residual, State(point, penalty))
            elif step % _MEMORY == 0 and len(history) > 1:
                fallback, limit = image, _GROWTH * float(np.linalg.norm(change))
                point = _extrapolated(history)
            del history[: -2 * _MEMORY]
            previous = inside

    def _start(self, state: State | None) -> tuple[Array, float]:
        point = np.zeros(self._ends[-1])
        if state is None:
            return point, 0.3
        point[: len(state.point)] = state.point
        return point, state.penalty

    def _step(self, point: Array, penalty: float) -> tuple[Array, Array, Array, Array]:
        """The projection onto the cones, what it leaves, and the nearest matrices of a functional, with its values."""
        inside = self._joined([positive_part(matrices) for matrices in self._split(point)])
        outside = point - inside
        gram, multipliers, cuts = self._split(inside - outside)
        table = self.q.gram_adjoint(gram) + moments.localizing_adjoint(self.q, self._rows, multipliers)
        if len(cuts):
            table += moments.localizing_adjoint(self.q, self._cuts, cuts)
        values = self._inverse @ (self.q.table_adjoint(table) + self._objective / penalty)
        values += self._one * ((1.0 - self.q.one @ values) / (self.q.one @ self._one))
        table = self.q.table(values)
        found = [self.q.gram(table), moments.localizing(self.q, self._rows, table)]
        found.append(moments.localizing(self.q, self._cuts, table) if len(cuts) else cuts)
        return inside, outside, self._joined(found), values

    def _answer(self, duals: Array, values: Array, residual: float, state: State) -> Answer:
        gram, multipliers, cuts = self._split(duals)
        table, p = self.q.table(values), len(self.q.pairs)
        return Answer(
            gram,
            self._scales[0] * multipliers,
            self._scales[1] * cuts,
            float(self._objective @ values),
            residual,
            table[p:, 0],
            table[p:, 1 : 1 + self.q.n],
            state,
        )

    def _split(self, point: Array) -> list[NDArray[Any]]:
        parts = np.split(point, self._ends[:-1])
        return [p.view(kind).reshape(shape) for p, kind, shape in zip(parts, self._types, self._shapes, strict=True)]

    def _joined(self, parts: list[NDArray[Any]]) -> Array:
        return np.concatenate([np.ascontiguousarray(part).ravel().view(float) for part in parts])


def _extrapolated(history: list[tuple[Array, Array]]) -> Array:
    """Anderson's extrapolation of a fixed-point iteration, regularized (its type II)."""
    changes, images = (np.diff(np.stack(part), axis=0) for part in zip(*history, strict=True))
    matrix = changes @ changes.T
    matrix[np.diag_indices(len(matrix))] += 1e-8 * np.trace(matrix) + 1e-300
    return history[-1][1] - np.linalg.solve(matrix, changes @ history[-1][0]) @ images
