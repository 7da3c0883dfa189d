"""Gradients through batches: against sensitivity, against differences of solutions, and where there are none."""

import numpy as np
import pytest
import torch
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.exact.gradients import has_mirror_image
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry

LAYOUTS = [
    ((4,), (9,), {}),
    ((2, 3, 3), (8,), {}),
    ((4, 2, 3), (8,), {"groups": 2, "stride": 2}),
    ((3, 3), (8, 7), {}),
    ((1, 3, 3), (8,), {}),
    ((3, 5), (), {}),
    ((3, 2, 2, 2), (5, 5), {}),
    ((2, 2, 3), (9,), {"dilation": 2}),
    ((6, 6, 2, 2), (5, 5), {}),  # so many entries that the system is not decomposed
    ((4, 1, 3), (8,), {"groups": 4}),
]
FEW = [*LAYOUTS[:3], *(pytest.param(layout, marks=slow) for layout in LAYOUTS[3:])]
NAMES = ["stable_rank", "relative_stable_rank", "stable_rank_fraction"]
STEP = 1e-5
# Central differences are off by STEP² times third derivatives, which are of size 10 here, and by rounding / STEP.
TOLERANCE = 1e-6


def given(layout, name, count=2, seed=3):
    """Kernels, and targets on the way from the least feasible to their own, in one of the three ways to say it."""
    shape, size, options = layout
    kernels = np.random.default_rng(seed).standard_normal((count, *shape))
    low, high = Geometry.of(shape, size, **options).stable_rank_range
    own = srnc.stable_ranks(kernels, size, **options)
    unit = {"stable_rank": 1.0, "relative_stable_rank": high, "stable_rank_fraction": own}[name]
    return kernels, (low + np.linspace(0.4, 0.7, count) * (own - low)) / unit


def traced(*arrays):
    return [torch.tensor(array, requires_grad=True) for array in arrays]


