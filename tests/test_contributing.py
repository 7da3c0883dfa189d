"""The examples of CONTRIBUTING.md work: a cost, a solver, a bound, an operator and a family, each one piece."""

import re
from pathlib import Path

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold.testing import check_bound, check_cost

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
PRELUDE = """
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
import numpy as np
from numpy.typing import NDArray
from srnc_manifold import Bound, NamedProblem, Operator, SRNProblem, Status
from srnc_manifold.backends import NUMPY, Namespace
from srnc_manifold.costs import Cost, LogSumExp, View
from srnc_manifold.numerics import Array
from srnc_manifold.registry import COSTS, SOLVERS
from srnc_manifold.solvers import Oracle, Run
from srnc_manifold.solvers.base import SphereSolver
"""


def test_the_examples_keep_their_contracts(monkeypatch):
    from srnc_manifold.registry import COSTS, SOLVERS

    for names in (COSTS, SOLVERS):
        monkeypatch.setattr(names, "_entries", dict(names._entries))
        monkeypatch.setattr(names, "_listed", list(names._listed))
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 5
    examples = {}
    exec(PRELUDE + "\n".join(blocks), examples)
    check_cost(examples["PNorm"]())
    check_bound(examples["norms_alone"])
    diagonal = examples["problem"]
    result = srnc.solve(diagonal, "augmented-lagrangian", rng=0)
    # The matrix closed form: the largest singular value stays, the others shrink by the same factor.
    factor = np.sqrt((1.3 * 9 - 9) / 5)
    assert result.kernel == pytest.approx([3, 2 * factor, factor], abs=1e-5)
    (first, second) = examples["problems"]()
    assert (first.name, second.name) == ("delta, N = 16", "delta, N = 64")
    result = srnc.solve(first.problem, "normalized-descent[cost=p-norm[p=32], step_size=0.01]", rng=0)
    assert result.status in (srnc.Status.LIMIT, srnc.Status.CONVERGED)
    assert result.solver == "normalized-descent[cost=p-norm[p=32], step_size=0.01]"
    assert result.history["cost"][-1] < result.history["cost"][0]
