"""Convolutions with circular padding: block-diagonal in the Fourier basis (docs/theory.md, section 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.geometry import Geometry


class Circular(Operator):
    """The circular convolution of a geometry; its coordinates are the kernel itself.

    Parameters
    ----------
    geometry : Geometry

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> operator = srnc.Circular(srnc.Geometry.of((3, 3), (8, 8)))
    >>> srnc.SRNProblem([[1, 0, 0], [0, 0, 0], [0, 0, 1]], operator, stable_rank_fraction=0.9).regime
    'reduce'
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.kernel_shape, self.block_shape = geometry.kernel_shape, geometry.block_shape
        c_out, c_in = geometry.channels
        self.input_shape = (c_in * geometry.groups, *geometry.input_size)
        self.output_shape = (c_out, *geometry.grid)
        self.gram_weight = geometry.n_points
        self.multiplicities = geometry.multiplicities
        self.stable_rank_range = geometry.stable_rank_range

    def blocks(self, y: Any, xp: Namespace = NUMPY) -> Any:
        return symbol.of(xp.reshape(y, self.kernel_shape), self.geometry, xp)

    def adjoint(self, matrices: NDArray[Any]) -> Array:
        return symbol.adjoint(matrices, self.geometry)

    def squared_frobenius_norm(self, x: Any, xp: Namespace = NUMPY) -> Any:
        return xp.sum(x**2) * self.gram_weight

    @property
    def row_matrix(self) -> Array:
        return symbol.row_matrix(self.geometry)

    def block_rows(self, rows: Any, matrix: Any, xp: Namespace) -> Any:
        return symbol.of_rows(rows, matrix, self.geometry, xp)

    def adjoint_rows(self, matrices: Any, matrix: Any, xp: Namespace) -> Any:
        return symbol.adjoint_rows(matrices, matrix, self.geometry, xp)

    def gain(self, y: Array) -> float:
        return float(norms.gain(np.reshape(y, self.kernel_shape), self.geometry))

    def nearby_gains(self) -> Callable[[Array], float]:
        if self.block_rank <= norms.NormTests.SMALL:
            return self.gain
        gains = norms.NearbyGains(self.geometry)
        return lambda y: gains.gain(np.reshape(y, self.kernel_shape))

    def atom(self, block: int, u: NDArray[Any], v: NDArray[Any]) -> Array:
        return atoms.atom(self.geometry, block, u, v).tensor

    def dominant_atom(self, y: Array) -> Array:
        return atoms.dominant_atom(np.reshape(y, self.kernel_shape), self.geometry).tensor

    def least_gain_kernel(self, y: Array) -> Array | None:
        return atoms.nearest_delta(np.reshape(y, self.kernel_shape), self.geometry)

    def to_fields(self) -> dict[str, Any]:
        geometry = self.geometry
        layout = {"groups": geometry.groups, "stride": geometry.stride, "dilation": geometry.dilation}
        return {"input_size": geometry.input_size, **layout}

    def norm_tests(self, y: Array) -> norms.NormTests | None:
        if self.block_rank <= norms.NormTests.SMALL:
            return None
        return norms.NormTests(self.blocks(y))
