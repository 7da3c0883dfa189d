"""SRN-C, stable rank normalization of convolutions (Tanay et al., 2023), as published and with two repairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.operators.atoms import nearest_in_cap
from srnc_manifold.operators.feature_maps import Convolution, TopPair
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.runs import Run
from srnc_manifold.validation import require_choice, require_count, require_positive

REPAIRS = ("none", "step", "iterated")


@dataclass(frozen=True)
class SRNC(Solver):
    """Stable rank normalization of convolutions by Tanay et al., as published and with two repairs.

    Singular vectors are computed by power iteration with convolutions and transposed convolutions (paper, (4)). The
    kernel ``G = ∇_x (u₁ᵀ (x ∗ v₁))`` is computed by differentiation (paper, (6)). Neither the operator nor its symbol
    is formed.

    ``repair="none"``
        The published method (paper, (5)-(6); Tanay et al., IEEE TPAMI 45, 2023). For the spectrally normalized kernel
        ``ã`` it uses ``a₁ = G`` and ``a₂ = ã − a₁``, and returns ``a₁ + γ a₂`` with the coefficient of the matrix case
        (3), ``γ = √(r − 1) / ‖C(a₂)‖_F``. The source only says that ``r`` determines ``γ``. The method treats ``C(a₁)``
        as a matrix of rank one and norm one, which it is not (paper, section 2.2). It misses both targets.
    ``repair="step"``
        Returns the nearest point ``x(G)`` of the cap of ``G`` (docs/theory.md, section 4). This is closer to the
        targets, but misses both unless ``G`` is stationary and no other frequency exceeds the norm.
    ``repair="iterated"``
        Computes ``G`` and ``x(G)`` alternately until the norm is right. No step increases the distance, because
        ``x(G)`` lies in the cap of the next atom. The iteration ends in a stationary point, which need not be the
        global minimizer.

    If the cap of the ``G`` of ``a`` is empty, both repairs try constant and alternating feature maps. These are zero
    outside of one group of channels and, with a stride, outside of the part of the input that meets most taps.

    Parameters
    ----------
    repair : str
    tolerance : float
        Power iteration ends when the relative residual is at most this, and ``"iterated"`` when the relative excess of
        the norm is.
    max_steps : int
        Largest number of steps of one power iteration.
    max_rounds : int
        Largest number of steps of ``"iterated"``.
    """

    repair: str = "none"
    tolerance: float = 1e-7
    max_steps: int = 10_000
    max_rounds: int = 1000

    circular = True

    def __post_init__(self) -> None:
        require_choice(REPAIRS, repair=self.repair)
        require_positive(tolerance=self.tolerance)
        require_count(max_steps=self.max_steps, max_rounds=self.max_rounds)

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        if self.repair != "none" and problem.regime == "raise":
            return False, "the repair can only reduce the stable rank, but this problem raises it"
        return True, ""

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        method = {"none": self._published, "step": self._one_step, "iterated": self._iterated}[self.repair]
        return method(_Machine(run, self))

    def _published(self, machine: _Machine) -> tuple[Status, str]:
        problem = machine.problem
        pair = machine.top_pair(problem.unit_kernel)
        normalized, first = problem.unit_kernel / pair.value, machine.atom(pair)
        second = normalized - first
        size = np.sqrt(problem.operator.gram_weight) * float(np.linalg.norm(second))
        scale = np.sqrt(max(0.0, problem.stable_rank - 1)) / size if size > 0 else 0.0
        machine.run.deliver(first + scale * second)
        return machine.outcome(f"γ = {scale:.4g}")

    def _one_step(self, machine: _Machine) -> tuple[Status, str]:
        found = machine.first_point()
        if found is None:
            return Status.STALLED, "the caps of all feature maps tried are empty"
        machine.run.deliver(machine.problem.unit_radius * found[0])
        return machine.outcome("one step")

    def _iterated(self, machine: _Machine) -> tuple[Status, str]:
        found = machine.first_point()
        if found is None:
            return Status.STALLED, "the caps of all feature maps tried are empty"
        z, pair = found
        level = np.sqrt(machine.problem.target_gain)
        for rounds in range(self.max_rounds):
            machine.offer(z)
            # Power iteration hardly leaves the frequency where it starts. Random feature maps contain all frequencies.
            pair = machine.top_pair(z, pair.v)
            machine.record(z, pair.value)
            if pair.value <= level * (1 + self.tolerance):
                other = machine.top_pair(z)
                if other.value <= level * (1 + self.tolerance):
                    if not other.converged:
                        return Status.LIMIT, (
                            f"power iteration was stopped after {machine.count} convolutions, before it was "
                            "clear whether another frequency exceeds the norm"
                        )
                    return Status.CONVERGED, f"stationary after {rounds} steps, {machine.count} convolutions"
                pair = other
            z = nearest_in_cap(machine.problem.direction, machine.atom(pair), level)
        machine.offer(z)
        return (
            Status.LIMIT,
            f"{self.max_rounds} steps; before the last one the norm was too large by {pair.value / level - 1:.1e}",
        )


class _Machine:
    """The convolutions of one run. They are counted, and the budget is kept."""

    def __init__(self, run: Run[SRNProblem], solver: SRNC) -> None:
        self.run, self.problem, self._solver, self._rng = run, run.problem, solver, run.rng
        self._convolution = Convolution(self.problem.geometry)
        self.details = run.details
        self.details |= {"convolutions": 0, "empty_cap": False}
        self.converged = True  # whether every power iteration so far has converged

    @property
    def count(self) -> int:
        return self._convolution.count

    def top_pair(
        self, kernel: Array, start: Array | None = None, project: Callable[[Array], Array] = lambda v: v
    ) -> TopPair:
        """The top singular pair by power iteration, which starts from random feature maps by default."""
        self.run.count_evaluation()
        if start is None:
            start = self._rng.standard_normal(self._convolution.input_shape)
        pair = self._convolution.top_pair(
            kernel,
            start,
            tolerance=self._solver.tolerance,
            max_steps=self._solver.max_steps,
            keep_going=self.run.time_is_left,
            project=project,
        )
        self.details["convolutions"] = self.count
        self.converged = self.converged and pair.converged
        return pair

    def atom(self, pair: TopPair) -> Array:
        """The kernel ``G`` of a singular pair."""
        return self._convolution.gradient(pair.u, pair.v)

    def first_point(self) -> tuple[Array, TopPair] | None:
        """The nearest point of the cap of the atom of ``a``. If this cap is empty, other atoms are tried."""
        direction, level = self.problem.direction, np.sqrt(self.problem.target_gain)
        pair = self.top_pair(direction)
        atom = self.atom(pair)
        if np.linalg.norm(atom) >= level:
            return nearest_in_cap(direction, atom, level), pair
        self.details["empty_cap"] = True
        best: tuple[float, Array, TopPair] | None = None
        for project in _alternating_maps(self._convolution):
            start = project(self._rng.standard_normal(self._convolution.input_shape))
            pair = self.top_pair(direction, start, project)
            atom = self.atom(pair)
            # Because of rounding, an atom with the largest possible norm can be one ulp below the level.
            if np.linalg.norm(atom) < level * (1 - 1e-14):
                continue
            z = nearest_in_cap(direction, atom, min(level, float(np.linalg.norm(atom))))
            distance = float(np.linalg.norm(z - direction))
            if best is None or distance < best[0]:
                best = distance, z, pair
        return None if best is None else best[1:]

    def offer(self, z: Array) -> None:
        """Offer an iterate to the run. Its distance to ``a`` is the measure: the nearest one is kept."""
        self.run.offer(self.problem.unit_radius * z, float(np.linalg.norm(z - self.problem.direction)))

    def record(self, z: Array, norm: float) -> None:
        """Add an iterate to the history. Its spectral norm is known from power iteration."""
        radius, distance = self.problem.unit_radius, float(np.linalg.norm(z - self.problem.direction))
        cost = self.problem.objective_at(distance**2)
        self.run.record(radius * z, (radius * norm) ** 2, cost=cost, gradient_norm=np.nan)
        self.run.require_time()

    def outcome(self, done: str) -> tuple[Status, str]:
        """How a run ends that has delivered its kernel."""
        if not self.converged:
            return Status.LIMIT, f"power iteration was stopped after {self.count} convolutions"
        return Status.CONVERGED, f"{done} after {self.count} convolutions"


def _alternating_maps(convolution: Convolution) -> Iterator[Callable[[Array], Array]]:
    """Projections onto feature maps that are constant or alternate along each axis of the output.

    The feature maps of one group, on the part of the input that meets most taps, have the largest atoms
    (docs/theory.md, proposition 3). The convolution maps each of these subspaces to such a subspace of the output.
    """
    geometry, d = convolution.geometry, len(convolution.geometry.grid)
    largest = np.flatnonzero(geometry.taps_per_phase == np.max(geometry.taps_per_phase))
    outputs = np.indices(geometry.grid).reshape(d, -1)
    for group, phase in itertools.product(range(geometry.groups), largest):
        places = convolution.sources[geometry.taps_by_phase[phase][0]]
        for signs in itertools.product(*[(1, -1) if n % 2 == 0 else (1,) for n in geometry.grid]):
            pattern = np.prod(np.array(signs).reshape(d, 1) ** outputs, axis=0)

            def project(v: Array, group: int = group, places: Any = places, pattern: Any = pattern) -> Array:
                kept = np.zeros_like(v)
                kept[group][:, places] = np.mean(v[group][:, places] * pattern, axis=-1, keepdims=True) * pattern
                return kept

            yield project
