"""Atoms of many blocks improved together, on the device they are on, by products alone.

The alternation of :mod:`srnc_manifold.exact.reduce.alternation` in rounds: a round is a few steps of power iteration
for the top singular pair of the symbol at ``x(G)``, from the atom at hand. Its ``Re Σ X w`` does not fall, so that no
distance grows (docs/theory.md, section 7). Which atoms still move is known on the device only; the host asks once in
many rounds, and goes on with these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from srnc_manifold.exact.reduce.alternation import TURNS, Blocks, images_of, improved_atoms

#: Rounds between two questions how many atoms still move, and how often they are asked.
ROUNDS = 25
_QUESTIONS = 4

# An atom whose entries change by less than this stands: its distance then does by the square.
_STILL = 1e-6

# Steps of power iteration for a first atom.
_FIRST = 8


def start(blocks: Blocks) -> Any:
    """About the atoms of the top singular pairs, each turned towards a real one as far as its cap is empty."""
    xp, matrices = blocks.xp, blocks.matrices
    _, columns = matrices.shape[1:]
    phase = np.arange(columns) * (0.5 * np.sqrt(5.0) - 0.5)
    anywhere = 0.0 * matrices + xp.constant(np.exp(2j * np.pi * phase), matrices)
    w = improved_atoms(matrices, anywhere, xp, _FIRST)
    for turn in TURNS:
        turned = xp.real(matrices) + 1j * turn * xp.imag(matrices)
        w = xp.where(blocks.are_empty(w)[:, None, None], improved_atoms(turned, anywhere, xp, _FIRST), w)
    return w


def alternate(blocks: Blocks, w: Any) -> tuple[Any, Any]:
    """Rounds from an atom of each block until none moves, or there were enough: the atoms, their squared distances."""
    xp, given = blocks.xp, blocks
    end, index, moving = w + 0.0, xp.arange(len(w), device=w.device), ~blocks.are_empty(w)
    for question in range(_QUESTIONS):
        for _ in range(ROUNDS):
            moved = improved_atoms(images_of(blocks, w)[0], w, xp)
            change = xp.max(xp.max(xp.abs(moved - w), axis=2), axis=1)
            w, moving = xp.where(moving[:, None, None], moved, w), moving & (change > _STILL)
        end[index] = w
        if question + 1 < _QUESTIONS:
            left = xp.nonzero(moving)[0]
            if not len(left):
                break
            if len(left) < len(w):
                index, blocks, w, moving = index[left], blocks[left], w[left], moving[left]
    return end, given.squared_distances(end)
