"""What a Markdown page says, as pieces that a test can run: blocks of code, links, names of files.

A block of Python runs in the folder of its page, after those before it. One that begins with ``# name.py`` is saved
under that name instead, as one of TOML with ``# name.toml``. In a block of ``sh`` the lines that call ``srnc`` run in
this process. A comment before a block, ``<!-- checked, not run: why -->``, says why it is only checked.
"""

from __future__ import annotations

import configparser
import re
import runpy
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from srnc_manifold.cli import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
#: Folders in docs/ that a build makes.
MADE = ("_build", "generated", "notebooks")
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if not {*MADE} & {*page.parts})

_BLOCK = re.compile(
    r"(?:^<!-- checked, not run: (?P<why>.+?) -->\n)?^```(?P<language>[^\n`]*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_SAVED = re.compile(r"# ([\w.-]+\.(?:py|toml))\n")
#: Programs of others that a reader is told to call; what they do is not for our tests.
_OTHERS = {"python3", ".", "dask"}
#: Blocks that are read by Sphinx.
_DIRECTIVES = {"", "text", "{eval-rst}", "{toctree}", "{include}"}


@dataclass(frozen=True)
class Block:
    """A block of code of a page, where it stands, and why it is not run, if it is not."""

    page: Path
    line: int
    language: str
    code: str
    why: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def saved(self) -> str | None:
        """The name of the file that it is to be saved as."""
        found = _SAVED.match(self.code)
        return found[1] if found else None


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page, in their order; all, or those in some languages."""
    text = page.read_text(encoding="utf-8")
    every = [
        Block(page, text.count("\n", 0, found.start("code")), found["language"], found["code"], found["why"])
        for found in _BLOCK.finditer(text)
    ]
    return [block for block in every if not languages or block.language in languages]


def run(told: list[Block], folder: Path) -> None:
    """Run blocks one after the other, as a reader would, in a folder which is the working directory."""
    namespace: dict[str, Any] = {}
    for number, block in enumerate(told):
        if block.saved:
            (folder / block.saved).write_text(block.code, encoding="utf-8")
        if block.why or block.saved or block.language not in ("python", "sh"):
            check(block)
        elif block.language == "python":
            namespace = _python(block, folder / f"block_{number}.py", namespace)
        else:
            check(block)
            for words in lines(block):
                if words[0] == "srnc":
                    outcome = CliRunner().invoke(app, words[1:], catch_exceptions=False)
                    assert outcome.exit_code == 0, f"{block.place}: {shlex.join(words)}\n{outcome.output}"


def _python(block: Block, path: Path, namespace: dict[str, Any]) -> dict[str, Any]:
    path.write_text(block.code, encoding="utf-8")
    return runpy.run_path(str(path), init_globals=namespace, run_name="__main__" if "__main__" in block.code else None)


def lines(block: Block) -> list[list[str]]:
    """The commands of a block of ``sh``, as words."""
    return [words for line in block.code.splitlines() if (words := shlex.split(line, comments=True))]


def check(block: Block) -> None:
    """That a block is what it says: Python that compiles, TOML, commands that exist with the options shown."""
    if block.language == "python":
        compile(block.code, block.place, "exec")
    elif block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "sh":
        for words in lines(block):
            _check_command(block, words)
    else:
        assert block.language.partition(" ")[0] in _DIRECTIVES, f"{block.place}: {block.language!r}"


def _check_command(block: Block, words: list[str]) -> None:
    program, verb, *rest = [*words, ""]
    if program == "make":
        assert f"\n{verb}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), block.place
    elif program == "pip":
        extras = re.findall(r"\[(\w+)\]", " ".join(rest))
        assert set(extras) <= _extras(), block.place
    elif program == "python":
        assert (ROOT / verb).exists(), f"{block.place}: {verb}"
    elif program == "srnc":
        assert _unknown(verb, rest) == set(), f"{block.place}: {shlex.join(words)}"
    else:
        assert program in _OTHERS, f"{block.place}: {program} is not a program that these pages explain"


def _unknown(verb: str, rest: list[str]) -> set[str]:
    """Options of a command that it does not have."""
    command: Any = typer.main.get_command(app)
    if verb.startswith("--"):
        return {verb} - {name for parameter in command.params for name in parameter.opts}
    if verb not in command.commands:
        return {verb}
    options = {name for parameter in command.commands[verb].params for name in parameter.opts}
    return {word for word in rest if word.startswith("--")} - options


def _extras() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return set(parser["options.extras_require"])


def links(page: Path) -> list[str]:
    """What a page links to and shows, outside of its code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and Sphinx make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        for title in re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE)
    }
