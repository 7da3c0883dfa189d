"""The study of SRN-C: the experiment of the paper's section 2.2 repeated, and two repairs of the method."""

from __future__ import annotations

import functools
import importlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.comparison.rows import Key
from srnc_manifold.operators.measures import singular_values
from srnc_manifold.problem import SRNProblem
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Result
from srnc_manifold.solvers import Budget
from srnc_manifold.studies.base import Findings, Progress, silent, store_path
from srnc_manifold.studies.definition import Study, read_study

# A singular value below this fraction of the largest one counts as zero.
_RANK_TOLERANCE = 1e-10

# Solvers of the study by their labels, with what they are called in the document.
_PUBLISHED, _OURS = "srn-c", "exact"
_REPAIRS = {_PUBLISHED: "SRN-C", "srn-c-one-step": "one repaired step", "srn-c-repaired": "iterated"}
_OF_LAYERS = {_PUBLISHED: "srnc", "srn-c-repaired": "repaired", _OURS: "our"}


def definition() -> Study:
    """What the study runs."""
    return read_study(Path(__file__).with_suffix(".toml"))


def _family() -> Any:
    """The family of the problems, :mod:`srnc_manifold.problems.srnc`."""
    return importlib.import_module("srnc_manifold.problems.srnc")


def first_atom(problem: SRNProblem) -> np.ndarray:
    """The kernel ``a₁ = ∇_x (u₁ᵀ (x ∗ v₁))`` that SRN-C computes from the problem's kernel (paper, (6)).

    From the symbol: docs/theory.md, proposition 18.
    """
    return problem.operator.dominant_atom(problem.unit_kernel).reshape(problem.kernel.shape)


@dataclass(frozen=True, repr=False, eq=False)
class SRNCFindings(Findings):
    """Outcome of :func:`run`."""

    name: ClassVar[str] = "srnc"

    comparison: Comparison

    @property
    def interrupted(self) -> bool:  # type: ignore[override]
        return self.comparison.interrupted

    @functools.cached_property
    def _keys(self) -> dict[tuple[str, str], list[Key]]:
        """The runs by the names of problem and solver, one for each start."""
        found: dict[tuple[str, str], list[Key]] = {}
        for row in self.comparison.row_list:
            if row.key in self.comparison.results:
                found.setdefault(row.key[:2], []).append(row.key)
        return found

    def _results(self, problem: str, solver: str) -> list[Result]:
        return [self.comparison.results[key] for key in self._keys.get((problem, solver), ())]

    @functools.cached_property
    def starts(self) -> int:
        """Number of starts of power iteration."""
        return max((len(keys) for (_, solver), keys in self._keys.items() if solver == _PUBLISHED), default=0)

    @functools.cached_property
    def targets(self) -> Any:
        """Of each target of the paper's experiment, and of each start: what SRN-C and :class:`Exact` return.

        A DataFrame: ``regime`` (``"infeasible"``, ``"reduce"`` or ``"raise"``), norm and rank of the operator of
        ``a₁``, and, for SRN-C and for ``Exact``, the spectral norm and stable rank divided by their targets.
        """
        import pandas

        family, rows = _family(), []
        for size, number in itertools.product(family.SIZES, range(family.KERNELS)):
            own = SRNProblem(family.kernel(number), (size, size), stable_rank_fraction=1.0)
            low, high = own.feasible_range
            atom = first_atom(own)
            values = singular_values(atom, (size, size))
            rank = int(np.sum(values > _RANK_TOLERANCE * np.max(values)))
            of_atom = {"atom_norm": float(np.max(values)), "atom_rank": rank}
            for beta in family.BETAS:
                name, row = family.target_name(number, size, beta), {"size": size, "beta": beta, "kernel": number}
                if beta * high < low:
                    rows.append({**row, "start": 0, "regime": "infeasible", **of_atom})
                ours = self._results(name, _OURS)
                for start, result in enumerate(self._results(name, _PUBLISHED) if ours else ()):
                    problem = self._problem(name)
                    published, own_row = _ratios("srnc", problem, result), _ratios("our", problem, ours[0])
                    scores = {**of_atom, **published, **own_row, "our_gap": ours[0].gap}
                    rows.append({**row, "start": start, "regime": problem.regime, **scores})
        return pandas.DataFrame(rows).sort_values(["size", "beta", "kernel", "start"], ignore_index=True)

    @functools.cached_property
    def repairs(self) -> Any:
        """Of each case, method and start.

        A DataFrame: ``violation``, the larger of the relative errors of norm and stable rank; ``empty_cap``, whether
        the first atom's cap was empty; ``convolutions``; ``excess``, the objective minus the certified optimum, divided
        by ``‖C(a)‖²``; and the ``gap`` of this optimum.
        """
        import pandas

        family, rows = _family(), []
        for case in range(family.CASES):
            name = family.case_name(case)
            for optimum, (label, method) in itertools.product(self._results(name, _OURS), _REPAIRS.items()):
                for start, result in enumerate(self._results(name, label)):
                    assert optimum.evaluation is not None
                    assert result.evaluation is not None
                    excess = result.evaluation.objective - optimum.evaluation.objective
                    row = {"case": case, "size": family.case_size(case), "method": method, "start": start}
                    scores = {
                        "violation": result.evaluation.violation,
                        "empty_cap": bool(result.details["empty_cap"]),
                        "convolutions": result.details["convolutions"],
                        "excess": excess / self._problem(name).squared_norm,
                        "gap": optimum.gap,
                    }
                    rows.append({**row, **scores})
        return pandas.DataFrame(rows)

    @functools.cached_property
    def layers(self) -> Any:
        """Of each layer of a network, and each start of power iteration.

        A DataFrame: the norm of the operator of ``a₁``; and, for SRN-C, its repaired iteration and ``Exact``, the
        spectral norm and stable rank divided by their targets.
        """
        import pandas

        family, rows = _family().names(), []
        for name in (name for name in self.comparison.problems if name not in family):
            problem = self._problem(name)
            atom_norm = math.sqrt(problem.operator.gain(first_atom(problem)))
            found = {method: self._results(name, label) for label, method in _OF_LAYERS.items()}
            for start in range(max(map(len, found.values()))):
                shape = "×".join(map(str, problem.kernel.shape))
                row: dict[str, Any] = {"layer": name, "shape": shape, "start": start, "atom_norm": atom_norm}
                for method, results in found.items():  # nothing is random in the last one, which has one result
                    row |= _ratios(method, problem, results[min(start, len(results) - 1)]) if results else {}
                rows.append(row)
        return pandas.DataFrame(rows)

    def _problem(self, name: str) -> SRNProblem:
        problem = self.comparison.problems[name].problem
        assert isinstance(problem, SRNProblem)
        return problem

    def tables(self) -> dict[str, Any]:
        return {"targets": self.targets, "repairs": self.repairs, "layers": self.layers}

    def summary(self) -> str:
        feasible = self.targets[self.targets["regime"] != "infeasible"]
        norm, rank = feasible["srnc_norm"], feasible["srnc_rank"]
        lines = [
            f"On {len(feasible)} feasible targets of the paper's experiment, the spectral norm of SRN-C is "
            f"{norm.min():.2f} to {norm.max():.2f} times its target, and the stable rank {rank.min():.2f} to "
            f"{rank.max():.2f} times. `Exact` meets both with a relative error of at most "
            f"{np.abs(feasible[['our_norm', 'our_rank']] - 1).to_numpy().max():.0e}.",
        ]
        for method, block in self.repairs.groupby("method", sort=False):
            met = np.mean(block["violation"] <= FEASIBILITY_TOLERANCE)
            lines.append(f"{method}: meets both constraints in {100 * met:.1f} % of {len(block)} random cases.")
        return "\n".join(f"- {line}" for line in lines)

    def document(self) -> str:
        family = _family()
        return _TEXT.format(
            starts=self.starts,
            kernels=family.KERNELS,
            cases=family.CASES,
            targets=targets_table(self.targets),
            repairs=repairs_table(self.repairs),
            layers=layers_table(self.layers),
        )


