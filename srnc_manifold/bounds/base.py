"""The function :func:`bound`, which computes lower bounds on the objective by the different methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from srnc_manifold import certificates
from srnc_manifold.backends import NUMPY
from srnc_manifold.bounds.layers import layer_bound
from srnc_manifold.certificates import ball, caps, deltas
from srnc_manifold.certificates.certificate import CapsCertificate
from srnc_manifold.exact.reduce import CLOSING, Effort, general
from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms, norms
from srnc_manifold.operators.circular import Circular
from srnc_manifold.problem import Problem, SRNProblem
from srnc_manifold.process import exclusive
from srnc_manifold.result import Bound
from srnc_manifold.validation import require_choice

METHODS = ("caps", "sdp")

# Largest number of cone programs for one block. Each one uses the angle that the previous one proves.
_ROUNDS = 5

# Answers of the moment relaxation: after a few hundred steps its bound has three to four digits.
_MOMENT_ANSWERS = 20


@exclusive
def bound(problem: Problem, method: str | None = None, **options: Any) -> Bound:
    """A proved lower bound on the objective of a problem, without solving it.

    Parameters
    ----------
    problem : SRNProblem, StackProblem or SeparableProblem
        For a stack, the result is the sum of the bounds of its parts. For separable kernels, it is the bound for all
        kernels.
    method : str, optional
        ``"caps"``: the Lemma (docs/theory.md, proposition 5) for every block, in closed form. It applies if the stable
        rank is reduced. For layers with other padding, the bounds of docs/theory.md, section 17.
        ``"sdp"``: cone programs. If the stable rank is reduced, there is one program for each block that matters, and
        the bound is tight if blocks have one row or one column. If the stable rank is raised, it is the relaxation to
        the ball and, if that is not tight, the moment relaxation for up to twelve weights, or Shor's for larger
        kernels. The steps of the moment relaxation are limited in number; :class:`srnc_manifold.solvers.Exact`
        takes more of them, and branches.
        The default is ``"caps"`` if it applies, otherwise ``"sdp"``.
    **options
        Options of ``"sdp"``: ``solver``, the name of a cvxpy solver (``"CLARABEL"`` by default), and options of this
        solver. Its result is repaired, so the bound is valid even if the solver stops early.

    Returns
    -------
    Bound
        ``.verify(problem)`` recomputes it in plain NumPy.

    Raises
    ------
    TypeError, ValueError
        If ``problem`` is not a problem, or if the method is unknown or does not apply.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> bound = srnc.bound(problem)
    >>> round(bound.objective, 6), round(bound.verify(problem), 6)
    (10.666667, 10.666667)
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: {type(problem).__name__} given, expected an SRNProblem")
    if not isinstance(problem, SRNProblem):
        return Bound.total([bound(part, method, **options) for part in problem.parts])
    if not isinstance(problem.operator, Circular):
        return _bound_of_layer(problem, method, options)
    method = ("sdp" if problem.regime == "raise" else "caps") if method is None else method
    require_choice(METHODS, method=method)
    if options and method == "caps":
        raise TypeError(f"options: {', '.join(options)} given, but the method 'caps' has no options")
    if problem.regime == "none":
        return Bound(problem.bound_at(0.0), "the kernel itself", "trivial")
    if method == "caps" and problem.regime == "raise":
        raise ValueError(
            f"method: 'caps' given, which is for reducing the stable rank, but this problem raises it from "
            f"{problem.kernel_stable_rank:.6g} to {problem.stable_rank:.6g}; expected 'sdp'"
        )
    if method == "caps":
        return _caps_bound(problem, CapsCertificate.empty(problem.geometry), "the Lemma")
    return _raise_bound(problem, options) if problem.regime == "raise" else _reduce_bound(problem, options)


def _bound_of_layer(problem: SRNProblem, method: str | None, options: dict[str, Any]) -> Bound:
    if problem.regime == "raise" or method not in (None, "caps"):
        raise ValueError(
            f"problem: its operator is {problem.operator!r}, for which bounds are by the method 'caps' and where the "
            "stable rank is reduced"
        )
    if options:
        raise TypeError(f"options: {', '.join(options)} given, but the method 'caps' has no options")
    if problem.regime == "none":
        return Bound(problem.bound_at(0.0), "the kernel itself", "trivial")
    found = general.relaxed(problem.operator, problem.direction, problem.target_gain, Effort(), CLOSING)
    return layer_bound(problem, found)


def _caps_bound(problem: SRNProblem, certificate: CapsCertificate, method: str) -> Bound:
    squared = certificate.squared_distance(problem.direction, problem.geometry, problem.level)
    return Bound(problem.bound_at(squared), method, "caps", certificate.arrays())


def _reduce_bound(problem: SRNProblem, options: dict[str, Any]) -> Bound:
    geometry = problem.geometry
    matrices = atoms.turned_symbol(problem.direction, geometry)
    heights = caps.safe_heights(np.sqrt(norms.squared_norms(matrices)), geometry)
    lemma = caps.lemma(heights, geometry, problem.level)
    multipliers = _rank_one_multiplier if geometry.block_rank == 1 else _shift
    found: dict[int, Array] = {}
    least = np.inf
    for block in np.argsort(lemma, kind="stable"):
        if lemma[block] >= least:  # this also holds for all blocks that follow
            break
        found[int(block)], sharper = multipliers(problem, matrices, int(block), float(lemma[block]), options)
        least = min(least, max(sharper, float(lemma[block])))
    blocks = np.array(sorted(found), dtype=np.int64)
    certificate = CapsCertificate(blocks, np.stack([found[block] for block in blocks]))
    return _caps_bound(problem, certificate, "the Lemma, and a cone program for each frequency that it does not decide")


