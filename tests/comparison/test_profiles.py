"""Profiles of comparisons against small cases that are computed by hand, and what their figures show."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import srnc_manifold as srnc
from srnc_manifold import plots
from srnc_manifold.comparison import profiles
from srnc_manifold.comparison.profiles.statistics import holm, interval, sign_test
from srnc_manifold.comparison.references import lower_bounds, references
from srnc_manifold.comparison.rows import Row, frame
from srnc_manifold.problem.scores import Evaluation
from srnc_manifold.result import History, Result, Status

INF = np.inf


def row(problem, solver, seed, gap, evaluations, time=1.0, *, feasible=True, environment="here", **more):
    """A run whose gap is measured from an optimum of 1 and in units of a squared norm of 2."""
    fields = {"objective": 1 + 2 * gap, "squared_norm": 2.0, "evaluations": evaluations, "time": time}
    errors = {"stable_rank_error": 0.0 if feasible else 1e-3, "spectral_norm_error": 0.0}
    told = {"settings": solver, "environment": environment}
    return Row(problem, solver, seed, "converged", "", feasible=feasible, **(fields | errors | told | more))


def refused(problem, solver):
    return Row(problem, solver, 0, "unsupported", "not for this kernel")


# Two problems, two seeds. The solver "once" has nothing random. "fast" misses once, and is infeasible once.
ROWS = [
    row("p", "once", 0, 0.0, 10, 4.0, bound=1.0),
    row("p", "fast", 0, 0.0, 5, 1.0),
    row("p", "fast", 1, 0.5, 6, 2.0),
    row("p", "slow", 0, 0.0, 40, 2.0),
    row("p", "slow", 1, 0.0, 20, 8.0),
    row("q", "once", 0, 0.0, 8, 1.0, bound=0.8),
    row("q", "fast", 0, -0.2, 4, 1.0, feasible=False),
    row("q", "fast", 1, 0.0, 4, 1.0),
    row("q", "slow", 0, 0.25, 30, 2.0),
    row("q", "slow", 1, 0.0, 16, 2.0),
    Row("missing", "", 0, "unavailable", "pip install something"),
]
TABLE = frame(ROWS)


def steps(data, solver, x):
    own = data[data["solver"] == solver]
    return dict(zip(own[x], own["share"], strict=True))


# -- what gaps are measured by ----------------------------------------------------------------------------------------


def test_references_are_optima_where_these_are_proved_and_else_the_best_known():
    rows = frame(
        [
            *ROWS,
            row("r", "fast", 0, 3.0, 1, restored_objective=2.5),
            row("s", "fast", 0, 1, 1, feasible=False, bound=3.0),
        ]
    )
    found = references(rows)
    assert found.loc["p"].tolist() == [1.0, "optimum"]  # the run proved it
    assert found.loc["q"].tolist() == [1.0, "best known"]  # its bound is 0.8; an infeasible objective does not count
    assert found.loc["r"].tolist() == [2.5, "best known"]
    assert np.isnan(found.loc["s", "reference"])
    assert found.loc["s", "kind"] == ""  # an infeasible run is not the optimum, whatever its bound
    paper = srnc.NamedProblem("q", srnc.SRNProblem([1, 0, 0], 64, stable_rank=32), 32 / 3)
    assert references(rows, {"q": paper}).loc["q"].tolist() == [32 / 3, "optimum"]
    bounds = lower_bounds(rows, {"r": paper})
    assert bounds[["p", "q"]].tolist() == [1.0, 0.8]
    assert bounds["r"] == pytest.approx(32 / 3)  # of srnc.bound, as no run proved one
    assert bounds["s"] == 3
    assert np.isnan(lower_bounds(rows)["r"])


# -- shares -----------------------------------------------------------------------------------------------------------


def test_performance_profile():
    # Evaluations of hits by instance (p 0, p 1, q 0, q 1): once 10 10 8 8; fast 5 ∞ ∞ 4; slow 40 20 ∞ 16.
    # The least are 5 10 8 4. Ratios: once 2 1 1 2; fast 1 ∞ ∞ 1; slow 8 2 ∞ 4.
    data = profiles.performance(TABLE)
    assert steps(data, "once", "ratio") == {1: 0.5, 2: 1, 8: 1}
    assert steps(data, "fast", "ratio") == {1: 0.5, 8: 0.5}
    assert steps(data, "slow", "ratio") == {1: 0, 2: 0.25, 4: 0.5, 8: 0.75}
    assert set(data["instances"]) == {4}
    # Seconds: once 4 4 1 1; fast 1 ∞ ∞ 1; slow 2 8 ∞ 2. The least are 1 4 1 1.
    data = profiles.performance(TABLE, measure="time")
    assert steps(data, "once", "ratio") == {1: 0.75, 4: 1}
    assert steps(data, "slow", "ratio") == {1: 0, 2: 0.75, 4: 0.75}


def test_a_wider_tolerance_and_other_references_change_what_a_hit_is():
    assert steps(profiles.performance(TABLE, tolerance=0.5), "fast", "ratio")[1] == 0.75
    data = profiles.performance(TABLE, {"p": 0.5, "q": 1.0})  # then no run is near the optimum of p
    assert steps(data, "once", "ratio") == {1: 0.25, 2: 0.5, 4: 0.5}


def test_a_run_that_counts_no_evaluations_counts_one():
    data = profiles.performance(frame([row("p", "formula", 0, 0, 0), row("p", "slow", 0, 0, 7)]))
    assert steps(data, "slow", "ratio") == {1: 0, 7: 1}


def test_where_nothing_is_hit_all_shares_are_zero():
    data = profiles.performance(frame([row("p", "a", 0, 0, 3, feasible=False), row("p", "b", 0, 0, 4, feasible=False)]))
    assert data[["solver", "ratio", "share"]].to_numpy().tolist() == [["a", 1, 0], ["b", 1, 0]]


def test_an_unsupported_problem_counts_as_not_hit_and_a_missing_run_leaves_an_instance_out():
    rows = [
        *ROWS,
        row("r", "fast", 0, 0, 5),
        row("r", "fast", 1, 0, 5),
        row("r", "slow", 0, 0, 5),
        refused("r", "once"),
    ]
    data = profiles.performance(frame(rows))
    assert set(data["instances"]) == {5}  # of problem r, "slow" was not run with seed 1
    assert steps(data, "once", "ratio") == {1: 0.4, 2: 0.8, 8: 0.8}
    with pytest.raises(ValueError, match="no problem and seed that all solvers were run on"):
        profiles.performance(frame([row("p", "a", 0, 0, 1), row("p", "a", 1, 0, 1), row("q", "b", 0, 0, 1)]))


def test_quality_against_the_bound():
    # Gaps to the bounds 1 and 0.8, over 2: once 0 0 .1 .1; fast 0 .5 ∞ .1; slow 0 0 .35 .1.
    data = profiles.quality(TABLE)
    assert list(steps(data, "once", "gap").values()) == [0.5, 1, 1]
    assert [round(x, 9) for x in steps(data, "fast", "gap")] == [0, 0.1, 0.5]
    assert list(steps(data, "fast", "gap").values()) == [0.25, 0.5, 0.75]
    assert list(steps(data, "slow", "gap").values()) == [0.5, 0.75, 1, 1]
    assert set(profiles.quality(TABLE, {"p": 1.0})["instances"]) == {2}
    with pytest.raises(ValueError, match="no problem with a proved bound given"):
        profiles.quality(TABLE, {})


# -- histories --------------------------------------------------------------------------------------------------------


def result(evaluations, gaps, violations, times=None):
    """A run with iterates of these gaps, of which the last one is returned."""
    times = [float(e) / 10 for e in evaluations] if times is None else times
    history = History()
    for e, t, gap, violation in zip(evaluations, times, gaps, violations, strict=True):
        history.append(evaluations=e, time=t, objective=1 + 2 * gap, violation=violation)
    last = Evaluation(1 + 2 * gaps[-1], 1.0, 1.0, violations[-1], 0.0, 0.1)
    more = {"n_evaluations": evaluations[-1], "runtime": times[-1], "history": history, "evaluation": last}
    return Result(np.ones(1), Status.CONVERGED, "", "solver", **more)


RESULTS = {
    # The second iterate is better than the optimum, but not feasible.
    ("p", "a", 0): result([1, 2, 4, 8], [3.0, -0.1, 0.05, 0.0], [0.0, 1e-2, 0.0, 0.0]),
    ("p", "a", 1): result([1, 3, 6], [3.0, 0.2, 0.2], [0.0, 0.0, 0.0]),
    ("p", "b", 0): result([5, 10], [0.01, 0.01], [0.0, 0.0]),
}
RUNS = frame([row("p", "a", 0, 0.0, 8), row("p", "a", 1, 0.2, 6), row("p", "b", 0, 0.01, 10)])


def test_ecdf_of_targets():
    # Evaluations to the targets 0.1 and 0.001 for seeds 0 and 1: a 4, 8 and ∞, ∞; b 5, ∞ for both seeds.
    data = profiles.ecdf(RUNS, RESULTS, targets=[0.1, 0.001])
    assert steps(data, "a", "budget") == {4: 0.25, 8: 0.5}
    assert steps(data, "b", "budget") == {4: 0, 5: 0.5, 8: 0.5}
    assert set(data["instances"]) == {4}
    data = profiles.ecdf(RUNS, RESULTS, targets=[0.1, 0.001], measure="time")
    assert steps(data, "a", "budget") == {0.4: 0.25, 0.8: 0.5}


def test_data_profile():
    data = profiles.data(RUNS, RESULTS, target=0.2 + 1e-12)  # a 4 and 3, b 5; there are 3 variables
    assert steps(data, "a", "budget") == {3: 0.5, 4: 1, 5: 1}
    data = profiles.data(RUNS, RESULTS, dimensions={"p": 3}, target=0.2 + 1e-12)
    assert steps(data, "a", "budget") == {0.75: 0.5, 1: 1, 1.25: 1}
    assert steps(data, "b", "budget") == {0.75: 0, 1.25: 1}


def test_the_returned_kernel_counts_where_the_history_does_not_end_with_it():
    runs, results = RUNS[RUNS.solver == "b"], {("p", "b", 0): result([5, 10], [0.5, 0.01], [0, 0])}
    del results["p", "b", 0].history.columns["evaluations"][1:]
    for name in ("time", "objective", "violation"):
        del results["p", "b", 0].history.columns[name][1:]
    data = profiles.ecdf(runs, results, {"p": 1.0}, targets=[0.1])
    assert steps(data, "b", "budget") == {10: 1}


def test_convergence_bands():
    # Best feasible gaps of a at the budgets 1 2 3 4 6 8: seed 0 3 3 3 .05 .05 0, seed 1 3 3 .2 .2 .2 .2.
    data = profiles.convergence(RUNS, RESULTS)
    own = data[data.solver == "a"]
    assert own["budget"].tolist() == [1, 2, 3, 4, 6, 8]
    np.testing.assert_allclose(own["low"], [3, 3, 0.2, 0.05, 0.05, 0], atol=1e-15)
    np.testing.assert_allclose(own["median"], own["low"], atol=1e-15)  # the lower one of two
    np.testing.assert_allclose(own["high"], [3, 3, 3, 0.2, 0.2, 0.2], rtol=1e-12)
    assert set(own["runs"]) == {2}
    assert len(data[data.solver == "b"]) == 2
    data = profiles.convergence(RUNS, RESULTS, quantity="violation", measure="time")
    assert data[data.solver == "a"]["high"].tolist() == [0, 1e-2, 1e-2, 0, 0, 0]


def test_bands_of_many_seeds_are_order_statistics_and_infinite_before_runs_are_feasible():
    results = {("p", "a", k): result([1, 2], [9.0, k / 10], [1.0, 0.0 if k < 8 else 1.0]) for k in range(10)}
    runs = frame([row("p", "a", k, k / 10, 2, feasible=k < 8) for k in range(10)])
    data = profiles.convergence(runs, results, {"p": 1.0}, spread=0.8)
    np.testing.assert_allclose(data[["low", "median", "high"]], [[INF] * 3, [0.0, 0.4, INF]], atol=1e-15)
    data = profiles.convergence(runs, results, {"p": 1.0}, spread=0.4)  # the 3rd, the 5th, the 7th
    np.testing.assert_allclose(data[["low", "median", "high"]].iloc[1], [0.2, 0.4, 0.6], atol=1e-15)
    results = {("p", "a", k): result([1], [k / 10], [0.0]) for k in range(20)}
    runs = frame([row("p", "a", k, k / 10, 1) for k in range(20)])
    data = profiles.convergence(runs, results, {"p": 1.0}, spread=0.7)  # 0.15 of 20 is 3, but not in floating point
    np.testing.assert_allclose(data[["low", "median", "high"]].iloc[0], [0.2, 0.9, 1.6], atol=1e-15)


# -- starts and pairs -------------------------------------------------------------------------------------------------


def test_hit_rates_and_the_expected_cost_to_the_first_hit():
    data = profiles.hits(TABLE).set_index(["problem", "solver"])
    assert data.loc[("p", "fast"), ["runs", "hits", "rate", "cost", "expected_cost"]].tolist() == [2, 1, 0.5, 5.5, 11]
    assert data.loc[("p", "slow"), ["runs", "hits", "expected_cost"]].tolist() == [2, 2, 30]
    assert data.loc[("q", "slow"), "expected_cost"] == 46
    assert data.loc[("p", "once"), "runs"] == 1
    pooled = profiles.hits(TABLE, by_problem=False, measure="time").set_index("solver")
    assert pooled.loc["fast", ["runs", "hits", "expected_cost"]].tolist() == [4, 2, 2.5]
    assert profiles.hits(frame([*ROWS, refused("q", "none")])).equals(profiles.hits(TABLE))
    none = profiles.hits(frame([row("p", "a", 0, 0, 3, feasible=False)]))
    assert none[["hits", "rate", "low", "expected_cost"]].iloc[0].tolist() == [0, 0, 0, INF]


def test_intervals_are_those_of_the_formulas():
    # Wilson (1927) for 8 of 10: centre (p + z²/2n) / (1 + z²/n), half width z √(p(1 − p)/n + z²/4n²) / (1 + z²/n).
    z, n, p = 1.959963984540054, 10, 0.8
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = np.array([centre - half, centre + half]) / (1 + z**2 / n)
    np.testing.assert_allclose(interval(8, 10, 0.95, "wilson"), expected, rtol=1e-12)
    # Clopper and Pearson (1934) for 0 of n: from 0 to 1 − (0.05/2)^(1/n).
    np.testing.assert_allclose(interval(0, 5, 0.95, "clopper-pearson"), [0, 1 - 0.025**0.2], rtol=1e-9)


def test_sign_tests():
    assert sign_test(5, 0) == pytest.approx(2 / 2**5)
    assert sign_test(1, 4) == pytest.approx(2 * (1 + 5) / 2**5)
    assert sign_test(0, 0) == 1
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])


def test_pairs_by_gap():
    # Gaps by instance (p 0, p 1, q 0, q 1): once 0 0 0 0; fast 0 .5 ∞ 0; slow 0 0 .25 0. So once beats fast on both
    # problems, and slow on q; fast loses to slow on both.
    data = profiles.pairs(TABLE).set_index(["solver", "other"])
    counts = ["wins", "losses", "ties"]
    assert data.loc[("once", "fast"), counts].tolist() == [2, 0, 0]
    assert data.loc[("fast", "once"), counts].tolist() == [0, 2, 0]
    assert data.loc[("once", "slow"), counts].tolist() == [1, 0, 1]
    assert data.loc[("slow", "fast"), counts].tolist() == [2, 0, 0]
    assert data.loc[("once", "fast"), "p_value"] == 0.5
    assert data.loc[("once", "slow"), "p_value"] == 1
    assert data.loc[("once", "fast"), "adjusted"] == 1
    starts = profiles.pairs(TABLE, unit="start").set_index(["solver", "other"])
    assert starts.loc[("once", "fast"), counts].tolist() == [2, 0, 2]


def test_pairs_by_cost_and_starts_of_two_solvers_without_chance_count_once():
    # Evaluations of hits: once 10 10 8 8; fast 5 ∞ ∞ 4: one win each on both problems, which are ties.
    data = profiles.pairs(TABLE, measure="evaluations").set_index(["solver", "other"])
    assert data.loc[("once", "fast"), ["wins", "losses", "ties"]].tolist() == [0, 0, 2]
    rows = [row("p", s, 0, 0, e) for s, e in (("x", 3), ("y", 4))] + [row("p", "z", k, 0, 5) for k in range(6)]
    data = profiles.pairs(frame(rows), measure="evaluations").set_index(["solver", "other"])
    assert set(data["unit"]) == {"start"}  # as there is one problem
    assert data.loc[("x", "y"), "wins"] == 1
    assert data.loc[("x", "z"), "wins"] == 6
    assert data.loc[("x", "z"), "p_value"] == pytest.approx(2 / 2**6)
    assert data.loc[("x", "z"), "adjusted"] == pytest.approx(6 / 2**6)
    with pytest.raises(ValueError, match="one solver given, 'x', expected at least two"):
        profiles.pairs(frame(rows[:1]))


# -- sweeps -----------------------------------------------------------------------------------------------------------


def test_sensitivity_to_a_setting():
    costs = srnc.sweep(srnc.costs.LogSumExp, alpha=[10, 100], fidelity_weight=[0.1, 1e-3])
    names = [solver.name for solver in srnc.sweep("trust-regions", cost=costs)]
    rows = [
        row("p", name, seed, 0.0, 10 * k + seed, feasible=k == 3, stable_rank_error=10.0**-k)
        for k, name in enumerate(names)
        for seed in (0, 1, 2)
    ]
    data = profiles.sensitivity(frame(rows))
    assert set(data["setting"]) == {"fidelity_weight"}
    assert data["line"].tolist() == ["alpha = 10", "alpha = 10", "alpha = 100", "alpha = 100"]
    assert data["value"].tolist() == [0.1, 1e-3, 0.1, 1e-3]
    np.testing.assert_allclose(data["violation"], [1, 0.1, 0.01, 0.001])
    assert data["feasible"].tolist() == data["hit"].tolist() == [0, 0, 0, 1]
    assert data["evaluations"].tolist() == [1, 11, 21, 31]
    assert data["gap"].tolist() == [INF, INF, INF, 0]
    others = [row("p", name, 0, 0.0, 1) for name in ("exact", "slsqp[tolerance=0.01]", "cobyqa[max_iterations=7]")]
    pd.testing.assert_frame_equal(profiles.sensitivity(frame([*others, *rows])), data)
    by_alpha = profiles.sensitivity(frame(rows), setting="alpha")
    assert by_alpha["line"].tolist() == ["fidelity_weight = 0.1", "fidelity_weight = 0.001"] * 2
    with pytest.raises(ValueError, match=r"'beta' given, expected one that differs: alpha, fidelity_weight"):
        profiles.sensitivity(frame(rows), setting="beta")
    with pytest.raises(ValueError, match="no number is swept by trust-regions"):
        profiles.sensitivity(frame(rows[:2]))


def test_a_sweep_has_an_instance_with_a_name_for_each_combination():
    costs = srnc.sweep(srnc.costs.LogSumExp, alpha=np.array([10, 100]), fidelity_weight=[0.1, 1e-5])
    assert [(c.alpha, c.fidelity_weight) for c in costs] == [(10, 0.1), (10, 1e-5), (100, 0.1), (100, 1e-5)]
    assert [str(c) for c in costs][1:3] == ["lse[fidelity_weight=1e-05]", "lse[alpha=100]"]
    assert srnc.sweep("lse", alpha=(10, 100), fidelity_weight=0.2) == [
        srnc.costs.LogSumExp(10, 0.2),
        srnc.costs.LogSumExp(100, 0.2),
    ]
    solvers = srnc.sweep(srnc.solvers.Riemannian, cost=costs, optimizer=["trust-regions", "steepest-descent"])
    assert len({solver.name for solver in solvers}) == 8
    assert srnc.sweep(srnc.solvers.MultiStart(n_starts=3), method="SLSQP", tolerance=[1e-6]) == [
        srnc.solvers.MultiStart("SLSQP", n_starts=3, tolerance=1e-6)
    ]
    assert [s.name for s in srnc.sweep("slsqp", n_starts=range(1, 3))] == ["slsqp[n_starts=1]", "slsqp[n_starts=2]"]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (srnc.costs.LogSumExp, {"alpha": []}, "alpha: no values given"),
        (srnc.costs.LogSumExp, {"alpha": [1, 2, 1]}, "alpha: 1 is given twice"),
        (srnc.costs.LogSumExp, {"alpha": [1, -2]}, "sweep: alpha=-2 given, but alpha: -2 given, expected a positive"),
        (srnc.costs.LogSumExp, {"alpa": [1]}, "sweep: alpa=1 given, but .*unexpected keyword argument 'alpa'"),
        ("slsqq", {"n_starts": [1]}, "'slsqq' given, expected one of"),
        (3, {"n_starts": [1]}, "kind: 3 given, expected a class, a name or an instance"),
    ],
)
def test_a_sweep_of_what_is_not_valid_is_refused(kind, settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        srnc.sweep(kind, **settings)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["performance", "ecdf", "data", "convergence", "hits", "pairs"])
def test_times_of_several_machines_are_not_compared(kind):
    rows = frame([row("p", "a", 0, 0, 1, environment="here"), row("p", "b", 0, 0, 1, environment="there")])
    make = profiles.KINDS[kind].make
    more = (RESULTS,) if "results" in profiles.KINDS[kind].needs else ()
    with pytest.raises(ValueError, match=r"made in 2 environments \(here, there\).*environment == 'here'"):
        make(rows, *more, measure="time")


def test_winners_do_not_tell_times_of_several_machines():
    rows = [row("p", "a", 0, 0, 1, 1.0, environment="here"), row("p", "b", 0, 0, 1, 9.0, environment="there")]
    several, one = srnc.Comparison({}, rows), srnc.Comparison({}, [rows[0], row("p", "b", 0, 0, 1, 9.0)])
    assert several.winners()["time"].isna().all()
    assert "Times are of several machines or versions, and are not compared." in several.report()
    assert one.winners()["time"].tolist() == [1, 9]
    assert "several machines" not in one.report()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: profiles.performance([1]), "rows: list given, expected a DataFrame"),
        (lambda: profiles.performance(TABLE.drop(columns="bound")), "rows: no column 'bound'"),
        (lambda: profiles.performance(TABLE[:0]), "rows: no run of a solver given"),
        (lambda: profiles.performance(pd.concat([TABLE, TABLE])), "'once' on 'p' with seed 0 is given twice"),
        (lambda: profiles.performance(TABLE, measure="cost"), "measure: 'cost' given, expected one of evaluations"),
        (lambda: profiles.ecdf(RUNS, RESULTS, measure="gradients"), "measure: 'gradients' given, expected one of"),
        (lambda: profiles.ecdf(RUNS, RESULTS, targets=[]), "targets: none given"),
        (lambda: profiles.ecdf(RUNS, RESULTS, targets=[-1]), "target: -1 given"),
        (lambda: profiles.hits(TABLE, confidence=95), "confidence: 95 given, expected a number between 0 and 1"),
        (
            lambda: profiles.hits(TABLE, interval_method="normal"),
            "interval_method: 'normal' given, expected one of wil",
        ),
        (lambda: profiles.pairs(TABLE, unit="seed"), "unit: 'seed' given, expected one of problem, start"),
        (lambda: profiles.convergence(RUNS, RESULTS, spread=1), "spread: 1 given, expected a number from 0 to 1"),
        (lambda: profiles.convergence(RUNS, RESULTS, quantity="x"), "quantity: 'x' given, but no run has values of it"),
        (lambda: srnc.Comparison({}, ROWS).profile("best"), "kind: 'best' given, expected one of performance, data"),
        (lambda: srnc.Comparison({}, ROWS).profile(where="x > 3"), "expression: 'x > 3' given"),
        (lambda: plots.shares([]), "data: list given, expected a DataFrame"),
        (lambda: plots.bands(profiles.performance(TABLE)), "data: no column 'problem', expected a profile of another"),
        (lambda: plots.sweeps(TABLE, y="cost"), "y: 'cost' given, expected one of violation"),
    ],
)
def test_what_is_not_valid_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


# -- of a comparison, and figures -------------------------------------------------------------------------------------


@cache
def compared():
    rng = np.random.default_rng(0)
    problems = {f"${n}$": srnc.partway(rng.standard_normal(3), n, 0.5) for n in (6, 8)}
    costs = srnc.sweep("lse", alpha=[10, 1000], fidelity_weight=[1e-1, 1e-5])
    solvers = ["exact", "augmented-lagrangian", *srnc.sweep("gradient-descent", cost=costs)]
    return srnc.compare(problems, solvers, [0, 1], budget=srnc.Budget(max_evaluations=20), n_jobs=1)


def test_a_comparison_measures_by_all_that_it_knows():
    comparison = compared()
    expected = references(comparison.rows, comparison.problems)["reference"].to_dict()
    where = "solver != 'exact'"  # without its bounds, the optimum is known all the same
    one = comparison.profile("hits", where=where)
    pd.testing.assert_frame_equal(one, profiles.hits(comparison.query(where), expected))
    assert comparison.profile("hits", references={"$8$": 0.0, "$6$": 0.0})["hits"].sum() == 0
    assert comparison.profile().equals(profiles.performance(comparison.rows, expected))
    assert comparison.profile("data")["measure"].iloc[0] == "evaluations / (variables + 1)"
    for n in (6, 8):
        table = comparison.table()
        assert table[table.problem == f"${n}$"]["reference"].iloc[0] == expected[f"${n}$"]


@pytest.mark.parametrize("kind", list(profiles.KINDS))
def test_figures_show_the_data_in_given_axes_and_in_files(kind, tmp_path):
    comparison = compared()
    options = {"convergence": {"where": "problem == '$8$'", "quantity": "violation"}}.get(kind, {})
    axes = Figure().subplots()
    figure = comparison.plot(kind=kind, ax=axes, **options)
    assert figure is axes.figure
    data = comparison.profile(kind, **options)
    if kind == "pairs":
        texts = [text.get_text().rstrip("*") for text in axes.texts]
        assert texts == [f"{r.wins}–{r.losses}–{r.ties}" for r in data.itertuples()]
    elif kind == "hits":
        centres = [container.lines[0].get_xdata()[0] for container in axes.containers]
        assert centres == data["rate"].tolist()
    else:
        groups, y = ("line", "violation") if kind == "sensitivity" else ("solver", "share")
        y = "median" if kind == "convergence" else y
        lines = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
        assert len(lines) == data[groups].nunique()
        for line, (_, own) in zip(lines, data.groupby(groups, sort=False), strict=True):
            drawn, expected = set(line.get_ydata()), set(np.maximum(own[y], 0 if y == "share" else 1e-12))
            assert drawn - {0.0} == expected - {0.0}
    path = tmp_path / "figure.png"
    comparison.plot(path, kind, **options)
    assert path.stat().st_size > 1000


def test_lines_of_one_swept_solver_have_several_colours_and_legends_fit():
    figure = compared().plot(kind="performance")
    lines = [line for line in figure.axes[0].get_lines() if "gradient" in line.get_label()]
    assert len({line.get_color() for line in lines}) == 4
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.axes[0].get_window_extent().y0


def test_a_figure_without_anything_to_draw_is_refused():
    with pytest.raises(ValueError, match="no gap to draw; it is infinite where too few runs are feasible"):
        compared().plot(kind="sensitivity", y="gap")
    with pytest.raises(ValueError, match="2 are to be drawn"):
        compared().plot(kind="convergence", ax=Figure().subplots())
