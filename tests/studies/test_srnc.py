"""The paper's two claims about SRN-C, and the tables of the document."""

from pathlib import Path

import numpy as np
import pytest

from srnc_manifold.problem.families import load_family
from srnc_manifold.studies import srnc as analysis
from srnc_manifold.studies.base import experiment

DOCUMENT = Path(__file__).parents[2] / "docs" / "srnc.md"


@pytest.fixture(scope="module")
def frame():
    tasks = [(seed, size, beta) for size in (8, 16) for seed in range(2) for beta in (0.1, 0.2, 0.3, 0.45)]
    return experiment("targets", analysis.target, tasks)[0]


def test_the_operator_of_a_1_has_neither_norm_nor_rank_one(frame):
    assert np.all(frame["atom_norm"] > 1.5)
    assert np.all(frame["atom_rank"] > 1)


def test_the_result_misses_both_constraints(frame):
    feasible = frame[frame["regime"] != "infeasible"]
    assert len(feasible) >= 10
    assert np.all(np.abs(feasible["srnc_norm"] - 1) > 0.1)
    assert np.all(np.abs(feasible["srnc_rank"] - 1) > 1e-3)


def test_ours_meets_both_and_the_regimes_are_told_apart(frame):
    assert set(frame["regime"]) == {"infeasible", "reduce", "raise"}
    assert np.all(frame[frame["beta"] < 1 / 9]["regime"] == "infeasible")
    feasible = frame[frame["regime"] != "infeasible"]
    np.testing.assert_allclose(feasible[["our_norm", "our_rank"]], 1, atol=1e-6)
    assert np.all(feasible[feasible["regime"] == "reduce"]["our_gap"] < 1e-8)


def test_the_repair_is_measured_against_the_optimum():
    progress, tasks = [], [(case, method, (8, 10)) for case in range(6) for method in analysis._REPAIRS]
    frame, interrupted = experiment("repairs", analysis.repair, tasks, progress=lambda *step: progress.append(step))
    assert progress == [("repairs", k, 18) for k in range(1, 19)]
    assert not interrupted
    iterated = frame[frame["method"] == "iterated"]
    assert np.all(iterated["violation"] <= 1e-6)
    assert np.all(iterated["excess"] >= -1e-6)
    assert np.all(frame[frame["method"] == "SRN-C"]["violation"] > 1e-3)
    table = analysis.repairs_table(frame)
    assert "| 8 | iterated | 3 | 100.0 % | none |" in table


def test_tables_are_readable(frame):
    lines = analysis.targets_table(frame).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 8 | 0.1 | 2 infeasible |")


def test_layers_of_networks():
    frame, _ = experiment(
        "layers", analysis.layer, [(entry.name, entry.problem) for entry in load_family("filters")[:3]]
    )
    assert len(frame) == 3
    np.testing.assert_allclose(frame[["our_norm", "our_rank"]], 1, atol=1e-9)
    assert len(analysis.layers_table(frame).splitlines()) == len(frame) + 2


def test_the_document_is_the_one_that_the_command_writes():
    text = DOCUMENT.read_text(encoding="utf-8")
    written = analysis._TEXT.format(seeds=3, cases=300, targets="", repairs="", layers="")
    prose = [line for line in text.splitlines() if line and not line.startswith("|")]
    assert prose == [line for line in written.splitlines() if line]
    repairs = [line for line in text.splitlines() if "| iterated | 150 |" in line]
    assert len(repairs) == 2
    # What the document is for: the repaired iteration meets both constraints in at least 99 of 100 cases.
    assert all(float(line.split("|")[4].rstrip(" %")) >= 99 for line in repairs)
