"""Kernels that stay separable: a point on a product of spheres (docs/theory.md, section 14)."""

from __future__ import annotations

import string
from functools import cached_property
from typing import Any, Unpack

import numpy as np

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import InputSize, Layout, as_kernel
from srnc_manifold.problem.base import Problem, Regime
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.restoration import Restoration, Way, lowering, restored, rising
from srnc_manifold.problem.target import regime
from srnc_manifold.result import Evaluation
from srnc_manifold.spheres import Spheres

# A kernel is separable if what its best separable approximation leaves is less than this part of it, above what
# single precision makes of one that is.
_SEPARABLE = 1e-5

# Passes of the alternation that finds that approximation, which is fast where a kernel is nearly separable, and its
# random starts for kernels of three and more axes.
_MAX_PASSES, _MORE_STARTS = 1000, 5


class SeparableProblem(Problem):
    """A single-channel kernel that stays an outer product of one vector for each axis, ``x = ρ z₁ ⊗ z₂ ⊗ …``.

    The problem is (7) with this additional constraint; the explicit solution does not apply, and its objective is a
    lower bound. The given kernel need not be separable.

    Parameters
    ----------
    kernel, input_size, stable_rank, relative_stable_rank, stable_rank_fraction, stride, dilation
        As of :class:`SRNProblem`; the kernel has one channel and at least two axes.

    Attributes
    ----------
    free : SRNProblem
        The problem without the additional constraint.

    Raises
    ------
    TypeError, ValueError
        As :class:`SRNProblem`, and if the kernel has channels or fewer than two axes.
    """

    linear = False

    def __init__(
        self,
        kernel: Any,
        input_size: InputSize,
        *,
        stable_rank: float | None = None,
        relative_stable_rank: float | None = None,
        stable_rank_fraction: float | None = None,
        **layout: Unpack[Layout],
    ) -> None:
        shape = as_kernel(kernel).shape
        self.free = SRNProblem(
            kernel,
            input_size,
            stable_rank=stable_rank,
            relative_stable_rank=relative_stable_rank,
            stable_rank_fraction=stable_rank_fraction,
            **layout,
        )
        if len(shape) != len(self.free.input_size) or len(shape) < 2:
            raise ValueError(
                f"kernel: shape {shape} on input_size {self.free.input_size} given, expected a single channel and at "
                "least two axes"
            )
        self.kernel, self.dtype = self.free.kernel, self.free.dtype
        letters = string.ascii_lowercase[: len(shape)]
        self._outer = f"{','.join(letters)}->{letters}"
        # The kernel contracted with all factors but one.
        self._partial = [f"{letters},{','.join(letters.replace(axis, ''))}->{axis}" for axis in letters]

    def __repr__(self) -> str:
        return f"Separable{self.free!r}"

    @property
    def parts(self) -> tuple[SRNProblem, ...]:
        """The problem without the additional constraint."""
        return (self.free,)

    @cached_property
    def spheres(self) -> Spheres:
        """One sphere for each axis."""
        return Spheres(self.kernel.shape)

    @cached_property
    def regimes(self) -> tuple[Regime, ...]:
        """By the stable rank of the nearest separable kernel (docs/theory.md, proposition 21), not that of ``a``."""
        return (
            regime(
                self.free.stable_rank, self.free.operator.stable_rank(1.0, self.free.gain(self.embed(self._nearest)))
            ),
        )

    @cached_property
    def _nearest(self) -> Array:
        """The point of the nearest separable kernel."""
        return self._factors(self.free.direction)

    def describe(self) -> str:
        return f"separable kernels, {self.free.describe()}"

    def embed(self, z: Any, xp: Namespace = NUMPY) -> Any:
        """The outer product of the factors, flat."""
        factors = [z[place] for place in self.spheres.slices]
        product = factors[0]
        for factor in factors[1:]:
            product = xp.reshape(xp.reshape(product, (-1, 1)) * factor, (-1,))
        return product

    def embed_derivative(self, z: Array, vector: Array) -> Array:
        """The product rule."""
        factors, changes = self.spheres.split(z), self.spheres.split(vector)
        terms = [np.einsum(self._outer, *factors[:k], change, *factors[k + 1 :]) for k, change in enumerate(changes)]
        return np.sum(terms, axis=0).ravel()

    def embed_adjoint(self, z: Array, covector: Array) -> Array:
        """The covector, a kernel, contracted with all factors but one, for each."""
        factors, kernel = self.spheres.split(z), covector.reshape(self.kernel.shape)
        return np.concatenate(
            [np.einsum(path, kernel, *factors[:k], *factors[k + 1 :]) for k, path in enumerate(self._partial)]
        )

    def embed_curvature(self, z: Array, vector: Array, covector: Array) -> Array:
        """The covector contracted with all factors but two and the change of one of these."""
        factors, changes = self.spheres.split(z), self.spheres.split(vector)
        kernel, rows = covector.reshape(self.kernel.shape), []
        for k, path in enumerate(self._partial):
            row = np.zeros_like(factors[k])
            for changed in range(len(factors)):
                if changed != k:
                    with_change = [changes[j] if j == changed else factor for j, factor in enumerate(factors)]
                    row += np.einsum(path, kernel, *with_change[:k], *with_change[k + 1 :])
            rows.append(row)
        return np.concatenate(rows)

    def to_sphere(self, x: Any) -> Array:
        """The factors of a separable kernel, each over its norm.

        Raises
        ------
        ValueError
            If the kernel is not separable; see :meth:`nearest_separable`.
        """
        x = self.free.to_sphere(x)
        z = self._factors(x)
        left = float(np.linalg.norm(self.embed(z) - x.ravel()))
        if left > _SEPARABLE:
            raise ValueError(
                f"x: a kernel given that is not separable, the nearest that is leaves {left:.1e} of it; expected an "
                "outer product of one vector for each axis, see nearest_separable"
            )
        return z

    def nearest_separable(self, x: Any) -> Array:
        """A separable kernel of the norm ``ρ``, the nearest to the direction of ``x`` that alternation finds."""
        return self.free.to_kernel(self.embed(self._factors(self.free.to_sphere(x))))

    def evaluate(self, x: Any) -> Evaluation:
        """Scores as of :attr:`free`; whether ``x`` is separable is not scored."""
        return self.free.evaluate(x)

    def restore(self, x: Any) -> Restoration:
        """Move a separable kernel onto the feasible set, locally.

        A kernel whose gain is too low moves along the gradient of the gain, one whose gain is too high along the least
        step that lowers all singular values near the target; where that does not lead there, towards the nearest
        separable kernel of ``a`` (reduce) or one of a single tap (raise). Every factor moves on its sphere, and stops
        where the stable rank is right.

        Raises
        ------
        TypeError, ValueError
            As :meth:`to_sphere`.
        """
        return restored(self, self.to_sphere(x), too_low=[rising(self)], too_high=[*lowering(self), self._falling])

    def _falling(self, z: Array) -> Way:
        """The way to a separable kernel of which the gain is not above the target."""
        if self.regimes == ("reduce",):
            end = self._nearest
        else:
            parts = self.spheres.split(z)
            end = np.concatenate([np.eye(len(part))[np.argmax(np.abs(part))] for part in parts])
        end = np.where(self.spheres.inner(end, z) < 0, -end, end)  # changes of sign change no gain
        return lambda t: self.spheres.normalized((1 - t) * z + t * end)

    def _factors(self, x: Array) -> Array:
        """Unit vectors whose outer product is near a unit kernel: alternation from its leading singular vectors.

        These solve it for two axes; for more it may end in other stationary points, so that there are further starts.
        """
        factors, rest = [], x
        for n in x.shape[:-1]:  # contracted one after the other, so that the last is not zero
            u, _, _ = np.linalg.svd(rest.reshape(n, -1), full_matrices=False)
            factors.append(u[:, 0])
            rest = np.tensordot(u[:, 0], rest, axes=1)
        z = self._alternated(x, [*factors, rest / np.linalg.norm(rest)])
        if x.ndim == 2 or self.embed(z) @ x.ravel() >= 1 - _SEPARABLE:
            return z
        rng = np.random.default_rng(0)
        starts = [list(self.spheres.split(self.spheres.random_point(rng))) for _ in range(_MORE_STARTS)]
        return max(z, *(self._alternated(x, start) for start in starts), key=lambda p: self.embed(p) @ x.ravel())

    def _alternated(self, x: Array, factors: list[Array]) -> Array:
        """Each factor in turn replaced by the best one for the others, until nothing is gained."""
        before = -np.inf
        for _ in range(_MAX_PASSES):
            for k, path in enumerate(self._partial):
                contracted = np.einsum(path, x, *factors[:k], *factors[k + 1 :])
                size = float(np.linalg.norm(contracted))
                factors[k] = contracted / size
            if size <= before + 1e-15:
                break
            before = size
        return np.concatenate(factors)
