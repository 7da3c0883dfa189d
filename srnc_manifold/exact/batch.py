"""Many kernels of one shape at once, on the device they are on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import certificates
from srnc_manifold.arrays import as_kernels
from srnc_manifold.backends import NUMPY, Namespace, namespace_of
from srnc_manifold.certificates import CapsCertificate, caps
from srnc_manifold.display import Shown
from srnc_manifold.exact import reduce
from srnc_manifold.exact.gradients import Gradients, Solved
from srnc_manifold.operators import norms
from srnc_manifold.operators.atoms import Level, frame
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.geometry import Geometry, InputSize, PerAxis
from srnc_manifold.problem.target import SAME_STABLE_RANK, Target
from srnc_manifold.process import exclusive
from srnc_manifold.result import Bound
from srnc_manifold.validation import Rng, as_generator, bytes_from

# Memory that the work on the kernels of a chunk may take, in bytes, unless the caller says otherwise; and on a device,
# where few large pieces of work take much less time than many small ones.
_MEMORY, _THERE = 1 << 28, 1 << 31


@dataclass(frozen=True, repr=False, eq=False)
class BatchResult(Shown):
    """Solutions of many problems; arrays of the library and on the device of the given kernels.

    Attributes
    ----------
    kernels : array, shape ``(K, *kernel_shape)``
        The minimizers; in single precision if the kernels were given in that or less, else in double. They and the
        objectives have gradients if what was given requires some; everything else is detached.
    stable_ranks : array, shape ``(K,)``
        The targets.
    clipped : array, shape ``(K,)``
        Whether each target was moved to the nearest feasible one.
    objectives : array, shape ``(K,)``
        ``‖C(x) − C(a)‖_F²`` (paper, (7)), of the kernels as they are returned.
    violations : array, shape ``(K,)``
        The larger relative error of stable rank and spectral norm, of the kernels as they are returned.
    bounds : array, shape ``(K,)``
        Proved lower bounds on the objectives of all feasible kernels.
    gaps : array, shape ``(K,)``
        ``(objective − bound) / ‖C(a)‖_F²``; negative only by what a kernel gains from its violation.
    owners : integer array, shape ``(R,)``
        To which kernel each row of the certificate belongs.
    certificate : CapsCertificate
        What proves the bounds; see :meth:`bound`.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> solved = srnc.solve_batch([[1, 2, 0.5], [1, 0, 0]], 16, stable_rank_fraction=0.8)
    >>> problem = srnc.SRNProblem([1, 0, 0], 16, stable_rank_fraction=0.8)
    >>> bool(abs(solved.bound(1).verify(problem) - solved.objectives[1]) < 1e-9)
    True
    """

    kernels: Any
    stable_ranks: Any
    clipped: Any
    objectives: Any
    violations: Any
    bounds: Any
    gaps: Any
    owners: Any
    certificate: CapsCertificate

    def __len__(self) -> int:
        return len(self.kernels)

    def summary(self) -> dict[str, str]:
        library = type(self.kernels).__module__.partition(".")[0]
        return {
            "kernels": f"{len(self)} of shape {tuple(self.kernels.shape)[1:]}, {library}",
            "largest violation": f"{float(self.violations.max()):.1e}",
            "largest gap": f"{float(self.gaps.max()):.1e} of ‖C(a)‖²",
        }

    def bound(self, k: int) -> Bound:
        """The bound on the objective of ``kernels[k]`` with its certificate, as :func:`solve` gives it.

        ``bound(k).verify(problem)`` recomputes it in plain NumPy for the :class:`SRNProblem` of that kernel.
        """
        k = range(len(self))[k]  # negative ones count from the end; an IndexError where there is none
        certificate = self.certificate.of(self.owners == k)
        return Bound(float(self.bounds[k]), "the Lemma and multipliers", "caps", certificate.arrays())


@exclusive
def solve_batch(
    kernels: Any,
    input_size: InputSize,
    *,
    stable_rank: Any = None,
    relative_stable_rank: Any = None,
    stable_rank_fraction: Any = None,
    clip: bool = False,
    max_memory: int | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    at_ties: Literal["raise", "nan"] = "raise",
    solver: Any = None,
    rng: Rng = None,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
) -> BatchResult:
    """Reduce the stable ranks of many kernels of one shape: what :func:`solve` does, all at once.

    Computed in double precision: in NumPy or, for tensors on another device, there in torch. With one row or column to
    a block (single-channel and depthwise kernels, one input or output channel) everything is computed for all kernels
    together. Otherwise all blocks are bounded and the promising ones improved together; each kernel is then finished by
    itself on the host.

    Of tensors that require gradients, kernels or targets, the returned ``kernels`` and ``objectives`` have them, by
    implicit differentiation (docs/theory.md, proposition 12): one linear system for each kernel, on the host. A target
    that is a fraction changes with its kernel, one that was clipped does not change. There are no second derivatives.

    Parameters
    ----------
    kernels : array or tensor, shape ``(K, *kernel_shape)``
        With the batch axis first.
    input_size : int or sequence of int
        As in :meth:`Geometry.of`, for one kernel.
    stable_rank, relative_stable_rank, stable_rank_fraction : float or sequence of ``K`` floats
        Exactly one of them, as in :class:`SRNProblem`; none above the kernels' own stable ranks.
    clip : bool, optional
        Whether targets that are not feasible are moved to the nearest feasible one, instead of an error. Targets above
        a kernel's own stable rank are moved to it, so that the kernel stays as it is.
    max_memory : int or str, optional
        Memory that the work may take beside kernels and results, in bytes or as ``"1GiB"``; by default 256 MiB, on a
        device 2 GiB. Kernels are taken in parts of this size.
    progress : callable, optional
        Given the number of kernels that are solved, and of all, after each part.
    at_ties : {"raise", "nan"}, optional
        What a backward pass does with kernels whose solution has no derivative, if one is asked for: raise a
        ``ValueError`` that names the first and the reason, or give NaN. There is none where the solution jumps to
        another frequency or to a mirror image, where several singular values are largest, at the least feasible target,
        and where a kernel has its target already (unless that was clipped: then the kernel stays as it is).
    solver : solvers.Batch, optional
        A method with many starts on each kernel, instead of the explicit solution. Its kernels are as near to their
        targets as the method comes, which ``violations`` tells; the bounds are those of the norms alone, and there are
        no gradients.
    rng : int or numpy.random.Generator, optional
        Source of its starts.
    groups, stride, dilation : int or sequence of int, optional
        With PyTorch's meaning.

    Returns
    -------
    BatchResult
        Arrays of the library and on the device of the kernels.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid; the first kernel that is not is named.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> import numpy as np
    >>> kernels = np.random.default_rng(0).standard_normal((100, 3, 3))
    >>> solved = srnc.solve_batch(kernels, 16, stable_rank_fraction=0.9, clip=True)
    >>> solved.kernels.shape, bool(solved.violations.max() < 1e-6)
    ((100, 3, 3), True)
    """
    if at_ties not in ("raise", "nan"):
        raise ValueError(f"at_ties: {at_ties!r} given, expected 'raise' or 'nan'")
    given = as_kernels(kernels)
    values, xp, single = given.values, given.xp, given.dtype == np.float32
    geometry = Geometry.of(tuple(values.shape)[1:], input_size, groups=groups, stride=stride, dilation=dilation)
    target = Target.of_many(len(values), stable_rank, relative_stable_rank, stable_rank_fraction)
    asked = next(goal for goal in (stable_rank, relative_stable_rank, stable_rank_fraction) if goal is not None)
    needed = xp.needs_gradient(kernels), namespace_of(asked).needs_gradient(asked)
    if needed[1] and xp is not namespace_of(asked):
        raise TypeError(f"kernels: an array of {xp.name} given, expected a tensor, since {target.name} needs gradients")
    remote = xp.is_remote(values)
    memory = (_THERE if remote else _MEMORY) if max_memory is None else bytes_from("max_memory", max_memory)
    nearest, each = _nearest_by(solver, rng, geometry)
    if solver is not None and any(needed):
        raise TypeError("solver: given with tensors that require gradients, which only the explicit solution has")
    at_once = max(1, memory // each)
    parts: list[tuple[tuple[Any, ...], NDArray[Any], CapsCertificate]] = []
    traced: list[Solved] = []
    # In the host's memory NumPy is the fastest.
    given_to, rows = (xp, values) if remote else (NUMPY, xp.to_numpy(values))
    for first in range(0, len(values), at_once):
        some = rows[first : first + at_once]
        scores, own, proof, solved = _solve_chunk(
            some, target.part(first, at_once), geometry, given_to, single, clip, nearest
        )
        parts.append((scores if remote else tuple(xp.of_numpy(score) for score in scores), own, proof))
        if any(needed):
            traced.append(solved())
        if progress is not None:
            progress(first + len(some), len(values))
    fields = zip(*(scores for scores, _, _ in parts), strict=True)
    evidence: list[Any] = [np.concatenate([owners for _, owners, _ in parts])]
    evidence.append(CapsCertificate.joined([certificate for _, _, certificate in parts]))
    result = BatchResult(*(xp.concatenate(of_parts, axis=0) for of_parts in fields), *evidence)
    if not any(needed):
        return result
    gradients = Gradients(Solved.joined(traced), result.owners, result.certificate, geometry, needed, at_ties)
    return _with_gradients(result, gradients, kernels, asked, values, xp)


def _nearest_by(solver: Any, rng: Rng, geometry: Geometry) -> tuple[Callable[[Any, Level], reduce.Nearest], int]:
    """What finds the nearest points for some kernels, and about the memory that it takes for each of them."""
    if solver is None:
        return lambda many, level: many.nearest(level), reduce.bytes_per_kernel(geometry)
    if not hasattr(solver, "nearest_points"):
        raise TypeError(f"solver: {solver!r} given, expected None or srnc.solvers.Batch(...)")
    operator, generator = Circular(geometry), as_generator(rng)

    def nearest(many: Any, level: Level) -> reduce.Nearest:
        xp, shape = many.xp, many.directions.shape
        directions = xp.to_numpy(many.directions).reshape(len(many.directions), -1)
        found = solver.nearest_points(operator, directions, xp.to_numpy(level.value), generator)
        top = xp.full_like(many.gains, np.max(frame(geometry).safe_top))
        heights = caps.safe_heights(xp.sqrt(many.gains), geometry)
        return reduce.Nearest(
            xp.constant(found.reshape(shape), many.gains),
            xp.constant(np.sum((found - directions) ** 2, axis=1), many.gains),
            caps.lemma_of(heights, top, level, xp),
            np.zeros(0, np.int64),
            CapsCertificate.empty(geometry),
        )

    return nearest, reduce.bytes_per_kernel(geometry) + solver.bytes_per_problem(operator)


def _with_gradients(
    result: BatchResult, gradients: Gradients, kernels: Any, asked: Any, values: Any, xp: Namespace
) -> BatchResult:
    """The same result, its kernels and objectives as functions of the kernels and of the targets that were given."""
    inputs = [kernels] if gradients.needed[0] else []
    if gradients.needed[1]:
        inputs.append(xp.broadcast_to(asked, (len(values),)))
    solutions = xp.with_pullback(result.kernels, tuple(inputs), gradients.pulled)
    slopes = 2 * gradients.geometry.n_points * xp.to_numpy(xp.to_double(result.kernels) - values)

    def pulled(gradient: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        by_solution = slopes * gradient.reshape(-1, *[1] * (slopes.ndim - 1))
        return by_solution, -by_solution

    objectives = xp.with_pullback(result.objectives, (solutions, kernels), pulled)
    return replace(result, kernels=solutions, objectives=objectives)


def _solve_chunk(
    kernels: Any,
    target: Target,
    geometry: Geometry,
    xp: Namespace,
    single: bool,
    clip: bool,
    nearest: Callable[[Any, Level], reduce.Nearest],
) -> tuple[tuple[Any, ...], NDArray[Any], CapsCertificate, Callable[[], Solved]]:
    """Solve some of the kernels: the fields of a :class:`BatchResult`, those of its certificate apart.

    The last one returned makes what gradients need to know.
    """
    count, n = len(kernels), Circular(geometry).gram_weight
    flat = xp.reshape(kernels, (count, -1))
    scales = xp.max(xp.abs(flat), axis=1)
    units = flat / scales[:, None]
    sizes = xp.sqrt(xp.sum(units**2, axis=1))
    directions = xp.reshape(units / sizes[:, None], (count, *geometry.kernel_shape))
    many = reduce.many(directions, geometry, xp)
    gains = many.gains
    own = n / xp.to_numpy(gains)

    def refuse(k: int, unit: Any) -> str:
        least, most = (f"{rank / unit[k]:.6g}" for rank in (geometry.stable_rank_range[0], own[k]))
        return (
            f" for kernels[{target.first + k}], whose own stable rank is {own[k]:.6g}; expected {least} <= "
            f"{target.name} <= {most} (or clip=True; SRNProblem and solve() also raise stable ranks)"
        )

    goals, clipped = target.stable_ranks(own, geometry.stable_rank_range, refuse, reduce=True, clip=clip)
    ranks = xp.constant(goals, gains)
    # Not n / ranks: torch would multiply with a rounded inverse.
    exact = Level.of_target(n, goals)
    level = Level(xp.constant(exact.value, gains), xp.constant(exact.rest, gains))
    points, squared_bounds = directions + 0.0, 0.0 * gains
    owners, proof = np.zeros(0, np.int64), CapsCertificate.empty(geometry)
    # The theorem is for kernels outside the caps: others have the target stable rank already and stay as they are.
    outside = goals < own * (1 - SAME_STABLE_RANK)
    if outside.any():
        index = slice(None) if outside.all() else xp.constant(np.flatnonzero(outside), gains)
        found = nearest(many.of(index), level[index])
        points[index], squared_bounds[index] = found.points, found.bounds
        owners, proof = np.flatnonzero(outside)[found.owners], found.certificate
    radius = xp.sqrt(gains * ranks / n)  # in units of ‖a‖
    solved = xp.reshape(points, (count, -1)) * (radius * sizes * scales)[:, None]
    returned = xp.to_single(solved) if single else solved
    # Scored as they are returned, in units in which no square overflows.
    solved = xp.to_double(returned) / scales[:, None]
    objectives = n * (xp.sum((solved - units) ** 2, axis=1) * scales) * scales
    achieved = norms.gains(xp.reshape(solved, kernels.shape), geometry, xp)
    rank_errors = xp.abs(n * xp.sum(solved**2, axis=1) / achieved / ranks - 1)
    norm_errors = xp.abs(xp.sqrt(achieved / gains) / sizes - 1)
    squared_norms = n * (sizes * scales) * (sizes * scales)
    bounds = certificates.relative_objective(radius, squared_bounds, level.value, geometry, xp) * squared_norms
    scores = (
        xp.reshape(returned, kernels.shape),
        ranks,
        xp.constant(clipped, gains),
        objectives,
        xp.maximum(rank_errors, norm_errors),
        bounds,
        (objectives - bounds) / squared_norms,
    )

    def solved_of() -> Solved:
        slopes = np.where(clipped, 0.0, target.units(own, geometry.stable_rank_range[1]))
        follow = ~clipped & (target.name == "stable_rank_fraction")
        spectral_norms = xp.to_numpy(xp.sqrt(gains) * sizes * scales)
        on_host = xp.to_numpy(directions), xp.to_numpy(points)
        return Solved(*on_host, spectral_norms, own, goals, slopes, follow, ~outside)

    return scores, target.first + owners, proof, solved_of
