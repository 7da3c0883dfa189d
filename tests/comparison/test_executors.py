"""Where runs are made: the same rows everywhere; what hangs, crashes or is killed costs no other run."""

import contextlib
import ctypes
import os
import random
import resource
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import alive, wait_for
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold import cli
from srnc_manifold.solvers import Budget, Solver

PROBLEMS = {f"p{k}": srnc.partway(np.random.default_rng(k).standard_normal(3), 8, 0.5) for k in range(3)}
BUDGET = Budget(max_evaluations=100)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class Does(Solver):
    """Does something, and then delivers the kernel."""

    def __init__(self, action=None):
        self.action = action

    def run(self, run):
        if self.action is not None:
            run.details["said"] = self.action()
        run.deliver(run.problem.unit_kernel)
        return srnc.Status.CONVERGED, "done"


def full():
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    return np.ones(2**33)


def threads():
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    return [pool["num_threads"] for pool in threadpool_info()]


def speaks():
    print("a solver that prints")
    return sys.stdout.write("more of it\n") and None


BAD = {
    "hangs": (lambda: time.sleep(600), "killed, it did not end within the timeout of 3 s"),
    "exits": (lambda: os._exit(3), "its process ended with exit code 3, 2 times"),
    "is killed": (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        "its process was killed by SIGKILL, perhaps because the memory was full, 2 times",
    ),
    "crashes": (lambda: ctypes.string_at(0), "its process was killed by SIGSEGV, 2 times"),
    "takes all memory": (full, "MemoryError"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("names", ["hangs, is killed, takes all memory", pytest.param(", ".join(BAD), marks=slow)])
def test_a_bad_run_costs_no_other_and_is_told_as_what_it_was(names, tmp_path):
    bad = {name: BAD[name] for name in names.split(", ")}
    solvers = {name: Does(action) for name, (action, _) in bad.items()}
    solvers |= {"good": Does(), "threads": Does(threads), "prints": Does(speaks)}
    done = srnc.compare(
        {"p": PROBLEMS["p0"]}, solvers, [0], budget=BUDGET, n_jobs=2, timeout=3, store=tmp_path / "s.db"
    )
    assert len(done.rows) == len(solvers)
    for row in done.row_list:
        if row.solver in bad:
            assert row.status == "failed", row
            assert row.message.startswith(BAD[row.solver][1]), row
        else:
            assert row.status == "converged", row
    limits = done.results["p", "threads", 0].details["said"]
    assert limits
    assert set(limits) == {1}
    solvers = {name: Does() for name in bad}
    again = srnc.compare({"p": PROBLEMS["p0"]}, solvers, [0], budget=BUDGET, n_jobs=1, store=tmp_path / "s.db")
    assert set(again.rows.status) == {"converged"}


def slow_runs(n=4, seconds=0.5):
    return {f"s{k}": Does(lambda k=k: time.sleep(seconds + k / 1000)) for k in range(n)}


def children(pid=None):
    """The processes below one, with theirs."""
    found, below = [], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                below.setdefault(int(fields[1]), []).append(int(path.parent.name))
    left = [pid or os.getpid()]
    while left:
        own = below.get(left.pop(), [])
        found += own
        left += own
    return found


@slow
def test_a_run_whose_process_is_killed_from_outside_is_made_again(tmp_path):
    def once():
        if not (tmp_path / "shot").exists():
            (tmp_path / "pid").write_text(str(os.getpid()))
            time.sleep(600)

    def shoot():
        wait_for(lambda: (tmp_path / "pid").exists())
        (tmp_path / "shot").touch()
        time.sleep(0.2)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=shoot)
    thread.start()
    done = srnc.compare({"p": PROBLEMS["p0"]}, {"shot": Does(once), **slow_runs(3, 0.1)}, [0], n_jobs=2)
    thread.join()
    assert set(done.rows.status) == {"converged"}


@pytest.mark.parametrize(
    ("executor", "error", "message"),
    [
        (5, TypeError, "executor: int given, expected 'joblib', a dask.distributed.Client, or the address"),
        ("threads", ValueError, "executor: 'threads' given, expected 'joblib' or the address of a scheduler"),
        ("tcp://127.0.0.1:9", ValueError, "executor: 'tcp://127.0.0.1:9' given, but no scheduler answers there"),
    ],
)
def test_what_is_no_executor(executor, error, message, monkeypatch, tmp_path):
    import distributed

    connect = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: connect(address, timeout=0.3))  # noqa: ARG005
    with pytest.raises(error, match=message) as raised:
        srnc.compare("paper", "exact", executor=executor, store=tmp_path / "s.db")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
    for timeout in (0, -1, "1", float("nan")):
        with pytest.raises((TypeError, ValueError), match="timeout: "):
            srnc.compare("paper", "exact", timeout=timeout)


