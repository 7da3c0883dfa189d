"""Barzilai-Borwein steps of many rows, one trial evaluation a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.result import Status
from srnc_manifold.solvers.many.objectives import Scored
from srnc_manifold.solvers.many.rows import CODES, GOING, RowSpheres, Table, dot

# Required decrease as a fraction of the decrease that the slope predicts; factor of a step that is rejected; and the
# number of rejections after which a row has failed, as short as after the 60 halvings of a single line search.
_DECREASE, _SHORTEN, _MAX_REJECTIONS = 1e-4, 0.25, 30

# A step must end below the largest cost of this many iterates; and the range of the steps.
_MEMORY, _SHORTEST, _LONGEST = 10, 1e-12, 1e6


@dataclass(frozen=True)
class Steps:
    """A rule by which every row takes one trial step at a time.

    A row that is ``fresh`` is scored where it is, and accepted. Otherwise its trial lies ``step`` along ``along``. It
    is accepted if it decreases the cost enough; if not, the step is divided by four.
    """

    max_iterations: int

    def columns(self, z: Any, xp: Any) -> dict[str, Any]:
        """Columns that the rule needs, before the first step."""
        zeros = xp.zeros_like(z[:, 0])
        counts = xp.zeros_like(zeros, dtype=xp.int64)
        return {
            "z": z,
            "value": zeros,
            "gradient": xp.zeros_like(z),
            "norm": zeros,
            "along": xp.zeros_like(z),
            "step": zeros,
            "fresh": counts == 0,
            "code": counts,
            "iterations": counts,
            "rejections": counts,
        }

    def proposed(self, table: Table, spheres: RowSpheres) -> Any:
        """The points to score."""
        moved = spheres.normalized(table.z + table.step[:, None] * table.along)
        stay = table.fresh | ~table.xp.isfinite(moved).all(-1)
        return table.xp.where(stay[:, None], table.z, moved)

    def take(self, table: Table, moved: Any, scored: Scored, spheres: RowSpheres) -> None:
        """Accept the points or shorten the steps."""
        xp, going = table.xp, table.code == GOING
        finite = xp.isfinite(scored.value) & xp.isfinite(scored.gradient).all(-1)
        bar = self.ceiling(table) + _DECREASE * table.step * dot(table.along, table.gradient)
        accepted = going & finite & (table.fresh | (scored.value <= bar))
        refused = going & finite & ~accepted
        tangent = spheres.projected(scored.gradient, moved)
        norm = xp.sqrt(dot(tangent, tangent))
        stalled = self.accept(table, accepted, moved, scored.value, tangent, spheres)
        count = xp.where(table.fresh, 0, table.iterations + 1)
        table.put(accepted, z=moved, value=scored.value, gradient=tangent, norm=norm, iterations=count, **scored.more)
        table.put(accepted, fresh=False, rejections=0)
        table.put(refused, step=_SHORTEN * table.step, rejections=table.rejections + 1)
        failed = self.refuse(table, refused & (table.rejections > _MAX_REJECTIONS))
        for status, where in (
            (Status.LIMIT, accepted & (table.iterations >= self.max_iterations)),
            (Status.STALLED, (accepted & stalled) | failed),
            (Status.CONVERGED, accepted & (norm <= table.tolerance)),
            (Status.NONFINITE, going & ~finite),
        ):
            table.put(where, code=CODES[status])

    def ceiling(self, table: Table) -> Any:
        """What the value of a trial must lie below."""
        raise NotImplementedError

    def accept(self, table: Table, accepted: Any, moved: Any, value: Any, gradient: Any, spheres: RowSpheres) -> Any:
        """Set the next direction and step of the rows that move; which of them make no more progress."""
        raise NotImplementedError

    def refuse(self, table: Table, failed: Any) -> Any:
        """Which of the rows that have been rejected too often cannot go on."""
        return failed


@dataclass(frozen=True)
class BarzilaiBorwein(Steps):
    """The rule of :class:`GradientDescent` with ``step_rule="barzilai-borwein"``; see there for its source."""

    step_size: float
    momentum: float

    def columns(self, z: Any, xp: Any) -> dict[str, Any]:
        return {**super().columns(z, xp), "costs": xp.zeros_like(z[:, :1]).repeat(1, _MEMORY)}

    def ceiling(self, table: Table) -> Any:
        return table.costs.amax(-1)

    def accept(self, table: Table, accepted: Any, moved: Any, value: Any, gradient: Any, spheres: RowSpheres) -> Any:
        xp = table.xp
        gone = spheres.projected(table.step[:, None] * table.along, moved)
        change = gradient - spheres.projected(table.gradient, moved)
        curvature = dot(gone, change).abs()
        quotient = xp.where(curvature > 0, dot(gone, gone) / curvature, _LONGEST).clamp(_SHORTEST, _LONGEST)
        velocity = self.momentum * spheres.projected(table.along, moved) - gradient
        velocity = xp.where((dot(velocity, gradient) >= 0)[:, None], -gradient, velocity)
        costs = xp.concat([table.costs[:, 1:], value[:, None]], axis=1)
        costs = xp.where(table.fresh[:, None], value[:, None], costs)
        step = xp.where(table.fresh, self.step_size, quotient)
        table.put(accepted, costs=costs, step=step, along=xp.where(table.fresh[:, None], -gradient, velocity))
        return xp.zeros_like(accepted)
