"""Tensors with one row for each start, and points on products of spheres in rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from srnc_manifold.result import Status

#: How a row ended, by its code; ``GOING`` is still on its way.
GOING = 0
STATUSES = {1: Status.CONVERGED, 2: Status.LIMIT, 3: Status.STALLED, 4: Status.NONFINITE}
CODES = {status: code for code, status in STATUSES.items()}


class Table:
    """Columns by name, each a tensor with a row for each start; read and replaced as attributes."""

    def __init__(self, xp: Any, **columns: Any) -> None:
        self.__dict__["xp"], self.__dict__["columns"] = xp, columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, column: Any) -> None:
        self.columns[name] = column

    def put(self, where: Any, **columns: Any) -> None:
        """Replace some rows of columns, those where a mask holds."""
        for name, new in columns.items():
            old = self.columns[name]
            mask = where.reshape(-1, *(1 for _ in old.shape[1:]))
            self.columns[name] = self.xp.where(mask, new, old)

    def take(self, index: Any) -> Table:
        """Some of the rows."""
        return Table(self.xp, **{name: column[index] for name, column in self.columns.items()})


class RowSpheres:
    """What :class:`srnc_manifold.spheres.Spheres` is for one point, for rows; further axes may lie between.

    Parameters
    ----------
    sizes : tuple of int
    like : tensor
        Of the device and precision of the points.
    """

    def __init__(self, sizes: tuple[int, ...], like: Any, xp: Any) -> None:
        self.xp = xp
        members = np.repeat(np.eye(len(sizes)), sizes, axis=0)
        self._members = None if len(sizes) == 1 else xp.constant(members, like)

    def inner(self, x: Any, y: Any) -> Any:
        """Inner products of the factors, where the entries of each factor are."""
        if self._members is None:
            return self.xp.sum(x * y, axis=-1, keepdims=True)
        return ((x * y) @ self._members) @ self._members.T

    def projected(self, vectors: Any, points: Any) -> Any:
        """Projections onto the tangent spaces at the points."""
        return vectors - self.inner(vectors, points) * points

    def carried(self, vectors: Any, points: Any, where: Any) -> Any:
        """Vectors of shape ``(B, m, n)``, projected onto the tangent spaces at the rows' points where a mask holds."""
        at, xp = points[:, None, :], self.xp
        if self._members is None:
            return xp.baddbmm(vectors, (vectors @ points[:, :, None]) * where[:, None, None], at, alpha=-1)
        return vectors - xp.where(where[:, None, None], self.inner(vectors, at), 0.0) * at

    def normalized(self, vectors: Any) -> Any:
        """The nearest points of the manifold."""
        return vectors / self.xp.sqrt(self.inner(vectors, vectors))


def dot(x: Any, y: Any) -> Any:
    """Inner products along the last axis."""
    return (x * y).sum(-1)
