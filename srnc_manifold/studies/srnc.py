"""The study of SRN-C: the experiment of the paper's section 2.2 repeated, and two repairs of the method."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.operators.feature_maps import Convolution
from srnc_manifold.operators.measures import singular_values
from srnc_manifold.problem import SRNProblem
from srnc_manifold.problem.families import NamedProblem, load_family, partway
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Result
from srnc_manifold.solvers import SRNC, Budget, Solver, solve
from srnc_manifold.studies.base import Findings, Progress, experiment, silent, write_rows

SIZES = (8, 16, 32, 64)
BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: Random problems for the repaired variants, for each seed of the study.
CASES_PER_SEED = 100

#: A singular value below this fraction of the largest one counts as zero.
_RANK_TOLERANCE = 1e-10

# Time limit for one problem of the raise regime, where the search may not end on its own.
_RAISE_BUDGET = Budget(max_time=1.0)

# Time limit for one layer of a network.
_LAYER_BUDGET = Budget(max_time=20.0)


def first_atom(problem: SRNProblem, rng: int = 0) -> np.ndarray:
    """The kernel ``a₁ = ∇_x (u₁ᵀ (x ∗ v₁))`` that SRN-C computes from the problem's kernel (paper, (6))."""
    convolution = Convolution(problem.geometry)
    start = np.random.default_rng(rng).standard_normal(convolution.input_shape)
    pair = convolution.top_pair(problem.unit_kernel, start, tolerance=1e-10, max_steps=20_000)
    return convolution.gradient(pair.u, pair.v)


def target(seed: int, size: int, beta: float, budget: Budget = _RAISE_BUDGET) -> dict[str, Any]:
    """Results of SRN-C and of :class:`srnc_manifold.solvers.Exact` for one target of the paper's section 2.2.

    Parameters
    ----------
    seed : int
        Seed of the random kernel, of shape ``(1, 1, 3, 3)``.
    size : int
        ``N``; the input has ``N × N`` points.
    beta : float
        ``β``; the target is ``β N²``.
    budget : Budget, optional
        Limits of ``Exact`` if the stable rank is raised.

    Returns
    -------
    dict
        The ``regime`` (``"infeasible"``, ``"reduce"`` or ``"raise"``), the norm and rank of the operator of ``a₁``,
        and, for SRN-C and for ``Exact``, the spectral norm and stable rank divided by their targets. These are NaN if
        the target is infeasible.
    """
    kernel = np.random.default_rng(seed).standard_normal((1, 1, 3, 3))
    own = SRNProblem(kernel, (size, size), stable_rank_fraction=1.0)
    values = singular_values(first_atom(own), (size, size))
    row = {
        "size": size,
        "beta": beta,
        "seed": seed,
        "atom_norm": values[0],
        "atom_rank": int(np.sum(values > _RANK_TOLERANCE * values[0])),
        "regime": "infeasible",
        **dict.fromkeys(("srnc_norm", "srnc_rank", "our_norm", "our_rank", "our_gap"), np.nan),
    }
    low, high = own.feasible_range
    if beta * high < low:
        return row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table has a column for the regime, so no warning is needed
        problem = SRNProblem(kernel, (size, size), stable_rank=beta * high)
    row["regime"] = problem.regime
    row["srnc_norm"], row["srnc_rank"] = _ratios(problem, solve(problem, SRNC(), rng=0))
    ours = solve(problem, budget=budget if problem.regime == "raise" else None)
    row["our_norm"], row["our_rank"] = _ratios(problem, ours)
    return {**row, "our_gap": ours.gap}


def _ratios(problem: SRNProblem, result: Result) -> tuple[float, float]:
    """Spectral norm and stable rank, divided by their targets."""
    scores = problem.evaluate(result.kernel)
    return scores.spectral_norm / problem.spectral_norm, scores.stable_rank / problem.stable_rank


_REPAIRS: dict[str, Solver] = {
    "SRN-C": SRNC(),
    "one repaired step": SRNC(repair="step"),
    "iterated": SRNC(repair="iterated"),
}


def repair(case: int, method: str, sizes: Sequence[int] = (16, 32)) -> dict[str, Any]:
    """Result of SRN-C, of one repaired step or of the repaired iteration on a random 3×3 kernel.

    The target reduces the stable rank. It is uniform between the least feasible one and the kernel's own.

    Parameters
    ----------
    case : int
        Seed of the kernel and of the target. The sizes take turns.
    method : str
        One of the three.
    sizes : sequence of int, optional

    Returns
    -------
    dict
        ``violation``, the larger of the relative errors of norm and stable rank; ``empty_cap``, whether the first
        atom's cap was empty; ``convolutions``; ``excess``, the objective minus the certified optimum, divided by
        ``‖C(a)‖²``; and the ``gap`` of this optimum.
    """
    size = sizes[case % len(sizes)]
    rng = np.random.default_rng(case)
    problem = partway(rng.standard_normal((3, 3)), (size, size), rng.uniform(0.02, 0.98))
    optimum, result = solve(problem), solve(problem, _REPAIRS[method], rng=case)
    assert optimum.evaluation is not None
    assert result.evaluation is not None
    return {
        "case": case,
        "size": size,
        "method": method,
        "violation": result.evaluation.violation,
        "empty_cap": bool(result.details["empty_cap"]),
        "convolutions": result.details["convolutions"],
        "excess": (result.evaluation.objective - optimum.evaluation.objective) / problem.squared_norm,
        "gap": optimum.gap,
    }


