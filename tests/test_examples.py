"""The scripts in examples/ run, and print what they say."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from tiers import slow

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
