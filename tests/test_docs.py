"""The documentation: its code runs, its links lead somewhere, the reference has every public name, the pages build."""

import doctest
import enum
import importlib
import inspect
import re
import shutil
import subprocess
import sys

import pytest
from pages import MADE, PAGES, README, ROOT, anchors, blocks, links, run
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.registry import COSTS, SOLVERS

DOCS = ROOT / "docs"
# Pages whose blocks take less than a second or two together; the others are for the second tier.
FAST = {"tutorial.md", "guides/pymanopt.md", "guides/train.md"}
#: The modules whose public names are the interface.
PUBLIC = [
    "srnc_manifold",
    *("srnc_manifold." + name for name in ("bounds", "files", "solvers", "costs", "interop", "nn", "plots", "testing")),
    *("srnc_manifold." + name for name in ("comparison", "comparison.profiles", "studies")),
]


def page_name(page):
    return str(page.relative_to(ROOT)).removeprefix("docs/")


def public(module):
    """The public names of a module and what they are, without modules."""
    found = importlib.import_module(module)
    every = {name: getattr(found, name) for name in found.__all__}
    return {name: value for name, value in every.items() if not inspect.ismodule(value)}


def documented():
    """Every public function and class once, by the name that it is imported by."""
    entries = {}
    for module in PUBLIC:
        for name, value in public(module).items():
            if inspect.isclass(value) or inspect.isfunction(value):
                entries.setdefault(value, f"{module}.{name}")
    return {name: value for value, name in entries.items()}


ENTRIES = documented()


@pytest.fixture(autouse=True)
def _names_of_their_own(monkeypatch):
    """What a page or an example registers is known to it alone."""
    for names in (COSTS, SOLVERS):
        monkeypatch.setattr(names, "_entries", dict(names._entries))
        monkeypatch.setattr(names, "_listed", list(names._listed))


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=() if page_name(p) in FAST else slow, id=page_name(p)) for p in PAGES if blocks(p)]
)
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    run(blocks(page), tmp_path)
    for name in set(sys.modules) - before:  # files that the page has the reader save
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md", *PAGES], ids=page_name)
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "generated" in target.parts or "notebooks" in target.parts:
            continue  # made by the build, which checks them
        assert target.exists(), link
        if anchor:
            included = re.findall(r"```\{include\} (\S+)", target.read_text(encoding="utf-8"))
            found = anchors(target).union(*(anchors(target.parent / name) for name in included))
            assert anchor in found, link


def test_the_tests_that_the_theory_names_exist():
    text = (DOCS / "theory.md").read_text(encoding="utf-8")
    claims = re.findall(r"\[tests: (.*?)\]", text)
    assert len(claims) >= 20
    for claim in claims:
        files = re.findall(r"`([\w/]+\.py)`", claim)
        assert files, claim
        sources = "".join((ROOT / "tests" / name).read_text(encoding="utf-8") for name in files)
        for name in re.findall(r"`(test_\w+)…?`", claim):
            assert f"def {name}" in sources, name


def test_the_tests_that_the_page_on_verification_names_exist():
    text = (DOCS / "verification.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+(?:/|\.py))`", text):
        assert (ROOT / "tests" / name).exists() or name == "tests/", name
    for name in re.findall(r"python (benchmarks/\w+\.py)", text):
        assert (ROOT / name).exists(), name


def rows_of(page, heading):
    """The rows of the table below a heading, as lists of cells without marks."""
    text = page.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    return cells[2:]


@slow
def test_the_ranks_are_those_of_the_command():
    """Within one in the last digit: the rows of others are kept, those of the exact solver are made anew."""
    table = srnc.rank("exact", n_jobs=1).table
    shown = rows_of(DOCS / "which_solver.md", "All solvers, on problems with proved optima")
    assert [row[0] for row in shown] == list(table["solver"])
    for (_, solved, feasible, evaluations), (_, row) in zip(shown, table.iterrows(), strict=True):
        assert float(solved.rstrip(" %")) == pytest.approx(100 * row["solved"], abs=0.1)
        assert float(feasible.rstrip(" %")) == pytest.approx(100 * row["feasible"], abs=0.1)
        assert float(evaluations) == pytest.approx(row["evaluations"], abs=1)


