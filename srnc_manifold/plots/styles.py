"""What tells lines apart: a colour for each solver, and dashes and marks, which are seen in grey, too."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from srnc_manifold.numerics import Array

#: Colours that colour-blind people can tell apart, too (Okabe and Ito; Tol). The first is for the exact solution.
PALETTE = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#332288",
    "#56B4E9",
    "#882255",
    "#999933",
)

#: Colours of quantities, from low to high: blue, grey, yellow, which colour-blind people tell apart, and in grey from
#: dark to light.
SHADES = "cividis"

# As many dashes as can be told apart, and a number of marks that shares no factor with theirs: lines that have dashes
# of one kind have different marks.
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (11, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (1, 4)),
)

MARKERS = "osD^v<>P*Xdph"


def colour(solver: str) -> str:
    """The colour of a solver, the same in all figures.

    The solvers that are compared by default come first, so that few of them share a colour; lines of one colour are
    told apart by their dashes and marks. Other settings of a solver do not change its colour. Any other text has a
    colour, too.

    Parameters
    ----------
    solver : str
        A name of a solver, in any spelling: ``"trust-regions:lse"`` and ``"trust-regions"`` are one solver.

    Returns
    -------
    str
        An element of :data:`PALETTE`.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> srnc.plots.colour("slsqp[n_starts=3]") == srnc.plots.colour("slsqp")
    True
    """
    name = _canonical(str(solver))
    known = _known()
    base = name.partition("[")[0]
    if name in known or base in known:
        return known.get(name) or known[base]
    return PALETTE[1 + zlib.crc32(base.encode()) % (len(PALETTE) - 1)]


@cache
def _known() -> dict[str, str]:
    """Colours of the default solvers: the first one black, the others in turn."""
    from srnc_manifold.registry import DEFAULT_SOLVERS  # on use: whoever plots first has not imported the solvers

    rest = itertools.cycle(PALETTE[1:])
    names = [_canonical(name) for name in DEFAULT_SOLVERS]
    return {name: PALETTE[0] if k == 0 else next(rest) for k, name in enumerate(names)}


def _canonical(name: str) -> str:
    from srnc_manifold.registry import solver_from_name

    try:
        return solver_from_name(name).name
    except (TypeError, ValueError):  # a label, or a solver that this process does not know
        return name


def line_styles(solvers: Sequence[str]) -> list[dict[str, Any]]:
    """The style of each line of a figure: the colours of the solvers, and dashes and marks in turn.

    In grey, too, no two lines are alike.
    """
    return [distinct(k, colour(solver)) for k, solver in enumerate(solvers)]


def distinct(k: int, own: str | None = None) -> dict[str, Any]:
    """The style of line ``k`` of a figure; without a colour of its own it has one of those that are not black."""
    width = 1.4 + 0.8 * min(k // len(DASHES), 2)
    style = {"linestyle": DASHES[k % len(DASHES)], "linewidth": width, "marker": MARKERS[k % len(MARKERS)]}
    return {"color": PALETTE[1 + k % (len(PALETTE) - 1)] if own is None else own} | style


def unmarked(style: dict[str, Any]) -> dict[str, Any]:
    """The style of a line without its mark."""
    return {name: value for name, value in style.items() if not name.startswith("marker")}


def spots(k: int, low: float, high: float, logarithmic: bool = False) -> Array:
    """Where line ``k`` of many points has its marks: five places along an axis, and other ones for its neighbours."""
    shares = (np.arange(5) + (0.3 + 0.17 * k) % 1) / 5
    return np.asarray(low * (high / low) ** shares if logarithmic else low + (high - low) * shares)
