from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array, bisect
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.base import Budget, Callback, Rng, Run, Solver, stationarity

# Minimizers are tied if their distances differ by less than this part of the least one.
_TIE = 1e-9


@dataclass(frozen=True)
class Exact(Solver):
    """The explicit global solution for reducing the stable rank of a kernel with one input or one output channel.

    Theory, section 3. Single-channel kernels are the case of both.

    At each frequency ``l`` the nearest point of ``{‖z‖ = 1, zᵀ B_l z >= c}`` to ``a / ‖a‖`` is found from a scalar
    equation with a monotone left side, hard cases included; the best of the frequencies is the global minimizer. All
    minimizers tied with it are in ``result.alternatives``.
    """

    stochastic = False

    @property
    def name(self) -> str:
        return "exact"

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        if problem.regime == "none":
            return True, ""
        if problem.geometry.block_rank > 1:
            c_out, c_in = problem.geometry.channels
            return False, f"the explicit solution is for one input or output channel, not for {c_out}×{c_in} channels"
        if problem.regime == "raise":
            return False, (
                "the explicit solution is for reducing the stable rank, and this target "
                f"({problem.stable_rank:.6g}) is above the kernel's own ({problem.kernel_stable_rank:.6g})"
            )
        return True, ""

    def run(
        self,
        problem: SRNProblem,
        start: Array | None = None,
        *,
        budget: Budget | None = None,
        rng: Rng = None,
        callback: Callback | None = None,
    ) -> Result:
        """Solve; ``start`` and ``rng`` are not needed and not used."""
        run = Run(problem, self.name, budget, callback)
        tied: list[Array] = []

        def compute() -> tuple[Status, str]:
            run.count_evaluation()
            if problem.regime == "none":
                minimizers = [problem.direction]
            else:
                minimizers = nearest_on_caps(problem.direction, problem.geometry, problem.target_gain)
            tied.extend(problem.to_kernel(z) for z in minimizers)
            x = problem.unit_radius * minimizers[0]
            run.offer(x, 0.0)
            run.record(x, problem.gain(x), cost=np.nan, gradient_norm=np.nan)
            others = f"; {len(tied) - 1} other minimizers are tied with it" if len(tied) > 1 else ""
            return Status.CONVERGED, f"explicit global minimizer{others}"

        result = run.finish(compute)
        if result.status is not Status.CONVERGED:
            return result
        return replace(
            result,
            alternatives=tuple(tied[1:]),
            gradient_norm=stationarity(problem, result.kernel),
            cost=float(result.history["objective"][0]),
        )


def nearest_on_caps(direction: Array, geometry: Geometry, level: float) -> list[Array]:
    """Points of the unit sphere with ``max_l ‖Z_l‖₂² >= level`` nearest to a direction outside that set.

    For kernels with one input or one output channel, where ``‖Z_l‖₂² = Σ_o z_oᵀ B_l z_o`` over the others.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
        Unit vector with a gain below the level.
    level : float
        ``c``, between that and ``q``.

    Returns
    -------
    list of arrays
        The nearest point first, then those tied with it; of a continuum of ties a pair.
    """
    a = direction.reshape(-1, geometry.n_taps)
    # Rotated so that the real and the imaginary part of each row of phases are orthogonal: the eigenvectors of B_l.
    turn = np.exp(-0.5j * np.angle(np.sum(geometry.phases**2, axis=1)))
    rows = turn[:, None] * geometry.phases
    eigenvalues = np.stack([np.sum(rows.real**2, axis=1), np.sum(rows.imag**2, axis=1)], axis=1)
    usable = eigenvalues[:, 0] >= level * (1 - 1e-12)
    rows, eigenvalues = rows[usable], eigenvalues[usable]
    lengths = np.sqrt(eigenvalues)
    planar = lengths[:, 1] > 1e-10 * lengths[:, 0]  # otherwise B_l has rank one, as at DC and Nyquist
    eigenvalues[~planar, 1] = 0.0
    first = rows.real / lengths[:, :1]
    second = np.where(planar[:, None], rows.imag, 0.0) / np.where(planar, lengths[:, 1], 1.0)[:, None]

    parts = np.stack([first @ a.T, second @ a.T], axis=1)  # of a along either eigenvector: frequency, which, channel
    sizes = np.linalg.norm(parts, axis=2)
    rest = _norms_of_rest(a, first, second, parts)
    points = _plane_coordinates(sizes[:, 0], sizes[:, 1], rest, eigenvalues, np.minimum(level, eigenvalues[:, 0]))
    # Not by inner products, which lose the digits of small distances.
    distances = np.linalg.norm(points - np.stack([sizes[:, 0], sizes[:, 1], rest], axis=1), axis=1)

    farthest = np.min(distances) * (1 + _TIE)
    minimizers: list[tuple[float, Array]] = []
    for k in np.flatnonzero(distances <= farthest):
        along, beside, across = points[k]
        # With the first coordinate turned round a point is as near where ``a`` has no part along that axis.
        signs = (1.0, -1.0) if np.sqrt(distances[k] ** 2 + 4 * sizes[k, 0] * along) <= farthest else (1.0,)
        remainder = a - np.outer(parts[k, 0], first[k]) - np.outer(parts[k, 1], second[k])
        fixed = beside * np.outer(_unit(parts[k, 1]), second[k]) + across * _unit(remainder)
        for sign in signs:
            z = fixed + sign * along * np.outer(_unit(parts[k, 0]), first[k])
            minimizers.append((float(distances[k]), z / np.linalg.norm(z)))
    minimizers.sort(key=lambda pair: pair[0])
    distinct: list[Array] = []
    for _, z in minimizers:
        if all(np.linalg.norm(z - other) > 1e-6 * farthest for other in distinct):
            distinct.append(z)
    return [z.reshape(direction.shape) for z in distinct]


