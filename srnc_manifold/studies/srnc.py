"""Section 2.2 of the paper, done again and taken further: what SRN-C delivers, and what repairs it."""

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
from srnc_manifold.result import FEASIBILITY_TOLERANCE, Result
from srnc_manifold.solvers import SRNC, Budget, Solver, solve
from srnc_manifold.validation import require_count

SIZES = (8, 16, 32, 64)
BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: Parts of the largest singular value below which another one is zero.
_RANK_TOLERANCE = 1e-10

# Seconds for one problem of the raise regime, where a search may have no natural end.
_RAISE_BUDGET = Budget(max_time=1.0)

Progress = Callable[[str, int, int], Any]


def _silent(step: str, done: int, total: int) -> None:
    """No progress shown."""


def first_atom(problem: SRNProblem, rng: int = 0) -> np.ndarray:
    """SRN-C's ``a₁ = ∇_x (u₁ᵀ (x ∗ v₁))`` of the problem's kernel (paper, (6))."""
    convolution = Convolution(problem.geometry)
    start = np.random.default_rng(rng).standard_normal(convolution.input_shape)
    pair = convolution.top_pair(problem.unit_kernel, start, tol=1e-10, max_steps=20_000)
    return convolution.gradient(pair.u, pair.v)


def delivered(
    kernels: int = 3, sizes: Sequence[int] = SIZES, betas: Sequence[float] = BETAS, progress: Progress = _silent
) -> Any:
    """What SRN-C makes of random ``(1, 1, 3, 3)`` kernels, and what we do: the experiment of the paper's section 2.2.

    Parameters
    ----------
    kernels : int
        Random kernels, of seeds 0, 1, …
    sizes : sequence of int
        ``N`` of inputs of ``N × N`` points.
    betas : sequence of float
        Targets ``β N²``.
    progress : callable, optional
        Called with what is done, how much of it is, and how much there is to do.

    Returns
    -------
    pandas.DataFrame
        One row for each size, target and kernel: the ``regime`` (``"infeasible"``, ``"reduce"`` or ``"raise"``), norm
        and rank of the operator of ``a₁``, and spectral norm and stable rank over those asked for, of SRN-C and of
        ours; NaN where the target is infeasible.
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
        warnings.simplefilter("ignore", UserWarning)  # that the target raises is a column of the table
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
    """Spectral norm and stable rank over those asked for."""
    scores = problem.evaluate(result.kernel)
    return scores.spectral_norm / problem.spectral_norm, scores.stable_rank / problem.stable_rank


def repairs(cases: int = 300, sizes: Sequence[int] = (16, 32), progress: Progress = _silent) -> Any:
    """SRN-C, one repaired step and the repaired iteration on random 3×3 kernels whose stable rank is to be reduced.

    Half of the cases for each of two sizes, targets uniform between the least feasible and the kernel's own.

    Returns
    -------
    pandas.DataFrame
        One row for each case and method: ``violation``, the larger of the relative errors of norm and stable rank;
        ``empty_cap``, whether the first atom's cap was empty; ``convolutions``; and ``excess``, the objective minus the
        certified optimum over ``‖C(a)‖²``.
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
    """SRN-C, its repair and ours on the layers of a family of problems; those that are not installed are left out.

    Returns
    -------
    pandas.DataFrame
        One row for each layer: norm of the operator of ``a₁``, spectral norm and stable rank over those asked for, of
        SRN-C, of the repaired iteration, and of ours.
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


# -- for people -------------------------------------------------------------------------------------------------


def delivered_table(frame: Any) -> str:
    """Markdown of :func:`delivered`: medians over the kernels."""
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
    """Markdown of :func:`repairs`."""
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
    """Markdown of :func:`layers`."""
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
    """The whole analysis as a Markdown document."""
    first = delivered_table(delivered(kernels, progress=progress))
    second = repairs_table(repairs(cases, progress=progress))
    third = layers_table(layers(progress=progress))
    return _TEXT.format(kernels=kernels, cases=cases, delivered=first, repairs=second, layers=third)


_TEXT = """\
# What SRN-C delivers

Regenerated by `srnc analyse-srnc --kernels {kernels} --cases {cases} --output docs/srnc.md`.

SRN-C (Tanay et al., IEEE TPAMI 45, 2023) carries the closed form for matrices over to convolutions. From the top
singular feature maps `u₁`, `v₁` of the spectrally normalized kernel `ã` it takes `a₁ = ∇(u₁ᵀ(x ∗ v₁))` in the place of
the matrix `u₁v₁ᵀ`, and returns `a₁ + γ(ã − a₁)` with `γ = √(r − 1)/‖C(ã − a₁)‖_F`. The paper (section 2.2) says why
that fails: `C(a₁)` has neither norm nor rank one. In the language of theory.md (section 13) `a₁` is an *atom*, with
`‖C(a₁)‖₂ ≥ ‖a₁‖²`, which is up to the number of taps; using it as if that were one is the whole mistake.

## The paper's experiment

Random kernels of shape (1, 1, 3, 3) on N × N points, {kernels} for each target `β N²`; medians over the kernels. Norms
and stable ranks are divided by those asked for: 1 is right. *Infeasible*: no kernel of nine taps has so low a stable
rank. *Reduce*, *raise*: the target is below or above the kernel's own. Ours is `Exact`; its largest gap to a proved
bound, as a part of `‖C(a)‖²`, is in the last column. In the raise regime a run is given one second, so that the gap
depends on the machine.

{delivered}

## A repair

The same convolutions give more: with `x(G)` of theory.md (section 4) in the place of `a₁ + γa₂`, and `G` taken anew
from the result until it is stationary, both targets are met. No step increases the distance, since each `x(G)` lies in
the cap of the atom that follows. Where the first cap is empty, constant and alternating feature maps are tried.
{cases} random 3×3 kernels, targets between the least feasible and the kernel's own. *Optimal*: within 1e-6 of `‖C(a)‖²`
of the certified optimum; *excess* in the same unit. `SRNC(repair="step")`, `SRNC(repair="iterated")`.

{repairs}

One step is enough only where the first atom is stationary already, as constant and alternating ones of a single channel
are in their own frequency, and no other frequency exceeds the norm. The iteration ends in a stationary point, not
always the best one: `Exact` finds and proves that, at a fraction of the cost. A power iteration is stopped after 10 000
steps (20 000 convolutions), where two frequencies are close to a tie.

## Layers of real networks

Targets halfway to the least feasible; norms and stable ranks divided by those asked for.

{layers}
"""
