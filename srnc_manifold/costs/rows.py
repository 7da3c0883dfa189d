"""Many points at once: from rows of points to squared singular values and distances, and gradients back, in torch.

A *family* is ``K`` problems that share their operators, and with them everything but numbers. Its points are rows of an
array of shape ``(B, n)``, in any order; ``owners``, of shape ``(B,)``, tells the problem of each row. So starts of one
problem (``K = 1``), starts of many, and those of them that are still on their way are the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.backends import namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.base import Operator
from srnc_manifold.problem.base import KernelProblem, Problem, Regime

# Precisions by name.
DTYPES = ("float64", "float32")


def objective_weight(problem: Problem, part: KernelProblem) -> float:
    """What makes a view's distance, in units of the part's spectral norm, the objective over ``‖C(a)‖_F²``."""
    return part.spectral_norm / problem.squared_norm * part.spectral_norm


@dataclass(frozen=True)
class Part:
    """One kernel of each of ``K`` problems, all with the same operator.

    Attributes
    ----------
    operator : Operator
    unit_kernels : array, shape ``(K, n)``
        ``a / ‖C(a)‖₂``, flat.
    unit_radii, target_gains : array, shape ``(K,)``
        ``ρ / ‖C(a)‖₂``, and ``c``.
    weights : array, shape ``(K,)``
        See :func:`objective_weight`.
    regime : str
        Of all ``K``.
    """

    operator: Operator
    unit_kernels: Array
    unit_radii: Array
    target_gains: Array
    weights: Array
    regime: Regime


@dataclass(frozen=True)
class Family:
    """``K`` problems with the same operators; their points have the same layout.

    Attributes
    ----------
    parts : tuple of Part
    sizes : tuple of int
        Of the spheres.
    embed : callable or None
        From a point to the unit kernels of its parts, if they are not the same.
    """

    parts: tuple[Part, ...]
    sizes: tuple[int, ...]
    embed: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.parts[0].target_gains)

    @classmethod
    def of_problem(cls, problem: Problem) -> Family:
        """The family of one problem."""
        parts = tuple(
            Part(
                part.operator,
                np.reshape(part.unit_kernel, (1, -1)),
                np.array([part.unit_radius]),
                np.array([part.target_gain]),
                np.array([objective_weight(problem, part)]),
                regime,
            )
            for part, regime in zip(problem.parts, problem.regimes, strict=True)
        )
        plain = type(problem).embed is Problem.embed
        xp = namespace("torch")
        return cls(parts, problem.spheres.sizes, None if plain else lambda z: problem.embed(z, xp))

    @classmethod
    def of_kernels(cls, operator: Operator, directions: Array, target_gains: Array) -> Family:
        """The family of ``K`` kernels of one layer, as directions ``a / ‖a‖`` and target gains ``c``.

        Parameters
        ----------
        directions : array, shape ``(K, n)``
            Coordinates of unit norm.
        target_gains : array, shape ``(K,)``
            All above the gains of the directions, or all below them.

        Raises
        ------
        ValueError
            If some of the stable ranks are to be reduced and others raised.
        """
        gains = np.array([operator.gain(np.reshape(row, operator.kernel_shape)) for row in directions])
        raised = target_gains < gains
        if np.any(raised) and not np.all(raised):
            raise ValueError("target_gains: some reduce and others raise the stable rank, expected one of both")
        part = Part(
            operator,
            directions / np.sqrt(gains)[:, None],
            1 / np.sqrt(target_gains),
            target_gains,
            gains / operator.gram_weight,
            "raise" if np.any(raised) else "reduce",
        )
        return cls((part,), (directions.shape[1],))


@dataclass(frozen=True)
class Seen:
    """What a part shows at ``B`` points.

    Attributes
    ----------
    values : tensor, shape ``(B, m)``
        Squared singular values, or ``(B, 1)``, the largest of them.
    fidelity : tensor, shape ``(B,)``
    target_gain : float or tensor, shape ``(B,)``
    """

    values: Any
    fidelity: Any
    target_gain: Any
    difference: Any
    blocks: Any
    vectors: Any
    at: Any


class Rows:
    """Spectra of a family's points, on one device and in one precision.

    Parameters
    ----------
    family : Family
    device : str, optional
        The CPU by default.
    dtype : str
        One of ``DTYPES``.
    """

    def __init__(self, family: Family, device: str | None = None, dtype: str = "float64") -> None:
        self.xp, self.family, self.dtype = namespace("torch"), family, dtype
        self.device = self.xp.device_of(device)
        self.parts = [PartRows(part, self) for part in family.parts]
        stops = np.cumsum([part.unit_kernels.shape[1] for part in family.parts])
        self._slices = [
            slice(stop - part.unit_kernels.shape[1], stop) for part, stop in zip(family.parts, stops, strict=True)
        ]

    def tensor(self, array: Any) -> Any:
        """An array on the device and in the precision of these rows."""
        return self.xp.tensor(array, self.dtype, self.device)

    def seen(self, points: Any, owners: Any, *, largest: list[bool], vectors: bool) -> tuple[list[Seen], Any]:
        """What every part shows at the points, and what takes gradients by kernels to those by points.

        Parameters
        ----------
        points, owners : tensor, shapes ``(B, n)`` and ``(B,)``
        largest : list of bool
            Of which parts the largest squared singular value is enough.
        vectors : bool
            Whether :meth:`gradient` will be asked.
        """
        if self.family.embed is None:
            kernels, pull = points, None
        else:
            kernels, pull = self.xp.pullback(self.xp.over_rows(self.family.embed), points)
        seen = [
            part.seen(kernels[:, place], owners, largest=one, vectors=vectors)
            for part, place, one in zip(self.parts, self._slices, largest, strict=True)
        ]
        return seen, pull

    def gradient(self, seen: list[Seen], pull: Any, slopes: list[tuple[Any, Any]], owners: Any) -> Any:
        """Gradients by the points, from the derivatives by the values and by the fidelity of each part."""
        pairs = zip(self.parts, seen, slopes, strict=True)
        covectors = [part.gradient(own, *by, owners) for part, own, by in pairs]
        joined = covectors[0] if len(covectors) == 1 else self.xp.concat(covectors, axis=1)
        return joined if pull is None else pull(joined)


class PartRows:
    """One part of a family on a device."""

    def __init__(self, part: Part, rows: Rows) -> None:
        self.operator, self.xp, self.part = part.operator, rows.xp, part
        self.matrix = rows.tensor(part.operator.row_matrix)
        self.multiplicities = rows.tensor(part.operator.value_multiplicities)
        self.target_gains, self.weights = rows.tensor(part.target_gains), rows.tensor(part.weights)
        self._anchors, self._radii = rows.tensor(part.unit_kernels), rows.tensor(part.unit_radii[:, None])
        rows_, columns = part.operator.block_shape
        self._left = rows_ <= columns

    def own(self, numbers: Any, owners: Any) -> Any:
        """The numbers of each row's problem; of a single one they are broadcast."""
        return numbers if len(numbers) == 1 else numbers[owners]

    def seen(self, kernels: Any, owners: Any, *, largest: bool, vectors: bool) -> Seen:
        xp = self.xp
        difference = self.own(self._radii, owners) * kernels - self.own(self._anchors, owners)
        fidelity = self.operator.gram_weight * xp.sum(difference**2, axis=1)
        blocks = self.operator.block_rows(kernels, self.matrix, xp)
        target_gain = self.own(self.target_gains, owners)
        values, bases, at = self._spectrum(blocks, largest, vectors)
        return Seen(values, fidelity, target_gain, difference, blocks, bases, at)

    def _spectrum(self, blocks: Any, largest: bool, vectors: bool) -> tuple[Any, Any, Any]:
        """Squared singular values, singular vectors of the smaller side, and where the largest value is."""
        xp = self.xp
        if self.operator.block_rank == 1:
            values = xp.sum(blocks**2, axis=(1, 3, 4))
            values, at = _largest(values, xp) if largest else (values, None)
            return values, None, at
        matrices = xp.complex(blocks[:, 0], blocks[:, 1])
        grams = symbol.grams(matrices)
        if largest:
            values, at = _largest(xp.eigenvalues(grams)[..., -1], xp)
            chosen = xp.take_along_dim(grams, at[:, :, None, None], 1)
            return values, xp.eigenvectors(chosen)[1][..., -1:] if vectors else None, at
        if not vectors:
            values, bases = xp.eigenvalues(grams), None
        else:
            values, bases = xp.eigenvectors(grams)
            bases = xp.flip(bases, axis=-1)
        # Descending, as everywhere; rounding makes some of those that are zero negative.
        values = xp.flip(values, axis=-1).clamp(min=0.0)
        return xp.reshape(values, (len(blocks), -1)), bases, None

    def gradient(self, seen: Seen, by_values: Any, by_fidelity: Any, owners: Any) -> Any:
        """Gradients by flat unit kernels, shape ``(B, n)``."""
        by_distance = 2 * self.operator.gram_weight * by_fidelity[:, None] * self.own(self._radii, owners)
        kernels = self.operator.adjoint_rows(self._weighted(seen, 2 * by_values), self.matrix, self.xp)
        return kernels + by_distance * seen.difference

    def _weighted(self, seen: Seen, weights: Any) -> Any:
        """``Σ w_i σ_i u_i v_i*`` of every block: ``W X`` or ``X W`` with a ``W`` of its own singular vectors."""
        xp, blocks = self.xp, seen.blocks
        if self.operator.block_rank == 1:
            if seen.at is not None:
                weights = xp.zeros_like(blocks[:, 0, :, 0, 0]).scatter(1, seen.at, weights)
            return blocks * weights[:, None, :, None, None]
        matrices = xp.complex(blocks[:, 0], blocks[:, 1])
        if seen.at is not None:
            chosen = xp.take_along_dim(matrices, seen.at[:, :, None, None], 1)
            one = self._turned(chosen, seen.vectors, weights[:, None, None, :])
            parts = xp.stack([one.real, one.imag], axis=1)
            return xp.zeros_like(blocks).scatter(2, seen.at[:, None, :, None, None].expand_as(parts), parts)
        turned = self._turned(
            matrices, seen.vectors, xp.reshape(weights, (len(blocks), -1, 1, self.operator.block_rank))
        )
        return xp.stack([turned.real, turned.imag], axis=1)

    def _turned(self, matrices: Any, bases: Any, weights: Any) -> Any:
        between = (bases * weights) @ bases.mH
        return between @ matrices if self._left else matrices @ between


def _largest(values: Any, xp: Any) -> tuple[Any, Any]:
    """The largest value of each row and its place, both of shape ``(B, 1)``."""
    at = xp.argmax(values, axis=1)[:, None]
    return xp.take_along_dim(values, at, 1), at
