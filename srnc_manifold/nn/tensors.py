"""Tensors as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def on_host(tensor: Tensor) -> NDArray[np.float64]:
    """The values of a tensor in NumPy, in double precision, without its gradient."""
    return np.asarray(tensor.detach().double().cpu().numpy())
