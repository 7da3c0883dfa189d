"""The study that compares formulations of the problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from srnc_manifold import plots
from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.costs import ExactMax, LogSumExp, Penalty
from srnc_manifold.problem import SRNProblem
from srnc_manifold.problem.families import Entry, NamedProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.solvers import Budget, Solver, solve
from srnc_manifold.studies.base import Findings, Progress, silent, store_path
from srnc_manifold.studies.definition import Study, read_study

#: A run has found the optimum if its objective exceeds the certified one by at most this fraction of ``‖C(a)‖²``.
NEAR = 1e-4

# Largest gap to the bound with which an optimum counts as certified.
_CERTIFIED = 1e-6


@dataclass(frozen=True)
class Method:
    """One method of the study: a formulation with its parameters, and a solver that minimizes it.

    ``alpha`` and ``weight`` are NaN if the formulation has no such parameter, or if the solver changes it.
    """

    formulation: str
    solver: str
    instance: Solver
    alpha: float = np.nan
    weight: float = np.nan

    @property
    def label(self) -> str:
        """Name in the rows of the comparison."""
        return self.instance.name


def definition() -> Study:
    """What the study runs."""
    return read_study(Path(__file__).with_suffix(".toml"))


def formulations() -> list[Method]:
    """The paper's formulations for several ``α`` and ``λ`` with four optimizers, and the methods that change these."""
    (part,) = definition().parts
    return [_method(solver) for solver in part.solvers.values()]


def study_problems() -> dict[str, SRNProblem]:
    """The paper's instance, and random kernels in 1-D, 2-D and with channels. Some targets reduce, some raise."""
    (part,) = definition().parts
    entries = (entry for entry in part.problems if isinstance(entry, NamedProblem))
    return {entry.name: entry.problem for entry in entries if isinstance(entry.problem, SRNProblem)}


def _method(solver: Solver) -> Method:
    """What a solver is called in the findings."""
    if solver.name in _CHANGING:
        return Method(*_CHANGING[solver.name], solver)
    cost = getattr(solver, "cost")  # noqa: B009 - solvers with a cost have it, the base class has none
    name = solver.name.partition("[")[0]
    return Method(_COSTS[type(cost)], _OPTIMIZERS[name], solver, getattr(cost, "alpha", np.nan), cost.fidelity_weight)


_COSTS: dict[type, str] = {LogSumExp: "log-sum-exp", ExactMax: "exact maximum", Penalty: "penalty"}

_OPTIMIZERS = {
    "trust-regions": "trust regions",
    "conjugate-gradient": "conjugate gradients",
    "l-bfgs": "L-BFGS",
    "gradient-descent-bb": "Barzilai-Borwein",
}

# Formulation and solver of those that have no fixed parameters.
_CHANGING = {
    "continuation": ("log-sum-exp, α and λ changed", "trust regions"),
    "exact-penalty": ("exact penalty, Huber", "L-BFGS"),
    "exact-penalty-lse": ("exact penalty, log-sum-exp", "L-BFGS"),
    "augmented-lagrangian": ("augmented Lagrangian", "L-BFGS"),
    "gradient-sampling": ("exact penalty, not smoothed", "gradient sampling"),
    "subgradient": ("exact penalty, not smoothed", "subgradients, levels"),
    "subgradient-diminishing": ("exact penalty, not smoothed", "subgradients, diminishing steps"),
    "slsqp[n_starts=1]": ("constraints as they are", "SLSQP"),
}


