"""How far from optimal a point is to first order, and what binds there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.costs import Cost, ExactPenaltyCost
from srnc_manifold.costs.rows import objective_weight
from srnc_manifold.numerics import Array
from srnc_manifold.problem import Problem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE


def binding_side(regime: str) -> str:
    """The half of (15) that binds; see :class:`srnc_manifold.costs.constraints.ConstrainedCost`."""
    return "stay-below" if regime == "raise" else "reach"


def nonsmooth_costs(problem: Problem, penalty: float) -> list[Cost]:
    """The exact penalty with the maximum itself, of every part, for solvers that need no smoothness."""
    return [ExactPenaltyCost("equal", objective_weight(problem, part), penalty) for part in problem.parts]


def stationarity(problem: Problem, z: Array, blocks: Sequence[int] | None = None) -> float:
    """Norm of the objective's gradient after projection onto the tangent space of the active constraints, relative.

    At the kernel that a point of the spheres describes. Active are the norms and, in each part, the singular values
    within 1e-6 of the largest, in the given blocks if some are given. Zero at a Karush-Kuhn-Tucker point; NaN where a
    part's active constraints have parallel gradients, as at the least feasible stable rank, and tell nothing.
    """
    z = np.ravel(z)
    w = problem.embed(z)
    gradient, normals, silent = np.zeros_like(w), [], False
    for part, place in zip(problem.parts, problem.kernel_slices, strict=True):
        share = objective_weight(problem, part) * part.operator.gram_weight
        gradient[place] = share * part.unit_radius * (part.unit_radius * w[place] - part.unit_kernel.ravel())
        own = []
        for atom in part.singular_values_at(w[place], _largest, blocks)[1]:
            covector = np.zeros_like(w)
            covector[place] = atom
            own.append(problem.embed_adjoint(z, covector))
        tangents = [np.linalg.norm(problem.spheres.projected(normal, z)) for normal in own]
        steep = (t > FEASIBILITY_TOLERANCE * np.linalg.norm(n) for t, n in zip(tangents, own, strict=True))
        silent |= part.kernel.size > 1 and not any(steep)
        normals += own
    gradient = problem.embed_adjoint(z, gradient)
    size = np.linalg.norm(gradient)
    if size <= 1e-12:
        return 0.0
    if silent:
        return np.nan
    radii = np.zeros((z.size, len(problem.spheres.sizes)))
    for k, place in enumerate(problem.spheres.slices):
        radii[place, k] = z[place]
    basis = np.column_stack([radii, *normals])
    basis /= np.linalg.norm(basis, axis=0)
    directions, sizes, _ = np.linalg.svd(basis, full_matrices=False)
    spanned = directions[:, sizes > 1e-14]
    return float(np.linalg.norm(gradient - spanned @ (spanned.T @ gradient)) / size)


def _largest(singular_values: Array) -> NDArray[np.bool_]:
    """Those that attain the spectral norm."""
    return singular_values >= (1 - FEASIBILITY_TOLERANCE) * np.max(singular_values)
