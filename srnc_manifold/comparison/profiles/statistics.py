"""Intervals and tests; only this module of the comparisons knows SciPy's statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from srnc_manifold.numerics import Array

#: Names of intervals, and what SciPy calls them.
INTERVALS = {"wilson": "wilson", "clopper-pearson": "exact"}


def interval(hits: int, runs: int, confidence: float, method: str) -> tuple[float, float]:
    """A confidence interval of the probability of a hit."""
    from scipy.stats import binomtest

    found = binomtest(hits, runs).proportion_ci(confidence, INTERVALS[method])
    return float(found.low), float(found.high)


def sign_test(wins: int, losses: int) -> float:
    """The probability of a result at least as one-sided, if either is as likely; ties say nothing."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Any) -> Array:
    """The p-values of several tests, adjusted such that at most their least one is below a level by chance.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