def _ratios(method: str, problem: SRNProblem, result: Result) -> dict[str, float]:
    """Spectral norm and stable rank, divided by their targets."""
    scores = result.evaluation
    assert scores is not None
    return {
        f"{method}_norm": scores.spectral_norm / problem.spectral_norm,
        f"{method}_rank": scores.stable_rank / problem.stable_rank,
    }


def run(
    seeds: Iterable[int] | None = None,
    *,
    budget: Budget | None = None,
    progress: Progress = silent,
    output: Path | None = None,
    **options: Any,
) -> SRNCFindings:
    """Run the study; see :func:`srnc_manifold.studies.run`.

    Seeds are of the starts of power iteration; by default there is one. Layers that are not installed are left out.
    """
    comparison = (
        definition()
        .changed(seeds, budget)
        .compare(
            progress=lambda done, total, _: progress("runs", done, total),
            store=None if output is None else store_path(output, SRNCFindings.name),
            **options,
        )
    )
    return SRNCFindings(comparison)


# -- tables and document ----------------------------------------------------------------------------------------


def targets_table(frame: Any) -> str:
    """Markdown table of :attr:`SRNCFindings.targets`: medians over the kernels."""
    rows = []
    for (size, beta), block in frame.groupby(["size", "beta"], sort=False):
        counts = block.drop_duplicates("kernel")["regime"].value_counts()
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("infeasible", "reduce", "raise") if kind in counts)
        feasible = block[block["regime"] != "infeasible"]
        cells = [_ratio(feasible[name].median()) for name in ("srnc_norm", "srnc_rank", "our_norm", "our_rank")]
        gap = feasible["our_gap"].max()
        proved = "" if np.isnan(gap) else "0" if gap < 1e-9 else f"{gap:.0e}"
        rank = f"{block['atom_rank'].median():.0f} of {size * size}"
        rows.append([f"{size}", f"{beta:g}", kinds, f"{block['atom_norm'].median():.2f}", rank, *cells, proved])
    headers = ["N", "β", "targets", "‖C(a₁)‖₂", "rank of C(a₁)", "SRN-C: norm", "stable rank"]
    return markdown_table([*headers, "ours: norm", "stable rank", "largest gap"], rows, left=(2,))


