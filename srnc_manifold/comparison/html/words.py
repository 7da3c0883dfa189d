"""What a comparison says, in words: who wins and by how much, what is proved, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from srnc_manifold.comparison.profiles import profile
from srnc_manifold.comparison.report import listed, seconds, small
from srnc_manifold.comparison.rows import FAILED, UNAVAILABLE, UNSUPPORTED
from srnc_manifold.comparison.summary import SOLVED, comparable, winners
from srnc_manifold.display import short
from srnc_manifold.printing import printable
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status

# Chance of a difference by mere luck below which it is told as one.
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Finding:
    """A short title, and what there is to say."""

    title: str
    text: str


class Facts:
    """A comparison and its tables, each of which is made once."""

    def __init__(self, comparison: Any) -> None:
        self.comparison = comparison

    @cached_property
    def rows(self) -> Any:
        return self.comparison.rows

    @cached_property
    def table(self) -> Any:
        return self.comparison.table()

    @cached_property
    def tried(self) -> Any:
        """The table without the problems that are not available here."""
        return self.table[self.table["solver"] != ""]

    @cached_property
    def winners(self) -> Any:
        return winners(self.table)

    @cached_property
    def problems(self) -> list[str]:
        return list(dict.fromkeys(self.tried["problem"]))

    @cached_property
    def unsolved(self) -> list[str]:
        """The problems that no run has solved."""
        best = self.tried.groupby("problem", sort=False)["solved"].max()
        return [str(name) for name in best.index[best == 0]]

    @cached_property
    def settings(self) -> dict[str, str]:
        """The canonical name of each solver that was run, by its label."""
        return {row.solver: row.settings for row in self.comparison.row_list if row.settings}

    @cached_property
    def timed(self) -> bool:
        return comparable(self.table["environment"])


def findings(facts: Facts) -> list[Finding]:
    """The sentences at the beginning of a report."""
    if not len(facts.winners):
        return [Finding("Nothing was run", "There is no run of a solver on a problem that is available here.")]
    found = (*_winner(facts), *_proved(facts), *_failed(facts))
    return [Finding(printable(title), printable(text)) for title, text in found]


def headline(facts: Facts) -> str:
    """What was compared, in a line."""
    seeds = facts.rows.loc[facts.rows["solver"] != "", "seed"].nunique()
    runs = int((facts.rows["solver"] != "").sum())
    return (
        f"{_count(len(facts.winners), 'solver')} on {_count(len(facts.problems), 'problem')}, "
        f"{_count(seeds, 'seed')}: {_count(runs, 'run')}"
    )


def _winner(facts: Facts) -> Iterator[tuple[str, str]]:
    table = facts.winners
    names, solved, times = list(map(str, table.index)), table["solved"].to_numpy(float), table["time"].to_numpy(float)
    if solved[0] == 0:
        yield "No solver wins", "None of them solved a problem: no run ended feasible and close to the best objective."
        return
    meaning = f"feasible as found, and within {SOLVED:g} of the optimum, or of the best known objective, over ‖C(a)‖²"
    among = f" of the runs, averaged over {_count(len(facts.problems), 'problem')} ({meaning})"
    level = [name for name, share in zip(names, solved, strict=True) if share == solved[0]]
    if len(level) == 1:
        text = f"It solves {_percent(solved[0])}{among}."
        if len(names) > 1:
            text += f" The next one, {names[1]}, solves {_percent(solved[1])}."
            text += _versus(facts, names[0], names[1])
        yield f"{names[0]} wins", text
        return
    text = f"They solve {_percent(solved[0])}{among}."
    if np.isfinite(times[: len(level)]).all() and len(level) > 1:
        ratio = times[1] / times[0] if times[0] > 0 else np.inf
        text += (
            f" The fastest of them is {level[0]}, with {seconds(times[0])} a run, the median over the problems; "
            f"{level[1]} takes {seconds(times[1])}, {ratio:.1f} times as long."
        )
    yield (
        f"{' and '.join(level) if len(level) == 2 else f'{len(level)} solvers'} solve equally much",
        text + ("" if len(level) == 2 else f" These are {', '.join(level[:8])}{', …' if len(level) > 8 else ''}."),
    )


def _versus(facts: Facts, one: str, other: str) -> str:
    """Wins over the next one, with the sign test of this pair among all pairs."""
    try:
        data = profile(facts.comparison, "pairs")
    except ValueError:  # no problem and seed that all solvers were run on
        return ""
    (record,) = data[(data["solver"] == one) & (data["other"] == other)].to_dict("records")
    chance = record["adjusted"]
    verdict = "hardly chance" if chance < _SIGNIFICANT else "which may be chance"
    return (
        f" Counted by {record['unit']}, and by the gap, it beats that one {record['wins']} times, loses "
        f"{record['losses']} and ties {record['ties']}: {verdict} (sign test, p = {chance:.2g})."
    )


def _proved(facts: Facts) -> Iterator[tuple[str, str]]:
    first = facts.tried.drop_duplicates("problem")
    known, kinds = len(first), first["reference_kind"]
    optimal = int((kinds == "optimum").sum())
    text = f"The optimum is known on {optimal} of {_count(known, 'problem')}: by a formula, or because a run proved it."
    rows = facts.rows[facts.rows["feasible"].astype(bool)]
    gaps = (rows["objective"] - rows["bound"]).astype(float) / rows["squared_norm"]
    proofs = rows[gaps <= FEASIBILITY_TOLERANCE].groupby("solver", sort=False)["problem"].nunique()
    if len(proofs):
        text += f" Proofs by runs: {', '.join(f'{solver} on {count}' for solver, count in proofs.items())}."
    open_ones = facts.tried[facts.tried["problem"].isin(first[kinds != "optimum"]["problem"])]
    if len(open_ones):
        best = open_ones.groupby("problem")["bound_gap"].min()
        within = best[np.isfinite(best)]
        if len(within):
            text += (
                f" On {len(within)} others a bound is proved: above it, in units of ‖C(a)‖², the best feasible result "
                f"is by {small(float(within.median()))} in the median, and by {small(float(within.max()))} at most."
            )
        if len(best) > len(within):
            text += f" On {len(best) - len(within)} nothing is known but what the runs found."
    yield "What is proved", text


def _failed(facts: Facts) -> Iterator[tuple[str, str]]:
    rows = facts.rows[facts.rows["solver"] != ""]
    parts: list[str] = []
    failed = rows[rows["status"] == FAILED]
    for (solver, message), block in failed.groupby(["solver", "message"], sort=False):
        if len(parts) < 5:
            example = block.iloc[0]["problem"]
            parts.append(f"{_count(len(block), 'run')} of {solver} failed, such as on {example}: {short(message)}")
    if len(failed):
        parts.insert(0, f"{_count(len(failed), 'run')} failed altogether")
    limited = rows[rows["status"] == Status.LIMIT]
    if len(limited):
        counts = ", ".join(f"{solver} {n}" for solver, n in limited.groupby("solver", sort=False).size().items())
        parts.append(f"{_count(len(limited), 'run')} ended at a limit ({counts})")
    ran = rows[rows["objective"].notna()]
    infeasible = int((~ran["feasible"].astype(bool)).sum())
    if infeasible:
        parts.append(f"{_count(infeasible, 'run')} of {len(ran)} did not end feasible")
    refused = rows[rows["status"] == UNSUPPORTED].groupby("solver", sort=False)["problem"].nunique()
    parts += [f"{solver} does not support {_count(int(count), 'problem')}" for solver, count in refused.items()]
    if facts.unsolved:
        parts.append(f"solved by none: {listed(facts.unsolved)}")
    missing = list(map(str, facts.table[facts.table["status"] == UNAVAILABLE]["problem"]))
    if missing:
        parts.append(f"not available here: {listed(missing)}")
    if facts.comparison.interrupted:
        parts.append("the comparison was interrupted, and some runs are missing")
    if not facts.timed:
        parts.append("times are of several machines or versions, and are not compared")
    yield ("What failed", ". ".join(_capital(part) for part in parts) + ".") if parts else (
        "Nothing failed", "Every run came back with a feasible kernel, and every problem was solved by some run."
    )  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    """In percent, and never rounded to all or nothing."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text} %" if (text in ("0", "100")) == (share in (0.0, 1.0)) else f"{100 * share:.4g} %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