def _norms_of_rest(a: Array, first: Array, second: Array, parts: Array) -> Array:
    """Norm of what is left of ``a`` beside its parts along the eigenvectors, for each frequency."""
    rest = np.sqrt(np.maximum(0.0, 1.0 - np.sum(parts**2, axis=(1, 2))))
    for k in np.flatnonzero(rest < 1e-4):  # the difference of squares has lost its digits
        rest[k] = np.linalg.norm(a - np.outer(parts[k, 0], first[k]) - np.outer(parts[k, 1], second[k]))
    return rest


def _unit(array: Array) -> Array:
    """The array scaled to norm one; for zero any such array."""
    norm = np.linalg.norm(array)
    if norm > 0:
        return array / norm
    unit = np.zeros_like(array)
    unit.flat[0] = 1.0
    return unit


def _plane_coordinates(a1: Array, a2: Array, rest: Array, eigenvalues: Array, level: Array) -> Array:
    """Per frequency, coordinates of the nearest point along the parts of ``a``: by either eigenvector, and the rest.

    ``a1``, ``a2`` and ``rest`` are the norms ``|α₁|``, ``|α₂|`` and ``β`` of those parts. With ``τ = 1 − t λ₁`` the
    point is ``(α₁/τ, α₂ λ₁/(λ₁ − λ₂ + τ λ₂), β)`` up to its length, for the ``τ`` in ``(0, 1]`` that puts it on the rim
    of the cap. ``τ`` may be tiny (``a`` nearly orthogonal to the first eigenvector), so it is sought on a logarithmic
    scale; if ``α₁ = 0`` it may be 0, the hard case.
    """
    l1, l2 = eigenvalues[:, 0], eigenvalues[:, 1]
    above, below = l1 - level, l2 - level

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):

        def coordinates(tau: Array) -> tuple[Array, Array]:
            y1 = np.where(a1 > 0, a1 / tau, 0.0)
            y2 = np.where(a2 > 0, a2 * l1 / (l1 - l2 + tau * l2), 0.0)
            return y1, y2

        def shortfall(log_tau: Array) -> Array:
            y1, y2 = coordinates(np.exp(log_tau))
            return level * rest**2 - above * y1**2 - below * y2**2

        _, y2_limit = coordinates(np.zeros_like(a1))
        needed = level * rest**2 + np.where(below < 0, -below * y2_limit**2, 0.0)
        # Below this τ the first coordinate alone lifts the point over the rim.
        lowest = np.where(a1 > 0, a1 * np.sqrt(above / needed), 0.0)
        lowest = np.clip(np.nan_to_num(lowest, nan=1e-300, posinf=1.0), 1e-300, 1.0)
        tau = np.exp(bisect(shortfall, np.log(lowest), np.zeros_like(lowest)))
        y1, y2 = coordinates(tau)

        limit = level * rest**2 - below * y2_limit**2  # what is missing as τ tends to 0 with α₁ = 0
        hard = (a1 == 0) & (limit > 0)
        y1 = np.where(hard, np.sqrt(limit / above), y1)
        y2 = np.where(hard, y2_limit, y2)

    # The level is the eigenvalue itself: the cap is the axis (or, with two equal eigenvalues, their plane).
    axis = above <= 1e-14 * l1
    plane = axis & (below > -1e-14 * l1) & (np.hypot(a1, a2) > 0)
    y1 = np.where(axis, np.where(plane, a1, 1.0), y1)
    y2 = np.where(axis, np.where(plane, a2, 0.0), y2)
    y3 = np.where(axis, 0.0, rest)

    points = np.stack([y1, y2, y3], axis=1)
    return points / np.linalg.norm(points, axis=1, keepdims=True)
