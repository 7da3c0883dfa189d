"""Small networks on few digits, part of whose labels are wrong: does a lower stable rank help them to generalize?

    python experiments/generalization.py
    python experiments/generalization.py --smoke

Two convolutions and a linear layer, all of them normalized. Beside test and training accuracy stand the quantities of
the bound of Neyshabur et al. (2018), ``√(∏ ‖W_i‖² Σ srank(W_i))`` and its parts. See ``generalization.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Experiment, main
from intervals import rank_correlation, told
from tables import expanded

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table


def grid(config: Mapping[str, Any], smoke: bool) -> list[dict[str, Any]]:
    """The settings of all cells."""
    found = []
    for run in config["smoke" if smoke else "runs"]:
        training = {**config["training"], **run.get("training", {})}
        for data, method, seed in product(run["data"], expanded(run["methods"]), range(run["seeds"])):
            found.append({"data": data, "method": method, "seed": seed, "training": training})
    return found


def check(rows: Any) -> list[str]:
    """What the smoke run asserts; the claims that do not hold."""
    wrong = []
    for row in rows.to_dict("records"):
        errors = [row.get("norm_error"), row.get("stable_rank_error")]
        if row["label"].startswith("SRN") and not all(error <= 1e-3 for error in errors):
            wrong.append(f"{row['label']}, seed {row['seed']}: the targets are missed by {errors}")
        if not row["test"] > 0.2:
            wrong.append(f"{row['label']}, seed {row['seed']}: test accuracy {row['test']:.2f}, hardly above chance")
    return wrong


def report(rows: Any) -> str:
    """For each data set a table of the methods, and how well parts of the bound rank the runs."""
    parts = []
    for data, block in rows.groupby("data", sort=False):
        lines = [
            [label, *(told(100 * own[name], 1) for name in ("train", "test", "test_stopped")),
             told(100 * (own["train"] - own["test"]), 1),
             told(own["norms"], 2), told(own["ranks"], 0), told(own["frobenius"], 0)]
            for label, own in block.groupby("label", sort=False)
        ]  # fmt: skip
        headers = ["method", "training, %", "test, %", "test, stopped early, %", "gap", "product of norms"]
        headers += ["sum of stable ranks", "product of Frobenius norms"]
        parts += [f"## {data}\n", markdown_table(headers, lines, left=(0,)), "", _correlations(block)]
    return "\n".join(parts)


def _correlations(rows: Any) -> str:
    """Spearman's correlations of parts of the bound with the test accuracy and the gap, also at one norm."""
    rows = rows.assign(gap=rows["train"] - rows["test"], asked=[method.get("norm", 0.0) for method in rows["method"]])
    lines = []
    for name, block in (("all runs", rows), *((f"norm {n:g} asked", b) for n, b in rows.groupby("asked") if n > 0)):
        cells = [
            f"{rank_correlation(block[part], block[value])[0]:.2f}"
            for value in ("test", "gap")
            for part in ("bound", "norms", "ranks", "frobenius")
        ]
        lines.append([name, f"{len(block)}", *cells])
    parts = ["bound", "norms", "stable ranks", "Frobenius norms"]
    headers = ["runs", "number", *(f"{part}, {value}" for value in ("test", "gap") for part in parts)]
    return markdown_table(headers, lines, left=(0,))


def figure(rows: Any, path: Path) -> None:
    """Test against training accuracy, one mark for each run."""
    from matplotlib.figure import Figure

    names = list(rows["data"].unique())
    with srnc.plots.style():
        drawn = Figure(figsize=(5.4 * len(names), 4.4))
        for data, axes in zip(names, np.ravel(drawn.subplots(1, len(names))), strict=True):
            own = rows[rows["data"] == data]
            for k, (kind, block) in enumerate(own.groupby([method["method"] for method in own["method"]], sort=False)):
                mark = {"marker": "osD^v<>P"[k % 8], "linestyle": "", "label": kind, "markersize": 4.5, "alpha": 0.8}
                axes.plot(100 * block["train"], 100 * block["test"], **mark)
            axes.set(xlabel="accuracy in training, labels as given, %", ylabel="accuracy on others, %", title=data)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        drawn.savefig(path)


EXPERIMENT = Experiment("generalization", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
