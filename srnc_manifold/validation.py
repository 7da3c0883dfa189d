"""Checks of settings. The error message gives the argument, the given value and what is expected."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

# More are a mistake, and would fill the memory before the first run.
_MOST_SEEDS = 1_000_000


def require_positive(**settings: Any) -> None:
    """Raise an error if a setting is not a positive, finite number."""
    for name, value in settings.items():
        _require_real(name, value)
        if not 0 < value < np.inf:
            raise ValueError(f"{name}: {value!r} given, expected a positive number")


def require_nonnegative(**settings: Any) -> None:
    """Raise an error if a setting is not a finite number >= 0."""
    for name, value in settings.items():
        _require_real(name, value)
        if not 0 <= value < np.inf:
            raise ValueError(f"{name}: {value!r} given, expected a number >= 0")


def require_count(**settings: Any) -> None:
    """Raise an error if a setting is not an integer >= 1."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name}: {value!r} given, expected an integer")
        if value < 1:
            raise ValueError(f"{name}: {value!r} given, expected at least 1")


def require_jobs(**settings: Any) -> None:
    """Raise an error if a setting is not a number of processes: an integer >= 1, or -1 for all cores, as in joblib."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name}: {value!r} given, expected an integer")
        if value == 0:
            raise ValueError(f"{name}: {value!r} given, expected at least 1, or -1 for all cores")


def require_seeds(seeds: Any) -> list[int]:
    """The seeds of the runs of a comparison.

    Raises
    ------
    TypeError, ValueError
        If they are not integers >= 0 in a sequence, or if there are none.
    """
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        raise TypeError(f"seeds: {seeds!r} given, expected integers in a sequence, such as range({seeds!r})")
    numbers_given = list(islice(seeds, _MOST_SEEDS + 1))
    if len(numbers_given) > _MOST_SEEDS:
        raise ValueError(f"seeds: more than {_MOST_SEEDS} given, expected fewer")
    if not numbers_given:
        raise ValueError("seeds: none given")
    for seed in numbers_given:
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
            raise ValueError(f"seeds: {seed!r} given, expected integers >= 0")
    return [int(seed) for seed in numbers_given]


def require_choice(options: Iterable[str], **settings: Any) -> None:
    """Raise an error if a setting is not one of the options."""
    for name, value in settings.items():
        if value not in tuple(options):
            raise ValueError(f"{name}: {value!r} given, expected one of {', '.join(options)}")


#: What an ``rng`` argument takes.
Rng = int | np.random.Generator | None


def require_rng(rng: Any) -> None:
    """Raise an error if ``rng`` is not valid: an integer, a Generator, or None for fresh entropy."""
    if isinstance(rng, bool) or not (rng is None or isinstance(rng, np.random.Generator | numbers.Integral)):
        raise TypeError(f"rng: {rng!r} given, expected an integer or a numpy.random.Generator")
    if isinstance(rng, numbers.Integral) and rng < 0:
        raise ValueError(f"rng: {rng!r} given, expected an integer >= 0")


def as_generator(rng: Any) -> np.random.Generator:
    """The random number generator for an ``rng`` argument."""
    require_rng(rng)
    return np.random.default_rng(rng)


def _require_real(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: {value!r} given, expected a real number")


@cache
def memory_of_machine() -> float:
    """Bytes of memory of this machine, infinite if it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def require_memory(needed: float, **settings: Any) -> None:
    """Raise an error if what a setting asks for needs more bytes than this machine has."""
    for name, value in settings.items():
        if needed > memory_of_machine():
            raise ValueError(
                f"{name}: {value!r} given, which needs about {needed / 1e9:.3g} GB; this machine has "
                f"{memory_of_machine() / 1e9:.3g} GB"
            )


_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def bytes_from(name: str, given: Any) -> int:
    """A number of bytes from an integer or from a text such as ``"1 GiB"``.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or not positive.
    """
    expected = f"expected a number of bytes or a text such as '1GiB', with one of {', '.join(filter(None, _UNITS))}"
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise TypeError(f"{name}: {given!r} given, {expected}")
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(given))
    if not found or found[2] not in _UNITS or float(found[1]) <= 0:
        raise ValueError(f"{name}: {given!r} given, {expected}")
    return int(float(found[1]) * _UNITS[found[2]])
