"""Stable rank normalization as a parametrization of a layer (docs/theory.md, section 18)."""

from __future__ import annotations

import weakref
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.weak import WeakTensorKeyDictionary

from srnc_manifold.nn.certified import Certified
from srnc_manifold.nn.layout import Layout, layout_of
from srnc_manifold.nn.normalization import Settings, StableRankNorm
from srnc_manifold.problem.target import Target
from srnc_manifold.validation import require_positive

# The module, the name and the parametrization of weights that have one.
_WITH_NORM = WeakTensorKeyDictionary()


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
    mode: Literal["at_most", "equal"] = "at_most",
    spectral_norm: float | None = None,
    n_power_iterations: int = 1,
    n_frequencies: int = 8,
    gradient: Literal["detached", "one-step", "implicit"] = "detached",
    eps: float = 1e-12,
) -> nn.Module:
    """Keep the stable rank of a layer's operator at most at a target, in every forward of its training.

    Registers a parametrization (:mod:`torch.nn.utils.parametrize`). The layer's weight becomes the nearest one with the
    target stable rank and the spectral norm of the raw weight, as far as singular pairs follow the training: in each
    forward some are improved by power iteration. Before a layer is used or saved for good, :func:`certify` brings them
    to their limits. The operator is the layer's own, with its stride, groups and dilation,
    not the flattened matrix. A raw weight whose stable rank is at most the target is not changed, bit for bit, unless a
    ``spectral_norm`` is asked for. Layers that share their weight share their parametrization, too.

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
    mode : {"at_most", "equal"}, optional
        What a raw weight with a stable rank below the target becomes: what it is, or the nearest weight with the target
        and its norm, also followed. The latter is for linear layers and for layers with a symbol (circular padding),
        and decomposes all blocks of the symbol in each forward.
    spectral_norm : float, optional
        The norm that the layer is to have; by default it keeps that of the raw weight.
    n_power_iterations : int, optional
        Steps for each pair that is improved.
    n_frequencies : int, optional
        How many blocks are improved in each forward: those with the largest norms, and as many others in turn. Of a
        layer that has no symbol, a few feature maps are improved together, whatever is given here.
    gradient : {"detached", "one-step", "implicit"}, optional
        What the backward pass knows of the change of the atom of the result: nothing; what the last power step says; or
        all of it, by a linear system in each backward pass, on the host, of the first derivative.
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

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> layer = torch.nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")
    >>> before = nn.stable_rank(layer, 8).item()
    >>> _ = nn.stable_rank_norm(layer, stable_rank_fraction=0.5, input_size=8)
    >>> _ = nn.certify(layer)
    >>> abs(nn.stable_rank(layer, 8).item() / before - 0.5) < 1e-4
    True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: {type(module).__name__} given, expected a torch.nn.Module")
    if not isinstance(getattr(module, name, None), Tensor):
        raise ValueError(f"name: {name!r} given, which is no parameter of {type(module).__name__}")
    layout = layout_of(module, name)
    if _norm_of(module, name) is not None:
        raise ValueError(f"module: its {name} has a stable rank norm already")
    target = Target.of_one(stable_rank, relative_stable_rank, stable_rank_fraction)
    require_positive(**{target.name: float(target.values[0])})
    settings = Settings(
        target.name,
        float(target.values[0]),
        fraction_of,
        clip,
        mode,
        spectral_norm,
        n_power_iterations,
        n_frequencies,
        gradient,
        eps,
    )
    size = None if input_size is None and layout.axes else layout.input_size_from(input_size) if layout.axes else ()
    weight = getattr(module, name)
    normalization = _tied(weight, layout, settings, size)
    if normalization is None:
        normalization = StableRankNorm(layout, settings).to(weight.device)
        if size is not None:
            normalization.begin(weight, size)
    parametrize.register_parametrization(module, name, normalization)
    _WITH_NORM[module.parametrizations[name].original] = (weakref.ref(module), name)  # type: ignore[index, union-attr]
    if not normalization.is_known:
        module.register_forward_pre_hook(_LearnSize(name))
    return module


def _norm_of(module: nn.Module, name: str) -> StableRankNorm | None:
    """The stable rank norm of a parameter, if it has one."""
    parts = module.parametrizations[name] if parametrize.is_parametrized(module, name) else ()  # type: ignore[index]
    return next((part for part in parts if isinstance(part, StableRankNorm)), None)


def _tied(weight: Tensor, layout: Layout, settings: Settings, size: tuple[int, ...] | None) -> StableRankNorm | None:
    """The parametrization of another layer that has the same weight."""
    owner, name = _WITH_NORM.get(weight, (lambda: None, ""))
    other = owner()
    norm = None if other is None else _norm_of(other, name)
    if norm is None:
        return None
    same = norm.layout == layout and norm.settings == settings
    if not same or (size is not None and norm.is_known and size != tuple(norm.input_size.tolist())):
        raise ValueError(
            "module: its weight is that of another layer, which has a stable rank norm with other settings; expected "
            "the same target, options and input size, of a layer with the same stride, padding, dilation and groups"
        )
    return norm


@torch.no_grad()
def certify(module: nn.Module, name: str = "weight", *, followed: bool = False) -> Certified:
    """Bring the singular pairs of a layer to their limits in double precision: to the explicit solution.

    Parameters
    ----------
    module : Module
        With a stable rank norm.
    name : str, optional
    followed : bool, optional
        Whether the layer stays at the solution that it has followed in training, with a norm that is right to a
        millionth, even if another one is nearer to the raw weight. The rest of the network is used to that one.

    Returns
    -------
    Certified
        How far the layer was, and the explicit solution.

    Raises
    ------
    ValueError
        If the parameter has no stable rank norm, its input size is not known yet, or its weight is zero.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> layer = torch.nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")
    >>> _ = nn.stable_rank_norm(layer, stable_rank_fraction=0.5)
    >>> _ = layer(torch.randn(1, 2, 8, 8))
    >>> nn.certify(layer).norm_error < 0.1
    True
    """
    part = _norm_of(module, name)
    if part is None or not part.is_known:
        raise ValueError(f"module: its {name} has no stable rank norm with a known input size")
    return part.certified(module.parametrizations[name].original, followed)  # type: ignore[index, union-attr]


class _LearnSize:
    """A forward pre-hook that tells the parametrization the size of the first input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        part = _norm_of(module, self.name)
        if part is None or part.is_known:
            return
        if getattr(module, "_is_replica", False):
            raise ValueError(
                "input_size: not known in a replica of DataParallel, which cannot keep what it learns; give it, or "
                "call the module once before"
            )
        part.begin(module.parametrizations[self.name].original, tuple(inputs[0].shape)[-part.layout.axes :])  # type: ignore[index, union-attr]
