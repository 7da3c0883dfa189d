"""A table of the layers of a model: what their operators are, and what their flattened weights say of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from srnc_manifold import operators
from srnc_manifold.display import Shown, text_table
from srnc_manifold.nn.chain import chain_of
from srnc_manifold.nn.jacobian import JacobianNorm, jacobian_norm
from srnc_manifold.nn.measures import effective_weight
from srnc_manifold.nn.model import Layers, SeenLayer, Size, layers_of
from srnc_manifold.nn.tensors import on_host
from srnc_manifold.printing import printable
from srnc_manifold.writing import FilePath, require_new, write_table

# The columns of a layer whose numbers are not known.
_NUMBERS = (
    "norm",
    "norm_upper",
    "norm_likely_upper",
    "residual",
    "proof",
    "stable_rank",
    "least_stable_rank",
    "largest_stable_rank",
    "matrix_norm",
    "matrix_stable_rank",
    "matrix_largest_stable_rank",
    "norm_error",
    "relative_error",
)


@dataclass(frozen=True, repr=False, eq=False)
class Report(Shown):
    """What :func:`report` finds. ``print`` shows it as a text.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each layer and each size of its inputs, in the order of ``model.named_modules()``:

        - ``layer``, its name; of modules that share a weight and a layout, all names;
        - ``kind``, ``weight_shape``, ``geometry``; ``input_size`` and ``calls``, as seen in the forward;
        - ``norm``, ``norm_upper``, ``norm_likely_upper``, ``residual``, ``proof``: the largest singular value of its
          operator from below and from above, as in :class:`srnc_manifold.NormBracket`;
        - ``stable_rank``, and ``least_stable_rank`` and ``largest_stable_rank``, between which that of any weight is;
        - ``matrix_norm``, ``matrix_stable_rank``, ``matrix_largest_stable_rank``: the same of the flattened weight, a
          row for each output channel, on which most spectral normalization layers act;
        - ``norm_error``, ``matrix_norm / norm - 1``; negative where the flattened weight promises too small a norm;
        - ``relative_error``, the same of the stable ranks as parts of the largest ones;
        - ``note``, why there are no numbers, and of a weight that is shared with what else.
    skipped : pandas.DataFrame
        The modules with parameters whose operator is not known, ``module``, and the ``reason``.
    product : float
        Of the norms of all calls of layers, and of the Lipschitz constants of the functions between them if these are
        known.
    product_bound : float
        The same of ``norm_upper``: a Lipschitz constant of the model, proved up to rounding, for all inputs of these
        sizes. NaN if the product is none.
    caveat : str
        Why the product is no Lipschitz constant, as far as is known; empty if it is one.
    jacobian : JacobianNorm or None
        The norm of the Jacobian at the example input: no Lipschitz constant is smaller.
    no_jacobian : str
        Why there is none.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU())
    >>> report = nn.report(model, torch.randn(1, 1, 8, 8))
    >>> report.table["kind"].tolist(), report.product <= report.product_bound
    (['Conv2d'], True)
    """

    table: Any
    skipped: Any
    product: float
    product_bound: float
    caveat: str
    jacobian: JacobianNorm | None
    no_jacobian: str

    def summary(self) -> dict[str, str]:
        wrong = self.table["norm_error"].abs().max()
        return {
            "layers": f"{self.table['layer'].nunique()}, {len(self.skipped)} modules skipped",
            "flattened weights": "none" if np.isnan(wrong) else f"their norms are wrong by up to {100 * wrong:.3g} %",
            "product of norms": self._product,
            "Jacobian": self._jacobian,
        }

    @property
    def _product(self) -> str:
        if self.caveat:
            return f"{self.product:.6g}, not a bound of the model: {self.caveat}"
        return f"{self.product:.6g}; the Lipschitz constant is proved to be at most {self.product_bound:.6g}"

    @property
    def _jacobian(self) -> str:
        if self.jacobian is None:
            return f"none: {self.no_jacobian}"
        return f"norm {self.jacobian.value:.6g} at the example input; no Lipschitz constant is smaller"

    def __str__(self) -> str:
        skipped = [f"skipped {row.module}: {row.reason}" for row in self.skipped.itertuples()]
        notes = [f"note {row.layer}: {row.note}" for row in self.table.itertuples() if row.note]
        words, numbers = _shown(self.table)
        parts = [text_table(words | numbers, words), _LEGEND, *map(printable, (*notes, *skipped))]
        return "\n".join([*parts, *(f"{name}: {printable(text)}" for name, text in self.summary().items())])

    def _repr_html_(self) -> str:
        import pandas

        words, numbers = _shown(self.table)
        return super()._repr_html_() + pandas.DataFrame(words | numbers).to_html(index=False)

    def to_csv(self, path: FilePath, *, overwrite: bool = False) -> None:
        """Write the table, all digits and all columns, as a file.

        Raises
        ------
        ValueError, OSError
            If the file exists, unless ``overwrite``, or cannot be written.
        """
        require_new(path, "path", overwrite)
        write_table(path, self.table)


def report(
    model: nn.Module,
    example_input: Any,
    *,
    jacobian: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Measure the operators of all layers of a model, on the sizes that they see in a forward.

    The model is left as it was; what counts is what it does in evaluation mode. All numbers are computed in double
    precision.

    Parameters
    ----------
    model : Module
    example_input : tensor, tuple, dict or any other object
        What the model is called with: a tuple has its positional arguments, a mapping its keyword arguments, anything
        else is its only argument. How many examples a batch has does not matter for the layers.
    jacobian : bool, optional
        Whether to compute the norm of the model's Jacobian at this input (:func:`jacobian_norm`), which takes some
        dozens of forwards and backwards.
    progress : callable, optional
        Given the number of rows that are done, and of all, after each of them.

    Returns
    -------
    Report

    Raises
    ------
    TypeError
        If ``model`` is not a module.
    ValueError
        If a layer has no weight yet, or the model cannot be called with the input.

    Examples
    --------
    >>> import torch
    >>> from srnc_manifold import nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    >>> report = nn.report(model, torch.randn(1, 6))
    >>> len(report.table), report.caveat
    (2, '')
    """
    import pandas

    layers = layers_of(model, example_input)
    never: dict[Size | None, int] = {None: 0}
    calls = [(layer, size, n) for layer in layers.seen for size, n in ({**layer.calls} or never).items()]
    rows = []
    for done, (layer, size, n) in enumerate(calls, 1):
        rows.append(_row(layer, size, n))
        if progress is not None:
            progress(done, len(calls))
    table = pandas.DataFrame(rows, columns=[*_FIRST, *_NUMBERS, "note"])
    skipped = pandas.DataFrame([(", ".join(s.names), s.reason) for s in layers.skipped], columns=["module", "reason"])
    product, bound, caveat = _product(model, example_input, layers, table)
    found, reason = _jacobian_norm(model, example_input) if jacobian else (None, "not asked for")
    return Report(table, skipped, product, bound, caveat, found, reason)


