"""``srnc figures``: what it writes, where, and what it does not touch."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import srnc_manifold as srnc
from srnc_manifold import figures
from srnc_manifold.cli import app
from srnc_manifold.figures.runs import Runs
from srnc_manifold.studies.formulations import FormulationsFindings

ROOT = Path(__file__).parent.parent
QUICK = "paper-figure-1"


def run(*arguments):
    return CliRunner().invoke(app, ["figures", *map(str, arguments)])


def test_the_images_of_the_documents_are_those_that_it_draws():
    there = {path.name for path in (ROOT / "docs" / "images").iterdir() if path.suffix in (".svg", ".png")}
    of_studies = {name for name in there if name.startswith(f"{FormulationsFindings.name}-")}
    assert there - of_studies == set(figures.FIGURES)
    assert of_studies == {"formulations-violation.png", "formulations-hits.png"}


def test_a_figure_is_written_and_told(tmp_path):
    folder = tmp_path / "figures"
    told = run("--only", QUICK, "--output", folder)
    assert told.exit_code == 0, told.output
    assert [path.name for path in folder.iterdir()] == [f"{QUICK}.svg"]
    assert f"{QUICK}.svg: the paper's Figure 1" in told.output
    # The same as in the documentation, up to how libraries of other versions round and name things.
    drawn, shown = (
        path.read_text(encoding="utf-8")
        for path in (folder / f"{QUICK}.svg", ROOT / "docs" / "images" / f"{QUICK}.svg")
    )
    texts = [re.findall(r"<!-- (.*?) -->", text) for text in (drawn, shown)]
    assert texts[0] == texts[1]
    assert "Nyquist" in texts[0]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{QUICK}.svg").write_text("mine")
    told = run("--only", QUICK, "--output", folder)
    assert told.exit_code == 0, told.output
    assert [path.read_text() for path in folder.iterdir()] == ["mine"]
    assert (tmp_path / "mine-2" / f"{QUICK}.svg").exists()
    assert "exists and is not changed; use --overwrite to write there" in " ".join(told.output.split())
    assert run("--only", QUICK, "--output", folder, "--overwrite").exit_code == 0
    assert (folder / f"{QUICK}.svg").read_text() != "mine"
    (folder / figures.STORE).touch()  # that of an earlier call
    assert run("--only", QUICK, "--output", folder).exit_code == 0
    assert not (tmp_path / "mine-3").exists()


def test_an_unknown_name_is_refused_before_anything_is_made(tmp_path):
    told = run("--only", "paper-figure-4", "--output", tmp_path / "figures")
    assert isinstance(told.exception, ValueError)
    assert str(told.exception).startswith("only: 'paper-figure-4' given, expected a pattern of paper-figure-1.svg, ")
    assert not list(tmp_path.iterdir())


def test_names_and_patterns():
    assert figures.named("paper-*")[0] == "paper-figure-1.svg"
    assert figures.named("hits") == figures.named("hits.*") == ["hits.svg"]
    assert figures.named() == list(figures.FIGURES)


def test_what_was_drawn_before_an_interrupt_is_kept_and_told(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    own = {QUICK: figures.FIGURES[f"{QUICK}.svg"], "b.svg": figures.Figure("nothing", interrupted)}
    monkeypatch.setattr(figures, "FIGURES", {"a.svg": own[QUICK], "b.svg": own["b.svg"]})
    told = run("--output", tmp_path / "figures")
    assert told.exit_code != 0
    assert "a.svg: the paper's Figure 1" in told.output
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["a.svg"]


def test_the_progress_tells_figures_and_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("srnc_manifold.figures.runs.STEPS", 1000)
    monkeypatch.setattr("srnc_manifold.figures.runs.DESCENT", srnc.solvers.GradientDescent(max_iterations=1000))
    seen = []
    names = [f"{QUICK}.svg", "paper-figure-2.svg"]
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in names})
    drawn = figures.draw(tmp_path, progress=lambda *told: seen.append(told))
    assert [one.path.name for one in drawn] == names
    assert seen == [
        (names[0], 0, 2),
        (names[1], 1, 2),
        (f"{names[1]}: step 0 of 1000", 1, 2),
        (f"{names[1]}: step 500 of 1000", 1, 2),
    ]


def test_an_interrupted_descent_is_not_drawn(tmp_path):
    """It would be drawn as if it were the whole: solve returns what it has."""
    runs = Runs(tmp_path / "runs.db")

    def stop(_):
        raise KeyboardInterrupt

    runs.report = stop
    with pytest.raises(KeyboardInterrupt):
        runs.descent  # noqa: B018


def test_an_interrupted_comparison_is_not_drawn(tmp_path, monkeypatch):
    class Half:
        interrupted = True

    monkeypatch.setattr(srnc, "compare", lambda *_, **__: Half())
    with pytest.raises(KeyboardInterrupt):
        Runs(tmp_path / "runs.db").comparison  # noqa: B018
