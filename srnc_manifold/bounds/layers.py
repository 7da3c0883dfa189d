"""Bounds for layers that are not block-circulant, where the stable rank is reduced (docs/theory.md, section 17)."""

from __future__ import annotations

from srnc_manifold.certificates import layers
from srnc_manifold.exact.reduce.general import Relaxed
from srnc_manifold.problem import SRNProblem
from srnc_manifold.result import Bound


def layer_bound(problem: SRNProblem, relaxed: Relaxed | None) -> Bound:
    """The better one of the Lemma's bound and that of a relaxation, if there is one.

    Parameters
    ----------
    problem : SRNProblem
    relaxed : Relaxed, optional
        The solution of the relaxation, which may prove nothing.
    """
    place = problem.direction, problem.operator, problem.level
    bounds = [Bound(problem.bound_at(layers.squared_distance("norm", {}, *place)), "the Lemma for the layer", "norm")]
    arrays = None if relaxed is None else relaxed.certificate()
    if arrays is not None:
        squared = layers.squared_distance("supremum", arrays, *place)
        bounds.append(Bound(problem.bound_at(squared), "the supremum of the symbol", "supremum", arrays))
    return max(bounds, key=lambda bound: bound.objective)
