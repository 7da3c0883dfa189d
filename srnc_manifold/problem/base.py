"""What every problem is: kernels described by points of a product of unit spheres."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.exchange import UNREADABLE
from srnc_manifold.numerics import Array
from srnc_manifold.operators.atoms import Level
from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.operators.norms import NormTests
from srnc_manifold.problem import storage
from srnc_manifold.problem.scores import BatchEvaluation, Evaluation, Restoration
from srnc_manifold.spheres import Spheres
from srnc_manifold.writing import FilePath

Regime = Literal["reduce", "raise", "none"]


class Problem(ABC):
    """What the solvers on spheres need: kernels described by a point of a product of unit spheres.

    A problem has one or several :attr:`parts`, each with a kernel and a target of its own; :meth:`embed` gives their
    unit kernels at a point. Here the point is these kernels; :mod:`srnc_manifold.problem.stack` has others.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> isinstance(problem, srnc.Problem), len(problem.parts), problem.spheres.dimension
    (True, 1, 2)
    """

    kernel: Array
    dtype: np.dtype

    #: Name of the class in files.
    kind: ClassVar[str]

    #: Whether :meth:`embed` is linear.
    linear: bool = True

    @property
    @abstractmethod
    def parts(self) -> tuple[KernelProblem, ...]:
        """Problems of one kernel each."""

    @property
    @abstractmethod
    def spheres(self) -> Spheres:
        """Where points lie."""

    @abstractmethod
    def describe(self) -> str:
        """What is asked, in a line."""

    @abstractmethod
    def to_sphere(self, x: Any, name: str = "x") -> Array:
        """The point that describes a kernel, which has the given name in error messages."""

    @abstractmethod
    def evaluate(self, x: Any) -> Evaluation:
        """Scores of a kernel, as it stands."""

    @abstractmethod
    def evaluate_batch(self, x: Any) -> BatchEvaluation:
        """Scores of many kernels, as they stand, in NumPy or torch, with the batch axis first."""

    @abstractmethod
    def restore(self, x: Any) -> Restoration:
        """Move a kernel onto the feasible set, locally."""

    @property
    def squared_norm(self) -> float:
        """``‖C(a)‖_F²``, the unit in which gaps are told; of several parts the sum."""
        return sum(part.squared_norm for part in self.parts)

    @property
    def regimes(self) -> tuple[Regime, ...]:
        """The half of each constraint that binds: some gain reaches it ("reduce"), or none exceeds it ("raise")."""
        return tuple(part.regime for part in self.parts)

    # -- files ----------------------------------------------------------------------------------------------

    @abstractmethod
    def to_fields(self) -> dict[str, Any]:
        """What describes the problem: JSON values and arrays, and :attr:`kind`."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The problem of a description."""

    def digest(self) -> str:
        """A fingerprint: equal for equal problems, in every process and version of Python."""
        return storage.digest(self.to_fields())

    def save(self, path: FilePath) -> None:
        """Write the problem to a ``.npz`` or ``.json`` file. Both are read back bit for bit.

        Raises
        ------
        TypeError, ValueError
            If the file has another ending, or if the operator cannot be saved.
        """
        storage.write(path, self.to_fields())

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Read what :meth:`save` wrote; :func:`srnc_manifold.load_problem` reads every kind of problem.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds something else.
        """
        fields = storage.read(path)
        if fields["kind"] != cls.kind:
            raise storage.not_a_problem(path, f"it holds {fields['kind']!r}, expected {cls.kind!r}")
        try:
            return cls.from_fields(fields)
        except UNREADABLE as error:
            raise storage.not_a_problem(path, error) from None

    # -- from points to kernels -----------------------------------------------------------------------------

    def embed(self, z: Any, xp: Namespace = NUMPY) -> Any:
        """The flat unit kernels of the parts, one after the other, at a flat point."""
        return z

    def embed_derivative(self, z: Array, vector: Array) -> Array:
        """Derivative of :meth:`embed` along a vector."""
        return vector

    def embed_adjoint(self, z: Array, covector: Array) -> Array:
        """Adjoint of the derivative."""
        return covector

    def embed_curvature(self, z: Array, vector: Array, covector: Array) -> Array:
        """Derivative of :meth:`embed_adjoint` by ``z`` along a vector."""
        return np.zeros_like(z)

    @cached_property
    def kernel_slices(self) -> tuple[slice, ...]:
        """Where the parts' kernels lie in what :meth:`embed` gives."""
        return Spheres(tuple(part.kernel.size for part in self.parts)).slices

    def unit_kernels_at(self, z: Array) -> Array:
        """``ρ w / M`` of every part, flat: kernels of the right norms in units of the spectral norms."""
        w = self.embed(z)
        kernels = [part.unit_radius * w[place] for part, place in zip(self.parts, self.kernel_slices, strict=True)]
        return np.concatenate(kernels)

    def from_units(self, unit_kernels: Array) -> Array:
        """Kernels in their own units and shape."""
        kernels = [
            part.from_coordinates(part.spectral_norm * unit_kernels[place]).ravel()
            for part, place in zip(self.parts, self.kernel_slices, strict=True)
        ]
        return np.concatenate(kernels).reshape(self.kernel.shape)

    def scores(self, unit_kernels: Array, gains: Iterable[float]) -> dict[str, float]:
        """Objective and constraints of kernels in units of the spectral norms, whose squared norms are known.

        Of several parts the sum of the objectives, and the constraints of the one that violates its own most.
        """
        rows = [
            part.own_scores(unit_kernels[place], float(gain))
            for part, place, gain in zip(self.parts, self.kernel_slices, gains, strict=True)
        ]
        worst = max(rows, key=lambda row: max(row["stable_rank_error"], row["spectral_norm_error"]))
        return {
            **worst,
            "objective": sum(row["objective"] for row in rows),
            "distance": math.hypot(*(row["distance"] for row in rows)),
        }


