"""How the solution moves with the target and the kernel (docs/theory.md, proposition 12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srnc_manifold.arrays import real
from srnc_manifold.display import Shown
from srnc_manifold.exact.differentiation import Derivative, NoDerivativeError
from srnc_manifold.numerics import Array
from srnc_manifold.operators import norms, symbol
from srnc_manifold.problem import SRNProblem
from srnc_manifold.process import exclusive
from srnc_manifold.result import Result, Status


@dataclass(frozen=True, repr=False, eq=False)
class Sensitivity(Shown):
    """Derivatives of a solution.

    Attributes
    ----------
    by_stable_rank : array, shape of the kernel
        Derivative of the minimizer with respect to the target ``r``.
    objective_by_stable_rank : float
        Derivative of ``‖C(x) − C(a)‖_F²`` with respect to ``r``.
    distance_to_tie : float
        By how much the next best frequency is farther from ``a / ‖a‖`` on the unit sphere, or a lower bound on it. The
        solution jumps where it is zero.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.partway([1, 2, 0.5], 16, 0.5)
    >>> found = srnc.sensitivity(problem, srnc.solve(problem))
    >>> found.by_stable_rank.shape, found.along([0, 1, 0]).shape
    ((3,), (3,))
    """

    by_stable_rank: Array
    objective_by_stable_rank: float
    distance_to_tie: float
    _problem: SRNProblem
    _derivative: Derivative

    def summary(self) -> dict[str, str]:
        return {
            "by stable rank": f"norm {np.linalg.norm(self.by_stable_rank):.6g}, shape {self.by_stable_rank.shape}",
            "objective by stable rank": f"{self.objective_by_stable_rank:.6g}",
            "distance to a tie": f"{self.distance_to_tie:.3g}",
        }

    def along(self, change: Array) -> Array:
        """Directional derivative of the minimizer with respect to the kernel ``a``.

        The target is held as the problem was given it: if it is a fraction of the kernel's stable rank, the stable rank
        ``r`` changes with the kernel. (A target that was clipped, or read from a file, is a stable rank.)

        Raises
        ------
        TypeError, ValueError
            If ``change`` is not an array of finite numbers of the kernel's shape, or the spectral norm of ``a`` is not
            differentiable.
        """
        problem = self._problem
        given = real(change, "change")
        change = given.xp.to_numpy(given.values)
        if not np.all(np.isfinite(change)):
            raise ValueError("change: some entries are NaN or infinite, expected finite numbers")
        if change.shape != problem.kernel.shape:
            raise ValueError(f"change: shape {change.shape} given, expected the kernel's shape {problem.kernel.shape}")
        unit = change / problem.spectral_norm
        try:
            rise = 0.0
            if problem.follows_kernel:
                rise = problem.stable_rank * float(np.sum(self._derivative.own_gradient * unit))
            return problem.spectral_norm * self._derivative.pushed(unit, rise)
        except NoDerivativeError as error:
            raise ValueError(f"kernel: {error}") from None


@exclusive
def sensitivity(problem: SRNProblem, result: Result) -> Sensitivity:
    """Derivatives of the global minimizer of a problem that reduces the stable rank.

    Parameters
    ----------
    problem : SRNProblem
    result : Result
        Of :class:`srnc_manifold.solvers.Exact` on that problem.

    Returns
    -------
    Sensitivity

    Raises
    ------
    ValueError
        Where the solution is not differentiable, with the reason: another minimizer is tied with it, several singular
        values are largest, the target is the least feasible, or the problem does not reduce the stable rank.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.partway([1, 2, 0.5], 16, 0.5)
    >>> found = srnc.sensitivity(problem, srnc.solve(problem))
    >>> bool(found.objective_by_stable_rank < 0)
    True
    """
    if not isinstance(problem, SRNProblem) or not isinstance(result, Result):
        raise TypeError(f"problem, result: {type(problem).__name__} and {type(result).__name__} given, expected both")
    if problem.regime != "reduce":
        raise ValueError(f"problem: its regime is {problem.regime!r}, expected one that reduces the stable rank")
    _ = problem.geometry  # which says what is expected of the operator
    if result.kernel.shape != problem.kernel.shape or "distance_to_tie" not in result.details:
        raise ValueError("result: expected what Exact() returned for this problem")
    if result.alternatives:
        raise ValueError(
            f"result: {len(result.alternatives)} other minimizers are tied with it; the solution jumps there"
        )
    if result.status is not Status.CONVERGED:
        raise ValueError(f"result: {result.status.value}, expected a proved global minimizer")
    z = problem.to_sphere(result.kernel)
    block, _ = norms.dominant_block(symbol.of(z, problem.geometry))
    gain = problem.geometry.n_points / problem.kernel_stable_rank
    try:
        found = Derivative(problem.direction, z, block, gain, problem.stable_rank, problem.geometry)
    except NoDerivativeError as error:
        raise ValueError(f"result: {error}; not differentiable") from None
    by_rank = problem.spectral_norm * found.pushed(None, 1.0)
    slope = (
        problem.operator.gram_weight * found.radius * (found.radius - found.size * found.system.eta) / found.stable_rank
    )
    apart = result.details["distance_to_tie"]
    tie = np.inf if apart is None else float(apart)
    return Sensitivity(by_rank, slope * problem.spectral_norm * problem.spectral_norm, tie, problem, found)
