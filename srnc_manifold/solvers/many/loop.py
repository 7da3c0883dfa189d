"""The loop over rows: steps, what is read of them, and leaving out those that have ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from srnc_manifold.costs.rows import Rows
from srnc_manifold.solvers.many.descent import Steps
from srnc_manifold.solvers.many.multipliers import ENDS, Multipliers
from srnc_manifold.solvers.many.objectives import CostObjective, LagrangianObjective
from srnc_manifold.solvers.many.rows import GOING, RowSpheres, Table

#: Steps between two looks at the rows.
STRIDE = 25

#: Parts of the starts that the quantiles of a history are of.
QUANTILES = (0.25, 0.5, 0.75)


class Loop:
    """Rows on their way from their starts to their ends.

    Parameters
    ----------
    rows : Rows
    objective : CostObjective or LagrangianObjective
    steps : Steps
    outer : Multipliers or None
    starts : tensor, shape ``(K, S, n)``
    tolerance : float
        Of the steps, for the norm of the Riemannian gradient.
    feasible : float
        Largest violation of a point that counts as feasible.
    given : dict of tensors, optional
        Columns to begin with, of rows that went on elsewhere.
    patience : float, optional
        How many times the steps after which half of the rows have ended the others may take.

    Attributes
    ----------
    ends : Table
        Of all ``K · S`` rows, as of the last look.
    before, chosen : Table and tensor, or None
        The ends of a loop of which this one goes on with some rows, and which.
    going : int
        How many rows were on their way at the last look.
    """

    def __init__(
        self,
        rows: Rows,
        objective: CostObjective | LagrangianObjective,
        steps: Steps,
        outer: Multipliers | None,
        starts: Any,
        tolerance: float,
        feasible: float,
        given: dict[str, Any] | None = None,
        patience: float | None = None,
    ) -> None:
        self.xp, self._objective, self._steps, self._outer = rows.xp, objective, steps, outer
        self._feasible, xp = feasible, rows.xp
        self.shape = tuple(starts.shape[:2])
        z = starts.reshape(-1, starts.shape[-1])
        self._spheres = RowSpheres(rows.family.sizes, z, xp)
        count = len(z)
        self._ids = xp.arange(count, device=rows.device)
        zeros = xp.zeros_like(z[:, 0])
        self.table = Table(
            xp,
            **steps.columns(self._spheres.normalized(z), xp),
            **objective.columns(count),
            id=self._ids,
            owner=self._ids // self.shape[1],
            tolerance=zeros + tolerance,
            gains=zeros[:, None].repeat(1, len(rows.parts)),
            objective=zeros + xp.inf,
            violation=zeros + xp.inf,
        )
        if outer is not None:
            outer.prepare(self.table)
        self.table.columns.update(given or {})
        self.ends = Table(xp, **{name: column.clone() for name, column in self._ends().items()})
        self._patience = patience
        self.before: Table | None = None
        self.chosen: Any = None
        self.going = count

    def run(self, count: Callable[[int], None], look: Callable[[Loop], None]) -> None:
        """Step until every row has ended.

        Parameters
        ----------
        count : callable
            Told before each step how many rows are scored in it.
        look : callable
            Called after the first step and then once in 25; it may ask for a :meth:`report`.
        """
        steps, last = 0, np.inf
        while True:
            count(len(self.table))
            self._step()
            if steps % STRIDE == 0:
                self.collect()
                look(self)
                if 2 * self.going <= len(self.ends) and self._patience is not None:
                    last = min(last, self._patience * max(steps, STRIDE))
                if self.going == 0 or steps >= last:
                    return
                self._leave_out()
            steps += 1

    def _step(self) -> None:
        moved = self._steps.proposed(self.table, self._spheres)
        scored = self._objective.scored(moved, self.table)
        self._steps.take(self.table, moved, scored, self._spheres)
        if self._outer is not None:
            self._outer.update(self.table)

    def collect(self) -> None:
        """Bring :attr:`ends` up to date."""
        for name, column in self._ends().items():
            self.ends.columns[name].index_copy_(0, self.table.id, column)

    def all_ends(self) -> dict[str, Any]:
        """Numbers of the ends of all rows, those of the loop before among them, as NumPy arrays."""
        ends = {}
        for name in ("value", "objective", "violation", "code"):
            ends[name] = column = self.ends.columns[name]
            if self.before is not None:
                ends[name] = self.before.columns[name].to(column.dtype).index_copy(0, self.chosen, column)
        return {name: self.xp.to_numpy(column) for name, column in ends.items()}

    def best(self) -> Any:
        """The row of the best end of every problem, shape ``(K,)``."""
        return self.ranking()[:, 0]

    def ranking(self) -> Any:
        """The rows of every problem, best ends first, shape ``(K, S)``.

        If any is feasible, these by objective. Else all by cost or, with multipliers, by violation.
        """
        xp, ends = self.xp, self.ends
        feasible = ends.violation <= self._feasible
        otherwise = ends.value if self._outer is None else ends.violation
        by_problem = (column.reshape(self.shape) for column in (feasible, ends.objective, otherwise))
        feasible, objective, otherwise = by_problem
        score = xp.where(feasible.any(-1, keepdim=True), xp.where(feasible, objective, xp.inf), otherwise)
        score = xp.where(xp.isnan(score), xp.inf, score)
        first = xp.arange(self.shape[0], device=score.device) * self.shape[1]
        return first[:, None] + xp.argsort(score, axis=1)

    def report(self) -> dict[str, Any]:
        """All that is told of the first problem, in one transfer; sets how many rows are :attr:`going`."""
        xp, ends, at = self.xp, self.ends, self.best()[:1]
        quantities = {
            "going": (self.table.code == GOING).sum()[None],
            "best": at,
            **{name: ends.columns[name][at].reshape(-1) for name in (*ENDS, "code")},
            **{f"{name}_quantiles": _quantiles(ends.columns[name], xp) for name in ("value", "violation")},
        }
        if self._outer is not None:
            quantities["penalty"] = ends.penalty[at]
            quantities["multiplier"] = ends.multipliers[at].sum(-1)
        joined = xp.to_numpy(xp.concat([column.to(xp.float64) for column in quantities.values()], axis=0))
        found, first = {}, 0
        for name, column in quantities.items():
            found[name] = joined[first : first + len(column)]
            first += len(column)
        self.going = int(found["going"][0])
        return found

    def count_going(self) -> None:
        """Only how many rows are :attr:`going`."""
        self.going = int(self.xp.to_numpy((self.table.code == GOING).sum()))

    def _ends(self) -> dict[str, Any]:
        if self._outer is not None:
            return self._outer.ends(self.table)
        return {name: self.table.columns[name] for name in (*ENDS, "code")}

    def _leave_out(self) -> None:
        """Go on with the rows that have not ended, where they are at most half; sorted, since a mask would be read."""
        if 2 * self.going <= len(self.table):
            ended = (self.table.code != GOING).to(self.xp.int64)
            self.table = self.table.take(self.xp.argsort(ended)[: self.going])


def _quantiles(column: Any, xp: Any) -> Any:
    """Those of ``QUANTILES``, without interpolation."""
    values = xp.sort(xp.where(xp.isnan(column), xp.inf, column))
    return xp.stack([values[int(part * (len(column) - 1))] for part in QUANTILES])
