"""The symbol of a layer in torch, some blocks at a time, in real numbers.

Complex tensors are neither compiled nor kept by ``.to(torch.bfloat16)``. Here a complex matrix or vector is a pair of
real ones along the second axis. Otherwise this is the turned symbol of :mod:`srnc_manifold.operators.atoms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnc_manifold.backends import namespace
from srnc_manifold.nn.pairs import Pairs, normalized
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry

_TORCH = namespace("torch")


@dataclass(frozen=True)
class _Tables:
    """The turned ``f_l(j)`` in the phase of each tap, zero in the others, and the weights of the norms of atoms.

    ``real`` and ``imag`` have the shape ``(L, n_phases, q)``; ``upper`` and ``lower`` ``(n_blocks, columns)``.
    """

    real: Tensor
    imag: Tensor
    upper: Tensor
    lower: Tensor


class Frequencies:
    """Blocks, atoms and rim points of the kernels of one geometry.

    Parameters
    ----------
    geometry : Geometry
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry, self._known = geometry, {}  # type: tuple[Geometry, dict[Any, _Tables]]
        self.n_blocks, (self.rows, self.columns) = geometry.n_blocks, geometry.block_shape
        self.pair_shapes = (2, self.rows), (2, self.columns)
        self.gram_weight, self.stable_rank_range = float(geometry.n_points), geometry.stable_rank_range

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}  # made again where it is needed

    def _tables(self, like: Tensor) -> _Tables:
        key = like.device, like.dtype
        if key not in self._known:
            frame, geometry = atoms.frame(self.geometry), self.geometry
            phases = np.arange(geometry.n_phases)[:, None] == geometry.phase_of_tap
            rows = frame.rows[:, None, :] * phases
            parts = (rows.real, rows.imag, frame.upper, frame.lower)
            self._known[key] = _Tables(*(torch.tensor(part, dtype=like.dtype, device=like.device) for part in parts))
        return self._known[key]

    def matrices(self, kernel: Tensor, blocks: Tensor) -> Tensor:
        """Symbols of a kernel in some blocks, shape ``(R, 2, rows, columns)``."""
        geometry, tables = self.geometry, self._tables(kernel)
        frequencies, members = blocks // geometry.groups, blocks % geometry.groups
        taps = kernel.reshape(geometry.groups, self.rows, geometry.channels[1], geometry.n_taps)
        rule, of_block = ("oiq,rpq->ropi", taps[0]) if geometry.groups == 1 else ("roiq,rpq->ropi", taps[members])
        parts = [torch.einsum(rule, of_block, part[frequencies]) for part in (tables.real, tables.imag)]
        return torch.stack(parts, dim=1).reshape(-1, 2, self.rows, self.columns)

    def improved(self, kernel: Tensor, pairs: Pairs, steps: int) -> tuple[Pairs, Tensor]:
        """Steps of power iteration for each pair from its ``v``, and ``‖X* u‖``, below the norm of the block."""
        matrices, (u, v), sizes = self.matrices(kernel, pairs.blocks), (pairs.u, pairs.v), pairs.v[:, 0, 0]
        for _ in range(steps):
            u, _ = normalized(_product(matrices, v), u)
            v, sizes = normalized(_product(_adjoint(matrices), u), v)
        return Pairs(pairs.blocks, u, v), sizes

    def squared_size(self, kernel: Tensor) -> Tensor:
        """``‖x‖²``; the operator's squared Frobenius norm is :attr:`gram_weight` times this."""
        return torch.sum(kernel**2)

    def value(self, kernel: Tensor, pairs: Pairs) -> Tensor:
        """``Re(u* X v)`` of each pair, shape ``(R,)``."""
        images = _product(self.matrices(kernel, pairs.blocks), pairs.v)
        return torch.sum(pairs.u * images, dim=(1, 2))

    def atom(self, pair: Pairs) -> tuple[Tensor, Tensor]:
        """The kernel ``G`` of a single pair with ``⟨x, G⟩ = Re(u* X v)``, and ``‖G‖²`` (docs/theory.md, section 4)."""
        geometry, tables = self.geometry, self._tables(pair.u)
        (ur, ui), (vr, vi) = pair.u[0], pair.v[0]
        real = torch.outer(ur, vr) + torch.outer(ui, vi)
        imag = torch.outer(ur, vi) - torch.outer(ui, vr)
        norm = torch.sum(tables.upper[pair.blocks] * real**2 + tables.lower[pair.blocks] * imag**2)
        shape = (self.rows, geometry.n_phases, geometry.channels[1])
        of_frequency = pair.blocks // geometry.groups
        kernel = torch.einsum("opi,pq->oiq", real.reshape(shape), tables.real[of_frequency][0])
        kernel = kernel - torch.einsum("opi,pq->oiq", imag.reshape(shape), tables.imag[of_frequency][0])
        members = torch.arange(geometry.groups, device=kernel.device) == pair.blocks % geometry.groups
        kernel = torch.where(members[:, None, None, None], kernel, 0.0)
        return kernel.reshape(geometry.kernel_shape), norm

    def nearest(self, direction: Tensor, pair: Pairs, level: Tensor) -> Tensor:
        """The point of the cap of an atom that is nearest to a unit kernel, a unit kernel."""
        atom, norm = self.atom(pair)
        height = torch.sum(direction * atom)
        push, pull = atoms.rim_coordinates(height, norm, level, norm - level, _TORCH)
        point = push * atom + pull * direction
        # Of an empty cap the atom itself, whose gain is short of the level.
        return point / torch.linalg.vector_norm(point)


def _product(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Complex matrices times vectors, as pairs."""
    both = torch.matmul(matrices[:, :, None], vectors[:, None, :, :, None])[..., 0]  # (R, part of X, part of v, rows)
    return torch.stack([both[:, 0, 0] - both[:, 1, 1], both[:, 0, 1] + both[:, 1, 0]], dim=1)


def _adjoint(matrices: Tensor) -> Tensor:
    signs = torch.tensor([1.0, -1.0], dtype=matrices.dtype, device=matrices.device)
    return matrices.transpose(-1, -2) * signs[:, None, None]
