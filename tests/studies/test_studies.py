"""What every study has: names, settings, files, interrupts."""

import os

import pandas as pd
import pytest

import srnc_manifold as srnc
from srnc_manifold import cli, studies


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "solvers"}, "study: 'solvers' given, expected one of formulations, srnc"),
        ({"name": "srnc", "seeds": []}, "seeds: none given"),
        ({"name": "srnc", "seeds": [-1]}, "seeds: -1 given"),
        ({"name": "srnc", "n_jobs": 0}, "n_jobs: 0 given"),
    ],
)
def test_bad_arguments_are_refused_before_the_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        studies.run(**arguments)


def test_the_command_writes_document_and_tables(few, tmp_path, monkeypatch, capsys):
    few(monkeypatch)
    monkeypatch.chdir(tmp_path)
    words = ["study", "srnc", "--jobs", "1"]
    cli.app(words, standalone_mode=False)
    assert "SRN-C: meets both constraints in 0.0 % of 4 random cases" in capsys.readouterr().out
    tables = [f"srnc-{name}.csv" for name in ("layers", "repairs", "targets")]
    assert sorted(name for name in os.listdir("results/data") if name.endswith(".csv")) == tables
    text = (tmp_path / "results" / "srnc.md").read_text(encoding="utf-8")
    assert "| 8 | 0.2 | 2 reduce |" in text
    assert "--seeds 1 " in text
    # Again: nothing is run, the times of the runs are those of before.
    before = srnc.Comparison.load("results/data/srnc.db").rows
    cli.app(words, standalone_mode=False)
    assert srnc.Comparison.load("results/data/srnc.db").rows.equals(before)


def test_an_interrupted_study_keeps_its_tables_and_goes_on_where_it_was(few, tmp_path, monkeypatch):
    few(monkeypatch)
    solve, count = srnc.comparison.runs.solve, [0]

    def interrupting(*arguments, **options):
        count[0] += 1
        if count[0] == 20:
            raise KeyboardInterrupt
        return solve(*arguments, **options)

    monkeypatch.setattr(srnc.comparison.runs, "solve", interrupting)
    findings = studies.run("srnc", output=tmp_path)
    assert findings.interrupted
    findings.save(tmp_path)
    assert not (tmp_path / "srnc.md").exists()
    assert len(pd.read_csv(tmp_path / "data" / "srnc-targets.csv")) == 2 * 4
    assert 0 < len(pd.read_csv(tmp_path / "data" / "srnc-repairs.csv")) < 12
    whole = studies.run("srnc", output=tmp_path)
    assert not whole.interrupted
    assert (len(whole.repairs), len(whole.layers)) == (12, 3)
    # Those with a limit of time are made in another process. Each other one was made once, the interrupted one again.
    assert count[0] == 2 * 3 + 4 * 4 + 1
