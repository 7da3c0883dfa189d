"""What a report says of single problems: tables, kernels, singular values, convergence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from srnc_manifold.comparison import profiles
from srnc_manifold.comparison.html import figures
from srnc_manifold.comparison.html.tables import of_problem
from srnc_manifold.comparison.html.words import Facts
from srnc_manifold.comparison.report import COLUMNS, SCREENFUL, Column
from srnc_manifold.exchange import reason
from srnc_manifold.numerics import Array
from srnc_manifold.plots.kernels import axes_of_taps, is_cut
from srnc_manifold.plots.spectra import kernels_of
from srnc_manifold.printing import printable
from srnc_manifold.problem.base import KernelProblem

#: Problems that have a section of their own where there are more than a screenful: the hardest ones.
HARDEST = 12

# Kernels of a stack that are drawn.
_PARTS = 3


@dataclass(frozen=True)
class Drawn:
    """A figure as JSON with what to say of it, or why there is none."""

    caption: str
    content: str = ""
    trouble: str = ""
    height: int = 0


@dataclass(frozen=True)
class Section:
    """What a report says of one problem."""

    number: int
    name: str
    asked: str
    reference: str
    note: str
    columns: Sequence[Column]
    rows: list[list[str]]
    without: list[str]
    figures: list[Drawn]


def chosen(facts: Facts) -> list[str]:
    """The problems that have a section: all, or of more than a screenful the hardest ones.

    Hardest is what is solved by the least share of the runs; of equals, where the median gap is largest, or the one to
    the proved bound.
    """
    if len(facts.problems) <= SCREENFUL:
        return facts.problems
    gaps = ["gap", "bound_gap"]
    table = facts.tried.assign(**facts.tried[gaps].fillna(np.inf))
    merit = table.groupby("problem", sort=False)[["solved", *gaps]].agg(
        {"solved": "mean"} | dict.fromkeys(gaps, "median")
    )
    ordered = merit.sort_values(["solved", *gaps], ascending=[True, False, False])
    return [str(name) for name in ordered.index[:HARDEST]]


def sections(facts: Facts) -> Iterator[Section]:
    """The section of each problem that has one."""
    for number, name in enumerate(chosen(facts), 1):
        block = facts.tried[facts.tried["problem"] == name]
        entry, first = facts.comparison.problems.get(name), block.iloc[0]
        rows = of_problem(block)
        nothing = block[block["runs"] == 0].to_dict("records")
        without = [f"{record['solver']}: {record['status']}, {record['message']}" for record in nothing]
        kind = first["reference_kind"]
        reference = f"{kind} {first['reference']:.6g}" if kind else "nothing known of the optimum"
        if np.isfinite(first["bound"]):
            reference += f", proved bound {first['bound']:.6g}"
        yield Section(
            number,
            printable(name),
            "its operator could not be saved" if entry is None else printable(entry.problem.describe()),
            reference,
            printable(entry.note) if entry is not None else "",
            COLUMNS,
            rows,
            list(map(printable, without)),
            list(_figures(facts, name)),
        )


def drawn(caption: str, draw: Callable[[], Any]) -> Drawn:
    """A figure, or the reason why it cannot be drawn, so that one that cannot does not cost the report."""
    try:
        figure = draw()
        return Drawn(caption, figures.to_json(figure), height=figure.layout.height)
    except ImportError:
        raise
    except Exception as error:  # of a problem's own class, or a profile that these rows do not have
        return Drawn(caption, trouble=reason(error))


def _figures(facts: Facts, name: str) -> Iterator[Drawn]:
    entry, best = facts.comparison.problems.get(name), _best(facts, name)
    if entry is not None:
        kernels = {solver: facts.comparison.results[key].kernel for solver, key in best.items()}
        settings = {solver: _settings(facts, key) for solver, key in best.items()}
        after = {solver: kernels_of(entry.problem, solver, kernel) for solver, kernel in kernels.items()}
        parts = entry.problem.parts
        for k, part in enumerate(parts[:_PARTS]):
            own = {solver: of_parts[k] for solver, of_parts in after.items()}
            yield from _of_part(part, own, settings, f" {k + 1} of {len(parts)}" if len(parts) > 1 else "")
    rows = facts.rows[(facts.rows["problem"] == name) & (facts.rows["solver"] != "")]
    keys = list(rows[["problem", "solver", "seed"]].itertuples(index=False, name=None))
    results = {key: facts.comparison.results[key] for key in keys if key in facts.comparison.results}
    known = {name: float(facts.tried[facts.tried["problem"] == name]["reference"].iloc[0])}
    seeds = rows["seed"].nunique()
    yield drawn(
        f"Convergence: the best gap of a feasible iterate, the median of {seeds} seeds and the middle half of them"
        if seeds > 1
        else "Convergence: the best gap of a feasible iterate",
        lambda: figures.bands(profiles.convergence(rows, results, known)),
    )
    yield drawn(
        "Convergence: the violation of the constraints",
        lambda: figures.bands(profiles.convergence(rows, results, known, quantity="violation")),
    )


def _of_part(part: KernelProblem, after: dict[str, Array], settings: dict[str, str], which: str) -> Iterator[Drawn]:
    """The kernel and the singular values of one part."""
    n_axes = axes_of_taps(part)
    first = next(iter(after), None)
    cut = ", the first of its channels" if is_cut(part.kernel.shape, n_axes) else ""
    returned = f", and as {printable(first)} returned it" if first else ""
    shape = " × ".join(map(str, part.kernel.shape))
    yield drawn(
        f"Kernel{which} of shape {shape}{cut}, as given{returned}",
        lambda: figures.kernel(part.kernel, None if first is None else after[first], n_axes),
    )
    yield drawn(
        f"Singular values{which} before, and after by the best run of each solver",
        lambda: figures.spectrum(part, after, settings),
    )


def _best(facts: Facts, name: str) -> dict[str, Any]:
    """The best run of each solver on a problem that has a result, best solver first."""
    rows = facts.rows[(facts.rows["problem"] == name) & facts.rows["objective"].notna()]
    violation = rows[["stable_rank_error", "spectral_norm_error"]].max(axis=1)
    rows = rows.assign(violation=violation.where(~rows["feasible"].astype(bool), 0.0))
    rows = rows.sort_values(["violation", "objective"], kind="stable").drop_duplicates("solver")
    order = {solver: k for k, solver in enumerate(facts.tried[facts.tried["problem"] == name]["solver"])}
    keys = [(r["problem"], r["solver"], r["seed"]) for r in rows.to_dict("records")]
    keys.sort(key=lambda key: order[key[1]])
    return {key[1]: key for key in keys if key in facts.comparison.results}


def _settings(facts: Facts, key: Any) -> str:
    return facts.settings.get(key[1]) or str(key[1])
