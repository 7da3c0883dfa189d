"""Gradients through the solutions of many kernels, one after the other on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY
from srnc_manifold.certificates import CapsCertificate, caps
from srnc_manifold.exact.differentiation import SIMPLE, Derivative, NoDerivativeError, Symbol, System
from srnc_manifold.exact.reduce.points import TIE
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms
from srnc_manifold.operators.atoms import Level
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.process import exclusive

# A squared distance that is not proved to this is not known to be the least.
_PROVED = 1e-8

# Two atoms that differ by less than this part of their norm are one.
_SAME = 1e-6


@dataclass(frozen=True)
class Solved:
    """What gradients need to know of kernels and their solutions; arrays of NumPy, with the batch axis first.

    Attributes
    ----------
    directions, points : arrays, shape ``(K, *kernel_shape)``
        ``a / ‖a‖``, and the minimizers on the unit sphere.
    spectral_norms, own, stable_ranks : arrays, shape ``(K,)``
        ``‖C(a)‖₂``, the stable rank of the kernel, and the target.
    slopes : array, shape ``(K,)``
        Derivative of the target by the number that was given for it; zero if it was clipped.
    follow, stay : boolean arrays, shape ``(K,)``
        Whether the target is a fraction of the kernel's stable rank, and whether the kernel has its target already.
    """

    directions: Array
    points: Array
    spectral_norms: Array
    own: Array
    stable_ranks: Array
    slopes: Array
    follow: NDArray[np.bool_]
    stay: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[Solved]) -> Solved:
        """All of them."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class Gradients:
    """From gradients by solutions to those by kernels and targets.

    Parameters
    ----------
    solved : Solved
    owners, certificate
        As in :class:`BatchResult`; they tell where a solution may jump.
    geometry : Geometry
    needed : (bool, bool)
        Whether gradients by the kernels and by the targets are asked for.
    at_ties : "raise" or "nan"
    """

    def __init__(
        self,
        solved: Solved,
        owners: NDArray[Any],
        certificate: CapsCertificate,
        geometry: Geometry,
        needed: tuple[bool, bool],
        at_ties: Literal["raise", "nan"],
    ) -> None:
        self.solved, self.owners, self.certificate, self.geometry = solved, owners, certificate, geometry
        self.needed, self.at_ties = needed, at_ties
        self._known: dict[int, Derivative] = {}

    @exclusive
    def pulled(self, gradient: NDArray[Any]) -> tuple[Array, ...]:
        """The gradients that are needed, of shapes ``(K, *kernel_shape)`` and ``(K,)``.

        Raises
        ------
        ValueError
            For the first kernel that has no derivative though one is asked for, unless NaN is wanted.
        """
        by_kernel, by_target = np.zeros(gradient.shape), np.zeros(len(gradient))
        for k in np.flatnonzero(np.any(gradient.reshape(len(gradient), -1) != 0, axis=1)).tolist():
            try:
                by_kernel[k], by_target[k] = self._pulled(k, gradient[k].astype(np.float64))
            except NoDerivativeError as error:
                if self.at_ties == "raise":
                    raise ValueError(
                        f"kernels[{k}]: its solution has no derivative: {error}; detach it, or give at_ties='nan'"
                    ) from None
                by_kernel[k] = by_target[k] = np.nan
        return tuple(found for found, needed in zip((by_kernel, by_target), self.needed, strict=True) if needed)

    def _pulled(self, k: int, gradient: Array) -> tuple[Array | float, float]:
        solved = self.solved
        if not np.all(np.isfinite(gradient)):
            return np.nan, np.nan
        if solved.stay[k]:
            if solved.slopes[k] != 0:
                raise NoDerivativeError("the kernel has its target already, where there is a kink")
            return gradient, 0.0
        if k not in self._known:
            self._known[k] = self._derivative(k)
        to_kernel, follows = self.needed[0], bool(solved.follow[k])
        by_kernel, by_rank = self._known[k].pulled(gradient, to_kernel=to_kernel, follows=follows)
        by_target = by_rank * float(solved.spectral_norms[k] * solved.slopes[k])
        return 0.0 if by_kernel is None else by_kernel, by_target

    def _derivative(self, k: int) -> Derivative:
        solved, n = self.solved, self.geometry.n_points
        direction, z, rank = solved.directions[k], solved.points[k], float(solved.stable_ranks[k])
        rows = self.certificate.of(self.owners == k)
        block = only_block(direction, z, Level.of_target(n, rank), self.geometry, rows)
        found = Derivative(direction, z, block, n / float(solved.own[k]), rank, self.geometry)
        require_no_mirror_image(found.system, direction)
        return found


def only_block(direction: Array, z: Array, level: Level, geometry: Geometry, certificate: CapsCertificate) -> int:
    """The block of a minimizer, of which the certificate shows that all others are farther.

    Raises
    ------
    NoDerivativeError
        If another block may be as near, or a nearer point of the same block is not excluded.
    """
    given, frame = Symbol(direction, geometry), atoms.frame(geometry)
    least = float(np.sum((z - direction) ** 2))
    within = least * (1 + TIE)
    needed = caps.needed_heights(np.array(within), level, np.maximum(frame.top, level.value), NUMPY)
    filled = np.flatnonzero(frame.safe_top >= level.value * (1 - caps.EMPTY))
    near = given.reaching(
        filled, needed[filled] ** 2 * (1 - 1e-12)
    )  # the own block is one of them, whatever the rounding
    bounds = certificate.bounds(given.matrices[certificate.blocks], geometry, level)
    near = np.setdiff1d(near, certificate.blocks[bounds > within])
    if len(near) != 1:
        raise NoDerivativeError("other frequencies are tied with its own, or not excluded; the solution may jump there")
    height = caps.safe_heights(np.sqrt(norms.squared_norms(given.matrices[near])), geometry)
    lemma = caps.lemma_of(height, frame.safe_top[near], level, NUMPY)
    if max(lemma[0], np.max(bounds[certificate.blocks == near[0]], initial=0.0)) < least - _PROVED:
        raise NoDerivativeError("it is not proved to be the global minimizer")
    return int(near[0])


def require_no_mirror_image(system: System, direction: Array) -> None:
    """Refuse minimizers that are tied with a mirror image of theirs, those of antisymmetric kernels for example.

    Raises
    ------
    NoDerivativeError
    """
    if system.geometry.block_rank == 1:  # the hard case of theorem 10
        tied = system.eta - system.theta * system.top <= SIMPLE * system.eta
    else:
        tied = has_mirror_image(direction, system.z, system.w, system.block, system.geometry)
    if tied:
        raise NoDerivativeError("a mirror image is tied with it; the solution may jump there")


def has_mirror_image(direction: Array, z: Array, w: NDArray[Any], block: int, geometry: Geometry) -> bool:
    """Whether the conjugate of an atom of a block, or the negative of that, is another atom and as near.

    All three have the same norm. So they are as near if they are as high.
    """
    own, *images = atoms.synthesis(np.stack([w, w.conj(), -w.conj()]), np.full(3, block), geometry)
    height, norm = np.sum(direction * own), np.sum(own**2)
    level, least = np.sum(z * own) ** 2, np.sum((z - direction) ** 2)
    return any(
        np.sum((image - own) ** 2) > _SAME**2 * norm
        and atoms.squared_distance(min(np.sum(direction * image), height), norm, level) <= least * (1 + TIE)
        for image in images
    )
