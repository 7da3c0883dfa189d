"""The stable rank normalization problem of a kernel (paper, (7); docs/theory.md, section 2)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import certificates
from srnc_manifold.arrays import as_kernel, as_kernels, kernel_and_dtype
from srnc_manifold.exchange import array_from
from srnc_manifold.numerics import Array, binary_scale, frozen
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.operators.base import Operator
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.dense import Dense
from srnc_manifold.operators.geometry import Geometry, InputSize, PerAxis
from srnc_manifold.operators.layers import DEFAULTS, operator_of
from srnc_manifold.operators.padded import Padded
from srnc_manifold.operators.padding import Amount
from srnc_manifold.problem.base import KernelProblem, Regime
from srnc_manifold.problem.restoration import gain_descents, restored, to_dominant_atom, to_given, to_least_gain
from srnc_manifold.problem.scores import BatchEvaluation, Evaluation, Restoration
from srnc_manifold.problem.target import Target, regime
from srnc_manifold.spheres import Spheres

# Relative rounding error of a spectral norm that is not that of a symbol, and of a matrix W^½.
_NORM_ERROR = 1e-12


class SRNProblem(KernelProblem):
    """Nearest kernel of the same support with a given stable rank and the same spectral norm (paper, (7)).

    ``minimize ‖C(x) − C(a)‖_F²  subject to  srank C(x) = r,  ‖C(x)‖₂ = ‖C(a)‖₂``, by default with circular padding.

    Parameters
    ----------
    kernel : array
        ``a``, of shape ``taps`` or ``(c_out, c_in / groups, *taps)``; a dense matrix with ``input_size=()``.
    input_size : int or sequence of int
        The grid; see :meth:`Geometry.of`.
    stable_rank : float, optional
        Target ``r``.
    relative_stable_rank : float, optional
        Target as ``β`` in ``r = β · min(c_out, c_in) · |N|`` (the paper's ``β N²``).
    stable_rank_fraction : float, optional
        Target as a fraction ``0 < τ <= 1`` of the kernel's own stable rank.
    clip : bool, optional
        Whether a target that is not feasible is moved to the nearest feasible one, instead of an error.
    groups, stride, dilation : int or sequence of int, optional
        With PyTorch's meaning; see :meth:`Geometry.of`.
    padding, padding_mode, transposed, output_padding : optional
        With PyTorch's meaning; see :func:`srnc_manifold.singular_values`. Taps that meet no entry of the input, which a
        small input and much dilation can leave, have no cost and no constraint; all solutions have those of ``a``.

    Attributes
    ----------
    kernel : array
        ``a``, in doubles, read-only.
    dtype : numpy.dtype
        Precision in which results are returned: single if the kernel was given in single or less, otherwise double.
    input_size : tuple of int
    operator : Operator
    stable_rank : float
        The target ``r``.
    clipped : bool
        Whether the target was moved.
    follows_kernel : bool
        Whether the target was given as a fraction of the kernel's stable rank, so that it changes with the kernel.
    spectral_norm : float
        ``M = ‖C(a)‖₂``, to be kept.
    kernel_stable_rank : float
        Stable rank of ``a``.
    target_gain : float
        ``c = |N| / r``, the largest squared singular value that a unit kernel shall have.
    level : Level
        The same with twice the digits.
    radius : float
        ``ρ = M √(r / |N|)``, the norm that a feasible kernel has (paper, (11)).
    direction : array
        ``a / ‖a‖``.
    unit_kernel, unit_radius : array, float
        ``a / M`` and ``ρ / M``: the problem in units of its spectral norm, in which the solvers work.

    Raises
    ------
    TypeError, ValueError
        If the kernel, the input size or the target is not valid; an infeasible target is told the feasible range.

    Warns
    -----
    UserWarning
        If ``relative_stable_rank`` asks for more than the kernel has, which is easily done by mistake.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> round(problem.kernel_stable_rank, 6), [round(end, 4) for end in problem.feasible_range]
    (64.0, [21.3333, 64.0])
    >>> round(problem.radius, 6), problem.target_gain
    (0.707107, 2.0)
    """

    kind = "SRNProblem"

    def __init__(
        self,
        kernel: Any,
        input_size: InputSize | Operator,
        *,
        stable_rank: float | None = None,
        relative_stable_rank: float | None = None,
        stable_rank_fraction: float | None = None,
        clip: bool = False,
        groups: int = 1,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        padding: Amount | None = None,
        padding_mode: str = "circular",
        transposed: bool = False,
        output_padding: PerAxis = 0,
    ) -> None:
        self.kernel, self.dtype = kernel_and_dtype(kernel, of_problem=True)
        self.kernel.setflags(write=False)
        self.operator = operator_of(
            self.kernel.shape,
            input_size,
            groups=groups,
            stride=stride,
            dilation=dilation,
            padding=padding,
            padding_mode=padding_mode,
            transposed=transposed,
            output_padding=output_padding,
        )
        self._unseen = self.operator.unseen(self.kernel)
        self._scale = binary_scale(self.kernel)
        scaled = self.operator.coordinates(self.kernel / self._scale)
        if not np.any(scaled):
            raise ValueError("kernel: its entries at taps that meet the input are all zero; it has no stable rank")
        self._scaled: Array = frozen(scaled)
        self._tests = self.operator.norm_tests(scaled)
        gain = self.operator.gain(scaled) if self._tests is None else self._tests.dominant()[1]
        self.spectral_norm = math.sqrt(gain) * self._scale
        self.kernel_stable_rank = self.operator.stable_rank(float(np.sum(scaled**2)), gain)
        self._size = float(np.linalg.norm(scaled))
        self.direction: Array = frozen(scaled / self._size)
        # The kernel in units of its own spectral norm: nothing below depends on its scale.
        self.unit_kernel: Array = frozen(scaled / math.sqrt(gain))
        self.stable_rank = self._target(stable_rank, relative_stable_rank, stable_rank_fraction, clip)
        weight = self.operator.gram_weight
        self.unit_radius = math.sqrt(self.stable_rank / weight)
        self.radius = self.unit_radius * self.spectral_norm
        self.target_gain = weight / self.stable_rank
        self.level = atoms.Level.of_target(weight, self.stable_rank)

    @property
    def geometry(self) -> Geometry:
        """Shape and grid of a circular convolution, what the explicit solution works on; no other operator has one."""
        if not isinstance(self.operator, Circular):
            raise TypeError(
                f"problem: its operator is {self.operator!r}, which has no frequencies, expected a Circular"
            )
        return self.operator.geometry

    @property
    def input_size(self) -> tuple[int, ...]:
        """Points of the input along each spatial axis."""
        return self.operator.input_shape[1:]

    def __repr__(self) -> str:
        return (
            f"SRNProblem(kernel of shape {self.kernel.shape}, input_size={self.input_size}, "
            f"stable_rank={self.stable_rank:.6g}{' (clipped)' if self.clipped else ''} from "
            f"{self.kernel_stable_rank:.6g}: {self.regime})"
        )

    def describe(self) -> str:
        size = "×".join(map(str, self.input_size))
        where = f"on {size} points" if size else "of a dense matrix"
        moved = " (clipped)" if self.clipped else ""
        return f"stable rank {self.kernel_stable_rank:.4g} → {self.stable_rank:.4g}{moved} {where}"

    @property
    def feasible_range(self) -> tuple[float, float]:
        """Least and largest feasible target; ``|N|/q`` and ``min(c_out, c_in)·|N|`` in general.

        Source: docs/theory.md, proposition 2.

        With a stride ``q`` is the largest number of taps in one of its phases, and the least side that of a block.
        """
        return self.operator.stable_rank_range

    @property
    def regime(self) -> Regime:
        """Whether the target lies below the kernel's own stable rank, above it, or at it."""
        return regime(self.stable_rank, self.kernel_stable_rank)

    @property
    def parts(self) -> tuple[SRNProblem, ...]:
        """The problem itself."""
        return (self,)

    @cached_property
    def spheres(self) -> Spheres:
        """The sphere of unit kernels."""
        return Spheres((self.kernel.size,))

    @cached_property
    def squared_norm(self) -> float:
        """``‖C(a)‖_F² = |N| ‖a‖²``, the unit in which gaps are told."""
        return self.operator.gram_weight * float(np.sum(self._scaled**2)) * self._scale**2

    def objective_at(self, squared_distance: float) -> float:
        """The objective of a kernel ``ρ z`` with ``‖z‖ = 1`` and ``‖z − a/‖a‖‖²`` as given."""
        size = float(np.linalg.norm(self.unit_kernel))
        unit = (self.unit_radius - size) ** 2 + self.unit_radius * size * squared_distance
        return self.operator.gram_weight * (unit * self.spectral_norm) * self.spectral_norm

    def bound_at(self, squared_distance: float) -> float:
        """A lower bound on the objective, rounded down, from one on ``‖z − a/‖a‖‖²``."""
        radius = self.unit_radius / float(np.linalg.norm(self.unit_kernel))
        if isinstance(self.operator, Circular):
            least = certificates.relative_objective(radius, squared_distance, self.target_gain, self.geometry)
        else:
            least = certificates.least_objective(radius, squared_distance, _NORM_ERROR * radius)
        return float(least) * self.squared_norm

    # -- the unit sphere ------------------------------------------------------------------------------------

    def to_kernel(self, z: Array) -> Array:
        """The kernel ``ρ z`` of a point of the unit sphere, which has the right norm."""
        return self.from_coordinates(self.radius * np.reshape(z, self.kernel.shape))

    def from_coordinates(self, y: Array) -> Array:
        """The kernel with the coordinates ``y``, and of ``a`` what the operator does not depend on."""
        x = self.operator.kernel(y)
        return x if self._unseen is None else x + self._unseen

    def to_sphere(self, x: Any, name: str = "x") -> Array:
        """The point ``x / ‖x‖`` of the unit sphere; its stable rank is that of ``x``."""
        x = self._checked(x, name)
        y = self.operator.coordinates(x / binary_scale(x))
        return y / np.linalg.norm(y)

    def gain(self, z: Array) -> float:
        """``max_l ‖Z_l‖₂²``; the target stable rank is reached on the unit sphere where it is ``target_gain``."""
        return self.operator.gain(z)

    def singular_values_at(
        self, w: Array, chosen: Callable[[Array], NDArray[np.bool_]], blocks: Sequence[int] | None = None
    ) -> tuple[Array, list[Array]]:
        """Some singular values of a kernel and their gradients, which are their atoms (docs/theory.md, section 3).

        Parameters
        ----------
        w : array
            Kernel, flat.
        chosen : callable
            Told the singular values of every block, shape ``(n_blocks, block_rank)``, says which are meant.
        blocks : sequence of int, optional
            Blocks to which ``chosen`` is restricted; all by default.

        Returns
        -------
        array, shape ``(k,)``, and ``k`` arrays of the shape of ``w``
        """
        matrices = self.operator.blocks(w)
        index = np.arange(len(matrices)) if blocks is None else np.array(blocks)
        u, s, vh = symbol.singular_vectors(matrices[index])
        meant = chosen(s)
        gradients = [
            self.operator.atom(int(index[k]), u[k, :, i], vh[k, i].conj()).ravel() for k, i in np.argwhere(meant)
        ]
        return s[meant], gradients

    # -- scores ---------------------------------------------------------------------------------------------

    def own_scores(self, unit_kernel: Array, gain: float) -> dict[str, float]:
        """Columns of a history for a kernel in units of the spectral norm, whose squared norm is known."""
        distance = float(np.linalg.norm(unit_kernel.ravel() - self.unit_kernel.ravel()))
        squared_size = float(np.sum(unit_kernel**2))
        stable_rank = self.operator.stable_rank(squared_size, gain) if gain > 0 else np.nan
        return {
            "objective": self.operator.gram_weight * (distance * self.spectral_norm) ** 2,
            "stable_rank": stable_rank,
            "spectral_norm": math.sqrt(gain) * self.spectral_norm,
            "distance": distance * self.spectral_norm,
            "stable_rank_error": abs(stable_rank / self.stable_rank - 1),
            "spectral_norm_error": abs(math.sqrt(gain) - 1),
        }

    def evaluate(self, x: Any) -> Evaluation:
        """Scores of a kernel, as it stands.

        Raises
        ------
        TypeError, ValueError
            If ``x`` is not a finite, non-zero array of the kernel's shape.
        """
        x = self._checked(x)
        scale = binary_scale(x)
        y = self.operator.coordinates(x / scale)
        gain = self.gain(y)
        stable_rank = self.operator.stable_rank(float(np.sum(y**2)), gain)
        spectral_norm = math.sqrt(gain) * scale
        distance = float(np.linalg.norm(self.operator.coordinates((x - self.kernel) / self._scale)))
        return Evaluation(
            objective=self.operator.gram_weight * distance * self._scale * distance * self._scale,
            stable_rank=stable_rank,
            spectral_norm=spectral_norm,
            stable_rank_error=abs(stable_rank / self.stable_rank - 1.0),
            spectral_norm_error=abs(spectral_norm / self.spectral_norm - 1.0),
            relative_distance=distance / self._size,
        )

    def evaluate_batch(self, x: Any) -> BatchEvaluation:
        """Scores of many kernels, as they stand: :meth:`evaluate` of each, all at once, in NumPy or torch.

        Parameters
        ----------
        x : array or tensor, shape ``(B, *kernel.shape)``
            A tensor stays on its device.

        Raises
        ------
        TypeError, ValueError
            If a kernel is not one that :meth:`evaluate` takes; the first such is named.
        """
        given = as_kernels(x, "x")
        xp, operator, shape = given.xp, self.operator, tuple(given.values.shape)
        if shape[1:] != self.kernel.shape:
            raise ValueError(f"x: shape {shape} given, expected (B, {', '.join(map(str, self.kernel.shape))})")
        rows = xp.reshape(given.values, (len(given.values), -1))
        scales = 2.0 ** xp.ceil(xp.log2(xp.max(xp.abs(rows), axis=1)))  # as in evaluate: no square overflows
        y = operator.coordinate_rows(rows / scales[:, None], xp)
        gains = operator.row_gains(y, xp)
        ranks, norms = operator.gram_weight * xp.sum(y**2, axis=1) / gains, xp.sqrt(gains) * scales
        moved = operator.coordinate_rows((rows - xp.constant(self.kernel.ravel(), rows)) / self._scale, xp)
        distances = xp.sqrt(xp.sum(moved**2, axis=1))
        return BatchEvaluation(
            objective=operator.gram_weight * distances * self._scale * distances * self._scale,
            stable_rank=ranks,
            spectral_norm=norms,
            stable_rank_error=xp.abs(ranks / self.stable_rank - 1.0),
            spectral_norm_error=xp.abs(norms / self.spectral_norm - 1.0),
            relative_distance=distances / self._size,
        )

    def restore(self, x: Any) -> Restoration:
        """Move a kernel onto the feasible set, locally.

        A kernel whose gain is too low moves in the plane of itself and its own dominant atom. One whose gain is too
        high moves towards ``a`` if the stable rank is reduced; if it is raised, along the least step that lowers all
        singular values near the target and, where that does not lead there, towards its nearest delta kernel.
        In all cases it stops where the stable rank is right. It repairs a small violation and solves the problem for
        nobody.

        Raises
        ------
        TypeError, ValueError
            As :meth:`evaluate`.
        """
        falling = [*gain_descents(self), to_least_gain(self)] if self.regime == "raise" else [to_given(self)]
        return restored(self, self.to_sphere(x).ravel(), too_low=[to_dominant_atom(self)], too_high=falling)

    # -- files ----------------------------------------------------------------------------------------------

    def to_fields(self) -> dict[str, Any]:
        fields = {"kind": self.kind, "kernel": self.kernel, "stable_rank": self.stable_rank, "dtype": self.dtype.name}
        return {**fields, **self.operator.to_fields()}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        kernel, target = array_from(fields["kernel"], fields["dtype"]), float(fields["stable_rank"])
        if "matrices" in fields:
            return cls(kernel, Dense(fields["matrices"]), stable_rank=target)
        layer = {name: fields[name] for name in DEFAULTS if name in fields}
        where = Padded(kernel.shape, fields["input_size"], **layer) if "padding" in layer else fields["input_size"]
        return cls(kernel, where, stable_rank=target, **({} if "padding" in layer else layer))

    @property
    def norm_tests(self) -> tuple[norms.NormTests, float] | None:
        """Norm tests of the symbol of ``direction`` times a number, and that number; for large blocks only."""
        if self._tests is None:
            self._tests = self.operator.norm_tests(self._scaled)
        return None if self._tests is None else (self._tests, self._size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tests": None}  # large, and soon made again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self.kernel, self._scaled, self.direction, self.unit_kernel):
            frozen(array)  # pickle does not keep this

    # -- helpers --------------------------------------------------------------------------------------------

    def _target(self, absolute: Any, relative: Any, fraction: Any, clip: bool) -> float:
        target = Target.of_one(absolute, relative, fraction)
        low, high = self.feasible_range

        def refuse(_: int, units: Array) -> str:
            return (
                f", infeasible for a kernel of shape {self.kernel.shape} on input_size {self.input_size}: expected "
                f"{low / float(units[0])!r} <= {target.name} <= {float(most[0] / units[0])!r}, or clip=True"
            )

        own = np.array([self.kernel_stable_rank])
        most = target.ceiling(own, high, reduce=False)
        values, moved = target.stable_ranks(own, (low, high), refuse, reduce=False, clip=clip)
        found, self.clipped = float(values[0]), bool(moved[0])
        self.follows_kernel = target.name == "stable_rank_fraction" and not self.clipped
        if target.name == "relative_stable_rank" and found > self.kernel_stable_rank:
            warnings.warn(
                f"relative_stable_rank={relative!r} is a stable rank of {found:.6g}, above the kernel's own "
                f"{self.kernel_stable_rank:.6g}: the problem raises the stable rank. To reduce it, ask for less than "
                f"{self.kernel_stable_rank / high:.6g}, or use stable_rank_fraction",
                UserWarning,
                stacklevel=3,
            )
        return found

    def _checked(self, x: Any, name: str = "x") -> Array:
        array = as_kernel(x, name)
        if array.shape != self.kernel.shape:
            raise ValueError(f"{name}: shape {array.shape} given, expected the kernel's shape {self.kernel.shape}")
        return array
