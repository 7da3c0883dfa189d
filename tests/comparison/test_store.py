"""The store: what was run is not run again, what changed is; files that cannot be used are left as they are."""

import contextlib
import importlib
import os
import pickle
import shutil
import signal
import sqlite3
import stat
import struct
import sys
import threading
import zlib
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold import exchange
from srnc_manifold.comparison import database, fingerprints
from srnc_manifold.comparison.fingerprints import UnknownSourceError, fingerprint
from srnc_manifold.comparison.rows import Row
from srnc_manifold.comparison.runs import Task
from srnc_manifold.comparison.store import Store
from srnc_manifold.comparison.workers import own_modules, pickled
from srnc_manifold.exchange import pack, unpack
from srnc_manifold.problem.families import NamedProblem
from srnc_manifold.solvers import Budget, Exact, Riemannian, RiemannianLBFGS, Solver

RNG = np.random.default_rng(0)
PROBLEMS = {
    "taps": srnc.partway(RNG.standard_normal(3), 16, 0.5),
    "layer": srnc.partway(RNG.standard_normal((2, 2, 3)), 8, 0.5),
    "stack": srnc.StackProblem([srnc.partway(RNG.standard_normal(n), 8, 0.5) for n in (3, 4)]),
}
SOLVERS = ["exact", "l-bfgs", "slsqp[n_starts=1]"]


BUDGET = Budget(max_evaluations=30)


def compare(problems=PROBLEMS, solvers=SOLVERS, seeds=(0, 1), n_jobs=1, budget=BUDGET, **options):
    """A comparison in this process, and how many of its runs were made."""
    made = []
    options |= {"n_jobs": n_jobs, "budget": budget, "progress": lambda *state: made.append(state)}
    comparison = srnc.compare(problems, solvers, seeds, **options)
    return comparison, len(made) - 1


