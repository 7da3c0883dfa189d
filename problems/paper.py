"""The paper's instance (section 3.3): ``a = (1, 0, 0)`` on 64 points, for targets across the feasible range.

The optimum is known in closed form (docs/theory.md, section 5). The nearest atoms are those of DC and Nyquist, which
are tied. The minimizer for DC is ``((1 + 2κ)/3, (1 − κ)/3, (1 − κ)/3)`` with ``κ = √(3r/(2N) − 1/2)``.
"""

from collections.abc import Iterator

import numpy as np

from srnc_manifold import NamedProblem, SRNProblem

KERNEL = (1.0, 0.0, 0.0)
N_POINTS = 64
TARGETS = {"64/3": 64 / 3, "32": 32.0, "128/3": 128 / 3, "160/3": 160 / 3}


def minimizer(stable_rank: float) -> np.ndarray:
    """The global minimizer for a target stable rank between 64/3 and 64."""
    kappa = np.sqrt(max(0.0, 1.5 * stable_rank / N_POINTS - 0.5))
    return np.array([1 + 2 * kappa, 1 - kappa, 1 - kappa]) / 3


def problems() -> Iterator[NamedProblem]:
    for label, target in TARGETS.items():
        problem = SRNProblem(KERNEL, N_POINTS, stable_rank=target)
        optimum = problem.evaluate(minimizer(target)).objective
        yield NamedProblem(f"paper r={label}", problem, optimum, "a = (1, 0, 0), N = 64; DC and Nyquist tie")
