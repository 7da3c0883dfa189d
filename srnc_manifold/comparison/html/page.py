"""The page of a report: everything in one file, of which no part is fetched from elsewhere."""

from __future__ import annotations

import importlib
import json
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from srnc_manifold.comparison.html import figures, tables
from srnc_manifold.comparison.html.sections import Drawn, chosen, drawn, sections
from srnc_manifold.comparison.html.words import Facts, findings, headline, limits, repeat
from srnc_manifold.comparison.report import SCREENFUL
from srnc_manifold.printing import printable
from srnc_manifold.progress import Progress

_HERE = Path(__file__).parent

_FIGURES: tuple[tuple[str, str, Callable[..., Any], dict[str, Any]], ...] = (
    ("performance", "Performance profile: the share of problems and seeds that a solver hits at up to so many times "
     "the evaluations of the cheapest one. Higher is better; the right end is what it hits at all.",
     figures.shares, {}),
    ("performance", "The same by time.", figures.shares, {"measure": "time"}),
    ("data", "Data profile: the share that is hit over the budget.", figures.shares, {}),
    ("ecdf", "Targets reached over the budget: gaps of 1e-1 to 1e-6.", figures.shares, {}),
    ("quality", "Quality: the share of runs whose gap to the certified bound is so small. A gap of zero is a proof.",
     figures.shares, {}),
    ("hits", "Hit rate per start. The cost to the first hit is that of starting again until one run hits.",
     figures.hit_rates, {}),
    ("pairs", "Wins – losses – ties of the row over the column, by the gap. A star: hardly chance (sign test, "
     "p < 0.05, adjusted for all pairs).", figures.pairs, {}),
    ("sensitivity", "What the setting that is swept does to the violation.", figures.sweeps, {}),
)  # fmt: skip


def page(comparison: Any, version: str, progress: Progress | None = None) -> Iterator[str]:
    """The text of the page, in pieces. What takes long are its figures and the sections of problems.

    Raises
    ------
    ImportError
        If a library of the extra ``report`` is missing.
    """
    template = _template()
    facts = Facts(comparison)
    total = len(_FIGURES) + len(chosen(facts))

    def watched(parts: Iterator[Any], before: int) -> Iterator[Any]:
        for done, part in enumerate(parts, before + 1):
            if progress is not None:
                progress("report", done, total)
            yield part

    yield from template.generate(
        title=", ".join(map(printable, list(facts.winners.index)[:3])) or "no runs",
        headline=headline(facts),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version,
        findings=findings(facts),
        solvers=tables.of_solvers(facts) if len(facts.winners) else None,
        tables=[tables.grid(facts), tables.of_all(facts), tables.of_runs(facts)] if len(facts.winners) else [],
        figures=list(watched(_overall(facts), 0)),
        sections=list(watched(sections(facts), len(_FIGURES))),
        n_problems=len(facts.problems),
        settings=[(printable(label), printable(name)) for label, name in facts.settings.items()],
        repeat=repeat(facts),
        limits=list(limits(facts)),
        environments=[
            (printable(name), [(printable(key), printable(value)) for key, value in header.items()])
            for name, header in comparison.environments.items()
        ],
        on_dark=json.dumps(figures.ON_DARK),
        nonce=secrets.token_urlsafe(16),
        assets=_assets(),
    )


def require_libraries() -> None:
    """Raise an error if a library that a report needs is missing, before anything is computed."""
    for name in ("itables.options", "jinja2", "plotly.graph_objects"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f"report: needs {error.name}: pip install 'srnc-manifold[report]'") from None


def _template() -> Any:
    import jinja2

    folder = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html")


def _assets() -> dict[str, str]:
    """The scripts and styles of the page. The tables' module is in base64, as the page makes a module of it."""
    import itables.options

    bundle = Path(itables.options.dt_bundle)
    return {
        "plotly": figures.script(),
        "tables": b64encode(bundle.read_bytes()).decode(),
        "tables_style": bundle.with_suffix(".css").read_text(encoding="utf-8"),
        "style": (_HERE / "report.css").read_text(encoding="utf-8"),
        "script": (_HERE / "report.js").read_text(encoding="utf-8"),
    }


def _overall(facts: Facts) -> Iterator[Drawn]:
    """The figures of all problems together."""
    if not len(facts.winners):
        return
    for kind, caption, draw, options in _FIGURES:
        if kind == "sensitivity" and len(facts.settings) < 2:
            continue
        if kind == "hits" and len(facts.problems) > SCREENFUL:
            options = options | {"by_problem": False}
        figure = drawn(caption, lambda k=kind, d=draw, o=options: d(facts.profile(k, **o)))  # type: ignore[misc]
        if kind != "sensitivity" or figure.content:
            yield figure
