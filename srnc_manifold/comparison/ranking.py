"""How a solver ranks among those of this package, on the frozen set of problems with certified optima."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from srnc_manifold.comparison import tasks
from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.profiles.scores import HIT, scored
from srnc_manifold.comparison.run import compare
from srnc_manifold.display import Shown, text_table
from srnc_manifold.problem.families import NamedProblem, load_family
from srnc_manifold.solvers import Solver

#: What is kept of a run of the package's solvers.
COLUMNS = (
    "problem", "solver", "seed", "status", "feasible", "objective", "restored_objective", "bound", "squared_norm",
    "evaluations", "settings",
)  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Ranking(Shown):
    """Outcome of :func:`rank`.

    Attributes
    ----------
    solver : str
        Its label.
    comparison : Comparison
        Its runs.
    table : DataFrame
        One row per solver, best first: ``rank``, ``solver``, ``solved``, the share of the runs that found the optimum,
        where a problem counts once and one that a solver does not support as not solved; ``feasible``, likewise;
        ``evaluations``, the mean of a run; ``problems``, of how many all runs found the optimum; ``own``, whether it is
        the solver that was asked for.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> ranking = srnc.rank("spectral-normalization", only="paper*", n_jobs=1)
    >>> len(ranking.unsolved), list(ranking.table["solver"][:1])
    (4, ['exact'])
    """

    solver: str
    comparison: Comparison
    table: Any

    @property
    def rank(self) -> int:
        """1 is the best. Solvers that solve as much with as few evaluations share a rank."""
        return int(self.table[self.table["own"]]["rank"].iloc[0])

    @property
    def unsolved(self) -> list[str]:
        """The problems of which not every run of the solver found the optimum."""
        shares = _shares(self.comparison.rows, _optima(self.comparison.problems))
        return list(shares.index[shares["solved"] < 1])

    def summary(self) -> dict[str, str]:
        own = self.table[self.table["own"]].iloc[0]
        return {
            "solver": self.solver,
            "rank": f"{self.rank} of {len(self.table)}",
            "solved": f"{100 * own['solved']:.1f} % of {len(self.comparison.problems)} problems",
        }

    def report(self) -> str:
        """The table as plain text, and the key to it."""
        table = self.table
        columns = {
            "rank": [str(rank) for rank in table["rank"]],
            "solver": [f"{name}{'  ←' * own}" for name, own in zip(table["solver"], table["own"], strict=True)],
            "solved": [f"{100 * share:.1f} %" for share in table["solved"]],
            "feasible": [f"{100 * share:.1f} %" for share in table["feasible"]],
            "evaluations": ["–" if np.isnan(mean) else f"{mean:.0f}" for mean in table["evaluations"]],
        }
        total = len(self.comparison.problems)
        key = (
            f"{self.solver} ranks {self.rank} of {len(table)}, on {total} problems with certified optima.\n"
            f"solved: runs that end feasible and within {HIT:g} of ‖C(a)‖² of the optimum; a problem that a\n"
            "solver does not support is not solved. Ranked by this, then by evaluations, the mean of a run."
        )
        return f"{text_table(columns, left=('solver',))}\n\n{key}"


def rank(solver: Solver | str | Mapping[str, Solver], *, only: str = "*", **options: Any) -> Ranking:
    """Compare a solver with those of this package on the family ``"reference"``, about 60 problems.

    It is run with the seeds and the limit of evaluations with which the others were. Their rows come with the package
    (``benchmarks/reference.py`` makes them), so times, which are of another machine, are not compared.

    Parameters
    ----------
    solver : Solver, str, or dict with one solver by its label
    only : str, optional
        A pattern for the names of the problems, such as ``"hard*"``, for a first look; all solvers are ranked on these.
    **options
        Of :func:`srnc_manifold.compare`: ``store``, ``executor``, ``n_jobs``, ``timeout``, ``progress``.

    Returns
    -------
    Ranking

    Raises
    ------
    TypeError, ValueError
        If it is no solver, or no problem fits the pattern.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> srnc.rank("exact", only="paper*", n_jobs=1).rank
    1
    """
    methods = tasks.solvers(solver)
    if len(methods) != 1:
        raise ValueError(f"solver: {len(methods)} given, expected one")
    (label,) = methods
    kept: Any = importlib.import_module("srnc_manifold.problems.reference")
    every = [entry for entry in load_family("reference") if isinstance(entry, NamedProblem)]
    chosen = [entry for entry in every if fnmatchcase(entry.name, only)]
    if not chosen:
        raise ValueError(f"only: {only!r} given, which fits none of {', '.join(entry.name for entry in every)}")
    comparison = compare(chosen, methods, kept.SEEDS, budget=kept.BUDGET, **options)
    others = kept.rows()
    others = others[others["problem"].isin(comparison.problems) & (others["solver"] != label)]
    return Ranking(label, comparison, _table(comparison, others, label))


def _table(comparison: Comparison, others: Any, label: str) -> Any:
    import pandas

    rows = pandas.concat([comparison.rows[list(COLUMNS)], others], ignore_index=True)
    optima = _optima(comparison.problems)
    records = []
    for name, own in rows.groupby("solver", sort=False):
        shares = _shares(own, optima)
        records.append(
            {
                "solver": name,
                "solved": shares["solved"].sum() / len(optima),
                "feasible": shares["feasible"].sum() / len(optima),
                "evaluations": own["evaluations"].mean(),
                "problems": int((shares["solved"] == 1).sum()),
                "own": name == label,
            }
        )
    table = pandas.DataFrame(records)
    order = list(zip(-table["solved"], table["evaluations"].fillna(np.inf), strict=True))
    table.insert(0, "rank", [1 + sum(other < one for other in order) for one in order])
    return table.sort_values(["rank", "own"], ascending=[True, False], kind="stable", ignore_index=True)


def _optima(problems: Mapping[str, NamedProblem]) -> dict[str, float]:
    return {name: entry.optimum for name, entry in problems.items() if entry.optimum is not None}


def _shares(rows: Any, optima: Mapping[str, float]) -> Any:
    """Of each problem, which share of the runs is solved and feasible."""
    found = scored(rows, optima).rename(columns={"hit": "solved"})
    found["feasible"] = found["feasible"].astype(bool)
    return found.groupby("problem", sort=False)[["solved", "feasible"]].mean()
