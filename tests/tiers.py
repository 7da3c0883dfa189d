"""Two tiers of tests: ``make test`` runs some of the repetitions of a test, ``make test-all`` all of them."""

import os
from collections.abc import Iterable
from typing import Any

import pytest

slow = pytest.mark.slow


def times(few: int, all_of_them: int) -> int:
    """How often a test repeats something: a few times in the first tier, all of them in the second."""
    return all_of_them if os.environ.get("HYPOTHESIS_PROFILE") == "all" else few


def some(values: Iterable[Any], keep: int = 2) -> list[Any]:
    """Parameters of a test, of which those after the first few, and before the last, are for the second tier."""
    values = list(values)
    fast = {*range(keep - 1), len(values) - 1}
    return [
        value if k in fast else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=slow)
        for k, value in enumerate(values)
    ]
