"""What rows of points are scored by: a cost, or augmented Lagrangians with penalties and multipliers of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from srnc_manifold.costs import Cost
from srnc_manifold.costs.augmented import charge, charge_slope
from srnc_manifold.costs.batched import RowCosts
from srnc_manifold.costs.rows import Rows, Seen
from srnc_manifold.solvers.many.rows import Table


@dataclass(frozen=True)
class Scored:
    """Rows of points, scored.

    Attributes
    ----------
    value, gradient : tensor, shapes ``(B,)`` and ``(B, n)``
        Of what is minimized; the gradient is Euclidean.
    more : dict of tensors
        ``gains``, the largest squared singular value of each part, ``(B, P)``; ``objective`` over ``‖C(a)‖_F²`` and
        ``violation``, the largest relative error of a stable rank, ``(B,)``; and columns of one kind of objective.
    """

    value: Any
    gradient: Any
    more: dict[str, Any]


class CostObjective:
    """One cost of each part, the same for all rows."""

    def __init__(self, rows: Rows, cost: Cost) -> None:
        self.rows, self._costs = rows, RowCosts(rows, [cost] * len(rows.parts))

    def columns(self, count: int) -> dict[str, Any]:
        """Columns of a table that :meth:`scored` needs."""
        return {}

    def scored(self, points: Any, table: Table) -> Scored:
        value, gradient, seen = self._costs.evaluated(points, table.owner)
        return Scored(value, gradient, scores(self.rows, seen, table.owner))


class LagrangianObjective:
    """The augmented Lagrangian of :class:`AugmentedLagrangianCost`, with columns ``penalty`` and ``multipliers``.

    The constraints ``h`` of all parts lie side by side: one of a part whose gain must reach its target, and one for
    each singular value of a part where none may exceed it.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.xp = rows, rows.xp
        self._reach = [part.part.regime != "raise" for part in rows.parts]
        self._widths = [
            1 if reach else len(part.multiplicities) for part, reach in zip(rows.parts, self._reach, strict=True)
        ]

    def columns(self, count: int) -> dict[str, Any]:
        zeros = self.rows.tensor([[0.0]]).repeat(count, sum(self._widths))
        return {"constraints": zeros, "multipliers": zeros, "penalty": zeros[:, 0]}

    def scored(self, points: Any, table: Table) -> Scored:
        seen, pull = self.rows.seen(points, table.owner, largest=self._reach, vectors=True)
        values, slopes, constraints, first = [], [], [], 0
        for part, own, reach, width in zip(self.rows.parts, seen, self._reach, self._widths, strict=True):
            multipliers = table.multipliers[:, first : first + width]
            first += width
            h = self._constraints(own, reach)
            counts = 1.0 if reach else part.multiplicities
            given = h, multipliers, table.penalty[:, None], self.xp
            weights = part.own(part.weights, table.owner).expand(len(points))
            by_h = counts * charge_slope(*given) / own.target_gain[:, None]
            values.append(weights * own.fidelity + (counts * charge(*given)).sum(-1))
            slopes.append((-by_h if reach else by_h, weights))
            constraints.append(h)
        gradient = self.rows.gradient(seen, pull, slopes, table.owner)
        more = {**scores(self.rows, seen, table.owner), "constraints": self.xp.concat(constraints, axis=1)}
        return Scored(sum(values), gradient, more)

    def _constraints(self, seen: Seen, reach: bool) -> Any:
        relative = seen.values / seen.target_gain[:, None]
        return 1.0 - relative if reach else relative - 1.0


def scores(rows: Rows, seen: Sequence[Seen], owners: Any) -> dict[str, Any]:
    """Gains, objective and violation of rows of points."""
    xp = rows.xp
    gains = xp.stack([own.values.amax(-1) for own in seen], axis=1)
    target_gains = xp.stack([own.target_gain.expand(len(owners)) for own in seen], axis=1)
    weighted = [part.own(part.weights, owners) * own.fidelity for part, own in zip(rows.parts, seen, strict=True)]
    return {"gains": gains, "objective": sum(weighted), "violation": (target_gains / gains - 1.0).abs().amax(-1)}
