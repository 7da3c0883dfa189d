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

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.interop.objective import Objective, Watched
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
    reason : str
        Why it ended, in the optimizer's own words.
    """

    point: Array
    gradient_norm: float
    iterations: int
    reason: str

    @property
    def own_limit(self) -> bool:
        """Whether a limit of the optimizer ended it; there is nothing but the words to tell it by."""
        return any(f"max {limit} reached" in self.reason for limit in ("time", "iterations", "cost evals"))


def uses_gradients(optimizer: str) -> bool:
    """Whether an optimizer uses gradients. The others draw their first points; the first of these is the start."""
    return OPTIMIZERS[optimizer][1]


def load() -> None:
    """Import pymanopt before the time of a run is measured, because it imports several large packages."""
    import pymanopt  # noqa: F401


# -- optimizers that the user made ----------------------------------------------------------------------------------


def require_instance(optimizer: Any) -> None:
    """Raise an error if an optimizer, which is not a name, is not an instance of a pymanopt optimizer."""
    from pymanopt.optimizers.optimizer import Optimizer

    expected = f"expected an instance of a pymanopt optimizer, or one of {', '.join(OPTIMIZERS)}"
    if isinstance(optimizer, type):
        raise TypeError(f"optimizer: the class {optimizer.__qualname__} given, {expected}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: {optimizer!r} given, {expected}")


def method_of(optimizer: Any) -> str | None:
    """The name of the method that an optimizer runs; None if its class has a ``run`` of its own."""
    if isinstance(optimizer, str):
        return optimizer
    import pymanopt

    for name, (kind, _) in OPTIMIZERS.items():
        if type(optimizer).run is getattr(pymanopt.optimizers, kind).run:
            return name
    return None


def limits_of(optimizer: Any) -> tuple[float | None, float | None]:
    """The tolerance on the gradient norm and the number of iterations of an instance; None where it has none."""
    return getattr(optimizer, "_min_gradient_norm", None), getattr(optimizer, "_max_iterations", None)


# -- runs -----------------------------------------------------------------------------------------------------------


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

    kind, with_gradients = OPTIMIZERS[optimizer]
    limits: dict[str, Any] = {"max_iterations": max_iterations, "max_time": np.inf, "verbosity": 0}
    if not with_gradients:
        limits["max_cost_evaluations"] = np.inf
    method = getattr(pymanopt.optimizers, kind)(min_gradient_norm=tolerance, **limits)
    return _run(objective, spheres, start, method, rng)


def minimize_with(
    objective: Objective, spheres: Spheres, start: Array, optimizer: Any, *, rng: np.random.Generator
) -> Outcome:
    """Minimize by an instance of a pymanopt optimizer, with its own settings, but silently.

    A copy of the instance is run, because runs change it. It may be of a class that pymanopt does not have, so its
    points and its result are checked, and an exception that ended the run cannot be lost in it.

    Raises
    ------
    TypeError, ValueError
        If the instance cannot be copied, leaves the spheres, or returns something else than a result.
    """
    who = f"optimizer: {type(optimizer).__qualname__}"
    try:
        method = copy.deepcopy(optimizer)
    except Exception as error:
        raise TypeError(f"{who} given, which cannot be copied ({error}), expected one that can") from error
    method._verbosity = 0
    watched = Watched(objective, spheres, who)
    outcome = _run(watched.objective, spheres, start, method, rng)
    watched.finish(outcome.point)
    return outcome


def _run(
    objective: Objective,
    spheres: Spheres,
    start: Array,
    method: Any,
    rng: np.random.Generator,
) -> Outcome:
    """Run an optimizer from a start, which pymanopt's population methods are told as the first random point."""
    import pymanopt
    from pymanopt.optimizers.optimizer import OptimizerResult

    norms = [np.nan]

    def gradient(z: Array) -> Array:
        tangent = objective.gradient(z)
        norms[0] = float(np.linalg.norm(tangent))
        return tangent

    name = method_of(method)
    draws = name is not None and not uses_gradients(name)
    if name is not None and not draws:
        gradient(start)
        if norms[0] <= method._min_gradient_norm:
            return Outcome(start, norms[0], 0, "")
    manifold = _flat_product(spheres, start if draws else None, rng)
    derivatives: dict[str, Any] = {"riemannian_gradient": pymanopt.function.numpy(manifold)(gradient)}
    if objective.hessian is not None:
        derivatives["riemannian_hessian"] = pymanopt.function.numpy(manifold)(objective.hessian)
    problem = pymanopt.Problem(manifold, pymanopt.function.numpy(manifold)(objective.value), **derivatives)
    inner = {"mininner": 0} if name == "trust-regions" else {}
    # A copy, as the user's optimizer may write into it.
    first = None if draws else start.copy()
    with _own_random_state(rng), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        result = method.run(problem, initial_point=first, **inner)
    if not isinstance(result, OptimizerResult):
        given = type(result).__name__
        raise TypeError(f"optimizer: {type(method).__qualname__}.run returned {given}, expected an OptimizerResult")
    return Outcome(np.asarray(result.point), norms[0], result.iterations, str(result.stopping_criterion))


