"""Search for the best atom of each block by trust regions, an independent check of the explicit solution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.interop import pymanopt as pymanopt_optimizers
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms, symbol
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.optimality import stationarity
from srnc_manifold.solvers.runs import Run
from srnc_manifold.spheres import Spheres
from srnc_manifold.validation import require_count, require_positive

# Larger than the rounding errors of a squared norm γ² (relative) and of an angle.
_FILLED, _ROUNDING = 1e-13, 1e-14

# If the target is this close to the least feasible one (relative), there are too few atoms with caps to search.
_LEAST = 1e-9


@dataclass(frozen=True)
class AtomSearch(Solver):
    """Reduces the stable rank by minimizing the angle ``φ`` over atoms, by trust regions on a product of two spheres.

    The unit vectors ``u`` and ``v`` of a block's atoms are a point of ``S^{2·rows−1} × S^{2·columns−1}``
    (docs/theory.md, proposition 22). This method solves the same problem as :class:`Exact`, which uses alternation. The
    two share only the definition of an atom, so this slower method is an independent check of the alternation and of
    its starts.

    Blocks are searched in the order of the Lemma's bounds on ``φ`` (docs/theory.md, proposition 5). By default the
    search stops when these bounds exceed the best angle found, because the other blocks are then excluded by proof.
    Searching them too takes about six times as long. If minimizers are tied, one of them is returned.

    Parameters
    ----------
    n_starts : int
        Number of starts in each block: the top singular pair of the kernel's symbol, then random unit vectors.
    every_block : bool
        Whether to search all blocks with caps, so that the result does not depend on the Lemma.
    max_iterations : int
        Largest number of iterations of each start.
    tolerance : float
        A start has converged if the norm of the gradient of ``φ`` is at most this.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem, srnc.solvers.AtomSearch(), rng=0)
    >>> round(result.evaluation.objective, 6)
    10.666667
    """

    n_starts: int = 5
    every_block: bool = False
    max_iterations: int = 300
    tolerance: float = 1e-8

    circular = True

    def __post_init__(self) -> None:
        require_count(n_starts=self.n_starts, max_iterations=self.max_iterations)
        require_positive(tolerance=self.tolerance)

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        if problem.regime != "reduce":
            return False, "the solution belongs to an atom only if the stable rank is reduced"
        if problem.target_gain >= (1 - _LEAST) * max(problem.geometry.taps_per_phase):
            return False, "at the least feasible stable rank, only the longest atoms have caps"
        return True, ""

    def load(self) -> None:
        pymanopt_optimizers.load()

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        # The user's start is not used: the first start of a block is computed from the problem's kernel.
        search = _Search(self, run)
        try:
            return search.all_blocks()
        finally:
            run.cost = search.angle if np.isfinite(search.angle) else np.nan
            run.gradient_norm = stationarity(run.problem, run.problem.to_sphere(run.kernel))
            run.details["blocks_searched"] = search.searched


class Angle:
    """``φ`` of the atoms of one block, as a function of their unit vectors, with Euclidean derivatives.

    A point consists of ``u`` and ``v`` as real numbers, one after the other. If the cap of an atom is empty
    (``γ² < c``), the function is defined as ``π + (c − γ²)/c``. This is larger than every angle, so that a descent
    method does not return to such points. It decreases as ``γ²`` grows. If all phases have the same number of taps,
    every local maximum of ``γ²`` is a global one.

    Parameters
    ----------
    matrix : complex array, shape ``(rows, columns)``
        The block of the unit kernel ``a``.
    counts, sums : arrays, shape ``(columns,)``
        ``n_p`` and ``S_{l,p}`` for the phase of each column.
    level : float
        ``c``.
    """

    def __init__(self, matrix: NDArray[Any], counts: Array, sums: NDArray[Any], level: float) -> None:
        self.matrix, self.counts, self.sums, self.level = matrix, counts, sums, level
        self.spheres = Spheres((2 * matrix.shape[0], 2 * matrix.shape[1]))

    @property
    def bound(self) -> float:
        """The Lemma's lower bound on the angles of all atoms with caps. It is infinite if there are none."""
        top = float(np.max(self.counts + np.abs(self.sums))) / 2
        height = float(np.linalg.norm(self.matrix, 2))
        return self._of(height, top) if self._filled(top) else np.inf

    def pair(self, z: Array) -> tuple[NDArray[Any], NDArray[Any]]:
        """The unit vectors of a point."""
        u, v = self.spheres.split(z)
        return u.view(complex), v.view(complex)

    def point(self, u: NDArray[Any], v: NDArray[Any]) -> Array:
        """The point of two unit vectors."""
        return np.concatenate([u, v]).view(float)

    def value(self, z: Array) -> float:
        h, g = self._sizes(z)
        return self._of(h, g) if self._filled(g) else np.pi + 1.0 - g / self.level

    def gradient(self, z: Array) -> Array:
        (by_h, by_g), _ = self._slopes(*self._sizes(z))
        of_h, of_g = self._size_gradients(z)
        return by_h * of_h + by_g * of_g

    def hessian(self, z: Array, vector: Array) -> Array:
        """Hessian times a vector."""
        (by_h, by_g), second = self._slopes(*self._sizes(z))
        gradients, changes = self._size_gradients(z), self._size_changes(z, vector)
        across = second @ [gradients[0] @ vector, gradients[1] @ vector]
        return by_h * changes[0] + by_g * changes[1] + across[0] * gradients[0] + across[1] * gradients[1]

    def _filled(self, g: float) -> bool:
        return g >= self.level * (1 + _FILLED)

    def _of(self, h: float, g: float) -> float:
        """The angle of an atom with ``⟨a, G⟩ = h`` and ``γ² = g``."""
        return float(np.arctan2(np.sqrt(g - h**2), h) - np.arctan2(np.sqrt(g - self.level), np.sqrt(self.level)))

    def _slopes(self, h: float, g: float) -> tuple[tuple[float, float], Array]:
        """First and second derivatives with respect to ``h`` and ``g``."""
        if not self._filled(g):
            return (0.0, -1.0 / self.level), np.zeros((2, 2))
        root, across, deep = np.sqrt(self.level), np.sqrt(g - h**2), np.sqrt(g - self.level)
        by_g = (h / across - root / deep) / (2 * g)
        mixed = 0.5 / across**3
        twice = (root / deep**3 - h / across**3) / (4 * g) - by_g / g
        return (-1.0 / across, by_g), np.array([[-h / across**3, mixed], [mixed, twice]])

    def _sizes(self, z: Array) -> tuple[float, float]:
        """``⟨a, G⟩`` and ``γ²`` (docs/theory.md, proposition 3)."""
        u, v = self.pair(z)
        turned = np.conj(u @ u) * (self.sums @ v**2)
        return float((u.conj() @ self.matrix @ v).real), float(self.counts @ np.abs(v) ** 2 + turned.real) / 2

    def _size_gradients(self, z: Array) -> tuple[Array, Array]:
        u, v = self.pair(z)
        of_h = self.point(self.matrix @ v, self.matrix.conj().T @ u)
        of_g = self.point((self.sums @ v**2) * u.conj(), self.counts * v + (u @ u) * np.conj(self.sums * v))
        return of_h, of_g

    def _size_changes(self, z: Array, vector: Array) -> tuple[Array, Array]:
        """Derivatives of the gradients along a vector."""
        (u, v), (du, dv) = self.pair(z), self.pair(vector)
        of_h = self.point(self.matrix @ dv, self.matrix.conj().T @ du)
        by_u = 2 * (self.sums @ (v * dv)) * u.conj() + (self.sums @ v**2) * du.conj()
        by_v = self.counts * dv + 2 * (u @ du) * np.conj(self.sums * v) + (u @ u) * np.conj(self.sums * dv)
        return of_h, self.point(by_u, by_v)