def without_times(comparison):
    return comparison.rows.drop(columns="time")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store, and the comparison that was made with it. To be copied, not changed."""
    path = tmp_path_factory.mktemp("store") / "study.db"
    return path, compare(store=path)[0]


@pytest.fixture
def path(kept, tmp_path):
    shutil.copy(kept[0], tmp_path / "study.db")
    return tmp_path / "study.db"


# -- what is kept -------------------------------------------------------------------------------------------


@given(
    arrays.arrays(
        st.sampled_from(["f8", "f4", "c16", "i4", "?"]), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)
    ),
    st.dictionaries(st.text(max_size=3).filter("array in this file".__ne__), st.none() | st.floats() | st.text()),
)
def test_what_is_packed_comes_back_bit_for_bit(array, values):
    fields = {"values": values, "arrays": [array, array.T]}
    back = unpack(pack(fields))
    assert repr(back["values"]) == repr(dict(values))
    for given_, read in zip(fields["arrays"], back["arrays"], strict=True):
        assert (given_.dtype, given_.shape) == (read.dtype, read.shape)
        assert np.ascontiguousarray(given_).tobytes() == read.tobytes()


def test_what_is_not_packed_is_refused():
    whole = pack({"kernel": np.ones(100)})
    for content in (b"", b"x", whole[:-3], pack({})[:4], zlib.compress(b"[]")):
        with pytest.raises(exchange.UNREADABLE):
            unpack(content)


def test_a_store_is_read_back_as_it_was(kept):
    path, made = kept
    loaded = srnc.Comparison.load(path)
    assert type(loaded) is type(made) is srnc.Comparison
    assert not loaded.interrupted
    pd.testing.assert_frame_equal(loaded.rows, made.rows)  # times, too
    assert list(loaded.problems) == list(PROBLEMS)
    assert loaded.report(details=True) == made.report(details=True)
    for key, result in made.results.items():
        assert loaded.results[key] == result
    for (name, solver, seed), result in list(loaded.results.items())[::3]:
        direct = srnc.solve(PROBLEMS[name], solver, rng=seed, budget=BUDGET)
        assert np.array_equal(direct.kernel, result.kernel)
        assert len(direct.history) == len(result.history)
    result = loaded.results["layer", "exact", 0]
    assert result.bound.verify(loaded.problems["layer"].problem) == pytest.approx(result.bound.objective, rel=1e-12)
    assert all(loaded.problems[name].problem.digest() == PROBLEMS[name].digest() for name in PROBLEMS)


def test_it_behaves_as_one_in_memory(kept):
    path, _ = kept
    memory, loaded = compare()[0], srnc.Comparison.load(path)
    pd.testing.assert_frame_equal(without_times(memory), without_times(loaded))
    assert memory.identities == loaded.identities
    assert memory.environments == loaded.environments
    expected = {"machine", "cpu", "threads", "device", "python", "numpy", "commit"}
    assert expected <= set(loaded.environments[loaded.rows.environment[0]])
    for one in (memory, loaded):
        found = one.query("solver == 'exact' and feasible")
        assert found.problem.tolist() == list(PROBLEMS)
        with pytest.raises(ValueError, match="expression: 'nonsense >' given, expected a condition on problem, solver"):
            one.query("nonsense >")
        assert one.plot() is not None
        again = pickle.loads(pickle.dumps(one))
        assert again.results["taps", "exact", 0] == one.results["taps", "exact", 0]
        assert repr(again) == repr(one)


def test_the_view_has_the_columns_of_a_row(kept):
    with Store.reading(kept[0]) as store:
        columns = [column[1] for column in store._read("PRAGMA table_info(rows)")]
    assert columns[:-3] == [field.name for field in fields(Row)]


# -- what is run again --------------------------------------------------------------------------------------


def test_nothing_is_run_twice_and_what_is_missing_is_run(path):
    again, n_made = compare(store=path)
    assert n_made == 0
    pd.testing.assert_frame_equal(again.rows, srnc.Comparison.load(path).rows)
    assert compare(seeds=(0, 1, 2), store=path)[1] == 2 * len(PROBLEMS)  # exact has no seed
    assert compare(seeds=(5,), solvers="exact", store=path)[1] == 0
    assert compare(problems={"other name": PROBLEMS["taps"]}, solvers={"mine": Exact()}, store=path)[1] == 0
    assert compare(budget=Budget(max_evaluations=29), solvers="l-bfgs", store=path)[1] == 2 * len(PROBLEMS)
    assert compare(solvers="l-bfgs[max_iterations=7]", seeds=[0], store=path)[1] == len(PROBLEMS)
    loaded = srnc.Comparison.load(path)
    assert not loaded.rows.duplicated(["problem", "solver", "seed"]).any()
    assert loaded.rows[loaded.rows.solver == "exact"].seed.tolist() == [5, 5, 5]  # one row for what is not random


def test_twins_are_run_once(tmp_path):
    twins = {"a": PROBLEMS["taps"], "b": PROBLEMS["taps"]}
    comparison, n_made = compare(twins, ["l-bfgs"], [0], store=tmp_path / "s.db")
    assert n_made == 1
    assert comparison.rows.problem.tolist() == ["a", "b"]
    assert comparison.rows.objective.nunique() == 1
    assert comparison.results["a", "l-bfgs", 0] == comparison.results["b", "l-bfgs", 0]


class Moody(Solver):
    """Fails as long as a file exists."""

    def __init__(self, path):
        self.path = str(path)

    def run(self, run):
        if os.path.exists(self.path):
            raise RuntimeError("not today")
        run.deliver(run.problem.unit_kernel)
        return srnc.Status.CONVERGED, "done"


def test_what_failed_is_retried(tmp_path):
    (tmp_path / "rain").touch()
    arguments = {"solvers": {"moody": Moody(tmp_path / "rain"), "exact": "exact"}, "store": tmp_path / "s.db"}
    first, n_made = compare(**arguments)
    assert n_made == 3 * 3
    assert set(first.rows.status[first.rows.solver == "moody"]) == {"failed"}
    assert first.results["taps", "moody", 0].details["traceback"]
    assert compare(**arguments)[1] == 6
    (tmp_path / "rain").unlink()
    assert compare(**arguments)[1] == 6
    after, n_made = compare(**arguments)
    assert n_made == 0
    assert set(after.rows.status) == {"converged"}
    with Store.reading(tmp_path / "s.db") as store:
        assert store._read("SELECT attempts, count(*) FROM runs GROUP BY attempts") == [(1, 3), (3, 6)]


MINE = """
import numpy as np
from helper import strength
import srnc_manifold as srnc

