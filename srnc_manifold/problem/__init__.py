"""The problems: of one kernel, of several, of kernels that stay separable; their scores; families of them."""

from collections.abc import Mapping
from typing import Any

from srnc_manifold.problem import storage
from srnc_manifold.problem.base import KernelProblem, Problem, Regime
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.separable import SeparableProblem
from srnc_manifold.problem.stack import StackProblem
from srnc_manifold.writing import FilePath

__all__ = [
    "KernelProblem",
    "Problem",
    "Regime",
    "SRNProblem",
    "SeparableProblem",
    "StackProblem",
    "load_problem",
    "problem_from_fields",
]

_KINDS: dict[str, type[Problem]] = {kind.kind: kind for kind in (SRNProblem, StackProblem, SeparableProblem)}


def load_problem(path: FilePath) -> Problem:
    """Read a problem of any kind from a file that its ``save`` wrote.

    Parameters
    ----------
    path : path
        A file that ``save`` of a problem wrote.

    Returns
    -------
    SRNProblem, StackProblem or SeparableProblem

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds something else.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> path = problem.save("problem.npz")
    >>> srnc.load_problem("problem.npz").digest() == problem.digest()
    True
    """
    kind = storage.read(path)["kind"]
    if kind not in _KINDS:
        raise storage.not_a_problem(path, f"it holds {kind!r}, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind].load(path)


def problem_from_fields(fields: Mapping[str, Any]) -> Problem:
    """The problem of what :meth:`Problem.to_fields` gave.

    Raises
    ------
    One of ``srnc_manifold.exchange.UNREADABLE``
        If it is something else.
    """
    return _KINDS[fields["kind"]].from_fields(fields)
