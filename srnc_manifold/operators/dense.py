"""Any linear layer, written out: the matrices that the entries of a kernel are multiplied with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.arrays import real
from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array, frozen
from srnc_manifold.operators.base import Operator


class Dense(Operator):
    """``C(x) = Σ_k x_k T_k`` with matrices ``T_k``, one for each entry of the kernel: one block, the whole operator.

    For small layers of any kind, and as a reference in tests. Its Gram matrix ``W_kl = ⟨T_k, T_l⟩`` may be full.

    Parameters
    ----------
    matrices : array, shape ``(*kernel_shape, rows, columns)``
        Real and linearly independent.

    Raises
    ------
    TypeError, ValueError
        If they are not real, not finite, or not independent.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> import numpy as np
    >>> operator = srnc.Dense(np.stack([np.eye(3), np.diag([0, 1, -1])]))
    >>> round(srnc.SRNProblem([2, 1], operator, stable_rank_fraction=0.95).kernel_stable_rank, 6)
    1.555556
    """

    gram_weight = 1.0

    def __init__(self, matrices: Any) -> None:
        given = real(matrices, "matrices")
        array = given.xp.to_numpy(given.values)
        if array.ndim < 3 or array.size == 0:
            raise ValueError(f"matrices: shape {array.shape} given, expected (*kernel_shape, rows, columns)")
        if not np.all(np.isfinite(array)):
            raise ValueError("matrices: entries given that are not finite")
        self.kernel_shape = array.shape[:-2]
        self.block_shape = (array.shape[-2], array.shape[-1])
        self.output_shape, self.input_shape = (array.shape[-2],), (array.shape[-1],)
        self.multiplicities = frozen(np.ones(1))
        self.stable_rank_range = (1.0, float(min(self.block_shape)))
        self.matrices = frozen(array)
        rows = array.reshape(-1, array.shape[-2] * array.shape[-1])
        values, vectors = np.linalg.eigh(rows @ rows.T)
        if values[0] <= 1e-12 * values[-1]:
            raise ValueError(
                "matrices: some kernel other than zero has an operator that is zero, expected independent matrices"
            )
        self._root = frozen((vectors * np.sqrt(values)) @ vectors.T)
        self._inverse_root = frozen((vectors / np.sqrt(values)) @ vectors.T)
        # In the coordinates the rows are orthonormal.
        self._rows = frozen(self._inverse_root @ rows)

    def to_fields(self) -> dict[str, Any]:
        return {"matrices": self.matrices}

    def blocks(self, y: Any, xp: Namespace = NUMPY) -> Any:
        flat = xp.reshape(y, (1, -1))
        return xp.reshape(xp.matmul(flat, xp.constant(self._rows, flat)), (1, *self.block_shape))

    def adjoint(self, matrices: NDArray[Any]) -> Array:
        return np.reshape(self._rows @ np.real(matrices).ravel(), self.kernel_shape)

    def coordinates(self, x: Array) -> Array:
        return np.reshape(self._root @ np.ravel(x), self.kernel_shape)

    def kernel(self, y: Array) -> Array:
        return np.reshape(self._inverse_root @ np.ravel(y), self.kernel_shape)
