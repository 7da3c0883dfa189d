from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from srnc_manifold.geometry import Geometry
from srnc_manifold.numerics import Array, bisect
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result, Status
from srnc_manifold.solvers.base import Budget, Callback, Rng, Run, Solver, stationarity

# Minimizers whose objectives differ by less than this part of ‖C(a)‖² are tied.
_TIE = 1e-12


@dataclass(frozen=True)
class Exact(Solver):
    """The explicit global solution for single-channel kernels whose stable rank is reduced (theory, section 3).

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
        if problem.geometry.channels != (1, 1):
            c_out, c_in = problem.geometry.channels
            return False, f"the explicit solution is for single-channel kernels, not for {c_out}×{c_in} channels"
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
    """Points of the unit sphere with ``max_l zᵀ B_l z >= level`` nearest to a direction outside that set.

    Parameters
    ----------
    direction : array, shape ``geometry.kernel_shape``
        Unit vector with ``max_l aᵀ B_l a < level``.
    level : float
        ``c``, between that and ``q``.

    Returns
    -------
    list of arrays
        The nearest point first, then all tied with it.
    """
    a = direction.ravel()
    # Rotated so that the real and the imaginary part of each row of phases are orthogonal: the eigenvectors of B_l.
    turn = np.exp(-0.5j * np.angle(np.sum(geometry.phases**2, axis=1)))
    rows = turn[:, None] * geometry.phases
    eigenvalues = np.stack([np.sum(rows.real**2, axis=1), np.sum(rows.imag**2, axis=1)], axis=1)
    usable = eigenvalues[:, 0] >= level * (1 - 1e-12)
    rows, eigenvalues = rows[usable], eigenvalues[usable]
    lengths = np.sqrt(eigenvalues)
    planar = lengths[:, 1] > 1e-10 * lengths[:, 0]  # otherwise B_l has rank one, as at DC and Nyquist
    first = rows.real / lengths[:, :1]
    second = np.where(planar[:, None], rows.imag, 0.0) / np.where(planar, lengths[:, 1], 1.0)[:, None]
    eigenvalues[~planar, 1] = 0.0

    alpha = np.stack([first @ a, second @ a], axis=1)
    remainder = a - alpha[:, :1] * first - alpha[:, 1:] * second
    rest = np.linalg.norm(remainder, axis=1)
    planes = _plane_coordinates(alpha, rest, eigenvalues, np.minimum(level, eigenvalues[:, 0]))
    closeness = np.sum(alpha * planes[..., :2], axis=1) + rest * planes[..., 2]

    # A mirror image across the second axis is as near where ``a`` has no part along the first.
    best = np.max(closeness)
    points = []
    for k in np.flatnonzero(closeness >= best - _TIE):
        signs = (1.0, -1.0) if closeness[k] - 2 * abs(alpha[k, 0] * planes[k, 0]) >= best - _TIE else (1.0,)
        across = remainder[k] * (planes[k, 2] / rest[k] if rest[k] > 0 else 0.0)
        for sign in signs:
            z = sign * planes[k, 0] * first[k] + planes[k, 1] * second[k] + across
            points.append((closeness[k], z / np.linalg.norm(z)))
    points.sort(key=lambda pair: -pair[0])
    distinct: list[Array] = []
    for _, z in points:
        if all(np.linalg.norm(z - other) > math.sqrt(_TIE) for other in distinct):
            distinct.append(z)
    return [z.reshape(direction.shape) for z in distinct]


def _plane_coordinates(alpha: Array, rest: Array, eigenvalues: Array, level: Array) -> Array:
    """Per frequency, the nearest point in the frame of the two eigenvectors and the rest of ``a``.

    With ``τ = 1 − t λ₁`` the point is ``(α₁/τ, α₂ λ₁/(λ₁ − λ₂ + τ λ₂), β)`` up to its length, for the ``τ`` in
    ``(0, 1]`` that puts it on the rim of the cap. ``τ`` may be tiny (``a`` nearly orthogonal to the first
    eigenvector), so it is sought on a logarithmic scale; if ``α₁ = 0`` it may be 0, the hard case.
    """
    a1, a2 = np.abs(alpha[:, 0]), alpha[:, 1]
    l1, l2 = eigenvalues[:, 0], eigenvalues[:, 1]
    above, below = l1 - level, l2 - level

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):

        def coordinates(tau: Array) -> tuple[Array, Array]:
            y1 = np.where(a1 > 0, a1 / tau, 0.0)
            y2 = np.where(a2 != 0, a2 * l1 / (l1 - l2 + tau * l2), 0.0)
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

    sign = np.where(alpha[:, 0] < 0, -1.0, 1.0)
    points = np.stack([sign * y1, y2, y3], axis=1)
    return points / np.linalg.norm(points, axis=1, keepdims=True)
