"""The one target of a problem: read, checked, and placed beside the kernel's own stable rank."""

from __future__ import annotations

from typing import Any

from srnc_manifold.problem.base import Regime

# Two stable ranks this close, relatively, are the same up to rounding.
SAME_STABLE_RANK = 1e-12

# Kernels may be of any size whose square, times the number of points, is a double.
LARGEST = 1e152


def regime(target: float, own: float) -> Regime:
    """Whether a target lies below the stable rank that a kernel has, above it, or at it."""
    if abs(target - own) <= SAME_STABLE_RANK * own:
        return "none"
    return "reduce" if target < own else "raise"


def named_target(absolute: Any, relative: Any, fraction: Any) -> tuple[str, Any]:
    """The one target of three that is given, and its name.

    Raises
    ------
    ValueError
        If none or several are given.
    """
    targets = {"stable_rank": absolute, "relative_stable_rank": relative, "stable_rank_fraction": fraction}
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "target: expected exactly one of stable_rank, relative_stable_rank and stable_rank_fraction, "
            f"{', '.join(given) or 'none'} given"
        )
    return next(iter(given.items()))
