"""All figures; everything else returns data. Figures are not shown on a screen: a function returns its figure.

With ``path=`` a figure is saved, too, as vectors if the path ends in ``.svg`` or ``.pdf``. With ``ax=`` it is drawn
into axes of the caller: one, or a list of as many as there are panels. Lines differ in their dashes and marks, not in
their colours alone, so every figure can be read in grey.
"""

from srnc_manifold.plots.areas import stable_ranks
from srnc_manifold.plots.comparisons import overview
from srnc_manifold.plots.drawing import style
from srnc_manifold.plots.histories import convergence, history
from srnc_manifold.plots.kernels import kernels
from srnc_manifold.plots.paths import reduction
from srnc_manifold.plots.profiles import bands, shares, sweeps
from srnc_manifold.plots.rates import hit_rates, pairs
from srnc_manifold.plots.spectra import eigenvalues, spectrum
from srnc_manifold.plots.studies import hits, violations
from srnc_manifold.plots.styles import PALETTE, colour
from srnc_manifold.plots.tables import heat_map
from srnc_manifold.plots.trajectories import sphere, trajectory

__all__ = [
    "PALETTE",
    "bands",
    "colour",
    "convergence",
    "eigenvalues",
    "heat_map",
    "history",
    "hit_rates",
    "hits",
    "kernels",
    "overview",
    "pairs",
    "reduction",
    "shares",
    "spectrum",
    "sphere",
    "stable_ranks",
    "style",
    "sweeps",
    "trajectory",
    "violations",
]
