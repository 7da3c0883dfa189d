"""The interface to pymanopt. Only this module uses pymanopt.

It works around the following problems of pymanopt 2.2.1:

- Points of its product manifolds are lists. Its Nelder-Mead fails with lists, and lists are slow. We use a product
  manifold of our own with flat arrays.
- It draws random numbers from NumPy's global state. Our manifold has its own generator, and the global state is saved
  before a run and restored afterwards.
- Steepest descent divides by zero if the starting point is critical. This is checked before the start.
- Trust regions take at least two inner steps, and divide by zero if the first one is exact. We allow them to stop
  after one.
- With a NaN cost the run continues to a NaN point. Here it ends the run.
- Stopping reasons are only given as text, and the values of ``cost_evaluations`` and ``gradient_norm`` are not what
  the names say. We compute statuses, counts and norms ourselves.
- Nelder-Mead refuses a given simplex of the right size. It draws its simplex from our manifold instead.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.spheres import Spheres

# Name in this package -> (class in pymanopt, whether it uses gradients).
OPTIMIZERS = {
    "steepest-descent": ("SteepestDescent", True),
    "conjugate-gradient": ("ConjugateGradient", True),
    "trust-regions": ("TrustRegions", True),
    "nelder-mead": ("NelderMead", False),
    "particle-swarm": ("ParticleSwarm", False),
}

# All threads share NumPy's global random state, so only one run is allowed at a time.
_RANDOM_STATE = threading.RLock()


@dataclass(frozen=True)
class Outcome:
    """Outcome of an optimizer.

    Attributes
    ----------
    point : array
        The last point, as a flat array.
    gradient_norm : float
        Norm of the last Riemannian gradient. NaN for optimizers that use no gradients.
    iterations : int
    """

    point: Array
    gradient_norm: float
    iterations: int


@dataclass(frozen=True)
class Objective:
    """The function to minimize: its value, Riemannian gradient and (if available) Riemannian Hessian times a vector.

    Points and tangent vectors are flat arrays.
    """

    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]
    hessian: Callable[[Array, Array], Array] | None = None


def uses_gradients(optimizer: str) -> bool:
    """Whether an optimizer uses gradients. The others draw their first points; the first of these is the start."""
    return OPTIMIZERS[optimizer][1]


def load() -> None:
    """Import pymanopt before the time of a run is measured, because it imports several large packages."""
    import pymanopt  # noqa: F401


def minimize(
    objective: Objective,
    spheres: Spheres,
    start: Array,
    optimizer: str,
    *,
    tolerance: float,
    max_iterations: int,
    rng: np.random.Generator,
) -> Outcome:
    """Minimize a function on a product of spheres, from a start, until the gradient norm is within the tolerance."""
    import pymanopt

    norms = [np.nan]

    def gradient(z: Array) -> Array:
        tangent = objective.gradient(z)
        norms[0] = float(np.linalg.norm(tangent))
        return tangent

    kind, with_gradients = OPTIMIZERS[optimizer]
    if with_gradients:
        gradient(start)
        if norms[0] <= tolerance:
            return Outcome(start, norms[0], 0)
    manifold = _flat_product(spheres, start, rng)
    derivatives: dict[str, Any] = {"riemannian_gradient": pymanopt.function.numpy(manifold)(gradient)}
    if objective.hessian is not None:
        derivatives["riemannian_hessian"] = pymanopt.function.numpy(manifold)(objective.hessian)
    problem = pymanopt.Problem(manifold, pymanopt.function.numpy(manifold)(objective.value), **derivatives)
    limits: dict[str, Any] = {"max_iterations": max_iterations, "max_time": np.inf, "verbosity": 0}
    if not with_gradients:
        limits["max_cost_evaluations"] = np.inf
    with _own_random_state(rng), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        method = getattr(pymanopt.optimizers, kind)(min_gradient_norm=tolerance, **limits)
        inner = {"mininner": 0} if optimizer == "trust-regions" else {}
        result = method.run(problem, initial_point=start if with_gradients else None, **inner)
    return Outcome(np.asarray(result.point), norms[0], result.iterations)


def _flat_product(spheres: Spheres, start: Array, rng: np.random.Generator) -> Any:
    """The product of spheres as a pymanopt manifold.

    Its points are flat arrays. It draws random points from our generator, but the first one is the start.
    """
    from pymanopt.manifolds.manifold import Manifold

    tiny = np.finfo(float).eps

    def angles(a: Array, b: Array) -> Array:
        return np.arccos(np.clip(spheres.inner(a, b), -1.0, 1.0))

    def norms(vector: Array) -> Array:
        return np.sqrt(spheres.inner(vector, vector))

    class FlatProduct(Manifold):
        typical_dist = np.pi * len(spheres.sizes) ** 0.5

        def __init__(self) -> None:
            super().__init__(f"Product of spheres of {spheres.sizes} entries", spheres.dimension, point_layout=1)
            self._first: Array | None = start

        def inner_product(self, point: Array, a: Array, b: Array) -> float:
            return float(a @ b)

        def norm(self, point: Array, vector: Array) -> float:
            return float(np.linalg.norm(vector))

        def dist(self, a: Array, b: Array) -> float:
            pairs = zip(spheres.split(a), spheres.split(b), strict=True)
            return float(np.linalg.norm([np.arccos(np.clip(x @ y, -1.0, 1.0)) for x, y in pairs]))

        def projection(self, point: Array, vector: Array) -> Array:
            return spheres.projected(vector, point)

        to_tangent_space = euclidean_to_riemannian_gradient = projection

        def transport(self, a: Array, b: Array, vector: Array) -> Array:
            return spheres.projected(vector, b)

        def retraction(self, point: Array, vector: Array) -> Array:
            return spheres.retracted(point, vector)

        def exp(self, point: Array, vector: Array) -> Array:
            length = norms(vector)
            return point * np.cos(length) + vector * np.sinc(length / np.pi)

        def log(self, a: Array, b: Array) -> Array:
            vector = spheres.projected(b - a, a)
            return (angles(a, b) + tiny) / (norms(vector) + tiny) * vector

        def pair_mean(self, a: Array, b: Array) -> Array:
            middle = a + b
            # For opposite points no midpoint is preferred, so ``a`` is returned. On a sphere with one entry, two
            # different points are always opposite.
            return spheres.normalized(np.where(spheres.inner(middle, middle) > 0, middle, a))

        def zero_vector(self, point: Array) -> Array:
            return np.zeros_like(point)

        def random_point(self) -> Array:
            if self._first is not None:
                point, self._first = self._first, None
                return point
            return spheres.random_point(rng)

        def random_tangent_vector(self, point: Array) -> Array:
            vector = self.projection(point, rng.standard_normal(point.size))
            return vector / np.linalg.norm(vector)

    return FlatProduct()


@contextmanager
def _own_random_state(generator: np.random.Generator) -> Iterator[None]:
    """Seed NumPy's global random state, from which pymanopt's particle swarm draws, and restore it afterwards."""
    with _RANDOM_STATE:
        saved = np.random.get_state()  # noqa: NPY002 - the global state is what this is about
        np.random.seed(generator.integers(2**32))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(saved)  # noqa: NPY002
