"""The study of SRN-C: the experiment of the paper's section 2.2 repeated, and two repairs of the method."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.operators.feature_maps import Convolution
from srnc_manifold.operators.measures import singular_values
from srnc_manifold.problem import SRNProblem
from srnc_manifold.problem.families import NamedProblem, load_family, partway
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Result
from srnc_manifold.solvers import SRNC, Budget, Solver, solve
from srnc_manifold.validation import require_count

SIZES = (8, 16, 32, 64)
BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: A singular value below this fraction of the largest one counts as zero.
_RANK_TOLERANCE = 1e-10

# Time limit for one problem of the raise regime, where the search may not end on its own.
_RAISE_BUDGET = Budget(max_time=1.0)

Progress = Callable[[str, int, int], Any]


def _silent(step: str, done: int, total: int) -> None:
    """Show no progress."""


def first_atom(problem: SRNProblem, rng: int = 0) -> np.ndarray:
    """The kernel ``a₁ = ∇_x (u₁ᵀ (x ∗ v₁))`` that SRN-C computes from the problem's kernel (paper, (6))."""
    convolution = Convolution(problem.geometry)
    start = np.random.default_rng(rng).standard_normal(convolution.input_shape)
    pair = convolution.top_pair(problem.unit_kernel, start, tol=1e-10, max_steps=20_000)
    return convolution.gradient(pair.u, pair.v)


def delivered(
    kernels: int = 3, sizes: Sequence[int] = SIZES, betas: Sequence[float] = BETAS, progress: Progress = _silent
) -> Any:
    """Results of SRN-C and of :class:`srnc_manifold.solvers.Exact` in the experiment of the paper's section 2.2.

    The kernels are random, of shape ``(1, 1, 3, 3)``.

    Parameters
    ----------
    kernels : int
        Number of random kernels. Their seeds are 0, 1, …
    sizes : sequence of int
        Values of ``N``; the input has ``N × N`` points.
    betas : sequence of float
        Values of ``β``; the target is ``β N²``.
    progress : callable, optional
        Called with the name of the current step, the amount done and the total amount.

    Returns
    -------
    pandas.DataFrame
        One row for each size, target and kernel. It has the ``regime`` (``"infeasible"``, ``"reduce"`` or ``"raise"``),
        the norm and rank of the operator of ``a₁``, and, for SRN-C and for ``Exact``, the spectral norm and stable rank
        divided by their targets. These are NaN if the target is infeasible.
    """
    import pandas

    require_count(kernels=kernels)
    rows: list[dict[str, Any]] = []
    total = kernels * len(sizes) * len(betas)
    for size in sizes:
        for seed in range(kernels):
            kernel = np.random.default_rng(seed).standard_normal((1, 1, 3, 3))
            own = SRNProblem(kernel, (size, size), stable_rank_fraction=1.0)
            values = singular_values(first_atom(own), (size, size))
            of_atom = {"atom_norm": values[0], "atom_rank": int(np.sum(values > _RANK_TOLERANCE * values[0]))}
            for beta in betas:
                row = {"size": size, "beta": beta, "seed": seed, **of_atom, **_one_target(own, beta)}
                rows.append(row)
                progress("targets", len(rows), total)
    return pandas.DataFrame(rows)


