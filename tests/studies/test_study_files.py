"""Studies in files: what is run, and what is said of mistakes."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import srnc_manifold as srnc
from srnc_manifold import studies
from srnc_manifold.cli import app
from srnc_manifold.studies import formulations
from srnc_manifold.toml_files import Document, read_toml

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "studies.md"

OWN = """
import srnc_manifold as srnc

def problems():
    yield srnc.NamedProblem("of a file", srnc.SRNProblem([1, 2, 3], 8, stable_rank=3))

class Still(srnc.solvers.Solver):
    def __init__(self, patience=1):
        self.patience = patience

    def run(self, run):
        oracle = srnc.solvers.Oracle(run, srnc.costs.ExactMax(), patience=self.patience)
        oracle.value(oracle.start)
        return srnc.Status.CONVERGED, "it does not move"
"""

GOOD = """
schema = 1
seeds = 2
budget = { max_evaluations = 40 }

[[problems]]
family = "paper"
only = ["paper r=3*", "paper r=128/3"]

[[problems]]
family = "own.py"

[[problems]]
file = "saved.npz"
name = "saved"

[[problems]]
weights = "net.safetensors"
arrays = "conv?.weight"
index = [0, 0]
input_size = [8, 9]
stable_rank_fraction = [0.5, 0.8]

[[problems]]
weights = "net.safetensors"
arrays = ["head.weight"]
input_size = "dense"
stable_rank_fraction = 0.8

[[problems]]
kernel = [[[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]]]
input_size = 16
stride = 2
stable_rank_fraction = 0.9

[[solvers]]
name = "exact"

[[solvers]]
name = ["trust-regions", "l-bfgs"]
cost = ["exact-max", { name = "lse", alpha = [10, 1000] }]
tolerance = 1e-5

[[solvers]]
name = "slsqp[n_starts=1]"
max_iterations = 30
label = "SLSQP"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    srnc.SRNProblem([1, 0, 0, 1], 9, stable_rank_fraction=0.9).save(tmp_path / "saved.npz")
    weights = {"conv1.weight": (2, 2, 3, 3), "conv2.weight": (4, 2, 3, 3), "head.weight": (4, 6), "bias": (4,)}
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    save_file(arrays, str(tmp_path / "net.safetensors"))
    return tmp_path


def written(folder, text):
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def test_a_file_names_problems_solvers_seeds_and_budgets(folder):
    (study,) = studies.read_study(written(folder, GOOD)).parts
    assert [entry.name for entry in study.problems] == [
        "paper r=32",
        "paper r=128/3",
        "of a file",
        "saved",
        *(f"conv{k}.weight[0, 0], stable_rank_fraction={t}" for k in (1, 2) for t in (0.5, 0.8)),
        "head.weight",
        "kernel",
    ]
    by_name = {entry.name: entry.problem for entry in study.problems}
    weights = srnc.read_arrays(folder / "net.safetensors")
    np.testing.assert_array_equal(
        by_name["conv2.weight[0, 0], stable_rank_fraction=0.8"].kernel, weights["conv2.weight"][0, 0]
    )
    dense = by_name["head.weight"]
    assert dense.stable_rank == pytest.approx(0.8 * float(srnc.stable_rank(weights["head.weight"], ())))
    assert by_name["kernel"].geometry.stride == (2,)
    costs = srnc.sweep(srnc.costs.LogSumExp, alpha=[10, 1000])
    expected = [
        make(cost, tolerance=1e-5)
        for make in (lambda c, **k: srnc.solvers.Riemannian(c, "trust-regions", **k), srnc.solvers.RiemannianLBFGS)
        for cost in (srnc.costs.ExactMax(), *costs)
    ]
    assert list(study.solvers.values())[1:7] == expected
    assert list(study.solvers)[1] == "trust-regions[cost=exact-max, tolerance=1e-05]"
    assert study.solvers["SLSQP"] == srnc.solvers.MultiStart("SLSQP", n_starts=1, max_iterations=30)
    assert (study.seeds, study.budget) == ([0, 1], srnc.Budget(max_evaluations=40))
    (changed,) = studies.read_study(folder / "study.toml").changed([7], srnc.Budget(max_time=2.0)).parts
    assert (changed.seeds, changed.budget) == ([7], srnc.Budget(max_evaluations=40, max_time=2.0))


