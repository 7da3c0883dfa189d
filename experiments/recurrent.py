"""Recurrent denoisers of video: does a lower stable rank keep the loop from diverging, beyond what its norm does?

    python experiments/recurrent.py                     # some hours on two cores; goes on where it was stopped
    python experiments/recurrent.py --smoke             # a minute: the claims that are asserted

Small networks are trained on clips of a few frames, and then run on thousands. The convolutions of their loops are
normalized in training by several methods; beside them are controls, above all the same Frobenius norm without a look at
the norm. See ``recurrent.toml``, which may be changed or replaced (``--config``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import loops
import methods
import torch
import videos
from experiment import Experiment, main
from intervals import told
from measures import errors_of, expanded, measured
from torch.nn import functional

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
            found.append({**own, "gain": gain, "seed": seed, "method": method, "label": methods.label(method),
                          "training": config["training"], "test": config["test"]})  # fmt: skip
    return found


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network, freeze it, and measure it."""
    torch.manual_seed(settings["seed"])
    model = loops.LOOPS[settings["loop"]](settings["gain"])
    size = (settings["training"]["size"],) * 2
    before = [measured(layer.weight, size) for layer in model.loop()]
    wanted = [methods.asked(settings["method"], layer, size) for layer in model.loop()]
    for layer in model.loop():
        methods.apply(settings["method"], layer, size)
    began = time.process_time()
    loss = train(model, settings)
    row: dict[str, Any] = {"loss": loss, "training_seconds": time.process_time() - began}
    model.freeze()
    for k, layer in enumerate(model.loop()):
        which = "" if len(before) == 1 else f"_{k + 1}"
        now = measured(layer.weight, size)
        row |= {f"{name}_before{which}": value for name, value in before[k].items()}
        row |= {f"{name}{which}": value for name, value in now.items()}
        radius = loops.spectral_radius(layer.weight.detach().double().numpy(), size)
        row |= {
            f"radius{which}": radius,
            **{f"{name}{which}": error for name, error in errors_of([now], [wanted[k]]).items()},
        }
    return row | tested(model, settings)


def train(model: loops.Loop, settings: Mapping[str, Any]) -> float:
    """Train on pictures that stand, with fresh noise in each frame; the mean loss of the last tenth."""
    given, steps = settings["training"], settings["steps"]
    optimizer = torch.optim.Adam(model.parameters(), lr=given["rate"])
    last = given["last_rate"]

    def rate(step: int) -> float:
        if step < given["warmup"]:
            return (step + 1) / given["warmup"]
        part = (step - given["warmup"]) / max(1, steps - given["warmup"])
        return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * part))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    generator = torch.Generator().manual_seed(1000 + settings["seed"])
    losses = []
    model.train()
    for _ in range(steps):
        clean = videos.crops(given["batch"], given["size"], generator)
        sigma = given["sigma"] / 255
        noisy = [clean + sigma * torch.randn(clean.shape, generator=generator) for _ in range(settings["frames"])]
        errors = [functional.mse_loss(out, clean) for out, _ in loops.outputs(model, iter(noisy))]
        loss = torch.stack(errors).mean() if settings["loss"] == "all" else errors[-1]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), given["clip"])
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    own = losses[-max(1, steps // 10) :]
    return sum(own) / len(own)


def tested(model: loops.Loop, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the frozen network does on the test clip."""
    test, sigma = settings["test"], settings["training"]["sigma"] / 255
    clip, frames = videos.test_clip(test["size"]), test["frames"]
    ranges = {"4_8": (4, 8), "100": (96, 105), "600": (596, 605), f"{frames}": (frames - 9, frames)}
    ranges = {name: ends for name, ends in ranges.items() if ends[1] <= frames}
    row = loops.long_run(model, clip[0], sigma, frames, ranges, settings["seed"])
    row |= loops.moving(model, clip, sigma, settings["seed"])
    row["lyapunov"] = loops.lyapunov(model, clip[0], sigma, test["lyapunov_frames"], settings["seed"])
    if settings["loop"] == "linear":  # on the picture that it is tested on
        row["radius_tested"] = loops.spectral_radius(model.hidden.weight.detach().double().numpy(), (test["size"],) * 2)
    return row


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
