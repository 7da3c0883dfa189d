"""Figures of singular values, and of the forms that bound them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from srnc_manifold.arrays import as_kernel
from srnc_manifold.numerics import Array
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.geometry import Geometry
from srnc_manifold.plots.drawing import QUIET, figure_of, grid, legend, plain, saved
from srnc_manifold.plots.styles import distinct, line_styles, spots
from srnc_manifold.problem.base import KernelProblem, Problem
from srnc_manifold.problem.stack import StackProblem
from srnc_manifold.result import Result


def spectrum(
    problem: Problem,
    kernels: Any,
    ax: Any = None,
    path: str | os.PathLike[str] | None = None,
    *,
    by: str | None = None,
) -> Any:
    """Singular values of the operator, of the given kernel and of others, with the spectral norm that is to be kept.

    A feasible kernel touches the dashed line and does not cross it, and has the target stable rank: the sum of the
    squares of its singular values over that of the largest one. The legend gives the stable ranks of the kernels.

    Parameters
    ----------
    problem : SRNProblem, StackProblem or SeparableProblem
        Of a stack, there is one panel for each kernel, whose stable ranks are in its title: as given → target.
    kernels : array or Result, or mapping of labels to these
        Kernels to compare with the given one.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.
    by : ``"frequency"`` or ``"rank"``, optional
        Against the frequency, the norm of each block; this is for kernels with one spatial axis, and the default
        there. Against their rank, all singular values from the largest to the least.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If a kernel does not have the shape of the problem's, if there are no frequencies along one axis, or if ``ax``
        is given for several kernels.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> figure = srnc.plots.spectrum(problem, srnc.solve(problem))
    """
    if by not in (None, "frequency", "rank"):
        raise ValueError(f"by: {by!r} given, expected 'frequency' or 'rank'")
    arrays, solvers = kernels_by_label(problem, kernels)
    panels = problem.parts
    rows, columns = grid(len(panels))
    size = (7.0, 4.6) if len(panels) == 1 else (4.4 * columns, 3.4 * rows + 0.8)
    # The kernel as given is drawn without marks, and solid.
    styles = [style | {"markersize": 4.0} for style in line_styles(solvers)]
    with figure_of(ax, size, len(panels)) as (figure, axes):
        for k, (part, place) in enumerate(zip(panels, axes, strict=True)):
            how = by or ("frequency" if one_axis(part) else "rank")
            curves = [("a, as given", part.kernel, {"color": "0.6", "linewidth": 3.0, "linestyle": "-"})]
            curves += [(label, own[k], style) for (label, own), style in zip(arrays.items(), styles, strict=True)]
            for number, (label, kernel, style) in enumerate(curves):
                label = plain(label)
                if len(panels) == 1:
                    label += f", stable rank {part.evaluate(kernel).stable_rank:.5g}"
                across, up = singular_values(part, kernel, how)
                marked = np.searchsorted(across, spots(number, across[0], across[-1])).tolist()
                place.plot(across, up, label=label, markevery=marked, **style)
            place.axhline(part.spectral_norm, color=QUIET, linestyle="--", linewidth=1, label="norm to keep, ‖C(a)‖₂")
            place.set_ylim(bottom=0)
            frequency = f"frequency l, in cycles per {len(across)} samples"
            place.set_xlabel(frequency if how == "frequency" else "rank of the singular value")
            place.set_ylabel("norm of the block" if how == "frequency" else "singular value")
            if len(panels) > 1:
                ranks = f"{part.kernel_stable_rank:.5g} → {part.stable_rank:.5g}"
                place.set_title(f"kernel {k + 1}, stable rank {ranks}")
        title = f"target stable rank {panels[0].stable_rank:.5g}" if len(panels) == 1 else None
        legend(figure, axes, ax is None, 2, title)
        return saved(figure, path)


def eigenvalues(geometry: Geometry | Problem, ax: Any = None, path: str | os.PathLike[str] | None = None) -> Any:
    """The leading eigenvalues of ``B_l`` at every frequency ``l``, for kernels with one spatial axis (paper, Figure 1).

    On the unit sphere, ``g_l(x) = xᵀ B_l x``, the squared singular value at this frequency, takes the values between
    the least and the largest eigenvalue of ``B_l``. There are two that are not always zero, and with a stride two for
    each of its phases. Without a stride no eigenvalue is above the number ``q`` of taps, the trace of ``B_l``; this
    bound is drawn, and the frequencies at which it is attained are marked: zero (DC) and, if ``N`` is even, ``N/2``
    (Nyquist). So the stable rank is at least ``N/q``. For a problem, the level ``N/r`` that a feasible kernel reaches
    is drawn, too.

    Parameters
    ----------
    geometry : Geometry, SRNProblem or SeparableProblem
        Of a single channel.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If it is neither, has several channels, kernels or spatial axes, or no frequencies.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> figure = srnc.plots.eigenvalues(srnc.SRNProblem([1, 0, 0], 64, stable_rank=32))
    """
    level = None
    if isinstance(geometry, Problem):
        if len(geometry.parts) != 1:
            raise ValueError(f"geometry: a stack of {len(geometry.parts)} kernels given, expected one kernel")
        (part,) = geometry.parts
        level, geometry = part.target_gain, part.geometry
    if not isinstance(geometry, Geometry):
        raise TypeError(f"geometry: {type(geometry).__name__} given, expected a problem or a Geometry")
    if geometry.channels != (1, 1) or len(geometry.grid) != 1:
        raise ValueError(
            f"geometry: a kernel of shape {geometry.kernel_shape} on {geometry.input_size} given, expected a single "
            "channel and one spatial axis"
        )
    (n,) = geometry.grid
    rows = geometry.transform.reshape(len(geometry.frequencies), geometry.n_phases, geometry.n_taps)
    forms = np.real(np.swapaxes(rows.conj(), 1, 2) @ rows)  # B_l = cos_l cos_lᵀ + sin_l sin_lᵀ
    values = np.linalg.eigvalsh(forms)[:, ::-1]
    values = np.maximum(values[geometry.listed(np.arange(n)[:, None])], 0.0)  # the forms are semidefinite
    shown = min(values.shape[1], 2 * geometry.n_phases)
    with figure_of(ax, (7.0, 4.4)) as (figure, (axes,)):
        for k in range(shown):
            name = (
                ("largest eigenvalue", "second eigenvalue", "third eigenvalue")[k] if k < 3 else f"eigenvalue {k + 1}"
            )
            style = distinct(k) | {"markersize": 3.5, "linewidth": 1.0}
            axes.plot(np.arange(n), values[:, k], label=f"{name} of B_l", **style)
        if level is not None:
            axes.axhline(level, color=QUIET, linestyle="--", linewidth=1, label=f"N/r = {level:.5g}, to be reached")
        if geometry.n_phases == 1:
            _mark_bound(axes, n, geometry.n_taps)
        axes.set_ylim(bottom=min(0.0, -0.02 * float(np.max(values))))
        axes.set_xlabel(f"frequency l, in cycles per {n} samples")
        axes.set_ylabel("eigenvalue of B_l")
        legend(figure, [axes], ax is None)
        return saved(figure, path)


def _mark_bound(axes: Any, n: int, q: int) -> None:
    """The number of taps, and the frequencies at which all taps can be in phase, or alternate."""
    axes.axhline(
        q, color=QUIET, linestyle=":", linewidth=1.2, label=f"q = {q}, the trace of B_l: r ≥ N/q = {n / q:.5g}"
    )
    for place, name in ((0, "DC"), *(((n // 2, "Nyquist"),) if n % 2 == 0 and n > 1 else ())):
        axes.axvline(place, color=QUIET, linestyle="-", linewidth=0.6)
        axes.annotate(name, (place, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3), fontsize=8, color=QUIET,
                      textcoords="offset points", ha="center")  # fmt: skip


def one_axis(part: KernelProblem) -> bool:
    return isinstance(part.operator, Circular) and len(part.geometry.grid) == 1


def singular_values(part: KernelProblem, kernel: Array, how: str) -> tuple[Array, Array]:
    """Places and values of the curve of a kernel: the norm of each block by frequency, or all values by rank."""
    operator = part.operator
    values = np.sqrt(operator.squared_singular_values(operator.coordinates(kernel)))
    if how == "frequency":
        if not one_axis(part):
            raise ValueError(
                f"by: 'frequency' given, but {operator!r} has no single axis of frequencies; expected 'rank'"
            )
        geometry = part.geometry
        rows = geometry.listed(np.arange(*geometry.grid)[:, None])
        norms = values[:, 0].reshape(-1, geometry.groups).max(axis=1)[rows]
        return np.arange(len(norms)).astype(float), norms
    repeated = np.repeat(values.ravel(), operator.value_multiplicities.astype(int))
    ordered = np.sort(repeated)[::-1]
    return np.arange(1, len(ordered) + 1).astype(float), ordered


def kernels_by_label(problem: Problem, kernels: Any) -> tuple[dict[str, list[Array]], list[str]]:
    """Kernels of the parts of a problem by label, and the solver of each, or else its label.

    Raises
    ------
    TypeError, ValueError
        If it is no problem, or a kernel does not have the shape of the problem's.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    alone = {kernels.solver if isinstance(kernels, Result) else "after": kernels}
    given = kernels if isinstance(kernels, Mapping) else alone
    arrays = {str(label): kernels_of(problem, label, kernel) for label, kernel in given.items()}
    return arrays, [k.solver if isinstance(k, Result) else str(label) for label, k in given.items()]


def of_one_kernel(problem: Problem, kernels: Any) -> tuple[KernelProblem, dict[str, Array], list[str]]:
    """The only part of a problem, and what :func:`kernels_by_label` gives for it.

    Raises
    ------
    TypeError, ValueError
        As there; and if the problem has several kernels.
    """
    arrays, solvers = kernels_by_label(problem, kernels)
    if len(problem.parts) != 1:
        raise ValueError(
            f"problem: a stack of {len(problem.parts)} kernels given, expected one kernel, such as problem.parts[0]"
        )
    (part,) = problem.parts
    return part, {label: own for label, (own,) in arrays.items()}, solvers


def kernels_of(problem: Problem, label: Any, kernel: Any) -> list[Array]:
    """The kernels of the parts."""
    array = as_kernel(kernel.kernel if isinstance(kernel, Result) else kernel, "kernels")
    expected = problem.kernel.shape
    if array.shape != expected:
        raise ValueError(f"kernels: {str(label)!r} has shape {array.shape}, expected that of the problem, {expected}")
    return problem.kernels(array) if isinstance(problem, StackProblem) else [array]
