"""The layers of a network, each with what makes its weight an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.operators import Operator
from srnc_manifold.operators.layers import Layer, operator_of


@dataclass(frozen=True, eq=False)
class NetworkLayer:
    """A layer of a network.

    Attributes
    ----------
    name : str
    weight : array
    input_size : int or tuple of int
        Of its input along each spatial axis; ``()`` for a dense layer.
    words : dict
        What else it has, in PyTorch's words, as :class:`srnc_manifold.SRNProblem` takes them.
    note : str
        What is worth telling about it.
    rounded : callable, optional
        From the values of a new weight, those that are read from where it is kept, in its precision.
    """

    name: str
    weight: NDArray[Any]
    input_size: int | tuple[int, ...]
    words: Layer = field(default_factory=Layer)
    note: str = ""
    rounded: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray

    def operator(self) -> Operator:
        """What its weight does to inputs of this size.

        Raises
        ------
        TypeError, ValueError
            If the sizes do not fit. The message begins with the name.
        """
        try:
            return operator_of(self.weight.shape, self.input_size, **self.words)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}: {error}") from None
