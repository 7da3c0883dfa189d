"""The command, as a user meets it: output, exit codes, one-line errors."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.cli import main
from srnc_manifold.files import read_file

SRNC = Path(sys.executable).with_name("srnc")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "kernel.npy", rng.standard_normal((3, 3)))
    np.savez(tmp_path / "several.npz", conv=rng.standard_normal((4, 2, 3, 3)), bias=np.ones(4), zero=np.zeros((3, 3)))
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """The command in this process, its entry point and all: much faster than in one of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments, code=0):
        with monkeypatch.context() as process:
            process.setattr(sys, "argv", ["srnc", *map(str, arguments)])
            process.setattr(sys, "stdout", sys.stdout)  # which it replaces, as the next two
            process.setattr(sys, "stderr", sys.stderr)
            process.setattr(warnings, "showwarning", warnings.showwarning)
            with pytest.raises(SystemExit) as end:
                main()
        out, errors = capfd.readouterr()
        assert end.value.code == code, errors
        assert "Traceback" not in errors + out
        return out if code == 0 else errors

    return run


def test_compare(folder, run):
    arguments = ("--solvers", "exact,slsqp,trust-regions:lse", "--seeds", "2", "--jobs", "1")
    out = run("compare", "paper", *arguments)
    assert "paper r=32: stable rank 64 → 32 on 64 points; optimum 10.6667" in out
    assert "10.6667" in out
    assert "42.6667" in out
    rows = pd.read_csv(folder / "results" / "rows.csv")
    assert len(rows) == 4 * (1 + 2 + 2)
    assert (folder / "results" / "comparison.png").stat().st_size > 10_000
    assert (folder / "results" / "table.csv").exists()


def test_a_study_has_a_name(run):
    assert "study: 'all' given, expected one of formulations, srnc" in run("study", "all", code=2)
    assert "Missing argument" in run("study", code=2)


def test_each_mistake_in_a_study_has_a_line(folder, run):
    text = 'schema = 1\nseeds = 0\n[[problems]]\nfamily = "paper"\n[[solvers]]\nname = "slqp"\n'
    (folder / "mine.toml").write_text(text)
    first, second = run("study", "mine.toml", code=2).splitlines()
    assert first == "srnc: mine.toml, line 2: seeds: 0 given, expected at least 1, or a list"
    assert second.startswith("srnc: mine.toml, line 6: solver: 'slqp' given, expected one of exact")


def test_compare_reads_files_of_one_s_own(folder, run):
    (folder / "mine.py").write_text(
        "import srnc_manifold as srnc\n"
        "def problems():\n    yield srnc.NamedProblem('mine', srnc.SRNProblem([1, 2, 3], 8, stable_rank=3))\n"
    )
    assert "mine: stable rank" in run("compare", "mine.py", "--solvers", "exact", "--output", "out")


def test_inspect(folder, run):
    out = run("inspect", "several.npz", "--input-size", "16")
    kernel = np.load(folder / "several.npz")["conv"]
    assert f"{srnc.stable_rank(kernel, 16):.6g}" in out
    assert f"{srnc.spectral_norm(kernel, 16):.6g}" in out
    assert "28.4444 to 512" in out
    assert "skipped zero: kernel: all entries are zero" in out


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        (("--padding", "1", "--padding-mode", "zeros"), {"padding": 1, "padding_mode": "zeros"}),
        (
            ("--padding", "1x0", "--padding-mode", "zeros", "--transposed", "--stride", "2", "--output-padding", "1x0"),
            {"padding": (1, 0), "padding_mode": "zeros", "transposed": True, "stride": 2, "output_padding": (1, 0)},
        ),
        (("--padding", "same", "--padding-mode", "reflect"), {"padding": "same", "padding_mode": "reflect"}),
    ],
    ids=("zeros", "transposed", "same"),
)
def test_layers_with_padding(folder, run, options, layer):
    kernel = np.load(folder / "several.npz")["conv"]
    np.save(folder / "conv.npy", kernel)
    out = run("inspect", "conv.npy", "-n", "6x5", *options)
    assert f"padding {options[1]} of the mode {options[3]}" in out
    assert f"{srnc.stable_rank(kernel, (6, 5), **layer):.6g}" in out
    out = run("solve", "conv.npy", "-n", "6x5", *options, "--stable-rank-fraction", "0.8", "--output", "o.npy")
    assert "feasible       yes" in out
    target = 0.8 * srnc.stable_rank(kernel, (6, 5), **layer)
    assert srnc.stable_rank(np.load(folder / "o.npy"), (6, 5), **layer) == pytest.approx(target, rel=1e-8)
    out = run("bound", "conv.npy", "-n", "6x5", *options, "--stable-rank-fraction", "0.8")
    assert "of ‖C(a)‖²" in out


