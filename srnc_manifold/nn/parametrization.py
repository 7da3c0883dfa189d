"""Stable rank normalization as a parametrization of a layer (docs/theory.md, section 17)."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from srnc_manifold.backends import NUMPY
from srnc_manifold.nn.feature_maps import FeatureMaps
from srnc_manifold.nn.frequencies import Frequencies
from srnc_manifold.nn.layout import Layout, layout_of
from srnc_manifold.nn.pairs import Pairs
from srnc_manifold.operators import Operator, atoms, symbol
from srnc_manifold.operators.circular import Circular
from srnc_manifold.operators.padded import Padded
from srnc_manifold.problem.kernel import SRNProblem
from srnc_manifold.result import Result
from srnc_manifold.solvers.solve import solve
from srnc_manifold.validation import require_choice, require_count, require_positive

GOALS = ("stable_rank", "relative_stable_rank", "stable_rank_fraction")
GRADIENTS = ("detached", "one-step")
FRACTIONS_OF = ("initial", "current")

# Power steps at registration, or at the first forward.
_FIRST_STEPS = 15

_STATE = ("u", "v", "sizes")


def stable_rank_norm(
    module: nn.Module,
    name: str = "weight",
    *,
    stable_rank: float | None = None,
    relative_stable_rank: float | None = None,
    stable_rank_fraction: float | None = None,
    fraction_of: Literal["initial", "current"] = "initial",
    clip: bool = True,
    input_size: Any = None,
    spectral_norm: float | None = None,
    n_power_iterations: int = 1,
    n_frequencies: int = 8,
    gradient: Literal["detached", "one-step"] = "detached",
    eps: float = 1e-12,
) -> nn.Module:
    """Keep the stable rank of a layer's operator at most at a target, in every forward of its training.

    Registers a parametrization (:mod:`torch.nn.utils.parametrize`). The layer's weight becomes the nearest one with the
    target stable rank and the spectral norm of the raw weight, as far as singular pairs follow the training: in each
    forward some are improved by power iteration. The operator is the layer's own, with its stride, groups and dilation,
    not the flattened matrix. A raw weight whose stable rank is at most the target is not changed, bit for bit, unless a
    ``spectral_norm`` is asked for.

    Parameters
    ----------
    module : Module
        ``Linear``, ``Conv1d`` to ``Conv3d`` or ``ConvTranspose1d`` to ``ConvTranspose3d``, with any padding.
    name : str, optional
        Of the parameter.
    stable_rank, relative_stable_rank, stable_rank_fraction : float, optional
        Exactly one of them: the target, as in :class:`srnc_manifold.SRNProblem`.
    fraction_of : {"initial", "current"}, optional
        Of which weight's stable rank the fraction is: of the raw weight at registration, so that the target is fixed,
        or of the raw weight in each forward, which limits nothing.
    clip : bool, optional
        Whether a target that is not feasible is moved to the nearest feasible one, with a warning, instead of an error.
    input_size : int or sequence of int, optional
        Size of the input along each spatial axis. By default it is learned from the first forward, until which the
        weight stays as it is.
    spectral_norm : float, optional
        A norm that the layer is to have, at most; by default it keeps that of the raw weight.
    n_power_iterations : int, optional
        Steps for each pair that is improved.
    n_frequencies : int, optional
        How many blocks are improved in each forward: those with the largest norms, and as many others in turn.
    gradient : {"detached", "one-step"}, optional
        Whether the atom of the result is a constant of the backward pass, or the last power step is differentiated.
    eps : float, optional
        Norms of weights below this are taken for it.

    Returns
    -------
    Module
        The same, parametrized.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: {type(module).__name__} given, expected a torch.nn.Module")
    if not isinstance(getattr(module, name, None), Tensor):
        raise ValueError(f"name: {name!r} given, which is no parameter of {type(module).__name__}")
    layout = layout_of(module, name)
    if parametrize.is_parametrized(module, name) and any(
        isinstance(p, StableRankNorm)
        for p in module.parametrizations[name]  # type: ignore[index]
    ):
        raise ValueError(f"module: its {name} has a stable rank norm already")
    goals = dict(zip(GOALS, (stable_rank, relative_stable_rank, stable_rank_fraction), strict=True))
    given = {key: value for key, value in goals.items() if value is not None}
    if len(given) != 1:
        raise TypeError(f"{', '.join(GOALS)}: {len(given)} of them given, expected exactly one")
    ((goal, value),) = given.items()
    require_positive(**{goal: value})
    settings = Settings(
        goal, float(value), fraction_of, clip, spectral_norm, n_power_iterations, n_frequencies, gradient, eps
    )
    normalization = StableRankNorm(layout, settings)
    learns = layout.axes > 0 and input_size is None
    if not learns:
        normalization.begin(getattr(module, name), layout.input_size_from(input_size) if layout.axes else ())
    parametrize.register_parametrization(module, name, normalization)
    if learns:
        module.register_forward_pre_hook(_LearnSize(name))
    return module