def repairs_table(frame: Any) -> str:
    """Markdown table of :attr:`SRNCFindings.repairs`."""
    rows = []
    for (size, method), block in frame.groupby(["size", "method"], sort=False):
        missed = block[~(block["violation"] <= FEASIBILITY_TOLERANCE)]["violation"]
        met = block[block["violation"] <= FEASIBILITY_TOLERANCE]
        best = f"{100 * np.mean(met['excess'] <= 1e-6):.0f} %" if len(met) else ""
        worst = f"{met['excess'].max():.1e}" if len(met) else ""
        rows.append(
            [
                f"{size}",
                str(method),
                f"{len(block)}",
                f"{100 * len(met) / len(block):.1f} %",
                f"{missed.median():.2g} / {missed.max():.2g}" if len(missed) else "none",
                f"{int(block['empty_cap'].sum())}" if method != "SRN-C" else "",
                f"{block['convolutions'].median():.0f} / {block['convolutions'].max():.0f}",
                best,
                worst,
            ]
        )
    headers = ["N", "method", "cases", "met both to 1e-6", "missed by, median / largest", "empty cap"]
    headers += ["convolutions, median / most", "of those that met: optimal", "largest excess"]
    return markdown_table(headers, rows, left=(1,))


def layers_table(frame: Any) -> str:
    """Markdown table of :attr:`SRNCFindings.layers`."""
    names = [f"{name}_{kind}" for name in ("srnc", "repaired", "our") for kind in ("norm", "rank")]
    rows = [
        [row["layer"], row["shape"], f"{row['atom_norm']:.2f}", *(_ratio(row[name]) for name in names)]
        for row in frame.groupby(["layer", "shape"], sort=False).median().reset_index().to_dict("records")
    ]
    headers = ["layer", "weights", "‖C(a₁)‖₂", "SRN-C: norm", "stable rank", "repaired: norm", "stable rank"]
    return markdown_table([*headers, "ours: norm", "stable rank"], rows, left=(0, 1))


def _ratio(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


_TEXT = """\
# What SRN-C delivers

Regenerated by `srnc study srnc --seeds {starts} --output docs --overwrite`.

SRN-C (Tanay et al., IEEE TPAMI 45, 2023) applies the closed form for matrices to convolutions. It computes the top
singular feature maps `u₁`, `v₁` of the spectrally normalized kernel `ã`, and uses `a₁ = ∇(u₁ᵀ(x ∗ v₁))` instead of
the matrix `u₁v₁ᵀ`. It returns `a₁ + γ(ã − a₁)` with `γ = √(r − 1)/‖C(ã − a₁)‖_F`. The paper (section 2.2) explains why
this fails: `C(a₁)` has neither norm one nor rank one. In the terms of theory.md (section 13), `a₁` is an *atom*, with
`‖C(a₁)‖₂ ≥ ‖a₁‖²`, and `‖a₁‖²` can be as large as the number of taps. The mistake is to use `a₁` as if this were one.

## The paper's experiment

The kernels are random, of shape (1, 1, 3, 3), on N × N points, {kernels} for each target `β N²`. The table shows
medians over the kernels. Norms and stable ranks are divided by their targets: 1 is right. *Infeasible*: no kernel of
nine taps has such a low stable rank. *Reduce*, *raise*: the target is below or above the kernel's stable rank. *Ours*
is `Exact`. The last column is its largest gap to a proved bound, as a fraction of `‖C(a)‖²`. In the raise regime a run
is limited to one second, so the gap depends on the machine.

{targets}

## A repair

The same convolutions are enough to meet both targets. Replace `a₁ + γa₂` by `x(G)` of theory.md (section 4), compute a
new `G` from the result, and repeat until the result is stationary. No step increases the distance, because each `x(G)`
lies in the cap of the next atom. If the first cap is empty, constant and alternating feature maps are tried.
The table is for {cases} random 3×3 kernels, with targets between the least feasible stable rank and the kernel's stable
rank. *Optimal*: the objective exceeds the certified optimum by at most 1e-6 of `‖C(a)‖²`. *Excess* is in the same unit.
The two repairs are `SRNC(repair="step")` and `SRNC(repair="iterated")`.

{repairs}

One step is enough only if the first atom is already stationary and no other frequency exceeds the norm. Constant and
alternating atoms of a single channel are stationary in their own frequency. The iteration ends in a stationary point,
which is not always the best one. `Exact` finds the best one and proves that it is optimal, at a fraction of the cost. A
power iteration is stopped after 10 000 steps (20 000 convolutions); this happens if two frequencies are close to a tie.
`SRNC(pair="symbol")` is the same method without it: the pair is read from the symbol, in milliseconds.

## Layers of real networks

The targets are halfway between the least feasible stable rank and the kernel's stable rank. Norms and stable ranks are
divided by their targets.

{layers}
"""
