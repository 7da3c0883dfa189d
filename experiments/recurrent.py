"""Recurrent denoisers of video: does a lower stable rank keep the loop from diverging, beyond what its norm does?

    python experiments/recurrent.py                     # some hours on two cores; goes on where it was stopped
    python experiments/recurrent.py --smoke             # a minute: the claims that are asserted

Small networks are trained on clips of a few frames, and then run on thousands. The convolutions of their loops are
normalized in training by several methods; beside them are controls, above all the same Frobenius norm without a look at
the norm. See ``recurrent.toml``, which may be changed or replaced (``--config``).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from experiment import Experiment, main
from intervals import told
from tables import expanded

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table

# Of the tested weights against what was asked.
TOLERANCE = 1e-3


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
        errors = [row[name] for name in ("norm_error", "stable_rank_error") if row.get(name) == row.get(name)]
        if not all(error <= TOLERANCE for error in errors):
            wrong.append(f"{who}: the targets are missed by {errors}")
    return wrong


def report(rows: Any) -> str:
    """A table for each network and gain: one line for each method, means over the seeds with intervals."""
    parts = []
    for (loop, gain), block in rows.groupby(["loop", "gain"], sort=False):
        lines = [_line(label, own) for label, own in block.groupby("label", sort=False)]
        headers = [
            "method",
            "norm",
            "stable rank",
            "Frobenius norm",
            "radius",
            "diverged",
            "onset",
            "PSNR 4 to 8",
            "at 100",
        ]
        headers += ["at 600", "at 3,000", "moving", "each frame alone"]
        parts.append(f"## {'Linear' if loop == 'linear' else 'ReLU'} loop, gain {gain:g}\n")
        parts.append(markdown_table(headers, lines, left=(0,)))
    return "\n".join(parts)


def _line(label: str, rows: Any) -> list[str]:
    """One line of the table; of two convolutions the norms are multiplied and the stable ranks are means."""
    which = [""] if "norm" in rows and rows["norm"].notna().all() else ["_1", "_2"]
    norm = rows[[f"norm{w}" for w in which]].prod(axis=1)
    rank = rows[[f"stable_rank{w}" for w in which]].mean(axis=1)
    size = rows[[f"frobenius{w}" for w in which]].prod(axis=1)
    radius = told(rows["radius"], 3) if len(which) == 1 else ""
    onsets = rows["onset"].dropna()
    psnr = [told(rows[f"psnr_{name}"]) if f"psnr_{name}" in rows else "" for name in ("4_8", "100", "600", "3000")]
    return [
        label, told(norm, 3), told(rank, 0), told(size, 1), radius, f"{len(onsets)} of {len(rows)}",
        f"{onsets.median():.0f}" if len(onsets) else "", *psnr,
        *(told(rows[name]) for name in ("psnr_moving", "psnr_moving_alone")),
    ]  # fmt: skip


def figure(rows: Any, path: Path) -> None:
    """PSNR at the end against that of the first frames, and the radius against the stable rank, by method."""
    from matplotlib.figure import Figure

    with srnc.plots.style():
        drawn = Figure(figsize=(10, 4.2))
        left, right = drawn.subplots(1, 2)
        last = max((name for name in rows if name.startswith("psnr_") and name[5:].isdigit()), key=lambda n: int(n[5:]))
        for k, (label, own) in enumerate(
            rows.groupby(rows["label"].str.replace(r" [\d., ]+$", "", regex=True), sort=False)
        ):
            mark = {"marker": "osD^v<>P"[k % 8], "linestyle": "", "label": label, "markersize": 5, "alpha": 0.8}
            left.plot(own["psnr_4_8"], own[last].fillna(0).clip(lower=0), **mark)
            if "radius" in own:
                right.plot(own["stable_rank"], own["radius"], **mark)
        left.set(xlabel="PSNR of frames 4 to 8, dB", ylabel=f"PSNR at frame {last[5:]}, dB; 0: diverged")
        right.set(xlabel="stable rank of the loop", ylabel="spectral radius of the loop", xscale="log")
        right.axhline(1.0, color="0.35", linestyle="--", linewidth=1)
        drawn.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        drawn.savefig(path)


EXPERIMENT = Experiment("recurrent", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