def test_a_budget_of_time_has_a_timeout():
    from srnc_manifold.comparison.run import _limit

    assert _limit(None, None) is _limit(None, Budget(max_evaluations=3)) is None
    assert _limit(3.0, Budget(max_time=1)) == 3.0
    assert _limit(None, Budget(max_time=2)) == 80


# -- a cluster ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["threads", pytest.param("processes", marks=slow)])
def cluster(request):
    """A scheduler of Dask and two workers, in threads of this process, or in processes of their own."""
    distributed = pytest.importorskip("distributed")
    apart = request.param == "processes"
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=2, host="127.0.0.1", processes=apart, protocol="tcp", **options) as made,
        distributed.Client(made) as client,
    ):
        yield made, client


only_processes = pytest.mark.parametrize("cluster", [pytest.param("processes", marks=slow)], indirect=True)


def test_a_cluster_gives_the_same_rows(cluster, tmp_path):
    cluster, client = cluster
    solvers = ["exact", "slsqp[n_starts=2]", "l-bfgs"]
    rows = []
    for executor, n_jobs in (("joblib", 1), ("joblib", 2), (client, None), (cluster.scheduler_address, 1)):
        store = tmp_path / f"{len(rows)}.db"
        done = srnc.compare(PROBLEMS, solvers, [0, 1], budget=BUDGET, executor=executor, n_jobs=n_jobs, store=store)
        pd.testing.assert_frame_equal(done.rows, srnc.Comparison.load(store).rows)
        rows.append(done.rows.drop(columns="time"))
    for other in rows[1:]:
        pd.testing.assert_frame_equal(rows[0], other)
    for key, result in list(done.results.items())[::5]:
        direct = srnc.solve(PROBLEMS[key[0]], key[1], rng=key[2], budget=BUDGET)
        assert np.array_equal(result.kernel, direct.kernel)


OWN = """
import srnc_manifold as srnc

class Still(srnc.solvers.Solver):
    def run(self, run):
        run.deliver(run.problem.unit_kernel)
        return srnc.Status.CONVERGED, "it does not move"
"""
STUDY_FILE = """
schema = 1
seeds = 2
budget = { max_evaluations = 50 }
[[problems]]
family = "paper"
[[solvers]]
name = ["l-bfgs", "own.py:Still"]
"""


def test_a_study_in_a_file_runs_on_a_cluster(cluster, tmp_path):
    cluster, _ = cluster
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "study.toml").write_text(STUDY_FILE)
    rows = []
    for where in (["--jobs", "1"], ["--scheduler", cluster.scheduler_address]):
        words = ["study", str(tmp_path / "study.toml"), "--output", str(tmp_path / f"out{len(rows)}"), *where]
        cli.app(words, standalone_mode=False)
        rows.append(srnc.Comparison.load(tmp_path / f"out{len(rows)}" / "study.db").rows.drop(columns="time"))
    assert set(rows[0]["status"]) == {"converged"}
    pd.testing.assert_frame_equal(*rows)


@only_processes
def test_a_worker_of_the_cluster_that_dies_loses_nothing(cluster, tmp_path):
    cluster, client = cluster
    pids = [worker.pid for worker in cluster.workers.values()]  # of the nannies' processes
    seen = []

    def progress(done, *_):
        seen.append(done)
        if done == 2:
            os.kill(pids[0], signal.SIGKILL)

    solvers = slow_runs(8, 0.3) | {"dies": Does(lambda: os._exit(1))}
    done = srnc.compare(
        {"p": PROBLEMS["p0"]}, solvers, [0], executor=client, progress=progress, store=tmp_path / "s.db"
    )
    assert seen == list(range(10))
    assert not alive(pids[0])
    assert done.rows.status.tolist() == ["converged"] * 8 + ["failed"]
    assert done.rows.message.iloc[-1] == "its process ended with exit code 1, 2 times"
    client.wait_for_workers(2, timeout=60)


@only_processes
def test_an_interrupt_frees_the_cluster(cluster):
    _, client = cluster

    def progress(done, *_):
        if done == 1:
            raise KeyboardInterrupt

    solvers = {"quick": Does()} | slow_runs(3, 500)
    began = time.perf_counter()
    done = srnc.compare({"p": PROBLEMS["p0"]}, solvers, [0], executor=client, progress=progress)
    assert done.interrupted
    after = srnc.compare(PROBLEMS, "exact", executor=client)
    assert set(after.rows.status) == {"converged"}
    assert time.perf_counter() - began < 120  # not 500 s: the runs were ended


# -- signals ----------------------------------------------------------------------------------------------------

