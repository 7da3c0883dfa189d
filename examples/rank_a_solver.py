"""A solver of one's own against the reference set: problems with certified optima, on which others have been run.

    python examples/rank_a_solver.py --only "paper*"
    srnc rank examples/rank_a_solver.py:PullBack       # the same from the command line

The solver takes projected gradient steps on the distance, and pulls each iterate back to the constraints with the
restoration that comes with every problem. It is short, not good: what counts is how it is written and compared.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

import srnc_manifold as srnc


@dataclass(frozen=True)
class PullBack(srnc.solvers.Solver):
    """Steps towards the given kernel, each followed by a move back onto the constraints.

    Parameters
    ----------
    step_size : float
        Part of the way to the kernel, for the first step; halved when it does not help.
    tolerance : float
        The step size at which it ends.
    """

    step_size: float = 0.5
    tolerance: float = 1e-8

    def run(self, run: srnc.solvers.Run[Any]) -> tuple[srnc.Status, str]:
        # The oracle counts evaluations, keeps the budget, records what improves the cost, and draws the start. A method
        # without gradients is stopped when so many evaluations bring nothing.
        oracle = srnc.solvers.Oracle(run, srnc.costs.ExactMax(fidelity_weight=1e-3), patience=200)
        problem, z, step = run.problem, oracle.start, self.step_size
        best = np.inf
        while step > self.tolerance:
            moved = self._pulled_back(problem, z + step * (problem.direction.ravel() - z))
            value = oracle.value(moved)
            if value < best:
                z, best, step = moved, value, min(1.0, 2 * step)
            else:
                step /= 2
        return srnc.Status.CONVERGED, f"no step longer than {self.tolerance:g} improves"

    @staticmethod
    def _pulled_back(problem: srnc.SRNProblem, z: Any) -> Any:
        """The point of the sphere on the constraints, or the given one where there is no way to them."""
        return problem.to_sphere(problem.restore(problem.to_kernel(z / np.linalg.norm(z)))).ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="pattern for names of problems (default: all of them)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: all cores)")
    given = parser.parse_args()
    ranking = srnc.rank({"pull back": PullBack()}, only=given.only, n_jobs=given.jobs)
    print(ranking.report())
    print(f"not solved from every start: {', '.join(ranking.unsolved) or 'none'}")


if __name__ == "__main__":
    main()
