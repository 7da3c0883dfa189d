"""Many settings of one cost or solver."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from srnc_manifold.naming import COSTS
from srnc_manifold.registry import cost_from_name, cost_plugins, solver_from_name


def sweep(kind: Callable[..., Any] | str | Any, **settings: Any) -> list[Any]:
    """One instance of a cost or solver for each combination of settings.

    Their names tell them apart in tables and figures: ``str(cost)``, ``solver.name``. So the list can be given to
    :func:`srnc_manifold.compare` if it is one of solvers, or to another sweep: ``srnc.sweep("trust-regions",
    cost=srnc.sweep("lse", alpha=[10, 100]))``.

    Parameters
    ----------
    kind : class, function, name, or instance
        What is called with the settings; or the name of a solver or a cost, or an instance, of which the other settings
        are kept.
    **settings
        Each a list, tuple, range or array of values, or one value for all.

    Returns
    -------
    list
        In the order of the values, the last setting changing fastest.

    Raises
    ------
    TypeError, ValueError
        If there is no such setting, a setting has no value or one twice, or a value is not valid.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> [str(cost) for cost in srnc.sweep(srnc.costs.LogSumExp, alpha=[10, 100], fidelity_weight=[0.1, 1e-5])]
    ['lse', 'lse[fidelity_weight=1e-05]', 'lse[alpha=100]', 'lse[alpha=100, fidelity_weight=1e-05]']
    """
    make = _maker(kind)
    values = {name: list(_values(name, given)) for name, given in settings.items()}
    made = []
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        try:
            made.append(make(**chosen))
        except (TypeError, ValueError) as error:
            told = ", ".join(f"{name}={value!r}" for name, value in chosen.items())
            raise type(error)(f"sweep: {told} given, but {error}") from error
    return made


def _maker(kind: Any) -> Callable[..., Any]:
    if isinstance(kind, str):
        is_cost = kind.partition("[")[0] in {*COSTS, *cost_plugins()}
        kind = cost_from_name(kind) if is_cost else solver_from_name(kind)
    if dataclasses.is_dataclass(kind) and not isinstance(kind, type):
        return lambda **settings: dataclasses.replace(kind, **settings)
    if not callable(kind):
        raise TypeError(f"kind: {kind!r} given, expected a class, a name or an instance of a cost or solver")
    return kind


def _values(name: str, given: Any) -> Iterator[Any]:
    """The values of a setting, as Python's own numbers, so that names are written as always."""
    if not isinstance(given, list | tuple | range | np.ndarray):
        yield given
        return
    values = given.tolist() if isinstance(given, np.ndarray) else list(given)
    if not values:
        raise ValueError(f"{name}: no values given, expected at least one")
    for k, value in enumerate(values):
        plain = value.item() if isinstance(value, np.generic) else value
        if any(type(other) is type(plain) and _equal(other, plain) for other in values[:k]):
            raise ValueError(f"{name}: {plain!r} is given twice, expected different values")
        yield plain


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # arrays are compared by their entries
        return False