_FIRST = ("layer", "kind", "weight_shape", "geometry", "input_size", "calls")


def _row(layer: SeenLayer, size: Size | None, calls: int) -> dict[str, Any]:
    row = {
        "layer": ", ".join(layer.names) or layer.name,
        "kind": type(layer.module).__name__.removeprefix("Parametrized"),
        "weight_shape": "×".join(map(str, layer.layout.weight_shape)),
        "geometry": layer.layout.geometry,
        "input_size": "" if size is None else "×".join(map(str, size)),
        "calls": calls,
    }
    notes = [f"its weight is shared with {', '.join(layer.elsewhere)}"] if layer.elsewhere else []
    if size is None:
        notes.append("not called, so the size of its input is not known")
    else:
        try:
            row |= _numbers(layer, size)
        except (TypeError, ValueError, MemoryError) as error:
            notes.append(f"not measured: {error}")
    return dict.fromkeys(_NUMBERS, math.nan) | row | {"note": "; ".join(notes)}


def _numbers(layer: SeenLayer, size: Size) -> dict[str, Any]:
    """What is known of the operator of a layer on inputs of a size, and of its flattened weight."""
    operator = layer.layout.operator(size)
    weight = on_host(effective_weight(layer.module, size))
    least, largest = operator.stable_rank_range
    found: dict[str, Any] = {"least_stable_rank": least, "largest_stable_rank": largest}
    if not np.any(weight):
        return found | dict.fromkeys(("norm", "norm_upper", "norm_likely_upper", "matrix_norm"), 0.0)
    bracket = operators.norm_bracket(weight, operator)
    rank = float(operators.frobenius_norm(weight, operator) / bracket.lower) ** 2
    matrix = np.moveaxis(weight, 1, 0) if layer.layout.words.get("transposed") else weight
    matrix = matrix.reshape(len(matrix), -1)
    # A linear layer is its matrix.
    norm = float(np.linalg.norm(matrix, 2)) if layer.layout.axes else bracket.lower
    matrix_rank, matrix_largest = float(np.linalg.norm(matrix) / norm) ** 2, min(matrix.shape)
    return found | {
        "norm": bracket.lower,
        "norm_upper": bracket.upper,
        "norm_likely_upper": bracket.likely_upper,
        "residual": bracket.residual,
        "proof": bracket.proof,
        "stable_rank": rank,
        "matrix_norm": norm,
        "matrix_stable_rank": matrix_rank,
        "matrix_largest_stable_rank": float(matrix_largest),
        "norm_error": norm / bracket.lower - 1,
        "relative_error": (matrix_rank / matrix_largest) / (rank / largest) - 1,
    }


