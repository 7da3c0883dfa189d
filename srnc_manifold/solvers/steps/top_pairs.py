"""The top singular pair of a convolution, by power iteration with feature maps or from the symbol.

Both give the same value ``σ₁`` and the same kernel ``G = ∇_x (u₁ᵀ (x ∗ v₁))``. If the top pair belongs to one frequency
and its mirror image, the feature maps are determined up to a phase, and power iteration ends at any phase, depending on
its start. ``G`` is the same for every phase (docs/theory.md, proposition 18). So the symbol needs no phase, and nothing
random. If several pairs have the largest value, power iteration ends in a mixture of them, and the symbol gives one.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnc_manifold.numerics import Array
from srnc_manifold.operators import atoms
from srnc_manifold.operators.feature_maps import Convolution
from srnc_manifold.problem import SRNProblem
from srnc_manifold.solvers.runs import Run

PAIRS = ("power", "symbol")


@dataclass(frozen=True)
class Pair:
    """A singular pair.

    Attributes
    ----------
    value : float
        ``uᵀ C(x) v``, never above the spectral norm but for rounding.
    converged : bool
        Whether ``u, v`` are singular vectors within the tolerance.
    atom : callable
        Gives the kernel ``G`` with ``⟨x, G⟩ = uᵀ C(x) v`` for all ``x``.
    place : int or array
        The block of the symbol, or the feature maps ``v``.
    """

    value: float
    converged: bool
    atom: Callable[[], Array]
    place: int | Array


class TopPairs(ABC):
    """Singular pairs for one run. They are counted as evaluations, and the budget is kept.

    Attributes
    ----------
    all_converged : bool
        Whether every pair so far has converged.
    """

    def __init__(self, run: Run[SRNProblem]) -> None:
        self.run, self.geometry = run, run.problem.geometry
        self.run.details["convolutions"] = 0
        self.all_converged = True

    @property
    @abstractmethod
    def effort(self) -> str:
        """What was spent so far, in words."""

    @abstractmethod
    def top(self, kernel: Array, near: Pair | None = None) -> Pair:
        """The top singular pair of a kernel's operator; with ``near``, of the frequency and group of this pair."""

    @abstractmethod
    def constant_or_alternating(self, kernel: Array) -> Iterator[Pair]:
        """The top pairs among feature maps that are constant or alternate along each axis of the output.

        There is one for each group of channels and each part of the input that meets most taps, and these have the
        largest atoms (docs/theory.md, proposition 3). The convolution maps each of these subspaces to such a subspace
        of the output.
        """

    def _largest_phases(self) -> NDArray[np.int64]:
        """Phases of the stride that meet most taps."""
        return np.flatnonzero(self.geometry.taps_per_phase == np.max(self.geometry.taps_per_phase))


class PowerPairs(TopPairs):
    """By power iteration from random feature maps. Neither the operator nor its symbol is formed (paper, (4)).

    Power iteration hardly leaves the frequency where it starts. Random feature maps contain all frequencies.
    """

    def __init__(self, run: Run[SRNProblem], *, tolerance: float, max_steps: int) -> None:
        super().__init__(run)
        self._tolerance, self._max_steps = tolerance, max_steps
        self._convolution = Convolution(self.geometry)

    @property
    def effort(self) -> str:
        return f"{self._convolution.count} convolutions"

    def top(self, kernel: Array, near: Pair | None = None) -> Pair:
        return self._pair(kernel, None if near is None else np.asarray(near.place))

    def constant_or_alternating(self, kernel: Array) -> Iterator[Pair]:
        geometry, d = self.geometry, len(self.geometry.grid)
        outputs = np.indices(geometry.grid).reshape(d, geometry.n_points)
        for group, phase in itertools.product(range(geometry.groups), self._largest_phases()):
            places = self._convolution.sources[geometry.taps_by_phase[phase][0]]
            for signs in itertools.product(*[(1, -1) if n % 2 == 0 else (1,) for n in geometry.grid]):
                pattern = np.prod(np.array(signs).reshape(d, 1) ** outputs, axis=0)

                def project(v: Array, group: int = group, places: Any = places, pattern: Any = pattern) -> Array:
                    kept = np.zeros_like(v)
                    kept[group][:, places] = np.mean(v[group][:, places] * pattern, axis=-1, keepdims=True) * pattern
                    return kept

                any_u = np.zeros(self._convolution.output_shape)
                any_u[group, 0] = pattern / np.linalg.norm(pattern)
                yield self._pair(kernel, None, project, any_u)

    def _pair(
        self,
        kernel: Array,
        start: Array | None,
        project: Callable[[Array], Array] = lambda v: v,
        any_u: Array | None = None,
    ) -> Pair:
        """A pair among feature maps that ``project`` leaves as they are. If these are mapped to zero, ``u`` is any."""
        self.run.count_evaluation()
        if start is None:
            start = project(self.run.rng.standard_normal(self._convolution.input_shape))
        found = self._convolution.top_pair(
            kernel,
            start,
            tolerance=self._tolerance,
            max_steps=self._max_steps,
            keep_going=self.run.time_is_left,
            project=project,
        )
        self.run.details["convolutions"] = self._convolution.count
        self.all_converged = self.all_converged and found.converged
        u = found.u if found.value > 0 or any_u is None else any_u
        return Pair(found.value, found.converged, lambda: self._convolution.gradient(u, found.v), found.v)


class SymbolPairs(TopPairs):
    """From the singular vectors of the block of the symbol with the largest norm."""

    @property
    def effort(self) -> str:
        return "singular pairs from the symbol"

    def top(self, kernel: Array, near: Pair | None = None) -> Pair:
        self.run.count_evaluation()
        if near is None:
            return self._pair(kernel, atoms.dominant_atom(kernel, self.geometry))
        return self._pair(kernel, atoms.top_atom(kernel, self.geometry, int(near.place)))

    def constant_or_alternating(self, kernel: Array) -> Iterator[Pair]:
        groups, c_in = self.geometry.groups, self.geometry.channels[1]
        # Frequencies that are their own mirror images.
        frequencies = np.flatnonzero(self.geometry.are_real)
        for group, phase, frequency in itertools.product(range(groups), self._largest_phases(), frequencies):
            self.run.count_evaluation()
            columns = slice(phase * c_in, (phase + 1) * c_in)
            yield self._pair(kernel, atoms.top_atom(kernel, self.geometry, int(frequency) * groups + group, columns))

    def _pair(self, kernel: Array, atom: atoms.Atom) -> Pair:
        return Pair(float(np.sum(kernel * atom.tensor)), True, lambda: atom.tensor, atom.block)


def top_pairs(run: Run[SRNProblem], pair: str, *, tolerance: float, max_steps: int) -> TopPairs:
    """The singular pairs of one run.

    Parameters
    ----------
    run : Run
    pair : str
        ``"power"`` or ``"symbol"``.
    tolerance : float
        Power iteration ends when the relative residual of the pair is at most this.
    max_steps : int
        Largest number of steps of one power iteration.
    """
    if pair == "symbol":
        return SymbolPairs(run)
    return PowerPairs(run, tolerance=tolerance, max_steps=max_steps)