def layer(name: str, problem: SRNProblem, budget: Budget = _LAYER_BUDGET) -> dict[str, Any]:
    """Results of SRN-C, its repaired iteration and ``Exact`` on a layer of a network.

    Returns
    -------
    dict
        The norm of the operator of ``a₁``; and, for each of the three methods, the spectral norm and stable rank
        divided by their targets.
    """
    row: dict[str, Any] = {"layer": name, "shape": "×".join(map(str, problem.kernel.shape))}
    layout = {name: getattr(problem.geometry, name) for name in ("groups", "stride", "dilation")}
    row["atom_norm"] = singular_values(first_atom(problem), problem.input_size, **layout)[0]
    for method, solver in (("srnc", SRNC()), ("repaired", SRNC(repair="iterated")), ("our", None)):
        result = solve(problem, solver, rng=0, budget=budget)
        row[f"{method}_norm"], row[f"{method}_rank"] = _ratios(problem, result)
    return row


@dataclass(frozen=True, repr=False, eq=False)
class SRNCFindings(Findings):
    """Outcome of :func:`run`.

    Attributes
    ----------
    targets, repairs, layers : DataFrame
        Rows of :func:`target`, :func:`repair` and :func:`layer`.
    seeds : int
        Number of seeds.
    """

    name: ClassVar[str] = "srnc"

    targets: Any
    repairs: Any
    layers: Any
    seeds: int
    interrupted: bool = False

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
        return _TEXT.format(
            seeds=self.seeds,
            cases=CASES_PER_SEED * self.seeds,
            targets=targets_table(self.targets),
            repairs=repairs_table(self.repairs),
            layers=layers_table(self.layers),
        )


def run(
    seeds: Iterable[int] = range(3),
    *,
    budget: Budget | None = None,
    n_jobs: int = 1,
    progress: Progress = silent,
    output: Path | None = None,
) -> SRNCFindings:
    """Run the study; see :func:`srnc_manifold.studies.run`.

    ``budget`` limits each run of ``Exact`` that raises a stable rank, and each run on a layer. Layers that are not
    installed are left out.
    """
    numbers = list(seeds)
    cases = [100 * seed + case for seed in numbers for case in range(CASES_PER_SEED)]
    named = [entry for entry in load_family("pretrained") if isinstance(entry, NamedProblem)]
    limit = () if budget is None else (budget,)
    experiments: dict[str, tuple[Callable[..., dict[str, Any]], list[tuple[Any, ...]]]] = {
        "targets": (target, [(seed, n, beta, *limit) for n in SIZES for seed in numbers for beta in BETAS]),
        "repairs": (repair, [(case, method) for case in cases for method in _REPAIRS]),
        "layers": (layer, [(entry.name, entry.problem, *limit) for entry in named]),
    }
    frames: dict[str, Any] = {}
    interrupted = False
    for name, (function, tasks) in experiments.items():
        frames[name], interrupted = experiment(name, function, tasks if not interrupted else [], n_jobs, progress)
        if output is not None:
            write_rows(output, SRNCFindings.name, name, frames[name])
    return SRNCFindings(**frames, seeds=len(numbers), interrupted=interrupted)


# -- tables and document ----------------------------------------------------------------------------------------


def targets_table(frame: Any) -> str:
    """Markdown table of :func:`target`: medians over the kernels."""
    rows = []
    for (size, beta), block in frame.groupby(["size", "beta"], sort=False):
        counts = block["regime"].value_counts()
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
    """Markdown table of :func:`repair`."""
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
    """Markdown table of :func:`layer`."""
    names = [f"{name}_{kind}" for name in ("srnc", "repaired", "our") for kind in ("norm", "rank")]
    rows = [
        [row["layer"], row["shape"], f"{row['atom_norm']:.2f}", *(_ratio(row[name]) for name in names)]
        for row in frame.to_dict("records")
    ]
    headers = ["layer", "weights", "‖C(a₁)‖₂", "SRN-C: norm", "stable rank", "repaired: norm", "stable rank"]
    return markdown_table([*headers, "ours: norm", "stable rank"], rows, left=(0, 1))


def _ratio(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


_TEXT = """\
# What SRN-C delivers

Regenerated by `srnc study srnc --seeds {seeds} --output docs --overwrite`.

SRN-C (Tanay et al., IEEE TPAMI 45, 2023) applies the closed form for matrices to convolutions. It computes the top
singular feature maps `u₁`, `v₁` of the spectrally normalized kernel `ã`, and uses `a₁ = ∇(u₁ᵀ(x ∗ v₁))` instead of
the matrix `u₁v₁ᵀ`. It returns `a₁ + γ(ã − a₁)` with `γ = √(r − 1)/‖C(ã − a₁)‖_F`. The paper (section 2.2) explains why
this fails: `C(a₁)` has neither norm one nor rank one. In the terms of theory.md (section 13), `a₁` is an *atom*, with
`‖C(a₁)‖₂ ≥ ‖a₁‖²`, and `‖a₁‖²` can be as large as the number of taps. The mistake is to use `a₁` as if this were one.

## The paper's experiment

The kernels are random, of shape (1, 1, 3, 3), on N × N points, {seeds} for each target `β N²`. The table shows
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