@dataclass(frozen=True, repr=False, eq=False)
class FormulationsFindings(Findings):
    """Outcome of :func:`run`.

    Attributes
    ----------
    methods : list of Method
    comparison : Comparison
    optima : dict
        Certified optima of the problems.
    left_out : list of str
        Problems that are not in the study, because their optimum could not be certified.
    seeds : int
        Number of random starts.
    """

    name: ClassVar[str] = "formulations"

    methods: list[Method]
    comparison: Comparison
    optima: dict[str, float]
    left_out: list[str]
    seeds: int

    @property
    def interrupted(self) -> bool:  # type: ignore[override]
        return self.comparison.interrupted

    def tables(self) -> dict[str, Any]:
        rows = self.rows.drop(columns=["message"])
        return {"rows": rows} if self.interrupted else {"rows": rows, "table": self.table()}

    def figures(self) -> dict[str, Callable[[Path], Any]]:
        return {
            "formulations-violation.png": lambda path: plots.violations(self, path),
            "formulations-hits.png": lambda path: plots.hits(self, path),
        }

    @property
    def rows(self) -> Any:
        """One row per run, with the method's parameters, ``regime``, ``violation``, ``gap`` and ``hit``."""
        import pandas

        rows = self.comparison.rows
        rows = rows[np.isfinite(rows["objective"])].copy()
        described = pandas.DataFrame(
            [{"solver": m.label, "formulation": m.formulation, "by": m.solver, "alpha": m.alpha, "weight": m.weight}
             for m in self.methods]
        )  # fmt: skip
        rows = rows.merge(described, on="solver")
        rows["regime"] = [self.comparison.problems[name].problem.parts[0].regime for name in rows["problem"]]
        rows["violation"] = rows[["stable_rank_error", "spectral_norm_error"]].max(axis=1)
        rows["gap"] = (rows["objective"] - rows["problem"].map(self.optima)) / rows["squared_norm"]
        rows["hit"] = rows["feasible"] & (rows["gap"] <= NEAR)
        return rows

    def table(self) -> Any:
        """One row for each method, best first: fractions of the starts, medians, and evaluations per hit."""
        keys = ["formulation", "by", "alpha", "weight"]
        grouped = self.rows.groupby(keys, sort=False, dropna=False)
        table = grouped.agg(
            runs=("hit", "size"),
            feasible=("feasible", "mean"),
            hit=("hit", "mean"),
            violation=("violation", "median"),
            evaluations=("evaluations", "mean"),
            time=("time", "mean"),
        ).reset_index()
        for regime in ("reduce", "raise"):
            own = self.rows[self.rows["regime"] == regime].groupby(keys, sort=False, dropna=False)["hit"].mean()
            table[f"hit_{regime}"] = table.merge(own.rename("own").reset_index(), on=keys, how="left")["own"]
        with np.errstate(divide="ignore"):
            table["evaluations_per_hit"] = table["evaluations"] / table["hit"]
        return table.sort_values(["hit", "feasible", "violation"], ascending=[False, False, True], ignore_index=True)

    def best_fixed(self) -> Any:
        """The best row of each formulation whose parameters stay fixed."""
        table = self.table()
        return table[table["weight"].notna()].drop_duplicates("formulation")

    def summary(self) -> str:
        rows, table = self.rows, self.table()
        fixed, changed = rows[rows["weight"].notna()], table[table["weight"].isna()]
        log = rows[rows["formulation"] == "log-sum-exp"]
        best = self.best_fixed().iloc[0]
        feasible = table[table["weight"].notna()].sort_values("feasible", kind="stable").iloc[-1]
        cheapest = changed.sort_values("evaluations_per_hit", kind="stable").iloc[0]
        riemannian = changed[changed["by"] != "SLSQP"].iloc[0]
        slsqp = table[table["by"] == "SLSQP"].iloc[0]

        def violation(alpha: float, weight: float) -> str:
            return f"{log[(log['alpha'] == alpha) & (log['weight'] == weight)]['violation'].median():.1g}"

        lines = [
            f"Methods with fixed parameters do not solve the problem: of {len(fixed)} runs, "
            f"{_percent(fixed['feasible'].mean())} end feasible and {_percent(fixed['hit'].mean())} at the optimum. "
            f"The best such method, {_name(best)}, hits from {_percent(best['hit'])} of its starts. The method that is "
            f"most often feasible ({_percent(feasible['feasible'])}), {_name(feasible)}, hits from "
            f"{_percent(feasible['hit'])}, because the distance has almost no weight.",
            f"With the paper's `α = 10` and `λ = 0.1`, the median violation of log-sum-exp over four optimizers is "
            f"{violation(10, 0.1)}. With `λ = 1e-7` the bias of `α` remains ({violation(10, 1e-7)}); with `α = 1e5` "
            f"the bias of `λ` remains ({violation(1e5, 0.1)}). With both changes it is {violation(1e5, 1e-7)}.",
            f"Methods that change their parameters during the run do solve it. The best Riemannian method is "
            f"{_name(riemannian)}, which hits from {_percent(riemannian['hit'])} of the starts "
            f"({_percent(riemannian['hit_reduce'])} when the stable rank is reduced, "
            f"{_percent(riemannian['hit_raise'])} when it is raised), with "
            f"{riemannian['evaluations_per_hit']:.0f} evaluations per hit. SLSQP, which uses the constraints directly, "
            f"hits from {_percent(slsqp['hit'])}, with {slsqp['evaluations_per_hit']:.0f} evaluations per hit. "
            f"The method with the fewest evaluations per hit, {cheapest['evaluations_per_hit']:.0f}, is "
            f"{_name(cheapest)}. This number does not include products with Hessians.",
            "Methods for nonsmooth functions use the exact maximum directly, and converge slowly: gradient sampling "
            f"hits from {_percent(_hit_share(table, 'gradient sampling'))} of the starts, the subgradient method from "
            f"{_percent(_hit_share(table, 'subgradients, levels'))} with levels and from "
            f"{_percent(_hit_share(table, 'subgradients, diminishing steps'))} with diminishing steps.",
            "No method hits from every start. Most starts that miss end at a wrong frequency. The explicit solution "
            "needs no start.",
        ]
        return "\n".join(f"- {line}" for line in lines)

    def document(self) -> str:
        table = self.table()
        return _TEXT.format(
            seeds=self.seeds,
            runs=len(self.rows),
            n_problems=len(self.optima),
            left_out="; ".join(self.left_out) or "none",
            findings=self.summary(),
            changed=_markdown(table[table["weight"].isna()]),
            best=_markdown(self.best_fixed()),
            fixed=_markdown(table[table["weight"].notna()]),
        )


