"""A cost at many points at once, in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from srnc_manifold.arrays import real
from srnc_manifold.costs.base import ClosedForm, Cost, View, costs_of_parts
from srnc_manifold.costs.rows import DTYPES, Family, PartRows, Rows, Seen
from srnc_manifold.problem.base import Problem
from srnc_manifold.validation import require_choice


class BatchFunction:
    """What :class:`SphereFunction` is for one point, for many at once, in torch.

    A cost needs nothing for it: its formula is mapped over the points by ``torch.func.vmap``, so it must not ask for
    the numbers behind its arrays (no ``if``, no ``float``). The package's own costs use their closed forms of the
    derivatives, others are differentiated. Blocks with one row or column need no decomposition, others that of their
    smaller Gram matrix. Where torch would multiply with TF32 it does not here.

    Parameters
    ----------
    problem : Problem
    cost : Cost, or one for each part
    device : str, optional
        A device of torch, the CPU by default.
    dtype : str, optional
        ``"float64"``, the default, or ``"float32"``, where gradients have errors of about 1e-6.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid: torch has no such device, or the number of costs is not that of the parts.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> function = srnc.costs.BatchFunction(problem, srnc.costs.ExactMax())
    >>> function.value([[1, 0, 0], [0, 1, 0]]).shape, function.gradient([[1, 0, 0]]).shape
    (torch.Size([2]), torch.Size([1, 3]))
    """

    def __init__(
        self,
        problem: Problem,
        cost: Cost | Sequence[Cost],
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        costs = costs_of_parts(problem, cost)
        self.problem = problem
        self._given = problem, cost, device_name(device), dtype_name(dtype)
        self._costs = RowCosts(Rows(Family.of_problem(problem), device_name(device), dtype_name(dtype)), costs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given

    def value(self, points: Any) -> Any:
        """The cost at each point.

        Parameters
        ----------
        points : array or tensor, shape ``(B, *shape)``
            On the unit sphere, or on the product of spheres; of the shape of the kernel, or flat.

        Returns
        -------
        tensor, shape ``(B,)``

        Raises
        ------
        TypeError, ValueError
            If the points are not real numbers, or not of such a shape.
        """
        rows = self._rows(points)[0]
        with self._costs.xp.exactly():
            return self._costs.values(rows, self._owners(rows))

    def gradient(self, points: Any) -> Any:
        """Euclidean gradient at each point, as :meth:`SphereFunction.gradient` gives it; a tensor of their shape."""
        rows, shape = self._rows(points)
        with self._costs.xp.exactly():
            _, gradients, _ = self._costs.evaluated(rows, self._owners(rows))
        return gradients.reshape(shape)

    def _rows(self, points: Any) -> tuple[Any, tuple[int, ...]]:
        """The points as rows, and the shape in which they were given."""
        values = real(points, "points").values
        size, shape = self.problem.spheres.size, tuple(values.shape)
        if len(shape) < 2 or shape[0] * size != math.prod(shape):
            raise ValueError(
                f"points: shape {shape} given, expected (B, *shape of a point), a point has {size} entries"
            )
        return self._costs.rows.tensor(values).reshape(shape[0], size), shape

    def _owners(self, rows: Any) -> Any:
        return self._costs.xp.zeros(len(rows), dtype=self._costs.xp.int64, device=rows.device)


class RowCosts:
    """Costs of the parts of a family, at rows of points."""

    def __init__(self, rows: Rows, costs: Sequence[Cost]) -> None:
        self.rows, self.xp = rows, rows.xp
        self._formulas = [_Formula(cost, part) for cost, part in zip(costs, rows.parts, strict=True)]
        self._all = [False] * len(rows.parts)

    def values(self, points: Any, owners: Any) -> Any:
        """The sum of the parts' costs, shape ``(B,)``."""
        seen, _ = self.rows.seen(points, owners, largest=self._all, vectors=False)
        return sum(formula.value(own) for formula, own in zip(self._formulas, seen, strict=True))

    def evaluated(self, points: Any, owners: Any) -> tuple[Any, Any, list[Seen]]:
        """Values, Euclidean gradients, and what they were computed from."""
        seen, pull = self.rows.seen(points, owners, largest=self._all, vectors=True)
        found = [formula.value_and_slopes(own) for formula, own in zip(self._formulas, seen, strict=True)]
        slopes = [by for _, by in found]
        return sum(value for value, _ in found), self.rows.gradient(seen, pull, slopes, owners), seen


class _Formula:
    """A cost of one part, mapped over rows."""

    def __init__(self, cost: Cost, part: PartRows) -> None:
        self._part, xp = part, part.xp
        # A target gain that all rows share is a number, as it is for single points.
        self._target_gain = float(part.part.target_gains[0]) if len(part.part.target_gains) == 1 else None
        in_dims = (0, 0, None if self._target_gain is not None else 0)

        def value(values: Any, fidelity: Any, target_gain: Any) -> Any:
            return cost.value(View(values, part.multiplicities, fidelity, target_gain), xp)

        def closed(values: Any, fidelity: Any, target_gain: Any) -> Any:
            by = cost.slopes(View(values, part.multiplicities, fidelity, target_gain), xp)  # type: ignore[attr-defined]
            return (by[0], by[1] + 0.0 * fidelity), value(values, fidelity, target_gain)

        # Only where the formula is the one that the gradient comes from: a subclass may have another gradient.
        known = type(cost).gradient is ClosedForm.gradient
        self._value = xp.over_rows(value, in_dims)
        self._slopes = xp.over_rows(closed if known else xp.value_and_slopes(value, 0, 1), in_dims)

    def value(self, seen: Seen) -> Any:
        return self._value(seen.values, seen.fidelity, self._target_gain_of(seen))

    def value_and_slopes(self, seen: Seen) -> tuple[Any, tuple[Any, Any]]:
        slopes, value = self._slopes(seen.values, seen.fidelity, self._target_gain_of(seen))
        return value, slopes

    def _target_gain_of(self, seen: Seen) -> Any:
        return seen.target_gain if self._target_gain is None else self._target_gain


def dtype_name(dtype: Any) -> str:
    """The name of a precision of NumPy or torch; double by default."""
    name = "float64" if dtype is None else str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    require_choice(DTYPES, dtype=name)
    return name


def device_name(device: Any) -> str | None:
    """The name of a device of torch."""
    return None if device is None else str(device)