def test_wrong_padding_is_one_line(run):
    options = ("-n", "6", "--stable-rank-fraction", "0.8", "--padding", "one")
    error = run("solve", "kernel.npy", *options, code=2)
    assert error == "srnc: padding: 'one' given, expected 1, 2x1, 'same' or 'valid'\n"


def columns(out, name):
    """The cells of a kernel's row."""
    (line,) = [line for line in out.splitlines() if line.strip("│ ").startswith(name)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_inspect_of_a_grouped_layer_says_what_it_assumed(folder, run, dense):
    rng = np.random.default_rng(1)
    layers = {
        "stem.weight": rng.standard_normal((4, 3, 3, 3)),
        "depthwise.weight": rng.standard_normal((4, 1, 3, 3)),
        "point.weight": rng.standard_normal((8, 4, 1, 1)),
        "grouped.weight": rng.standard_normal((4, 2, 3, 3)),
    }
    np.savez(folder / "net.npz", **layers)
    alone, right = run("inspect", "net.npz", "-n", "4"), run("inspect", "net.npz", "-n", "4", "--groups", "4")
    for out, groups in ((alone, 1), (right, 4)):
        assert f"input size 4, groups {groups}, stride 1, dilation 1, circular padding" in out
        for name in ("depthwise.weight", "grouped.weight"):
            values = np.linalg.svd(dense(layers[name], (4, 4), groups), compute_uv=False)
            _, _, rank, _, _, norm = columns(out, name)
            assert float(norm) == pytest.approx(values[0], rel=1e-5)
            assert float(rank) == pytest.approx(np.sum(values**2) / values[0] ** 2, rel=1e-5)
    notes = [line for line in alone.splitlines() if line.startswith("note")]
    assert [line.split()[1] for line in notes] == ["depthwise.weight:", "grouped.weight:"]
    assert all("--groups 4" in line for line in notes)
    notes = [line.split()[1] for line in right.splitlines() if line.startswith("note")]
    assert notes == ["point.weight:"]  # it fits the four outputs before it without groups


def test_inspect_leaves_out_what_is_no_kernel(folder, run):
    ones = np.arange(1, 5.0)
    none = {
        "conv.bias": ones,
        "conv.scale": ones,
        "bn.weight": ones,
        "bn.bias": ones,
        "bn.running_mean": ones,
        "bn.running_var": ones,
        "bn.num_batches_tracked": np.array(7),
        "norm.weight": np.ones((4, 8)),
        "norm.bias": np.ones((4, 8)),
        "attention.in_proj_bias": ones,
        "spectral.weight_u": ones,
        "steps": np.array(3),
        "lstm.bias_ih_l0": ones,
        "old.weight_g": np.ones((4, 1, 1)),
        "new.parametrizations.weight.original0": np.ones((4, 1, 1)),
        "sn.parametrizations.weight.0._u": ones,
    }
    kernels = {
        "conv.weight": np.random.default_rng(0).standard_normal((4, 2, 3)),
        "taps": np.array([1.0, 2, 1]),
        "spectral.weight_orig": np.ones((4, 2, 3)),
        "filter.weight": np.array([1.0, 2, 1]),
        "old.weight_v": np.ones((4, 2, 3)),
        "new.parametrizations.weight.original1": np.ones((4, 2, 3)),
        "sn.parametrizations.weight.original": np.ones((4, 2, 3)),
    }
    np.savez(folder / "net.npz", **none, **kernels)
    out = run("inspect", "net.npz", "-n", "16")
    for name in none:
        assert f"skipped {name}: " in out
    assert "skipped bn.weight: of a normalization" in out
    assert "note old.weight_v: of a weight normalization; these numbers are wrong unless weight_g" in out
    assert "note new.parametrizations.weight.original1: of a weight normalization" in out
    for name, kernel in kernels.items():
        assert columns(out, name)[1] == "×".join(map(str, kernel.shape))


def test_inspect_notes_dense_layers(folder, run):
    np.savez(folder / "net.npz", **{"fc.weight": np.ones((4, 5)) + np.eye(4, 5), "fc.bias": np.ones(4), "k": np.eye(3)})
    assert "note fc.weight: its bias has an entry for each row" in run("inspect", "net.npz", "-n", "16")
    out = run("inspect", "net.npz", "-n", "dense")
    assert "Assumed for every kernel: a dense matrix" in out
    assert "note" not in out


def test_names_in_files_are_not_markup(folder, run):
    kernel = torch.eye(3)
    names = ["block[/end].weight", "w[conv1]", "\x1b[31mred\x07", "one\ntwo", "conv:heart:1"]
    odd = torch.ones(2, device="meta")
    torch.save({**{name: kernel + k for k, name in enumerate(names)}, "odd[/x]\x1b": odd}, folder / "w.pt")
    out = run("inspect", "w.pt", "-n", "8")
    for shown in ("block[/end].weight", "w[conv1]", r"\x1b[31mred\x07", r"one\ntwo", "conv:heart:1"):
        assert columns(out, shown)[1] == "3×3"
    assert r"skipped odd[/x]\x1b: a tensor that is on the meta device" in out
    assert "\x1b" not in out
    for name in names:
        assert "feasible       yes" in run("solve", "w.pt", *SIZE, *TARGET, "--clip", "--name", name)


def test_an_odd_entry_is_told_by_name(folder, run):
    np.savez(folder / "w.npz", kernel=np.eye(3), odd=np.array([{}], object))
    assert list(read_file(folder / "w.npz").skipped) == ["odd"]
    error = run("solve", "w.npz", *SIZE, *TARGET, "--name", "odd", code=2)
    assert "name: 'odd' given, which cannot be read from 'w.npz': Object arrays" in error
    error = run("solve", "w.npz", *SIZE, *TARGET, code=2)
    assert "name: none given, expected one of the arrays of 'w.npz': kernel" in error
    assert "skipped odd: Object arrays" in run("inspect", "w.npz", *SIZE)


def test_errors_are_printed_without_control_characters(folder, run):
    np.savez(folder / "w.npz", **{"a\x1b[31m": np.eye(3), "two\nlines": np.eye(3)})
    errors = run("solve", "w.npz", *SIZE, *TARGET, code=2)
    assert r"a\x1b[31m, two\nlines" in errors
    assert "\x1b" not in errors


@pytest.mark.parametrize("size", ["8", "8x8", "8×8"])
def test_solve(folder, run, size):
    arguments = ("--input-size", size, "--stable-rank-fraction", "0.7")
    out = run("solve", "kernel.npy", *arguments, "--output", "out.npy")
    problem = srnc.SRNProblem(np.load(folder / "kernel.npy"), 8, stable_rank_fraction=0.7)
    np.testing.assert_allclose(np.load(folder / "out.npy"), srnc.solve(problem).kernel, rtol=1e-12)
    assert "feasible       yes" in out
    run("solve", "kernel.npy", *arguments, "--solver", "slsqp", "--output", "out.json")
    assert srnc.Result.load(folder / "out.json").evaluation.feasible


def test_solve_a_dense_matrix_of_a_file_of_several(folder, run):
    np.savez(folder / "matrices.npz", a=np.ones(3), w=np.random.default_rng(0).standard_normal((4, 5)))
    arguments = ("--name", "w", "--input-size", "dense", "--stable-rank", "1.5", "--solver", "slsqp")
    assert "target 1.5" in run("solve", "matrices.npz", *arguments)


def test_bound(folder, run):
    arguments = ("kernel.npy", *SIZE, "--stable-rank-fraction", "0.7")
    objective = srnc.solve(
        srnc.SRNProblem(np.load(folder / "kernel.npy"), 8, stable_rank_fraction=0.7)
    ).evaluation.objective
    found = []
    for method in ("caps", "sdp"):
        out = run("bound", *arguments, "--method", method)
        values = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith("stable"))
        found.append(float(values["bound"].split(",")[0]))
        assert float(values["verified"].split(",")[0]) == pytest.approx(found[-1], rel=1e-9)
    caps, sdp = found
    assert caps <= sdp * (1 + 1e-9)
    assert sdp == pytest.approx(objective, rel=1e-5)  # tight for a single channel, to the solver's accuracy
    np.save(folder / "three.npy", [1.0, 0.3, 0.2])
    assert "raise" in run("bound", "three.npy", *SIZE, "--stable-rank", "6")


