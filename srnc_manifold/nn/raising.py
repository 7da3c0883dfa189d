"""The nearest weight of a larger stable rank, followed while the weight changes (docs/theory.md, section 18)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from srnc_manifold.nn.frequencies import Frequencies
from srnc_manifold.nn.pairs import PairIteration
from srnc_manifold.nn.state import State, write

#: Bytes of the multipliers in single precision, above which no layer is raised.
MOST_MULTIPLIERS = 2**26

# Steps at registration, with which a norm that is to be kept is met to about a thousandth.
_FIRST_STEPS = 200


class Raising(State):
    """Multipliers of the singular values that a weight may not exceed, all relative to its spectral norm.

    The result is ``λa − n``, the nearest point to ``λa`` of spectral norm at most one; ``λ`` is such that its size is
    the one asked for. With a multiplier ``Y`` for each block, ``n = C*(Y)``. A step is one of proximal gradient descent
    for ``Y``. It decomposes all blocks.

    Attributes
    ----------
    multipliers : buffer, shape ``(n_blocks, 2, rows, columns)``
        Real and imaginary parts of ``Y``.
    pull : buffer, of the kernel's shape
        ``n``.
    """

    floats: ClassVar[tuple[str, ...]] = ("multipliers", "pull")

    multipliers: Tensor
    pull: Tensor

    def begin(self, iteration: Frequencies, like: Tensor) -> None:
        """Start without multipliers."""
        self._buffers["multipliers"] = like.new_zeros(len(iteration.blocks), 2, iteration.rows, iteration.columns)
        self._buffers["pull"] = torch.zeros_like(like)

    def point(self, kernel: Tensor, size: Tensor) -> Tensor:
        """The result for a kernel of spectral norm one, of a Frobenius norm; the state is a constant of it."""
        return _point(kernel, self.pull.clone(), size)

    def step(self, iteration: Frequencies, kernel: Tensor, size: Tensor, steps: int) -> None:
        """Some steps for a kernel of spectral norm one."""
        multipliers, pull = self.multipliers, self.pull
        for _ in range(steps):
            multipliers = _found(iteration, multipliers, pull, kernel, size)
            pull = iteration.adjoint(multipliers)
        write(self.multipliers, multipliers)
        write(self.pull, pull)

    def settle(self, iteration: Frequencies, kernel: Tensor, size: Tensor, steps: int = _FIRST_STEPS) -> None:
        """Many steps, with Nesterov's momentum."""
        moved, pull, momentum = self.multipliers.clone(), self.pull, 1.0
        for _ in range(steps):
            found = _found(iteration, moved, pull, kernel, size)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            moved = found + (momentum - 1) / following * (found - self.multipliers)
            write(self.multipliers, found)
            pull, momentum = iteration.adjoint(moved), following
        write(self.pull, iteration.adjoint(self.multipliers))

    def settle_at(self, kernel: Tensor, result: Any) -> None:
        """Such that the result is a given one, of the size that is asked for."""
        point = torch.from_numpy(result).to(kernel)
        write(self.pull, _scale(kernel, self.pull, torch.linalg.vector_norm(point)) * kernel - point)


def require_blocks(iteration: PairIteration) -> None:
    """To raise the stable rank, all singular values are needed.

    Raises
    ------
    ValueError
        If the layer has no symbol, or too many blocks.
    """
    if not isinstance(iteration, Frequencies):
        raise ValueError("mode: 'equal' given for a layer without a symbol, expected 'at_most'")
    needed = 8 * iteration.geometry.n_blocks * iteration.rows * iteration.columns
    if needed > MOST_MULTIPLIERS or iteration.overlooked > 1:
        raise ValueError(
            f"mode: 'equal' given for a layer that has {iteration.geometry.n_blocks} blocks of {iteration.rows} by "
            f"{iteration.columns} on this input size, expected 'at_most' for more than {MOST_MULTIPLIERS // 8} "
            "entries of all"
        )


def _found(iteration: Frequencies, multipliers: Tensor, pull: Tensor, kernel: Tensor, size: Tensor) -> Tensor:
    """The multipliers after a step."""
    return _excess(multipliers + iteration.matrices_of_all(_point(kernel, pull, size)))


def _point(kernel: Tensor, pull: Tensor, size: Tensor) -> Tensor:
    return _scale(kernel, pull, size) * kernel - pull


def _scale(kernel: Tensor, pull: Tensor, size: Tensor) -> Tensor:
    """The largest ``λ`` with ``‖λa − n‖ = size``, if there is one."""
    least = torch.finfo(kernel.dtype).tiny
    square, product = torch.sum(kernel * kernel).clamp(min=least), torch.sum(kernel * pull)
    rest = torch.sum(pull * pull) - size**2
    return (product + torch.sqrt((product**2 - square * rest).clamp(min=least))) / square


def _excess(matrices: Tensor) -> Tensor:
    """What their singular values have above one."""
    u, sizes, vh = torch.linalg.svd(torch.complex(matrices[:, 0], matrices[:, 1]), full_matrices=False)
    above = (u * torch.relu(sizes - 1)[:, None, :]) @ vh
    return torch.stack([above.real, above.imag], dim=1)