def run(
    seeds: Iterable[int] | None = None,
    *,
    budget: Budget | None = None,
    progress: Progress = silent,
    output: Path | None = None,
    **options: Any,
) -> FormulationsFindings:
    """Run the study; see :func:`srnc_manifold.studies.run`. By default, a run takes at most one second."""
    (part,) = definition().changed(seeds, budget).parts
    problems: list[Entry] = []
    optima, left_out = {}, []
    for label, problem in study_problems().items():
        result = solve(problem)
        assert result.gap is not None
        assert result.evaluation is not None
        if result.gap <= _CERTIFIED:
            problems.append(NamedProblem(label, problem))
            optima[label] = result.evaluation.objective
        else:
            left_out.append(f"{label} (gap {result.gap:.0e})")
    comparison = replace(part, problems=problems).compare(
        progress=lambda done, total, _: progress("runs", done, total),
        store=None if output is None else store_path(output, FormulationsFindings.name),
        **options,
    )
    return FormulationsFindings(formulations(), comparison, optima, left_out, len(part.seeds))


def _hit_share(table: Any, solver: str) -> float:
    return float(table[table["by"] == solver]["hit"].iloc[0])


def _percent(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"


def _name(row: Any) -> str:
    parameters = [f"{name} = {row[key]:g}" for name, key in (("α", "alpha"), ("λ", "weight")) if row[key] == row[key]]
    return f"{row['formulation']} by {row['by']}" + (f" ({', '.join(parameters)})" if parameters else "")


def _markdown(table: Any) -> str:
    headers = ["formulation", "by", "α", "λ", "feasible", "hit", "reduce", "raise"]
    headers += ["violation", "evaluations", "per hit"]
    rows = [
        [
            row["formulation"],
            row["by"],
            *(f"{row[key]:g}" if row[key] == row[key] else "" for key in ("alpha", "weight")),
            *(f"{row[key]:.2f}" for key in ("feasible", "hit", "hit_reduce", "hit_raise")),
            f"{row['violation']:.0e}",
            f"{row['evaluations']:.0f}",
            f"{row['evaluations_per_hit']:.0f}" if np.isfinite(row["evaluations_per_hit"]) else "",
        ]
        for row in table.to_dict("records")
    ]
    return markdown_table(headers, rows, left=(0, 1))


_TEXT = f"""\
# Which formulation works

Regenerated by `srnc study formulations --seeds {{seeds}} --output docs --overwrite`.

The paper minimizes `(g(z) − c)² + λ‖C(x) − C(a)‖²` on the sphere, where `g` is a smooth maximum (log-sum-exp, `α`).
This study compares formulations × optimizers × `α` × `λ` × targets on {{n_problems}} problems: the paper's instance,
and random kernels in 1-D, 2-D and with channels. The targets of the random kernels are at 0.3 and 0.7 of the way from
the least feasible stable rank to the kernel's stable rank, and halfway from there to the largest one.
With {{seeds}} random starts each, these are {{runs}} runs. A run takes at most one second.
A start *hits* if its result, as found, meets the constraints to {FEASIBILITY_TOLERANCE:g} and its objective exceeds the
certified optimum by at most {NEAR:g} of `‖C(a)‖²`. The methods do not know this optimum.
Problems left out because their optimum is not certified: {{left_out}}.

## What was found

{{findings}}

![Violation against λ](images/formulations-violation.png)

*Median violation of the results as found, over all problems and starts. The optimizer is trust regions. Two methods
that change their parameters are shown for comparison.*

![Hits against evaluations](images/formulations-hits.png)

*Fraction of starts that hit, against evaluations per start. Methods with fixed parameters are grey; for each
formulation and optimizer, only the best choice of `α` and `λ` is shown.*

## Methods that change their parameters

*Feasible* and *hit* are fractions of the starts; *reduce* and *raise* are the fractions that hit in each regime. The
violation is the median over the starts. *Evaluations* is the mean per start, *per hit* the number for each hit.

{{changed}}

## The best of each formulation with fixed parameters

{{best}}

## All of them

{{fixed}}
"""
