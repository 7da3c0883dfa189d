"""Recurrent denoisers of video: does a lower stable rank keep the loop from diverging, beyond what its norm does?

    python experiments/recurrent.py                     # some hours on two cores; goes on where it was stopped
    python experiments/recurrent.py --smoke             # a minute: the claims that are asserted

Small networks are trained on clips of a few frames, and then run on thousands. The convolutions of their loops are
normalized in training by several methods; beside them are controls, above all the same Frobenius norm without a look at
the norm. See ``recurrent.toml``, which may be changed or replaced (``--config``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from experiment import Experiment, main
from intervals import told
from tables import by_kind, compared, expanded, missed, targets

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.plots.drawing import saved


def grid(config: Mapping[str, Any], smoke: bool) -> list[dict[str, Any]]:
    """The settings of all cells."""
    found = []
    for run in config["smoke" if smoke else "runs"]:
        for method, gain, seed in product(expanded(run["methods"]), run["gains"], range(run["seeds"])):
            own = {name: run[name] for name in ("loop", "steps", "frames", "loss")}
            shared = {name: config[name] for name in ("training", "test")}
            found.append({**own, "gain": gain, "seed": seed, "method": method, **shared})
    return found


def check(rows: Any) -> list[str]:
    """What the smoke run asserts; the claims that do not hold."""
    wrong = []
    for row in rows.to_dict("records"):
        who = f"{row['label']}, seed {row['seed']}"
        if row["label"] == "none":
            if not (row["radius"] > 1 and row["norm_300"] > 1e6):
                wrong.append(f"{who}: radius {row['radius']:.3f}, norm after 300 frames {row['norm_300']:.1e}")
            continue
        if not row["radius"] <= 1 + 1e-6:
            wrong.append(f"{who}: radius {row['radius']:.8f}, expected at most 1")
        if not row["norm_3000"] < 1e3:
            wrong.append(f"{who}: norm after 3,000 frames {row['norm_3000']:.1e}")
    return wrong + missed(rows)


def report(rows: Any) -> str:
    """For each network and gain what the loops are, how they restore, and paired differences; means over the seeds."""
    parts = [targets(rows), ""]
    for (loop, gain), block in rows.groupby(["loop", "gain"], sort=False):
        name = f"{'Linear' if loop == 'linear' else 'ReLU'} loop, gain {gain:g}"
        own = _prepared(block)
        groups = [(label, one) for label, one in own.groupby("label", sort=False)]
        parts += [f"### {name}: the loop", "", _loops(groups), ""]
        parts += [f"### {name}: the pictures", "", _pictures(groups, block), ""]
        stability = {"radius": ("radius", 3)} if loop == "linear" else {"Lyapunov exponent": ("lyapunov", 3)}
        values = {
            **stability,
            "PSNR 4 to 8, dB": ("psnr_4_8", 2),
            "at 3,000, dB": ("psnr_3000", 2),
            "moving, dB": ("psnr_moving", 2),
        }
        parts += [f"### {name}: paired differences", "", compared(own, values), ""]
    return "\n".join(parts)


def _prepared(rows: Any) -> Any:
    """With one value for both convolutions: norms multiplied, stable ranks as means; and without what has diverged.

    That is what is worse than the noisy frames.
    """
    which = [""] if rows["norm"].notna().all() else ["_1", "_2"]
    together = {"excess": rows[[f"excess{w}" for w in which]].max(axis=1)}
    for when in ("", "_before"):
        together[f"norm{when}"] = rows[[f"norm{when}{w}" for w in which]].prod(axis=1)
        together[f"stable_rank{when}"] = rows[[f"stable_rank{when}{w}" for w in which]].mean(axis=1)
        together[f"frobenius{when}"] = rows[[f"frobenius{when}{w}" for w in which]].prod(axis=1)
    rows = rows.assign(**together)
    pictures = [name for name in rows if name.startswith("psnr")]
    noisy = [-20 * math.log10(given["sigma"] / 255) for given in rows["training"]]
    rows[pictures] = rows[pictures].where(rows[pictures].gt(noisy, axis=0))
    return rows


def _loops(groups: Sequence[tuple[str, Any]]) -> str:
    first = groups[0][1]
    digits = {"norm": 3, "stable_rank": 0, "frobenius": 1}
    lines = [["before training", *(told(first[f"{name}_before"], n) for name, n in digits.items()), "", "", ""]]
    lines += [
        [label, told(own["norm"], 3), told(own["stable_rank"], 0), told(own["frobenius"], 1),
         told(own["radius"], 3) if own["radius"].notna().any() else "", told(own["lyapunov"], 3),
         f"{own['excess'].max():.3f}" if own["excess"].notna().any() else ""]
        for label, own in groups
    ]  # fmt: skip
    headers = ["method", "norm", "stable rank", "Frobenius norm", "radius", "Lyapunov exponent", "largest excess"]
    return markdown_table(headers, lines, left=(0,))


def _pictures(groups: Sequence[tuple[str, Any]], rows: Any) -> str:
    cost = rows[rows["label"] == "none"]["training_seconds"].mean()
    lines = []
    for label, own in groups:
        onsets = own["onset"].dropna()
        state = own["norm_3000"].where(own["onset"].isna()) if "norm_3000" in own else own["norm_300"]
        psnr = [told(own[f"psnr_{name}"]) if f"psnr_{name}" in own else "" for name in ("4_8", "100", "600", "3000")]
        lines.append([
            label, f"{len(onsets)} of {len(own)}", f"{onsets.median():.0f}" if len(onsets) else "", told(state), *psnr,
            told(own["psnr_moving"]), told(own["psnr_moving_alone"]), f"{own['training_seconds'].mean() / cost:.2f}",
        ])  # fmt: skip
    headers = [
        "method",
        "diverged",
        "at frame",
        "hidden state",
        "PSNR 4 to 8",
        "at 100",
        "at 600",
        "at 3,000",
        "moving clip",
    ]
    return markdown_table([*headers, "each frame alone", "training time"], lines, left=(0,))


def figure(rows: Any, path: Path) -> None:
    """For each network and gain: PSNR at the end against that of the first frames; for linear loops, above, the radius
    against the Frobenius norm.
    """
    from matplotlib.figure import Figure

    blocks = [(names, _prepared(block)) for names, block in rows.groupby(["loop", "gain"], sort=False)]
    last = max((name for name in rows if name.startswith("psnr_") and name[5:].isdigit()), key=lambda n: int(n[5:]))
    with srnc.plots.style():
        drawn = Figure(figsize=(4.4 * max(2, len(blocks)), 7.6))
        panels = drawn.subplots(2, len(blocks), squeeze=False)
        for ((loop, gain), block), (above, below) in zip(blocks, panels.T, strict=True):
            stability = "radius" if loop == "linear" else "lyapunov"
            worst = block["psnr_4_8"].min() - 0.5  # where those are drawn that have diverged
            for mark, own in by_kind(block):
                above.plot(own["frobenius"], own[stability], **mark)
                below.plot(own["psnr_4_8"], own[last].fillna(worst), **mark)
            above.axhline(1.0 if loop == "linear" else 0.0, color="0.35", linestyle="--", linewidth=1)
            above.set(title=f"{'linear' if loop == 'linear' else 'ReLU'} loop, gain {gain:g}")
            above.set(xlabel="Frobenius norm of the loop", ylabel=_STABILITY[stability])
            above.locator_params(axis="x", nbins=5)
            below.axhline(worst, color="0.35", linestyle=":", linewidth=1)
            below.set(xlabel="PSNR of frames 4 to 8, dB", ylabel=f"at frame {last[5:]}, dB; dotted line: diverged")
        drawn.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        saved(drawn, path)


_STABILITY = {"radius": "spectral radius of the loop", "lyapunov": "Lyapunov exponent for each frame"}


EXPERIMENT = Experiment("recurrent", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
