"""Derivatives of a singular pair that is a fixed point of its own improvement."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from srnc_manifold.nn.tensors import on_host

# Products with the Jacobian matrix that a backward pass takes at most.
_MOST_PRODUCTS = 200


def with_implicit_gradient(step: Callable[[Tensor], Tensor], fixed: Tensor) -> Tensor:
    """The fixed point ``z = step(z)`` as a function of all that ``step`` depends on.

    By the implicit function theorem its derivative is ``(I − ∂step/∂z)⁻¹`` times that of ``step`` at a fixed ``z``. The
    transpose of the first factor is applied by GMRES, in the backward pass, on the host. A pair of complex vectors is
    the same when both are turned by a phase; there the system is singular, but has a solution, since what is asked for
    does not depend on the phase.

    Parameters
    ----------
    step : callable
    fixed : tensor
        The fixed point, detached.
    """
    point = step(fixed)
    if not point.requires_grad:
        return point
    with torch.enable_grad():
        variable = fixed.detach().requires_grad_()
        image = step(variable)

    def solved(slope: Tensor) -> Tensor:
        def product(given: np.ndarray) -> np.ndarray:
            cotangent = torch.from_numpy(given).to(slope).reshape(slope.shape)
            (pulled,) = torch.autograd.grad(image, variable, cotangent, retain_graph=True)
            return given - on_host(pulled).ravel()

        right = on_host(slope).ravel()
        tolerance = 1e-12 if slope.dtype == torch.float64 else 1e-6
        system = LinearOperator((len(right), len(right)), matvec=product, dtype=float)
        solution, failed = gmres(system, right, rtol=tolerance, restart=_MOST_PRODUCTS, maxiter=1)
        if failed:
            residual = np.linalg.norm(system @ solution - right) / np.linalg.norm(right)
            if residual > 1e3 * tolerance:
                text = f"gradient: implicit, relative residual {residual:.1e} of its linear system"
                warnings.warn(text, stacklevel=2)
        return torch.from_numpy(solution).to(slope).reshape(slope.shape)

    point.register_hook(solved)
    return point
