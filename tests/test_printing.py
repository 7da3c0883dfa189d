"""Text from data is printed as it is: no markup, no control characters."""

import io
import unicodedata
from typing import Any

import pytest
from rich.console import Console

import srnc_manifold as srnc
from srnc_manifold.comparison.report import markdown_table, text_report
from srnc_manifold.printing import printable

HOSTILE = {
    "markup that closes nothing": "block[/end].weight",
    "markup": "w[conv1] [bold red]x[/]",
    "a link": "[link=https://example.org]w[/link]",
    "an emoji": "conv:heart:1",
    "a backslash": "w\\[b]\\",
    "a colour": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;title\x07w",
    "a line end": "one\ntwo\rthree\x0bfour\u2028five",
    "direction": "w\u202egpj.\u2066",
    "half a character": "w\udc80",
    "zero": "w\x00\x08",
    "other scripts": "ядро 核 ‖σ‖ é",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_printable_text_is_one_line_without_control(text):
    shown = printable(text)
    assert len(shown.splitlines()) == 1
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode()
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_printable_takes_anything():
    assert printable(ValueError("a\nb")) == "a\\nb"
    assert printable(None) == "None"


@pytest.fixture(scope="module")
def problem():
    return srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)


def test_names_and_notes_of_a_comparison_are_not_markup(problem):
    names = [printable(text) for text in HOSTILE.values()]

    class Picky(srnc.solvers.Exact):
        def supports(self, problem):
            return False, "not [/for] this\x1b[0m"

    entries = [
        *(srnc.NamedProblem(name, problem, note=name) for name in HOSTILE.values()),
        *(srnc.UnavailableProblem(f"missing {name}", name) for name in HOSTILE.values()),
    ]
    comparison = srnc.compare(entries, {"a[/b]\x1b": srnc.solvers.Exact(), "picky": Picky()}, [0])
    for details in (False, True):
        report = text_report(comparison.table(), comparison.problems, details=details)
        assert "\x1b" not in report
        assert "a[/b]\\x1b" in report
        assert r"not [/for] this\x1b[0m" in report
        text = " ".join(report.split())
        assert (r"picky: unsupported, not [/for] this\x1b[0m" in text) == details
        for name in names:  # more problems than fit on a screen are told of together
            assert (f"{name}: stable rank 64 → 32" in text) == details
            assert (f"missing {name}: skipped, {name}" in text) == details


def test_tables_in_markdown_keep_their_columns():
    table = markdown_table(["solver", "gap"], [["a|b\nc", "1"]])
    assert table.splitlines()[-1] == r"| a\|b\nc | 1 |"


def test_names_of_problems_are_texts(problem):
    with pytest.raises(TypeError, match="name: 3 given, expected a text"):
        srnc.NamedProblem(3, problem)
    with pytest.raises(TypeError, match="note: None given, expected a text"):
        srnc.NamedProblem("a", problem, note=None)
    with pytest.raises(TypeError, match="reason: None given"):
        srnc.UnavailableProblem("a", None)
    with pytest.raises(TypeError, match="problem: list given for 'a', expected an SRNProblem"):
        srnc.NamedProblem("a", [1, 2])
    labels: Any = {7: srnc.solvers.Exact()}
    comparison = srnc.compare({0: problem, 1.5: problem}, labels, [0])
    assert list(comparison.problems) == ["0", "1.5"]
    assert comparison.table().solver.tolist() == ["7", "7"]
    assert "skipped" not in comparison.report()
    with pytest.raises(ValueError, match="the name '0' is given twice"):
        srnc.compare({0: problem, "0": problem}, "exact", [0])


def test_the_bar_shows_names_as_they_are(monkeypatch):
    from srnc_manifold.progress import progress_bar

    stream = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=stream, force_terminal=True, width=200))
    for name in HOSTILE.values():
        with progress_bar() as progress:
            progress(name, 1, 2)
        assert printable(name) in stream.getvalue()
