"""All figures; everything else returns data. Figures are not shown on a screen: a function returns its figure.

With ``path=`` a figure is saved, too. With ``ax=`` one panel is drawn into axes of the caller.
"""

from srnc_manifold.plots.comparisons import overview
from srnc_manifold.plots.drawing import PALETTE, colour, style
from srnc_manifold.plots.histories import convergence, history
from srnc_manifold.plots.paths import reduction
from srnc_manifold.plots.profiles import bands, shares, sweeps
from srnc_manifold.plots.rates import hit_rates, pairs
from srnc_manifold.plots.spectra import eigenvalues, spectrum
from srnc_manifold.plots.studies import hits, violations
from srnc_manifold.plots.trajectories import trajectory

__all__ = [
    "PALETTE",
    "bands",
    "colour",
    "convergence",
    "eigenvalues",
    "history",
    "hit_rates",
    "hits",
    "overview",
    "pairs",
    "reduction",
    "shares",
    "spectrum",
    "style",
    "sweeps",
    "trajectory",
    "violations",
]
