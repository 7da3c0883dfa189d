"""What the README says is run: its code, its commands' names, its numbers."""

import importlib.util
import re

import pytest
from pages import README, ROOT, blocks, check, lines, run
from tiers import slow

TEXT = README.read_text(encoding="utf-8")


@pytest.mark.parametrize("block", blocks(README, "python"), ids=lambda block: block.place)
def test_python_blocks_run(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run([block], tmp_path)  # each alone: a reader copies one
    assert capsys.readouterr().out


def test_commands_exist_with_the_options_shown():
    told = blocks(README, "sh")
    assert {words[0] for block in told for words in lines(block)} == {"make", "srnc"}
    for block in told:
        check(block)


@slow
def test_the_table_of_results_is_reproduced():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for computed in module.table().splitlines()[2:]:
        label = computed.split("|")[1]
        (shown,) = [line for line in TEXT.splitlines() if line.startswith(f"|{label}|")]
        numbers, expected = (re.findall(r"\d+\.\d+", line.split("|", 2)[2]) for line in (shown, computed))
        assert len(numbers) == len(expected)
        for a, b in zip(numbers, expected, strict=True):
            # One in the last digit shown: platforms round differently.
            assert abs(float(a) - float(b)) <= 1.5 * 10.0 ** -len(a.partition(".")[2]), computed


def test_files_named_in_the_readme_exist():
    for name in re.findall(r"`((?:docs|notebooks|benchmarks|problems|srnc_manifold)/[\w./]*)`", TEXT):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"!\[.*?\]\((.*?)\)", TEXT):
        assert (ROOT / name).exists(), name