WEIGHT = 0.01

def penalty(view, xp):
    return xp.max(view.squared_singular_values) - view.target_gain

class Squares(srnc.costs.Cost):
    def value(self, view, xp):
        import late
        return late.factor() * strength() * penalty(view, xp) ** 2 + WEIGHT * view.fidelity

class Other(srnc.costs.Cost):
    def value(self, view, xp):
        return xp.sum(view.multiplicities * view.squared_singular_values**2) + view.fidelity

problem = srnc.partway([1.0, 2.0, -1.0], 8, 0.5)
"""

HELPER = """
POWER = 3

def strength():
    return 1 * POWER

def other():
    return 'unused'
"""

EDITS = {
    "nothing": ("mine", "problem", "problem", 0),
    "its value": ("mine", "** 2 + WEIGHT", "** 4 + WEIGHT", 2),
    "a module that is imported late": ("late", "return 1.0", "return 2.0", 2),
    "what its value calls": ("mine", " - view.target_gain", " - 2 * view.target_gain", 2),
    "a constant": ("mine", "WEIGHT = 0.01", "WEIGHT = 0.02", 2),
    "a function of another module": ("helper", "return 1", "return 2", 2),
    "what that reads": ("helper", "POWER = 3", "POWER = 4", 2),
    "a comment": ("mine", "import numpy as np\n", "import numpy as np  # a comment\n\n", 0),
    "something else there": ("helper", "return 'unused'", "return 'not used'", 0),
    "the other cost": ("mine", "values**2)", "values**3)", 2),
}


@pytest.mark.parametrize("edit", some(EDITS, 3))
def test_an_edit_of_one_s_own_code_runs_its_own_rows_again_and_no_others(edit, tmp_path, monkeypatch):
    files = {
        "mine": MINE,
        "helper": "POWER = 3\ndef strength():\n    return 1 * POWER\ndef other():\n    return 'unused'\n",
        "late": "def factor():\n    return 1.0\n",
    }
    monkeypatch.syspath_prepend(tmp_path)
    module, old, new, expected = EDITS[edit]
    counts = []
    for text in (files[module], files[module].replace(old, new)):
        for name, content in (files | {module: text}).items():
            (tmp_path / f"{name}.py").write_text(content)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        mine = importlib.import_module("mine")
        solvers = {"squares": RiemannianLBFGS(mine.Squares()), "other": RiemannianLBFGS(mine.Other()), "slsqp": "slsqp"}
        comparison, n_made = compare({"p": mine.problem}, solvers, store=tmp_path / "s.db")
        counts.append(n_made)
        # The rows are those of the code as it is now.
        for label in ("squares", "other"):
            direct = srnc.solve(mine.problem, solvers[label], rng=1, budget=BUDGET)
            assert comparison.results["p", label, 1].cost == direct.cost
    assert counts == [6, expected]
    for name in files:
        sys.modules.pop(name, None)


EDITED = """
import srnc_manifold as srnc
class Mine(srnc.costs.Cost):
    def value(self, view, xp):
        return (xp.max(view.squared_singular_values) - view.target_gain) ** 2 + view.fidelity
"""


def written(folder, text):
    """A module of one's own, imported anew."""
    (folder / "edited.py").write_text(text)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    sys.modules.pop("edited", None)
    importlib.invalidate_caches()
    return importlib.import_module("edited")


