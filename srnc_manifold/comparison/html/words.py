"""What a comparison says, in words: who wins and by how much, what is proved, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from srnc_manifold.comparison.report import listed, seconds, small
from srnc_manifold.comparison.rows import FAILED, UNAVAILABLE, UNSUPPORTED
from srnc_manifold.comparison.summary import SOLVED, comparable, winners
from srnc_manifold.display import short
from srnc_manifold.printing import printable
from srnc_manifold.problem.scores import FEASIBILITY_TOLERANCE
from srnc_manifold.result import Status

# Chance of a difference by mere luck below which it is told as one.
_SIGNIFICANT = 0.05

# Solvers that are listed in a sentence.
_LISTED = 8


@dataclass(frozen=True)
class Finding:
    """A short title, and what there is to say, in sentences of their own."""

    title: str
    texts: tuple[str, ...]


class Facts:
    """A comparison and its tables, each of which is made once."""

    def __init__(self, comparison: Any) -> None:
        self.comparison = comparison
        self._profiles: dict[Any, Any] = {}

    @cached_property
    def rows(self) -> Any:
        return self.comparison.rows

    def profile(self, kind: str, **options: Any) -> Any:
        """The data of a profile."""
        key = kind, *sorted(options.items())
        if key not in self._profiles:
            self._profiles[key] = self.comparison.profile(kind, **options)
        return self._profiles[key]

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
        return [Finding("Nothing was run", ("There is no run of a solver on a problem that is available here.",))]
    found = (_winner(facts), _proved(facts), _failed(facts))
    return [Finding(printable(title), tuple(map(printable, texts))) for title, *texts in found]


def headline(facts: Facts) -> str:
    """What was compared, in a line."""
    seeds = facts.rows.loc[facts.rows["solver"] != "", "seed"].nunique()
    runs = int((facts.rows["solver"] != "").sum())
    return (
        f"{_count(len(facts.winners), 'solver')} on {_count(len(facts.problems), 'problem')}, "
        f"{_count(seeds, 'seed')}: {_count(runs, 'run')}"
    )


def _winner(facts: Facts) -> tuple[str, ...]:
    table = facts.winners
    names, solved, times = list(map(str, table.index)), table["solved"].to_numpy(float), table["time"].to_numpy(float)
    meaning = (
        f"Solved is feasible as found, with an objective within {SOLVED:g} ‖C(a)‖² of the optimum, or of the best "
        "that is known."
    )
    if solved[0] == 0:
        return "No solver wins", "None of them solved a problem.", meaning
    among = f"{_percent(solved[0])} of the runs, averaged over {_count(len(facts.problems), 'problem')}."
    level = [name for name, share in zip(names, solved, strict=True) if share == solved[0]]
    if len(level) > 1:
        title = f"{' and '.join(level)} win together" if len(level) == 2 else f"{len(level)} solvers win together"
        whose = "" if len(level) == 2 else f"These are {_some(level)}. "
        return title, f"{whose}They solve {among}", *_faster(level, times), meaning
    if len(names) == 1:
        return f"{names[0]} is alone", f"It solves {among}", meaning
    next_one = f"The next one, {names[1]}, solves {_percent(solved[1])}."
    return f"{names[0]} wins", f"It solves {among} {next_one}", *_versus(facts, names[0], names[1]), meaning


def _faster(level: list[str], times: Any) -> tuple[str, ...]:
    """Of solvers that solve equally much, which are listed by their times, how much faster the first one is."""
    if not np.isfinite(times[: len(level)]).all():
        return ()
    ratio = times[1] / times[0] if times[0] > 0 else np.inf
    return (
        f"The fastest of them is {level[0]}, with {seconds(times[0])} a run, the median over the problems; {level[1]} "
        f"takes {seconds(times[1])}, {ratio:.3g} times as long.",
    )


def _versus(facts: Facts, one: str, other: str) -> tuple[str, ...]:
    """Wins over the next one, with the sign test of this pair alone and among all pairs."""
    try:
        data = facts.profile("pairs")
    except ValueError:  # no problem and seed that all solvers were run on
        return ()
    (record,) = data[(data["solver"] == one) & (data["other"] == other)].to_dict("records")
    chance, among = record["p_value"], record["adjusted"]
    verdict = "hardly chance" if among < _SIGNIFICANT else "which may be chance" if chance >= _SIGNIFICANT else (
        "hardly chance if no other pair had been looked at"
    )  # fmt: skip
    n_pairs = len(data) // 2
    adjusted = f", {among:.2g} adjusted for all {n_pairs} pairs" if n_pairs > 1 else ""
    return (
        f"By the gap, it beats {other} on {_count(record['wins'], record['unit'])}, loses on {record['losses']} and "
        f"ties on {record['ties']}: {verdict} (sign test, p = {chance:.2g}{adjusted}).",
    )


def _proved(facts: Facts) -> tuple[str, ...]:
    first = facts.tried.drop_duplicates("problem")
    kinds = first["reference_kind"]
    optimal = int((kinds == "optimum").sum())
    among = _count(len(first), "problem")
    texts = [f"The optimum is known on {optimal:,} of {among}, by a formula or by a proof of a run."]
    rows = facts.rows[facts.rows["feasible"].astype(bool)]
    gaps = (rows["objective"] - rows["bound"]).astype(float) / rows["squared_norm"]
    proofs = rows[gaps <= FEASIBILITY_TOLERANCE].groupby("solver", sort=False)["problem"].nunique()
    if len(proofs):
        on = [f"{solver} on {n:,}" for solver, n in proofs.items()]
        texts.append(f"Runs that proved their own result: {_some(on)}.")
    open_ones = facts.tried["problem"].isin(first[kinds != "optimum"]["problem"])
    best = facts.tried[open_ones].groupby("problem")["bound_gap"].min()
    within = best[np.isfinite(best)]
    if len(within):
        texts.append(
            f"On {len(within):,} others a bound is proved: above it, in units of ‖C(a)‖², the best feasible result is "
            f"by {small(float(within.median()))} in the median, and by {small(float(within.max()))} at most."
        )
    if len(best) > len(within):
        texts.append(f"On {len(best) - len(within):,} nothing is known but what the runs found.")
    return "What is proved", *texts


def _failed(facts: Facts) -> tuple[str, ...]:
    texts = list(_troubles(facts))
    return ("What failed", *texts) if texts else (
        "Nothing failed", "Every run came back with a feasible kernel, and every problem was solved by some run."
    )  # fmt: skip


def _troubles(facts: Facts) -> Iterator[str]:
    rows = facts.rows[facts.rows["solver"] != ""]
    failed = rows[rows["status"] == FAILED]
    if len(failed):
        example = failed.iloc[0]
        told = f"such as {example['solver']} on {example['problem']}: {short(example['message'])}"
        yield f"Failed: {_by_solver(failed)}; {told}."
    limited = rows[rows["status"] == Status.LIMIT]
    if len(limited):
        yield f"Ended at a limit: {_by_solver(limited)}."
    ran = rows[rows["objective"].notna()]
    infeasible = ran[~ran["feasible"].astype(bool)]
    if len(infeasible):
        yield f"Not feasible, of the {len(ran):,} that returned a kernel: {_by_solver(infeasible)}."
    refused = rows[rows["status"] == UNSUPPORTED].groupby("solver", sort=False)["problem"].nunique()
    if len(refused):
        on = [f"{solver} on {_count(int(n), 'problem')}" for solver, n in refused.items()]
        yield f"Not supported: {_some(on)}."
    if facts.unsolved:
        yield f"Solved by none: {listed(facts.unsolved)}."
    missing = list(map(str, facts.table[facts.table["status"] == UNAVAILABLE]["problem"]))
    if missing:
        yield f"Not available here: {listed(missing)}."
    if facts.comparison.interrupted:
        yield "The comparison was interrupted, or is still running: some runs are missing."
    if not facts.timed:
        yield "Times are of several machines or versions, and are not compared."


def _by_solver(rows: Any) -> str:
    """How many runs, and of which solvers, those with most first."""
    counts = rows.groupby("solver", sort=False).size().sort_values(ascending=False, kind="stable")
    return f"{_count(len(rows), 'run')}, {_some([f'{solver} {n:,}' for solver, n in counts.items()])}"


def _some(texts: list[str]) -> str:
    """The first of them."""
    return ", ".join(texts[:_LISTED]) + (f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    """In percent, and never rounded to all or nothing."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text} %" if (text in ("0", "100")) == (share in (0.0, 1.0)) else f"{100 * share:.4g} %"


