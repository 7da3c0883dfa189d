"""Functions on products of spheres, as they are given to optimizers of other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.spheres import Spheres

# Squared norms of the factors of a point may differ from one by this much. It is larger than the rounding errors of
# thousands of steps.
_OFF_THE_SPHERES = 1e-6


@dataclass(frozen=True)
class Objective:
    """The function to minimize: its value, gradient and (if available) Hessian times a vector.

    Points and vectors are flat arrays. The derivatives are Riemannian for :func:`minimize` and :func:`minimize_with`,
    and Euclidean for :func:`own_problem`.
    """

    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]
    hessian: Callable[[Array, Array], Array] | None = None


class Watched:
    """An objective for an optimizer that may be wrong: its points are checked, and what ended it is not lost.

    Parameters
    ----------
    objective : Objective
    spheres : Spheres
    who : str
        The optimizer, in messages.

    Attributes
    ----------
    objective : Objective
        To be given to the optimizer.
    """

    def __init__(self, objective: Objective, spheres: Spheres, who: str) -> None:
        self._spheres, self._who = spheres, who
        self._raised: BaseException | None = None
        hessian = None if objective.hessian is None else self._watched(objective.hessian)
        self.objective = Objective(self._watched(objective.value), self._watched(objective.gradient), hessian)

    def finish(self, point: Any) -> None:
        """Raise what ended the optimizer, if anything did, or an error if the point that it returned is not one."""
        if self._raised is not None:
            raise self._raised
        self._check(point)

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            # An optimizer that catches all exceptions shall not go on after the end.
            if self._raised is not None:
                raise self._raised
            try:
                self._check(arguments[0])
                return function(*arguments)
            except BaseException as error:
                self._raised = error
                raise

        return call

    def _check(self, point: Any) -> None:
        shape = (self._spheres.size,)
        if not isinstance(point, np.ndarray) or point.shape != shape:
            given = f"an array of shape {point.shape}" if isinstance(point, np.ndarray) else type(point).__name__
            raise ValueError(f"{self._who} proposed {given}, expected an array of shape {shape}")
        # Points that are not finite have a status of their own.
        if np.max(np.abs(self._spheres.inner(point, point) - 1)) > _OFF_THE_SPHERES:
            raise ValueError(f"{self._who} proposed a point off the spheres, expected retractions of the manifold")
