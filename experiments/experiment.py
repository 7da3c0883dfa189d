"""What all experiments have: a configuration, a command line, rows that are saved."""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import tables

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

    def run(
        self,
        output: Path,
        *,
        config: Path | None = None,
        smoke: bool = False,
        jobs: int = -1,
        publish: Path | None = None,
    ) -> Any:
        """Run what is missing, and save the rows of all, the report and the figure: there, or in another folder.

        If it was interrupted, the rows that are done are saved there, and what was published before is left.
        """
        settings = tomllib.loads((config or HERE / f"{self.name}.toml").read_text(encoding="utf-8"))
        rows = cells.run(self.name, self.grid(settings, smoke), output / "cells.db", jobs)
        rows["label"] = [tables.label(method) for method in rows["method"]]
        name = f"{self.name}{'-smoke' if smoke else ''}"
        folder = output if publish is None or rows.attrs["interrupted"] else publish
        write_table(folder / f"{name}.csv", flat(rows))
        if not rows.attrs["interrupted"]:
            write_text(folder / f"{name}.md", f"{self.report(rows).strip()}\n\n{made(rows, self.name, smoke)}\n")
            self.figure(rows, folder / f"{name}.svg")
        return rows


def flat(rows: Any) -> Any:
    """Rows for a CSV file: lists as JSON, to six digits; without the settings that are tables of the configuration."""
    found = rows.drop(columns=[name for name in rows if any(isinstance(value, dict) for value in rows[name])])
    for name in found:
        if any(isinstance(value, list) for value in found[name]):
            found[name] = [
                json.dumps([float(f"{number:.6g}") for number in value]) if isinstance(value, list) else value
                for value in found[name]
            ]
    return found


def made(rows: Any, name: str, smoke: bool) -> str:
    """How the rows were made: what is the same for all first, then in which environments they were."""
    headers = [rows.attrs["environments"][environment] for environment in rows["environment"].unique()]
    commits = sorted({header["commit"] for header in headers})
    shared = {key: value for key, value in headers[0].items() if all(h.get(key) == value for h in headers)}
    command = f"python experiments/{name}.py{' --smoke' if smoke else ''}"
    return (
        f"*{len(rows)} cells, {rows['seconds'].sum() / 3600:.1f} hours of one core, by `{command}`. "
        f"{', '.join(f'{key} {value}' for key, value in shared.items() if key != 'commit')}. "
        f"Commits: {', '.join(commits)}.*"
    )


def main(experiment: Experiment, description: str) -> None:
    """The command line of an experiment."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="the small run, whose claims are checked")
    parser.add_argument("--config", type=Path, help=f"another configuration than {experiment.name}.toml")
    parser.add_argument(
        "--output", type=Path, default=Path("results-experiments"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--publish", type=Path, help="folder for table, report and figure (default: that of --output)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: all cores)")
    given = parser.parse_args()
    for folder in (given.output, given.publish or given.output):
        folder.mkdir(parents=True, exist_ok=True)
    words = {"config": given.config, "smoke": given.smoke, "jobs": given.jobs, "publish": given.publish}
    rows = experiment.run(given.output, **words)
    print(f"saved: {given.publish or given.output}")
    if given.smoke:
        wrong = experiment.check(rows)
        print("\n".join(wrong) or f"{experiment.name}: all claims of the smoke run hold")
        sys.exit(1 if wrong else 0)
