"""Prints the table of the README again. Its pictures, and those of the documentation, are drawn by ``srnc figures``.

python docs/readme.py
"""

from __future__ import annotations

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table
from srnc_manifold.costs import ExactMax, LogSumExp, Penalty
from srnc_manifold.solvers import Exact, MultiStart, Riemannian, Solver

TARGETS = (32.0, 128 / 3)
SOLVERS: dict[str, Solver] = {
    "`Exact()`": Exact(),
    '`MultiStart("SLSQP")`': MultiStart("SLSQP"),
    '`MultiStart("trust-constr")`': MultiStart("trust-constr"),
    "`Riemannian(ExactMax())`": Riemannian(ExactMax()),
    "`Riemannian(Penalty())`": Riemannian(Penalty()),
    "`Riemannian(LogSumExp())`, the paper's": Riemannian(LogSumExp()),
}


def best_of_five(problem: srnc.SRNProblem, solver: Solver) -> srnc.Result:
    """The run of least cost: what the solver itself takes for its best."""
    return min((srnc.solve(problem, solver, rng=seed) for seed in range(5)), key=lambda result: result.cost)


def table() -> str:
    """The table of results: the paper's instance, two targets."""
    headers = ["solver", "stable rank, asked 32", "objective", "stable rank, asked 42.667", "objective"]
    rows = []
    for label, solver in SOLVERS.items():
        cells = []
        for target in TARGETS:
            scores = best_of_five(srnc.SRNProblem([1, 0, 0], 64, stable_rank=target), solver).evaluation
            assert scores is not None
            cells += [f"{scores.stable_rank:.3f}", f"{scores.objective:.4f}"]
        rows.append([label, *cells])
    return markdown_table(headers, rows, left=(0,))


if __name__ == "__main__":
    print(table())
