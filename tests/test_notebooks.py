"""The notebooks run, from beginning to end, and look as they should."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tiers import slow

NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))}


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.filterwarnings("ignore")  # of the kernel's own machinery
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "quick_start" else slow) for n in NOTEBOOKS])
def test_notebooks_run(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    found = outputs(notebook)
    assert any("image/png" in output.get("data", {}) for output in found)
    assert not [output for output in found if output.output_type == "stream" and output.name == "stderr"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_kept_with_their_outputs(name):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert all(output.output_type != "error" for output in outputs(notebook))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_says_what_it_is_for_and_where_to_go_next(name):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    assert "After this notebook you " in first
    assert "## Where to go next" in last
    lines = [line.partition(":")[0] for line in last.splitlines() if line.startswith("- `")]
    named = {word for line in lines for word in re.findall(r"`(\w+)`", line)}
    assert named <= set(NOTEBOOKS)


def test_there_are_all_of_them():
    assert set(NOTEBOOKS) == {
        "quick_start", "paper", "convergence", "formulations", "new_cost", "new_solver", "certificates", "layers",
        "batches", "srn_c",
    }  # fmt: skip
