"""Blocks of more than one row and column: atoms improved by alternation.

An atom of a block is ``w = conj(u) vᵀ`` in its frame (docs/theory.md, section 7). Everything is computed for ``R``
pairs of a kernel and a block at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.certificates import caps
from srnc_manifold.exact.reduce.effort import Effort
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms

# Where an entry of a symbol changes by less than this, the distance does by its square.
_STILL = 1e-8

_MAX_STEPS = 2000

# Above the rounding errors of ⟨a, x(G)⟩.
_ROUNDING = 1e-14

#: What the imaginary part of a symbol is multiplied with, one after the other, where the cap of its atom is empty.
TURNS = (0.5, 0.25, 0.1, 0.03, 0.01)

# Earlier steps from which the next is extrapolated.
_DEPTH = 6

# Newton's method takes over for a single block of at most so many entries where none of them changes by more than this;
# it then needs two or three steps. The differences that give its derivative.
_FEW, _NEAR, _DIFFERENCE = 16, 3e-3, 1e-7


@dataclass(frozen=True)
class Sizes:
    """What distances, coordinates and symbols of atoms depend on.

    ``heights`` ``⟨a, G⟩``, ``norms`` ``γ²`` and ``rooms`` ``γ² − c``, shape ``(R,)``; ``weighted``, shape
    ``(R, 2 · rows · columns)``, the parts of the atoms times their weights.
    """

    heights: Any
    norms: Any
    rooms: Any
    weighted: Any


@dataclass(frozen=True)
class Blocks:
    """``R`` blocks: their symbols of the unit vector ``a``, the weights of their atoms' norms, and the level.

    Attributes
    ----------
    matrices : complex array, shape ``(R, *block_shape)``
    upper, lower : arrays, shape ``(R, columns)``
    level : Level, or a number
        One for all, or one for each.
    effort : Effort
        In which what is done with them is counted; once none is left, iterations end where they are.
    xp : Namespace
        The library of the arrays. Distances, coordinates and steps by products run in each, others in NumPy.
    """

    matrices: Any
    upper: Any
    lower: Any
    level: Any
    effort: Effort = field(default_factory=Effort)
    xp: Namespace = NUMPY

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", atoms.as_level(self.level))

    def __getitem__(self, index: Any) -> Blocks:
        if isinstance(index, np.ndarray) and index.dtype == bool and index.all():
            return self  # with what it has cached
        level = self.level[index] if self.level.value.ndim else self.level
        return Blocks(self.matrices[index], self.upper[index], self.lower[index], level, self.effort, self.xp)

    def __len__(self) -> int:
        return len(self.matrices)

    def on_host(self) -> Blocks:
        """The same blocks in NumPy."""
        on_host = self.xp.to_numpy
        level = atoms.Level(on_host(self.level.value), on_host(self.level.rest))
        return Blocks(on_host(self.matrices), on_host(self.upper), on_host(self.lower), level, self.effort)

    @cached_property
    def top(self) -> Any:
        """Largest ``γ²``, shape ``(R,)``."""
        return self.xp.max(self.upper, axis=1)

    @cached_property
    def _functionals(self) -> Any:
        return self.xp.parts(self.matrices.conj())

    @cached_property
    def _weights(self) -> Any:
        """The weights of the real and imaginary parts, one after the other, as in an array of complex numbers."""
        weights = (self.upper + 1j * self.lower)[:, None]
        return self.xp.parts(self.xp.broadcast_to(weights, self.matrices.shape))

    @cached_property
    def _lacking(self) -> Any:
        """What the weights lack of the largest one."""
        return self.top[:, None] - self._weights

    @cached_property
    def _room(self) -> Any:
        return self.level.below(self.top)

    def sizes(self, w: Any) -> Sizes:
        """What distances and coordinates depend on, of an atom of each block, or of several of a single one."""
        parts, dot = self.xp.parts(w), self.xp.vecdot
        # Told from the largest norm there is, of which what is lacking may be tiny.
        lack = dot(self._lacking * parts, parts)
        return Sizes(dot(self._functionals, parts), self.top - lack, self._room - lack, self._weights * parts)

    def squared_distances(self, w: Any) -> Any:
        """``‖x(G) − a‖²`` on the unit sphere; infinite where the cap is empty."""
        return self.distances_of(self.sizes(w))

    def distances_of(self, sizes: Sizes) -> Any:
        """:meth:`squared_distances` of atoms whose sizes are known."""
        level, xp = self.level.value, self.xp
        distances = atoms.distance_to_rim(sizes.heights, xp.maximum(sizes.norms, level), level, sizes.rooms, xp=xp)
        return xp.where(self._has_points(sizes), distances, np.inf)

    def are_empty(self, w: Any) -> Any:
        """Whether the cap of an atom of each block is empty."""
        return ~self._has_points(self.sizes(w))

    def _has_points(self, sizes: Sizes) -> Any:
        return sizes.norms >= self.level.value * (1 - caps.EMPTY)


def top_atoms(matrices: NDArray[Any]) -> NDArray[Any]:
    """``conj(u) vᵀ`` of the top singular pair of each matrix."""
    u, _, vh = np.linalg.svd(matrices, full_matrices=False)
    return (u[:, :, :1] * vh[:, :1]).conj()


def coordinates(blocks: Blocks, sizes: Sizes) -> tuple[Any, Any]:
    """``(push, pull)`` with ``x(G) = push · G + pull · a`` on the unit sphere (docs/theory.md, section 7)."""
    return atoms.rim_coordinates(sizes.heights, sizes.norms, blocks.level.value, sizes.rooms, blocks.xp)


def improved_atoms(matrices: Any, w: Any, xp: Namespace = NUMPY, rounds: int = 4) -> Any:
    """Atoms with a larger ``Re Σ X w`` than the given ones, by power iteration from these: products only."""
    count = xp.arange(len(w), device=w.device)
    v = w[count, xp.argmax(xp.sum(xp.abs(w) ** 2, axis=2), axis=1)][:, :, None]
    transposed = matrices.swapaxes(1, 2)  # torch would conjugate the matrices in every product
    for _ in range(rounds):
        u = _normalized(xp.matmul(matrices, v), xp).conj()
        v = _normalized(xp.matmul(transposed, u), xp).conj()
    return u * v.swapaxes(1, 2)


def _normalized(vectors: Any, xp: Namespace) -> Any:
    norms = xp.linalg.vector_norm(vectors, axis=1, keepdims=True)
    return vectors / xp.where(norms > 0, norms, 1.0)


def images_of(blocks: Blocks, w: Any) -> tuple[Any, Any]:
    """The symbol of ``x(G)`` in the block of its atom, and ``⟨a, x(G)⟩``."""
    sizes = blocks.sizes(w)
    push, pull = coordinates(blocks, sizes)
    of_atoms = blocks.xp.of_parts(sizes.weighted, w.shape).conj()
    symbols = pull[:, None, None] * blocks.matrices + push[:, None, None] * of_atoms
    return symbols, push * sizes.heights + pull


def step(blocks: Blocks, w: NDArray[Any]) -> NDArray[Any]:
    """One step of the alternation: the top singular pair of the symbol at ``x(G)``; no distance increases."""
    return top_atoms(images_of(blocks, w)[0])


class _Memory:
    """Anderson's acceleration of ``R`` fixed-point iterations (Walker and Ni, SIAM J. Numer. Anal. 49, 2011)."""

    def __init__(self) -> None:
        self._count = 0
        self._last: tuple[Array, Array] | None = None
        # Differences of successive residuals, and of the images that belong to them; rows of zeros have no weight.
        self._steps = np.empty((2, 0, _DEPTH, 0))

    def next(self, given: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
        """Where to go on: the combination of the last images whose residuals, combined likewise, are the least."""
        image = NUMPY.parts(images)
        residual = image - NUMPY.parts(given)
        last, self._last = self._last, (residual, image)
        if last is None:
            self._steps = np.zeros((2, len(image), _DEPTH, image.shape[1]))
            return images
        place = self._count % _DEPTH
        self._count += 1
        steps, moves = self._steps
        steps[:, place], moves[:, place] = residual - last[0], image - last[1]
        gram = steps @ steps.swapaxes(1, 2)
        squares = np.einsum("kii->ki", gram)  # a view
        squares += 1e-14 * squares.sum(axis=1, keepdims=True) + 1e-300
        weights = np.linalg.solve(gram, steps @ residual[:, :, None])
        combined = image - (weights.swapaxes(1, 2) @ moves)[:, 0]
        return combined.view(complex).reshape(images.shape)

    def forget(self, which: NDArray[Any]) -> None:
        """Start anew in some of the iterations."""
        if self._last is not None:
            self._steps[:, which] = 0.0

    def keep(self, index: NDArray[Any]) -> None:
        """Go on with some of the iterations only."""
        if self._last is not None:
            self._steps = self._steps[:, index]
            self._last = self._last[0][index], self._last[1][index]


def _newton(block: Blocks, symbol: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Newton's step from the symbol of a single block to one that is its own image."""
    at, end = NUMPY.parts(symbol), NUMPY.parts(image)
    nearby = (at + _DIFFERENCE * np.eye(at.size)).view(complex).reshape(-1, *symbol.shape[1:])
    derivative = (NUMPY.parts(images_of(block, top_atoms(nearby))[0]) - end) / _DIFFERENCE
    try:
        change = np.linalg.solve(np.eye(at.size) - derivative.T, (end - at)[0])
    except np.linalg.LinAlgError:  # not isolated
        return image
    return (at + change).view(complex).reshape(symbol.shape)


def alternate(blocks: Blocks, w: NDArray[Any], max_steps: int = _MAX_STEPS) -> tuple[NDArray[Any], Array]:
    """Steps until none improves: the atoms and their squared distances; empty caps stay as they are."""
    before = blocks.squared_distances(w)
    filled = np.isfinite(before)
    end = np.array(w)
    if filled.any():
        end[filled] = _steps(blocks[filled], w[filled], _STILL, max_steps)
    reached = blocks.squared_distances(end)
    rounded = ~(reached <= before)
    end[rounded] = w[rounded]
    return end, np.where(rounded, before, reached)


def settle(block: Blocks, w: NDArray[Any], max_steps: int = _MAX_STEPS) -> NDArray[Any]:
    """Further steps until the atoms themselves stand still, to whose errors the distances are blind to first order."""
    return _steps(block, w, 1e-12, max_steps)


def _steps(blocks: Blocks, w: NDArray[Any], still: float, max_steps: int = _MAX_STEPS) -> NDArray[Any]:
    """Steps until no entry of a symbol changes by more than ``still``, accelerated where no distance increases."""
    end, active = np.array(w), np.arange(len(w))
    # For large blocks products as long as they help; it is a decomposition that finds nothing better which ends it.
    cheap = min(w.shape[1:]) > norms.NormTests.SMALL
    few = w[0].size <= _FEW
    memory, plain = _Memory(), np.ones(len(w), bool)
    images, near = images_of(blocks, w)
    symbols = images
    for _ in range(max_steps):
        if not blocks.effort.left():
            break
        blocks.effort.count(symbols)
        moved = improved_atoms(symbols, w) if cheap else top_atoms(symbols)
        reached, reached_near = images_of(blocks, moved)
        worse = reached_near < near - _ROUNDING  # extrapolated too far: back, and a plain step from there
        # Compared with the symbol that was decomposed: extrapolated ones may be alike, and yet not where the steps end.
        changes = np.abs(reached - symbols).max(axis=(1, 2))
        stands = np.where(worse, plain, changes <= still)
        if worse.any():
            back = worse[:, None, None]
            moved, images = np.where(back, w, moved), np.where(back, images, reached)
            near = np.where(worse, near, reached_near)
        else:
            images, near = reached, reached_near
        w, plain = moved, worse
        if cheap and stands.all():
            cheap, memory, symbols, plain = False, _Memory(), images, np.ones(len(w), bool)
            continue
        if not cheap and stands.any():
            end[active] = w
            stay = np.flatnonzero(~stands)
            if not len(stay):
                break
            active, blocks, w, symbols, reached = active[stay], blocks[stay], w[stay], symbols[stay], reached[stay]
            images, near, plain, changes = images[stay], near[stay], plain[stay], changes[stay]
            memory.keep(stay)
        if few and len(w) == 1 and changes[0] < _NEAR:
            symbols = _newton(blocks, symbols, reached)
        else:
            symbols = memory.next(symbols, reached)
        if plain.any():
            memory.forget(plain)
            symbols = np.where(plain[:, None, None], images, symbols)
    end[active] = w
    return end


def start(blocks: Blocks) -> NDArray[Any]:
    """The atom of the top singular pair of each symbol, changed where its cap is empty.

    Then it is one of ``Re A + iτ Im A`` with a small ``τ``, whose ``γ`` is larger; the last resort is one of the
    largest ``γ`` there is.
    """
    w = top_atoms(blocks.matrices)
    for turn in TURNS:
        empty = np.flatnonzero(blocks.are_empty(w))
        if not len(empty):
            return w
        w[empty] = top_atoms(blocks.matrices[empty].real + 1j * turn * blocks.matrices[empty].imag)
    return _with_room(blocks, w)


def other_starts(blocks: Blocks) -> list[NDArray[Any]]:
    """The atoms of the real and of the imaginary part of each symbol, both real."""
    return [_with_room(blocks, top_atoms(part + 0j)) for part in (blocks.matrices.real, blocks.matrices.imag)]


def random_atoms(blocks: Blocks, rng: np.random.Generator) -> NDArray[Any]:
    """A random atom of each block, one of three real, and turned towards real ones where its cap is empty."""
    count, (rows, columns) = len(blocks), blocks.matrices.shape[1:]
    u, v = (rng.standard_normal((count, n, 2)) for n in (rows, columns))
    imaginary = np.where(rng.random(count) < 1 / 3, 0.0, 1.0)[:, None]
    for _ in range(3):
        pairs = [part[..., 0] + 1j * imaginary * part[..., 1] for part in (u, v)]
        w = pairs[0].conj()[:, :, None] * pairs[1][:, None, :]
        w = w / np.linalg.norm(w, axis=(1, 2), keepdims=True)
        imaginary = np.where(blocks.are_empty(w)[:, None], 0.3 * imaginary, imaginary)
    return _with_room(blocks, w)


def _with_room(blocks: Blocks, w: NDArray[Any]) -> NDArray[Any]:
    """Atoms with empty caps replaced by the best real one of the columns with the largest weight."""
    empty = blocks.are_empty(w)
    if not np.any(empty):
        return w
    full = (blocks.upper >= blocks.top[:, None] * (1 - 1e-12))[empty, None]
    # Not quite zero, so that zero symbols have an atom of such columns, too.
    return _replaced(w, empty, top_atoms(np.where(full, blocks.matrices.real[empty] + 1e-200, 0.0) + 0j))


def _replaced(values: NDArray[Any], where: NDArray[Any], by: NDArray[Any]) -> NDArray[Any]:
    values = np.array(values)
    values[where] = by
    return values
