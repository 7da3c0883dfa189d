"""Checks of the problems and solvers of a comparison."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srnc_manifold.comparison.rows import FAILED, UNSUPPORTED
from srnc_manifold.problem import Problem
from srnc_manifold.problem.families import Entry, NamedProblem, UnavailableProblem, load_family
from srnc_manifold.registry import DEFAULT_SOLVERS, solver_from_name
from srnc_manifold.solvers import Solver, supported
from srnc_manifold.writing import writable

Problems = str | Problem | NamedProblem | Iterable[Any] | Mapping[str, Problem]


def entries(problems: Problems) -> list[Entry]:
    if isinstance(problems, Mapping):
        for name, problem in problems.items():
            if not isinstance(problem, Problem):
                raise TypeError(f"problems: {type(problem).__name__} given as {name!r}, expected an SRNProblem")
        problems = [NamedProblem(str(name), problem) for name, problem in problems.items()]
    elif isinstance(problems, str | os.PathLike | Problem | NamedProblem | UnavailableProblem):
        problems = [problems]
    if not isinstance(problems, Iterable):
        raise TypeError(f"problems: {problems!r} given, expected problems or names")
    entries: list[Entry] = []
    for item in problems:
        if isinstance(item, str | os.PathLike):
            entries.extend(load_family(item))
        elif isinstance(item, Problem):
            entries.append(NamedProblem(f"problem {len(entries) + 1}", item))
        elif isinstance(item, NamedProblem | UnavailableProblem):
            entries.append(item)
        else:
            raise TypeError(f"problems: {type(item).__name__} given, expected SRNProblem, NamedProblem or a name")
    names = [entry.name for entry in entries]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"problems: the name {repeated[0]!r} is given twice; names must differ")
    if not entries:
        raise ValueError("problems: none given")
    return entries


def solvers(solvers: Any) -> dict[str, Solver]:
    if solvers is None:
        solvers = DEFAULT_SOLVERS
    if isinstance(solvers, Solver | str):
        solvers = [solvers]
    if not isinstance(solvers, Iterable):
        raise TypeError(f"solvers: {solvers!r} given, expected solvers or names")
    pairs = list(solvers.items()) if isinstance(solvers, Mapping) else [(None, solver) for solver in solvers]
    methods: dict[str, Solver] = {}
    for label, solver in pairs:
        if isinstance(solver, str):
            label, solver = label or solver, solver_from_name(solver)
        if not isinstance(solver, Solver):
            raise TypeError(f"solvers: {solver!r} given, expected an instance of a solver or a name")
        label = str(solver.name if label is None else label)
        if label in methods:
            raise ValueError(f"solvers: {label!r} is given twice; pass a dict to label them")
        methods[label] = solver
    if not methods:
        raise ValueError("solvers: none given")
    return methods


def refusal(solver: Solver, problem: Problem) -> tuple[str, str]:
    """Status and reason for the row of a solver that does not support a problem. Both are empty if it does."""
    try:
        _ = solver.name, solver.stochastic  # in one's own class they may raise, too
        taken, reason = supported(solver, problem)
    except (Exception, SystemExit) as error:
        return FAILED, writable(f"asked what it supports, it raised {type(error).__name__}: {error}")
    return ("", "") if taken else (UNSUPPORTED, writable(str(reason)))
