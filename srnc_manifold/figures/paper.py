"""Figures 1 to 3 of the paper, with its parameters, and what they leave open."""

from __future__ import annotations

from pathlib import Path

import srnc_manifold as srnc
from srnc_manifold import plots
from srnc_manifold.figures.runs import ALPHAS, INSTANCE, STEPS, WEIGHTS, Runs, settled_at
from srnc_manifold.plots.drawing import QUIET, figure_of, legend, saved


def figure_1(path: Path, _runs: Runs) -> None:
    """The two leading eigenvalues of ``B_l`` for three taps on 64 points."""
    plots.eigenvalues(INSTANCE, path=path)


def figure_2(path: Path, runs: Runs) -> None:
    """The descent on a map of the sphere, with the optimum beside it."""
    plots.trajectory(_labelled(runs), INSTANCE, path)


def figure_2_ball(path: Path, runs: Runs) -> None:
    """The same on the sphere itself."""
    plots.sphere(_labelled(runs), INSTANCE, path)


def figure_3(path: Path, runs: Runs) -> None:
    """Loss and stable rank of the descent, with where they would end, and the target."""
    settled = runs.settled
    assert settled.evaluation is not None
    cost, rank = settled.cost, settled.evaluation.stable_rank
    ends = {
        "cost": (cost, f"where the loss settles: {cost:.4g}"),
        "stable_rank": (rank, f"where the stable rank settles: {rank:.4g}"),
    }
    with figure_of(None, (10.0, 4.6), 2) as (figure, panels):
        for axes, (name, (value, label)) in zip(panels, ends.items(), strict=True):
            plots.history(_labelled(runs), "iteration", name, ax=axes)
            axes.get_legend().remove()
            axes.axhline(value, color=QUIET, linestyle="--", linewidth=1.2, label=label)
            axes.set_xscale("linear")
            axes.set_xlim(-0.02 * STEPS, 1.02 * STEPS)
            axes.set_xlabel("iteration, of step size 1e-5")
        panels[0].set_ylabel("loss h(z), (16) of the paper")
        told = f"target {INSTANCE.stable_rank:g}, of which the paper says nothing"
        panels[1].axhline(INSTANCE.stable_rank, color=QUIET, linestyle=":", linewidth=1.4, label=told)
        legend(figure, panels, own=True, columns=2)
        saved(figure, path)


def settling(path: Path, runs: Runs) -> None:
    """The stable rank at which the formulation settles, by its two parameters."""
    import pandas

    cells = []
    for alpha in ALPHAS:
        runs.report(f"α = {alpha:g}")
        cells += [{"α": alpha, "λ": weight, "stable_rank": settled_at(alpha, weight).stable_rank} for weight in WEIGHTS]
    with figure_of(None, (6.4, 4.0)) as (figure, (axes,)):
        plots.heat_map(pandas.DataFrame(cells), "stable_rank", rows="λ", columns="α", ax=axes)
        axes.set_title(f"stable rank where the cost (16) is least; the target is {INSTANCE.stable_rank:g}", fontsize=9)
        saved(figure, path)


def _labelled(runs: Runs) -> dict[str, srnc.Result]:
    """The descent, with how far it came."""
    found = runs.descent
    assert found.evaluation is not None
    norm = found.history["gradient_norm"][-1]
    reached = f"stable rank {found.evaluation.stable_rank:.4g}, norm of the gradient {norm:.2g}"
    label = f"the paper's descent, {STEPS:,} steps: {reached}"
    return {label: found}
