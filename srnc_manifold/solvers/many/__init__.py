"""Many starts at once, in torch: rows that step together, each with a step size, memory and multipliers of its own.

Layout: ``K`` problems with ``S`` starts each are ``K · S`` rows, problem by problem, points of ``n`` entries; see
:mod:`srnc_manifold.costs.rows`. A loop over the rows asks nothing of the device, except once in 25 steps how many rows
are still on their way. Choices are made by ``where``, with every row computed in every step; rows that have ended are
left out when they are half.
"""

__all__ = ["descent", "loop", "multipliers", "objectives", "quasi_newton", "rows"]
