"""The scripts in examples/ run, and print what they say."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from tiers import slow

import srnc_manifold as srnc

EXAMPLES = Path(__file__).parents[1] / "examples"


def printed(name, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


@slow
def test_a_network_is_trained(monkeypatch, capsys):
    pytest.importorskip("torch")
    text = printed("train_a_network.py", [], monkeypatch, capsys)
    # The PSNR, the norm and the stable rank of the middle layer, of each network.
    found = {line.split()[0]: line.split() for line in text.splitlines()[1:3]}
    plain, normalized = (float(found[name][-1]) for name in ("plain", "normalized"))
    # The target is a tenth of the stable rank at the beginning, of which training leaves a quarter to all.
    assert 0.05 < normalized / plain < 0.4
    errors = [float(number) for number in re.findall(r"[0-9.]+e-[0-9]+", text)]
    assert len(errors) == 2
    assert max(errors) < 1e-2  # as measured in benchmarks/RESULTS.md for zeros
    assert min(float(found[name][1]) for name in found) > 20  # the pictures themselves have 14 dB


@slow
def test_formulations_are_compared(tmp_path, monkeypatch, capsys):
    problem = srnc.SRNProblem([1.0, 2.0, 0.5], 16, stable_rank_fraction=0.8)
    problem.save(tmp_path / "mine.npz")
    (tmp_path / "mine.py").write_text(
        "import srnc_manifold as srnc\n\ndef problems():\n"
        f"    yield srnc.NamedProblem('mine', srnc.load_problem({str(tmp_path / 'mine.npz')!r}))\n"
    )
    words = ["--problems", tmp_path / "mine.py", "--seeds", 2, "--jobs", 1]
    words += ["--store", tmp_path / "s.db", "--output", tmp_path / "f.png"]
    text = printed("compare_formulations.py", map(str, words), monkeypatch, capsys)
    rows = srnc.Comparison.load(tmp_path / "s.db").rows
    optimum = srnc.solve(problem).evaluation.objective
    for line in text.splitlines()[2:5]:
        name, hits, runs, rate = re.fullmatch(r"(.*?) +(\d+) +(\d+) +([0-9.]+)", line).groups()
        own = rows[rows["solver"] == name]
        expected = sum(own["feasible"] & (own["objective"] - optimum <= 1e-6 * own["squared_norm"]))
        assert (int(hits), int(runs)) == (expected, 2)
        assert float(rate) == expected / 2
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_a_new_solver_is_ranked(monkeypatch, capsys):
    text = printed("rank_a_solver.py", ["--only", "paper*", "--jobs", "1"], monkeypatch, capsys)
    lines = text.splitlines()
    (own,) = [line for line in lines if "pull back  ←" in line]
    (rank, total) = re.search(r"pull back ranks (\d+) of (\d+), on 4 problems", text).groups()
    assert own.split()[0] == rank
    assert int(total) == len([line for line in lines if line.strip()[:1].isdigit()])
    assert "not solved from every start:" in lines[-1]
