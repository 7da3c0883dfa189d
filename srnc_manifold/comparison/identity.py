"""What identifies a run: digests of its problem, its solver, its limits, and of the code of all of them."""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from srnc_manifold.comparison.fingerprints import DIGITS, UnknownSourceError, fingerprint
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.solvers import Budget, Solver

# Wings of this package that change no result of a run.
_WITHOUT_EFFECT = ("cli", "comparison", "files", "networks", "nn", "plots", "problems", "studies", "testing")


@dataclass(frozen=True)
class Identity:
    """What a run is: two runs with the same identity have the same outcome.

    Attributes
    ----------
    problem, solver, budget : str
        Digests, of 32 digits. That of the solver is of its settings and of its code, if this is not of the package.
    seed : int or None
        None for a solver in which nothing is random.
    package : str
        Version of this package.
    sources : str
        Digest of its sources.
    """

    problem: str
    solver: str
    seed: int | None
    budget: str
    package: str
    sources: str

    @functools.cached_property
    def key(self) -> str:
        """All of it in one text of 32 digits."""
        values = (str(getattr(self, f.name)) for f in fields(self))
        return hashlib.sha256("\n".join(values).encode()).hexdigest()[:DIGITS]


@functools.cache
def sources() -> str:
    """Digest of the sources of this package that have a part in the outcome of a run."""
    root, total = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _WITHOUT_EFFECT:
            total.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return total.hexdigest()[:DIGITS]


def of_problem(entry: NamedProblem) -> str:
    """Digest of a problem, and of the code of its class and of its operators if they are not of this package.

    Raises
    ------
    UnknownSourceError
        If these cannot be read.
    """
    problem = entry.problem
    try:
        described: Any = problem.digest()
        operators = [getattr(part, "operator", None) for part in problem.parts]
    except Exception:  # an operator of one's own cannot be saved, or the class fails: what it holds is described
        described, operators = problem, []
    return fingerprint(described, type(problem), *map(type, operators))


def of_solver(solver: Solver) -> str:
    """Digest of a solver with its settings, errors as of :func:`of_problem`."""
    return fingerprint(solver)


def of_budget(budget: Budget | None) -> str:
    """Digest of the limits and goals of a run."""
    return fingerprint(budget or Budget())


def limits_of(budget: Budget | None) -> dict[str, float]:
    """The limits and goals of a run that there are, by name."""
    given = {f.name: getattr(budget, f.name, None) for f in fields(Budget)}
    if budget is not None and budget.bound is not None:
        given["bound"] = budget.bound_on_objective
    return {name: limit for name, limit in given.items() if limit is not None}


class Identities:
    """Identifies the runs of one comparison; each problem and each solver is looked at once.

    Attributes
    ----------
    unknown : dict
        Why the code or the settings of a problem or a solver cannot be read, by its name. Its runs have an identity
        that no other run will have.
    """

    def __init__(self, package: str, budget: Budget | None) -> None:
        self._package, self._budget = package, of_budget(budget)
        self._known: dict[int, str] = {}
        self.unknown: dict[str, str] = {}

    def of(self, entry: NamedProblem, label: str, solver: Solver, seed: int) -> Identity:
        problem = self._digest(entry, entry.name, of_problem)
        given = seed if solver.stochastic else None
        return Identity(problem, self._digest(solver, label, of_solver), given, self._budget, self._package, sources())

    def _digest(self, thing: Any, name: str, read: Callable[[Any], str]) -> str:
        if id(thing) not in self._known:
            try:
                self._known[id(thing)] = read(thing)
            except UnknownSourceError as error:
                self.unknown[name] = str(error)
                self._known[id(thing)] = secrets.token_hex(16)
        return self._known[id(thing)]
