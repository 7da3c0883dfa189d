"""One kernel, many targets: what a reduction of the stable rank costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import certificates, plots
from srnc_manifold.certificates import CapsCertificate
from srnc_manifold.exact import reduce
from srnc_manifold.exact.batch import BatchResult
from srnc_manifold.exact.reduce.search import Search
from srnc_manifold.numerics import Array
from srnc_manifold.operators import norms, symbol
from srnc_manifold.operators.atoms import Level
from srnc_manifold.problem import SRNProblem
from srnc_manifold.problem.target import Target, regime
from srnc_manifold.process import exclusive, one_thread

# Gap, as a part of ‖C(a)‖², at which a search ends: that of Exact().
_TOLERANCE = 1e-8

# Above the rounding errors of sums of norms.
_ROUNDING = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class PathResult(BatchResult):
    """Solutions of one kernel's problem for many targets, in their order; arrays of NumPy.

    There is one row for each target; ``bound(k)`` has a certificate.

    Attributes
    ----------
    kernels, stable_ranks, clipped, objectives, violations, bounds, gaps, owners, certificate
        As of :class:`srnc_manifold.BatchResult`.
    fractions : array, shape ``(K,)``
        The targets as they were asked for: fractions of the kernel's own stable rank.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> path = srnc.solve_path(problem, [0.5, 0.6])
    >>> path.to_frame()[["fraction", "stable_rank"]].round(3)
       fraction  stable_rank
    0       0.5         32.0
    1       0.6         38.4
    """

    fractions: Any

    def summary(self) -> dict[str, str]:
        low, high = (end(self.stable_ranks) for end in (np.min, np.max))
        return {
            "targets": f"{len(self)}, stable ranks {low:.6g} to {high:.6g}",
            "largest violation": f"{np.max(self.violations):.1e}",
            "largest gap": f"{np.max(self.gaps):.1e} of ‖C(a)‖²",
        }

    def to_frame(self) -> Any:
        """The numbers as a pandas DataFrame, a row for each target."""
        import pandas

        names = "fractions", "stable_ranks", "clipped", "objectives", "bounds", "gaps", "violations"
        return pandas.DataFrame({name.removesuffix("s"): getattr(self, name) for name in names})

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
        """Objective and bound over the stable rank: :func:`srnc_manifold.plots.reduction`."""
        return plots.reduction(self, ax, path)


@exclusive
def solve_path(
    problem: SRNProblem, fractions: float | Sequence[float] | NDArray[Any], *, clip: bool = False
) -> PathResult:
    """Solve one kernel's problem for many targets that reduce its stable rank.

    The same solutions as those of :func:`solve` for each target, in about a tenth of the time for layers: the symbol
    and the norms of its blocks do not depend on the target, and are computed once.

    Parameters
    ----------
    problem : SRNProblem
        Whose kernel and layout are taken; its own target is not used.
    fractions : float or sequence of float
        The targets, each as ``stable_rank_fraction`` of :class:`SRNProblem`: fractions of the kernel's own stable rank,
        in any order.
    clip : bool, optional
        Whether targets that are not feasible are moved to the nearest feasible one, as by :func:`solve_batch`.

    Returns
    -------
    PathResult
        One row for each target.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or a target is not feasible or above the kernel's own stable rank.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> path = srnc.solve_path(problem, [0.5, 0.6, 0.7])
    >>> path.stable_ranks.round(6)
    array([32. , 38.4, 44.8])
    """
    if not isinstance(problem, SRNProblem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    given = _Kernel(problem)
    target = Target.of_path(fractions)
    ranks, clipped = _stable_ranks(problem, target, clip)
    # As for single solutions: for large blocks threads do not pay.
    with one_thread() if given.geometry.block_rank > norms.NormTests.SMALL else nullcontext():
        return given.result(target.values, ranks, clipped)


def _stable_ranks(problem: SRNProblem, target: Target, clip: bool) -> tuple[Array, NDArray[np.bool_]]:
    low, own = problem.feasible_range[0], problem.kernel_stable_rank

    def refuse(*_: Any) -> str:
        return (
            f", expected {low / own!r} <= fractions <= 1 for this kernel, whose stable rank is {own:.6g} "
            "(or clip=True; SRNProblem and solve() also raise stable ranks)"
        )

    owns = np.full(len(target.values), own)
    return target.stable_ranks(owns, problem.feasible_range, refuse, reduce=True, clip=clip)


class _Kernel:
    """What the targets of a kernel share."""

    def __init__(self, problem: SRNProblem) -> None:
        self.problem, self.geometry, self.direction = problem, problem.geometry, problem.direction
        self.size = float(np.linalg.norm(problem.unit_kernel))
        self.symbols = symbol.of(self.direction, self.geometry)
        self.squares = norms.squared_norms(self.symbols)

    def result(self, fractions: Array, ranks: Array, clipped: NDArray[np.bool_]) -> PathResult:
        """The solutions for some targets, with their scores."""
        problem, n = self.problem, self.geometry.n_points
        levels = Level.of_target(n, ranks)
        found = [self.nearest(levels[k], float(rank)) for k, rank in enumerate(ranks)]
        radii = np.sqrt(ranks / n)
        kernels = np.stack([one.points[0] for one in found])
        kernels = (radii * problem.spectral_norm).reshape(-1, *[1] * self.direction.ndim) * kernels
        returned = kernels.astype(problem.dtype)
        scores = [
            self.scores(x / problem.spectral_norm, float(rank), one.blocks[0])
            for x, rank, one in zip(returned.astype(np.float64), ranks, found, strict=True)
        ]
        objectives, violations = np.array(scores).T
        least = np.array([one.bound for one in found])
        relative = certificates.relative_objective(radii / self.size, least, levels.value, self.geometry)
        bounds = relative * problem.squared_norm
        return PathResult(
            kernels=returned,
            stable_ranks=ranks,
            clipped=clipped,
            objectives=objectives,
            violations=violations,
            bounds=bounds,
            gaps=(objectives - bounds) / problem.squared_norm,
            owners=np.repeat(np.arange(len(found)), [len(one.certificate.blocks) for one in found]),
            certificate=CapsCertificate.joined([one.certificate for one in found]),
            fractions=np.array(fractions),
        )

    def nearest(self, level: Level, rank: float) -> reduce.Single:
        """The minimizers for one target on the unit sphere."""
        if regime(rank, self.problem.kernel_stable_rank) == "none":
            empty, block = CapsCertificate.empty(self.geometry), int(np.argmax(self.squares))
            return reduce.Single([self.direction], 0.0, 0.0, empty, "lemma", np.inf, [block])
        if self.geometry.block_rank == 1:
            return reduce.nearest_to_one(self.direction, level, self.geometry)
        tolerance = _TOLERANCE * self.size / np.sqrt(rank / self.geometry.n_points)
        return Search(self.direction, self.symbols, level, self.geometry, tolerance).run(self.squares)

    def scores(self, y: Array, rank: float, block: int) -> tuple[float, float]:
        """Objective and violation of a kernel in units of the spectral norm, that attains its norm in a block."""
        length = float(np.linalg.norm(y))
        gain = self.gain(y / length, block)
        errors = self.geometry.n_points / gain / rank - 1, np.sqrt(gain) * length - 1
        distance = float(np.linalg.norm(y - self.problem.unit_kernel)) * self.problem.spectral_norm
        return self.geometry.n_points * distance * distance, max(abs(error) for error in errors)

    def gain(self, z: Array, block: int) -> float:
        """Largest squared singular value of a unit kernel, probably that of a block.

        With the part along ``a``, whose norms are known, no block has a larger one than both parts together. So only
        those are decomposed for which this is not less.
        """
        along = float(np.sum(z * self.direction))
        rest = symbol.energies(symbol.of(z - along * self.direction, self.geometry))
        ceilings = (abs(along) * np.sqrt(self.squares) + np.sqrt(rest)) ** 2 * (1 + _ROUNDING)
        probably = self._squares_at(z, np.array([block]))[0]
        return float(np.max(self._squares_at(z, np.flatnonzero(ceilings >= probably)), initial=probably))

    def _squares_at(self, z: Array, blocks: NDArray[Any]) -> Array:
        """Squared norms of some blocks of the symbol of a kernel."""
        return norms.squared_norms(symbol.at(z[None], np.zeros(len(blocks), np.int64), blocks, self.geometry))