def limits(facts: Facts) -> Iterator[str]:
    """The limits and goals of the runs, and, if there are several, how many runs had them."""
    counts = Counter(_limits(facts))
    for text, runs in counts.most_common():
        yield (text or "none") + (f" ({_count(runs, 'run')})" if len(counts) > 1 else "")


def _limits(facts: Facts) -> Iterator[str]:
    """The limits of each run, as they are written in Python."""
    for identity in facts.comparison.identities.values():
        told = facts.comparison.budgets.get(identity.budget, {})
        yield ", ".join(f"{name}={limit!r}" for name, limit in told.items())


def repeat(facts: Facts) -> str:
    """A script that runs it again."""
    names = ",\n".join(f"    {printable(name)!r}" for name in dict.fromkeys(facts.settings.values()))
    limits_of_most = [text for text, _ in Counter(_limits(facts)).most_common(1)]
    return (
        "import srnc_manifold as srnc\n\n"
        'study = srnc.Comparison.load("study.db")  # the store has the problems\n'
        f"solvers = [\n{names},\n]\n"
        f"budget = srnc.Budget({next(iter(limits_of_most), '')})\n"
        f"srnc.compare(study.problems, solvers, seeds={_as_python(sorted(set(facts.rows['seed'])))}, budget=budget)"
    )


def _as_python(seeds: list[int]) -> str:
    even = seeds == list(range(len(seeds)))
    return f"range({len(seeds)})" if even else repr([int(seed) for seed in seeds])
