"""The outer loop of the augmented Lagrangian method, for many rows: each has its own round, penalty and multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srnc_manifold.result import Status
from srnc_manifold.solvers.many.rows import CODES, GOING, Table

# What the method ends with, of the point of each row that is returned.
ENDS = ("z", "value", "norm", "gains", "objective", "violation")


@dataclass(frozen=True)
class Multipliers:
    """When the steps of a row have ended, its multipliers and penalty are updated, and it goes on where it is.

    As in :class:`AugmentedLagrangian`, the rounds are repeated from the start with larger penalties, ``factors`` times
    the first: always where the stable rank is raised, else until a point is feasible, here of any row of the problem.
    The best point of each row is kept.

    Parameters
    ----------
    problems : int
        ``K``.
    penalty, tolerance, max_rounds
        As in :class:`AugmentedLagrangian`.
    factors : tuple of float
    always : bool
        Whether all of them are tried.
    feasible : float
        Largest violation of a point that counts as feasible.
    enough, growth, sharper, largest, first_tolerance : float
        The constants of the method.
    """

    problems: int
    penalty: float
    tolerance: float
    max_rounds: int
    factors: tuple[float, ...]
    always: bool
    feasible: float
    enough: float
    growth: float
    sharper: float
    largest: float
    first_tolerance: float

    def prepare(self, table: Table) -> None:
        """Set the columns that the rounds need."""
        xp = table.xp
        zeros = xp.zeros_like(table.value)
        infinite, counts = zeros + xp.inf, xp.zeros_like(table.code)
        table.columns.update(penalty=zeros + self.penalty, tolerance=zeros + self.first_tolerance)
        table.columns.update(start=table.z, largest=self.largest * table.penalty, before=infinite)
        table.columns.update(rounds=counts, attempt=counts, outcome=counts, found=counts > 0)
        table.columns.update({f"best_{name}": table.columns[name] for name in ENDS})
        table.columns.update(best_violation=infinite, best_objective=infinite, best_norm=infinite)
        table.columns.update(old_violation=infinite, old_objective=infinite)

    def update(self, table: Table) -> None:
        """Remember what is best, and let the rows go on whose steps have ended."""
        xp = table.xp
        self._remember(table)
        self._look_for_feasible(table)
        over = (table.code != GOING) & (table.code != CODES[Status.NONFINITE]) & ~table.fresh
        h, penalty = table.constraints, table.penalty
        missing = xp.maximum(h, -table.multipliers / penalty[:, None]).abs().amax(-1)
        met = over & (missing <= self.tolerance) & (table.tolerance <= self.tolerance)
        grow = over & ~met & (missing > self.enough * table.before) & (missing > self.tolerance)
        grown = xp.where(grow, self.growth * penalty, penalty)
        hopeless = grow & (grown > table.largest) & (missing > self.feasible)
        limit = over & ~met & ~hopeless & (table.rounds + 1 >= self.max_rounds)
        ended = met | hopeless | limit
        self._conclude(table, ended, limit)
        again = over & ~ended
        multipliers = (table.multipliers + penalty[:, None] * h).clamp(min=0.0)
        sharper = (self.sharper * table.tolerance).clamp(min=self.tolerance)
        table.put(again, multipliers=multipliers, penalty=grown, before=missing, rounds=table.rounds + 1)
        table.put(again, tolerance=sharper, fresh=True, code=GOING)

    def ends(self, table: Table) -> dict[str, Any]:
        """The best point of each row, how it ended or where it is on its way, and what it goes on with."""
        more = {"penalty": table.penalty, "multipliers": table.multipliers}
        return {**{name: table.columns[f"best_{name}"] for name in ENDS}, "code": table.code, **more}

    def _look_for_feasible(self, table: Table) -> None:
        """Mark the rows of problems of which some row has been feasible, be it one that has ended."""
        xp, found = table.xp, table.found | (table.best_violation <= self.feasible)
        none = xp.zeros(self.problems, dtype=xp.int64, device=found.device)
        most = none.scatter_reduce(0, table.owner, found.to(xp.int64), "amax")
        table.found = most[table.owner] > 0

    def _remember(self, table: Table) -> None:
        """Rank by violation where it is not negligible, then by objective."""
        xp, negligible = table.xp, 0.1 * self.feasible
        missed, best = (
            xp.where(violation <= negligible, 0.0, violation) for violation in (table.violation, table.best_violation)
        )
        better = (missed < best) | ((missed == best) & (table.objective < table.best_objective))
        table.put(better, **{f"best_{name}": table.columns[name] for name in ENDS})

    def _conclude(self, table: Table, ended: Any, limit: Any) -> None:
        """End the attempts of some rows, and begin the next ones of those that have any."""
        xp = table.xp
        stalled = table.violation > self.feasible
        found = xp.where(limit, CODES[Status.LIMIT], xp.where(stalled, CODES[Status.STALLED], CODES[Status.CONVERGED]))
        improved = (table.best_violation != table.old_violation) | (table.best_objective != table.old_objective)
        table.put(ended & improved, outcome=found)
        table.put(ended, code=table.outcome, old_violation=table.best_violation, old_objective=table.best_objective)
        again = ended & (table.attempt + 1 < len(self.factors))
        if not self.always:
            again = again & ~table.found
        penalty = xp.zeros_like(table.value) + self.penalty
        for k, factor in enumerate(self.factors[1:]):
            penalty = xp.where(table.attempt == k, factor * self.penalty, penalty)
        table.put(again, z=table.start, penalty=penalty, largest=self.largest * penalty, multipliers=0.0)
        table.put(again, tolerance=self.first_tolerance, before=xp.inf, rounds=0, attempt=table.attempt + 1)
        table.put(again, fresh=True, code=GOING)