class _Search:
    """The search of all blocks of a problem, and the best angle found."""

    def __init__(self, solver: AtomSearch, run: Run[SRNProblem]) -> None:
        self.solver, self.run, self.rng = solver, run, run.rng
        self.angle, self.searched = np.inf, 0
        self.outcome = Status.STALLED, "no atom with a cap was found"

    def all_blocks(self) -> tuple[Status, str]:
        """Search until no other block can have a smaller angle."""
        functions = list(angles(self.run.problem))
        self._offer_any(functions[0])
        bounds = np.array([function.bound for function in functions])
        for block in np.argsort(bounds, kind="stable"):
            least = np.pi if self.solver.every_block else min(self.angle, np.pi)
            if not bounds[block] <= least + _ROUNDING:
                break
            self.searched += 1
            for z in self._starts(functions[block]):
                self._search(int(block), functions[block], z)
        return self.outcome

    def _offer_any(self, function: Angle) -> None:
        """Offer the kernel of a longest atom of frequency zero, so that there is always a result."""
        u, v = (np.zeros(n, complex) for n in function.matrix.shape)
        u[0] = v[np.argmax(function.counts)] = 1.0
        self.run.offer(self.run.problem.unit_radius * self._kernel(0, function, function.point(u, v)), np.inf)

    def _starts(self, function: Angle) -> Iterator[Array]:
        u, _, vh = np.linalg.svd(function.matrix, full_matrices=False)
        yield function.spheres.normalized(function.point(u[:, 0], vh[0].conj()))
        for _ in range(self.solver.n_starts - 1):
            yield function.spheres.random_point(self.rng)

    def _search(self, block: int, function: Angle, start: Array) -> None:
        before, run, solver = self.angle, self.run, self.solver

        def value(z: Array) -> float:
            run.count_evaluation()
            angle = function.value(z)
            if angle < min(self.angle, np.pi):
                self.angle = angle
                run.offer(run.problem.unit_radius * self._kernel(block, function, z), angle)
            return angle

        def gradient(z: Array) -> Array:
            run.n_gradients += 1
            return function.spheres.projected(function.gradient(z), z)

        def hessian(z: Array, vector: Array) -> Array:
            run.n_hessians += 1
            product = function.hessian(z, vector)
            return function.spheres.riemannian_hessian(z, function.gradient(z), product, vector)

        value(start)  # pymanopt evaluates nothing at a start that is critical
        end = pymanopt_optimizers.minimize(
            pymanopt_optimizers.Objective(value, gradient, hessian),
            function.spheres,
            start,
            "trust-regions",
            tolerance=solver.tolerance,
            max_iterations=solver.max_iterations,
            rng=self.rng,
        )
        if self.angle < before:
            self.outcome = self._status(end)
            self._record(end.gradient_norm)

    def _status(self, end: pymanopt_optimizers.Outcome) -> tuple[Status, str]:
        message = f"gradient norm {end.gradient_norm:.1e} of the angle of the best atom"
        if end.gradient_norm <= self.solver.tolerance:
            return Status.CONVERGED, message
        limited = end.iterations >= self.solver.max_iterations
        return (Status.LIMIT if limited else Status.STALLED), f"{message} after {end.iterations} iterations"

    def _kernel(self, block: int, function: Angle, z: Array) -> Array:
        """The point of the atom's cap that is nearest to ``a``."""
        problem = self.run.problem
        tensor = atoms.atom(problem.geometry, block, *function.pair(z)).tensor
        return atoms.nearest_in_cap(problem.direction, tensor, np.sqrt(problem.target_gain))

    def _record(self, gradient_norm: float) -> None:
        assert self.run.best is not None
        gain = float(norms.gain(self.run.best, self.run.problem.geometry))
        self.run.record(self.run.best, gain, cost=self.angle, gradient_norm=gradient_norm)


def angles(problem: SRNProblem) -> Iterator[Angle]:
    """The function of each block of a problem."""
    geometry = problem.geometry
    counts = np.repeat(geometry.taps_per_phase, geometry.channels[1]).astype(float)
    for block, matrix in enumerate(symbol.of(problem.direction, geometry)):
        sums = np.repeat(geometry.phase_sums[block // geometry.groups], geometry.channels[1])
        yield Angle(matrix, counts, sums, problem.target_gain)
