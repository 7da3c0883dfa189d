"""The one target of a problem: read, checked, and placed beside the kernel's own stable rank."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.arrays import real
from srnc_manifold.display import short
from srnc_manifold.problem.base import Regime

# Two stable ranks this close, relatively, are the same up to rounding.
SAME_STABLE_RANK = 1e-12


def regime(target: float, own: float) -> Regime:
    """Whether a target lies below the stable rank that a kernel has, above it, or at it."""
    if abs(target - own) <= SAME_STABLE_RANK * own:
        return "none"
    return "reduce" if target < own else "raise"


@dataclass(frozen=True)
class Target:
    """The one target that is given, for one kernel or for several.

    Attributes
    ----------
    name : str
        Which of the three ways to say it was used.
    values : array, shape ``(K,)``
        As given.
    first : int
        Place of the first of these kernels among all.
    argument : str
        What error messages call it, if that is not its name.
    """

    name: str
    values: NDArray[np.float64]
    first: int = 0
    argument: str = ""

    @classmethod
    def of_one(cls, absolute: Any, relative: Any, fraction: Any) -> Target:
        """The target of a single kernel.

        Raises
        ------
        TypeError, ValueError
            If none or several are given, it is not a real number, or a fraction is not one.
        """
        name, value = _named(absolute, relative, fraction)
        values = _real(name, value, "a real number")
        if values.ndim:
            raise TypeError(f"{name}: shape {values.shape} given, expected a real number")
        return cls(name, values[None])

    @classmethod
    def of_many(cls, count: int, absolute: Any, relative: Any, fraction: Any) -> Target:
        """The targets of several kernels: one number for all of them or one for each.

        Raises
        ------
        TypeError, ValueError
            If none or several are given, they are not real numbers, or not as many as there are kernels.
        """
        name, value = _named(absolute, relative, fraction)
        values = _real(name, value, "a real number or a sequence of them")
        values = np.broadcast_to(values, (count,)) if values.ndim == 0 else values
        if values.shape != (count,):
            raise ValueError(
                f"{name}: shape {values.shape} given, expected one number or one for each of {count} kernels"
            )
        return cls(name, values)

    @classmethod
    def of_path(cls, fractions: Any) -> Target:
        """Fractions of the stable rank of one kernel: a number or a sequence of them.

        Raises
        ------
        TypeError, ValueError
            If they are not real numbers, or there are none.
        """
        values = np.atleast_1d(_real("fractions", fractions, "a real number or a sequence of them"))
        if values.ndim > 1:
            raise ValueError(f"fractions: shape {values.shape} given, expected a number or a sequence of them")
        if not len(values):
            raise ValueError("fractions: none given, expected at least one")
        return cls("stable_rank_fraction", values, argument="fractions")

    def part(self, first: int, count: int) -> Target:
        """Those of some kernels in a row."""
        return Target(self.name, self.values[first : first + count], first)

    def units(self, own: NDArray[Any], highest: float) -> NDArray[Any]:
        """Stable ranks that the value one stands for, of kernels with stable ranks of their own."""
        ones = np.ones_like(own)
        return {"stable_rank": ones, "relative_stable_rank": highest * ones, "stable_rank_fraction": own}[self.name]

    def stable_ranks(
        self,
        own: NDArray[Any],
        feasible: tuple[float, float],
        refuse: Callable[[int, NDArray[Any]], str],
        *,
        reduce: bool,
        clip: bool,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The target stable ranks, and which of them were moved to the nearest feasible one.

        Parameters
        ----------
        own : array, shape ``(K,)``
            The kernels' own.
        feasible : (float, float)
            Least and largest feasible one.
        refuse : callable
            Given a kernel's place and :meth:`units`, says what is wrong with its target, after name and value.
        reduce : bool
            Whether none may lie above the kernel's own. A fraction may not in any case.
        clip : bool
            Whether targets that are not feasible are moved.

        Raises
        ------
        ValueError
            For the first that is not feasible, or not a number.
        """
        low, high = feasible
        units = self.units(own, high)
        targets = self.values * units
        ceiling = self.ceiling(own, high, reduce)
        within = (targets >= low * (1 - SAME_STABLE_RANK)) & (targets <= ceiling * (1 + SAME_STABLE_RANK))
        bad = np.flatnonzero(np.isnan(targets) if clip else ~within)
        if len(bad):
            k = int(bad[0])
            reason = ", which cannot be clipped, expected a number" if clip else refuse(k, units)
            raise ValueError(f"{self.argument or self.name}: {float(self.values[k])!r} given{reason}")
        # Those that lie beyond an end by rounding alone have not been moved.
        return np.where(within, np.clip(targets, low, high), np.clip(targets, low, ceiling)), ~within

    def ceiling(self, own: NDArray[Any], high: float, reduce: bool) -> NDArray[Any]:
        """The largest stable rank that may be asked for, of each kernel."""
        return np.minimum(own, high) if reduce or self.name == "stable_rank_fraction" else np.full_like(own, high)


def _real(name: str, value: Any, expected: str) -> NDArray[np.float64]:
    """A number or an array of numbers as one of NumPy."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):  # a fraction, for example
        return np.array(float(value))
    try:
        given = real(value, name)
    except TypeError:
        raise TypeError(f"{name}: {short(repr(value))} given, expected {expected}") from None
    return np.asarray(given.xp.to_numpy(given.values))


def _named(absolute: Any, relative: Any, fraction: Any) -> tuple[str, Any]:
    """The one target of three that is given, and its name."""
    targets = {"stable_rank": absolute, "relative_stable_rank": relative, "stable_rank_fraction": fraction}
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "target: expected exactly one of stable_rank, relative_stable_rank and stable_rank_fraction, "
            f"{', '.join(given) or 'none'} given"
        )
    return next(iter(given.items()))
