"""The stable rank normalization of a whole model, once, in place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srnc_manifold.networks import Goal, NetworkLayer, Normalization, Row, normalize
from srnc_manifold.networks.rows import TIED, skipped
from srnc_manifold.nn.layout import RECURRENT
from srnc_manifold.nn.model import Layers, SeenLayer, layers_of
from srnc_manifold.nn.tensors import on_host
from srnc_manifold.process import interrupts_deferred
from srnc_manifold.progress import Progress, progress_bar


def normalize_(
    model: nn.Module,
    example_input: Any,
    *,
    stable_rank: float | None = None,
    relative_stable_rank: float | None = None,
    stable_rank_fraction: float | None = None,
    clip: bool = True,
    max_time: float | None = None,
    progress: bool | Progress = True,
) -> Normalization:
    """Limit the stable rank of every layer of a model, in place: all layers are changed, or none.

    The weight of each linear layer, convolution and transposed convolution becomes the nearest one whose operator has
    the target stable rank and the spectral norm that it had. The operator is the layer's own, on inputs of the size
    that it sees when the model is called with the example. The weight matrices of recurrent modules (``LSTM``, ``GRU``,
    their cells) are taken for dense layers. A weight at its target or below it is not changed, bit for bit.

    Parameters
    ----------
    model : Module
    example_input : tensor, tuple or mapping
        The arguments of a call of the model: one, several, or by name.
    stable_rank, relative_stable_rank, stable_rank_fraction : float, optional
        Exactly one of them: the target of each layer, as in :class:`srnc_manifold.SRNProblem`.
    clip : bool, optional
        Whether a target that is not feasible is moved to the nearest that is, as the table tells, instead of an error.
    max_time : float, optional
        Seconds for each layer, after which the best weight so far is taken. Without a limit a convolution with zeros
        around it and 96 channels takes minutes on inputs of 16×16; a circular one is faster by far.
    progress : bool or callable, optional
        Whether to show a progress bar on standard error, if that is a terminal; or what is called with the name of a
        layer, the number of layers done and their number.

    Returns
    -------
    Normalization
        A table: for each layer its norm and stable rank before and after, the target, the distance, the gap, the
        status. Printing it shows it; ``to_frame()`` has all columns.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, the model cannot be called with the example, or a layer cannot be normalized. After
        any error, and after an interrupt, the model is what it was before, bit for bit.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    >>> table = nn.normalize_(model, torch.randn(1, 6), stable_rank_fraction=0.8)
    >>> list(table.to_frame()["layer"])
    ['0', '2']
    """
    goal = Goal.of(stable_rank, relative_stable_rank, stable_rank_fraction, clip)
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress: {progress!r} given, expected True, False or a function")
    layers, parameters, others = _parts(model, layers_of(model, example_input))
    if not layers and not others:
        raise ValueError(f"model: {type(model).__name__} has no layers, expected a model with some")
    with _shown(progress) as shown:
        found = normalize(layers, goal, max_time=max_time, progress=shown)
    _exchange({parameters[name]: values for name, values in found.weights.items()})
    return found.and_then(*others)


def _parts(model: nn.Module, layers: Layers) -> tuple[list[NetworkLayer], dict[str, Tensor], list[Row]]:
    """The layers that are to be normalized, their parameters, and the rows of what is not."""
    chosen: list[NetworkLayer] = []
    parameters: dict[str, Tensor] = {}
    owners: dict[int, str] = {}
    rows: list[Row] = []
    weight: Tensor | None
    for seen in layers.seen:
        weight, reason = seen.parameter, _why_not(seen)
        if weight is None or reason:
            rows.append(skipped(seen.name, reason))
        elif id(weight) in owners:
            rows.append(skipped(seen.name, f"its weight is that of {owners[id(weight)]}, which has another layout"))
        else:
            owners[id(weight)] = seen.name
            parameters[seen.name] = weight
            size = max(seen.input_sizes, key=np.prod, default=())
            chosen.append(_layer(seen.name, weight, size, seen.layout.words, _note(seen)))
            names = (*seen.names[1:], *seen.elsewhere)
            rows += [Row(name, TIED, f"its weight is that of {seen.name}") for name in names]
    tied = {row.layer.rpartition(".")[0] for row in rows if row.status == TIED}
    for module in layers.skipped:
        matrices = _matrices(model.get_submodule(module.names[0]))
        if not matrices and module.names[0] not in tied:
            rows.append(skipped(module.names[0], module.reason))
        for name, weight in matrices.items():
            whole = ".".join(filter(None, (module.names[0], name)))
            if id(weight) in owners:
                rows.append(Row(whole, TIED, f"its weight is that of {owners[id(weight)]}"))
            else:
                owners[id(weight)], parameters[whole] = whole, weight
                chosen.append(_layer(whole, weight, (), {}, ""))
    return chosen, parameters, rows


def _why_not(seen: SeenLayer) -> str:
    if seen.parameter is None:
        return "its weight is computed, by a parametrization for example; only a plain parameter can be changed"
    if seen.layout.axes and not seen.calls:
        return "it is not called with this example, so the size of its input is not known"
    if not seen.parameter.is_floating_point():
        return f"its weight is of {seen.parameter.dtype}, expected real numbers"
    return ""


def _note(seen: SeenLayer) -> str:
    """What is worth telling of a layer."""
    if len(seen.calls) < 2:
        return ""
    return f"it sees inputs of {', '.join('×'.join(map(str, one)) for one in seen.input_sizes)}; the largest counts"


def _matrices(module: nn.Module) -> Mapping[str, Tensor]:
    """The weights of a recurrent module; none of any other one."""
    if not isinstance(module, RECURRENT):
        return {}
    return {name: weight for name, weight in module.named_parameters(recurse=False) if name.startswith("weight_")}


def _layer(name: str, weight: Tensor, size: tuple[int, ...], words: Any, note: str) -> NetworkLayer:
    return NetworkLayer(name, on_host(weight), size, words, note, partial(_rounded, weight.dtype))


def _rounded(dtype: torch.dtype, values: NDArray[Any]) -> NDArray[np.float64]:
    return on_host(torch.from_numpy(values).to(dtype))


@contextlib.contextmanager
def _shown(progress: bool | Progress) -> Iterator[Progress | None]:
    if progress is True:
        with progress_bar() as shown:
            yield shown
    else:
        yield progress or None


@torch.no_grad()
def _exchange(new: Mapping[Tensor, NDArray[Any]]) -> None:
    """Give tensors new values: all of them, or none if that fails or is interrupted."""
    values = {tensor: torch.from_numpy(array).to(tensor) for tensor, array in new.items()}
    before = {tensor: tensor.clone() for tensor in new}
    with interrupts_deferred() as heard:
        try:
            for tensor, value in values.items():
                tensor.copy_(value)
            if heard:
                raise KeyboardInterrupt
        except BaseException:
            for tensor, value in before.items():
                tensor.copy_(value)
            raise