@slow
def test_a_worker_does_not_keep_the_code_of_before(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for power in (2, 4):
        solver = Riemannian(written(tmp_path, EDITED.replace("** 2", f"** {power}")).Mine())
        comparison, n_made = compare({"p": PROBLEMS["taps"]}, {"mine": solver}, [0], 2, store=tmp_path / "s.db")
        assert n_made == 1
        found.append(comparison.results["p", "mine", 0].cost)
        assert found[-1] == srnc.solve(PROBLEMS["taps"], solver, rng=0, budget=BUDGET).cost
    assert found[0] != found[1]
    sys.modules.pop("edited", None)


def test_what_is_run_is_what_was_looked_at(tmp_path, monkeypatch, script):
    """A file that is edited, or missing, where a run is made: it takes the code of the process that asked for it."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "import srnc_manifold as srnc\nSAID = 'before'\nclass Says(srnc.solvers.Solver):\n    def run(self, run):\n"
    text += "        run.deliver(run.problem.unit_kernel)\n        return srnc.Status.CONVERGED, SAID\n"
    solver = written(tmp_path, text).Says()
    task = Task(0, NamedProblem("p", PROBLEMS["taps"]), "says", solver, 0, BUDGET, "says")
    (tmp_path / "task").write_bytes(pickled(task, own_modules()))
    (tmp_path / "edited.py").write_text("raise SystemExit('edited meanwhile')")
    code = "import pickle, sys; sys.path.insert(0, sys.argv[1]); task = pickle.load(open(sys.argv[1] + '/task', 'rb'))"
    assert script(f"{code}; print(task.carry_out().row.message)", tmp_path).wait() == (0, "before\n")
    sys.modules.pop("edited", None)


def test_versions_of_installed_helpers_count(tmp_path, monkeypatch):
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(fingerprints, "_site_folders", lambda: [site])
    digests = []
    for version in ("1.0", "1.0", "2.0"):
        for name, text in {
            "helpers.py": "def strength():\n    return 1\n",
            f"helpers-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: helpers\nVersion: {version}\n",
            f"helpers-{version}.dist-info/top_level.txt": "helpers\n",
        }.items():
            (site / name).parent.mkdir(exist_ok=True, parents=True)
            (site / name).write_text(text)
        importlib.invalidate_caches()
        for cached in (fingerprints._installed, fingerprints._distribution, fingerprints.origin_of):
            cached.cache_clear()
        here = {"__name__": "__main__"}
        exec("import helpers\ndef value():\n    return helpers.strength()\n", here)
        digests.append(fingerprint(here["value"]))
        shutil.rmtree(site)
    for cached in (fingerprints._installed, fingerprints._distribution, fingerprints.origin_of):
        cached.cache_clear()
    sys.modules.pop("helpers")
    assert digests[0] == digests[1] != digests[2]


def test_what_is_done_is_kept_whatever_signal_comes(tmp_path, monkeypatch):
    add = Store.add

    def interrupted(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        add(self, *arguments)

    monkeypatch.setattr(Store, "add", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    made, _ = compare(solvers="exact", store=tmp_path / "s.db")
    signal.signal(signal.SIGINT, before)
    assert made.interrupted
    assert len(made.rows) == len(srnc.Comparison.load(tmp_path / "s.db").rows) == 1


STRENGTH = """
def strength(x, names={'a', 'b', 'c'}):
    return x in {'d', 'e', 'f'} or names
"""


def test_the_digest_is_the_same_in_every_process(script):
    code = STRENGTH + "from srnc_manifold.comparison.fingerprints import fingerprint; print(fingerprint(strength))"
    here = {"__name__": "__main__"}
    exec(STRENGTH, here)
    assert script(code).wait() == (0, fingerprint(here["strength"]) + "\n")


class Plain:
    def __init__(self, **settings):
        self.__dict__.update(settings)


def test_settings_of_every_kind_count():
    settings = [1, 1.0, True, "1", b"1", None, (1,), [1], {1}, {1: 1}, np.ones(1), np.ones(1, "f4"), np.float64(1), len,
                np.maximum, max, Plain, Exact, srnc.Status.LIMIT, lambda x: x, lambda x: x + 1, Plain.__init__, os.path,
                np.random.default_rng(0), np.random.default_rng(1), PROBLEMS["taps"], {1: [2]}, {1: [3]}]  # fmt: skip
    digests = [fingerprint(Plain(setting=setting)) for setting in settings]
    assert len(set(digests)) == len(settings)
    assert digests == [fingerprint(Plain(setting=setting)) for setting in settings]
    assert fingerprint(Plain(a=1, b=2)) == fingerprint(Plain(b=2, a=1))
    around = Plain()
    around.itself = around
    assert fingerprint(around) != fingerprint(Plain(itself=None))


class Locked(RiemannianLBFGS):
    def __init__(self):
        super().__init__()
        object.__setattr__(self, "lock", threading.Lock())


def test_what_has_no_source_is_run_again_and_this_is_said(tmp_path):
    with pytest.raises(UnknownSourceError, match="a lock"):
        fingerprint(Locked())
    for _ in range(2):
        with pytest.warns(
            UserWarning, match="runs of 'locked' are made again each time, because of a lock, whose state"
        ):
            comparison, n_made = compare({"p": PROBLEMS["taps"]}, {"locked": Locked()}, store=tmp_path / "s.db")
        assert n_made == 2
        assert len(comparison.rows) == 2
    assert len(srnc.Comparison.load(tmp_path / "s.db").rows) == 2


def test_another_problem_of_the_same_name(path):
    other = {"taps": srnc.partway([1.0, 2.0, 3.0], 8, 0.5)}
    with pytest.warns(UserWarning, match="'taps' was another problem when it was compared before"):
        compare(other, ["exact"], store=path)
    loaded = srnc.Comparison.load(path)
    assert loaded.problems["taps"].problem.digest() == other["taps"].digest()
    assert loaded.rows[loaded.rows.problem == "taps"].solver.tolist() == ["exact"]
    with pytest.warns(UserWarning, match="another problem"):
        assert compare(store=path)[1] == 0  # the runs of the first one are still there


class Own(srnc.Dense):
    def to_fields(self):
        raise TypeError("not saved")


def test_a_problem_that_cannot_be_saved_keeps_its_rows(tmp_path):
    problem = srnc.partway(np.ones(3) + np.arange(3), Own(np.random.default_rng(1).standard_normal((3, 4, 5))), 0.5)
    arguments = {"problems": {"own": problem, "taps": PROBLEMS["taps"]}, "store": tmp_path / "s.db"}
    made, n_made = compare(**arguments)
    assert n_made > 5
    assert compare(**arguments)[1] == 0
    loaded = srnc.Comparison.load(tmp_path / "s.db")
    assert list(loaded.problems) == ["taps"]
    pd.testing.assert_frame_equal(loaded.rows, made.rows)
    assert "own: its operator could not be saved" in loaded.report()


# -- several --------------------------------------------------------------------------------------------------


def test_stores_are_merged(kept, path, tmp_path):
    third = tmp_path / "third.db"
    more = compare({"more": PROBLEMS["layer"]}, seeds=[7], store=third)[0]
    with_seeds = compare(seeds=[3])[0]  # in memory
    for target in (None, tmp_path / "all.db", third):
        merged = srnc.Comparison.load(path).merge(with_seeds, third, store=target)
        assert len(merged.rows) == len(kept[1].rows) + 2 * len(PROBLEMS) + len(more.rows)  # exact has one row
        assert set(merged.problems) == {*PROBLEMS, "more"}
        assert merged.results["taps", "l-bfgs", 3] == with_seeds.results["taps", "l-bfgs", 3]
        assert merged.results["more", "l-bfgs", 7] == more.results["more", "l-bfgs", 7]
        assert merged.table().problem.nunique() == 4
    assert compare(seeds=(0, 1, 3), store=tmp_path / "all.db")[1] == 0
    other = compare({"taps": PROBLEMS["layer"]}, "exact")[0]
    with pytest.raises(ValueError, match="others: 'taps' is another problem in one of them"):
        other.merge(path)


def test_a_failure_does_not_replace_what_was_found(tmp_path):
    (tmp_path / "rain").touch()
    failed = compare(solvers={"moody": Moody(tmp_path / "rain")})[0]
    (tmp_path / "rain").unlink()
    found = compare(solvers={"moody": Moody(tmp_path / "rain")})[0]
    for merged in (failed.merge(found), found.merge(failed), found.merge(failed, store=tmp_path / "s.db")):
        assert set(merged.rows.status) == {"converged"}
        assert len(merged.results) == 6


WRITER = """
import sys, numpy as np, srnc_manifold as srnc
problems = {f"p{k}": srnc.partway(np.random.default_rng(k).standard_normal(3), 8, 0.5) for k in range(5)}
budget = srnc.Budget(max_evaluations=20)
seeds = range(int(sys.argv[2]), int(sys.argv[3]))
srnc.compare(problems, ["l-bfgs", "exact"], seeds, store=sys.argv[1], n_jobs=1, budget=budget)
"""


def test_two_processes_write_at_once(tmp_path, script):
    store = tmp_path / "s.db"
    seeds = [("0", "6"), ("3", "9")]  # half of them twice
    running = [script(WRITER, store, *some) for some in seeds]
    assert [one.wait() for one in running] == [(0, ""), (0, "")]
    loaded = srnc.Comparison.load(store)
    assert not loaded.interrupted
    assert len(loaded.rows) == 5 * (9 + 1)
    assert len(loaded.results) == 50
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


# -- files that cannot be used --------------------------------------------------------------------------------


def _other_sqlite(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


def _changed(path, place, content):
    data = bytearray(path.read_bytes())
    data[place : place + len(content)] = content
    path.write_bytes(data)


UNUSABLE = {
    "text": (lambda p: p.write_text("problem,solver\n"), "not a store of a comparison"),
    "another database": (lambda p: (p.unlink(), _other_sqlite(p)), "an SQLite file of something else"),
    "newer": (
        lambda p: _changed(p, 60, b"\0\0\0\x09"),
        r"of a newer release of srnc_manifold \(form 9, this one knows 2\)",
    ),
    "older": (lambda p: _changed(p, 60, b"\0\0\0\x01"), "of a version before the first release"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "is damaged"),
    "damaged": (lambda p: _changed(p, 4096, bytes(range(256)) * 40), "is damaged"),
    "a head alone": (lambda p: p.write_bytes(p.read_bytes()[:100]), "is damaged"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "a folder|not a file"),
}


@pytest.mark.parametrize("name", some(UNUSABLE, 6))
def test_what_is_no_store_is_told_in_one_line_and_left_as_it_is(name, path, kept):
    spoil, message = UNUSABLE[name]
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    for use in (srnc.Comparison.load, lambda p: compare(store=p), lambda p: kept[1].merge(store=p)):
        with pytest.raises(ValueError, match=message) as error:
            use(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
        assert (path.read_bytes() if path.is_file() else None) == before
        assert os.listdir(path.parent) == ["study.db"]


def test_a_process_was_killed_while_it_made_the_tables(path, kept):
    """The file is written in part, and a journal beside it says that there was nothing before: SQLite undoes it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    journal, written = path.with_name("study.db-journal"), path.read_bytes()
    # Its magic number; no pages to restore; a random number; pages before; sizes of a sector and of a page.
    content = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 0, 7, 0, 512, 4096)
    for use in ("read", "write"):
        path.write_bytes(written)
        journal.write_bytes(content.ljust(512, b"\0"))
        if use == "read":
            with pytest.raises(ValueError, match="given, which is empty"):
                srnc.Comparison.load(path)
        else:
            compare(store=path)
            pd.testing.assert_frame_equal(without_times(srnc.Comparison.load(path)), without_times(kept[1]))


