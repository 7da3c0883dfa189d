"""The problem for separable kernels, on a product of spheres (docs/theory.md, section 14)."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np

from srnc_manifold.arrays import as_kernel
from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.numerics import Array
from srnc_manifold.operators.geometry import InputSize, PerAxis
from srnc_manifold.problem.base import Problem, Regime
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.restoration import Curve, gain_ascent, gain_descents, restored
from srnc_manifold.problem.scores import BatchEvaluation, Evaluation, Restoration
from srnc_manifold.problem.target import regime
from srnc_manifold.spheres import Spheres

# A kernel counts as separable if the relative error of its best separable approximation is less than this. It is larger
# than the rounding errors of a separable kernel in single precision.
_SEPARABLE = 1e-5

# Largest number of passes of the alternation that computes this approximation (few are needed if a kernel is nearly
# separable), and the number of its additional random starts for kernels with three or more axes.
_MAX_PASSES, _MORE_STARTS = 1000, 5


class SeparableProblem(Problem):
    """The problem for a single-channel kernel that must be an outer product, ``x = ρ z₁ ⊗ z₂ ⊗ …``.

    There is one vector for each axis. The problem is (7) with this additional constraint. The explicit solution does
    not apply, but its objective is a lower bound. The given kernel need not be separable.

    Parameters
    ----------
    kernel, input_size, stable_rank, relative_stable_rank, stable_rank_fraction, clip, groups, stride, dilation
        As in :class:`SRNProblem`. The kernel has one channel and at least two axes.

    Attributes
    ----------
    free : SRNProblem
        The problem without the additional constraint.

    Raises
    ------
    TypeError, ValueError
        As in :class:`SRNProblem`, and if the kernel has several channels or fewer than two axes.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> import numpy as np
    >>> kernel = np.outer([1, 2, 1], [1, -2, 0.5])
    >>> problem = srnc.SeparableProblem(kernel, 16, stable_rank_fraction=0.8)
    >>> result = srnc.solve(problem, srnc.solvers.MultiStart("SLSQP", n_starts=3), rng=0)
    >>> int(np.linalg.matrix_rank(result.kernel))
    1
    """

    kind = "SeparableProblem"
    linear = False

    def __init__(
        self,
        kernel: Any,
        input_size: InputSize,
        *,
        stable_rank: float | None = None,
        relative_stable_rank: float | None = None,
        stable_rank_fraction: float | None = None,
        clip: bool = False,
        groups: int = 1,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
    ) -> None:
        shape = as_kernel(kernel).shape
        self.free = SRNProblem(
            kernel,
            input_size,
            stable_rank=stable_rank,
            relative_stable_rank=relative_stable_rank,
            stable_rank_fraction=stable_rank_fraction,
            clip=clip,
            groups=groups,
            stride=stride,
            dilation=dilation,
        )
        if len(shape) != len(self.free.input_size) or len(shape) < 2:
            raise ValueError(
                f"kernel: shape {shape} on input_size {self.free.input_size} given, expected a single channel and at "
                "least two axes"
            )
        self.kernel, self.dtype = self.free.kernel, self.free.dtype
        letters = string.ascii_lowercase[: len(shape)]
        self._outer = f"{','.join(letters)}->{letters}"
        # Contraction of the kernel with all factors except one.
        self._partial = [f"{letters},{','.join(letters.replace(axis, ''))}->{axis}" for axis in letters]

    def __repr__(self) -> str:
        return repr(self.free).replace(self.free.kind, self.kind, 1)

    def to_fields(self) -> dict[str, Any]:
        return {**self.free.to_fields(), "kind": self.kind}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        free = SRNProblem.from_fields(fields)
        layout = {name: getattr(free.geometry, name) for name in ("groups", "stride", "dilation")}
        return cls(free.kernel.astype(free.dtype), free.input_size, stable_rank=free.stable_rank, **layout)

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
        """The regime. It depends on the stable rank of the nearest separable kernel, not on that of ``a``.

        Source: docs/theory.md, proposition 21.
        """
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
        """The outer product of the factors, as a flat array."""
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
        """The covector (a kernel) contracted with all factors except one, for each factor."""
        factors, kernel = self.spheres.split(z), covector.reshape(self.kernel.shape)
        return np.concatenate(
            [np.einsum(path, kernel, *factors[:k], *factors[k + 1 :]) for k, path in enumerate(self._partial)]
        )

    def embed_curvature(self, z: Array, vector: Array, covector: Array) -> Array:
        """The covector contracted with all factors except two, and with the change of one of these two."""
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

    def to_sphere(self, x: Any, name: str = "x") -> Array:
        """The factors of a separable kernel, each divided by its norm.

        Raises
        ------
        ValueError
            If the kernel is not separable; see :meth:`nearest_separable`.
        """
        x = self.free.to_sphere(x, name)
        z = self._factors(x)
        left = float(np.linalg.norm(self.embed(z) - x.ravel()))
        if left > _SEPARABLE:
            raise ValueError(
                f"{name}: a kernel given that is not separable (relative error {left:.1e}), "
                "expected an outer product of one vector for each axis; see nearest_separable"
            )
        return z

    def nearest_separable(self, x: Any) -> Array:
        """The separable kernel of norm ``ρ`` nearest to the direction of ``x``, as found by alternation."""
        return self.free.to_kernel(self.embed(self._factors(self.free.to_sphere(x))))

    def evaluate(self, x: Any) -> Evaluation:
        """Scores as in ``free``. Whether ``x`` is separable does not affect them."""
        return self.free.evaluate(x)

    def evaluate_batch(self, x: Any) -> BatchEvaluation:
        """Scores of many kernels as in ``free``."""
        return self.free.evaluate_batch(x)

    def restore(self, x: Any) -> Restoration:
        """Move a separable kernel onto the feasible set, locally.

        If the gain is too low, the kernel moves along the gradient of the gain. If the gain is too high, it moves along
        the least step that lowers all singular values near the target. If this does not reach the target, it moves
        towards the separable kernel nearest to ``a`` (reduce) or towards a kernel with a single tap (raise). Every
        factor moves on its sphere. The move stops where the stable rank is right.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`to_sphere`.
        """
        return restored(
            self,
            self.to_sphere(x),
            too_low=[gain_ascent(self)],
            too_high=[*gain_descents(self), self._towards_lower_gain],
        )

    def _towards_lower_gain(self, z: Array) -> Curve:
        """The path to a separable kernel whose gain is at most the target."""
        if self.regimes == ("reduce",):
            end = self._nearest
        else:
            parts = self.spheres.split(z)
            end = np.concatenate([np.eye(len(part))[np.argmax(np.abs(part))] for part in parts])
        end = np.where(self.spheres.inner(end, z) < 0, -end, end)  # changes of sign do not change the gain
        return lambda t: self.spheres.normalized((1 - t) * z + t * end)

    def _factors(self, x: Array) -> Array:
        """Unit vectors whose outer product is near a unit kernel, by alternation from its leading singular vectors.

        For two axes, these singular vectors are the solution. For more axes, the alternation may end in other
        stationary points, so there are additional starts.
        """
        factors, rest = [], x
        for n in x.shape[:-1]:  # contracted one after another, so that the last factor is not zero
            u, _, _ = np.linalg.svd(rest.reshape(n, -1), full_matrices=False)
            factors.append(u[:, 0])
            rest = np.tensordot(u[:, 0], rest, axes=1)
        z = self._alternate(x, [*factors, rest / np.linalg.norm(rest)])
        if x.ndim == 2 or self.embed(z) @ x.ravel() >= 1 - _SEPARABLE:
            return z
        rng = np.random.default_rng(0)
        starts = [list(self.spheres.split(self.spheres.random_point(rng))) for _ in range(_MORE_STARTS)]
        return max(z, *(self._alternate(x, start) for start in starts), key=lambda p: self.embed(p) @ x.ravel())

    def _alternate(self, x: Array, factors: list[Array]) -> Array:
        """Replace each factor in turn by the best one for the others, until there is no improvement."""
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