def _one_target(own: SRNProblem, beta: float) -> dict[str, Any]:
    low, high = own.feasible_range
    ranges = {"srnc_norm": np.nan, "srnc_rank": np.nan, "our_norm": np.nan, "our_rank": np.nan, "our_gap": np.nan}
    target = beta * high
    if target < low:
        return {**ranges, "regime": "infeasible"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table has a column for the regime, so no warning is needed
        problem = SRNProblem(own.kernel, own.input_size, stable_rank=target)
    published = _ratios(problem, solve(problem, SRNC(), rng=0))
    ours = solve(problem, budget=_RAISE_BUDGET if problem.regime == "raise" else None)
    norm, rank = _ratios(problem, ours)
    return {
        "regime": problem.regime,
        "srnc_norm": published[0],
        "srnc_rank": published[1],
        "our_norm": norm,
        "our_rank": rank,
        "our_gap": ours.gap,
    }


def _ratios(problem: SRNProblem, result: Result) -> tuple[float, float]:
    """Spectral norm and stable rank, divided by their targets."""
    scores = problem.evaluate(result.kernel)
    return scores.spectral_norm / problem.spectral_norm, scores.stable_rank / problem.stable_rank


def repairs(cases: int = 300, sizes: Sequence[int] = (16, 32), progress: Progress = _silent) -> Any:
    """Results of SRN-C, one repaired step and the repaired iteration on random 3×3 kernels.

    All targets reduce the stable rank. The sizes take turns. The targets are uniform between the least feasible
    stable rank and the kernel's stable rank.

    Returns
    -------
    pandas.DataFrame
        One row for each case and method: ``violation``, the larger of the relative errors of norm and stable rank;
        ``empty_cap``, whether the first atom's cap was empty; ``convolutions``; and ``excess``, the objective minus the
        certified optimum, divided by ``‖C(a)‖²``.
    """
    import pandas

    require_count(cases=cases)
    methods: dict[str, Solver] = {
        "SRN-C": SRNC(),
        "one repaired step": SRNC(repair="step"),
        "iterated": SRNC(repair="iterated"),
    }
    rows: list[dict[str, Any]] = []
    for case in range(cases):
        size = sizes[case % len(sizes)]
        rng = np.random.default_rng(case)
        problem = partway(rng.standard_normal((3, 3)), (size, size), rng.uniform(0.02, 0.98))
        optimum = solve(problem)
        assert optimum.evaluation is not None
        for method, solver in methods.items():
            result = solve(problem, solver, rng=case)
            assert result.evaluation is not None
            rows.append(
                {
                    "case": case,
                    "size": size,
                    "method": method,
                    "violation": result.evaluation.violation,
                    "empty_cap": bool(result.details["empty_cap"]),
                    "convolutions": result.details["convolutions"],
                    "excess": (result.evaluation.objective - optimum.evaluation.objective) / problem.squared_norm,
                    "gap": optimum.gap,
                }
            )
        progress("repairs", case + 1, cases)
    return pandas.DataFrame(rows)


def layers(problems: Iterable[Any] = ("pretrained",), progress: Progress = _silent) -> Any:
    """Results of SRN-C, its repaired iteration and ``Exact`` on the layers of a family of problems.

    Layers that are not installed are left out.

    Returns
    -------
    pandas.DataFrame
        One row for each layer: the norm of the operator of ``a₁``; and, for each of the three methods, the spectral
        norm and stable rank divided by their targets.
    """
    import pandas

    entries = [entry for family in problems for entry in load_family(family) if isinstance(entry, NamedProblem)]
    rows: list[dict[str, Any]] = []
    for done, entry in enumerate(entries, 1):
        problem = entry.problem
        assert isinstance(problem, SRNProblem)
        row: dict[str, Any] = {"layer": entry.name, "shape": "×".join(map(str, problem.kernel.shape))}
        size = problem.input_size
        layout = {name: getattr(problem.geometry, name) for name in ("groups", "stride", "dilation")}
        row["atom_norm"] = singular_values(first_atom(problem), size, **layout)[0]
        budget = Budget(max_time=20.0)
        for name, solver in (("srnc", SRNC()), ("repaired", SRNC(repair="iterated")), ("our", None)):
            result = solve(problem, solver, rng=0, budget=budget)
            row[f"{name}_norm"], row[f"{name}_rank"] = _ratios(problem, result)
        rows.append(row)
        progress("layers", done, len(entries))
    return pandas.DataFrame(rows)


# -- tables and document ----------------------------------------------------------------------------------------


def delivered_table(frame: Any) -> str:
    """Markdown table of :func:`delivered`: medians over the kernels."""
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
    """Markdown table of :func:`repairs`."""
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
    """Markdown table of :func:`layers`."""
    names = [f"{name}_{kind}" for name in ("srnc", "repaired", "our") for kind in ("norm", "rank")]
    rows = [
        [row["layer"], row["shape"], f"{row['atom_norm']:.2f}", *(_ratio(row[name]) for name in names)]
        for row in frame.to_dict("records")
    ]
    headers = ["layer", "weights", "‖C(a₁)‖₂", "SRN-C: norm", "stable rank", "repaired: norm", "stable rank"]
    return markdown_table([*headers, "ours: norm", "stable rank"], rows, left=(0, 1))


def _ratio(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def document(kernels: int = 3, cases: int = 300, progress: Progress = _silent) -> str:
    """The whole study as a Markdown document."""
    first = delivered_table(delivered(kernels, progress=progress))
    second = repairs_table(repairs(cases, progress=progress))
    third = layers_table(layers(progress=progress))
    return _TEXT.format(kernels=kernels, cases=cases, delivered=first, repairs=second, layers=third)


_TEXT = """\
# What SRN-C delivers

Regenerated by `srnc analyse-srnc --kernels {kernels} --cases {cases} --output docs/srnc.md`.

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

{delivered}

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

## Layers of real networks

The targets are halfway between the least feasible stable rank and the kernel's stable rank. Norms and stable ranks are
divided by their targets.

{layers}
"""
