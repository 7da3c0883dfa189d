"""The figures of a result by their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from srnc_manifold.plots.histories import convergence, history
from srnc_manifold.plots.kernels import kernels
from srnc_manifold.plots.spectra import spectrum
from srnc_manifold.plots.trajectories import sphere, trajectory
from srnc_manifold.validation import require_choice

_OF_PROBLEM: dict[str, Callable[..., Any]] = {
    "convergence": convergence,
    "trajectory": trajectory,
    "sphere": sphere,
    "spectrum": lambda result, problem, path, **options: spectrum(problem, result, path=path, **options),
    "kernels": lambda result, problem, path, **options: kernels(problem, result, path=path, **options),
}

#: The kinds of figures of :meth:`srnc_manifold.Result.plot`.
KINDS = ("history", *_OF_PROBLEM)


def draw(result: Any, path: str | os.PathLike[str] | None, kind: str | None, problem: Any, **options: Any) -> Any:
    """A figure of a result; see :meth:`srnc_manifold.Result.plot`."""
    kind = ("history" if problem is None else "convergence") if kind is None else kind
    require_choice(KINDS, kind=kind)
    if kind == "history":
        return history(result, path=path, problem=problem, **options)
    if problem is None:
        raise ValueError(
            f"problem: none given, but a figure of kind {kind!r} shows it; expected the result's own problem"
        )
    return _OF_PROBLEM[kind](result, problem, path, **options)
