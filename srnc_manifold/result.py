"""What a solver returns: a kernel, how the run ended, what it cost, and the scores given to it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold import certificates
from srnc_manifold.problem.base import Problem
from srnc_manifold.problem.scores import Evaluation
from srnc_manifold.writing import write_text


class Status(StrEnum):
    """How a run ended.

    ``CONVERGED``: the solver's own test of optimality holds at the returned point. ``LIMIT``: a budget ran out or the
    run was interrupted; more may help. ``STALLED``: no progress, without a proof of optimality; another start,
    a smoother cost or another solver may help. ``NONFINITE``: a cost or gradient was NaN or infinite. ``FAILED``: an
    error, told in the message.
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


@dataclass(frozen=True)
class Bound:
    """A lower bound on the objective of a problem, and what proves it.

    Attributes
    ----------
    objective : float
        No feasible kernel has a smaller ``‖C(x) − C(a)‖_F²``.
    method : str
        What found it, in words.
    kind : str
        Which inequality proves it: ``"caps"``, ``"ball"``, ``"sphere"``, ``"branched"`` or ``"trivial"``; or
        ``"sum"``, of the bounds of a stack's parts.
    certificate : dict of arrays
        Its dual point; see :mod:`srnc_manifold.certificates`.
    parts : tuple of Bound
        Of which it is the sum.
    """

    objective: float
    method: str
    kind: str
    certificate: dict[str, NDArray[Any]] = field(default_factory=dict)
    parts: tuple[Bound, ...] = ()

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
        ValueError
            If the certificate is not one of such a problem.
        """
        if self.kind == "sum":
            given = len(problem.parts)
            if given != len(self.parts):
                raise ValueError(f"problem: {given} parts given, the certificate is of {len(self.parts)}")
            return sum(part.verify(own) for part, own in zip(self.parts, problem.parts, strict=True))
        try:
            (part,) = problem.parts
            place = part.direction, part.geometry, part.level
            return part.bound_at(certificates.squared_distance(self.kind, self.certificate, *place))
        except (IndexError, TypeError, ValueError) as error:
            raise ValueError(f"problem: the certificate is not of this problem ({error})") from None


@dataclass
class History:
    """One row per recorded iterate, in columns; ``points`` are unit vectors, kept for small kernels only.

    Columns: ``iteration``, ``evaluations``, ``time`` (s), ``cost`` (what the solver minimizes), ``gradient_norm``,
    ``objective`` (paper, (7)), ``stable_rank``, ``spectral_norm``, ``distance`` (‖x − a‖), and the relative errors
    ``stable_rank_error`` and ``spectral_norm_error``. NaN where a solver has no such quantity.
    """

    columns: dict[str, list[float]] = field(default_factory=dict)
    points: list[NDArray[np.float64]] = field(default_factory=list)

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


@dataclass(frozen=True)
class Result:
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
        Seconds.
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

    def to_json(self) -> str:
        """The whole result as JSON text; floats are written so that they read back bit for bit."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["evaluation"] = None if self.evaluation is None else asdict(self.evaluation)
        data["restored"] = None if self.restored is None else asdict(self.restored)
        data["dtype"] = self.kernel.dtype.name
        data["bound"] = None if self.bound is None else _bound_to_json(self.bound)
        data["history"] = {"columns": self.history.columns, "points": self.history.points}
        return json.dumps(data, default=_encode)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not the JSON of a result.
        """
        try:
            data = json.loads(text)
            history = data["history"]
            data["history"] = History(history["columns"], [np.asarray(p, float) for p in history["points"]])
            data["status"] = Status(data["status"])
            dtype = data.pop("dtype", "float64")
            data["kernel"] = np.asarray(data["kernel"], dtype)
            data["alternatives"] = tuple(np.asarray(k, dtype) for k in data["alternatives"])
            data["bound"] = None if data.get("bound") is None else _bound_from_json(data["bound"])
            for name in ("evaluation", "restored"):
                data[name] = None if data[name] is None else Evaluation(**data[name])
            if data["restored_kernel"] is not None:
                data["restored_kernel"] = np.asarray(data["restored_kernel"], float)
            return cls(**data)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"text: not the JSON of a Result ({error})") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json` to a file, as a whole: see :mod:`srnc_manifold.writing`."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a file written by :meth:`save`."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _bound_to_json(bound: Bound) -> dict[str, Any]:
    arrays = {}
    for name, array in bound.certificate.items():
        parts = [array.real, array.imag] if np.iscomplexobj(array) else [array]
        # The shape, too: an empty array has no other trace of it.
        arrays[name] = {"shape": array.shape, "dtype": array.dtype.name, "parts": [part.ravel() for part in parts]}
    data = {"objective": bound.objective, "method": bound.method, "kind": bound.kind, "certificate": arrays}
    return {**data, "parts": [_bound_to_json(part) for part in bound.parts]} if bound.parts else data


def _bound_from_json(data: dict[str, Any]) -> Bound:
    certificate = {}
    for name, stored in data["certificate"].items():
        array = np.array(stored["parts"][0], stored["dtype"])
        if len(stored["parts"]) == 2:  # set, not added: 1j times a number loses the sign of zeros
            array.imag = stored["parts"][1]
        certificate[name] = array.reshape(stored["shape"])
    summands = tuple(_bound_from_json(part) for part in data.get("parts", ()))
    return Bound(data["objective"], data["method"], data["kind"], certificate, summands)


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
