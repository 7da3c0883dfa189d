"""Names of solvers and costs: canonical, parsed both ways, different for different settings."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

import srnc_manifold as srnc
from srnc_manifold.costs import Cost, ExactMax, LogSumExp, Penalty
from srnc_manifold.naming import SOLVERS, Names, split
from srnc_manifold.registry import COST_NAMES, SOLVER_NAMES, cost_from_name, solver_from_name
from srnc_manifold.solvers import (
    SRNC,
    Batch,
    GradientDescent,
    MatrixSRN,
    MultiStart,
    Riemannian,
    RiemannianLBFGS,
    Subgradient,
)


@pytest.mark.parametrize("name", SOLVER_NAMES)
def test_the_package_s_names_are_canonical(name):
    solver = solver_from_name(name)
    assert solver.name == name
    assert solver_from_name(solver.name) == solver


@pytest.mark.parametrize("name", COST_NAMES)
def test_costs_are_named_alike(name):
    assert str(cost_from_name(name)) == name
    assert solver_from_name(f"trust-regions:{name}").cost == cost_from_name(name)


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        (Riemannian(), "trust-regions"),
        (Riemannian(LogSumExp(alpha=100), tolerance=1e-8), "trust-regions[cost=lse[alpha=100], tolerance=1e-08]"),
        (Riemannian(Penalty(), "nelder-mead"), "nelder-mead[cost=penalty]"),
        (MultiStart("COBYQA", n_starts=3), "cobyqa[n_starts=3]"),
        (GradientDescent(step_rule="armijo", momentum=0.5), "gradient-descent-armijo[momentum=0.5]"),
        (Batch(RiemannianLBFGS(), 5), "batch[method=l-bfgs, starts=5]"),
        (Batch(RiemannianLBFGS(Penalty(alpha=5))), "batch[method=l-bfgs[cost=penalty[alpha=5]]]"),
        (SRNC("iterated", tolerance=1e-3), "srn-c-repaired[tolerance=0.001]"),
        (MatrixSRN(k=2), "matrix-srn[k=2]"),
        (Subgradient(cost=ExactMax(0.1)), "subgradient[cost=exact-max[fidelity_weight=0.1]]"),
    ],
)
def test_settings_that_differ_are_told(solver, name):
    assert solver.name == name
    assert solver_from_name(name) == solver


numbers = st.floats(1e-12, 1e12)
instances = st.one_of(
    st.builds(lambda a, w, t: Riemannian(LogSumExp(a, w), tolerance=t), numbers, numbers, numbers),
    st.builds(lambda n, t: MultiStart(n_starts=n, tolerance=t), st.integers(1, 10**6), numbers),
    st.builds(lambda s, r, m: GradientDescent(step_size=s, step_rule=r, momentum=m), numbers,
              st.sampled_from(["fixed", "armijo", "barzilai-borwein"]), st.floats(0, 0.99)),
    st.builds(lambda w: Subgradient(cost=ExactMax(w)), numbers),
)  # fmt: skip


@given(instances, instances)
def test_names_read_back_and_never_collide(one, other):
    assert solver_from_name(one.name) == one
    assert (one.name == other.name) == (one == other)


def test_what_is_no_plain_value_is_printed_and_not_accepted():
    solver = MultiStart(method=print)
    assert solver.name == "multi-start[method=builtins.print]"
    with pytest.raises(ValueError, match=r"method: 'builtins.print' given, expected one of"):
        solver_from_name(solver.name)

    @dataclasses.dataclass(frozen=True)
    class Own(Cost):
        power: float = 2.0

    name = Riemannian(Own(3.0)).name
    assert name.startswith("trust-regions[cost=")
    assert name.endswith("Own[power=3]]")
    assert name != Riemannian(Own()).name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("newton", "solver: 'newton' given, expected one of exact, slsqp"),
        ("slsqp[n_start=3]", "slsqp has no setting 'n_start': method, n_starts"),
        ("slsqp[n_starts=0]", "but n_starts: 0 given, expected at least 1"),
        ("slsqp[n_starts=3", "expected a closing bracket at its end"),
        ("slsqp[3]", "expected SETTING=VALUE in place of '3'"),
        ("slsqp:lse", "slsqp takes no cost"),
        ("trust-regions:huber", "but its cost: 'huber' given, expected one of lse"),
        ("trust-regions[cost=lse[alpha=-1]]", "but its cost: 'lse.alpha=-1.' given, but alpha: -1 given"),
        ("batch[method=slsqp]", "but method: slsqp given, expected GradientDescent"),
        ("batch[method=newton]", "but its solver: 'newton' given, expected one of exact, slsqp"),
        ("trust-regions[tolerance=tight]", "but tolerance: 'tight' given, expected a real number"),
        ("", "solver: '' given, expected one of"),
    ],
)
def test_what_is_no_name_is_told_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        solver_from_name(text)


def test_lists_are_split_outside_brackets():
    text = " exact, trust-regions[cost=lse[alpha=10, fidelity_weight=0.1], tolerance=1e-08],slsqp,, "
    assert split(text) == ["exact", "trust-regions[cost=lse[alpha=10, fidelity_weight=0.1], tolerance=1e-08]", "slsqp"]


@dataclasses.dataclass(frozen=True)
class PNorm(Cost):
    p: float = 16.0

    def value(self, view, xp):
        total = xp.sum(view.multiplicities * view.squared_singular_values**self.p)
        return (total ** (1 / self.p) - view.target_gain) ** 2 + 0.01 * view.fidelity


def test_scripts_register_costs_and_solvers():
    srnc.register("test-p-norm", PNorm)
    srnc.register("test-p-norm", PNorm)  # again the same: a cell that is run twice
    problem = srnc.SRNProblem([1, 2, 3], 8, stable_rank=3)
    result = srnc.solve(problem, "trust-regions:test-p-norm", rng=0)
    assert result.solver == "trust-regions[cost=test-p-norm]"
    assert solver_from_name("l-bfgs[cost=test-p-norm[p=8]]").cost == PNorm(8)
    rows = srnc.compare(problem, ["trust-regions[cost=test-p-norm[p=8]]", Riemannian(PNorm())], [0]).rows
    assert rows["solver"].tolist() == ["trust-regions[cost=test-p-norm[p=8]]", "trust-regions[cost=test-p-norm]"]
    for name, kind, error, message in [
        ("lse", PNorm, ValueError, "'lse' given, which is the name of another cost"),
        ("a:b", PNorm, ValueError, "expected text without any of"),
        ("", PNorm, ValueError, "expected text without"),
        (3, PNorm, TypeError, "expected text"),
        ("p", PNorm(), TypeError, "expected a subclass of Cost or Solver"),
        ("p", dict, TypeError, "expected a subclass of Cost or Solver"),
    ]:
        with pytest.raises(error, match=message):
            srnc.register(name, kind)


def test_a_name_stands_for_one_thing():
    names = Names("thing")
    names.add("one", PNorm)
    with pytest.raises(ValueError, match="another thing"):
        names.add("one", LogSumExp)
    assert list(names) == ["one"]
    assert names.of(PNorm(2)) == "one[p=2]"


def test_settings_of_a_name_are_those_it_tells_and_the_defaults_of_names_that_are_known():
    name = "trust-regions[cost=lse[alpha=100], tolerance=0.01]"
    found, solver = SOLVERS.settings(name), solver_from_name(name)
    assert (found["alpha"], found["fidelity_weight"]) == (solver.cost.alpha, solver.cost.fidelity_weight)
    assert (found["cost"], found["tolerance"], found["max_iterations"]) == ("lse", 0.01, solver.max_iterations)
    inner = SOLVERS.settings("batch[method=slsqp[n_starts=3], starts=7]")
    assert (inner["method"], inner["n_starts"], inner["starts"]) == ("slsqp", 3, 7)
    unknown = SOLVERS.settings("trust-regions[cost=own.PNorm[p=4, name='a b']]")
    assert (unknown["cost"], unknown["p"], unknown["name"]) == ("own.PNorm", 4, "a b")
    assert SOLVERS.settings("own.Solver[cost=lse[alpha=3], steps=5]") == {
        "cost": "lse",
        "alpha": 3,
        "fidelity_weight": 0.1,
        "steps": 5,
    }
