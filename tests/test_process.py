"""Threads and settings of the process: the same numbers, and the same state afterwards, as one after the other."""

import multiprocessing
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
import torch  # it brings threads of its own
from threadpoolctl import threadpool_info
from tiers import some, times

import srnc_manifold as srnc
from srnc_manifold.registry import solver_from_name
from srnc_manifold.testing import check_cost

pytestmark = pytest.mark.usefixtures("two_threads")

RNG = np.random.default_rng(0)
KERNELS = RNG.standard_normal((5, 3, 3))
REDUCED = srnc.partway(RNG.standard_normal((3, 2, 3)), 8, 0.5)
RAISED = [srnc.partway(RNG.standard_normal(4), 11, 0.5, increase=True) for _ in range(3)]


def state():
    threads = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
    settings = torch.get_float32_matmul_precision(), dict(matplotlib.rcParams)
    random = np.random.get_state()[1].tolist()  # noqa: NPY002
    return threads, list(warnings.filters), warnings.showwarning, np.geterr(), random, settings


def bits(result):
    return result.kernel.tobytes(), result.status, result.n_evaluations


TASKS = {
    "exact, raising with shared cone programs": [lambda p=p: bits(srnc.solve(p)) for p in RAISED],
    "random starts": [
        lambda name=name: bits(srnc.solve(REDUCED, name, rng=0, budget=srnc.Budget(max_evaluations=200)))
        for name in ("slsqp", "trust-regions:penalty", "particle-swarm", "augmented-lagrangian")
    ],
    "bounds": [lambda p=p: srnc.bound(p).objective for p in RAISED],
    "batches": [
        lambda k=k: srnc.solve_batch(KERNELS + k, 8, stable_rank_fraction=0.99).gaps.tobytes() for k in range(4)
    ],
}


def read_and_saved(folder):
    problem, path = REDUCED, folder / "problem.npz"
    problem.save(path)
    return lambda: (list(srnc.read_arrays(path)) and None, srnc.load_problem(path).digest())


def points(k):
    function = srnc.costs.BatchFunction(REDUCED, srnc.costs.LogSumExp())
    return lambda: function.gradient(k + np.arange(4 * REDUCED.kernel.size).reshape(4, -1)).numpy().tobytes()


# What takes less time than the change from one thread to the next is repeated until threads meet.
SHORT = {
    "figures": lambda _: [lambda: len(srnc.plots.eigenvalues(RAISED[0]).axes)] * 20,
    "many points": lambda _: [points(k) for k in range(4)] * 20,
    "files": lambda folder: [read_and_saved(folder)] * 100,
}


@pytest.mark.parametrize("name", some(SHORT, 1))
def test_threads_change_nothing_in_short_calls(name, tmp_path):
    interval = sys.getswitchinterval()
    tasks = SHORT[name](tmp_path)
    alone = [task() for task in tasks]
    torch.set_float32_matmul_precision("medium")
    sys.setswitchinterval(1e-5)
    try:
        before = state()
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda task: task(), tasks)) == alone
        assert state() == before
    finally:
        sys.setswitchinterval(interval)
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", TASKS)
def test_threads_change_nothing(name):
    tasks = TASKS[name]
    alone = [task() for task in tasks]
    before = state()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda task: task(), tasks)) == alone
    assert state() == before


def test_a_call_within_a_call_does_not_wait_for_itself():
    inner = []
    srnc.solve(REDUCED, callback=lambda _: inner.append(srnc.bound(REDUCED).objective))
    assert inner


def _in_child(queue):
    queue.put(bits(srnc.solve(REDUCED)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_it_does_not_have():
    entered, leave = threading.Event(), threading.Event()

    def hold(_):
        entered.set()
        leave.wait(30)

    expected = bits(srnc.solve(REDUCED))
    thread = threading.Thread(target=srnc.solve, args=(REDUCED,), kwargs={"callback": hold})
    thread.start()
    assert entered.wait(30)
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        leave.set()
        thread.join()
        child.join(30)


SOLVERS = ["exact", "continuation", "exact-penalty", "augmented-lagrangian", "gradient-sampling", "subgradient"]
SOLVERS += ["slsqp", "trust-regions[cost=lse[alpha=1000]]", "srn-c-repaired", "atom-search", "gradient-descent"]


@pytest.mark.parametrize("setting", some(["ignore", "raise"], 1))
def test_the_caller_s_treatment_of_errors_changes_nothing(setting):
    budget = srnc.Budget(max_evaluations=times(100, 300))
    for problem in (REDUCED, RAISED[0]):
        for name in SOLVERS:
            solver = solver_from_name(name)
            if not solver.supports(problem)[0]:
                continue
            alone = bits(srnc.solve(problem, solver, rng=0, budget=budget))
            with np.errstate(all=setting):
                found = bits(srnc.solve(problem, solver, rng=0, budget=budget))
                assert np.geterr()["over"] == setting
            assert found == alone, name
    with np.errstate(all=setting):
        check_cost(srnc.costs.LogSumExp())
        kernels = np.stack([np.eye(3) * 1e-150, np.eye(3) * 1e150])
        assert np.all(np.isfinite(srnc.solve_batch(kernels, 8, stable_rank_fraction=0.99).bounds))
        problem = srnc.SRNProblem(np.eye(3) * 1e-150, 8, stable_rank_fraction=0.9)
        assert problem.restore(problem.kernel).success
