"""Problems on products of spheres (docs/theory.md, section 14): stacks of kernels, and kernels that stay separable."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Unpack

import numpy as np

from srnc_manifold import spectrum
from srnc_manifold.backends import Namespace
from srnc_manifold.geometry import InputSize, Layout, as_kernel
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem, Regime, SRNProblem, regime
from srnc_manifold.restoration import Restoration, Way, lowering, restored, rising
from srnc_manifold.result import Evaluation
from srnc_manifold.spheres import Spheres

# A kernel is separable if what its best separable approximation leaves is less than this part of it, above what
# single precision makes of one that is.
_SEPARABLE = 1e-5

# Passes of the alternation that finds that approximation, which is fast where a kernel is nearly separable, and its
# random starts for kernels of three and more axes.
_MAX_PASSES, _MORE_STARTS = 1000, 5


class StackProblem(Problem):
    """Several kernels, each with a target of its own, solved as one problem on a product of spheres.

    The objective is the sum of the objectives. Nothing ties the kernels together, so that the parts' optima are the
    stack's: a solver of single kernels is applied to one part after the other, the others work on all at once.

    Parameters
    ----------
    problems : iterable of SRNProblem

    Attributes
    ----------
    parts : tuple of SRNProblem
    kernel : array
        ``(K, *shape)`` if the kernels have the same shape, otherwise flat, one after the other; see :meth:`kernels`.

    Raises
    ------
    TypeError, ValueError
        If something else than an :class:`SRNProblem` is given, or nothing.
    """

    def __init__(self, problems: Iterable[SRNProblem]) -> None:
        if not isinstance(problems, Iterable):
            raise TypeError(f"problems: {type(problems).__name__} given, expected several SRNProblems")
        self._parts = tuple(problems)
        if not self._parts:
            raise ValueError("problems: none given, expected at least one")
        for part in self._parts:
            if not isinstance(part, SRNProblem):
                raise TypeError(f"problems: {type(part).__name__} given, expected SRNProblems")
        self.kernel = self._joined([part.kernel for part in self._parts])
        self.kernel.setflags(write=False)
        self.dtype = np.result_type(*(part.dtype for part in self._parts))

    def __repr__(self) -> str:
        return f"StackProblem({', '.join(map(repr, self._parts))})"

    @property
    def parts(self) -> tuple[SRNProblem, ...]:
        return self._parts

    @cached_property
    def spheres(self) -> Spheres:
        """The spheres of unit kernels."""
        return Spheres(tuple(part.kernel.size for part in self._parts))

    def describe(self) -> str:
        return f"{len(self._parts)} kernels: {listed(part.describe() for part in self._parts)}"

    def kernels(self, x: Any) -> list[Array]:
        """The kernels of a stack, each in its own shape."""
        flat = self._checked(x)
        return [
            flat[place].reshape(part.kernel.shape) for part, place in zip(self._parts, self.kernel_slices, strict=True)
        ]

    def stack(self, kernels: Iterable[Any]) -> Array:
        """The stack of some kernels, the inverse of :meth:`kernels`."""
        arrays = [np.asarray(kernel, float) for kernel in kernels]
        given, expected = [array.shape for array in arrays], [part.kernel.shape for part in self._parts]
        if given != expected:
            raise ValueError(f"kernels: shapes {given} given, expected those of the parts, {expected}")
        return self._joined(arrays)

    def to_sphere(self, x: Any) -> Array:
        """The point of a stack: every kernel over its norm."""
        pairs = zip(self._parts, self.kernels(x), strict=True)
        return np.concatenate([part.to_sphere(kernel).ravel() for part, kernel in pairs])

    def evaluate(self, x: Any) -> Evaluation:
        """Scores of a stack: the sum of the objectives, the constraints of the kernel that violates its own most."""
        return combined(
            [part.evaluate(kernel) for part, kernel in zip(self._parts, self.kernels(x), strict=True)], self._parts
        )

    def restore(self, x: Any) -> Restoration:
        """Every kernel restored on its own; a success if each of them is."""
        found = [part.restore(kernel) for part, kernel in zip(self._parts, self.kernels(x), strict=True)]
        success = all(restoration.success for restoration in found)
        return Restoration(
            self.stack(restoration.kernel for restoration in found),
            success,
            math.hypot(*(restoration.distance for restoration in found)),
            listed(restoration.message for restoration in found if restoration.success == success),
        )

    def _joined(self, kernels: list[Array]) -> Array:
        if len({kernel.shape for kernel in kernels}) == 1:
            return np.stack(kernels)
        return np.concatenate([kernel.ravel() for kernel in kernels])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.kernel.setflags(write=False)

    def _checked(self, x: Any) -> Array:
        array = as_kernel(x, "x")
        if array.shape != self.kernel.shape:
            raise ValueError(f"x: shape {array.shape} given, expected the shape of the stack, {self.kernel.shape}")
        return array.ravel()


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
        return (regime(self.free.stable_rank, self.free.geometry.n_points / self.free.gain(self.embed(self._nearest))),)

    @cached_property
    def _nearest(self) -> Array:
        """The point of the nearest separable kernel."""
        return self._factors(self.free.direction)

    def describe(self) -> str:
        return f"separable kernels, {self.free.describe()}"

    def embed(self, z: Any, xp: Namespace = spectrum.NUMPY) -> Any:
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


def listed(texts: Iterable[str]) -> str:
    """The first few of some texts, each once."""
    distinct = list(dict.fromkeys(texts))
    return "; ".join([*distinct[:3], *(["…"] if len(distinct) > 3 else [])])


def combined(evaluations: list[Evaluation], parts: tuple[SRNProblem, ...]) -> Evaluation:
    """The scores of several kernels as one: objectives added, the constraints of the one that violates its own most."""
    worst = max(evaluations, key=lambda evaluation: evaluation.violation)
    norms = [float(np.sqrt(part.squared_norm)) for part in parts]
    moved = math.hypot(*(e.relative_distance * norm for e, norm in zip(evaluations, norms, strict=True)))
    return Evaluation(
        objective=sum(evaluation.objective for evaluation in evaluations),
        stable_rank=worst.stable_rank,
        spectral_norm=worst.spectral_norm,
        stable_rank_error=worst.stable_rank_error,
        spectral_norm_error=worst.spectral_norm_error,
        relative_distance=moved / math.hypot(*norms),
    )
