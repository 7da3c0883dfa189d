import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srnc_manifold.backends import namespace
from srnc_manifold.costs import (
    AugmentedLagrangianCost,
    Cost,
    ExactMax,
    ExactPenaltyCost,
    LogSumExp,
    Penalty,
    SphereFunction,
    View,
)
from srnc_manifold.costs.constraints import SIDES
from srnc_manifold.costs.exact_penalty import SMOOTHINGS
from srnc_manifold.testing import check_cost, taylor_slope

BUILT_IN = [
    LogSumExp(),
    LogSumExp(alpha=2.0, fidelity_weight=1.0),
    ExactMax(),
    Penalty(),
    Penalty(alpha=5.0),
    AugmentedLagrangianCost(multipliers=0.5),
    AugmentedLagrangianCost("stay-below", multipliers=0.5),
    *[ExactPenaltyCost(side) for side in SIDES],
    *[ExactPenaltyCost(side, epsilon=0.2, smoothing=how) for side in SIDES for how in SMOOTHINGS],
]


@pytest.mark.parametrize("cost", BUILT_IN, ids=str)
def test_built_in_costs_keep_the_contract(cost):
    check_cost(cost)


def without_own_gradient(cost):
    class Differentiated(type(cost)):  # type: ignore[misc]
        gradient = Cost.gradient

    return Differentiated(**vars(cost))


@pytest.mark.parametrize("cost", BUILT_IN, ids=str)
def test_gradients_of_their_own_are_those_of_the_backend(cost, random_problem):
    problem = random_problem((2, 3, 3), (8,))
    z = np.random.default_rng(0).standard_normal(18)
    view = View.at(problem, z / np.linalg.norm(z), namespace("numpy"))
    own, derived = cost.gradient(view), without_own_gradient(cost).gradient(view)
    np.testing.assert_allclose(own[0], derived[0], atol=1e-12 * np.abs(own[0]).max())
    assert own[1] == pytest.approx(derived[1])


def test_log_sum_exp_is_the_paper_s_formula(paper):
    # (14) and (16) written out, over all 64 frequencies, in the norm of the paper's kernel, which is one.
    problem, alpha, weight = paper(32), 10.0, 0.1
    z = np.array([0.5, -0.3, 0.7])
    z /= np.linalg.norm(z)
    gains = np.abs(np.fft.fft(z, 64)) ** 2
    smooth = np.log(np.sum(np.exp(alpha * gains))) / alpha
    expected = (smooth - 64 / 32) ** 2 + weight * 64 * np.sum((np.sqrt(32 / 64) * z - [1, 0, 0]) ** 2)
    assert SphereFunction(problem, LogSumExp(alpha, weight)).value(z) == pytest.approx(expected, rel=1e-14)


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e3))
def test_log_sum_exp_never_overflows_and_bounds_the_maximum(alpha, scale):
    values = scale * np.array([3.0, 2.9, 0.0])
    view = View(values, np.array([1.0, 2.0, 2.0]), 0.0, 0.0)
    smooth = np.sqrt(LogSumExp(alpha, 0.1).value(view, namespace("numpy")))
    rounding = 1e-12 * values[0]
    assert values[0] - rounding <= smooth <= values[0] + np.log(5) / alpha + rounding


def test_penalty_has_two_halves():
    penalty, xp = Penalty(alpha=1e4, fidelity_weight=0.0), namespace("numpy")

    def value(*values):
        return penalty.value(View(np.array(values), np.ones(len(values)), 0.0, 1.0), xp)

    assert value(1.0, 0.2) == pytest.approx(0, abs=1e-12)
    assert value(1.5, 0.2) == pytest.approx(0.25)  # exceeds
    assert value(0.7, 0.2) == pytest.approx(0.09)  # does not reach


def test_hessians_at_exactly_repeated_singular_values(random_problem):
    problem = random_problem((2, 2, 3), (8,))
    delta = np.zeros((2, 2, 3))
    delta[:, :, 0] = np.eye(2) / np.sqrt(2)
    vector, t = np.random.default_rng(1).standard_normal(12), 1e-5
    for cost in (LogSumExp(), Penalty()):
        function = SphereFunction(problem, cost)
        found = function.hessian(delta.ravel(), vector)
        difference = (function.gradient(delta.ravel() + t * vector) - function.gradient(delta.ravel() - t * vector)) / (
            2 * t
        )
        # Limits from values set apart by 1e-6 of the largest, times derivatives of order α.
        assert np.linalg.norm(found - difference) <= 1e-5 * np.linalg.norm(difference)


