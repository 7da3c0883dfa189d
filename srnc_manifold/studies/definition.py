"""Studies in files: one table in TOML names problems, solvers with settings and sweeps, seeds and budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from srnc_manifold.comparison.comparison import Comparison
from srnc_manifold.comparison.fingerprints import UnknownSourceError
from srnc_manifold.comparison.identity import of_problem
from srnc_manifold.comparison.run import Progress, compare
from srnc_manifold.problem.families import Entry, NamedProblem
from srnc_manifold.solvers import Budget, Solver
from srnc_manifold.studies import problem_tables, solver_tables
from srnc_manifold.studies.mistakes import Mistakes
from srnc_manifold.toml_files import Place, read_toml
from srnc_manifold.validation import require_positive, require_seeds
from srnc_manifold.writing import FilePath

#: Of the form of the files.
SCHEMA = 1

_DEFAULTS = ("seeds", "budget", "timeout")
_KEYS = ("problems", "solvers", *_DEFAULTS)
_LIMITS = ("max_evaluations", "max_time", "gradient_norm", "violation")


@dataclass(frozen=True, eq=False)
class Part:
    """One comparison of a study: every solver on every problem with every seed.

    Attributes
    ----------
    problems : list of NamedProblem or UnavailableProblem
    solvers : dict of Solver
        By their labels in tables.
    seeds : list of int
    budget : Budget
        Of each run.
    timeout : float or None
        Seconds after which the process of a run is killed; see :func:`srnc_manifold.compare`.
    """

    problems: list[Entry]
    solvers: dict[str, Solver]
    seeds: list[int]
    budget: Budget
    timeout: float | None

    def pairs(self) -> set[tuple[str, str]]:
        """The names of the problems, each with the label of each solver."""
        return {(entry.name, label) for entry in self.problems for label in self.solvers}

    def compare(self, **options: Any) -> Comparison:
        """Run it: :func:`srnc_manifold.compare` with what the file says, and with ``options``."""
        return compare(**{f.name: getattr(self, f.name) for f in fields(self)}, **options)


@dataclass(frozen=True, eq=False)
class Study:
    """What a file says.

    Attributes
    ----------
    path : str
    parts : tuple of Part
        One, unless the file has several.

    Examples
    --------
    >>> from pathlib import Path
    >>> from srnc_manifold.studies import read_study
    >>> text = 'schema = 1\\nseeds = 1\\n[[problems]]\\nfamily = "paper"\\n[[solvers]]\\nname = "exact"\\n'
    >>> _ = Path("mine.toml").write_text(text)
    >>> comparison = read_study("mine.toml").compare(n_jobs=1)
    >>> len(comparison.rows)
    4
    """

    path: str
    parts: tuple[Part, ...]

    def changed(self, seeds: Iterable[int] | None = None, budget: Budget | None = None) -> Study:
        """With other seeds, or other limits and goals; those that are None stay as the file says."""
        numbers = None if seeds is None else require_seeds(seeds)
        told = {f.name: getattr(budget, f.name) for f in fields(Budget) if getattr(budget, f.name, None) is not None}
        parts = (replace(part, seeds=numbers or part.seeds, budget=replace(part.budget, **told)) for part in self.parts)
        return replace(self, parts=tuple(parts))

    def compare(self, *, progress: Progress | None = None, **options: Any) -> Comparison:
        """Run it.

        Parameters
        ----------
        progress : callable, optional
            As of :func:`srnc_manifold.compare`; the number of all runs grows from part to part.
        **options
            ``store``, ``executor`` and ``n_jobs`` of :func:`srnc_manifold.compare`.

        Returns
        -------
        Comparison
            Of all parts; where a run is interrupted, of those before.
        """
        found: list[Comparison] = []
        for part in self.parts:
            told = None if progress is None else _after(sum(len(before.identities) for before in found), progress)
            found.append(part.compare(progress=told, **options))
            if found[-1].interrupted:
                break
        return found[0].merge(*found[1:]) if len(found) > 1 else found[0]


def _after(before: int, progress: Progress) -> Progress:
    """Progress of a part after some others, of which so many runs are done."""
    return lambda done, total, row: progress(before + done, before + total, row)


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

        If not every solver is for every problem, or limits differ, a file has several parts, which are such files. What
        a part does not say of seeds, budget and timeout is said before them::

            seeds = 3

            [[parts]]
            budget = { max_time = 1.0 }
            [[parts.problems]]
            family = "paper"
            [[parts.solvers]]
            name = "exact"

    Returns
    -------
    Study

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StudyFileError
        If something in it is not valid: a message for each mistake, with its line.
    ValueError
        If it is not TOML, or of another schema.

    Examples
    --------
    >>> from pathlib import Path
    >>> from srnc_manifold.studies import read_study
    >>> text = 'schema = 1\\nseeds = 1\\n[[problems]]\\nfamily = "paper"\\n[[solvers]]\\nname = ["exact", "slsqp"]\\n'
    >>> _ = Path("mine.toml").write_text(text)
    >>> study = read_study("mine.toml")
    >>> list(study.parts[0].solvers)
    ['exact', 'slsqp']
    """
    document = read_toml(path, "study", SCHEMA)
    mistakes = Mistakes(document)
    reader = _Reader(mistakes, Path(document.path).parent)
    parts = tuple(reader.parts(document.data))
    mistakes.tell()
    return Study(document.path, parts)