def test_limits_are_kept_and_told(tmp_path):
    problem = srnc.SRNProblem([1, 0, 0, 1], 9, stable_rank_fraction=0.9)
    bound = srnc.bound(problem)
    budgets = [
        None,
        srnc.Budget(max_evaluations=30, max_time=0.1),
        srnc.Budget(gap=1e-3, bound=bound, violation=1e-5),
    ]
    expected = [{}, {"max_evaluations": 30, "max_time": 0.1}]
    expected.append({"violation": 1e-5, "gap": 1e-3, "bound": bound.objective})
    stores = [tmp_path / f"{k}.db" for k in range(3)]
    for store, budget, limits in zip(stores, budgets, expected, strict=True):
        found = srnc.compare({f"p {store.stem}": problem}, "l-bfgs", [0], budget=budget, store=store, n_jobs=1)
        assert list(found.budgets.values()) == [limits]
        assert srnc.Comparison.load(store).budgets == found.budgets
        assert found.identities["p " + store.stem, "l-bfgs", 0].budget in found.budgets
    merged = srnc.Comparison({}).merge(*stores, store=tmp_path / "all.db")
    assert sorted(map(str, merged.budgets.values())) == sorted(map(str, expected))
    assert srnc.Comparison.load(tmp_path / "all.db").budgets == merged.budgets


