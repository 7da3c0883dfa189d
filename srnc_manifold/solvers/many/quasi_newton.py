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

    The pairs of each row lie in columns ``steps`` and ``changes`` of shape ``(B, memory, n)``, the newest last; those
    that count are marked in ``kept``. Trials that are rejected are shortened to a quarter, not to a half.
    """

    memory: int

    def columns(self, z: Any, xp: Any) -> dict[str, Any]:
        pairs = xp.zeros_like(z)[:, None, :].repeat(1, self.memory, 1)
        common = super().columns(z, xp)
        return {
            **common,
            "steps": pairs,
            "changes": pairs,
            "kept": pairs[:, :, 0] > 0,
            "least": common["value"],
            "idle": common["iterations"],
        }

    def ceiling(self, table: Table) -> Any:
        # A decrease smaller than the rounding errors of the cost cannot be detected.
        return table.value + 4 * table.xp.finfo(table.value.dtype).eps * table.value.abs()

    def accept(self, table: Table, accepted: Any, moved: Any, value: Any, gradient: Any, spheres: RowSpheres) -> Any:
        xp = table.xp
        steps, changes, kept = self._pairs(table, moved, gradient, spheres)
        along = -_inverse_hessian(gradient, steps, changes, kept, xp)
        norm = xp.sqrt(dot(gradient, gradient))
        ascending = dot(along, gradient) > -1e-12 * norm * xp.sqrt(dot(along, along))
        along, kept = xp.where(ascending[:, None], -gradient, along), kept & ~ascending[:, None]
        progress = table.fresh | (value < table.value) | (norm < table.least)
        idle = xp.where(progress, 0, table.idle + 1)
        table.put(accepted, steps=steps, changes=changes, kept=kept, along=along, step=_first(norm, kept, xp))
        table.put(accepted, idle=idle, least=xp.where(table.fresh, norm, xp.minimum(norm, table.least)))
        return idle > IDLE

    def refuse(self, table: Table, failed: Any) -> Any:
        """Without its pairs a row tries once more, downhill."""
        some = table.kept.any(-1)
        again = failed & some
        step = _first(table.norm, table.kept & False, table.xp)
        table.put(again, along=-table.gradient, kept=False, step=step, rejections=0)
        return failed & ~some

    def _pairs(self, table: Table, moved: Any, gradient: Any, spheres: RowSpheres) -> tuple[Any, Any, Any]:
        """The pairs carried to the new points by projection, and the new one; those with too little curvature go."""
        xp, at = table.xp, moved[:, None, :]
        step = spheres.projected(moved - table.z, moved)
        change = gradient - spheres.projected(table.gradient, moved)
        steps, changes = spheres.projected(table.steps, at), spheres.projected(table.changes, at)
        kept = table.kept & ~table.fresh[:, None]
        curved = ~table.fresh & (dot(step, change) > CURVATURE * dot(step, step))
        joined = []
        for old, new in ((steps, step[:, None]), (changes, change[:, None]), (kept, curved[:, None])):
            mask = curved.reshape(-1, *(1 for _ in old.shape[1:]))
            joined.append(xp.where(mask, xp.concat([old[:, 1:], new], axis=1), old))
        steps, changes, kept = joined
        return steps, changes, kept & (dot(steps, changes) > CURVATURE * dot(steps, steps))


def _first(norm: Any, kept: Any, xp: Any) -> Any:
    """The length that is tried first along a new direction."""
    return xp.where(kept.any(-1), 1.0, (0.1 / norm).clamp(max=1.0))


def _inverse_hessian(vectors: Any, steps: Any, changes: Any, kept: Any, xp: Any) -> Any:
    """Approximate inverse Hessians times vectors, by the two-loop recursion, which passes over pairs not kept."""
    products = dot(steps, changes)
    inverse = xp.where(kept, 1.0 / products, 0.0)
    scales = xp.where(kept, products / dot(changes, changes), 0.0)
    q, coefficients, scale = vectors, [], xp.ones_like(vectors[:, 0])
    for k in reversed(range(steps.shape[1])):
        a = dot(steps[:, k], q) * inverse[:, k]
        coefficients.append(a)
        q = q - a[:, None] * changes[:, k]
    for k in range(steps.shape[1]):  # of the newest pair
        scale = xp.where(kept[:, k], scales[:, k], scale)
    q = scale[:, None] * q
    for k, a in enumerate(reversed(coefficients)):
        q = q + (a - dot(changes[:, k], q) * inverse[:, k])[:, None] * steps[:, k]
    return q
