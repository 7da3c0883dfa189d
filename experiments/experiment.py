"""What all experiments have: a configuration, a command line, rows that are saved."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import tables

import srnc_manifold as srnc
from srnc_manifold.writing import write_table, write_text

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes
    ----------
    name : str
        That of its files, and of its module, whose function ``cell`` takes the settings of a cell and returns its row.
    grid : callable
        Takes the configuration, and whether it is the smoke run; returns the settings of all cells.
    check : callable
        Takes the rows of the smoke run, as a DataFrame, and returns the claims that do not hold.
    report : callable
        Takes the rows and returns a document in Markdown, without its heading.
    figure : callable
        Takes the rows and a path, and draws what is to be seen.
    """

    name: str
    grid: Callable[[Mapping[str, Any], bool], list[dict[str, Any]]]
    check: Callable[[Any], list[str]]
    report: Callable[[Any], str]
    figure: Callable[[Any, Path], Any]

    def run(self, output: Path, *, config: Path | None = None, smoke: bool = False, jobs: int = -1) -> Any:
        """Run what is missing, and save the rows of all."""
        settings = tomllib.loads((config or HERE / f"{self.name}.toml").read_text(encoding="utf-8"))
        rows = cells.run(self.name, self.grid(settings, smoke), output / "cells.db", jobs)
        rows["label"] = [tables.label(method) for method in rows["method"]]
        nested = [name for name in rows if isinstance(rows[name].iloc[0], dict | list)]
        flat = rows.drop(columns=nested)
        name = f"{self.name}{'-smoke' if smoke else ''}"
        write_table(output / f"{name}.csv", flat)
        if not rows.attrs["interrupted"]:
            write_text(output / f"{name}.md", f"{self.report(rows)}\n\n{made(rows, name)}\n")
            self.figure(rows, output / f"{name}.svg")
        return rows


def made(rows: Any, name: str) -> str:
    """How the rows were made."""
    environments = "; ".join(
        ", ".join(f"{key} {value}" for key, value in header.items()) for header in rows.attrs["environments"].values()
    )
    hours = rows["seconds"].sum() / 3600
    return (
        f"*{len(rows)} cells, {hours:.1f} hours of one core, `python experiments/{name.removesuffix('-smoke')}.py"
        f"{' --smoke' if name.endswith('-smoke') else ''}`, srnc_manifold {srnc.__version__}. Made on: {environments}.*"
    )


def main(experiment: Experiment, description: str) -> None:
    """The command line of an experiment."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="the small run, whose claims are checked")
    parser.add_argument("--config", type=Path, help=f"another configuration than {experiment.name}.toml")
    parser.add_argument(
        "--output", type=Path, default=Path("results-experiments"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: all cores)")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = experiment.run(given.output, config=given.config, smoke=given.smoke, jobs=given.jobs)
    print(f"saved: {given.output}")
    if given.smoke:
        wrong = experiment.check(rows)
        print("\n".join(wrong) or f"{experiment.name}: all claims of the smoke run hold")
        sys.exit(1 if wrong else 0)