def test_a_damaged_result_is_told(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET content = x'00'")
    connection.close()
    loaded = srnc.Comparison.load(path)
    with pytest.raises(ValueError, match=r"results: that of \('taps', 'exact', 0\) cannot be read"):
        loaded.results["taps", "exact", 0]
    with pytest.raises(KeyError):
        loaded.results["taps", "none", 0]
    assert len(loaded.rows) == 15


def test_what_is_missing_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such store"):
        srnc.Comparison.load(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()  # as a process leaves it that was killed at the very beginning
    with pytest.raises(ValueError, match="which is empty"):
        srnc.Comparison.load(tmp_path / "empty.db")
    assert compare(solvers="exact", store=tmp_path / "empty.db")[1] == 3
    assert compare(solvers="exact", store=tmp_path / "new folder" / "s.db")[1] == 3


READ_ONLY = """
import os, sys, srnc_manifold as srnc
srnc.Comparison.load(sys.argv[1]).results["taps", "exact", 0]  # what is imported late
os.chmod(sys.argv[1], 0o444)
os.chmod(os.path.dirname(sys.argv[1]), 0o555)
if os.getuid() == 0:  # root may write everything
    os.setgid(65534)
    os.setuid(65534)
loaded = srnc.Comparison.load(sys.argv[1])
assert len(loaded.row_list) == len(loaded.results) == 15 and loaded.results["taps", "exact", 0].gap is not None
try:
    srnc.compare(loaded.problems["taps"], srnc.solvers.Exact(), store=sys.argv[1], n_jobs=1)
except ValueError as error:
    print(error)
"""


def test_a_store_that_may_only_be_read(path, script):
    for one in path.parents:  # root becomes another user, who has to come through
        if not one.stat().st_mode & stat.S_IXOTH:
            os.chmod(one, stat.S_IMODE(one.stat().st_mode) | 0o555)
    before = path.read_bytes()
    code, out = script(READ_ONLY, path).wait()
    os.chmod(path.parent, 0o755)
    assert code == 0, out
    assert f"store: {str(path)!r} given, which exists and is not writable" in out
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["study.db"]


def test_a_network_drive(monkeypatch, tmp_path):
    monkeypatch.setattr(database, "_file_system", lambda _: "nfs4")
    with pytest.warns(UserWarning, match="without a write-ahead log, which is as safe and slower"):
        assert compare(solvers="exact", store=tmp_path / "s.db")[1] == 3
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    with pytest.warns(UserWarning, match="without a write-ahead log"), Store.writing(tmp_path / "s.db") as store:
        assert store._read("PRAGMA synchronous") == [(2,)]  # a loss of power does not damage it
    assert len(srnc.Comparison.load(tmp_path / "s.db").rows) == 3


@pytest.mark.skipif(not os.path.exists("/proc/self/mounts"), reason="Linux")
def test_the_file_system_of_what_a_link_points_to(tmp_path):
    (tmp_path / "link").symlink_to("/proc/self")
    assert database._file_system(tmp_path / "link" / "s.db") == "proc"
    assert database._file_system(tmp_path) != "proc"


def test_a_file_system_that_has_no_shared_memory(monkeypatch, tmp_path):
    connect = sqlite3.connect
    monkeypatch.setattr(database.sqlite3, "connect", lambda name, **k: connect(f"{name}&vfs=unix-dotfile", **k))
    with pytest.warns(UserWarning, match="without a write-ahead log"):
        assert compare(solvers="exact", store=tmp_path / "s.db")[1] == 3


FULL = """
import resource, sys, warnings, numpy as np, srnc_manifold as srnc
warnings.simplefilter("always")
problems = {f"p{k}": srnc.partway(np.random.default_rng(k).standard_normal((3, 3)), 8, 0.5) for k in range(20)}
resource.setrlimit(resource.RLIMIT_FSIZE, (110_000, 110_000))
budget = srnc.Budget(max_evaluations=30)
found = srnc.compare(problems, ["l-bfgs"], [0], store=sys.argv[1], n_jobs=1, budget=budget)
assert len(found.rows) == len(found.results) == 20 and not found.interrupted, found
assert all(result.evaluation is not None for result in found.results.values())
"""


def test_a_full_disk_loses_nothing(tmp_path, script):
    code, out = script(FULL, tmp_path / "s.db").wait()
    assert code == 0, out
    assert "the runs go on, but no more of them are kept there" in out
    loaded = srnc.Comparison.load(tmp_path / "s.db")
    assert loaded.interrupted
    assert 0 < len(loaded.rows) == len(loaded.results) < 20
