"""The symbol of a layer in torch, some blocks at a time, in real numbers.

Complex tensors are neither compiled nor kept by ``.to(torch.bfloat16)``. Here the last axis of a vector, and the second
one of a matrix, has the real and the imaginary part. Otherwise this is the turned symbol of
:mod:`srnc_manifold.operators.atoms`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnc_manifold.backends import NUMPY
from srnc_manifold.nn.pairs import PairIteration, Pairs, normalized
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.geometry import Geometry

#: Bytes of all pairs in single precision, above which only those of a coarser grid of frequencies are followed.
MOST_STATE = 2**24

# A coarser grid is not taken if the norm could be larger than what is seen on it by more than this factor.
_MOST_OVERLOOKED = 1.1


class Frequencies(PairIteration):
    """One singular pair for each block of the symbol.

    Where these would be too many, those of a coarser grid of frequencies, and one more: that of the frequency that was
    the best when last all were looked at.

    Parameters
    ----------
    operator : Circular

    Attributes
    ----------
    overlooked : float
        The norm of a kernel is at most this times the largest of the blocks that are followed (docs/theory.md,
        proposition 16): one, unless they are those of a coarser grid.
    """

    mixes = False

    def __init__(self, operator: Circular) -> None:
        super().__init__()
        self.operator, self.geometry = operator, operator.geometry
        self.rows, self.columns = self.geometry.block_shape
        self.pair_shapes = (self.rows, 2), (self.columns, 2)
        self.gram_weight, self.stable_rank_range = float(operator.gram_weight), operator.stable_rank_range
        self.overlooked, followed = self._followed()
        self.blocks = torch.from_numpy(followed)
        self._fullest_phase = int(np.argmax(self.geometry.squares_per_phase))

    def _followed(self) -> tuple[float, NDArray[np.int64]]:
        geometry, every, factor = self.geometry, np.arange(self.geometry.n_blocks), 1.0
        steps, followed = np.ones(len(geometry.grid), np.int64), every
        of_each = 2 * 4 * 2 * (self.rows + self.columns)  # of the raw weight and of the result
        while len(followed) * of_each > MOST_STATE:
            sizes = geometry.grid // steps
            coarser = steps.copy()
            coarser[np.argmax(sizes)] *= _least_factor(int(sizes.max(initial=1)))
            size = tuple((geometry.grid // coarser * geometry.stride).tolist())
            layout: Any = {"groups": geometry.groups, "stride": geometry.stride, "dilation": geometry.dilation}
            new_factor = norms.size_factor(Geometry.of(geometry.kernel_shape, size, **layout))
            if new_factor > _MOST_OVERLOOKED or np.array_equal(coarser, steps):
                break
            steps, factor = coarser, new_factor
            on_grid = np.all(geometry.frequencies % steps == 0, axis=1)
            followed = np.append(np.flatnonzero(np.repeat(on_grid, geometry.groups)), 0)
        return factor, followed

    def _made_constants(self, like: Tensor) -> tuple[Tensor, ...]:
        """The turned ``f_l(j)`` in the phase of each tap, zero in the others, shape ``(L, 2, n_phases, q)``; blocks and
        their weights in the adjoint.
        """
        phases = np.arange(self.geometry.n_phases)[:, None] == self.geometry.phase_of_tap
        rows = atoms.frame(self.geometry).rows[:, None, :] * phases
        parts = np.stack([rows.real, rows.imag], axis=1), self.geometry.multiplicities / self.gram_weight
        symbol, weights = (torch.tensor(part, dtype=like.dtype, device=like.device) for part in parts)
        return symbol, torch.arange(self.geometry.n_blocks, device=like.device), weights

    def matrices(self, kernel: Tensor, blocks: Tensor) -> Tensor:
        """Symbols of a kernel in some blocks, shape ``(R, 2, rows, columns)``."""
        geometry, rows = self.geometry, self._constants(kernel)[0]
        taps = kernel.reshape(geometry.groups, self.rows, geometry.channels[1], geometry.n_taps)
        if geometry.groups == 1:
            rule, of_block, turned = "oiq,rcpq->rcopi", taps[0], rows[blocks]
        else:
            rule, of_block, turned = "roiq,rcpq->rcopi", taps[blocks % geometry.groups], rows[blocks // geometry.groups]
        return torch.einsum(rule, of_block, turned).reshape(-1, 2, self.rows, self.columns)

    def matrices_of_all(self, kernel: Tensor) -> Tensor:
        """Those of all blocks, none of which is repeated."""
        return self.matrices(kernel, self._constants(kernel)[1])

    def adjoint(self, matrices: Tensor) -> Tensor:
        """The kernel ``C*(Y)/g`` of matrices for all blocks, where ``g`` is the Gram weight: the inverse on symbols."""
        geometry, (rows, _, weights) = self.geometry, self._constants(matrices)
        (n_out, n_in), groups = (self.rows, geometry.channels[1]), geometry.groups
        shape = len(rows), groups, 2, n_out, geometry.n_phases, n_in
        weighted = (matrices * weights[:, None, None, None]).reshape(shape)
        return torch.einsum("lgcopi,lcpq->goiq", weighted, rows).reshape(geometry.kernel_shape)

    def improved(self, kernel: Tensor, pairs: Pairs, steps: int) -> tuple[Pairs, Tensor]:
        matrices, (u, v), sizes = self.matrices(kernel, pairs.blocks), (pairs.u, pairs.v), pairs.v[:, 0, 0]
        signs = kernel.new_tensor([1.0, -1.0])
        flat = matrices.flatten(1, 2)  # the real parts above the imaginary ones
        for _ in range(steps):
            images = torch.bmm(flat, v).reshape(len(v), 2, self.rows, 2)
            u, _ = normalized(images[:, 0] - images[:, 1].flip(-1) * signs, u)
            turned = torch.cat([u, u.flip(-1) * signs], dim=1)
            v, sizes = normalized(torch.bmm(flat.transpose(1, 2), turned), v)
        return Pairs(pairs.blocks, u, v), sizes

    def longest(self, kernel: Tensor, pairs: Pairs) -> Tensor:
        """One of frequency zero, with real vectors, in the phase that has most taps (docs/theory.md, section 2)."""
        geometry, groups = self.geometry, self.geometry.groups
        v = pairs.v[:groups]  # those of frequency zero, one for each group
        parts = torch.sum(v * v, dim=1)
        v = torch.where(parts[:, :1] >= parts[:, 1:], v[..., 0], v[..., 1])
        in_phase = torch.arange(self.columns, device=v.device) // geometry.channels[1] == self._fullest_phase
        even = in_phase.to(v.dtype).expand_as(v) / math.sqrt(geometry.channels[1])
        v, _ = normalized(v * in_phase, even)
        images = torch.einsum("grc,gc->gr", self.matrices(kernel, pairs.blocks[:groups])[:, 0], v)
        u, sizes = normalized(images, torch.full_like(images, 1 / math.sqrt(self.rows)))
        best = torch.argmax(sizes)[None]
        u, v = (torch.stack([part, torch.zeros_like(part)], dim=-1) for part in (u[best], v[best]))
        return self.gradient(Pairs(pairs.blocks[best], u, v))

    def squared_size(self, kernel: Tensor) -> Tensor:
        return torch.sum(kernel * kernel)

    def gradient(self, pair: Pairs) -> Tensor:
        geometry, rows = self.geometry, self._constants(pair.u)[0]
        (ur, ui), (vr, vi) = pair.u[0].unbind(-1), pair.v[0].unbind(-1)
        real = torch.outer(ur, vr) + torch.outer(ui, vi)
        imag = torch.outer(ur, vi) - torch.outer(ui, vr)
        both = torch.stack([real, -imag]).reshape(2, self.rows, geometry.n_phases, geometry.channels[1])
        kernel = torch.einsum("copi,cpq->oiq", both, rows[pair.blocks // geometry.groups][0])
        if geometry.groups > 1:
            members = torch.arange(geometry.groups, device=kernel.device) == pair.blocks % geometry.groups
            kernel = torch.where(members[:, None, None, None], kernel, 0.0)
        return kernel.reshape(geometry.kernel_shape)

    def raised(self, gradient: Tensor) -> Tensor:
        return gradient

    def converged(self, kernel: Any, tolerance: float) -> tuple[Any, Any, Any, Any]:
        u, sizes, vh = symbol.singular_vectors(atoms.turned_symbol(kernel, self.geometry, NUMPY))
        values, blocks = sizes[:, 0], self.blocks.numpy().copy()
        if self.overlooked > 1:
            blocks[-1] = np.argmax(values)
        left, right = (np.stack([part.real, part.imag], axis=-1) for part in (u[:, :, 0], vh[:, 0].conj()))
        return blocks, left[blocks], right[blocks], values[blocks]


def _least_factor(number: int) -> int:
    """The smallest prime factor, or one of one."""
    return next((k for k in range(2, number + 1) if number % k == 0), 1)
