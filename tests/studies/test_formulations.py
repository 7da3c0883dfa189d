"""The study of formulations: what it runs, what it says, and the document that is kept."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.studies import formulations as study
from srnc_manifold.studies.formulations import NEAR, formulations, study_problems

DOCUMENT = Path(__file__).parents[2] / "docs" / "formulations.md"


@pytest.fixture(scope="module")
def small():
    """Some methods on some problems, few evaluations."""
    patch = pytest.MonkeyPatch()
    kept = [m for m in formulations() if m.solver in ("trust regions", "L-BFGS", "SLSQP") or not m.weight > 0]
    some = dict(list(study_problems().items())[::6])
    patch.setattr(study, "formulations", lambda: kept)
    patch.setattr(study, "study_problems", lambda: some)
    yield study.run(range(2), budget=srnc.Budget(max_evaluations=150))
    patch.undo()


def test_the_grid_is_formulations_by_solvers_by_parameters_by_targets():
    methods = formulations()
    assert len({method.label for method in methods}) == len(methods)
    fixed = [method for method in methods if method.weight > 0]
    assert {m.formulation for m in fixed} == {"log-sum-exp", "exact maximum", "penalty"}
    assert len({m.solver for m in fixed}) == 4
    assert len({m.weight for m in fixed}) == 4
    assert len({m.alpha for m in fixed if m.formulation == "log-sum-exp"}) == 3
    regimes = [problem.regime for problem in study_problems().values()]
    assert regimes.count("reduce") == 12
    assert regimes.count("raise") == 5


@slow
def test_rows_are_scored_against_certified_optima(small):
    rows = small.rows
    assert set(rows["problem"]) == set(small.optima)
    for row in rows.to_dict("records"):
        problem = small.comparison.problems[row["problem"]].problem
        result = small.comparison.results[row["problem"], row["solver"], row["seed"]]
        score = problem.evaluate(result.kernel)
        gap = (score.objective - srnc.solve(problem).evaluation.objective) / problem.squared_norm
        assert row["gap"] == pytest.approx(gap, abs=1e-12)
        assert row["hit"] == (score.feasible and gap <= NEAR)
        assert row["violation"] == pytest.approx(score.violation)


@slow
def test_the_table_counts_starts(small):
    table, rows = small.table(), small.rows
    assert len(table) == len(small.methods)
    assert np.all(np.diff(table["hit"]) <= 0)
    for record in table.to_dict("records"):
        same = (rows["formulation"] == record["formulation"]) & (rows["by"] == record["by"])
        for key in ("alpha", "weight"):
            value = record[key]
            same &= rows[key].isna() if np.isnan(value) else rows[key] == value
        own = rows[same]
        assert record["runs"] == len(own) == 2 * len(small.optima)
        assert record["hit"] == pytest.approx(own["hit"].mean())
        assert record["feasible"] == pytest.approx(own["feasible"].mean())
        if own["hit"].any():
            assert record["evaluations_per_hit"] == pytest.approx(own["evaluations"].sum() / own["hit"].sum())


@slow
def test_it_is_saved_with_its_figures(small, tmp_path):
    paths = small.save(tmp_path)
    assert all(path.stat().st_size > 0 for path in paths)
    text = (tmp_path / "formulations.md").read_text(encoding="utf-8")
    assert small.summary() in text
    for link in re.findall(r"\]\((.*?)\)", text):
        assert (tmp_path / link).exists()


def test_the_document_is_that_of_the_study():
    text = DOCUMENT.read_text(encoding="utf-8")
    for method in formulations():
        assert method.formulation in text
        assert method.solver in text
    # Its sentences but for the figures in them.
    for line in study._TEXT.splitlines():
        if line and "{" not in line:
            assert line in text
    for link in re.findall(r"\]\((images/.*?)\)", text):
        assert (DOCUMENT.parent / link).exists()
