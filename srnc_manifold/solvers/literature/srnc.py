"""SRN-C, stable rank normalization of convolutions (Tanay et al., 2023), as published and with two repairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.operators.atoms import nearest_in_cap
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Status
from srnc_manifold.solvers.base import Solver
from srnc_manifold.solvers.runs import Run
from srnc_manifold.solvers.steps.top_pairs import PAIRS, Pair, top_pairs
from srnc_manifold.validation import require_choice, require_count, require_positive

REPAIRS = ("none", "step", "iterated")


@dataclass(frozen=True)
class SRNC(Solver):
    """Stable rank normalization of convolutions by Tanay et al., as published and with two repairs.

    For the top singular vectors ``u₁, v₁``, feature maps, the method computes the kernel ``G = ∇_x (u₁ᵀ (x ∗ v₁))``
    (paper, (6)).

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
    pair : str
        Where the singular vectors come from. ``"power"``, as published: power iteration with convolutions and
        transposed convolutions (paper, (4)), from random feature maps, and ``G`` by differentiation. Neither the
        operator nor its symbol is formed. It takes long if two frequencies are close to a tie. ``"symbol"``: from the
        block of the symbol with the largest norm, which is known as the padding is circular. This is the same method:
        the feature maps have a phase that is not determined, on which ``G`` does not depend (docs/theory.md,
        proposition 18). Nothing is random.
    tolerance : float
        Power iteration ends when the relative residual is at most this, and ``"iterated"`` when the relative excess of
        the norm is.
    max_steps : int
        Largest number of steps of one power iteration.
    max_rounds : int
        Largest number of steps of ``"iterated"``.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> published, repaired = (srnc.solvers.SRNC(repair=repair) for repair in ("none", "iterated"))
    >>> [srnc.solve(problem, solver, rng=0).evaluation.feasible for solver in (published, repaired)]
    [False, True]
    """

    repair: str = "none"
    pair: str = "power"
    tolerance: float = 1e-7
    max_steps: int = 10_000
    max_rounds: int = 1000

    circular = True

    def __post_init__(self) -> None:
        require_choice(REPAIRS, repair=self.repair)
        require_choice(PAIRS, pair=self.pair)
        require_positive(tolerance=self.tolerance)
        require_count(max_steps=self.max_steps, max_rounds=self.max_rounds)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]  # only the start of power iteration is random
        return self.pair == "power"

    def supports(self, problem: SRNProblem) -> tuple[bool, str]:
        if self.repair != "none" and problem.regime == "raise":
            return False, "the repair can only reduce the stable rank, but this problem raises it"
        return True, ""

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        method = {"none": self._published, "step": self._one_step, "iterated": self._iterated}[self.repair]
        return method(_Machine(run, self))

    def _published(self, machine: _Machine) -> tuple[Status, str]:
        problem = machine.problem
        pair = machine.pairs.top(problem.unit_kernel)
        normalized, first = problem.unit_kernel / pair.value, pair.atom()
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
            # First the frequency of the last atom, which is cheap, then all of them.
            pair = machine.pairs.top(z, near=pair)
            machine.record(z, pair.value)
            if pair.value <= level * (1 + self.tolerance):
                other = machine.pairs.top(z)
                if other.value <= level * (1 + self.tolerance):
                    if not other.converged:
                        return Status.LIMIT, (
                            f"power iteration was stopped after {machine.pairs.effort}, before it was "
                            "clear whether another frequency exceeds the norm"
                        )
                    return Status.CONVERGED, f"stationary after {rounds} steps, {machine.pairs.effort}"
                pair = other
            z = nearest_in_cap(machine.problem.direction, pair.atom(), level)
        machine.offer(z)
        return (
            Status.LIMIT,
            f"{self.max_rounds} steps; before the last one the norm was too large by {pair.value / level - 1:.1e}",
        )


class _Machine:
    """The iterates of one run, and its singular pairs."""

    def __init__(self, run: Run[SRNProblem], solver: SRNC) -> None:
        self.run, self.problem = run, run.problem
        self.pairs = top_pairs(run, solver.pair, tolerance=solver.tolerance, max_steps=solver.max_steps)
        self.details = run.details
        self.details["empty_cap"] = False

    def first_point(self) -> tuple[Array, Pair] | None:
        """The nearest point of the cap of the atom of ``a``. If this cap is empty, other atoms are tried."""
        direction, level = self.problem.direction, np.sqrt(self.problem.target_gain)
        pair = self.pairs.top(direction)
        atom = pair.atom()
        if np.linalg.norm(atom) >= level:
            return nearest_in_cap(direction, atom, level), pair
        self.details["empty_cap"] = True
        best: tuple[float, Array, Pair] | None = None
        for pair in self.pairs.constant_or_alternating(direction):
            atom = pair.atom()
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
        """Add an iterate to the history. Its spectral norm is known from the singular pair."""
        radius, distance = self.problem.unit_radius, float(np.linalg.norm(z - self.problem.direction))
        cost = self.problem.objective_at(distance**2)
        self.run.record(radius * z, (radius * norm) ** 2, cost=cost, gradient_norm=np.nan)
        self.run.require_time()

    def outcome(self, done: str) -> tuple[Status, str]:
        """How a run ends that has delivered its kernel."""
        if not self.pairs.all_converged:
            return Status.LIMIT, f"power iteration was stopped after {self.pairs.effort}"
        return Status.CONVERGED, f"{done}, {self.pairs.effort}"
