"""Kernels as images and as bars."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array
from srnc_manifold.plots.drawing import QUIET, cells, figure_of, grid, legend, plain, saved
from srnc_manifold.plots.spectra import of_one_kernel
from srnc_manifold.plots.styles import colour
from srnc_manifold.problem.base import KernelProblem, Problem

#: Slices of a kernel that are drawn along each of the two axes of channels.
SLICES = 12

# Images of at most this many entries, and so many columns, have their numbers written in them.
_WRITTEN, _WIDE = 30, 8

# Fillings of bars, which are told apart in grey, too.
_HATCHES = ("", "//", "..", "xx", "--", "oo", "\\\\")


def kernels(problem: Problem, kernels: Any, ax: Any = None, path: str | os.PathLike[str] | None = None) -> Any:
    """The kernel as given, others that were found, and their differences from it, all on one scale.

    Kernels of one spatial axis and one channel are bars in one panel. Others are images, one panel for the given
    kernel, and two for each other one: the kernel, and found − given. Their channels are side by side, outputs
    downwards and inputs to the right, at most the first twelve of each. Entries of small kernels are written, too.

    Parameters
    ----------
    problem : SRNProblem or SeparableProblem
    kernels : array or Result, or mapping of labels to these
        Of the shape of the problem's kernel.
    ax : matplotlib Axes, or list of as many as there are panels, optional
        Where to draw; a new figure by default.
    path : path, optional
        Where to save the figure: ``.png``, or ``.svg`` and ``.pdf`` for vectors.

    Returns
    -------
    matplotlib.figure.Figure
        Entries are in the units of the kernel.

    Raises
    ------
    TypeError, ValueError
        If a kernel does not have the shape of the problem's, if the problem has several kernels, or if ``ax`` is not
        as many as there are panels.

    Examples
    --------
    >>> import numpy as np
    >>> import srnc_manifold as srnc
    >>> kernel = np.outer([1.0, 2.0, 1.0], [1.0, 0.0, -1.0])
    >>> problem = srnc.SRNProblem(kernel, 16, stable_rank_fraction=0.8)
    >>> figure = srnc.plots.kernels(problem, srnc.solve(problem))
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['a, as given', 'exact', 'exact, found − given']
    """
    part, found, solvers = of_one_kernel(problem, kernels)
    n_axes = axes_of_taps(part)
    if n_axes == 1 and part.kernel.ndim == 1:
        return _bars(part, found, solvers, ax, path)
    return _images(part, found, n_axes, ax, path)


def _bars(part: KernelProblem, found: dict[str, Array], solvers: list[str], ax: Any, path: Any) -> Any:
    with figure_of(ax, (7.0, 4.0)) as (figure, (axes,)):
        shown: dict[str, tuple[Array, str, str]] = {"a, as given": (part.kernel, "0.75", "")}
        for k, ((label, own), solver) in enumerate(zip(found.items(), solvers, strict=True)):
            shown[label] = own, colour(solver), _HATCHES[k % len(_HATCHES)]
            shown[f"{label}, found − given"] = own - part.kernel, "white", _HATCHES[k % len(_HATCHES)] or "||"
        width = 0.84 / len(shown)
        for k, (label, (values, fill, hatch)) in enumerate(shown.items()):
            places = np.arange(len(values)) + (k - 0.5 * (len(shown) - 1)) * width
            edge = {"edgecolor": "white" if fill != "white" else "0.2", "linewidth": 0.7}
            axes.bar(places, values, 0.94 * width, color=fill, hatch=hatch, label=plain(label), **edge)
        axes.axhline(0.0, color=QUIET, linewidth=0.8, linestyle="-")
        axes.set_xticks(range(len(part.kernel)))
        axes.set_xlabel("tap")
        axes.set_ylabel("entry of the kernel")
        legend(figure, [axes], ax is None)
        return saved(figure, path)


def _images(part: KernelProblem, found: dict[str, Array], n_axes: int, ax: Any, path: Any) -> Any:
    panels = [("a, as given", part.kernel)]
    for label, own in found.items():
        panels += [(label, own), (f"{label}, found − given", own - part.kernel)]
    images = {label: mosaic(values, n_axes) for label, values in panels}
    most = max(float(np.nanmax(np.abs(image), initial=0.0)) for image in images.values()) or 1.0
    rows, columns = grid(len(images))
    height, width = images["a, as given"].shape
    size = (3.2 * columns + 1.0, 0.8 + rows * (0.6 + 3.0 * min(1.4, max(0.5, height / width))))
    with figure_of(ax, size, len(images)) as (figure, axes):
        for place, (label, image) in zip(axes, images.items(), strict=True):
            written = image.size <= _WRITTEN and image.shape[1] <= _WIDE
            texts = [[f"{value:.2g}" if written and np.isfinite(value) else "" for value in row] for row in image]
            drawn = cells(place, image, texts, (-most, most), interpolation="none")
            place.set_title(plain(label), fontsize=10)
            _name_axes(place, part.kernel.shape, n_axes, image.shape)
        figure.colorbar(drawn, ax=axes, label="entry of the kernel", shrink=0.8)
        return saved(figure, path)


def _name_axes(axes: Any, shape: Sequence[int], n_axes: int, image: tuple[int, ...]) -> None:
    """Channels are numbered in the middle of their tiles; taps, of a single channel, one by one."""
    channels = n_axes == 0 or (len(shape) > n_axes and tuple(shape[:2]) != (1, 1))
    downwards = {1: "", 2: "tap, first axis"}.get(n_axes, "taps, all axes but the last")
    names = ("output channel", "input channel") if channels else (downwards, "tap, last axis" if n_axes > 1 else "tap")
    apart = _lines(shape, n_axes)  # those behind the last tiles are not shown
    axes.set_xlim(-0.5, image[1] - 0.5 - apart[1])
    axes.set_ylim(image[0] - 0.5 - apart[0], -0.5)
    for which, name, count, length in zip("yx", names, shape[:2] if channels else image, image, strict=True):
        if not name:
            getattr(axes, f"set_{which}ticks")([])
            continue
        shown = min(count, length if n_axes == 0 else SLICES) if channels else count
        places = (np.arange(shown) + 0.5) * length / shown - 0.5
        thin = slice(None, None, max(1, shown // 6))
        getattr(axes, f"set_{which}ticks")(places[thin], [str(k) for k in range(shown)][thin])
        getattr(axes, f"set_{which}label")(name)


def axes_of_taps(part: KernelProblem) -> int:
    """How many of the kernel's last axes are taps; of an operator of one's own none."""
    sizes = len(getattr(part, "input_size", ()))
    return sizes if part.kernel.ndim in (sizes, sizes + 2) else 0


def mosaic(values: Array, n_axes: int) -> Array:
    """An image of a kernel with ``n_axes`` axes of taps: its slices of channels, at most the first of many, apart."""
    if n_axes == 0:
        return values[: 16 * SLICES, : 16 * SLICES]
    taps = values.shape[values.ndim - n_axes :]
    channels = values.reshape(-1, 1, *taps) if values.ndim == n_axes else values
    channels = channels[:SLICES, :SLICES]
    # With more than two axes of taps, all but the last are downwards.
    tiles = channels.reshape(*channels.shape[:2], *((1, taps[0]) if n_axes == 1 else (-1, taps[-1])))
    below, beside = _lines(values.shape, n_axes)
    tiles = np.pad(tiles, [(0, 0), (0, 0), (0, below), (0, beside)], constant_values=np.nan)
    rows, columns, height, width = tiles.shape
    return tiles.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def _lines(shape: Sequence[int], n_axes: int) -> tuple[int, int]:
    """White lines below and beside each slice of channels, which keep them apart."""
    alone = n_axes == 0 or len(shape) == n_axes or tuple(shape[:2]) == (1, 1)
    return (0, 0) if alone or (n_axes == 1 and shape[1] == 1) else (int(n_axes > 1), 1)


def is_cut(shape: Sequence[int], n_axes: int) -> bool:
    """Whether :func:`mosaic` leaves something out."""
    most = 16 * SLICES if n_axes == 0 else SLICES
    return len(shape) > n_axes and max(shape[:2]) > most
