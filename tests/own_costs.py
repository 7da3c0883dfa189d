"""Costs of one's own, written as a user would: several tests plug them in."""

from srnc_manifold.costs import Cost


class Hinge(Cost):
    """Squared hinges on what exceeds the target, and the distance."""

    def value(self, view, xp):
        exceeds = xp.maximum(view.squared_singular_values - view.target_gain, 0.0)
        return xp.sum(view.multiplicities * exceeds**2) + 0.01 * view.fidelity


class PNorm(Cost):
    """The maximum replaced by a p-norm, in units in which no power overflows."""

    def value(self, view, xp):
        largest = xp.max(view.squared_singular_values)
        total = xp.sum(view.multiplicities * (view.squared_singular_values / largest) ** 16)
        return (largest * total ** (1 / 16) - view.target_gain) ** 2 + 0.01 * view.fidelity