# -- problems on pymanopt's own manifolds ---------------------------------------------------------------------------


def own_problem(objective: Objective, shapes: Sequence[tuple[int, ...]], manifold: str) -> Any:
    """A ``pymanopt.Problem`` on pymanopt's own manifolds, with Euclidean derivatives.

    Parameters
    ----------
    objective : Objective
        With Euclidean derivatives.
    shapes : sequence of tuple of int
        Of the spheres.
    manifold : str
        ``"sphere"`` (a single one), ``"product"`` or ``"oblique"`` (spheres of one size).
    """
    import pymanopt
    from pymanopt.manifolds import Oblique, Product, Sphere

    sizes = [int(np.prod(shape)) for shape in shapes]
    if manifold == "sphere":
        space = Sphere(*shapes[0])
    elif manifold == "product":
        space = Product([Sphere(*shape) for shape in shapes])
    else:
        space = Oblique(sizes[0], len(sizes))

    def flat(factors: tuple[Array, ...]) -> Array:
        # The columns of a matrix are the points.
        return np.concatenate([np.ravel(factor.T if manifold == "oblique" else factor) for factor in factors])

    def own(vector: Array) -> Any:
        if manifold == "sphere":
            return vector.reshape(shapes[0])
        if manifold == "oblique":
            return vector.reshape(len(sizes), sizes[0]).T
        return [part.reshape(shape) for part, shape in zip(Spheres(tuple(sizes)).split(vector), shapes, strict=True)]

    @pymanopt.function.numpy(space)
    def value(*factors: Array) -> float:
        return objective.value(flat(factors))

    @pymanopt.function.numpy(space)
    def gradient(*factors: Array) -> Any:
        return own(objective.gradient(flat(factors)))

    derivatives = {"euclidean_gradient": gradient}
    if objective.hessian is not None:
        product = objective.hessian

        @pymanopt.function.numpy(space)
        def hessian(*factors_and_vectors: Array) -> Any:
            half = len(factors_and_vectors) // 2
            return own(product(flat(factors_and_vectors[:half]), flat(factors_and_vectors[half:])))

        derivatives["euclidean_hessian"] = hessian
    return pymanopt.Problem(space, value, **derivatives)


# -- our manifold ---------------------------------------------------------------------------------------------------


def _flat_product(spheres: Spheres, start: Array | None, rng: np.random.Generator) -> Any:
    """The product of spheres as a pymanopt manifold.

    Its points are flat arrays. It draws random points from our generator. The first one is the start, if there is one.
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
    """Seed NumPy's global random state, from which pymanopt's particle swarm draws, and restore it afterwards.

    All threads share this state; only one of them computes at a time (:mod:`srnc_manifold.process`).
    """
    saved = np.random.get_state()  # noqa: NPY002 - the global state is what this is about
    np.random.seed(generator.integers(2**32))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(saved)  # noqa: NPY002
