"""The cone program for a part of the atoms of a block (docs/theory.md, proposition 26)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.bounds.cone_programs.compiled import solve
from srnc_manifold.numerics import Array

if TYPE_CHECKING:
    import cvxpy as cp

# Bounds are to meet distances to many digits.
_ACCURACY = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


@dataclass(frozen=True)
class BoxProgram:
    problem: cp.Problem
    real: cp.Parameter
    imag: cp.Parameter
    root: cp.Parameter  # of the spread of every column
    fixed: list[cp.Parameter]  # diagonal of the form at each end
    per_t: list[cp.Parameter]
    sizes: list[cp.Parameter]  # (1 ± p) / 2
    scaled: cp.Variable  # T over the root
    inner: cp.Variable
    t: cp.Variable


@lru_cache(maxsize=16)
def box_program(m: int, n: int) -> BoxProgram:
    import cvxpy as cp

    real, imag, root = cp.Parameter((m, n)), cp.Parameter((m, n)), cp.Parameter((m, n), nonneg=True)
    scaled, inner = cp.Variable((m, n)), cp.Variable((2, 2), symmetric=True)
    t, cost, largest = cp.Variable(nonneg=True), cp.Variable(nonneg=True), cp.Variable()
    shifted = imag + cp.multiply(root, scaled)
    form = cp.bmat([[real, -shifted], [shifted, real]])
    repeated = cp.bmat([[inner[i, j] * np.eye(m) for j in range(2)] for i in range(2)])
    fixed, per_t, sizes = ([cp.Parameter(k) for _ in range(2)] for k in (2 * n, 2 * n, 2))
    constraints = [cp.quad_over_lin(cp.vec(scaled, order="C"), t) <= cost]
    for k in range(2):
        top = cp.Variable()
        corner = top * np.eye(2 * n) - cp.diag(fixed[k] + t * per_t[k])
        constraints += [
            cp.bmat([[corner, form.T], [form, repeated]]) >> 0,
            sizes[k] @ cp.hstack([inner[0, 0], inner[1, 1]]) + top + cost <= largest,
        ]
    problem = cp.Problem(cp.Minimize(largest), constraints)
    return BoxProgram(problem, real, imag, root, fixed, per_t, sizes, scaled, inner, t)


def box_multipliers(
    matrix: NDArray[Any], taps: Array, spread: Array, kappa: float, ends: tuple[float, float]
) -> tuple[NDArray[np.complex128], Array]:
    """Shift and numbers with the best bound of :func:`srnc_manifold.certificates.boxes.box_bounds` for one ``κ``.

    Parameters
    ----------
    matrix : complex array, shape ``(m, n)``
        Turned symbol of ``a``.
    taps, spread : arrays, shape ``(n,)``
        ``upper + lower`` and ``upper − lower`` of the columns.
    kappa : float
    ends : (float, float)
        Of ``p``.

    Returns
    -------
    shift : complex array, shape ``(m, n)``
    numbers : array, shape ``(7,)``
        Zeros, which prove nothing, if the solver fails.
    """
    program = box_program(*matrix.shape)
    root = np.sqrt(spread)
    program.real.value, program.imag.value = matrix.real, matrix.imag
    program.root.value = np.broadcast_to(root, matrix.shape)
    for k, p in enumerate(ends):
        program.fixed[k].value = 0.5 * kappa * np.concatenate([taps + p * spread, taps - p * spread])
        program.per_t[k].value = 0.5 * np.concatenate([(1 - p) * spread, (1 + p) * spread])
        program.sizes[k].value = np.array([0.5 * (1 + p), 0.5 * (1 - p)])
    solved = solve(program.problem, "CLARABEL", _ACCURACY)
    if not solved or program.scaled.value is None or program.inner.value is None or program.t.value is None:
        return np.zeros(matrix.shape, complex), np.zeros(7)
    inner, t = program.inner.value, max(float(program.t.value), 0.0)
    shift = 1j * root * program.scaled.value if t > 0 else np.zeros(matrix.shape, complex)
    return shift, np.array([kappa, *ends, t, inner[0, 0], inner[1, 1], inner[0, 1]])
