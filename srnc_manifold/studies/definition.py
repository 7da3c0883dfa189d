"""Studies in files: one table in TOML names problems, solvers with settings and sweeps, seeds and budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.run import compare
from srnc_manifold.problem.families import Entry
from srnc_manifold.solvers import Budget, Solver
from srnc_manifold.studies import problem_tables, solver_tables
from srnc_manifold.studies.mistakes import Mistakes
from srnc_manifold.toml_files import Place, read_toml
from srnc_manifold.validation import require_positive, require_seeds
from srnc_manifold.writing import FilePath

#: Of the form of the files.
SCHEMA = 1

_KEYS = ("problems", "solvers", "seeds", "budget", "timeout")
_LIMITS = ("max_evaluations", "max_time", "gradient_norm", "violation")


@dataclass(frozen=True, eq=False)
class Study:
    """What a file says.

    Attributes
    ----------
    path : str
    problems : list of NamedProblem or UnavailableProblem
    solvers : dict of Solver
        By their labels in tables.
    seeds : list of int
    budget : Budget
        Of each run.
    timeout : float or None
        Seconds after which the process of a run is killed; see :func:`srnc_manifold.compare`.
    """

    path: str
    problems: list[Entry]
    solvers: dict[str, Solver]
    seeds: list[int]
    budget: Budget
    timeout: float | None

    def compare(self, **options: Any) -> Comparison:
        """Run it: :func:`srnc_manifold.compare` with what the file says, and with ``options`` in its place."""
        names = ("solvers", "seeds", "budget", "timeout")
        return compare(self.problems, **{**{name: getattr(self, name) for name in names}, **options})

    def limited(self, **limits: Any) -> Budget:
        """The budget with some limits in place of those of the file; None leaves one as it is."""
        return replace(self.budget, **{name: limit for name, limit in limits.items() if limit is not None})


def read_study(path: FilePath) -> Study:
    """Read a study.

    Parameters
    ----------
    path : path
        A file in TOML. Names of files in it are relative to its folder::

            schema = 1
            seeds = 5                          # 0 to 4, or a list; by default 10
            budget = { max_time = 2.0 }        # and max_evaluations, gradient_norm, violation
            timeout = 60                       # seconds after which a run is killed

            [[problems]]
            family = "paper"                   # or a .py file with problems()
            only = "paper r=*"                 # some of them, by name or pattern

            [[problems]]
            file = "problem.npz"               # as problem.save wrote it

            [[problems]]
            weights = "model.safetensors"
            arrays = ["conv*.weight"]
            input_size = [16, 16]              # and stride, padding, groups, ...: PyTorch's words
            stable_rank_fraction = [0.5, 0.8]  # one problem for each target

            [[problems]]
            kernel = [1, 0, 0]
            input_size = 64
            stable_rank = 32

            [[solvers]]
            name = "slsqp[n_starts=3]"         # as on the command line; also "mine.py:RandomSearch"

            [[solvers]]                        # one solver for each combination of values
            name = ["trust-regions", "conjugate-gradient"]
            cost = ["exact-max", { name = "lse", alpha = [10, 100], fidelity_weight = [1e-1, 1e-5] }]

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StudyFileError
        If something in it is not valid: a message for each mistake, with its line.
    ValueError
        If it is not TOML, or of another schema.
    """
    document = read_toml(path, "study", SCHEMA)
    mistakes = Mistakes(document)
    data, folder = document.data, Path(document.path).parent
    mistakes.require_keys((), data, _KEYS)
    problems = _unique(mistakes, "problems", problem_tables.read(mistakes, data.get("problems"), folder))
    solvers = _unique(mistakes, "solvers", solver_tables.read(mistakes, data.get("solvers"), folder))
    seeds, budget, timeout = _seeds(mistakes, data), _budget(mistakes, data), data.get("timeout")
    if timeout is not None:
        with mistakes.at(("timeout",)):
            require_positive(timeout=timeout)
    mistakes.tell()
    return Study(document.path, list(problems.values()), dict(solvers), seeds, budget, timeout)


def _unique(mistakes: Mistakes, kind: str, found: Iterator[tuple[Place, str, Any]]) -> dict[str, Any]:
    """What was found, by name; a name that is given twice is a mistake."""
    named: dict[str, Any] = {}
    for place, name, one in found:
        if name in named:
            mistakes.add(place, f"{kind}: the name {name!r} is given twice, expected different names")
        named[name] = one
    return named


def _seeds(mistakes: Mistakes, data: Mapping[str, Any]) -> list[int]:
    given = data.get("seeds", 10)
    with mistakes.at(("seeds",)):
        if isinstance(given, int) and not isinstance(given, bool):
            if given < 1:
                raise ValueError(f"seeds: {given!r} given, expected at least 1, or a list")
            given = range(given)
        return require_seeds(given)
    return []


def _budget(mistakes: Mistakes, data: Mapping[str, Any]) -> Budget:
    given = data.get("budget", {})
    if not isinstance(given, dict):
        mistakes.add(("budget",), f"budget: {given!r} given, expected a table of some of {', '.join(_LIMITS)}")
        return Budget()
    mistakes.require_keys(("budget",), given, _LIMITS)
    limits = {}
    for key in (name for name in _LIMITS if name in given):
        with mistakes.at(("budget", key)):
            Budget(**{key: given[key]})
            limits[key] = given[key]
    return Budget(**limits)
