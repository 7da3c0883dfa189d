"""Trained denoisers whose stable ranks are reduced once: what it costs, and which layers can give most.

    python experiments/pretrained.py
    python experiments/pretrained.py --smoke

The operator that is normalized is the circular one on a small grid; with borders of zeros the layers have nearly the
same. A reduced layer is smaller, so the picture would darken: each result is tested as it is and rescaled to the
Frobenius norm that the layer had, which changes no stable rank. See ``pretrained.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Experiment, main

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table


def grid(config: Mapping[str, Any], smoke: bool) -> list[dict[str, Any]]:
    """The settings of all cells."""
    found = []
    for run in config["smoke" if smoke else "runs"]:
        shared = {"grid": config["grid"], "test": {**config["test"], **run.get("test", {})}}
        for network in run["networks"]:
            found.append({"network": network, "method": "one by one", "fraction": 0.8, **shared})
            for method, fraction in product(run["methods"], run["fractions"]):
                if fraction < 1 or method == "exact":  # a fraction of one is the network as it is
                    found.append({"network": network, "method": method, "fraction": fraction, **shared})
    return found


def check(rows: Any) -> list[str]:
    """What the smoke run asserts; the claims that do not hold."""
    wrong = []
    for row in rows.to_dict("records"):
        if row["method"] == "exact" and not max(row["norm_error"], row["stable_rank_error"]) <= 1e-6:
            wrong.append(f"exact: the targets are missed by {row['norm_error']:.1e}, {row['stable_rank_error']:.1e}")
        if not row["psnr_25_rescaled"] > 20.2:  # the noise alone has 20.17
            wrong.append(f"{row['method']}: {row['psnr_25_rescaled']:.2f} dB, no better than the noisy pictures")
    return wrong


def report(rows: Any) -> str:
    """For each network a table: one line for each method and fraction."""
    parts = []
    for network, block in rows.groupby("network", sort=False):
        sigmas = block["test"].iloc[0]["sigmas"]
        lines = [
            [row["method"], f"{row['fraction']:g}", f"{row['norm_error']:.0e}", f"{row['stable_rank_error']:.0e}",
             f"{np.mean(row['moved']):.3f}",
             *(f"{row[f'psnr_{s}{which}']:.2f}" for s in sigmas for which in ("", "_rescaled"))]
            for row in block.to_dict("records")
        ]  # fmt: skip
        headers = ["method", "fraction", "norm off by", "stable rank off by", "moved"]
        headers += [f"σ = {s}, {which}" for s in sigmas for which in ("as it is", "rescaled")]
        parts += [f"## {network}\n", markdown_table(headers, lines, left=(0,)), ""]
    return "\n".join(parts)


def figure(rows: Any, path: Path) -> None:
    """PSNR of the rescaled networks over the fraction, one panel for each network."""
    from matplotlib.figure import Figure

    names = list(rows["network"].unique())
    with srnc.plots.style():
        drawn = Figure(figsize=(5.4 * len(names), 4.2))
        for network, axes in zip(names, np.ravel(drawn.subplots(1, len(names))), strict=True):
            own = rows[rows["network"] == network]
            sigmas = own["test"].iloc[0]["sigmas"]
            sigma = sigmas[len(sigmas) // 2]
            for k, (method, block) in enumerate(own.groupby("method", sort=False)):
                line = {"marker": "osD^v"[k % 5], "linestyle": ("-", "--", ":", "-.", (0, (5, 1)))[k % 5]}
                axes.plot(block["fraction"], block[f"psnr_{sigma}_rescaled"], label=method, **line)
            axes.set(xlabel="fraction of each stable rank", ylabel=f"PSNR at σ = {sigma}, rescaled, dB", title=network)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        drawn.savefig(path)


EXPERIMENT = Experiment("pretrained", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
