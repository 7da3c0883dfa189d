"""What there is to see on the sphere of kernels with three entries: stable ranks, the feasible set, the optima."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.operators import symbol
from srnc_manifold.operators.circular import Circular
from srnc_manifold.plots.records import require_own, results_by_label
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Result
from srnc_manifold.solvers import Exact
from srnc_manifold.solvers.solve import solve, supported

# A gap of the explicit solution up to which it is called the optimum.
_PROVED = 1e-6


@dataclass(frozen=True)
class Landscape:
    """The sphere of the unit kernels of a problem, ``z = x / ‖x‖``.

    Attributes
    ----------
    longitude, latitude : array
        Of a grid, in radians.
    ranks : array, shape (latitudes, longitudes)
        Stable ranks.
    feasible : list of arrays, each of shape (m, 3)
        Lines on which the stable rank is the target.
    given : array, shape (3,)
        ``a / ‖a‖``.
    optima : list of arrays, each of shape (3,)
        The proved optima; none if there is no proof.
    """

    longitude: Array
    latitude: Array
    ranks: Array
    feasible: list[Array]
    given: Array
    optima: list[Array]

    @property
    def points(self) -> Array:
        """The unit kernels of the grid."""
        return units(*np.meshgrid(self.longitude, self.latitude))


def landscape(problem: Any, n: int = 181) -> Landscape:
    """The landscape of a problem, on a grid of ``n`` longitudes and half as many latitudes.

    Raises
    ------
    ValueError
        If its kernel does not have three entries.
    """
    if not isinstance(problem, SRNProblem) or problem.kernel.size != 3:
        size = getattr(getattr(problem, "kernel", None), "size", None)
        told = type(problem).__name__ if size is None else f"a kernel of {size} entries"
        raise ValueError(f"problem: {told} given, a trajectory is drawn for 3 entries of an SRNProblem")
    longitude, latitude = np.linspace(-np.pi, np.pi, n), np.linspace(-np.pi / 2, np.pi / 2, n // 2 + 1)
    ranks = problem.operator.gram_weight / _gains(problem, units(*np.meshgrid(longitude, latitude)))
    given = np.asarray(problem.direction, float).ravel()
    return Landscape(
        longitude, latitude, ranks, _level_lines(longitude, latitude, ranks, problem), given, _optima(problem)
    )


def runs_of(results: Any, problem: SRNProblem) -> dict[str, Result]:
    """Results by label, all of them of the problem; none of an empty mapping.

    Raises
    ------
    TypeError, ValueError
        If one is of another problem, or something else.
    """
    runs = {} if isinstance(results, Mapping) and not results else results_by_label(results)
    for label, result in runs.items():
        require_own(label, result, problem)
    return runs


def units(longitude: Any, latitude: Any) -> Array:
    """Points of the sphere, by angles in radians."""
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=-1
    )


def angles(points: Array) -> Array:
    """Longitude and latitude of points of the sphere, in degrees."""
    points = np.asarray(points, float)
    across = np.arctan2(points[..., 1], points[..., 0])
    return np.degrees(np.stack([across, np.arcsin(np.clip(points[..., 2], -1, 1))], axis=-1))


def _gains(problem: SRNProblem, points: Array) -> Array:
    """The largest squared singular values of many unit kernels, at once if the operator is a convolution."""
    if isinstance(problem.operator, Circular):
        kernels = points.reshape(*points.shape[:-1], *problem.kernel.shape)
        return np.max(symbol.squared_singular_values(kernels, problem.geometry), axis=(-2, -1))
    return np.apply_along_axis(problem.gain, -1, points)


def _level_lines(longitude: Array, latitude: Array, ranks: Array, problem: SRNProblem) -> list[Array]:
    from contourpy import contour_generator

    lines: Any = contour_generator(longitude, latitude, ranks).lines(problem.stable_rank)
    return [units(line[:, 0], line[:, 1]) for line in lines]


def _optima(problem: SRNProblem) -> list[Array]:
    """The explicit solution and those that are tied with it, if they are proved to be optimal."""
    if not supported(Exact(), problem)[0]:
        return []
    found = solve(problem)
    if found.gap is None or found.gap > _PROVED or found.evaluation is None or not found.evaluation.feasible:
        return []
    return [problem.to_sphere(kernel).ravel() for kernel in (found.kernel, *found.alternatives)]
