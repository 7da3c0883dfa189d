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
from tables import OURS, by_kind, compared, expanded, missed, targets

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.plots.drawing import saved


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
    return missed(rows) + [
        f"{row['label']}, seed {row['seed']}: test accuracy {row['test']:.2f}, hardly above chance"
        for row in rows.to_dict("records")
        if not row["test"] > 0.2
    ]


def report(rows: Any) -> str:
    """For each data set the methods, paired differences, and how well parts of the bound rank the runs."""
    parts = [targets(rows), ""]
    percent = {name: 100 * rows[name] for name in ("train", "clean_train", "test", "test_stopped")}
    rows = rows.assign(**percent, gap=percent["train"] - percent["test"])
    for data, block in rows.groupby("data", sort=False):
        name = NAMES[data]
        values = {"test, %": ("test", 1), "test, stopped early, %": ("test_stopped", 1), "gap": ("gap", 1)}
        parts += [f"### {name}: the networks", "", _networks(block), ""]
        parts += [f"### {name}: paired differences", "", compared(block, values), ""]
        parts += [f"### {name}: rank correlations", "", _correlations(block), ""]
    return "\n".join(parts)


#: Of the data sets.
NAMES = {"mnist": "MNIST", "digits": "scikit-learn's digits"}


def _networks(rows: Any) -> str:
    measures = {"train": 1, "test": 1, "test_stopped": 1, "gap": 1, "norms": 2, "ranks": 0, "frobenius": 0}
    lines = [
        [label, *(told(own[name], digits) for name, digits in measures.items())]
        for label, own in rows.groupby("label", sort=False)
    ]
    headers = ["method", "training, %", "test, %", "test, stopped early, %", "gap", "product of norms"]
    return markdown_table([*headers, "sum of stable ranks", "product of Frobenius norms"], lines, left=(0,))


def _correlations(rows: Any) -> str:
    """Spearman's correlations of parts of the bound with the test accuracy and the gap: of all, and at one norm."""
    parts = {"bound": "bound", "norms": "norms", "ranks": "stable ranks", "frobenius": "Frobenius norms"}
    ours = rows[[method["method"] in OURS for method in rows["method"]]]
    asked = ours.groupby([method.get("norm", 0.0) for method in ours["method"]])
    blocks = {"all": rows, **{f"ours, norm {norm:g}": block for norm, block in asked if norm > 0}}
    lines = []
    for name, block in blocks.items():
        found = [[_correlation(block, part, value) for part in parts] for value in ("test", "gap")]
        lines.append([name, f"{len(block)}", *found[0], *found[1]])
    headers = ["runs", "number", *(f"{part}, {value}" for value in ("test", "gap") for part in parts.values())]
    return markdown_table(headers, lines, left=(0,))


def _correlation(rows: Any, part: str, value: str) -> str:
    """Empty where a part is the same for all but for rounding, as the norms at one norm."""
    if rows[part].max() <= rows[part].min() * (1 + 1e-3):
        return ""
    return f"{rank_correlation(rows[part], rows[value])[0]:.2f}".replace("-", "−")


def figure(rows: Any, path: Path) -> None:
    """Test against training accuracy, one mark for each run."""
    from matplotlib.figure import Figure

    names = list(rows["data"].unique())
    with srnc.plots.style():
        drawn = Figure(figsize=(5.4 * len(names), 4.4))
        for data, axes in zip(names, np.ravel(drawn.subplots(1, len(names))), strict=True):
            own = rows[rows["data"] == data]
            for mark, block in by_kind(own):
                axes.plot(100 * block["train"], 100 * block["test"], **mark)
            axes.set(
                xlabel="accuracy in training, labels as given, %", ylabel="accuracy on others, %", title=NAMES[data]
            )
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        saved(drawn, path)


EXPERIMENT = Experiment("generalization", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
