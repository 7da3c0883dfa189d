"""The outcome of a comparison."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srnc_manifold import plots
from srnc_manifold.comparison import profiles
from srnc_manifold.comparison.identity import Identity
from srnc_manifold.comparison.latex import latex_table
from srnc_manifold.comparison.report import html_winners, text_report
from srnc_manifold.comparison.results import Results
from srnc_manifold.comparison.rows import FAILED, Key, Row, frame
from srnc_manifold.comparison.store import Kept, Planned, Store
from srnc_manifold.comparison.summary import summary, winners
from srnc_manifold.display import Shown, short
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.writing import write_table

#: Names of the files that a comparison is saved to.
FILES = ("rows.csv", "table.csv", "comparison.png")


@dataclass(repr=False, eq=False)
class Comparison(Shown):
    """Outcome of :func:`compare`, in memory or in a store.

    Attributes
    ----------
    problems : dict
        Problems by name.
    row_list : list of Row
        One row per run, in the order of problems, solvers and seeds.
    results : Mapping
        Maps ``(problem, solver, seed)`` to a :class:`srnc_manifold.Result`, including its history. Results are kept
        packed, and read anew each time one is asked for.
    interrupted : bool
        Whether the comparison was stopped before all runs were done. The runs that were done are kept.
    identities : dict
        Maps ``(problem, solver, seed)`` to what the run was of, in digests.
    environments : dict
        Where runs were made, by the names in the rows: machine, processor, versions and commit.
    budgets : dict
        Limits and goals of the runs, ``{"max_time": 3.0}``, by their digests in the identities.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> comparison = srnc.compare(problem, ["exact", "augmented-lagrangian"], range(2), n_jobs=1)
    >>> comparison.rows[["solver", "seed", "status"]]
                     solver  seed     status
    0                 exact     0  converged
    1  augmented-lagrangian     0  converged
    2  augmented-lagrangian     1  converged
    >>> comparison.query("solver == 'exact'")["status"].tolist()
    ['converged']
    """

    problems: dict[str, NamedProblem]
    row_list: list[Row] = field(default_factory=list)
    results: Results = field(default_factory=Results)
    interrupted: bool = False
    identities: dict[Key, Identity] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    budgets: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def load(cls, store: str | os.PathLike[str]) -> Comparison:
        """All that a store has: of each problem, solver and seed the run that was asked for last.

        Problems with an operator of one's own that cannot be saved are missing in ``problems``; their rows are not.

        Parameters
        ----------
        store : path
            A file that :func:`compare` wrote, or is writing.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a store, a damaged one, or one of a newer release.
        """
        with Store.reading(store) as opened:
            found, missing = opened.rows()
            loaded = cls(opened.problems(), interrupted=missing > 0, environments=opened.environments())
            loaded.budgets, path = opened.budgets(), opened.path
        for one in found:
            row = one.row if isinstance(one, Kept) else one
            loaded.row_list.append(row)
            if isinstance(one, Kept):
                loaded.identities[row.key] = one.identity
                if one.has_result:
                    loaded.results.places[row.key] = path, one.identity.key
        return loaded

    def merge(
        self, *others: Comparison | str | os.PathLike[str], store: str | os.PathLike[str] | None = None
    ) -> Comparison:
        """This comparison and others, or their stores, as one.

        Where several have a row of the same problem, solver and seed, the last one counts that has not failed.

        Parameters
        ----------
        *others : Comparison, or path of a store
        store : path, optional
            File for all of them, which is made if there is none; if it has runs already, they stay.

        Returns
        -------
        Comparison
            With a store, all that is in it.

        Raises
        ------
        ValueError
            If a name is that of different problems, or a store cannot be used.
        """
        merged = Comparison({})
        for other in (self, *(o if isinstance(o, Comparison) else Comparison.load(o) for o in others)):
            merged._take(other)
        if store is None:
            return merged
        digests = merged._digests()
        with Store.writing(store) as opened:
            opened.plan(
                [Planned(row, merged.identities.get(row.key)) for row in merged.row_list],
                {name: (entry, digests[name]) for name, entry in merged.problems.items() if name in digests},
                merged.budgets,
            )
            for row in merged.row_list:
                if row.key in merged.identities:
                    content = merged.results.packed(row.key) if row.key in merged.results else None
                    header = merged.environments.get(row.environment or "")
                    opened.add(merged.identities[row.key], row, content, header)
        return Comparison.load(store)

    def _take(self, other: Comparison) -> None:
        """Add the rows of another comparison, after those that are here."""
        mine, theirs = self._digests(), other._digests()
        for name in mine.keys() & theirs.keys():
            if mine[name] != theirs[name]:
                raise ValueError(f"others: {name!r} is another problem in one of them, expected different names")
        rows = {row.key: row for row in self.row_list}
        # A solver in which nothing is random has one row, whatever its seed.
        fixed = {key[:2]: key for key, identity in self.identities.items() if identity.seed is None}
        for row in other.row_list:
            before = row.key if row.key in rows else fixed.get(row.key[:2])
            if before in rows and row.status == FAILED:
                continue
            if before is not None:
                rows.pop(before, None)
            rows[row.key] = row
            if row.key in other.identities:
                self.identities[row.key] = other.identities[row.key]
            self.results.places.pop(row.key, None)
            if row.key in other.results:
                self.results.places[row.key] = other.results.places[row.key]
        self.row_list = list(rows.values())
        self.problems |= other.problems
        self.environments |= other.environments
        self.budgets |= other.budgets
        self.interrupted |= other.interrupted

    def _digests(self) -> dict[str, str]:
        """The digests of the problems that were run, by name."""
        return {row.problem: self.identities[row.key].problem for row in self.row_list if row.key in self.identities}

    def query(self, expression: str) -> Any:
        """The rows of which something holds, as a pandas DataFrame.

        Parameters
        ----------
        expression : str
            As of :meth:`pandas.DataFrame.query`: ``"solver == 'slsqp' and feasible and objective < 3"``. Columns are
            the fields of a row; see :attr:`rows`.

        Raises
        ------
        ValueError
            If it cannot be evaluated.
        """
        rows = self.rows
        try:
            return rows.query(expression)
        except Exception as error:  # whatever pandas, or Python's own parser, says of it
            columns = ", ".join(rows.columns)
            raise ValueError(
                f"expression: {expression!r} given, expected a condition on {columns} ({type(error).__name__}: {error})"
            ) from None

    def summary(self) -> dict[str, str]:
        solvers = dict.fromkeys(row.solver for row in self.row_list if row.solver)
        return {
            "problems": short(", ".join(self.problems)) or "none",
            "solvers": short(", ".join(solvers)) or "none",
            "runs": f"{len(self.row_list)}{', interrupted' if self.interrupted else ''}",
        }

    @property
    def rows(self) -> Any:
        """A pandas DataFrame with one row per run."""
        return frame(self.row_list)

    def table(self) -> Any:
        """A pandas DataFrame with one row per problem and solver, summarized over the seeds.

        The columns are described in :func:`srnc_manifold.comparison.summary.summary`.
        """
        return summary(self.row_list, self.problems)

    def winners(self) -> Any:
        """A pandas DataFrame that tells who wins: one row per solver, best first, with a column for each problem.

        The columns are described in :func:`srnc_manifold.comparison.summary.winners`.
        """
        return winners(self.table())

    def report(self, *, details: bool = False) -> str:
        """Who wins, and tables, as plain text of 80 columns.

        With ``details``, all columns. Of more than twenty problems there is one table of all of them; with ``details``,
        a table of each.
        """
        return text_report(self.table(), self.problems, details=details)

    def to_latex(self, *, details: bool = False) -> str:
        """The table in LaTeX, with numbers as they are printed, so that a gap of 1e-9 is ``1e-09``; needs ``booktabs``.

        With ``details``, all columns. More than a page of rows is a ``longtable``.

        Raises
        ------
        ImportError
            If Jinja2 is missing: ``pip install 'srnc-manifold[report]'``.
        """
        return latex_table(self.table(), details=details)

    def _repr_html_(self) -> str:
        return super()._repr_html_() + html_winners(self.winners())

    def profile(self, kind: str = "performance", *, where: str | None = None, **options: Any) -> Any:
        """A pandas DataFrame that says how the solvers compare, in one of several ways; :meth:`plot` draws it.

        Parameters
        ----------
        kind : str
            ``"performance"``: performance profile of Dolan and Moré. ``"data"``: data profile of Moré and Wild.
            ``"ecdf"``: share of targets reached over the budget. ``"quality"``: gap to the certified bound. ``"hits"``:
            hit rate per start, and expected cost to the first hit. ``"convergence"``: bands over the seeds.
            ``"pairs"``: wins over each other, with a sign test. ``"sensitivity"``: what a setting does.
        where : str, optional
            Rows to take, as of :meth:`query`. Gaps are measured by what all rows know.
        **options
            Of the function of this name in :mod:`srnc_manifold.comparison.profiles`, such as ``measure="time"``.

        Raises
        ------
        TypeError, ValueError
            If there is no such kind, an option is not valid, or times would be compared that are not of one machine,
            its versions and commit.
        """
        return profiles.profile(self, kind, where, **options)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        kind: str = "overview",
        *,
        ax: Any = None,
        **options: Any,
    ) -> Any:
        """A figure: violations and gaps, or a profile. It is saved if a path is given.

        Parameters
        ----------
        path : path, optional
        kind : str
            ``"overview"``, ``"table"`` (a heat map of solvers and problems), or a kind of :meth:`profile`.
        ax : matplotlib Axes, optional
            Where to draw: as many as the figure has panels, two for an overview.
        **options
            Of :meth:`profile`; for a table of :func:`srnc_manifold.plots.heat_map`, such as ``value="violation"``.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        TypeError, ValueError
            If there is no such kind, or nothing to draw.

        Examples
        --------
        >>> import srnc_manifold as srnc
        >>> comparison = srnc.compare("paper", ["exact", "srn-c"], seeds=[0])
        >>> figure = comparison.plot(kind="table", value="violation")
        """
        if kind == "overview":
            return plots.overview(self, path, ax=ax, **options)
        if kind == "table":
            return plots.heat_map(self.table(), ax=ax, path=path, **options)
        return profiles.draw(self, kind, path, ax, **options)

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write ``rows.csv``, ``table.csv`` and, if any run returned a kernel, ``comparison.png``. Return the paths."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        return self.save_as(*(directory / name for name in FILES))

    def save_as(self, rows: Path, table: Path, figure: Path) -> list[Path]:
        """The same, under the given names."""
        write_table(rows, self.rows)
        write_table(table, self.table())
        if not self.rows["objective"].notna().any():
            return [rows, table]
        self.plot(figure)
        return [rows, table, figure]
