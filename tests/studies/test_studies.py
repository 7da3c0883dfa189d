"""What every study has: names, settings, files, interrupts."""

import os

import pandas as pd
import pytest

import srnc_manifold as srnc
from srnc_manifold import cli, studies
from srnc_manifold.studies import srnc as analysis
from srnc_manifold.studies.base import experiment


def square(number):
    if number == 3:
        raise KeyboardInterrupt
    return {"number": number, "square": number**2}


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


def test_an_interrupted_experiment_keeps_what_was_done():
    table, interrupted = experiment("squares", square, [(1,), (2,), (3,), (4,)])
    assert interrupted
    assert table.to_dict("list") == {"number": [1, 2], "square": [1, 4]}


@pytest.fixture
def _small(monkeypatch):
    """The study of SRN-C with few tasks."""
    for name, value in {"SIZES": (8,), "BETAS": (0.05, 0.2, 0.6), "CASES_PER_SEED": 2}.items():
        monkeypatch.setattr(analysis, name, value)
    monkeypatch.setattr(analysis, "load_family", lambda _: srnc.load_family("filters")[:2])


@pytest.mark.usefixtures("_small")
def test_the_command_writes_document_and_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.app(["study", "srnc", "--seeds", "1", "--jobs", "1"], standalone_mode=False)
    assert "SRN-C: meets both constraints in 0.0 % of 2 random cases" in capsys.readouterr().out
    assert sorted(os.listdir("results/data")) == ["srnc-layers.csv", "srnc-repairs.csv", "srnc-targets.csv"]
    assert list(pd.read_csv("results/data/srnc-targets.csv")["regime"]) == ["infeasible", "reduce", "raise"]
    text = (tmp_path / "results" / "srnc.md").read_text(encoding="utf-8")
    assert "| 8 | 0.2 | 1 reduce |" in text
    assert "--seeds 1 " in text


@pytest.mark.usefixtures("_small")
def test_an_interrupted_study_keeps_its_tables_and_has_no_document(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(analysis, "layer", interrupt)
    findings = studies.run("srnc", range(1), output=tmp_path)
    assert findings.interrupted
    assert len(pd.read_csv(tmp_path / "data" / "srnc-repairs.csv")) == 6
    findings.save(tmp_path)
    assert os.listdir(tmp_path) == ["data"]