class _Reader:
    """Reads the parts of a file, and takes down what is wrong."""

    def __init__(self, mistakes: Mistakes, folder: Path) -> None:
        self._mistakes, self._folder, self._sources = mistakes, folder, problem_tables.Sources(folder)

    def parts(self, data: Mapping[str, Any]) -> Iterator[Part]:
        if "parts" not in data:
            yield self._part((), data)
            return
        self._mistakes.require_keys((), data, ("parts", *_DEFAULTS))
        usual = {name: data[name] for name in _DEFAULTS if name in data}
        before: set[tuple[str, str]] = set()
        known: dict[str, str] = {}
        for place, table in self._mistakes.tables(("parts",), data["parts"]):
            part = self._part(place, table, usual)
            for problem, solver in sorted(before & part.pairs()):
                text = f"parts: {solver!r} on {problem!r} is in an earlier part, too; give one of them another label"
                self._mistakes.add(place, text)
            for name, digest in _digests(part):
                if known.setdefault(name, digest) != digest:
                    text = f"parts: {name!r} is another problem in an earlier part, expected different names"
                    self._mistakes.add(place, text)
            before |= part.pairs()
            yield part

    def _part(self, place: Place, data: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> Part:
        """A part, and what is said before all of them; that has its own place."""
        self._mistakes.require_keys(place, data, _KEYS)
        problems = self._tables(problem_tables.read, (*place, "problems"), data, self._sources)
        solvers = self._tables(solver_tables.read, (*place, "solvers"), data, self._folder)
        settings = {**(usual or {}), **{name: data[name] for name in _DEFAULTS if name in data}}
        at = {name: (*place, name) if name in data else (name,) for name in _DEFAULTS}
        timeout = settings.get("timeout")
        if timeout is not None:
            with self._mistakes.at(at["timeout"]):
                require_positive(timeout=timeout)
        seeds = self._seeds(at["seeds"], settings.get("seeds", 10))
        budget = self._budget(at["budget"], settings.get("budget", {}))
        return Part(list(problems.values()), dict(solvers), seeds, budget, timeout)

    def _tables(
        self, read: Callable[..., Iterator[tuple[Place, str, Any]]], at: Place, data: Mapping[str, Any], origin: Any
    ) -> dict[str, Any]:
        """What a list of tables gives, by name; a name that is given twice is a mistake."""
        kind, named = str(at[-1]), {}
        for place, name, one in read(self._mistakes, at, data.get(kind), origin):
            if name in named:
                self._mistakes.add(place, f"{kind}: the name {name!r} is given twice, expected different names")
            named[name] = one
        return named

    def _seeds(self, place: Place, given: Any) -> list[int]:
        with self._mistakes.at(place):
            if isinstance(given, int) and not isinstance(given, bool):
                if given < 1:
                    raise ValueError(f"seeds: {given!r} given, expected at least 1, or a list")
                given = range(given)
            return require_seeds(given)
        return []

    def _budget(self, place: Place, given: Any) -> Budget:
        if not isinstance(given, dict):
            text = f"budget: {given!r} given, expected a table of some of {', '.join(_LIMITS)}"
            self._mistakes.add(place, text)
            return Budget()
        self._mistakes.require_keys(place, given, _LIMITS)
        limits = {}
        for key in (name for name in _LIMITS if name in given):
            with self._mistakes.at((*place, key)):
                Budget(**{key: given[key]})
                limits[key] = given[key]
        return Budget(**limits)


def _digests(part: Part) -> Iterator[tuple[str, str]]:
    """The names of the problems, each with its digest, as far as their code can be read."""
    for entry in part.problems:
        with suppress(UnknownSourceError):
            yield entry.name, of_problem(entry) if isinstance(entry, NamedProblem) else ""