STUDY = """
import os, signal, sys, time, random, numpy as np, srnc_manifold as srnc
signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells take from what they run in the background

os.environ["PACE"] = sys.argv[2]  # not a setting, with which the runs would be others

class Slow(srnc.solvers.Solver):
    def run(self, run):
        time.sleep(random.uniform(0, float(os.environ["PACE"])))
        run.deliver(run.problem.unit_kernel)
        return srnc.Status.CONVERGED, "done"

def log(done, total, row):
    if row is not None and row.status == "converged":
        with open(sys.argv[1] + ".log", "a") as file:
            print(row.problem, row.seed, time.time(), file=file)
    if done == total:
        print("complete")

problems = {f"p{k}": srnc.partway(np.random.default_rng(k).standard_normal(3), 8, 0.5) for k in range(4)}
solvers, seeds = {"slow": Slow()}, range(int(sys.argv[4]))
found = srnc.compare(problems, solvers, seeds, n_jobs=int(sys.argv[3]), store=sys.argv[1], progress=log)
print(len(found.rows))
"""


def logged(store):
    """When each run was said to be done."""
    path = Path(f"{store}.log")
    lines = path.read_text().splitlines() if path.exists() else []
    return [(problem, int(seed), float(when)) for problem, seed, when in (line.split() for line in lines)]


@pytest.mark.parametrize("number", some([signal.SIGTERM, signal.SIGINT], 1))
def test_a_signal_ends_the_workers_and_what_was_done_is_kept(number, tmp_path, script):
    store = tmp_path / "s.db"
    running = script(STUDY, store, 0.5, 2, 100)
    wait_for(lambda: len(logged(store)) >= 3)
    own = children(running.pid)
    assert len(own) == 2
    os.kill(running.pid, number)
    code, out = running.wait(20)
    assert code == (-signal.SIGTERM if number == signal.SIGTERM else 0)
    assert "complete" not in out
    wait_for(lambda: not any(map(alive, own)), 2)
    loaded = srnc.Comparison.load(store)
    assert loaded.interrupted
    assert {(row.problem, row.seed) for row in loaded.row_list} >= {(p, seed) for p, seed, _ in logged(store)}
    assert set(loaded.rows.status) == {"converged"}


@slow
def test_workers_end_when_their_parent_is_killed(tmp_path, script):
    running = script(STUDY, tmp_path / "s.db", 100, 2, 10)
    wait_for(lambda: len(children(running.pid)) == 2)
    time.sleep(1)
    own = children(running.pid)
    os.kill(running.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, own)), 5)


def whole(store):
    """How many runs are in a store that is whole; None if the process was killed before it had made the tables."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            return None
        return connection.execute("SELECT count(*) FROM runs").fetchone()[0]


def wait_for_more(store):
    before = len(logged(store))
    wait_for(lambda: len(logged(store)) > before)


# How many processes, how often the main one is killed, and how often first another and then the main one: five
# kills in the fast tier, a hundred in all.
KILLS = [*[(1, 5, 0)] * 10, *[(2, 3, 3)] * 5, (2, 1, 2)]


@pytest.mark.parametrize(
    ("seed", "n_jobs", "mains", "others"),
    [pytest.param(k, *kills, marks=[slow] if k else []) for k, kills in enumerate(KILLS)],
)
def test_kill_9_loses_nothing(seed, n_jobs, mains, others, tmp_path, script):
    """The main process or a worker is killed at random moments, until the study is complete."""
    draw, store, n_seeds = random.Random(seed), tmp_path / "s.db", 15 + 13 * others
    kills = ["main"] * mains + ["other"] * others
    draw.shuffle(kills)
    for kill in kills:
        running = script(STUDY, store, 0.05 if n_jobs == 1 else 0.2, n_jobs, n_seeds)
        if kill == "other":
            wait_for_more(store)
            time.sleep(draw.uniform(0, 0.3))
            os.kill(draw.choice(children(running.pid)), signal.SIGKILL)
            wait_for_more(store)  # the study goes on
        else:
            time.sleep(draw.uniform(0, 0.6 if n_jobs == 1 else 2.0))
        os.kill(running.pid, signal.SIGKILL)
        killed = time.time()
        running.wait()
        kept = set()
        if store.exists() and store.stat().st_size and whole(store) is not None:
            kept = {(row.problem, row.seed) for row in srnc.Comparison.load(store).row_list}
        assert kept >= {(problem, k) for problem, k, when in logged(store) if when < killed - 1}
    code, out = script(STUDY, store, 0.001, 1, n_seeds).wait()
    assert (code, out.split()) == (0, ["complete", f"{4 * n_seeds}"])
    loaded = srnc.Comparison.load(store)
    assert not loaded.interrupted
    assert len(loaded.rows) == len(loaded.results) == whole(store) == 4 * n_seeds
    assert not loaded.rows.duplicated(["problem", "seed"]).any()
    assert set(loaded.rows.status) == {"converged"}