class Settings:
    """What was asked for, checked."""

    def __init__(
        self,
        goal: str,
        value: float,
        fraction_of: str,
        clip: bool,
        spectral_norm: float | None,
        n_power_iterations: int,
        n_frequencies: int,
        gradient: str,
        eps: float,
    ) -> None:
        require_choice(FRACTIONS_OF, fraction_of=fraction_of)
        require_choice(GRADIENTS, gradient=gradient)
        require_count(n_power_iterations=n_power_iterations, n_frequencies=n_frequencies)
        require_positive(eps=eps)
        if spectral_norm is not None:
            require_positive(spectral_norm=spectral_norm)
        if fraction_of == "current" and goal != "stable_rank_fraction":
            raise ValueError(f"fraction_of: 'current' given with {goal}, expected stable_rank_fraction")
        self.goal, self.value, self.clip = goal, value, clip
        self.floats = fraction_of == "current"
        self.spectral_norm, self.gradient, self.eps = spectral_norm, gradient, eps
        self.n_power_iterations, self.n_frequencies = n_power_iterations, n_frequencies


class StableRankNorm(nn.Module):
    """The parametrization that :func:`stable_rank_norm` registers.

    Its buffers are the singular pairs that it follows, in single precision at least, of the raw weight (0) and of the
    result (1): ``u``, ``v`` and ``sizes``, the norms of all blocks as last seen; ``turn``, the next block in turn;
    ``target``; ``input_size``, which is -1 until it is known.
    """

    u: Tensor
    v: Tensor
    sizes: Tensor
    target: Tensor
    turn: Tensor
    input_size: Tensor

    def __init__(self, layout: Layout, settings: Settings) -> None:
        super().__init__()
        self.layout, self.settings = layout, settings
        self._pairs_of: Frequencies | FeatureMaps | None = None
        self.register_buffer("input_size", torch.full((layout.axes,), -1, dtype=torch.int64))
        for part in (*_STATE, "target"):
            self.register_buffer(part, torch.zeros(0))
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    @property
    def is_known(self) -> bool:
        """Whether the input size is known, so that the weight is normalized."""
        return self._pairs_of is not None

    @property
    def operator(self) -> Operator:
        """The layer on inputs of the size that is known."""
        return self.layout.operator(tuple(self.input_size.tolist()))

    @property
    def _of(self) -> Frequencies | FeatureMaps:
        assert self._pairs_of is not None
        return self._pairs_of

    @torch.no_grad()
    def begin(self, weight: Tensor, size: tuple[int, ...]) -> None:
        """Fix the input size, the target and the first singular pairs."""
        self._set_size(size)
        kernel = _computed(weight)
        if not torch.isfinite(kernel).all():
            raise ValueError("weight: entries that are not finite, expected finite ones")
        generator, count = torch.Generator().manual_seed(0), self._of.n_blocks
        for part, shape in zip(("u", "v"), self._of.pair_shapes, strict=True):
            random = torch.randn(2, count, *shape, generator=generator)
            lengths = torch.linalg.vector_norm(random.flatten(2), dim=2)
            self._buffers[part] = (random / lengths.reshape(2, count, *[1] * len(shape))).to(kernel)
        self._buffers["sizes"] = kernel.new_zeros(2, count)
        every = torch.arange(count, device=kernel.device)
        if isinstance(self._of, FeatureMaps) and torch.any(kernel != 0):
            # Their largest singular values are so near one another that steps would take long.
            self._set_pairs(0, kernel.double().cpu().numpy())
        else:
            self._refresh(0, kernel, every, _FIRST_STEPS)
        self._buffers["target"] = self._first_target(kernel)
        self._begin_result(kernel, every)

    def _set_size(self, size: tuple[int, ...]) -> None:
        operator = self.layout.operator(size)
        assert isinstance(operator, Circular | Padded)
        self._pairs_of = Frequencies(operator.geometry) if isinstance(operator, Circular) else FeatureMaps(operator)
        self._buffers["input_size"] = torch.tensor(size, dtype=torch.int64, device=self.input_size.device)

    def _first_target(self, kernel: Tensor) -> Tensor:
        settings, (low, high) = self.settings, self._of.stable_rank_range
        own = float(self._own(kernel, self._norm(kernel)))
        if not own > 0:  # a weight of zeros has none: the target is relative to the largest there is
            own = high
        unit = {"stable_rank": 1.0, "relative_stable_rank": high, "stable_rank_fraction": own}[settings.goal]
        asked = settings.value * unit
        target = min(max(asked, low), high)
        if abs(target - asked) > 1e-9 * asked:
            text = f"{settings.goal}: {settings.value:.6g} given, expected {low / unit:.6g} to {high / unit:.6g}"
            if not settings.clip:
                raise ValueError(text)
            warnings.warn(f"{text}; moved to {target / unit:.6g}", stacklevel=4)
        return kernel.new_tensor(target)

    def _begin_result(self, kernel: Tensor, every: Tensor) -> None:
        """Pairs of the result: from those of the raw weight whose caps are not empty, the largest first."""
        for part in _STATE:
            getattr(self, part)[1] = getattr(self, part)[0]
        size = torch.sqrt(self._of.squared_size(kernel))
        if not size > 0:
            return
        own = self._own(kernel, self._norm(kernel))
        level = self._level(torch.minimum(self._wanted(own), own))
        for block in torch.argsort(self.sizes[0], descending=True).tolist():
            pair = self._pair(1, torch.tensor([block], device=kernel.device))
            if self._of.atom(pair)[1] >= level:
                break
        point = self._of.nearest(kernel / size, pair, level)
        for _ in range(_FIRST_STEPS):
            self._refresh(1, point, every, 1)
            point = self._of.nearest(kernel / size, self._top(1), level)

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
            with torch.no_grad():
                self._refresh(0, kernel.detach(), self._next(0), settings.n_power_iterations)
        norm = self._norm(kernel)
        own = self._own(kernel, norm)
        target = self._wanted(own.detach())
        needed = own > target
        # Where nothing is needed no derivative shall go through what is not used, which may have none.
        used, wanted = torch.where(needed, kernel, kernel.detach()), torch.where(needed, norm, norm.detach())
        if settings.spectral_norm is not None:
            wanted = torch.clamp(norm.detach(), max=settings.spectral_norm)
        size = torch.sqrt(torch.clamp(self._of.squared_size(used), min=settings.eps**2))
        point = self._nearest(used / size, target, own)
        result = (wanted * torch.sqrt(target / self._of.gram_weight) * point).to(given.dtype)
        kept = given if settings.spectral_norm is None else (kernel * (wanted / norm)).to(given.dtype)
        return torch.where(needed, result, kept)

    def _nearest(self, direction: Tensor, target: Tensor, own: Tensor) -> Tensor:
        """The unit kernel of the target stable rank nearest to a unit kernel, as far as its pair is known."""
        settings = self.settings
        level = self._level(torch.minimum(target, own.detach()))
        pair = self._top(1)
        if self.training:
            with torch.no_grad():
                point = self._of.nearest(direction.detach(), pair, level)
                self._refresh(1, point, self._next(1), settings.n_power_iterations)
            pair = self._top(1)
        if settings.gradient == "one-step":
            point = self._of.nearest(direction, pair, level)
            pair, _ = self._of.improved(point, pair, 1)
        return self._of.nearest(direction, pair, level)

    def _own(self, kernel: Tensor, norm: Tensor) -> Tensor:
        """The stable rank of the raw weight."""
        return self._of.gram_weight * self._of.squared_size(kernel) / torch.clamp(norm**2, min=self.settings.eps**2)

    def _wanted(self, own: Tensor) -> Tensor:
        """The target, for a raw weight of a stable rank."""
        return self.settings.value * own if self.settings.floats else self.target

    def _level(self, stable_rank: Tensor) -> Tensor:
        """The largest squared singular value that a unit kernel of a stable rank has; none has a smaller one."""
        return self._of.gram_weight / torch.clamp(stable_rank, min=self._of.stable_rank_range[0])

    # -- singular pairs -----------------------------------------------------------------------------------------

    def _pair(self, which: int, blocks: Tensor) -> Pairs:
        # Copies: the state may change before the backward pass.
        return Pairs(blocks, self.u[which][blocks].clone(), self.v[which][blocks].clone())

    def _top(self, which: int) -> Pairs:
        """The pair with the largest value, as last seen."""
        return self._pair(which, torch.argmax(self.sizes[which])[None])

    def _norm(self, kernel: Tensor) -> Tensor:
        """The spectral norm of the raw weight, as far as its pair is known."""
        return self._of.value(kernel, self._top(0))[0]

    def _next(self, which: int) -> Tensor:
        """The blocks to look at: those with the largest norms, and others in turn."""
        n_blocks = self._of.n_blocks
        count = min(self.settings.n_frequencies, n_blocks)
        if 2 * count >= n_blocks:
            return torch.arange(n_blocks, device=self.sizes.device)
        others = (self.turn + torch.arange(count, device=self.turn.device)) % n_blocks
        if which == 1:
            torch.remainder(self.turn + count, n_blocks, out=self.turn)
        return torch.cat([torch.topk(self.sizes[which], count).indices, others])

    def _refresh(self, which: int, kernel: Tensor, blocks: Tensor, steps: int) -> None:
        """Steps of power iteration for the pairs of some blocks."""
        pairs, sizes = self._of.improved(kernel, self._pair(which, blocks), steps)
        for buffer, new in zip((self.u, self.v, self.sizes), (pairs.u, pairs.v, sizes), strict=True):
            # Not copied into it: under torch.func.grad a buffer takes nothing but the output of an operation.
            torch.mul(buffer[which].index_copy(0, blocks, new.to(buffer.dtype)), 1.0, out=buffer[which])

    def settle(self, weight: Tensor) -> Result | None:
        """Set the pairs to those of the weight and of the explicit solution; see :func:`certify`."""
        size, floats = tuple(self.input_size.tolist()), self.settings.floats
        kernel = weight.detach().double().cpu().numpy()
        self._set_pairs(0, kernel)
        goal = {"stable_rank_fraction": self.settings.value} if floats else {"stable_rank": float(self.target)}
        problem = SRNProblem(kernel, size, clip=True, **goal, **self.layout.words)  # type: ignore[arg-type]
        if problem.regime != "reduce":
            return None
        result = solve(problem)
        self._set_pairs(1, result.kernel / problem.radius)
        return result

    def _set_pairs(self, which: int, kernel: Any) -> None:
        """The top singular pairs of all blocks."""
        operator = self.operator
        if isinstance(operator, Circular):
            u, sizes, vh = symbol.singular_vectors(atoms.turned_symbol(kernel, operator.geometry, NUMPY))
            left, right = (np.stack([part.real, part.imag], axis=1) for part in (u[:, :, 0], vh[:, 0].conj()))
            found = left, right, sizes[:, 0]
        else:
            assert isinstance(operator, Padded)
            pairs = operator.pairs(operator.coordinates(kernel), self._of.n_blocks)
            found = (*((pairs.v, pairs.u) if operator.transposed else (pairs.u, pairs.v)), pairs.values)
        for buffer, values in zip((self.u, self.v, self.sizes), found, strict=True):
            buffer[which] = torch.from_numpy(np.ascontiguousarray(values)).to(buffer)

    # -- moving and loading ---------------------------------------------------------------------------------------

    def _apply(self, fn: Any, recurse: bool = True) -> StableRankNorm:
        """Move the state; in half precision the pairs would not follow."""
        before = {part: self._buffers[part] for part in (*_STATE, "target")}
        super()._apply(fn, recurse)
        for part, state in before.items():
            moved = self._buffers[part]
            if state is not None and moved is not None and torch.finfo(moved.dtype).bits < 32:
                self._buffers[part] = state.to(moved.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        size = state_dict.get(prefix + "input_size")
        if size is not None and not torch.any(size < 0):
            self._set_size(tuple(size.tolist()))
            for part in (*_STATE, "target"):
                if prefix + part in state_dict:
                    given = state_dict[prefix + part]
                    self._buffers[part] = torch.empty_like(given, device=self.input_size.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


class _LearnSize:
    """A forward pre-hook that tells the parametrization the size of the first input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not parametrize.is_parametrized(module, self.name):
            return
        for part in module.parametrizations[self.name]:  # type: ignore[index]
            if isinstance(part, StableRankNorm) and not part.is_known:
                size = tuple(inputs[0].shape)[-part.layout.axes :]
                part.begin(module.parametrizations[self.name].original, size)  # type: ignore[index, union-attr]


def _computed(weight: Tensor) -> Tensor:
    """The weight in the precision of the computation, single or double."""
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.float()


@torch.no_grad()
def certify(module: nn.Module, name: str = "weight") -> Any:
    """Bring the singular pairs of a layer to their limits, from the explicit solution in double precision.

    Parameters
    ----------
    module : Module
        With a stable rank norm.
    name : str, optional

    Returns
    -------
    Result
        Of :func:`srnc_manifold.solve` for the raw weight; None if that needs no change.

    Raises
    ------
    ValueError
        If the parameter has no stable rank norm, or its input size is not known yet.
    """
    parts = module.parametrizations[name] if parametrize.is_parametrized(module, name) else ()  # type: ignore[index]
    found = [part for part in parts if isinstance(part, StableRankNorm)]
    if not found or not found[0].is_known:
        raise ValueError(f"module: its {name} has no stable rank norm with a known input size")
    return found[0].settle(parts.original)  # type: ignore[union-attr]
