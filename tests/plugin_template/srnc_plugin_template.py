"""An example to copy: a cost and a solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from srnc_manifold import Status
from srnc_manifold.costs import Cost, LogSumExp, View
from srnc_manifold.solvers import Oracle, Run, Solver


@dataclass(frozen=True)
class PNorm(Cost):
    """``(‖σ²‖_p − c)² + λ · fidelity``: a p-norm over all singular values of the operator instead of the maximum."""

    p: float = 16.0
    fidelity_weight: float = 0.01

    def value(self, view: View, xp: Any) -> Any:
        largest = xp.max(view.squared_singular_values)  # factored out, so that no power overflows
        total = xp.sum(view.multiplicities * (view.squared_singular_values / largest) ** self.p)
        return (largest * total ** (1 / self.p) - view.target_gain) ** 2 + self.fidelity_weight * view.fidelity


@dataclass(frozen=True)
class RandomSearch(Solver):
    """Random search on the sphere: a step in a random direction is accepted if it decreases the cost.

    Steps grow after a success and shrink after a failure, so that about one in five succeeds (Rechenberg's rule).
    """

    cost: Cost = field(default_factory=LogSumExp)
    step_size: float = 0.5
    shortest_step: float = 1e-8
    patience: int = 1000

    def run(self, run: Run[Any]) -> tuple[Status, str]:
        # The oracle counts evaluations, records improvements, keeps the budget, and draws the start if none is given.
        oracle = Oracle(run, self.cost, patience=self.patience)
        z, step = oracle.start, self.step_size
        value = oracle.value(z)
        while step > self.shortest_step:
            moved = z + step * run.rng.standard_normal(z.size) / np.sqrt(z.size)
            moved /= np.linalg.norm(moved)
            moved_value = oracle.value(moved)
            if moved_value < value:
                z, value, step = moved, moved_value, min(1.0, step * np.exp(0.8))
            else:
                step *= np.exp(-0.2)
        return Status.STALLED, f"no improvement with steps of length {self.shortest_step:g}"
