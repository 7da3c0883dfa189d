"""What a problem needs of a linear layer; :class:`Circular` is the first, :class:`Dense` the second.

An operator ``C(x)`` is linear in the kernel ``x``. Then ``‖C(x)‖_F² = xᵀ W x`` with a Gram matrix ``W``. In the
coordinates ``y = (W/w)^½ x``, for any number ``w``, it is ``w ‖y‖²``. There the kernels of one stable rank and spectral
norm lie on a sphere (docs/theory.md, section 2). All methods but :meth:`Operator.coordinates` take ``y``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array, frozen
from srnc_manifold.operators import symbol
from srnc_manifold.operators.brackets import NormBracket
from srnc_manifold.operators.geometry import Weighted
from srnc_manifold.operators.norms import NormTests


class DominantAtom(NamedTuple):
    """An atom, and the vector from which that of a kernel nearby is soon found, if it is found by iteration."""

    tensor: Array
    start: Array | None = None


@dataclass(frozen=True)
class Relaxation:
    """A circular layer whose feasible set contains that of a padded one (docs/theory.md, proposition 30).

    Attributes
    ----------
    geometry : Weighted
    factor : float
        A norm of the padded layer is at most this many times that of the circular one.
    proves : bool
        Whether it contains it; if not, it is only like it.
    """

    geometry: Weighted
    factor: float
    proves: bool

    def level(self, level: float) -> float:
        """``c``, rounded down."""
        return level / self.factor**2 * (1 - 2.0**-46)


class Operator(ABC):
    """A linear layer as a function of its kernel, block-diagonal in some orthonormal bases.

    Attributes
    ----------
    kernel_shape : tuple of int
    input_shape, output_shape : tuple of int
        Shapes of the feature maps, channels first.
    gram_weight : float
        ``w``: ``‖C(x)‖_F² = w ‖y‖²``.
    multiplicities : array, shape ``(n_blocks,)``
        How many blocks of the operator each listed one stands for.
    block_shape : (int, int)
        Rows and columns of a block.
    stable_rank_range : (float, float)
        Bounds on the stable ranks of all kernels; for circular convolutions they are attained.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> isinstance(problem.operator, srnc.Operator), [round(end, 4) for end in problem.operator.stable_rank_range]
    (True, [21.3333, 64.0])
    """

    kernel_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    gram_weight: float
    multiplicities: NDArray[np.float64]
    block_shape: tuple[int, int]
    stable_rank_range: tuple[float, float]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(kernel {self.kernel_shape}, input {self.input_shape}, output {self.output_shape})"
        )

    @abstractmethod
    def blocks(self, y: Any, xp: Namespace = NUMPY) -> Any:
        """The blocks, shape ``(n_blocks, *block_shape)``; linear in ``y``."""

    @abstractmethod
    def adjoint(self, matrices: NDArray[Any]) -> Array:
        """The adjoint of :meth:`blocks`, with each listed block counted once; of the shape of a kernel."""

    def coordinates(self, x: Array) -> Array:
        """``y``, of the shape of the kernel ``x``."""
        return x

    def kernel(self, y: Array) -> Array:
        """``x``, the inverse of :meth:`coordinates`."""
        return y

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for value in state.values():
            if isinstance(value, np.ndarray):
                frozen(value)  # pickle does not keep this

    def squared_frobenius_norm(self, x: Any, xp: Namespace = NUMPY) -> Any:
        """``‖C(x)‖_F²`` of a kernel."""
        return xp.sum(self.coordinate_rows(xp.reshape(x, (1, -1)), xp) ** 2) * self.gram_weight

    def unseen(self, x: Array) -> Array | None:
        """The part of a kernel that the operator does not depend on; None if there is no such part of any kernel."""
        return None

    # -- many kernels at once -------------------------------------------------------------------------------

    @property
    def row_matrix(self) -> Array:
        """What :meth:`block_rows` multiplies with: the blocks of every entry; one with many entries has less."""
        blocks = np.stack([np.ravel(self.blocks(unit)) for unit in self._units])
        return np.concatenate([blocks.real, blocks.imag], axis=1)

    def block_rows(self, rows: Any, matrix: Any, xp: Namespace) -> Any:
        """:meth:`blocks` of many flat ``y``, of shape ``(B, n)``: real and imaginary parts.

        Their shape is ``(B, 2, n_blocks, *block_shape)``; ``matrix`` is :attr:`row_matrix` in the library and on the
        device of the rows.
        """
        return xp.reshape(xp.matmul(rows, matrix), (-1, 2, len(self.multiplicities), *self.block_shape))

    def adjoint_rows(self, matrices: Any, matrix: Any, xp: Namespace) -> Any:
        """The adjoint of :meth:`block_rows`, shape ``(B, n)``."""
        return xp.matmul(xp.reshape(matrices, (len(matrices), -1)), matrix.T)

    def row_gains(self, rows: Any, xp: Namespace) -> Any:
        """:meth:`gain` of many flat ``y``, shape ``(B,)``."""
        blocks = self.block_rows(rows, xp.constant(self.row_matrix, rows), xp)
        if self.block_rank == 1:
            return xp.max(xp.sum(blocks**2, axis=(1, 3, 4)), axis=1)
        grams = symbol.grams(blocks[:, 0] + 1j * blocks[:, 1])
        return xp.max(xp.eigenvalues(grams)[..., -1], axis=1)

    def coordinate_rows(self, rows: Any, xp: Namespace) -> Any:
        """:meth:`coordinates` of many flat kernels, shape ``(B, n)``."""
        if type(self).coordinates is Operator.coordinates:
            return rows
        images = np.stack([np.ravel(self.coordinates(unit)) for unit in self._units])
        return xp.matmul(rows, xp.constant(images, rows))

    def relaxation(self, input_size: tuple[int, ...] | None = None) -> Relaxation | None:
        """A circular layer that is like the operator, on inputs of this size or its own choice, if one is known."""
        return None

    @property
    def _units(self) -> Array:
        size = int(np.prod(self.kernel_shape))
        return np.reshape(np.eye(size), (size, *self.kernel_shape))

    @property
    def block_rank(self) -> int:
        """Singular values of a block."""
        return min(self.block_shape)

    @cached_property
    def value_multiplicities(self) -> Array:
        """How many singular values of the operator each of :meth:`squared_singular_values` stands for, flat."""
        return frozen(np.repeat(self.multiplicities, self.block_rank))

    def squared_singular_values(self, y: Any, xp: Namespace = NUMPY) -> Any:
        """Squared singular values of every block, shape ``(n_blocks, block_rank)``, descending in each."""
        matrices = self.blocks(y, xp)
        if self.block_rank == 1:
            return symbol.energies(matrices, xp)[..., None]
        return xp.singular_values(matrices) ** 2

    def gain(self, y: Array) -> float:
        """``‖C(x)‖₂²``."""
        return float(np.max(self.squared_singular_values(y)))

    def nearby_gains(self) -> Callable[[Array], float]:
        """:meth:`gain`, for arguments one after the other of which many are near an earlier one."""
        return self.gain

    def decomposition(self, y: Array) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Thin singular value decompositions ``U, σ, V*`` of all blocks."""
        return symbol.singular_vectors(self.blocks(y))

    def atom(self, block: int, u: NDArray[Any], v: NDArray[Any]) -> Array:
        """The ``G`` with ``⟨y, G⟩ = Re(u* X_b v)`` for all ``y``: what a kernel has in common with a singular pair."""
        matrices: NDArray[Any] = np.zeros((len(self.multiplicities), *self.block_shape), np.result_type(u, v))
        matrices[block] = np.outer(u, v.conj())
        return self.adjoint(matrices)

    def dominant_atom(self, y: Array) -> Array:
        """The atom of the largest singular pair, with the largest ``⟨y, G⟩``."""
        u, s, vh = self.decomposition(y)
        block = int(np.argmax(s[:, 0]))
        return self.atom(block, u[block, :, 0], vh[block, 0].conj())

    def dominant_atoms(self, y: Array, count: int, seed: int = 0, near: Array | None = None) -> list[DominantAtom]:
        """The atoms of the largest singular pairs, the largest first.

        Where they are found by iteration, it starts from a vector that is random, the same for one seed; or from one
        that belongs to a kernel nearby, to which something random is added.
        """
        if count == 1:
            return [DominantAtom(self.dominant_atom(y))]
        u, s, vh = self.decomposition(y)
        order = np.argsort(-s, axis=None, kind="stable")[:count]
        places = zip(*np.unravel_index(order, s.shape), strict=True)
        return [DominantAtom(self.atom(int(block), u[block, :, k], vh[block, k].conj())) for block, k in places]

    def norm_bracket(self, y: Array) -> NormBracket:
        """What is known of ``‖C(x)‖₂``: here all, up to the rounding of decompositions and factorizations."""
        tests, matrices = self.norm_tests(y), self.blocks(y)
        margin, block = (1.0, None) if tests is None else (tests.margin, tests.dominant()[0])
        u, s, vh = symbol.singular_vectors(matrices if block is None else matrices[[block]])
        top = int(np.argmax(s[:, 0]))
        matrix, left, right = matrices[top if block is None else block], u[top, :, 0], vh[top, 0].conj()
        lower, size = float(s[top, 0]), math.sqrt(margin) * (1 + 2.0**-50 * sum(self.block_shape))
        gap = math.hypot(
            float(np.linalg.norm(matrix @ right - lower * left)),
            float(np.linalg.norm(matrix.conj().T @ left - lower * right)),
        )
        return NormBracket(lower, gap / lower, lower * size, "decomposition", lower * size)

    def least_gain_kernel(self, y: Array) -> Array | None:
        """A unit kernel of the least gain there is, near ``y``, if one is known."""
        return None

    def norm_tests(self, y: Array) -> NormTests | None:
        """Tests of the norms of all blocks, if they are faster than decompositions."""
        return None

    def to_fields(self) -> dict[str, Any]:
        """What a file needs to describe the operator: JSON values and arrays.

        Raises
        ------
        TypeError
            If an operator of this class cannot be saved.
        """
        raise TypeError(f"operator: {self!r} cannot be saved, only Circular and Dense ones can")

    def stable_rank(self, squared_size: float, gain: float) -> float:
        """Of a kernel with ``‖y‖²`` and ``‖C(x)‖₂²`` as given."""
        return self.gram_weight * squared_size / gain
