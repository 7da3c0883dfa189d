"""Limited-memory BFGS of many rows, one trial evaluation a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.solvers.many.descent import Steps
from srnc_manifold.solvers.many.rows import RowSpheres, Table, dot
from srnc_manifold.solvers.steps.quasi_newton import CURVATURE, IDLE


@dataclass(frozen=True)
class LimitedMemory(Steps):
    """What :func:`srnc_manifold.solvers.steps.quasi_newton.lbfgs` does, for rows.

    The pairs of each row lie in columns ``steps`` and ``changes`` of shape ``(B, memory, n)``, a ring whose ``newest``
    place each row has of its own; those that count are marked in ``kept``. Trials that are rejected are shortened to a
    quarter, not to a half.
    """

    memory: int

    def columns(self, z: Any, xp: Any) -> dict[str, Any]:
        pairs = xp.zeros_like(z)[:, None, :].repeat(1, self.memory, 1)
        common = super().columns(z, xp)
        return {
            **common,
            "steps": pairs,
            "changes": pairs.clone(),
            "kept": pairs[:, :, 0] > 0,
            "newest": common["iterations"],
            "least": common["value"],
            "idle": common["iterations"],
        }

    def ceiling(self, table: Table) -> Any:
        # A decrease smaller than the rounding errors of the cost cannot be detected.
        return table.value + 4 * table.xp.finfo(table.value.dtype).eps * table.value.abs()

    def accept(self, table: Table, accepted: Any, moved: Any, value: Any, gradient: Any, spheres: RowSpheres) -> Any:
        xp = table.xp
        self._carry_pairs(table, accepted, moved, gradient, spheres)
        along = -_inverse_hessian(gradient, table)
        norm = xp.sqrt(dot(gradient, gradient))
        ascending = dot(along, gradient) > -1e-12 * norm * xp.sqrt(dot(along, along))
        along, kept = xp.where(ascending[:, None], -gradient, along), table.kept & ~ascending[:, None]
        progress = table.fresh | (value < table.value) | (norm < table.least)
        idle = xp.where(progress, 0, table.idle + 1)
        table.put(accepted, kept=kept, along=along, step=_first(norm, kept, xp))
        table.put(accepted, idle=idle, least=xp.where(table.fresh, norm, xp.minimum(norm, table.least)))
        return idle > IDLE

    def refuse(self, table: Table, failed: Any) -> Any:
        """Without its pairs a row tries once more, downhill."""
        some = table.kept.any(-1)
        again = failed & some
        step = _first(table.norm, table.kept & False, table.xp)
        table.put(again, along=-table.gradient, kept=False, step=step, rejections=0)
        return failed & ~some

    def _carry_pairs(self, table: Table, accepted: Any, moved: Any, gradient: Any, spheres: RowSpheres) -> None:
        """Carry the pairs of rows that move by projection, and add the new one; those with too little curvature go."""
        xp = table.xp
        step = spheres.projected(moved - table.z, moved)
        change = gradient - spheres.projected(table.gradient, moved)
        added = accepted & ~table.fresh & (dot(step, change) > CURVATURE * dot(step, step))
        table.newest = xp.where(added, (table.newest + 1) % self.memory, table.newest)
        place = table.newest[:, None]
        for name, new in (("steps", step), ("changes", change)):
            carried = spheres.carried(table.columns[name], moved, accepted)
            there = place[:, :, None].expand(-1, 1, carried.shape[-1])
            old = xp.take_along_dim(carried, there, 1)
            table.columns[name] = carried.scatter(1, there, xp.where(added[:, None, None], new[:, None], old))
        kept = table.kept & ~(accepted & table.fresh)[:, None]
        kept = kept.scatter(1, place, added[:, None] | xp.take_along_dim(kept, place, 1))
        table.kept = kept & (dot(table.steps, table.changes) > CURVATURE * dot(table.steps, table.steps))


def _first(norm: Any, kept: Any, xp: Any) -> Any:
    """The length that is tried first along a new direction."""
    return xp.where(kept.any(-1), 1.0, (0.1 / norm).clamp(max=1.0))


def _inverse_hessian(vectors: Any, table: Table) -> Any:
    """Approximate inverse Hessians times vectors, by the two-loop recursion, which passes over pairs not kept.

    It runs on inner products, of shape ``(B, memory)``, so that the pairs themselves are read a few times only.
    """
    xp, steps, changes, memory = table.xp, table.steps, table.changes, table.kept.shape[1]
    slots = xp.arange(memory, device=vectors.device)
    oldest_first = (table.newest[:, None] + 1 + slots) % memory
    back = (slots - table.newest[:, None] - 1) % memory

    def sorted_(column: Any) -> Any:
        return xp.take_along_dim(column, oldest_first, 1)

    crossed = xp.take_along_dim(steps @ changes.mT, oldest_first[:, :, None], 1)
    crossed = xp.take_along_dim(crossed, oldest_first[:, None, :], 2)  # ⟨s_i, y_j⟩
    kept, products = sorted_(table.kept), crossed.diagonal(dim1=1, dim2=2)
    inverse = xp.where(kept, 1.0 / products, 0.0)
    scales = xp.where(kept, products / sorted_(dot(changes, changes)), 0.0)
    left, first, scale = sorted_((steps @ vectors[:, :, None])[..., 0]), [], xp.ones_like(vectors[:, :1])
    for k in reversed(range(memory)):
        first.append(inverse[:, k : k + 1] * left[:, k : k + 1])
        left = left - crossed[:, :, k] * first[-1]
    for k in range(memory):  # of the newest pair
        scale = xp.where(kept[:, k : k + 1], scales[:, k : k + 1], scale)
    a = xp.concat(first[::-1], axis=1)
    q = scale * (vectors - (xp.take_along_dim(a, back, 1)[:, None] @ changes)[:, 0])
    left, second = sorted_((changes @ q[:, :, None])[..., 0]), []
    for k in range(memory):
        second.append(a[:, k : k + 1] - inverse[:, k : k + 1] * left[:, k : k + 1])
        left = left + crossed[:, k] * second[-1]
    d = xp.concat(second, axis=1) * kept
    return q + (xp.take_along_dim(d, back, 1)[:, None] @ steps)[:, 0]
