"""Pages that are made, not written: of the command, by Typer itself, and of the families of problems."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from srnc_manifold.cli import app
from srnc_manifold.problem.families import FAMILIES

PROBLEMS = Path(__file__).parent.parent / "problems"


def commands() -> str:
    """What ``srnc --help`` and the help of each command say."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="srnc", title="The command srnc")
    text = re.sub(r"\*\*Commands\*\*:\n\n.*?\n\n", "", text, flags=re.DOTALL)  # cut off; their sections follow
    return re.sub(r"^Example: (.*)$", r"Example: `\1`", text, flags=re.MULTILINE)


def families() -> str:
    """A list of the families, each with what its file says of itself."""
    entries = ["# Families of problems", "Names for `srnc compare` and {func}`srnc_manifold.load_family`."]
    for name in FAMILIES:
        described = ast.get_docstring(ast.parse((PROBLEMS / f"{name}.py").read_text(encoding="utf-8"))) or ""
        entries += [f"## {name}", described.replace("``", "`")]
    return "\n\n".join(entries) + "\n"


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for page in (commands, families):
        (folder / f"{page.__name__}.md").write_text(page(), encoding="utf-8")