def test_layout_options(folder, run):
    rng = np.random.default_rng(0)
    np.save(folder / "depthwise.npy", rng.standard_normal((4, 1, 3, 3)))
    options = ("--input-size", "8", "--groups", "4", "--stride", "2x1", "--dilation", "1x2")
    out = run("solve", "depthwise.npy", *options, "--stable-rank-fraction", "0.8", "--output", "out.npy")
    layout = {"groups": 4, "stride": (2, 1), "dilation": (1, 2)}
    problem = srnc.SRNProblem(np.load(folder / "depthwise.npy"), (8, 8), stable_rank_fraction=0.8, **layout)
    assert problem.evaluate(np.load(folder / "out.npy")).feasible
    assert "the gap is" in out
    assert f"{problem.kernel_stable_rank:.6g}" in run("inspect", "depthwise.npy", *options)


def test_version(folder, run):
    line = f"srnc_manifold {srnc.__version__}\n"
    assert run("--version") == line
    assert shell("srnc --version", folder).stdout.decode() == line  # as it is installed


def test_help_and_names(run):
    assert "compare" in run("--help")
    assert "trust-regions" in run("solvers")


TARGET = ("--stable-rank-fraction", "0.7")
SIZE = ("--input-size", "8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "papers"), "problems: 'papers' given"),
        (("compare", "none.py"), "does not exist"),
        (("compare", "paper", "--solvers", "newton"), "solver: 'newton' given"),
        (("compare", "paper", "--solvers", ","), "solvers: none given"),
        (("compare", "paper", "--solvers", "exact", "--device", "cpu"), "device: 'cpu' given, but none of the solvers"),
        (("compare", "paper", "--solvers", "batch", "--device", "abacus"), "device: 'abacus' given, which torch does"),
        (("solve", "none.npy", *SIZE, *TARGET), "does not exist"),
        (("solve", "kernel.txt", *SIZE, *TARGET), "expected a name ending in"),
        (("solve", "bad.npy", *SIZE, *TARGET), "cannot be read"),
        (("solve", "several.npz", *SIZE, *TARGET), "expected one of the arrays"),
        (("solve", "several.npz", *SIZE, *TARGET, "--name", "zero"), "all entries are zero"),
        (("solve", "nan.npy", *SIZE, *TARGET), "NaN or infinite"),
        (("solve", "complex.npy", *SIZE, *TARGET), "complex"),
        (("solve", "kernel.npy", "--input-size", "2", *TARGET), "more than the input has points"),
        (("solve", "kernel.npy", "--input-size", "big", *TARGET), "expected 64, 32x32 or 'dense'"),
        (("solve", "kernel.npy", "--input-size", "8x8x8", *TARGET), "do not fit input_size"),
        (("solve", "kernel.npy", *SIZE), "exactly one of"),
        (("solve", "kernel.npy", *SIZE, *TARGET, "--stable-rank", "30"), "exactly one of"),
        (("solve", "kernel.npy", *SIZE, "--stable-rank", "3"), "expected 7.111111111111111 <= stable_rank <= 64.0"),
        (("solve", "kernel.npy", *SIZE, *TARGET, "--solver", "newton"), "solver: 'newton' given"),
        (("solve", "layer.npy", *SIZE, *TARGET, "--solver", "slsqp"), "does not support this problem"),
        (("solve", "kernel.npy", *SIZE, *TARGET, "--stride", "3"), "expected divisors of input_size"),
        (("solve", "kernel.npy", *SIZE, *TARGET, "--dilation", "x"), "dilation: 'x' given, expected 2 or 2x1"),
        (("solve", "kernel.npy", *SIZE, *TARGET, "--groups", "2"), "groups: 2 given"),
        (("bound", "kernel.npy", *SIZE, *TARGET, "--method", "magic"), "method: 'magic' given"),
        (("bound", "kernel.npy", *SIZE, "--stable-rank", "60", "--method", "caps"), "expected 'sdp'"),
        (("solve", "kernel.npy", *SIZE, *TARGET, "--output", "out.txt"), "expected a name ending in .npy or .json"),
        (("inspect", "several.npz", "--input-size", "8x8x8"), "no kernel in"),
        (("inspect", "bad.npy", *SIZE), "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, run, arguments, message):
    (folder / "bad.npy").write_text("nothing")
    np.save(folder / "layer.npy", np.random.default_rng(0).standard_normal((20, 20, 3)))
    np.save(folder / "nan.npy", np.array([1.0, np.nan]))
    np.save(folder / "complex.npy", np.array([1.0, 1j]))
    errors = run(*arguments, code=2)
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert errors.startswith("srnc: ")


@pytest.mark.parametrize("arguments", [("solve", "kernel.npy"), ("fly",), ("compare", "paper", "--seeds", "0")])
def test_wrong_usage_is_exit_code_2(run, arguments):
    assert "Error" in run(*arguments, code=2)


# -- nothing computed is lost to printing ---------------------------------------------------------------------


def shell(command, cwd, **variables):
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"} | variables
    return subprocess.run(["bash", "-o", "pipefail", "-c", command.replace("srnc", str(SRNC), 1)],
                          capture_output=True, cwd=cwd, env=environment)  # fmt: skip


SOLVE = "srnc solve kernel.npy --input-size 8 --stable-rank-fraction 0.7 --output out.npy"
COMPARE = "srnc compare paper --solvers exact --seeds 1 --jobs 1"


@pytest.mark.parametrize(
    ("ending", "code"),
    some(
        [
            (">/dev/full", 2),
            ("| head -1", 0),
            ("| true", 0),
            ("2>/dev/full", 0),
            (">&-", 0),
            ("2>&-", 0),
            (">&- 2>&-", 0),
        ],
        1,
    ),
)
def test_results_are_written_whatever_becomes_of_the_printing(folder, ending, code):
    (folder / "out.npy").write_bytes(b"old")
    done = shell(f"{SOLVE} {ending}", folder)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"Exception ignored" not in done.stderr
    assert np.load(folder / "out.npy").shape == (3, 3)
    done = shell(f"{COMPARE} {ending}", folder)
    assert done.returncode == code
    assert sorted(os.listdir(folder / "results")) == ["comparison.png", "rows.csv", "study.db", "table.csv"]
    assert list(pd.read_csv(folder / "results" / "rows.csv")["status"]) == ["converged"] * 4


@pytest.mark.parametrize("encoding", some(["latin-1", "utf-8", "cp1252", "ascii"], 1))
@slow
def test_results_are_written_in_every_encoding(folder, encoding):
    done = shell(SOLVE, folder, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"feasible       yes" in done.stdout
    assert np.load(folder / "out.npy").shape == (3, 3)
    for command in (COMPARE, "srnc inspect several.npz -n 16", "srnc --help", "srnc solvers"):
        done = shell(command, folder, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["out.npy", "out.json"])
def test_what_cannot_be_written_is_printed_and_the_old_file_stays(folder, name):
    (folder / name).write_bytes(b"old")
    done = shell(f"ulimit -f 0; {SOLVE.replace('out.npy', name)}", folder)
    assert done.returncode == 2
    assert b"feasible       yes" in done.stdout
    assert name.encode() in done.stderr
    assert (folder / name).read_bytes() == b"old"
    assert not [other for other in os.listdir(folder) if other.endswith(".part")]


def test_outputs_are_checked_before_the_work(folder, run):
    assert "its folder does not exist" in run(*SOLVE.split()[1:-1], "no/out.npy", code=2)
    (folder / "folder.npy").mkdir()
    assert "which is a folder" in run(*SOLVE.split()[1:-1], "folder.npy", code=2)


def test_compare_resumes_and_leaves_what_is_there(folder, run):
    arguments = COMPARE.split()[1:]
    assert "Saved: results/study.db, results/rows.csv" in run(*arguments)
    before = (folder / "results" / "rows.csv").read_text()
    again = run(*arguments)
    assert "4 of these runs were in results/study.db already" in again
    assert "Saved: results/study.db, results/rows.csv" in again
    assert (folder / "results" / "rows.csv").read_text() == before  # the times, too: nothing was run
    run("compare", "random_kernels", "--solvers", "reshape-then-srn", "--jobs", "1")
    assert len(pd.read_csv(folder / "results" / "rows.csv")) > 4  # of all that is in the store
    (folder / "results" / "rows.csv").write_text("mine")
    assert "results/rows-2.csv, results/table.csv" in run(*arguments)
    assert (folder / "results" / "rows.csv").read_text() == "mine"
    assert "Saved: results/study.db, results/rows.csv" in run(*arguments, "--overwrite")
    assert len(srnc.Comparison.load(folder / "results" / "study.db").rows) > 4  # the store is never overwritten


def test_compare_leaves_a_folder_of_something_else(folder, run):
    (folder / "results").mkdir()
    (folder / "results" / "notes.txt").write_text("mine")
    arguments = COMPARE.split()[1:]
    for _ in range(2):
        out = run(*arguments)
        assert "results exists and is not changed" in out
        assert "Saved: results-2/study.db" in out
    assert "4 of these runs were in" in out
    assert os.listdir(folder / "results") == ["notes.txt"]
    (folder / "other").mkdir()
    (folder / "other" / "study.db").write_text("mine")
    assert "other/study.db' given, which is not a store" in run(*arguments, "--output", "other", code=2)
    assert os.listdir(folder / "other") == ["study.db"]


def test_help_texts_have_examples_and_goals_end_runs(run):
    for verb in ("compare", "study", "solve", "bound", "inspect", "solvers"):
        text = run(verb, "--help")
        assert "Usage" in text
        assert f"Example: srnc {verb}" in " ".join(text.split())
        assert len(text.splitlines()) < 75
    arguments = ["solve", "kernel.npy", "-n", "8", "--stable-rank-fraction", "0.7", "--solver"]
    goals = {
        ("augmented-lagrangian", "--goal-violation", "0.01"): "is within the goal of 0.01",
        ("augmented-lagrangian", "--goal-gap", "0.5"): "to the bound is within the goal of 0.5",
        ("trust-regions", "--goal-gradient-norm", "0.1"): "is within the goal of 0.1",
        ("gradient-descent", "--max-evaluations", "5"): "the budget of 5 evaluations is used up",
    }
    for (solver, *goal), message in goals.items():
        assert message in run(*arguments, solver, *goal)
