"""Singular pairs of an operator in torch, their atoms, and the rim points of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srnc_manifold.backends import namespace
from srnc_manifold.operators.atoms import rim_coordinates

_TORCH = namespace("torch")

# By which a cap that is a point may seem to be empty.
_ROUNDINGS = 32


@dataclass(frozen=True)
class Pairs:
    """Singular pairs of an operator, in some of its blocks.

    Attributes
    ----------
    blocks : integer tensor, shape ``(R,)``
    u, v : tensors, shapes ``(R, *shape of a left vector)`` and ``(R, *shape of a right one)``
        Unit vectors.
    """

    blocks: Tensor
    u: Tensor
    v: Tensor


@dataclass(frozen=True)
class Atom:
    """What a single pair is as a kernel.

    Attributes
    ----------
    gradient : tensor, of the kernel's shape
        Of ``Re(u* C(x) v)`` by ``x``, which is linear in ``x``.
    tensor : tensor
        ``W⁻¹`` times that: the atom ``G`` in the geometry of ``W``.
    norm : tensor
        ``‖G‖_W²``.
    """

    gradient: Tensor
    tensor: Tensor
    norm: Tensor

    def value(self, kernel: Tensor) -> Tensor:
        """``Re(u* C(x) v)``, at most the spectral norm of the kernel."""
        return torch.sum(kernel * self.gradient)

    def or_else(self, other: Atom, level: Tensor) -> Atom:
        """This atom, or another one where the cap of this one is empty."""
        is_empty = self.norm < level * (1 - _ROUNDINGS * torch.finfo(self.norm.dtype).eps)
        both = zip(other._parts(), self._parts(), strict=True)
        return Atom(*(torch.where(is_empty, theirs, own) for theirs, own in both))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.gradient, self.tensor, self.norm

    def nearest(self, direction: Tensor, level: Tensor) -> Tensor:
        """The point of the cap of this atom that is nearest to a kernel of size one, of size one."""
        height, norm = self.value(direction), self.norm
        push, pull = rim_coordinates(height, norm, level, norm - level, _TORCH)
        # One but for rounding, unless the cap is empty: then this is the atom itself, whose gain is short of the level.
        size = torch.sqrt(push * push * norm + 2 * push * pull * height + pull * pull)
        return (push * self.tensor + pull * direction) / size


class PairIteration(ABC):
    """How singular pairs of the kernels of one operator are improved.

    Attributes
    ----------
    operator : Circular or Padded
    blocks : integer tensor, shape ``(T,)``
        The blocks whose pairs are followed; the first one may be repeated, where a single pair has another block.
    pair_shapes : pair of tuples
        Shapes of ``u`` and of ``v``.
    mixes : bool
        Whether a step is for all pairs together, and takes as long as the layer itself.
    overlooked : float
        The norm of a kernel is at most this times the largest value that is followed, once the pairs have converged.
    gram_weight, stable_rank_range
        As of :class:`srnc_manifold.operators.Operator`.
    """

    operator: Any  # Circular or Padded
    blocks: Tensor
    pair_shapes: tuple[tuple[int, ...], tuple[int, ...]]
    mixes: bool
    overlooked: float = 1.0
    gram_weight: float
    stable_rank_range: tuple[float, float]

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Tensor, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}  # made again where it is needed

    def _constants(self, like: Tensor) -> tuple[Tensor, ...]:
        """Constant tensors of the operator, in the precision and on the device of another tensor."""
        key = like.device, like.dtype
        if key not in self._known:
            self._known[key] = self._made_constants(like)
        return self._known[key]

    @abstractmethod
    def _made_constants(self, like: Tensor) -> tuple[Tensor, ...]: ...

    @abstractmethod
    def improved(self, kernel: Tensor, pairs: Pairs, steps: int) -> tuple[Pairs, Tensor]:
        """Steps of power iteration from the ``v`` of pairs, and ``‖C(x)* u‖``, never above the norms."""

    @abstractmethod
    def squared_size(self, kernel: Tensor) -> Tensor:
        """``‖x‖_W²``; the operator's squared Frobenius norm is :attr:`gram_weight` times this."""

    @abstractmethod
    def gradient(self, pair: Pairs) -> Tensor:
        """Of ``Re(u* C(x) v)`` by ``x``, for a single pair."""

    @abstractmethod
    def raised(self, gradient: Tensor) -> Tensor:
        """``W⁻¹`` times a gradient."""

    @abstractmethod
    def longest(self, kernel: Tensor, pairs: Pairs) -> Tensor:
        """The gradient of a pair whose atom is as long as one can be, so that no cap of it is empty.

        It is near a kernel that has these pairs.
        """

    def atom(self, gradient: Tensor) -> Atom:
        """The atom of the pair with this gradient."""
        raised = self.raised(gradient)
        return Atom(gradient, raised, torch.sum(raised * gradient))

    @abstractmethod
    def converged(self, kernel: Any, tolerance: float) -> tuple[Any, Any, Any, Any]:
        """The blocks, ``u``, ``v`` and values of the top pairs of a kernel, all in NumPy, double precision.

        The tolerance is relative, and that of the residuals, where they are not found by a decomposition.
        """


def normalized(vectors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors, or the others where a vector is zero; and their lengths."""
    sizes = torch.linalg.vector_norm(vectors.flatten(1), dim=1)
    positive = (sizes > 0).reshape(-1, *[1] * (vectors.ndim - 1))
    return torch.where(positive, vectors / torch.where(positive, sizes.reshape(positive.shape), 1.0), others), sizes