def _product(model: nn.Module, example_input: Any, layers: Layers, table: Any) -> tuple[float, float, str]:
    """The product of all norms, that of their upper bounds if it is a bound of the model, and why it is none."""
    called = table[table["calls"] > 0]
    product, bound = (float(np.prod(called[name] ** called["calls"])) for name in ("norm", "norm_upper"))
    if called["norm"].isna().any():
        return math.nan, math.nan, "not all norms are known"
    names = {module: layer.name for layer in layers.seen for module in layer.modules}
    chain = chain_of(model, example_input, names)
    if chain.broken:
        return product, math.nan, chain.broken
    return product * chain.factor, bound * chain.factor, ""


def _jacobian_norm(model: nn.Module, example_input: Any) -> tuple[JacobianNorm | None, str]:
    try:
        return jacobian_norm(model, example_input), ""
    except ValueError as error:
        return None, str(error)


def _shown(table: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns to print, as text: words and numbers."""

    def number(value: float) -> str:
        return "–" if math.isnan(value) else f"{value:.5g}"

    words = {
        "layer": table["layer"].map(printable),
        "kind": table["kind"],
        "weight": table["weight_shape"],
        "geometry": table["geometry"],
        "input": table["input_size"],
    }
    if (table["calls"] != 1).any():
        words["calls"] = table["calls"].map(str)
    numbers = {}
    for name, of in (("norm", "norm"), ("at most", "norm_upper"), ("stable rank", "stable_rank")):
        numbers[name] = table[of].map(number)
    numbers["range"] = table["least_stable_rank"].map(number) + " to " + table["largest_stable_rank"].map(number)
    numbers["matrix norm"] = table["matrix_norm"].map(number)
    numbers["error"] = table["norm_error"].map(lambda error: "–" if math.isnan(error) else f"{100 * error:+.1f} %")
    numbers["matrix rank"] = table["matrix_stable_rank"].map(number)
    return words, numbers


_LEGEND = """
norm, at most, stable rank   of the layer's operator on inputs of this size; the norm is proved to be at most that
range                        of the stable ranks of all weights of this shape
matrix norm, matrix rank     norm and stable rank of the flattened weight, a row for each output channel
error                        of the matrix norm; where it is negative, the layer stretches more than its matrix
"""
