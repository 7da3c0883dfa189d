"""Importing the package is cheap, and heavy libraries may be absent."""

import os
import subprocess
import sys

import pytest
from tiers import some

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
"""


def run(code, blocked=()):
    """What code prints in a process of its own, with as many threads of linear algebra as there are."""
    code = BLOCK.format(blocked=set(blocked) or {"nothing"}) + code
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_but_figures_works_without_torch_cvxpy_and_matplotlib():
    out = run(
        """
import srnc_manifold as srnc, srnc_manifold.cli, srnc_manifold.testing
problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
print(srnc.solve(problem).evaluation.objective)
print(srnc.compare(problem, ["trust-regions", "slsqp"], seeds=[0]).report())
srnc.testing.check_cost(srnc.costs.LogSumExp())
try:
    srnc.solve(problem, srnc.solvers.Riemannian(backend="torch"), rng=0)
except ImportError as error:
    print("refused:", error)
names = [entry.reason for entry in srnc.load_family("pretrained") if isinstance(entry, srnc.UnavailableProblem)]
print(any("pip install torch" in name for name in names))
""",
        ["torch", "cvxpy", "matplotlib"],
    )
    assert "10.66666" in out
    assert "refused: torch is blocked" in out
    assert out.strip().endswith("True")


@pytest.mark.parametrize("method", some(["trust-constr", "COBYQA", "SLSQP"], 1))
def test_the_first_run_of_a_process_is_like_every_other(method):
    # Libraries loaded by the first run must not escape the limit to one thread.
    out = run(f"""
import srnc_manifold as srnc, numpy as np
problem = srnc.partway(np.random.default_rng(1).standard_normal(4), 16, 0.5)
solver = srnc.solvers.MultiStart({method!r}, n_starts=4)
first, second = (srnc.solve(problem, solver, rng=0) for _ in range(2))
print(first.details == second.details and np.array_equal(first.kernel, second.kernel))
""")
    assert out.strip() == "True"


def test_importing_the_package_imports_nothing_heavy():
    heavy = ["torch", "cvxpy", "matplotlib", "pandas", "scipy", "pymanopt", "autograd", "typer", "rich", "joblib"]
    assert run(f"import srnc_manifold, sys; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


@pytest.mark.parametrize("name", ["paper", "filters", "random_kernels", "pretrained"])
def test_families_are_part_of_the_package(name):
    assert "problems" in run(f"import srnc_manifold.problems.{name} as m; print(dir(m))")
