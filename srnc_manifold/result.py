"""What a solver returns: a kernel, how the run ended, what it cost, and the scores given to it."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import certificates
from srnc_manifold.certificates import layers
from srnc_manifold.display import Shown, short
from srnc_manifold.exchange import UNREADABLE, array_from, from_json, reason, to_json
from srnc_manifold.problem.base import Problem
from srnc_manifold.problem.scores import Evaluation
from srnc_manifold.writing import write_text


class Status(StrEnum):
    """How a run ended.

    ``CONVERGED``: the solver's own test of optimality holds at the returned point. ``LIMIT``: a budget ran out or the
    run was interrupted; more may help. ``STALLED``: no progress, without a proof of optimality; another start,
    a smoother cost or another solver may help. ``NONFINITE``: a cost or gradient was NaN or infinite. ``FAILED``: an
    error, told in the message.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> srnc.solve(problem).status.is_success
    True
    """

    CONVERGED = "converged"
    LIMIT = "limit"
    STALLED = "stalled"
    NONFINITE = "nonfinite"
    FAILED = "failed"

    @property
    def is_success(self) -> bool:
        """Whether the solver vouches for its point."""
        return self is Status.CONVERGED


@dataclass(frozen=True, repr=False, eq=False)
class Bound(Shown):
    """A lower bound on the objective of a problem, and what proves it.

    Attributes
    ----------
    objective : float
        No feasible kernel has a smaller ``‖C(x) − C(a)‖_F²``.
    method : str
        What found it, in words.
    kind : str
        Which inequality proves it: ``"caps"``, ``"ball"``, ``"sphere"``, ``"branched"``, ``"moments"``, ``"deltas"``
        ``"norm"``, ``"supremum"`` or ``"trivial"``; or ``"sum"``, of the bounds of a stack's parts.
    certificate : dict of arrays
        Its dual point; see :mod:`srnc_manifold.certificates`.
    parts : tuple of Bound
        Of which it is the sum.
    version : int
        Form of the certificate. By default the newest that this release knows of its kind.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> bound = srnc.solve(problem).bound
    >>> bound.kind, round(bound.verify(problem), 6)
    ('caps', 10.666667)
    """

    objective: float
    method: str
    kind: str
    certificate: dict[str, NDArray[Any]] = field(default_factory=dict)
    parts: tuple[Bound, ...] = ()
    version: int = 0

    def __post_init__(self) -> None:
        if self.version == 0:
            object.__setattr__(self, "version", certificates.VERSIONS.get(self.kind, 1))

    def summary(self) -> dict[str, str]:
        return {"objective": f">= {self.objective:.10g}", "by": short(self.method), "kind": self.kind}

    @classmethod
    def total(cls, parts: Sequence[Bound]) -> Bound:
        """The bound on a sum of objectives."""
        methods = "; ".join(dict.fromkeys(part.method for part in parts))
        return cls(sum(part.objective for part in parts), methods, "sum", parts=tuple(parts))

    def verify(self, problem: Problem) -> float:
        """The bound on the objective of a problem that the certificate proves, recomputed in plain NumPy.

        Uses nothing of the solver that found it. For the problem of the bound it equals ``objective`` up to rounding.

        Raises
        ------
        TypeError, ValueError
            If it is no problem, the certificate is not one of such a problem, or it is of a form that only a newer
            release knows.
        """
        if not isinstance(problem, Problem):
            raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
        known = certificates.VERSIONS.get(self.kind, 0)
        if self.version > known:
            raise ValueError(
                f"bound: a certificate of the kind {self.kind!r}, version {self.version}, given; this release of "
                f"srnc_manifold knows {f'versions up to {known}' if known else 'no such kind'}, a newer one verifies it"
            )
        if self.kind == "sum":
            given = len(problem.parts)
            if given != len(self.parts):
                raise ValueError(f"problem: {given} parts given, the certificate is of {len(self.parts)}")
            return sum(part.verify(own) for part, own in zip(self.parts, problem.parts, strict=True))
        try:
            (part,) = problem.parts
            if self.kind == "trivial":
                return part.bound_at(0.0)
            if self.kind in layers.KINDS:
                at = part.direction, part.operator, part.level
                return part.bound_at(layers.squared_distance(self.kind, self.certificate, *at))
            place = part.direction, part.geometry, part.level
            return part.bound_at(certificates.squared_distance(self.kind, self.certificate, *place))
        except (IndexError, TypeError, ValueError) as error:
            raise ValueError(f"problem: the certificate is not of this problem ({error})") from None


@dataclass(repr=False, eq=False)
class History(Shown):
    """One row per recorded iterate, in columns; ``points`` are unit vectors, kept for small kernels only.

    Columns: ``iteration``, ``evaluations``, ``time`` (s), ``cost`` (what the solver minimizes), ``gradient_norm``,
    ``objective`` (paper, (7)), ``stable_rank``, ``spectral_norm``, ``distance`` (‖x − a‖), the relative errors
    ``stable_rank_error`` and ``spectral_norm_error``, and ``violation``, the larger one of the two. Some solvers have
    more, such as ``penalty``. NaN where a solver has no such quantity.

    Attributes
    ----------
    columns : dict of lists
        By name; ``history[name]`` is a column as an array.
    points : list of arrays
        The iterates as unit vectors, for kernels of at most 100 entries.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> history = srnc.solve(problem, "l-bfgs", rng=0).history
    >>> len(history) > 1, bool(history["cost"][-1] < history["cost"][0])
    (True, True)
    """

    columns: dict[str, list[float]] = field(default_factory=dict)
    points: list[NDArray[np.float64]] = field(default_factory=list)

    def summary(self) -> dict[str, str]:
        return {"rows": str(len(self)), "columns": ", ".join(self.columns) or "none", "points": str(len(self.points))}

    def append(self, **row: float) -> None:
        """Add one row."""
        for name, value in row.items():
            self.columns.setdefault(name, []).append(float(value))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """One column as an array."""
        return np.asarray(self.columns[name])

    def to_frame(self) -> Any:
        """The columns as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.columns)