@pytest.mark.parametrize("name", some(NAMES, 1))
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_it_is_the_transpose_of_sensitivity(layout, name):
    shape, size, options = layout
    arrays = given(layout, name)
    kernels, targets = traced(*arrays)
    batch = srnc.solve_batch(kernels, size, **{name: targets}, **options)
    rng = np.random.default_rng(1)
    upwards, change = rng.standard_normal((2, *kernels.shape))
    by_kernel, by_target = torch.autograd.grad(batch.kernels, (kernels, targets), torch.tensor(upwards))
    (slopes,) = torch.autograd.grad(
        srnc.solve_batch(kernels, size, **{name: targets}, **options).objectives.sum(), targets
    )
    unit = Geometry.of(shape, size, **options).stable_rank_range[1] if name == "relative_stable_rank" else 1.0
    for k, (kernel, target) in enumerate(zip(*arrays, strict=True)):
        problem = srnc.SRNProblem(kernel, size, **{name: float(target)}, **options)
        known = srnc.sensitivity(problem, srnc.solve(problem))
        step = problem.kernel_stable_rank if name == "stable_rank_fraction" else unit
        # Two solutions that are accurate to 1e-10 or so, and derivatives of size up to 100.
        along = np.sum(upwards[k] * known.along(change[k]))
        assert np.sum(by_kernel[k].numpy() * change[k]) == pytest.approx(along, rel=1e-7, abs=1e-7)
        assert float(by_target[k]) == pytest.approx(
            np.sum(upwards[k] * known.by_stable_rank) * step, rel=1e-7, abs=1e-7
        )
        assert float(slopes[k]) == pytest.approx(known.objective_by_stable_rank * step, rel=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", FEW, ids=str)
def test_it_agrees_with_differences_of_solutions(layout, name):
    _, size, options = layout
    arrays = given(layout, name)
    kernels, targets = traced(*arrays)
    batch = srnc.solve_batch(kernels, size, **{name: targets}, **options)
    rng = np.random.default_rng(2)
    upwards, change = rng.standard_normal((2, *kernels.shape))
    moved = 0.1 * arrays[1] * rng.standard_normal(len(arrays[1]))
    by_kernel, by_target = torch.autograd.grad(batch.kernels, (kernels, targets), torch.tensor(upwards))
    found = float((by_kernel * torch.tensor(change)).sum() + (by_target * torch.tensor(moved)).sum())
    up, down = (
        srnc.solve_batch(arrays[0] + sign * STEP * change, size, **{name: arrays[1] + sign * STEP * moved}, **options)
        for sign in (1, -1)
    )
    difference = np.sum(upwards * (up.kernels - down.kernels)) / (2 * STEP)
    scale = np.linalg.norm(upwards) * np.linalg.norm(change)
    assert found == pytest.approx(difference, abs=TOLERANCE * scale)


@pytest.mark.parametrize("name", some(NAMES, 1))
@pytest.mark.parametrize(
    "layout", [*LAYOUTS[:2], *(pytest.param(layout, marks=slow) for layout in LAYOUTS[2:8])], ids=str
)
def test_gradcheck_passes(layout, name):
    _, size, options = layout

    def solved(kernels, targets):
        batch = srnc.solve_batch(kernels, size, **{name: targets}, **options)
        return batch.kernels, batch.objectives

    # Its own tolerances: differences of solutions that are accurate to 1e-12, over 2e-6.
    assert torch.autograd.gradcheck(solved, tuple(traced(*given(layout, name, count=1))))


@slow
@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_whose_norms_are_not_all_computed(stride):
    layout = (14, 13, 2, 2), (8, 8), {"stride": stride}
    for name in NAMES:
        test_it_is_the_transpose_of_sensitivity(layout, name)
        test_it_agrees_with_differences_of_solutions(layout, name)


def test_single_precision_has_gradients_in_single_precision():
    for layout in LAYOUTS[:3]:
        _, size, options = layout
        doubles, targets = given(layout, "stable_rank_fraction")
        singles = doubles.astype(np.float32)
        found = []
        for arrays in ((singles, targets.astype(np.float32)), (singles.astype(float), targets.astype(np.float32))):
            kernels, fractions = traced(*arrays)
            batch = srnc.solve_batch(kernels, size, stable_rank_fraction=fractions, **options)
            (batch.kernels.square().sum() + batch.objectives.sum()).backward()
            assert kernels.grad.dtype == kernels.dtype
            assert fractions.grad.dtype == torch.float32
            found.append((kernels.grad.double(), fractions.grad.double()))
        for one, other in zip(*found, strict=True):  # rounded before and after: a few ulps of single precision
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_one_target_for_all_and_parts_of_a_batch():
    kernels, _ = given(LAYOUTS[0], "stable_rank", count=5)  # none has a stable rank below 2.8
    found = []
    for memory in (None, 1):
        tensor, target = traced(kernels, np.array(2.6))
        srnc.solve_batch(tensor, 9, stable_rank=target, max_memory=memory).kernels.square().sum().backward()
        assert target.grad.shape == ()
        found.append((tensor.grad, target.grad))
    each = torch.full((5,), 2.6, dtype=torch.float64, requires_grad=True)
    srnc.solve_batch(kernels := torch.tensor(kernels), 9, stable_rank=each).kernels.square().sum().backward()
    assert kernels.grad is None
    # ‖x‖² = ρ² = M² r / |N|, whatever the direction.
    expected = srnc.spectral_norms(kernels, 9) ** 2 / 9
    torch.testing.assert_close(each.grad, expected, rtol=1e-9, atol=1e-9)
    for tensor, target in found:
        torch.testing.assert_close(target, expected.sum(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(tensor, found[0][0], rtol=1e-9, atol=1e-9)


def test_the_values_are_those_without_gradients():
    kernels, fractions = given(LAYOUTS[1], "stable_rank_fraction")
    plain = srnc.solve_batch(torch.tensor(kernels), 8, stable_rank_fraction=fractions)
    (tensor,) = traced(kernels)
    batch = srnc.solve_batch(tensor, 8, stable_rank_fraction=fractions)
    assert batch == plain
    assert batch.kernels.requires_grad
    assert batch.objectives.requires_grad
    for name in ("stable_ranks", "violations", "bounds", "gaps"):
        assert not getattr(batch, name).requires_grad
    with torch.no_grad():
        assert not srnc.solve_batch(tensor, 8, stable_rank_fraction=fractions).kernels.requires_grad
    # What the backward pass uses is not what the caller may change.
    with torch.no_grad():
        tensor.zero_()
    batch.objectives.sum().backward()
    assert tensor.grad.abs().max() > 0
    (again,) = traced(kernels)
    first = srnc.solve_batch(again, 8, stable_rank_fraction=fractions).objectives.sum()
    (gradient,) = torch.autograd.grad(first, again, create_graph=True)
    torch.testing.assert_close(gradient, tensor.grad, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="once_differentiable|does not require grad"):
        gradient.sum().backward()


def hard():
    """An antisymmetric kernel of one channel, whose solution and its mirror image are at zero frequency."""
    problem = srnc.partway([1.0, 0.4, 0.0, -0.4, -1.0], 9, 0.5)
    result = srnc.solve(problem)
    assert (len(result.alternatives), result.details["blocks"]) == (1, [0])
    return problem.kernel, 9, problem.stable_rank, "mirror image"


def flat():
    """With several channels: a continuum of such solutions."""
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3))
    problem = srnc.partway(kernel - kernel[..., ::-1], 9, 0.5)
    assert srnc.solve(problem).details["blocks"] == [0]
    return problem.kernel, 9, problem.stable_rank, "to second order"


WITHOUT = {
    "two frequencies": lambda: (np.array([1.0, 0, 0]), 64, 32.0, "other frequencies are tied"),
    "the hard case": hard,
    "a continuum": flat,
    "the least target": lambda: (np.array([1.0, 0.2, 0.5]), 9, 3.0, "single point"),
    "its own target": lambda: (np.array([1.0, 0.2, 0.5]), 9, srnc.stable_rank([1.0, 0.2, 0.5], 9), "target already"),
}


@pytest.mark.parametrize("case", sorted(WITHOUT))
def test_where_there_is_no_derivative_it_is_an_error_or_nan(case):
    kernel, size, target, message = WITHOUT[case]()
    rng = np.random.default_rng(0)
    plain = rng.standard_normal(kernel.shape)
    targets = [srnc.partway(plain, size, 0.5).stable_rank, target]

    def batch_of(**options):
        tensors = traced(np.stack([plain, kernel]), np.array(targets))
        return *tensors, srnc.solve_batch(tensors[0], size, stable_rank=tensors[1], **options)

    kernels, ranks, batch = batch_of()
    with pytest.raises(ValueError, match=rf"kernels\[1\]: its solution has no derivative: .*{message}.*at_ties='nan'"):
        batch.kernels.sum().backward()
    # Nothing is asked of a kernel whose solution is not used.
    kernels, ranks, batch = batch_of()
    batch.kernels[0].sum().backward()
    assert not torch.any(kernels.grad[1])
    alone = kernels.grad[0], ranks.grad[0]
    kernels, ranks, batch = batch_of(at_ties="nan")
    batch.kernels.sum().backward()
    assert torch.isnan(kernels.grad[1]).all()
    assert torch.isnan(ranks.grad[1])
    torch.testing.assert_close((kernels.grad[0], ranks.grad[0]), alone, rtol=0, atol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_mirror_images_of_atoms_of_several_channels(sign):
    rng = np.random.default_rng(0)
    geometry = Geometry.of((2, 2, 4), 9)
    direction = rng.standard_normal((2, 2, 4))
    pair = rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2))
    pair[0] = pair[0].real if sign < 0 else pair[0]
    w = np.outer(*(pair / np.linalg.norm(pair, axis=1, keepdims=True)))
    (atom,) = atoms.synthesis(w[None], np.array([2]), geometry)

    def tied(direction):
        direction = direction / np.linalg.norm(direction)
        level = 0.9 * np.linalg.norm(atom)
        return has_mirror_image(direction, atoms.nearest_in_cap(direction, atom, level), w, 2, geometry)

    direction = direction + atom
    assert not tied(direction)
    assert tied(direction + sign * direction[..., ::-1])