def _rank_one_multiplier(
    problem: SRNProblem, matrices: Any, block: int, lemma: float, options: dict[str, Any]
) -> tuple[Array, float]:
    from srnc_manifold.bounds import cone_programs

    geometry, level = problem.geometry, problem.target_gain
    eta, theta = cone_programs.cap_dual(problem.direction, geometry, level, block, **options)
    # Repaired: a definite matrix needs η > θ λ₁.
    tau = 1 - theta * atoms.frame(geometry).top[block] / eta if eta > 0 else 1.0
    values = np.array([max(eta, 1e-12), np.clip(tau, 1e-12, 1.0)])
    index = np.array([block])
    bounds = caps.rank_one_bounds(matrices[index], index, values[None], geometry, caps.repeated(problem.level, 1))
    return values, max(lemma, float(bounds[0]))


def _shift(
    problem: SRNProblem, matrices: Any, block: int, lemma: float, options: dict[str, Any]
) -> tuple[Array, float]:
    from srnc_manifold.bounds import cone_programs

    geometry, level = problem.geometry, problem.target_gain
    frame, index, levels = atoms.frame(geometry), np.array([block]), caps.repeated(problem.level, 1)
    best, bound = np.zeros(geometry.block_shape, complex), lemma
    for _ in range(_ROUNDS):
        # The program takes an angle and proves another one. With repetitions, the two become equal.
        _, sine = caps.angle(np.array(max(bound, 1e-12)), NUMPY)
        shift = cone_programs.cap_multiplier(
            matrices[block], frame.upper[block], frame.lower[block], level, float(sine), **options
        )
        sharper = float(caps.shifted_bounds(matrices[index], index, shift[None], geometry, levels)[0])
        if sharper <= bound * (1 + 1e-9):
            break
        best, bound = shift, sharper
    return best, bound


def _raise_bound(problem: SRNProblem, options: dict[str, Any]) -> Bound:
    from srnc_manifold.bounds import cone_programs

    direction, geometry, level = problem.direction, problem.geometry, certificates.upper_level(problem.level)
    if deltas.are_feasible_alone(geometry, level):  # their bound is the optimum: no program can be sharper
        return raise_bound(problem, deltas.deltas_bound(direction, geometry, level), "deltas", {})
    if not cone_programs.ball_fits(geometry):
        return Bound(
            problem.bound_at(0.0), "the norms only, because the problem is too large for cone programs", "trivial"
        )
    z, multipliers = cone_programs.ball_maximizer(direction, geometry, level, **options)
    candidates: list[tuple[str, dict[str, Any]]] = [("ball", {"multipliers": multipliers})]
    if np.linalg.norm(z) < cone_programs.ON_SPHERE:
        if cone_programs.moments_fit(geometry):
            candidates.append(("moments", _moments(problem, level)))
        elif cone_programs.shor_fits(geometry):
            _, theta = cone_programs.sphere_dual(direction, geometry, level, **options)
            candidates.append(("sphere", {"multipliers": theta}))
    bounds = [ball.certified_bound(kind, arrays, direction, geometry, level) for kind, arrays in candidates]
    kind, arrays = candidates[int(np.argmin(bounds))]
    return raise_bound(problem, min(bounds), kind, arrays)


def _moments(problem: SRNProblem, level: float) -> dict[str, Any]:
    """A certificate of the moment relaxation of the whole sphere."""
    from srnc_manifold.bounds.cone_programs import moments

    direction, geometry = problem.direction, problem.geometry
    blocks = moments.chosen_blocks(direction[None], geometry)
    program = moments.MomentProgram(direction, geometry, level, blocks)
    return program.certificate(_MOMENT_ANSWERS)


def raise_bound(problem: SRNProblem, bound: float, kind: str, arrays: dict[str, Any]) -> Bound:
    """The lower bound on the objective that follows from an upper bound on ``⟨a, z⟩`` over unit kernels.

    Parameters
    ----------
    problem : SRNProblem
        One that raises the stable rank.
    bound : float
        On ``⟨a, z⟩``, where ``a`` and ``z`` have norm one.
    kind : str
        What proves it: ``"ball"``, ``"sphere"``, ``"branched"``, ``"moments"`` or ``"deltas"``.
    arrays : dict of arrays
        The certificate.

    Returns
    -------
    Bound

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> from srnc_manifold import bounds
    >>> problem = srnc.partway([1, 2, 0.5], 16, 0.5, increase=True)
    >>> bounds.raise_bound(problem, 1.0, "ball", {}).objective == problem.bound_at(0.0)
    True
    """
    method = {
        "ball": "the relaxation to the ball",
        "sphere": "Shor's relaxation",
        "branched": "branch and bound",
        "moments": "moment relaxations",
        "deltas": "only delta kernels are feasible",
    }[kind]
    return Bound(problem.bound_at(max(0.0, 2.0 - 2.0 * bound)), method, kind, arrays)