class KernelProblem(Problem):
    """What a part of a problem is: one kernel, its operator and its target.

    See :class:`srnc_manifold.SRNProblem`, which it is; costs, solvers and results need no more of it than this.
    """

    operator: Operator
    stable_rank: float
    kernel_stable_rank: float
    spectral_norm: float
    target_gain: float
    level: Level
    radius: float
    direction: Array
    unit_kernel: Array
    unit_radius: float

    @property
    @abstractmethod
    def geometry(self) -> Geometry:
        """Shape and grid of a circular convolution."""

    @property
    @abstractmethod
    def regime(self) -> Regime:
        """Whether the target lies below the kernel's own stable rank, above it, or at it."""

    @abstractmethod
    def gain(self, z: Array) -> float:
        """The largest squared singular value of a unit kernel."""

    @abstractmethod
    def to_kernel(self, z: Array) -> Array:
        """The kernel of a point of the unit sphere."""

    @abstractmethod
    def from_coordinates(self, y: Array) -> Array:
        """The kernel with the coordinates ``y``; see :class:`Operator`."""

    @property
    @abstractmethod
    def norm_tests(self) -> tuple[NormTests, float] | None:
        """Norm tests of the symbol of ``direction`` times a number, and that number; for large blocks only."""

    @abstractmethod
    def objective_at(self, squared_distance: float) -> float:
        """The objective of a kernel ``ρ z`` with ``‖z‖ = 1`` and ``‖z − a/‖a‖‖²`` as given."""

    @abstractmethod
    def bound_at(self, squared_distance: float) -> float:
        """The bound on the objective that goes with one on the squared distance of unit kernels."""

    @abstractmethod
    def singular_values_at(
        self, w: Array, chosen: Callable[[Array], NDArray[np.bool_]], blocks: Sequence[int] | None = None
    ) -> tuple[Array, list[Array]]:
        """Some singular values of a kernel and their gradients."""

    @abstractmethod
    def own_scores(self, unit_kernel: Array, gain: float) -> dict[str, float]:
        """Columns of a history for a kernel in units of the spectral norm, whose squared norm is known."""
