"""The layers of a model, with the sizes of the inputs that they see in a forward."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from srnc_manifold.nn.layout import Layout, has_no_weight_yet, layout_of, obstacle

Size = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SeenLayer:
    """A layer whose operator is known; one for all modules that have the same weight and layout.

    Attributes
    ----------
    names : tuple of str
        The qualified names of its modules, as in ``model.named_modules()``; that of the model itself is ``""``.
    modules : tuple of Module
    layout : Layout
    calls : dict
        The sizes of its inputs along the spatial axes, in the order in which they were first seen, and how often. Empty
        if the layer was not called; a ``Linear`` layer has the size ``()`` only.
    elsewhere : tuple of str
        Names of parameters of the model that share its weight but are not that of one of its modules, as an embedding.
    """

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    layout: Layout
    calls: dict[Size, int]
    elsewhere: tuple[str, ...] = ()

    @property
    def module(self) -> nn.Module:
        """The first of its modules."""
        return self.modules[0]

    @property
    def name(self) -> str:
        """Its first name, or its class if the layer is the model itself."""
        return self.names[0] or type(self.module).__name__

    @property
    def input_sizes(self) -> tuple[Size, ...]:
        """The sizes of its inputs."""
        return tuple(self.calls)

    @property
    def parameter(self) -> nn.Parameter | None:
        """Its weight if that is a plain parameter, not one that is computed (by a parametrization, for example)."""
        found = vars(self.module)["_parameters"].get("weight")
        return found if isinstance(found, nn.Parameter) else None


@dataclass(frozen=True)
class SkippedModule:
    """A module with parameters of its own whose operator is not known.

    Attributes
    ----------
    names : tuple of str
    reason : str
    """

    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Layers:
    """What :func:`layers_of` finds.

    Attributes
    ----------
    seen : tuple of SeenLayer
        In the order of ``model.named_modules()``.
    skipped : tuple of SkippedModule
    """

    seen: tuple[SeenLayer, ...]
    skipped: tuple[SkippedModule, ...]


def layers_of(model: nn.Module, example_input: Any) -> Layers:
    """The layers of a model, from a forward in evaluation mode. The model is left as it was.

    Parameters
    ----------
    model : Module
    example_input : tensor, tuple, dict or any other object
        What the model is called with: a tuple has its positional arguments, a mapping its keyword arguments, anything
        else is its only argument.

    Raises
    ------
    TypeError
        If ``model`` is not a module.
    ValueError
        If a layer has no weight yet, or the model cannot take the input.
    """
    modules = _modules(model)
    layouts: dict[nn.Module, Layout] = {}
    skipped = []
    for module, names in modules.items():
        reason = obstacle(module)
        if not reason:
            layouts[module] = layout_of(module)
        elif any(True for _ in module.parameters(recurse=False)):
            skipped.append(SkippedModule(names, reason))
    calls = _calls(model, example_input, layouts)
    found: list[SeenLayer] = []
    weights = {module: _identity(module) for module in layouts}
    for module, layout in layouts.items():
        by_layout = _by_layout(layout, calls[module])
        for used, sizes in by_layout:
            same = [k for k, one in enumerate(found) if weights[one.module] == weights[module] and one.layout == used]
            if same:
                one = found[same[0]]
                sizes = {size: one.calls.get(size, 0) + sizes.get(size, 0) for size in (*one.calls, *sizes)}
                names, both = one.names + modules[module], (*one.modules, module)
                found[same[0]] = replace(one, names=names, modules=both, calls=sizes)
            else:
                found.append(SeenLayer(modules[module], (module,), used, sizes))
    return Layers(tuple(replace(one, elsewhere=_elsewhere(model, one)) for one in found), tuple(skipped))


def arguments(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments that an example input stands for; see :func:`layers_of`."""
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    return (example_input if type(example_input) is tuple else (example_input,)), {}