def test_the_formulations_shown_are_those_of_the_study():
    study = rows_of(DOCS / "formulations.md", "Methods that change their parameters")
    study += rows_of(DOCS / "formulations.md", "The best of each formulation with fixed parameters")
    known = {(row[1], row[4], row[5], row[10]) for row in study}
    shown = rows_of(DOCS / "which_solver.md", "Fixed parameters, or parameters that change")
    assert len(shown) == 6
    assert {tuple(row[1:]) for row in shown} <= known


@pytest.fixture(scope="module")
def listed():
    """What the tables of the reference list."""
    found = []
    for page in (DOCS / "reference").glob("*.md"):
        for part in page.read_text(encoding="utf-8").split(".. currentmodule:: ")[1:]:
            module, _, table = part.partition("\n")
            for name in re.findall(r"^   ([\w.]+)$", table.partition("```")[0], re.MULTILINE):
                value = importlib.import_module(module)
                for step in name.split("."):
                    value = getattr(value, step)
                found.append(value)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_every_public_name(module, listed):
    missing = [name for name, value in public(module).items() if not any(value is other for other in listed)]
    assert not missing


@pytest.mark.parametrize("name", ENTRIES)
def test_examples_of_the_reference_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (own,) = doctest.DocTestFinder(recurse=False).find(ENTRIES[name], name, globs={})
    assert own.examples, f"{name} has no example"
    told = []
    failed, _ = doctest.DocTestRunner().run(own, out=told.append)
    assert not failed, "".join(told)


#: What numpydoc checks and is not asked for, and why.
NOT_ASKED = {
    "ES01": "a summary can be enough",
    "SA01": "the tables of the reference show what belongs together",
    "PR01": "of a dataclass the fields are attributes: checked below",
    "PR03": "settings are told by what they belong to",
    "PR04": "names may share a line that says where they are described",
    "PR07": "a name and a type can be enough",
    "RT03": "a type can be enough",
    "SS05": "takes nouns for verbs",
    "YD01": "a context manager yields nothing",
}


@slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ENTRIES)
def test_docstrings_are_complete(name):
    pytest.importorskip("numpydoc", reason="make docs installs what reads docstrings")
    from numpydoc.docscrape import get_doc_object
    from numpydoc.validate import validate

    value = ENTRIES[name]
    found = validate(f"{value.__module__}.{value.__qualname__}")["errors"]
    assert not [error for error in found if error[0] not in NOT_ASKED]
    told = get_doc_object(value)
    described = {one for part in ("Parameters", "Attributes") for field in told[part] for one in field.name.split(", ")}
    if not inspect.isclass(value) or (value.__init__ is not object.__init__ and not issubclass(value, enum.Enum)):
        described |= {name.lstrip("*") for name in described}
        missing = [one for one in inspect.signature(value).parameters if one not in described and one[0] != "_"]
        assert not missing


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as ``make docs`` builds it, from a copy: the build writes beside its sources."""
    pytest.importorskip("furo", reason="make docs installs what builds the documentation")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns(*MADE))
    for entry in ROOT.iterdir():
        if entry != DOCS:
            (folder / entry.name).symlink_to(entry)
    words = ["-W", "--keep-going", "-n", "-q", str(folder / "docs"), str(folder / "html")]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@slow
def test_the_site_has_every_page_and_every_name(site):
    for page in PAGES:
        assert (site / page_name(page)).with_suffix(".html").exists(), page
    known = (site / "genindex.html").read_text(encoding="utf-8")
    for name, value in ENTRIES.items():
        assert name.rpartition(".")[2] in known, value


@slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_in_a_browser_pages_fetch_nothing_and_fit(site, opened, width, scheme):
    page, asked, complaints = opened(width, scheme)
    for name in ("index", "tutorial", "guides/compare", "theory", "formulations", "reference/solvers", "notebooks/*"):
        (path,) = sorted(site.glob(f"{name}.html"))[:1]
        page.goto(path.as_uri())
        assert page.locator("h1").count() == 1, name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        broken = "[...document.images].filter((image) => !image.complete || image.naturalWidth === 0).length"
        assert page.evaluate(broken) == 0, name
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    assert not complaints
