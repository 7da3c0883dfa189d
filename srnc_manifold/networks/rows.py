"""What has become of one layer of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: How a layer ended; see :class:`Row`.
OPTIMAL, FOUND, LIMIT, UNCHANGED, TIED, SKIPPED = "optimal", "best found", "limit", "unchanged", "tied", "skipped"


@dataclass(frozen=True)
class Row:
    """What has become of one layer. Numbers are NaN where there are none.

    Attributes
    ----------
    layer : str
    status : str
        ``"optimal"``: no weight of the target is nearer, up to 1e-8 of ``‖C(a)‖²``. ``"best found"``: none that was
        found is, and ``gap`` bounds by how much one could be. ``"limit"``: time was up, otherwise as before.
        ``"unchanged"``: the layer is at its target, or below it. ``"tied"``: its weight is that of another row.
        ``"skipped"``: it is left as it was, for the reason in ``message``.
    shape, input_size : tuple of int
    stable_rank_before, target, stable_rank_after : float
    clipped : bool
        Whether the target was moved to the nearest that is feasible.
    norm_before, norm_after : float
        Spectral norms.
    relative_distance : float
        ``‖C(x) − C(a)‖_F / ‖C(a)‖_F``.
    gap : float
        To a proved lower bound on the squared distance, as a part of ``‖C(a)‖_F²``.
    error : float
        The larger relative error of norm and stable rank, of the weight in the precision in which it is kept.
    seconds : float
    message : str
        How its solver ended, or why it is as it was.
    note : str
        What else is worth telling.
    """

    layer: str
    status: str
    message: str = ""
    shape: tuple[int, ...] = ()
    input_size: tuple[int, ...] = ()
    stable_rank_before: float = math.nan
    target: float = math.nan
    stable_rank_after: float = math.nan
    clipped: bool = False
    norm_before: float = math.nan
    norm_after: float = math.nan
    relative_distance: float = math.nan
    gap: float = math.nan
    error: float = math.nan
    seconds: float = math.nan
    note: str = ""


def skipped(layer: str, reason: str) -> Row:
    """The row of a layer that is left as it was."""
    return Row(layer, SKIPPED, reason)
