"""How much work a search may do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

# Units of work, one of which is what a decomposition of a single small matrix takes with all that belongs to it: of
# every further matrix, and of every product of its sides and the smaller one of them.
_PER_MATRIX, _PER_PRODUCT = 1 / 40, 1 / 6000

# Work between two looks at the clock.
_PORTION = 200.0


def always() -> bool:
    """A budget without end."""
    return True


@dataclass
class Effort:
    """Work that was done, in units that do not depend on the machine, and how much may be done.

    The same input takes the same steps, unless ``keep_going``, which may look at a clock, says no.
    """

    keep_going: Callable[[], bool] = always
    spent: float = 0.0
    limit: float = float("inf")

    def count(self, matrices: NDArray[Any]) -> None:
        """Count the decomposition of stacked matrices."""
        self.spent += 1 + len(matrices) * _PER_MATRIX + matrices.size * min(matrices.shape[-2:]) * _PER_PRODUCT

    def portions(self, index: NDArray[Any], shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
        """Places of matrices of a shape, counted, and as many at a time as take a small part of a second.

        The first portion in any case, and the others as long as there may be more.
        """
        each = _PER_MATRIX + math.prod(shape) * min(shape) * _PER_PRODUCT
        size = max(1, int(_PORTION / each))
        for first in range(0, len(index), size):
            if first and not self.left():
                return
            portion = index[first : first + size]
            self.spent += 1 + len(portion) * each
            yield portion

    def left(self) -> bool:
        """Whether there may be more."""
        return self.spent < self.limit and self.keep_going()
