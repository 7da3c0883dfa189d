"""Named problems, and families of problems that are defined in files."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srnc_manifold.modules import import_file
from srnc_manifold.operators.geometry import InputSize, Layout, PerAxis
from srnc_manifold.problem.base import Problem
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.validation import require_nonnegative

#: Families of this package. They are in ``srnc_manifold.problems``.
FAMILIES = ("paper", "filters", "random_kernels", "pretrained", "networks", "hard", "formulations", "srnc", "reference")


@dataclass(frozen=True)
class NamedProblem:
    """A problem with its name in tables and what is known about its solution.

    Attributes
    ----------
    name : str
    problem : SRNProblem, StackProblem or SeparableProblem
    optimum : float or None
        Objective of the global minimizer if a formula for it is known.
    note : str
        A remark that is printed with the problem.

    Raises
    ------
    TypeError, ValueError
        If the name or the note is no text, the problem is none, or the optimum is not a number >= 0.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> srnc.NamedProblem("mine", problem, optimum=32 / 3).name
    'mine'
    """

    name: str
    problem: Problem
    optimum: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        _require_texts(self, "name", "note")
        if not isinstance(self.problem, Problem):
            raise TypeError(f"problem: {type(self.problem).__name__} given for {self.name!r}, expected an SRNProblem")
        if self.optimum is not None:
            require_nonnegative(optimum=self.optimum)


@dataclass(frozen=True)
class UnavailableProblem:
    """A problem that is not available on this machine: its name, and what to install.

    Attributes
    ----------
    name : str
    reason : str
        What is missing, and how to get it.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> srnc.UnavailableProblem("P-Net", "pip install facenet-pytorch").reason
    'pip install facenet-pytorch'
    """

    name: str
    reason: str

    def __post_init__(self) -> None:
        _require_texts(self, "name", "reason")


class FamilyError(ValueError):
    """Raised for a file of problems that cannot be used."""


Entry = NamedProblem | UnavailableProblem


def _require_texts(entry: Entry, *names: str) -> None:
    """Raise an error unless attributes are texts: tables find their rows by the name."""
    for name in names:
        given = getattr(entry, name)
        if not isinstance(given, str):
            raise TypeError(f"{name}: {given!r} given, expected a text")


def partway(
    kernel: Any,
    input_size: InputSize,
    fraction: float,
    *,
    increase: bool = False,
    groups: int = 1,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
) -> SRNProblem:
    """A problem whose target is between the least feasible stable rank (fraction 0) and that of the kernel (1).

    With ``increase`` the target is between that of the kernel (0) and the largest feasible one (1).

    Parameters
    ----------
    kernel, input_size, groups, stride, dilation
        As in :class:`srnc_manifold.SRNProblem`.
    fraction : float
        Part of the way, from 0 to 1.
    increase : bool, optional
        Whether the stable rank is to be raised.

    Returns
    -------
    SRNProblem

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.partway([1, 2, 0.5], 16, 0.5)
    >>> problem.regime
    'reduce'
    """
    require_nonnegative(fraction=fraction)
    layout: Layout = {"groups": groups, "stride": stride, "dilation": dilation}
    own = SRNProblem(kernel, input_size, stable_rank_fraction=1.0, **layout)
    (low, high), rank = own.feasible_range, own.kernel_stable_rank
    target = rank + fraction * (high - rank) if increase else low + fraction * (rank - low)
    return SRNProblem(kernel, input_size, stable_rank=target, **layout)


def load_family(name_or_path: str | os.PathLike[str]) -> list[Entry]:
    """Problems of a family of this package, such as ``"paper"``, or of a Python file with a function ``problems()``.

    Parameters
    ----------
    name_or_path : str or path
        A name of ``srnc_manifold.families.FAMILIES``, or the path of a ``.py`` file.

    Returns
    -------
    list of NamedProblem or UnavailableProblem

    Raises
    ------
    ValueError
        If there is no such family or file, or if it does not yield named problems.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> [entry.name for entry in srnc.load_family("paper")][:2]
    ['paper r=64/3', 'paper r=32']
    """
    text = os.fspath(name_or_path)
    if text in FAMILIES:
        module = importlib.import_module(f"srnc_manifold.problems.{text}")
    elif text.endswith(".py"):
        module = import_file(Path(text), "problems")
    else:
        raise ValueError(
            f"problems: {text!r} given, expected one of {', '.join(FAMILIES)} or the path of a .py file with a "
            "function problems()"
        )
    if not callable(getattr(module, "problems", None)):
        raise ValueError(f"problems: {text!r} has no function problems()")
    try:
        return list(_checked(module.problems(), text))
    except FamilyError:
        raise
    except Exception as error:
        raise FamilyError(f"problems: {text!r} raised {type(error).__name__}: {error}") from error


def _checked(entries: Iterator[Entry], source: str) -> Iterator[Entry]:
    for entry in entries:
        if not isinstance(entry, NamedProblem | UnavailableProblem):
            raise FamilyError(f"problems: {source!r} yields {type(entry).__name__}, expected NamedProblem")
        yield entry