@contextlib.contextmanager
def calling() -> Iterator[None]:
    """What goes wrong in a model is told as an error of the example input."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"example_input: the model cannot be called with it: {type(error).__name__}: {error}"
        ) from error


@contextlib.contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode. Afterwards its mode, buffers and attributes and the random numbers are as before."""
    values = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    devices = {tensor.device for tensor in (*model.parameters(), *values) if tensor.device.type == "cuda"}
    mode = model.training
    with attributes_kept(model):
        try:
            with torch.random.fork_rng(sorted(devices, key=str)), _eager():
                model.eval()
                yield
        finally:
            model.train(mode)  # that of compiled modules, which have one; then each has its own again
            with torch.no_grad():
                for buffer, value in values.items():
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards the attributes, parameters and buffers of all modules are the same objects as before."""
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    tables = [table for one in modules for table in (vars(one), one._parameters, one._buffers)]
    contents = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, content in zip(tables, contents, strict=True):
            table.clear()
            table.update(content)


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Without compiled code, which does not call hooks; where there is any, what compiles it is imported, not here."""
    compiles = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if compiles else contextlib.nullcontext()


def _modules(model: Any) -> dict[nn.Module, tuple[str, ...]]:
    """The modules of a model with all their names; not those inside parametrizations."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: {type(model).__name__} given, expected a torch.nn.Module")
    found: dict[nn.Module, tuple[str, ...]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if "parametrizations" in name.split("."):
            continue
        if has_no_weight_yet(module):
            raise ValueError(
                f"model: its {name or 'layer'} ({type(module).__name__}) has no weight yet, expected a model that has "
                "seen an input"
            )
        found[module] = (*found.get(module, ()), name)
    return found


def _calls(
    model: nn.Module, example_input: Any, layouts: Mapping[nn.Module, Layout]
) -> dict[nn.Module, list[tuple[Size, Size]]]:
    """The sizes of the inputs and outputs of each layer, along the spatial axes, call by call."""
    calls: dict[nn.Module, list[tuple[Size, Size]]] = {module: [] for module in layouts}

    def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        axes, given = layouts[module].axes, args[0] if args else kwargs["input"]
        calls[module].append((tuple(given.shape[given.ndim - axes :]), tuple(output.shape[output.ndim - axes :])))

    handles: list[Any] = []
    try:
        # Before other hooks, which may change the output.
        handles += (module.register_forward_hook(see, prepend=True, with_kwargs=True) for module in layouts)
        args, kwargs = arguments(example_input)
        with calling(), as_it_was(model), torch.no_grad():
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _by_layout(layout: Layout, calls: list[tuple[Size, Size]]) -> list[tuple[Layout, dict[Size, int]]]:
    """Calls by the layout that they had, in the order of the first ones; the layer's own if there were none."""
    found: list[tuple[Layout, dict[Size, int]]] = [] if calls else [(layout, {})]
    for size, output_size in calls:
        used = _used(layout, size, output_size)
        known = [sizes for one, sizes in found if one == used]
        if not known:
            found.append((used, {size: 1}))
        else:
            known[0][size] = known[0].get(size, 0) + 1
    return found


def _used(layout: Layout, size: Size, output_size: Size) -> Layout:
    """The layout of a call: a transposed convolution may be asked for another size of its output."""
    if not layout.words.get("transposed"):
        return layout
    expected = layout.operator(size).output_shape[1:]
    own = layout.words["output_padding"]
    extra = tuple(e + n - m for e, n, m in zip(own, output_size, expected, strict=True))
    return replace(layout, words=layout.words | {"output_padding": extra})


def _identity(module: nn.Module) -> int:
    """What modules with one weight have in common. A computed weight belongs to one module."""
    return id(module) if parametrize.is_parametrized(module, "weight") else id(module.weight)


def _elsewhere(model: nn.Module, layer: SeenLayer) -> tuple[str, ...]:
    computed = parametrize.is_parametrized(layer.module, "weight")
    sources = [*layer.module.parametrizations.weight.parameters(recurse=False)] if computed else [layer.parameter]  # type: ignore[union-attr]
    own = tuple(f"{name}." if name else "" for name in layer.names)
    named = model.named_parameters(remove_duplicate=False)
    return tuple(name for name, one in named if any(one is part for part in sources) and not name.startswith(own))
