"""What proves a bound on the distance to the caps: multipliers for some blocks, the Lemma for the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.certificates import boxes, caps
from srnc_manifold.display import Shown
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms
from srnc_manifold.operators.atoms import Level
from srnc_manifold.operators.geometry import Geometry

# Columns of the parameters of a certificate.
PARAMETERS = 1 + boxes.NUMBERS


@dataclass(frozen=True, repr=False, eq=False)
class CapsCertificate(Shown):
    """Multipliers of the blocks that the Lemma alone does not exclude. A block may have several rows.

    Attributes
    ----------
    blocks : integer array, shape ``(R,)``
    values : array
        For blocks of rank one, ``(η, τ)`` of shape ``(R, 2)``. Otherwise complex shifts ``T`` of shape
        ``(R, *block_shape)``.
    parameters : array, shape ``(R, 8)``, optional
        What belongs to a shift; not used for blocks of rank one. The first column is the ``rest`` of
        :func:`caps.weighted_bounds`, or zero for the bound of :func:`caps.shifted_bounds`. If the others are not zero,
        they are the numbers of :func:`boxes.box_bounds`, and the row bounds a part of the atoms. Zeros by default.
    """

    blocks: NDArray[np.int64]
    values: NDArray[Any]
    parameters: NDArray[np.float64] | None = None

    def summary(self) -> dict[str, str]:
        return {"rows": str(len(self.blocks)), "values": f"shape {self.values.shape}, {self.values.dtype}"}

    @classmethod
    def empty(cls, geometry: Geometry) -> CapsCertificate:
        """That of the Lemma alone."""
        shape, kind = ((2,), float) if geometry.block_rank == 1 else (geometry.block_shape, complex)
        return cls(np.zeros(0, np.int64), np.zeros((0, *shape), kind))

    @classmethod
    def joined(cls, parts: Sequence[CapsCertificate]) -> CapsCertificate:
        """The rows of several certificates, one after the other."""
        none = all(part.parameters is None for part in parts)
        return cls(
            np.concatenate([part.blocks for part in parts]),
            np.concatenate([part.values for part in parts]),
            None if none else np.concatenate([part.rows() for part in parts]),
        )

    def of(self, which: NDArray[Any]) -> CapsCertificate:
        """Some of the rows."""
        parameters = None if self.parameters is None else self.parameters[which]
        return CapsCertificate(self.blocks[which], self.values[which], parameters)

    def rows(self) -> NDArray[np.float64]:
        """The parameters, or the zeros that stand for none."""
        return np.zeros((len(self.blocks), PARAMETERS)) if self.parameters is None else self.parameters

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored; parameters only if there are some."""
        arrays = {"blocks": self.blocks, "values": self.values}
        if self.parameters is None or not self.parameters.any():
            return arrays
        return arrays | {"parameters": self.parameters}

    def squared_distance(self, direction: Array, geometry: Geometry, level: Level | float) -> float:
        """Lower bound on ``‖z − a‖²`` over all blocks, from a dense decomposition of every block."""
        matrices = atoms.turned_symbol(direction, geometry)
        heights = caps.safe_heights(np.sqrt(norms.squared_norms(matrices)), geometry)
        bounds = caps.lemma(heights, geometry, level)
        sharper = self.bounds(matrices[self.blocks], geometry, level)
        np.maximum.at(bounds, self.blocks, sharper)
        return float(np.min(bounds))

    def bounds(self, matrices: NDArray[Any], geometry: Geometry, level: Level | float) -> Array:
        """What every row proves of its whole block, from the turned symbol there; shape ``(R,)``."""
        levels = caps.repeated(level, len(self.blocks))
        if geometry.block_rank == 1:
            return caps.rank_one_bounds(matrices, self.blocks, self.values, geometry, levels)
        rows = self.rows()
        bounds = np.zeros(len(rows))
        shifted, parts = ~rows.any(axis=1), rows[:, 1:].any(axis=1)
        weighted = ~shifted & ~parts

        def own(which: Any) -> tuple[Any, Any, Any, Geometry, Level]:
            return matrices[which], self.blocks[which], self.values[which], geometry, levels[which]

        if shifted.any():
            bounds[shifted] = caps.shifted_bounds(*own(shifted))
        if weighted.any():
            bounds[weighted] = caps.weighted_bounds(*own(weighted), rows[weighted, 0])
        if parts.any():
            bounds[parts] = boxes.box_bounds(*own(parts), rows[parts, 1:])
        bounds[parts] = boxes.of_whole_blocks(self.blocks[parts], rows[parts, 1:], bounds[parts])
        return bounds
