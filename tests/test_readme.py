"""What the README says is run: its code, its commands' names, its numbers."""

import importlib.util
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
from tiers import slow

from srnc_manifold.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n")[0])
def test_python_blocks_run(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "block.py").write_text(code, encoding="utf-8")
    runpy.run_path("block.py")
    assert capsys.readouterr().out


def test_commands_exist_with_the_options_shown():
    command = typer.main.get_command(app)
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    assert lines
    for line in lines:
        program, verb, *rest = shlex.split(line, comments=True)
        if program == "make":
            assert f"\n{verb}:" in targets
        else:
            assert program == "srnc"
            options = {o for parameter in command.commands[verb].params for o in parameter.opts}
            assert {word for word in rest if word.startswith("--")} <= options


@slow
def test_the_table_of_results_is_reproduced():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for computed in module.table().splitlines()[2:]:
        label = computed.split("|")[1]
        (shown,) = [line for line in README.splitlines() if line.startswith(f"|{label}|")]
        numbers, expected = (re.findall(r"\d+\.\d+", line.split("|", 2)[2]) for line in (shown, computed))
        assert len(numbers) == len(expected)
        for a, b in zip(numbers, expected, strict=True):
            # One in the last digit shown: platforms round differently.
            assert abs(float(a) - float(b)) <= 1.5 * 10.0 ** -len(a.partition(".")[2]), computed


def test_files_named_in_the_readme_exist():
    for name in re.findall(r"`((?:docs|notebooks|benchmarks|problems|srnc_manifold)/[\w./]*)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / name).exists(), name


def test_the_tests_that_the_theory_names_exist():
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    claims = re.findall(r"\[tests: (.*?)\]", text)
    assert len(claims) >= 20
    for claim in claims:
        files = re.findall(r"`([\w/]+\.py)`", claim)
        assert files, claim
        sources = "".join((ROOT / "tests" / name).read_text(encoding="utf-8") for name in files)
        for name in re.findall(r"`(test_\w+)…?`", claim):
            assert f"def {name}" in sources, name
