"""Costs at many points at once, in torch, against those at single points."""

import pickle

import numpy as np
import pytest
import torch
from own_costs import Hinge, PNorm
from tiers import some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.costs import (
    AugmentedLagrangianCost,
    BatchFunction,
    Cost,
    ExactMax,
    ExactPenaltyCost,
    LogSumExp,
    Penalty,
    SphereFunction,
)
from srnc_manifold.testing.problems import kernel_problems, other_problems


class Spread(Cost):
    """The variance of the squared singular values of the operator, each as often as it occurs."""

    def value(self, view, xp):
        count = xp.sum(view.multiplicities)
        mean = xp.sum(view.multiplicities * view.squared_singular_values) / count
        variance = xp.sum(view.multiplicities * (view.squared_singular_values - mean) ** 2) / count
        return variance + xp.exp(-view.fidelity / view.target_gain)


OWN = [Hinge(), PNorm(), Spread()]
BUILT_IN = [
    LogSumExp(),
    ExactMax(),
    Penalty(),
    AugmentedLagrangianCost(multipliers=0.5),
    AugmentedLagrangianCost("stay-below", multipliers=0.5),
    ExactPenaltyCost("equal"),
    ExactPenaltyCost("reach", epsilon=0.2),
    ExactPenaltyCost("equal", epsilon=0.2, smoothing="log-sum-exp"),
]


def problems():
    rng = np.random.default_rng(0)
    yield from kernel_problems(rng)
    yield from other_problems(rng)
    yield srnc.SRNProblem(rng.standard_normal((4, 2, 3, 3)), 8, stable_rank_fraction=0.9, groups=2, stride=2)
    yield srnc.SRNProblem(rng.standard_normal((2, 1, 7, 7)), (16, 16), stable_rank_fraction=0.9, groups=2)


def points_of(problem, count=5):
    rng = np.random.default_rng(1)
    return np.stack([problem.spheres.random_point(rng) for _ in range(count)])


def both(problem, cost, points, **settings):
    """Values and gradients of the batch, and one after the other."""
    batch, single = BatchFunction(problem, cost, **settings), SphereFunction(problem, cost)
    found = batch.value(points).numpy(), batch.gradient(points).numpy()
    expected = np.array([single.value(z) for z in points]), np.stack([single.gradient(z) for z in points])
    return zip(found, expected, strict=True)


@pytest.mark.parametrize("cost", some([*OWN, *BUILT_IN], 5), ids=lambda cost: str(cost).rpartition(".")[2])
def test_a_batch_agrees_with_single_points(cost):
    for problem in problems():
        for found, expected in both(problem, cost, points_of(problem)):
            # Sums of a few hundred terms in another order.
            assert np.max(np.abs(found - expected)) <= 1e-12 * np.max(np.abs(expected)), problem


def test_single_precision_is_that_precise(random_problem):
    problem = random_problem((2, 3, 3), (8,))
    for found, expected in both(problem, LogSumExp(), points_of(problem), dtype="float32"):
        assert found.dtype == np.float32
        assert np.max(np.abs(found - expected)) <= 1e-4 * np.max(np.abs(expected))  # α = 10 times a rounding error


def test_points_have_the_shape_of_kernels_or_are_flat(random_problem):
    problem = random_problem((3, 3), (6, 5))
    function, flat = BatchFunction(problem, LogSumExp()), points_of(problem)
    assert tuple(function.gradient(flat.reshape(-1, 3, 3)).shape) == (5, 3, 3)
    assert np.array_equal(function.value(flat.reshape(-1, 3, 3)), function.value(flat))
    tensor = namespace("torch").tensor(flat, "float64", "cpu")
    assert np.array_equal(function.gradient(tensor), function.gradient(flat))
    for wrong in (flat[0], flat[:, :4], np.array(1.0)):
        with pytest.raises(ValueError, match=r"points: shape .* given, expected \(B, \*shape of a point\)"):
            function.value(wrong)


def test_a_subclass_with_another_gradient_is_differentiated(random_problem):
    class Halved(LogSumExp):
        def gradient(self, view):
            by_values, by_fidelity = super().gradient(view)
            return 0.5 * by_values, by_fidelity

    problem = random_problem((4,), (11,))
    points = points_of(problem)
    found, expected = (BatchFunction(problem, cost).gradient(points) for cost in (Halved(), LogSumExp()))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "abacus"}, "device: 'abacus' given, which torch does not have here"),
        ({"dtype": "float16"}, "dtype: 'float16' given, expected one of"),
    ],
)
def test_devices_and_precisions_are_checked(settings, message, paper):
    with pytest.raises(ValueError, match=message):
        BatchFunction(paper(32), LogSumExp(), **settings)


def test_settings_of_torch_are_left_as_they_were(paper):
    torch.set_float32_matmul_precision("high")
    try:
        BatchFunction(paper(32), LogSumExp(), dtype="float32").gradient(np.eye(3))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_what_is_no_cost_or_problem_is_told(paper):
    problem, cost = paper(32), LogSumExp()
    stack = srnc.StackProblem([problem, problem])
    for function in (BatchFunction, SphereFunction):
        with pytest.raises(TypeError, match="problem: list given, expected an SRNProblem"):
            function([1.0, 0.0], cost)
        for wrong in ("lse", LogSumExp, None, [cost, "lse"]):
            with pytest.raises(TypeError, match="cost: .* given, expected an instance of a cost"):
                function(stack, wrong)
        with pytest.raises(ValueError, match="cost: 1 costs given, expected one, or one for each of 2 parts"):
            function(stack, [cost])


def test_functions_are_sent_to_other_processes(paper):
    problem, z = paper(32), points_of(paper(32))
    function = pickle.loads(pickle.dumps(BatchFunction(problem, LogSumExp(), dtype="float32")))
    assert torch.equal(function.value(z), BatchFunction(problem, LogSumExp(), dtype="float32").value(z))
    single = SphereFunction(problem, LogSumExp(), "torch")
    assert pickle.loads(pickle.dumps(single)).value(z[0]) == single.value(z[0])