SMALL = """
schema = 1
seeds = [3, 4]
[[problems]]
family = "own.py"
[[solvers]]
name = "own.py:Still"
patience = [1, 2]
[[solvers]]
name = "exact"
"""


def test_the_command_runs_a_file_and_keeps_its_runs(folder, monkeypatch, capsys):
    written(folder, SMALL)
    monkeypatch.chdir(folder.parent)
    words = ["study", f"{folder.name}/study.toml", "--jobs", "1", "--output", str(folder / "out"), "--max-time", "9"]
    app(words, standalone_mode=False)
    assert "of a file: stable rank" in capsys.readouterr().out
    store = folder / "out" / "study.db"
    rows = srnc.Comparison.load(store).rows
    assert sorted(rows["solver"].unique()) == ["exact", "own.py:Still[patience=1]", "own.py:Still[patience=2]"]
    assert sorted(rows["seed"].unique()) == [3, 4]
    assert set(rows["status"]) == {"converged"}
    # From Python, with the same limit: nothing is run, the times are those of before.
    study = studies.read_study(folder / "study.toml").changed(budget=srnc.Budget(max_time=9.0))
    again = study.compare(store=store, n_jobs=1)
    assert again.rows.equals(rows)


def test_the_examples_of_the_guide(folder):
    example, more = re.findall(r"```toml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (folder / "mine.py").write_text(OWN.replace("Still", "RandomSearch"))
    (folder / "net.safetensors").rename(folder / "model.safetensors")
    (study,) = studies.read_study(written(folder, example + more)).parts
    assert len(study.solvers) == 1 + 6 + 1
    assert [e.name for e in study.problems][:2] == ["random 3 taps on 16", "random 3×3 on 16×16"]
    assert len(study.problems) == 2 + 2 * 2


def test_studies_of_the_package_are_files():
    """Everything in the file of the study of formulations has a name in its findings, and none is left out."""
    methods = formulations.formulations()
    (part,) = formulations.definition().parts
    assert [method.instance for method in methods] == list(part.solvers.values())
    assert part.budget == srnc.Budget(max_time=1.0)
    assert all(method.formulation and method.solver for method in methods)


PARTS = """
schema = 1
seeds = [3, 4]
budget = { max_evaluations = 30 }

[[parts]]
[[parts.problems]]
family = "own.py"
[[parts.solvers]]
name = "own.py:Still"

[[parts]]
seeds = 1
budget = { max_time = 9.0 }
[[parts.problems]]
family = "own.py"
[[parts.problems]]
file = "saved.npz"
[[parts.solvers]]
name = ["l-bfgs", "exact"]
"""


def test_a_file_of_several_parts(folder, capsys):
    study = studies.read_study(written(folder, PARTS))
    assert [part.seeds for part in study.parts] == [[3, 4], [0]]
    assert [part.budget for part in study.parts] == [srnc.Budget(max_evaluations=30), srnc.Budget(max_time=9.0)]
    steps, store = [], folder / "study.db"
    whole = study.compare(store=store, n_jobs=1, progress=lambda done, total, _: steps.append((done, total)))
    rows = whole.rows[["problem", "solver", "seed"]].to_numpy().tolist()
    assert sorted(rows) == sorted(
        [["of a file", "own.py:Still", 3], ["of a file", "own.py:Still", 4]]
        + [[problem, solver, 0] for problem in ("of a file", "saved") for solver in ("exact", "l-bfgs")]
    )
    # The number of all runs grows when a part begins.
    assert steps == [(0, 2), (1, 2), (2, 2), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]
    # What is in the store is the same, and found again; the command says so.
    assert len(srnc.Comparison.load(store).rows) == 6
    app(["study", str(folder / "study.toml"), "--jobs", "1", "--output", str(folder)], standalone_mode=False)
    assert "6 of these runs were in" in capsys.readouterr().out


# Ten mistakes, each marked with what is said about it.
BAD = """schema = 1
colour = "red"                      # 'colour' is unknown, expected some of problems
seeds = 0                           # seeds: 0 given, expected at least 1, or a list

[budget]
max_evaluations = 100
max_time = -2.0                     # max_time: -2.0 given, expected a positive number

[[problems]]
family = "papers"                   # family: 'papers' given, expected one of paper

[[problems]]
family = "paper"
only = [                            # only: 'paper r=33' given, which fits none of paper r=64/3
  "paper r=32",
  "paper r=33",
]

[[problems]]
kernel = [1, 0, 0]
input_size = 64
stable_rank = 3                     # stable_rank: 3.0 given, infeasible

[[problems]]
weights = "net.safetensors"
arrays = "conv1.weight"
input_size = 8
strides = 2                         # 'strides' is unknown, expected some of weights, arrays
stable_rank_fraction = 0.5

[[solvers]]
name = "slqp"                       # solver: 'slqp' given, expected one of exact, slsqp

[[solvers]]
name = "trust-regions"
tolerance = [1e-6, "tight"]         # tolerance: 'tight' given

[solvers.cost]                      # lse has no setting 'alfa'
name = "lse"
alfa = [10, 100]
"""


def test_each_mistake_is_told_with_its_line(folder):
    expected = [(number, line.partition("# ")[2]) for number, line in enumerate(BAD.split("\n"), 1) if "# " in line]
    assert len(expected) == 10
    with pytest.raises(studies.StudyFileError) as caught:
        studies.read_study(written(folder, BAD))
    assert len(caught.value.messages) == 10
    for (number, text), message in zip(expected, caught.value.messages, strict=True):
        assert message.startswith(f"{folder / 'study.toml'}, line {number}: ")
        assert text in message


PROBLEM = 'schema = 1\n[[solvers]]\nname = "exact"\n[[problems]]\n'
PART = "[[parts]]\nsolvers = [{ name = 'exact' }]\n[[parts.problems]]\nfamily = 'own.py'\n"
OTHER = (
    "[[parts]]\nsolvers = [{ name = 'l-bfgs' }]\n[[parts.problems]]\nname = 'of a file'\nkernel = [1, 2]\n"
    "input_size = 8\nstable_rank_fraction = 0.9\n"
)
SOLVER = 'schema = 1\n[[problems]]\nfamily = "paper"\n[[solvers]]\n'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("schema = 1\n", 1, "no problems given, expected tables that begin with [[problems]]"),
        ("schema = 1\nproblems = 3\n", 2, "problems: 3 given, expected tables"),
        ("schema = 1\nproblems = [3]\n", 2, "problems: 3 given, expected a table that begins"),
        ("schema = 1\ntimeout = 'x'\n", 2, "timeout: 'x' given"),
        ("schema = 1\nbudget = 3\n", 2, "budget: 3 given, expected a table of some of max_evaluations"),
        ("schema = 1\nseeds = ['a']\n", 2, "seeds: 'a' given"),
        (PROBLEM, 4, "none given, expected one of family, file, weights, kernel"),
        (PROBLEM + "family = 'paper'\nkernel = [1]\n", 6, "family and kernel given, expected one of"),
        (PROBLEM + "family = 3\n", 5, "family: 3 given, expected a text"),
        (PROBLEM + "family = 'none.py'\n", 5, "none.py' does not exist"),
        (PROBLEM + "file = 'none.npz'\n", 5, "none.npz"),
        (PROBLEM + "weights = 'none.npz'\n", 5, "none.npz' does not exist"),
        (PROBLEM + "weights = 'net.safetensors'\n", 5, "no arrays given, expected names or patterns of some of"),
        (PROBLEM + "\nkernel = [1, 2]\nstable_rank = 3\n", 4, "input_size: none given"),
        (PROBLEM + "\nkernel = [1, 2]\ninput_size = 8\n", 4, "0 targets given, expected one of"),
        (PROBLEM + "kernel = [1, 'a']\ninput_size = 8\nstable_rank = 5\n", 5, "kernel: "),
        (PROBLEM + "family = 'paper'\n[[problems]]\nfamily = 'paper'\nonly='paper r=32'\n", 6, "given twice"),
        (PROBLEM + "weights = 'net.safetensors'\narrays = 'bias'\nindex = [9]\n", 7, "index: [9] given for 'bias'"),
        (SOLVER, 4, "name: None given, expected the name of a solver"),
        (SOLVER + "name = 'exact'\nlabel = 3\n", 6, "label: 3 given, expected a text"),
        (SOLVER + "name = 'slsqp'\nlabel = 'a'\nn_starts = [1, 2]\n", 6, "label: 'a' given for 2 solvers"),
        (SOLVER + "name = 'slsqp'\nn_starts = []\n", 6, "n_starts: no values given"),
        (SOLVER + "name = 'exact'\n\n[[solvers]]\nname = ['slsqp', 'exact']\n", 7, "'exact' is given twice"),
        (SOLVER + "name = 'trust-regions'\n\ncost = {alpha = 3}\n", 7, "expected a table with a name"),
        (SOLVER + "name = 'own.py:Walk'\n", 5, "has no class or function 'Walk'"),
        (SOLVER + "name = 'own.py:problems'\n", 5, "which makes a generator, expected a solver"),
        (SOLVER + "name = 'own.py:Still'\nspeed = 3\n", 6, "has no setting 'speed': patience"),
        ("schema = 1\nparts = 3\n", 2, "parts: 3 given, expected tables that begin with [[parts]]"),
        ("schema = 1\nsolvers = 3\n[[parts]]\n", 2, "'solvers' is unknown, expected some of parts, seeds"),
        ("schema = 1\n\n[[parts]]\n", 3, "no problems given, expected tables that begin with [[parts.problems]]"),
        ("schema = 1\nseeds = 0\n[[parts]]\n", 2, "seeds: 0 given"),
        ("schema = 1\n[[parts]]\nseeds = 2\n[[parts]]\nseeds = 0\n", 5, "seeds: 0 given"),
        (f"schema = 1\n{PART}{PART}", 6, "'exact' on 'of a file' is in an earlier part, too"),
        (f"schema = 1\n{PART}{OTHER}", 6, "'of a file' is another problem in an earlier part"),
    ],
)
def test_mistakes(folder, text, line, message):
    with pytest.raises(studies.StudyFileError) as caught:
        studies.read_study(written(folder, text))
    assert any(f", line {line}: " in told and message in told for told in caught.value.messages), caught.value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 2", "study: schema 2 given in"),
        ("seeds = 1", "has no schema, expected schema = 1"),
        ("schema = 1\nseeds =", r"is not TOML: Invalid value \(at"),
    ],
)
def test_files_that_are_none(folder, text, message):
    with pytest.raises(ValueError, match=message):
        studies.read_study(written(folder, text))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        studies.read_study(folder / "none.toml")


def test_lines_of_values(tmp_path):
    text = 'schema = 1\r\na.b = 1\r\n\r\n# x\r\nlong = """\r\n[c]\r\n"""\r\nlist = [\r\n 1, # ]\r\n 2]\r\n'
    text += "[[t]]\r\n[[t]]\r\nx = { y = [1, 2] }\r\n[t.sub]\r\nz = 1"
    (tmp_path / "x.toml").write_bytes(text.encode())
    document = read_toml(tmp_path / "x.toml", "file", 1)
    lines = {("a", "b"): 2, ("long",): 5, ("list", 1): 8, ("t", 0): 11, ("t", 1): 12, ("t", 1, "x", "y"): 13}
    for place, line in {**lines, ("t", 1, "sub", "z"): 15, ("t", 1, "none"): 12, ("none",): 1, (): 1}.items():
        assert document.line(place) == line
    assert Document("", "", {}).line(("a",)) == 1