@pytest.mark.parametrize("cost", [LogSumExp, Penalty])
def test_sharpness_is_positive(cost):
    with pytest.raises(ValueError, match="alpha: -1 given"):
        cost(alpha=-1)


# -- check_cost catches what is wrong -------------------------------------------------------------------------


class WrongGradient(LogSumExp):
    def gradient(self, view):
        by_values, by_fidelity = super().gradient(view)
        return 1.001 * by_values, by_fidelity


class ForgetsMultiplicity(Cost):
    def value(self, view, xp):
        return xp.sum(view.squared_singular_values**4) + view.fidelity


class DependsOnOrder(Cost):
    def value(self, view, xp):
        return view.squared_singular_values[0] ** 2 + view.fidelity


class UsesNumPy(Cost):
    def value(self, view, xp):
        return np.sum(np.asarray(view.squared_singular_values) * np.asarray(view.multiplicities)) + view.fidelity


class NotScalar(Cost):
    def value(self, view, xp):
        return view.squared_singular_values


class NotFinite(Cost):
    def value(self, view, xp):
        return view.fidelity + float("nan")


class WrongHessian(LogSumExp):
    def hessian_product(self, view, values, fidelity):
        by_values, by_fidelity = super().hessian_product(view, values, fidelity)
        return 1.01 * by_values, by_fidelity


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (WrongGradient(), "gradient by autograd differs"),
        (ForgetsMultiplicity(), "how repeated singular values are listed"),
        (DependsOnOrder(), "the order of the singular values"),
        (UsesNumPy(), "only functions of xp"),
        (NotScalar(), "expected a scalar"),
        (NotFinite(), "value is nan"),
    ],
)
def test_check_cost_finds_what_is_wrong(cost, message):
    with pytest.raises(AssertionError, match=message):
        check_cost(cost)


def test_check_cost_finds_a_wrong_gradient_by_its_slope_alone(monkeypatch):
    monkeypatch.setattr("srnc_manifold.testing.costs._check_backends", lambda *_: None)
    with pytest.raises(AssertionError, match=r"gradient is wrong, its Taylor remainder has slope (0\.9|1\.0)"):
        check_cost(WrongGradient())


def test_check_cost_finds_a_wrong_hessian_by_its_slope_alone(monkeypatch):
    monkeypatch.setattr("srnc_manifold.testing.costs._check_backends", lambda *_: None)
    with pytest.raises(AssertionError, match=r"Hessian is wrong, its Taylor remainder has slope (1\.9|2\.0)"):
        check_cost(WrongHessian())


def test_taylor_slope_of_known_remainders():
    assert taylor_slope(lambda t: 3 * t**2 + t**3, 1e-14) == pytest.approx(2, abs=0.01)
    assert taylor_slope(lambda _: 1e-17, 1e-14) == np.inf


def test_a_cost_without_value_says_what_is_missing(paper):
    with pytest.raises(NotImplementedError, match="Cost must define value"):
        SphereFunction(paper(32), Cost()).value(np.array([1.0, 0.0, 0.0]))


@pytest.mark.parametrize("name", ["squared_singular_values", "multiplicities"])
def test_what_a_cost_sees_cannot_be_written_to(paper, name):
    """It is used again at the same point, the multiplicities at all points."""

    class Writes(Cost):
        def value(self, view, xp):
            array = getattr(view, name)
            array -= 1.0
            return xp.sum(array)

    for problem in (paper(32), pickle.loads(pickle.dumps(paper(32)))):
        z = problem.spheres.random_point(np.random.default_rng(0))
        before = SphereFunction(problem, LogSumExp()).value(z)
        with pytest.raises(ValueError, match="read-only"):
            SphereFunction(problem, Writes()).value(z)
        assert SphereFunction(problem, LogSumExp()).value(z) == before
