"""Whatever the package writes: the old file or the whole new one, always."""

import contextlib
import os
import resource
import stat

import numpy as np
import pytest

import srnc_manifold as srnc
from srnc_manifold import studies, writing
from srnc_manifold.studies import formulations as study

PROBLEM = srnc.SRNProblem([3.0, 1.0, -2.0], 16, stable_rank_fraction=0.8)
RESULT = srnc.solve(PROBLEM, srnc.solvers.Riemannian(), rng=0)
COMPARISON = srnc.compare(PROBLEM, ["exact", "slsqp"], [0])


@contextlib.contextmanager
def full_disk(size=64):
    """No file can grow beyond a few bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITERS = {
    "result.json": RESULT.save,
    "problem.json": PROBLEM.save,
    "problem.npz": PROBLEM.save,
    "convergence.png": lambda path: srnc.plots.convergence(RESULT, PROBLEM, path),
    "convergence.svg": lambda path: srnc.plots.convergence(RESULT, PROBLEM, path),
    "overview.pdf": COMPARISON.plot,
    "rows.csv": lambda path: COMPARISON.save(path.parent),
    "text.md": lambda path: writing.write_text(path, "Σ" * 1000),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_old_file_or_the_whole_new_one(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"old")
    with full_disk(), pytest.raises(OSError, match=name):
        WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [name]
    WRITERS[name](path)
    assert len(path.read_bytes()) > 64
    assert not [other for other in os.listdir(tmp_path) if other.endswith(".part")]


def test_where_files_have_names_from_the_start(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = tmp_path / "text.md"
    path.write_bytes(b"old")
    with full_disk(), pytest.raises(OSError, match="text.md"):
        writing.write_text(path, "Σ" * 1000)
    assert path.read_bytes() == b"old"
    with writing.replacing(path, text=True) as file:
        file.write("new")
        assert len([name for name in os.listdir(tmp_path) if name.endswith(".part")]) == 1
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["text.md"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_interrupted_write_leaves_nothing(error, tmp_path):
    path = tmp_path / "file"

    def interrupted():
        with writing.replacing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_what_is_written_reads_back(tmp_path):
    RESULT.save(tmp_path / "r.json")
    np.testing.assert_array_equal(srnc.Result.load(tmp_path / "r.json").kernel, RESULT.kernel)
    for name in ("p.json", "p.npz"):
        PROBLEM.save(tmp_path / name)
        np.testing.assert_array_equal(srnc.SRNProblem.load(tmp_path / name).kernel, PROBLEM.kernel)


def test_permissions_links_and_devices(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    before = os.umask(0o027)
    try:
        writing.write_text(path, "new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        link.symlink_to(path)
        writing.write_text(link, "newer")
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert path.read_text() == "newer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    writing.write_text(os.devnull, "gone")
    assert not os.path.isfile(os.devnull)


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("n" * 250 + ".txt")
    writing.write_text(path, "long")
    assert path.read_text() == "long"


def test_outputs_that_cannot_be_written_are_refused(tmp_path):
    for path, reason in ((tmp_path / "no" / "x", "its folder does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(ValueError, match=f"output: .*{reason}"):
            writing.require_writable(path, "output")
    writing.require_writable(tmp_path / "x", "output")
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="output: .* its folder is not writable"):
        writing.require_writable("/proc/x.npy", "output")


def test_a_comparison_does_not_overwrite_unless_asked(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("what was there")
    with pytest.raises(writing.ExistingFileError, match=r"output: '.*rows.csv' given, which exists") as caught:
        srnc.compare(PROBLEM, ["exact"], [0], output=path)
    assert isinstance(caught.value, ValueError | FileExistsError)
    with pytest.raises(writing.ExistingFileError, match=r"output: '.*' given, a folder that is not empty"):
        studies.run("srnc", output=tmp_path)
    assert path.read_text() == "what was there"
    srnc.compare(PROBLEM, ["exact"], [0], output=path, overwrite=True)
    assert path.read_text().startswith("problem,solver")
    srnc.compare(PROBLEM, ["exact"], [0], output=tmp_path / "new" / "rows.csv")
    assert (tmp_path / "new" / "rows.csv").exists()


def test_a_comparison_survives_a_full_disk_and_a_broken_progress_display(tmp_path):
    def broken(*_):
        raise OSError("no terminal")

    with full_disk(), pytest.warns(UserWarning, match="is incomplete, no more rows are written"):
        found = srnc.compare(PROBLEM, ["exact", "slsqp"], [0], output=tmp_path / "rows.csv")
    assert list(found.rows["status"]) == ["converged", "converged"]
    with pytest.warns(UserWarning, match="progress raised OSError: no terminal") as warned:
        found = srnc.compare(PROBLEM, ["exact", "slsqp"], [0], progress=broken)
    assert len(warned) == 1
    assert list(found.rows["status"]) == ["converged", "converged"]


def test_unused_folders(tmp_path):
    first = tmp_path / "results"
    assert writing.unused_folder(first) == first
    first.mkdir()
    assert writing.unused_folder(first) == first
    (first / "rows.csv").touch()
    assert writing.unused_folder(first) == tmp_path / "results-2"
    (tmp_path / "results-2").touch()
    assert writing.unused_folder(first) == tmp_path / "results-3"


def test_documents_are_written_as_a_whole(tmp_path, monkeypatch):
    done = study.FormulationsFindings(study.formulations(), COMPARISON, {}, [], 1)
    monkeypatch.setattr(study.FormulationsFindings, "tables", lambda _: {})
    monkeypatch.setattr(study.FormulationsFindings, "document", lambda _: "word " * 100)
    (tmp_path / "formulations.md").write_text("old")
    with full_disk(), pytest.raises(OSError, match=r"formulations\.md"):
        done.save(tmp_path)
    assert (tmp_path / "formulations.md").read_text() == "old"
