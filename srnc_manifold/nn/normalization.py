"""The module that keeps the stable rank of a layer's operator (docs/theory.md, section 18)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srnc_manifold.exact.reduce.general import Alternation
from srnc_manifold.nn.certified import Certified
from srnc_manifold.nn.differentiation import with_implicit_gradient
from srnc_manifold.nn.feature_maps import FeatureMaps
from srnc_manifold.nn.following import Following
from srnc_manifold.nn.frequencies import Frequencies
from srnc_manifold.nn.layout import Layout
from srnc_manifold.nn.pairs import Atom, Pairs
from srnc_manifold.nn.raising import Raising, require_blocks
from srnc_manifold.nn.tensors import on_host
from srnc_manifold.operators import Operator
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.padded import Padded
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.problem.target import Target
from srnc_manifold.solvers.solve import solve
from srnc_manifold.validation import require_choice, require_count, require_positive

GRADIENTS = ("detached", "one-step", "implicit")
FRACTIONS_OF = ("initial", "current")
MODES = ("at_most", "equal")

# Relative error of the norm of a layer that stays at the solution that it followed.
_RIGHT = 1e-6

# Power steps at registration, or at the first forward; of the result so many blocks are improved in each of them. With
# feature maps, of which many have almost the largest singular value, some steps are by Lanczos' method, to a tolerance.
_FIRST_STEPS, _MORE_STEPS, _FIRST_FREQUENCIES = 15, 60, 64
_FIRST_SETTLED, _FIRST_TOLERANCE = 4, 1e-2


@dataclass(frozen=True)
class Settings:
    """What was asked for, checked."""

    goal: str
    value: float
    fraction_of: str
    clip: bool
    mode: str
    spectral_norm: float | None
    n_power_iterations: int
    n_frequencies: int
    gradient: str
    eps: float

    def __post_init__(self) -> None:
        require_choice(FRACTIONS_OF, fraction_of=self.fraction_of)
        require_choice(MODES, mode=self.mode)
        require_choice(GRADIENTS, gradient=self.gradient)
        require_count(n_power_iterations=self.n_power_iterations, n_frequencies=self.n_frequencies)
        require_positive(eps=self.eps)
        if self.spectral_norm is not None:
            require_positive(spectral_norm=self.spectral_norm)
        if self.floats and self.goal != "stable_rank_fraction":
            raise ValueError(f"fraction_of: 'current' given with {self.goal}, expected stable_rank_fraction")

    @property
    def floats(self) -> bool:
        """Whether the target changes with the weight."""
        return self.fraction_of == "current"


class StableRankNorm(nn.Module):
    """The parametrization that :func:`stable_rank_norm` registers.

    Its state are the singular pairs that it follows of the raw weight, ``raw``, and of the result, ``result``; and the
    buffers ``target``, and ``input_size``, which is -1 until it is known.
    """

    target: Tensor
    input_size: Tensor

    def __init__(self, layout: Layout, settings: Settings) -> None:
        super().__init__()
        self.layout, self.settings = layout, settings
        self._iteration: Frequencies | FeatureMaps | None = None
        self.raw, self.result = Following(), Following()
        self._turn = 0
        self.raising = Raising() if settings.mode == "equal" else None
        self.register_buffer("input_size", torch.full((layout.axes,), -1, dtype=torch.int64))
        self.register_buffer("target", torch.zeros(()))

    @property
    def is_known(self) -> bool:
        """Whether the input size is known, so that the weight is normalized."""
        return self._iteration is not None

    @property
    def iteration(self) -> Frequencies | FeatureMaps:
        """How singular pairs are improved."""
        assert self._iteration is not None
        return self._iteration

    @property
    def operator(self) -> Operator:
        """The layer on inputs of the size that is known."""
        return self.iteration.operator

    # -- beginning ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, weight: Tensor, size: tuple[int, ...]) -> None:
        """Fix the input size, the target and the first singular pairs."""
        self._set_size(size)
        kernel = _computed(weight)
        if not torch.isfinite(kernel).all():
            raise ValueError("weight: entries that are not finite, expected finite ones")
        self._tell_of_coarser_grid()
        self.raw.begin(self.iteration, kernel)
        if self.iteration.mixes and torch.any(kernel != 0):
            # Their largest singular values are so near one another that steps would take long.
            self.raw.settle(self.iteration, on_host(kernel), _FIRST_TOLERANCE)
        else:
            self.raw.step(self.iteration, kernel, _FIRST_STEPS)
            # More of them for the largest, since the target is fixed by their norm.
            self.raw.step(self.iteration, kernel, _MORE_STEPS, _FIRST_FREQUENCIES)
        self._buffers["target"] = kernel.new_tensor(self._first_target(kernel))
        self._begin_result(kernel)
        if self.raising is not None:
            self._begin_raising(self.raising, kernel)

    def _begin_raising(self, raising: Raising, kernel: Tensor) -> None:
        raising.begin(self._decomposed, kernel)
        norm = self._norm(kernel)
        if norm > self.settings.eps and self._own(kernel, norm) < self.target:
            raising.settle(self._decomposed, kernel / norm, self._size_of(self.target))

    @property
    def _decomposed(self) -> Frequencies:
        assert isinstance(self.iteration, Frequencies)
        return self.iteration

    def _set_size(self, size: tuple[int, ...]) -> None:
        operator = self.layout.operator(size)
        assert isinstance(operator, Circular | Padded)
        iteration = Frequencies(operator) if isinstance(operator, Circular) else FeatureMaps(operator)
        if self.raising is not None:
            require_blocks(iteration)
        self._iteration = iteration
        self._buffers["input_size"] = torch.tensor(size, dtype=torch.int64, device=self.input_size.device)

    def _tell_of_coarser_grid(self) -> None:
        if self.iteration.overlooked > 1:
            warnings.warn(
                f"input_size: {tuple(self.input_size.tolist())} has more frequencies than are kept for this layer; a "
                "coarser grid of them is followed, between which the norm can be larger by up to "
                f"{self.iteration.overlooked - 1:.2%}",
                stacklevel=4,
            )

    def extra_repr(self) -> str:
        """The target and the input size, where they are known."""
        if not self.is_known:
            return "input_size=unknown"
        told = f"stable_rank={float(self.target):.6g}"
        if self.settings.floats:
            told = f"stable_rank_fraction={self.settings.value:g} of the current one"
        if self.layout.axes:
            told += f", input_size={tuple(self.input_size.tolist())}"
        return told if self.iteration.overlooked == 1 else f"{told}, norm within {self.iteration.overlooked - 1:.2%}"

    def _first_target(self, kernel: Tensor) -> float:
        settings, (low, high) = self.settings, self.iteration.stable_rank_range
        own = float(self._own(kernel, self._norm(kernel)))
        if not own > 0:  # a weight of zeros has none: the target is relative to the largest there is
            own = high
        target = Target(settings.goal, np.array([settings.value]))

        def range_of(_: int, units: Any) -> str:
            least, most = low / units[0], target.ceiling(np.array([own]), high, reduce=False)[0] / units[0]
            return f", expected {least:.6g} to {most:.6g}"

        feasible = (low, high)
        (found,), (moved,) = target.stable_ranks(np.array([own]), feasible, range_of, reduce=False, clip=settings.clip)
        if moved:
            units = target.units(np.array([own]), high)
            given = f"{settings.goal}: {settings.value:.6g} given{range_of(0, units)}"
            warnings.warn(f"{given}; moved to {found / units[0]:.6g}", stacklevel=4)
        return float(found)

    def _begin_result(self, kernel: Tensor) -> None:
        """Pairs of the result: from those of the raw weight whose caps are not empty, the largest first."""
        self.result.start_as(self.raw, self.iteration, kernel)
        size = torch.sqrt(self.iteration.squared_size(kernel))
        if not size > 0:
            return
        own = self._own(kernel, self._norm(kernel))
        level = self._level(torch.minimum(self._wanted(own), own))
        atom = self._atom(self.raw)
        for place in torch.argsort(self.raw.sizes, descending=True).tolist():
            pair = self.raw.at(torch.tensor([place], device=kernel.device))
            atom = self.iteration.atom(self.iteration.gradient(pair))
            if atom.norm >= level:
                break
        for step in range(_FIRST_STEPS):
            point = atom.nearest(kernel / size, level)
            if self.iteration.mixes and step < _FIRST_SETTLED:
                self.result.settle(self.iteration, on_host(point), _FIRST_TOLERANCE)
            else:
                self.result.step(self.iteration, point, 1, _FIRST_FREQUENCIES)
            atom = self._atom(self.result)

    # -- every forward --------------------------------------------------------------------------------------------

    def forward(self, weight: Tensor) -> Tensor:
        if not self.is_known:
            return weight
        with torch.autocast(weight.device.type, enabled=False):
            return self._normalized(_computed(weight), weight)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    def _normalized(self, kernel: Tensor, given: Tensor) -> Tensor:
        settings = self.settings
        if self.training:
            self._turn = (self._turn + 1) % 4 if self.iteration.mixes else 0
            self._step(self.raw, kernel)
        norm = self._norm(kernel)
        own = self._own(kernel, norm)
        target = self._wanted(own)
        needed = own > target
        # Where nothing is needed no derivative shall go through what is not used, which may have none.
        used = torch.where(needed, kernel, kernel.detach())
        wanted = torch.where(needed, norm, norm.detach())
        if settings.spectral_norm is not None:
            wanted = torch.full_like(norm, settings.spectral_norm)
        size = torch.sqrt(torch.clamp(self.iteration.squared_size(used), min=settings.eps**2))
        point = self._nearest(used / size, self._level(torch.minimum(target, own.detach())))
        result = (wanted * self._size_of(target) * point).to(given.dtype)
        if settings.spectral_norm is None:
            kept = given
        else:
            kept = (kernel * (wanted / torch.clamp(norm, min=settings.eps))).to(given.dtype)
        if self.raising is not None:
            raised = (own < target) & (norm > settings.eps)
            kept = torch.where(raised, self._raised(self.raising, kernel, raised).to(given.dtype), kept)
        return torch.where(needed, result, kept)

    def _raised(self, raising: Raising, kernel: Tensor, is_used: Tensor) -> Tensor:
        """The nearest weight whose stable rank is the target, which is larger than its own."""
        settings = self.settings
        kernel = torch.where(is_used, kernel, kernel.detach())
        norm = torch.clamp(self._norm(kernel), min=settings.eps)
        size = self._size_of(self._wanted(self._own(kernel, norm)))
        if self.training:
            with torch.no_grad():
                raising.step(self._decomposed, kernel.detach() / norm.detach(), size, settings.n_power_iterations)
        return (settings.spectral_norm or norm) * raising.point(kernel / norm, size)

    def _nearest(self, direction: Tensor, level: Tensor) -> Tensor:
        """The unit kernel of a level that is nearest to a unit kernel, as far as its pair is known."""
        longest = self.iteration.atom(self.result.longest)
        if self.training:
            # Steps from a pair whose cap is empty would make its atom longer, but stay where it is longest nearby.
            atom = self._atom(self.result).or_else(longest, level.detach())
            self._step(self.result, atom.nearest(direction.detach(), level.detach()))
        if self.settings.gradient == "detached":
            atom = self._atom(self.result)
        else:
            atom = self.iteration.atom(self.iteration.gradient(self._with_gradient(direction, level)))
        return atom.or_else(longest, level).nearest(direction, level)

    def _with_gradient(self, direction: Tensor, level: Tensor) -> Pairs:
        """The pair as a function of the weight: after one more step, or as a fixed point of such steps."""
        iteration, pair = self.iteration, self.result.top()
        length = pair.u.numel()

        def parts(both: Tensor) -> Pairs:
            return Pairs(pair.blocks, both[:length].view_as(pair.u), both[length:].view_as(pair.v))

        def step(both: Tensor) -> Tensor:
            point = iteration.atom(iteration.gradient(parts(both))).nearest(direction, level)
            improved, _ = iteration.improved(point, parts(both), 1)
            return torch.cat([improved.u.ravel(), improved.v.ravel()])

        fixed = torch.cat([pair.u.ravel(), pair.v.ravel()])
        return parts(step(fixed) if self.settings.gradient == "one-step" else with_implicit_gradient(step, fixed))

    @torch.no_grad()
    def _step(self, following: Following, kernel: Tensor) -> None:
        steps, count = self.settings.n_power_iterations, self.settings.n_frequencies
        if isinstance(self.iteration, Frequencies):
            following.step(self.iteration, kernel, steps, count)
        elif (following is self.raw) == (self._turn % 2 == 1):
            # A product takes as long as the layer itself. So the raw weight and the result have one in turn, and each
            # of them a whole step in four forwards.
            following.half_step(self.iteration, kernel, steps, to_left=self._turn < 2)

    def _atom(self, following: Following) -> Atom:
        """The atom on top, a constant of the backward pass; a copy, since the state may change before that."""
        return self.iteration.atom(following.gradient.clone())

    def _norm(self, kernel: Tensor) -> Tensor:
        """The spectral norm of the raw weight, as far as its pair is known."""
        return torch.sum(kernel * self.raw.gradient.clone())

    def _own(self, kernel: Tensor, norm: Tensor) -> Tensor:
        """The stable rank of the raw weight."""
        squares = self.iteration.gram_weight * self.iteration.squared_size(kernel)
        return squares / torch.clamp(norm**2, min=self.settings.eps**2)

    def _wanted(self, own: Tensor) -> Tensor:
        """The target, for a raw weight of a stable rank."""
        return self.settings.value * own if self.settings.floats else self.target

    def _size_of(self, stable_rank: Tensor) -> Tensor:
        """``‖x‖_W`` of a kernel with this stable rank and a spectral norm of one."""
        return torch.sqrt(stable_rank / self.iteration.gram_weight)

    def _level(self, stable_rank: Tensor) -> Tensor:
        """The largest squared singular value that a unit kernel of a stable rank has; none has a smaller one."""
        return self.iteration.gram_weight / torch.clamp(stable_rank, min=self.iteration.stable_rank_range[0])

    # -- the explicit solution ------------------------------------------------------------------------------------

    def certified(self, weight: Tensor, followed: bool) -> Certified:
        """Set the pairs to those of the weight, and of the explicit or the followed solution; see :func:`certify`."""
        kernel, before = on_host(weight), self._as_in_evaluation(weight)
        self.raw.settle(self.iteration, kernel)
        goal: dict[str, Any] = {"stable_rank": float(self.target)}
        if self.settings.floats:
            goal = {"stable_rank_fraction": self.settings.value}
        size = tuple(self.input_size.tolist())
        problem = SRNProblem(kernel, size, clip=True, **goal, **self.layout.words)
        result = None
        if problem.regime == "reduce":
            result = solve(problem)
            point = _limit(problem, before) if followed else None
            self.result.settle(self.iteration, result.kernel / problem.radius if point is None else point)
        elif problem.regime == "raise" and self.raising is not None:
            result = solve(problem)
            self._settle_raising(self.raising, _computed(weight), result.kernel / problem.spectral_norm)
        was, after = problem.evaluate(before), self._as_in_evaluation(weight)
        norm = self.settings.spectral_norm or problem.spectral_norm
        rank = problem.stable_rank if result is not None else was.stable_rank
        excess = 0.0
        if result is not None and result.evaluation is not None:
            now = problem.evaluate(after * (problem.spectral_norm / norm))  # as the problem asks, which keeps the norm
            excess = (now.objective - result.evaluation.objective) / problem.squared_norm
        return Certified(
            abs(was.spectral_norm / norm - 1),
            abs(was.stable_rank / rank - 1),
            float(np.linalg.norm(after - before) / np.linalg.norm(before)),
            excess,
            result,
        )

    def _settle_raising(self, raising: Raising, kernel: Tensor, point: Any) -> None:
        unit = kernel / self._norm(kernel)
        raising.settle(self._decomposed, unit, self._size_of(self.target))
        raising.settle_at(unit, point)

    def _as_in_evaluation(self, weight: Tensor) -> Any:
        training = self.training
        try:
            return on_host(self.eval()(weight))
        finally:
            self.train(training)

    # -- loading --------------------------------------------------------------------------------------------------

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        size = state_dict.get(prefix + "input_size")
        if size is not None and not torch.any(size < 0):
            self._set_size(tuple(size.tolist()))
        target = state_dict.get(prefix + "target")
        if target is not None:
            self._buffers["target"] = torch.empty_like(target, device=self.target.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _limit(problem: SRNProblem, kernel: Any) -> Any:
    """Where alternation leads from a kernel until its norm is right, on the unit sphere; None if nowhere.

    Not farther: training may hold a layer at a saddle, from which the steps would go away slowly, to another solution.
    """
    operator, level = problem.operator, math.sqrt(problem.target_gain)
    followed = Alternation(operator, problem.direction, level, lambda: True, lambda *_: None, _RIGHT)
    reached = followed.search(operator.dominant_atoms(problem.to_sphere(kernel), 1))
    return None if reached is None else operator.kernel(reached.z)


def _computed(weight: Tensor) -> Tensor:
    """The weight in the precision of the computation, single or double."""
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.float()
