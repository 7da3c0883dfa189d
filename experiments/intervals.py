"""Means with intervals, and correlations of ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

#: Of the intervals.
CONFIDENCE = 0.95


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its interval by Student's t; NaN where a value is not finite or there is one only."""
    found = np.asarray(values, float)
    if len(found) < 2 or not np.isfinite(found).all():
        return float(np.mean(found)) if len(found) else np.nan, np.nan, np.nan
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, len(found) - 1) * np.std(found, ddof=1) / np.sqrt(len(found))
    mean = float(np.mean(found))
    return mean, mean - float(half), mean + float(half)


def told(values: Sequence[float], digits: int = 2) -> str:
    """Mean and half of its interval, ``22.84 ± 0.12``; and of how many, where some are lost."""

    def words(mean: float, low: float, high: float) -> str:
        return f"{mean:.{digits}f}" + (f" ± {(high - low) / 2:.{digits}f}" if np.isfinite(low) else "")

    return _of_the_finite(values, words) or f"none of {len(values)}"


def difference(values: Sequence[float], digits: int = 2) -> str:
    """Mean of paired differences with its interval, ``−0.12 [−0.30, 0.06]``; and of how many, where some are lost."""

    def words(mean: float, low: float, high: float) -> str:
        return f"{mean:+.{digits}f}" + (f" [{low:+.{digits}f}, {high:+.{digits}f}]" if np.isfinite(low) else "")

    return _of_the_finite(values, words)


def _of_the_finite(values: Sequence[float], words: Callable[[float, float, float], str]) -> str:
    """Words for mean and interval of the finite values, and of how many, where others are not; empty without any."""
    found = np.asarray(values, float)
    kept = found[np.isfinite(found)]
    if not len(kept):
        return ""
    count = f" of {len(kept)}" if len(kept) < len(found) else ""
    return (words(*interval(kept)) + count).replace("-", "−")


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's correlation and its p-value."""
    found = stats.spearmanr(x, y)
    return float(found.statistic), float(found.pvalue)