def test_the_kernel_s_own_norm_matters_only_for_its_own_gradient():
    # Two groups of one spectral norm, but the atoms of the first are longer where it has it: only that one is changed.
    kernel = np.array([[[1.0, 0.9, 1.1]], [[1.0, -0.2, -0.7]]])
    kernel[1] *= srnc.spectral_norm(kernel[0, 0], 9) / srnc.spectral_norm(kernel[1, 0], 9)
    problem = srnc.partway(kernel, 9, 0.5, groups=2)
    kernels, targets = traced(kernel[None], np.array([problem.stable_rank]))
    srnc.solve_batch(kernels.detach(), 9, stable_rank=targets, groups=2).objectives.sum().backward()
    slope = srnc.sensitivity(problem, srnc.solve(problem)).objective_by_stable_rank
    assert float(targets.grad) == pytest.approx(slope, rel=1e-9)  # the same solution, to rounding
    batch = srnc.solve_batch(kernels, 9, stable_rank=targets, groups=2)
    with pytest.raises(ValueError, match=r"kernels\[0\]: .*its spectral norm is not differentiable"):
        batch.objectives.sum().backward()


def test_targets_that_were_clipped_do_not_move():
    kernels, targets = traced(np.random.default_rng(0).standard_normal((3, 3)), np.array([8.0, 4.0, 9.0]))
    batch = srnc.solve_batch(kernels, 8, stable_rank=targets, clip=True)
    stays = batch.clipped
    assert stays[2]
    assert torch.all(batch.objectives[stays] < 1e-20)  # all targets that are not feasible lie above the kernels' own
    upwards = torch.tensor(np.random.default_rng(1).standard_normal((3, 3)))
    by_kernel, by_target = torch.autograd.grad(batch.kernels[stays], (kernels, targets), upwards[stays])
    torch.testing.assert_close(by_kernel[stays], upwards[stays])  # such kernels stay as they are
    assert not torch.any(by_target)


def test_gradients_that_are_not_finite_stay_so():
    kernels, fractions = traced(*given(LAYOUTS[0], "stable_rank_fraction"))
    batch = srnc.solve_batch(kernels, 9, stable_rank_fraction=fractions)
    upwards = torch.ones_like(batch.kernels)
    upwards[0, 0] = np.nan
    batch.kernels.backward(upwards)
    assert torch.isnan(kernels.grad[0]).all()
    assert torch.isfinite(kernels.grad[1]).all()


def test_what_cannot_carry_gradients_is_refused():
    kernels, fractions = given(LAYOUTS[0], "stable_rank_fraction")
    with pytest.raises(
        TypeError, match="kernels: an array of numpy given, expected a tensor, since stable_rank_fraction"
    ):
        srnc.solve_batch(kernels, 9, stable_rank_fraction=torch.tensor(fractions, requires_grad=True))
    with pytest.raises(ValueError, match="at_ties: 'zero' given, expected 'raise' or 'nan'"):
        srnc.solve_batch(kernels, 9, stable_rank_fraction=fractions, at_ties="zero")
