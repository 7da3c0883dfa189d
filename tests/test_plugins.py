"""Costs and solvers of other distributions: installed, named, run; broken ones are told and stop nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import srnc_manifold as srnc
from srnc_manifold import plugins, registry

HERE = Path(__file__).parent
SRNC = Path(sys.executable).with_name("srnc")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip installed the template and the broken package."""
    folder = tmp_path_factory.mktemp("plugins")
    # Copies, since building leaves files beside the sources.
    sources = [shutil.copytree(HERE / name, folder / name) for name in ("plugin_template", "plugin_broken")]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "target", *sources]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "target"


@pytest.fixture
def command(installed, tmp_path):
    """Runs ``srnc`` where the plug-ins are installed; standard output and standard error."""

    def run(*arguments, code=0):
        path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = os.environ | {"PYTHONPATH": path, "NO_COLOR": "1"}
        done = subprocess.run([SRNC, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    return run


def test_names_are_listed_with_their_distribution_and_broken_ones_are_told(command):
    names, errors = command("solvers")
    solvers, costs = names.splitlines()
    assert solvers.startswith("solvers: exact, ")
    assert "random-search (srnc-plugin-template 0.1)" in solvers
    assert "lse, exact-max, penalty, p-norm (srnc-plugin-template 0.1)" in costs
    assert "broken" not in names
    reason = "of srnc-plugin-broken 0.1 is broken: ImportError: a library is missing"
    assert errors.splitlines() == [f"srnc: the plug-in {name!r} {reason}" for name in ("broken-solver", "broken-cost")]


def test_plugins_are_compared_in_processes_of_their_own(command, tmp_path):
    solvers = ["random-search", "random-search:p-norm", "gradient-descent:p-norm", "exact"]
    options = ("--seeds", "1", "--max-time", "0.2", "--jobs", "2")
    command("compare", "paper", "--solvers", ",".join(solvers), *options)
    rows = pd.read_csv(tmp_path / "results" / "rows.csv")
    assert set(rows.solver) == set(solvers)
    assert not set(rows.status) & {"failed", "unsupported"}
    assert rows.objective.notna().all()


def test_a_broken_one_asked_for_says_why(command):
    _, errors = command("compare", "paper", "--solvers", "exact,broken-solver", code=2)
    assert errors.splitlines() == [
        "srnc: solver: 'broken-solver' given, but the plug-in 'broken-solver' of srnc-plugin-broken 0.1 is broken: "
        "ImportError: a library is missing"
    ]


# -- what can be wrong ---------------------------------------------------------------------------------------

MODULE = """
import srnc_manifold as srnc

class NeedsCost(srnc.solvers.Exact):
    def __init__(self, cost):
        raise AssertionError("not called without a cost")

class TakesCost(srnc.solvers.Riemannian):
    pass

def raises():
    raise RuntimeError("no licence")

def leaves():
    raise SystemExit(3)

def a_number():
    return 3
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Writes what pip would for a distribution with solvers as entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_of_plugins.py").write_text(MODULE)
    caches = (registry.cost_plugins, registry.solver_plugins)
    for names in (registry.COSTS, registry.SOLVERS):  # what plug-ins add is taken back
        monkeypatch.setattr(names, "_entries", dict(names._entries))
        monkeypatch.setattr(names, "_listed", list(names._listed))

    def write(name, *, group="solvers", **entries):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{entry.replace('_', '-')} = {value}" for entry, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[srnc_manifold.{group}]", *lines]))
        for cache in caches:
            cache.cache_clear()

    yield write
    sys.modules.pop("module_of_plugins", None)
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nowhere_to_be_found:Solver", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("module_of_plugins:Missing", "AttributeError: .*Missing"),
        ("module_of_plugins:raises", "RuntimeError: no licence"),
        ("module_of_plugins:leaves", "SystemExit: 3"),
        ("module_of_plugins:a_number", "module_of_plugins:a_number returned 3, expected a Solver"),
        ("module_of_plugins:NeedsCost", "TypeError: .*missing 1 required positional argument: 'cost'"),
        ("module_of_plugins", "TypeError: 'module' object is not callable"),
        ("srnc_manifold.costs:LogSumExp", r"returned LogSumExp\(.*expected a Solver"),
    ],
)
def test_a_broken_plugin_is_told_by_name(distribution, value, reason):
    distribution("others", bad=value, good="srnc_manifold.solvers:MatrixSRN")
    message = f"the plug-in 'bad' of others 1.0 is broken: .*{reason}"
    with pytest.raises(ValueError, match=f"solver: 'bad' given, but {message}"):
        registry.solver_from_name("bad")
    with pytest.warns(UserWarning, match=message):
        assert [plugin.name for plugin in plugins.working(registry.solver_plugins().values())] == ["good"]
    assert registry.solver_from_name("good") == srnc.solvers.MatrixSRN()
    assert registry.solver_from_name("exact") == srnc.solvers.Exact()


def test_a_broken_cost_is_told_by_name(distribution):
    distribution("others", group="costs", bad="module_of_plugins:raises")
    with pytest.raises(ValueError, match="the plug-in 'bad' of others 1.0 is broken"):
        registry.solver_from_name("trust-regions:bad")


def test_a_name_that_cannot_be_typed_is_broken(distribution):
    distribution("others", **{"a,b": "srnc_manifold.solvers:Exact"})
    with pytest.warns(UserWarning, match="'a,b' of others 1.0 is broken: its name contains"):
        assert not plugins.working(registry.solver_plugins().values())


def test_costs_for_the_solvers_that_take_one(distribution):
    distribution("others", takes="module_of_plugins:TakesCost", not_me="srnc_manifold.solvers:MatrixSRN")
    assert registry.solver_from_name("takes:penalty").cost == srnc.costs.Penalty()
    assert registry.solver_from_name("takes").cost == srnc.costs.LogSumExp()
    with pytest.raises(ValueError, match="not-me takes no cost"):
        registry.solver_from_name("not-me:penalty")
    with pytest.raises(ValueError, match=r"'takes:huber' given, but its cost: 'huber' given, expected one of lse"):
        registry.solver_from_name("takes:huber")
    with pytest.raises(ValueError, match=r"'newton' given, expected one of exact, .*takes, not-me$"):
        registry.solver_from_name("newton")


def test_a_name_of_the_package_is_taken(distribution):
    distribution("others", exact="srnc_manifold.solvers:Exact")
    with pytest.raises(ValueError, match=r"solvers: the name 'exact' is given by srnc-manifold itself and by others 1"):
        srnc.compare(srnc.SRNProblem([1, 0, 0], 64, stable_rank=32), "slsqp")


def test_two_distributions_cannot_share_a_name(distribution):
    distribution("first", mine="srnc_manifold.solvers:Exact")
    distribution("second", mine="srnc_manifold.solvers:Exact")
    with pytest.raises(ValueError, match=r"the name 'mine' is given by (first|second) 1.0 and by (first|second) 1.0"):
        registry.solver_from_name("mine")


def test_nothing_is_imported_before_it_is_asked_for(distribution):
    distribution("others", mine="module_of_plugins:TakesCost")
    assert registry.solver_from_name("exact").name == "exact"
    assert "mine" in registry.solver_plugins()
    assert "module_of_plugins" not in sys.modules
