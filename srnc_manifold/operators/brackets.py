"""What is known of a spectral norm: a value from below, and bounds from above with what proves them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from srnc_manifold.numerics import Array

#: The probability that the likely bound of a bracket is not one.
FAILURE = 1e-6

#: Krylov vectors of a sweep, from a random start, whose first one gives the likely bound, and from a near start.
KRYLOV, NEARBY = 64, 24

# How many sweeps there are at most, and how much of a near start is random: all singular vectors must be in it.
_RESTARTS, _RANDOM = 2000, 1e-3

# Singular values that differ by less than this part are one.
_SAME = 1e-12

Map = Callable[[Array], Array]


@dataclass(frozen=True)
class NormBracket:
    """The spectral norm of an operator lies between ``lower`` and ``upper``.

    Attributes
    ----------
    lower : float
        ``uᵀ C(x) v`` for unit feature maps, so never above the norm but for rounding.
    residual : float
        ``‖C(x)ᵀu − lower v‖ / lower``: some singular value is that near, relatively. It need not be the largest.
    upper : float
        A proved bound.
    proof : str
        What proves it: ``"decomposition"``, or ``"symbol"`` (docs/theory.md, propositions 16 and 28).
    likely_upper : float
        A bound that fails for one in a million of the random starts of the Lanczos method; not a proof. It is
        ``upper`` where that is smaller.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> bracket = srnc.norm_bracket([1, 2], 8, padding=1, padding_mode="zeros")
    >>> bracket.lower <= bracket.upper, bracket.proof
    (True, 'decomposition')
    """

    lower: float
    residual: float
    upper: float
    proof: str
    likely_upper: float

    def scaled(self, scale: float) -> NormBracket:
        """That of the operator times a number."""
        values = {name: scale * getattr(self, name) for name in ("lower", "upper", "likely_upper")}
        return replace(self, **values)


@dataclass(frozen=True)
class Pairs:
    """Some of the largest singular values, descending, and their unit vectors in rows.

    Attributes
    ----------
    u, v : arrays, shapes ``(count, rows)`` and ``(count, columns)``
    values : array, shape ``(count,)``
    """

    u: Array
    values: Array
    v: Array


def largest_pairs(
    apply: Map,
    transpose: Map,
    shape: tuple[int, int],
    count: int,
    start: Array,
    krylov: int = KRYLOV,
    *,
    tolerance: float = 1e-14,
    restarts: int = _RESTARTS,
) -> Pairs:
    """The largest singular pairs of an operator, by the Lanczos method on the smaller side (ARPACK).

    One whose smaller side is no larger than a sweep is written out and decomposed.

    Parameters
    ----------
    apply, transpose : callable
        The operator and its transpose on flat vectors.
    shape : (int, int)
        Its rows and columns.
    count : int
    start : array, shape ``(min(shape),)``
        From an invariant subspace the method would not leave it; see :func:`start`.
    krylov : int, optional
        Vectors of a sweep.
    tolerance : float, optional
        Of the residuals, relative to the squared singular values.
    restarts : int, optional
        Sweeps at most.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # takes long to import

    rows, columns = shape
    wide = columns > rows
    there, back, n = (transpose, apply, rows) if wide else (apply, transpose, columns)
    if n <= krylov:
        left, values, right = np.linalg.svd(np.stack([there(unit) for unit in np.eye(n)]), full_matrices=False)
        first, second = left.T[:count], right[:count]
        return Pairs(first, values[:count], second) if wide else Pairs(second, values[:count], first)
    gram = LinearOperator((n, n), matvec=lambda v: back(there(np.ravel(v))), dtype=float)
    count = min(count, n - 1)
    size = min(n, max(krylov, 4 * count))
    try:
        if not np.any(there(start)):  # then almost surely the operator is zero, which the method does not take
            raise ArpackNoConvergence("zero", np.zeros(0), np.zeros((n, 0)))
        _, vectors = eigsh(gram, count, which="LA", v0=start, ncv=size, maxiter=restarts, tol=tolerance)
    except ArpackNoConvergence as error:  # those that have converged, or none: the start is then as good as anything
        vectors = error.eigenvectors if error.eigenvectors.size else (start / np.linalg.norm(start))[:, None]
    images = np.stack([there(vector) for vector in vectors.T])
    values = np.linalg.norm(images, axis=1)
    order = np.argsort(-values, kind="stable")
    first, second = vectors.T[order], images[order] / np.where(values > 0, values, 1.0)[order, None]
    return Pairs(first, values[order], second) if wide else Pairs(second, values[order], first)


def complete_pairs(
    apply: Map, transpose: Map, shape: tuple[int, int], count: int, start: Array, krylov: int = KRYLOV
) -> Pairs:
    """:func:`largest_pairs` with all copies of multiple singular values, of which the method alone may miss some.

    The largest singular value of what is left of the operator without the vectors found tells if there is another.
    """
    found = largest_pairs(apply, transpose, shape, count, start, krylov)
    while len(found.values) == count:
        known = found.v

        def without(v: Array, known: Array = known) -> Array:
            return v - known.T @ (known @ v)

        rest = largest_pairs(
            lambda v, without=without: apply(without(v)),  # type: ignore[misc]
            lambda u, without=without: without(transpose(u)),  # type: ignore[misc]
            shape,
            1,
            np.roll(start, 1),
            krylov,
        )
        if rest.values[0] <= found.values[-1] * (1 + _SAME):
            break
        joined = [np.concatenate([getattr(found, part), getattr(rest, part)]) for part in ("u", "values", "v")]
        order = np.argsort(-joined[1], kind="stable")[:count]
        found = Pairs(*(part[order] for part in joined))
    return found


def start(n: int, seed: int = 0, near: Array | None = None) -> Array:
    """A vector to start from: a random one, the same for one seed, or a given one with something random."""
    found = np.random.default_rng([n, seed]).standard_normal(n)
    return found if near is None else near + _RANDOM / math.sqrt(n) * found


def likely_upper(lower: float, n: int) -> float:
    """The bound on the norm that holds but for a probability :data:`FAILURE`, from a random start.

    After ``k`` steps the Lanczos method has the largest eigenvalue of a Gram matrix of order ``n`` to a relative error
    ``ε`` but for the probability ``1.648 √n exp(−√ε (2k − 1))`` (J. Kuczyński, H. Woźniakowski, SIAM J. Matrix Anal.
    Appl. 13, 1992, theorem 4.2).
    """
    root = math.log(1.648 * math.sqrt(n) / FAILURE) / (2 * min(n, KRYLOV) - 1)
    return lower / math.sqrt(1 - root**2) if root < 1 else math.inf