@dataclass(frozen=True, repr=False, eq=False)
class Result(Shown):
    """Outcome of one run of a solver.

    Attributes
    ----------
    kernel : array, shape of the problem's kernel
        As the solver found it, not restored.
    status, message : Status, str
        How the run ended, and in words.
    solver : str
        Name and settings of the solver.
    n_evaluations, n_gradients, n_hessians : int
        Kernels whose singular values were computed, and derivatives taken, counted by the package.
    gradient_norm : float
        At the returned kernel: norm of the Riemannian gradient of the cost on the unit sphere, or, for solvers of the
        constrained problem, norm of the objective's gradient projected onto the active constraints' tangent space,
        relative to the objective's gradient. NaN where there is none.
    cost : float
        What the solver minimized, at the returned kernel.
    runtime : float
        Seconds of the method, until its kernel, cost and gradient norm are known; without scores and restoration.
    history : History
    alternatives : tuple of arrays
        Other minimizers tied with ``kernel``.
    bound : Bound or None
        A proved lower bound on the objective, from solvers that have one.
    gap : float or None
        ``(objective − bound) / ‖C(a)‖_F²`` of the kernel as found; set by :func:`srnc_manifold.solve`. Negative only by
        what an infeasible kernel gains from its violation.
    gap_to_objective : float or None
        The same over the objective.
    evaluation, restored : Evaluation or None
        Scores of the kernel as found, and after ``problem.restore``; set by :func:`srnc_manifold.solve`.
    restored_kernel : array or None
    restore_message : str
        How far the restoration moved, or why it could not.
    details : dict
        What one solver has to say beyond the rest (JSON values).

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> result = srnc.solve(problem)
    >>> path = result.save("result.json")
    >>> srnc.Result.load("result.json") == result
    True
    """

    kernel: NDArray[np.float64]
    status: Status
    message: str
    solver: str
    n_evaluations: int = 0
    n_gradients: int = 0
    n_hessians: int = 0
    gradient_norm: float = float("nan")
    cost: float = float("nan")
    runtime: float = 0.0
    history: History = field(default_factory=History)
    alternatives: tuple[NDArray[np.float64], ...] = ()
    bound: Bound | None = None
    gap: float | None = None
    gap_to_objective: float | None = None
    evaluation: Evaluation | None = None
    restored: Evaluation | None = None
    restored_kernel: NDArray[np.float64] | None = None
    restore_message: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, str]:
        found = self.evaluation
        scores = {}
        if found is not None:
            feasible = "feasible" if found.feasible else f"violation {found.violation:.1e}"
            scores = {"objective": f"{found.objective:.10g}, {feasible}", "stable rank": f"{found.stable_rank:.6g}"}
        return {
            "solver": self.solver,
            "status": f"{self.status.value}, {short(self.message)}",
            **scores,
            **({} if self.gap is None else {"gap": f"{self.gap:.1e} of ‖C(a)‖²"}),
            "evaluations": f"{self.n_evaluations} in {self.runtime:.3g} s",
            "kernel": f"shape {self.kernel.shape}",
        }

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        kind: str | None = None,
        *,
        problem: Problem | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Any:
        """A figure of the run. It is saved if a path is given.

        Parameters
        ----------
        path : path, optional
        kind : str, optional
            ``"history"``, one column over another; with the problem ``"convergence"``, ``"spectrum"``, ``"kernels"``,
            and for kernels with three entries ``"trajectory"`` and ``"sphere"``: functions of
            :mod:`srnc_manifold.plots`. By default the convergence if a problem is given, the history if none.
        problem : SRNProblem, StackProblem or SeparableProblem, optional
            The result's own.
        ax : matplotlib Axes, optional
            Where to draw: as many as the figure has panels.
        **options
            Of the function.

        Returns
        -------
        matplotlib.figure.Figure

        Examples
        --------
        >>> import srnc_manifold as srnc
        >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
        >>> result = srnc.solve(problem, "slsqp", rng=0)
        >>> figure = result.plot(problem=problem)
        >>> figure = result.plot(kind="history", y="objective")
        """
        from srnc_manifold.plots.results import draw  # on use: figures are above what is computed

        return draw(self, path, kind, problem, ax=ax, **options)

    def to_fields(self) -> dict[str, Any]:
        """The whole result as JSON values and arrays."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["evaluation"] = None if self.evaluation is None else dict(vars(self.evaluation))
        data["restored"] = None if self.restored is None else dict(vars(self.restored))
        data["dtype"] = self.kernel.dtype.name
        data["bound"] = None if self.bound is None else _bound_to_fields(self.bound)
        columns = {name: np.asarray(column) for name, column in self.history.columns.items()}
        points: Any = self.history.points
        if len({point.shape for point in points}) == 1:
            points = np.array(points)  # one array is written faster than many
        data["history"] = {"columns": columns, "points": points}
        return data

    @classmethod
    def from_fields(cls, data: Mapping[str, Any]) -> Result:
        """The result of what :meth:`to_fields` gave; arrays may be lists, as in JSON.

        Raises
        ------
        One of ``srnc_manifold.exchange.UNREADABLE``
            If they are something else.
        """
        return cls(**_from_fields(dict(data)))

    def to_json(self) -> str:
        """The whole result as JSON text; floats are written so that they read back bit for bit."""
        return to_json(self.to_fields())

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not the JSON of a result.
        """
        try:
            return cls.from_fields(from_json(text))
        except UNREADABLE as error:
            raise ValueError(f"text: not the JSON of a Result ({reason(error)})") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json` to a file, as a whole: see :mod:`srnc_manifold.writing`."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a file written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds something else.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # text in another encoding is one, too
            raise ValueError(f"path: {str(path)!r} is not a saved Result ({reason(error)})") from None


def _from_fields(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`Result`, each of the type that it has."""
    dtype = data.pop("dtype")
    history = data["history"]
    columns = {str(name): array_from(column, float).tolist() for name, column in history["columns"].items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("columns of the history that are not equally long")
    read: dict[str, Any] = {
        "history": History(columns, [array_from(p, float) for p in history["points"]]),
        "status": Status(data["status"]),
        "kernel": array_from(data["kernel"], dtype),
        "alternatives": tuple(array_from(k, dtype) for k in data["alternatives"]),
        "bound": None if data["bound"] is None else _bound_from_fields(data["bound"]),
        "details": dict(data["details"]),
    }
    for name in ("evaluation", "restored"):
        scores = data[name]
        read[name] = None if scores is None else Evaluation(**{key: float(x) for key, x in scores.items()})
    for name in ("n_evaluations", "n_gradients", "n_hessians"):
        read[name] = operator.index(data[name])
    for name in ("gradient_norm", "cost", "runtime"):
        read[name] = float(data[name])
    for name in ("gap", "gap_to_objective"):
        read[name] = None if data[name] is None else float(data[name])
    for name in ("message", "solver", "restore_message"):
        if not isinstance(data[name], str):
            raise TypeError(f"{name} is not a text")
    if data["restored_kernel"] is not None:
        read["restored_kernel"] = array_from(data["restored_kernel"], float)
    return {**data, **read}


def _bound_to_fields(bound: Bound) -> dict[str, Any]:
    arrays = {}
    for name, array in bound.certificate.items():
        parts = [array.real, array.imag] if np.iscomplexobj(array) else [array]
        # The shape, too: an empty array has no other trace of it.
        arrays[name] = {"shape": array.shape, "dtype": array.dtype.name, "parts": [part.ravel() for part in parts]}
    data = {"objective": bound.objective, "method": bound.method, "kind": bound.kind, "certificate": arrays}
    data["version"] = bound.version
    return {**data, "parts": [_bound_to_fields(part) for part in bound.parts]} if bound.parts else data


def _bound_from_fields(data: dict[str, Any]) -> Bound:
    certificate = {}
    for name, stored in data["certificate"].items():
        array = np.array(array_from(stored["parts"][0], float), array_from([], stored["dtype"]).dtype)
        if len(stored["parts"]) == 2:  # set, not added: 1j times a number loses the sign of zeros
            array.imag = stored["parts"][1]
        certificate[name] = array.reshape(stored["shape"])
    summands = tuple(_bound_from_fields(part) for part in data.get("parts", ()))
    texts = str(data["method"]), str(data["kind"])
    return Bound(float(data["objective"]), *texts, certificate, summands, int(data.get("version", 1)))
