"""Trained denoisers whose stable ranks are reduced once: what it costs, and which layers can give most.

    python experiments/pretrained.py
    python experiments/pretrained.py --smoke

The operator that is normalized is the circular one on a small grid; with borders of zeros the layers have nearly the
same. A reduced layer is smaller, so the picture would darken: each result is tested as it is and rescaled to the
Frobenius norm that the layer had, which changes no stable rank. See ``pretrained.toml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Experiment, main
from intervals import difference, rank_correlation

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.plots.drawing import saved
from srnc_manifold.plots.styles import distinct


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
    for row in rows[rows["method"] != "one by one"].to_dict("records"):
        if row["method"] == "exact" and not max(row["norm_error"], row["stable_rank_error"]) <= 1e-6:
            wrong.append(f"exact: the targets are missed by {row['norm_error']:.1e}, {row['stable_rank_error']:.1e}")
        if not row["psnr_25_rescaled"] > 20.2:  # the noise alone has 20.17
            wrong.append(f"{row['method']}: {row['psnr_25_rescaled']:.2f} dB, no better than the noisy pictures")
    alone = rows[rows["method"] == "one by one"].to_dict("records")
    return wrong + [
        f"one by one: prices {row['prices']}, errors {row['errors']}, of the network {row['error']}"
        for row in alone
        if not (min(row["prices"]) > 0 and max(row["errors"]) > row["error"])
    ]


def report(rows: Any) -> str:
    """For each network a table of PSNR and one of SSIM, what methods deliver, paired differences, and single layers."""
    return "\n".join(
        f"### {network}: {title}\n\n{table}\n"
        for network, block in rows.groupby("network", sort=False)
        for title, table in _tables(block)
    )


def _tables(rows: Any) -> Iterator[tuple[str, str]]:
    """The tables of a network with their titles.

    Of the tests that do not stand for all there are those in which the first and the last layer stay as they are.
    """
    own, alone = rows[rows["method"] != "one by one"], rows[rows["method"] == "one by one"]
    for number, part in enumerate(_parts(own)):
        variants = ["_inner"] if number else list(_VARIANTS)
        yield f"PSNR, dB, {PARTS[part]}", _by_fraction(own, f"psnr_{part}", variants)
        if not number:
            yield f"SSIM, {PARTS[part]}", _by_fraction(own, f"ssim_{part}", variants)
            yield "what the layers have", _targets(own)
        changed = [name for name in variants if name]
        yield f"exact against the others, PSNR in dB, {PARTS[part]}", _differences(own, f"psnr_{part}", changed)
    if len(alone):
        yield "one layer alone", _layers(alone.iloc[0])


#: Parts of the tests, in words.
PARTS = {"15": "σ = 15", "25": "σ = 25", "50": "σ = 50", "clip": "against the clip", "itself": "against its own output"}

# What is done to the reduced kernels, in words, by the names of the columns.
_VARIANTS = {"": "as they are", "_rescaled": "rescaled", "_inner": "rescaled, but for the first and the last layer"}


def _parts(rows: Any) -> list[str]:
    """Those of a network; first that which stands for all in tables and figures."""
    found = [part for part in PARTS if f"psnr_{part}" in rows and rows[f"psnr_{part}"].notna().any()]
    return sorted(found, key=lambda part: part not in ("25", "itself"))


def _by_fraction(rows: Any, measure: str, variants: Sequence[str]) -> str:
    """One line for each method and treatment of the reduced kernels, a column for each fraction."""
    fractions = sorted(rows["fraction"].unique(), reverse=True)
    lines = []
    for name, (method, block) in product(variants, list(rows.groupby("method", sort=False))):
        found = block.set_index("fraction")[f"{measure}{name}"]
        digits = 3 if measure.startswith("ssim") else 2
        cells = [f"{found[f]:.{digits}f}".replace("inf", "∞") if f in found else "" for f in fractions]
        lines.append([_VARIANTS[name], method, *cells])
    return markdown_table(["kernels", "method", *(f"{f:g}" for f in fractions)], lines, left=(0, 1))


def _targets(rows: Any) -> str:
    """Over all fractions below one and all layers: the errors of norm and stable rank, and what is moved at 0.8."""
    lines = []
    for method, block in rows[rows["fraction"] < 1].groupby("method", sort=False):
        at = block[block["fraction"] == 0.8]["moved"]
        layers = zip(block["ranks"], block["ranks_before"], block["fractions"], strict=True)
        ratios = np.concatenate([np.divide(after, before) / asked for after, before, asked in layers])
        lines.append([
            method, f"{100 * block['norm_error'].max():.2g} %", f"{ratios.min():.3f} to {ratios.max():.3f}",
            f"{np.mean(at.iloc[0]):.4f}" if len(at) else "",
        ])  # fmt: skip
    headers = ["method", "norm off by at most", "stable rank over what was asked", "part of the squares moved at 0.8"]
    return markdown_table(headers, lines, left=(0,))


def _differences(rows: Any, measure: str, variants: Sequence[str]) -> str:
    """Exact minus another method at each fraction: means over the pictures or frames, with intervals."""
    fractions = sorted((f for f in rows["fraction"].unique() if f < 1), reverse=True)
    lines = []
    for name in variants:
        column = rows.set_index(["method", "fraction"])[f"each_{measure}{name}"]
        for method in [m for m in rows["method"].unique() if m not in ("exact", "smaller")]:
            cells = [
                difference(np.subtract(column["exact", f], column[method, f])) if (method, f) in column.index else ""
                for f in fractions
            ]
            lines.append([_VARIANTS[name], f"exact − {method}", *cells])
    return markdown_table(["kernels", "difference", *(f"{f:g}" for f in fractions)], lines, left=(0, 1))


def _layers(row: Any) -> str:
    """Each layer alone at 0.8: what is moved, the price of its stable rank, and what the pictures lose."""
    errors = np.array(row["errors"])
    decibels = 10 * np.log10(errors / row["error"]) if row["error"] > 0 else -10 * np.log10(errors)
    numbers = zip(row["ranks"], row["moved"], row["prices"], decibels, strict=True)
    lines = [
        [f"{k}", f"{rank:.0f}", f"{moved:.4f}", f"{price:.3f}", f"{lost:.2f}".replace("-0.00", "0.00")]
        for k, (rank, moved, price, lost) in enumerate(numbers, 1)
    ]
    last = "PSNR lost, dB" if row["error"] > 0 else "PSNR against its own output, dB"
    table = markdown_table(["layer", "stable rank", "part of the square moved", "price", last], lines)
    found, chance = rank_correlation(row["prices"], row["errors"])
    told = f"{found:.2f}".replace("-", "−"), "< 0.01" if chance < 0.01 else f"= {chance:.2f}"
    return f"{table}\n\nRank correlation of price and error: {told[0]} (p {told[1]})."


def figure(rows: Any, path: Path) -> None:
    """PSNR over the fraction, a panel for each network: all layers rescaled; below, but for the first and the last."""
    import pandas
    from matplotlib.figure import Figure

    rows = rows[rows["method"] != "one by one"]
    names = list(rows["network"].unique())
    with srnc.plots.style():
        drawn = Figure(figsize=(4.4 * max(2, len(names)), 7.2))
        panels = drawn.subplots(2, len(names), squeeze=False, sharex=True)
        for k, network in enumerate(names):
            own = rows[rows["network"] == network]
            part = _parts(own)[0]
            for (name, words), axes in zip(list(_VARIANTS.items())[1:], panels[:, k], strict=True):
                itself = own[own["fraction"] == 1]  # where all methods begin
                for number, (method, block) in enumerate(own[own["fraction"] < 1].groupby("method", sort=False)):
                    both = pandas.concat([itself, block])
                    axes.plot(both["fraction"], both[f"psnr_{part}{name}"], label=method, **distinct(number))
                axes.set_title(f"{network}\n{words}", fontsize="medium")
                axes.set_ylabel(f"PSNR, dB, {PARTS[part]}")
            panels[-1, k].set_xlabel("fraction of each stable rank")
        drawn.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        saved(drawn, path)


EXPERIMENT = Experiment("pretrained", grid, check, report, figure)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
