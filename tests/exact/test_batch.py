"""Many kernels at once against one by one."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.exact import batch, reduce
from srnc_manifold.exact.reduce import rank_one
from srnc_manifold.operators import atoms
from srnc_manifold.operators.geometry import Geometry

LAYOUTS = [
    ((3,), 16, {}),
    ((4,), 9, {"dilation": 2}),
    ((3, 3), (6, 5), {}),
    ((1, 3, 3), 8, {}),
    ((4, 1, 3), 8, {"groups": 4, "stride": 2}),
    ((2, 1, 3, 3), (6, 8), {"groups": 2, "stride": (3, 2)}),
    ((2, 2, 3), 7, {}),
    ((4, 2, 3), 6, {"groups": 2}),
    ((3, 2, 3), 8, {"stride": 2, "dilation": 3}),
    ((3, 4), (), {}),
]
# The numbers of both are compared layout by layout elsewhere.
WITH_LIBRARIES = [*(("numpy", layout) for layout in LAYOUTS), *some([("torch", layout) for layout in LAYOUTS[::-1]], 4)]
LIBRARIES = {"numpy": np.array, "torch": torch.tensor}
# Where blocks have several rows and columns, both searches end within 1e-9 of ‖C(a)‖², or with the same gap.
AGREEMENT = 1e-8


@pytest.fixture(scope="module", autouse=True)
def tensors_as_on_a_device():
    """Tensors here stand for ones on a device: those in the host's memory are solved in NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(namespace("torch")), "is_remote", lambda *_: True)
        yield


def kernels_of(rng, shape, count):
    kernels = rng.standard_normal((count, *shape))
    for k in range(1, count, 3):
        kernels[k] = kernels[k] + rng.choice([-1, 1]) * np.flip(kernels[k])
        if not np.any(kernels[k]):
            kernels[k] = 1.0
    return kernels * 10.0 ** rng.uniform(-2, 2, (count, *[1] * len(shape)))


def targets_of(rng, kernels, size, layout):
    own = np.array([srnc.stable_rank(kernel, size, **layout) for kernel in kernels])
    low = Geometry.of(kernels.shape[1:], size, **layout).stable_rank_range[0]
    return low + rng.uniform(0.05, 0.95, len(own)) * (own - low)


def as_numpy(x):
    return x.numpy() if isinstance(x, torch.Tensor) else x


def assert_as_one_by_one(found, kernels, size, targets, layout, agreement=AGREEMENT, precision=1e-9):
    for k, (kernel, target) in enumerate(zip(kernels, targets, strict=True)):
        problem = srnc.SRNProblem(kernel, size, stable_rank=target, **layout)
        alone = srnc.solve(problem)
        unit = problem.squared_norm
        scores = problem.evaluate(as_numpy(found.kernels[k]))
        assert scores.violation < precision
        assert scores.objective == pytest.approx(alone.evaluation.objective, abs=agreement * unit)
        assert float(found.objectives[k]) == pytest.approx(alone.evaluation.objective, abs=agreement * unit)
        assert float(found.bounds[k]) == pytest.approx(alone.bound.objective, abs=agreement * unit)
        assert float(found.bounds[k]) <= alone.evaluation.objective + 1e-11 * unit  # rounding
        assert float(found.stable_ranks[k]) == pytest.approx(target, rel=1e-14)
        gap = (float(found.objectives[k]) - float(found.bounds[k])) / unit
        assert float(found.gaps[k]) == pytest.approx(gap, abs=1e-13)  # a difference of numbers of size one


@given(st.sampled_from(LAYOUTS), st.integers(0, 2**31), st.sampled_from(sorted(LIBRARIES)))
def test_a_batch_is_as_one_by_one(layout, seed, library):
    shape, size, options = layout
    rng = np.random.default_rng(seed)
    kernels = kernels_of(rng, shape, 4)
    targets = targets_of(rng, kernels, size, options)
    found = srnc.solve_batch(LIBRARIES[library](kernels), size, stable_rank=targets, **options)
    assert len(found) == 4
    assert found.kernels.shape == kernels.shape
    for values in (found.kernels, found.stable_ranks, found.objectives, found.bounds, found.gaps):
        assert isinstance(values, torch.Tensor if library == "torch" else np.ndarray)
        assert str(values.dtype).endswith("float64")
    assert_as_one_by_one(found, kernels, size, targets, options)


@pytest.mark.parametrize("name", ["stable_rank", "relative_stable_rank", "stable_rank_fraction"])
@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_one_target_or_one_for_each_kernel(name, shape, kind):
    rng = np.random.default_rng(0)
    kernels = kernels_of(rng, shape, 4)
    own = np.array([srnc.stable_rank(kernel, 12) for kernel in kernels])
    low, high = Geometry.of(shape, 12).stable_rank_range
    unit = {"stable_rank": np.ones(4), "relative_stable_rank": np.full(4, high), "stable_rank_fraction": own}[name]
    each = (low + np.linspace(0.2, 0.8, 4) * (own - low)) / unit
    many = srnc.solve_batch(kernels, 12, **{name: kind(each)})
    np.testing.assert_allclose(many.stable_ranks, each * unit, rtol=1e-14)  # one product
    assert_as_one_by_one(many, kernels, 12, each * unit, {})
    one = float(np.max(low / unit) * 0.9 + np.min(own / unit) * 0.1)
    same = srnc.solve_batch(kernels, 12, **{name: one})
    np.testing.assert_allclose(same.stable_ranks, one * unit, rtol=1e-14)
    assert_as_one_by_one(same, kernels, 12, one * unit, {})


@pytest.mark.parametrize("library", sorted(LIBRARIES))
@pytest.mark.parametrize("shape", [(3, 3), (2, 2, 3)])
def test_single_precision_in_single_precision_out(library, shape):
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((5, *shape)).astype(np.float32)
    targets = targets_of(rng, kernels.astype(float), 8, {})
    found = srnc.solve_batch(LIBRARIES[library](kernels), 8, stable_rank=targets)
    doubles = srnc.solve_batch(kernels.astype(float), 8, stable_rank=targets)
    assert str(found.kernels.dtype).endswith("float32")
    assert str(found.objectives.dtype).endswith("float64")
    # Rounded once, at the end.
    np.testing.assert_allclose(as_numpy(found.kernels), doubles.kernels, atol=1e-5 * np.max(np.abs(kernels)))
    np.testing.assert_allclose(as_numpy(found.kernels), doubles.kernels.astype(np.float32), atol=1e-6)
    # Scored as they are returned: rounded.
    for kernel, solved, target, objective, violation in zip(
        kernels, found.kernels, targets, found.objectives, found.violations, strict=True
    ):
        scores = srnc.SRNProblem(kernel, 8, stable_rank=target).evaluate(solved)
        assert float(objective) == pytest.approx(scores.objective, rel=1e-12)
        assert float(violation) == pytest.approx(scores.violation, abs=1e-14)
        assert 0 < violation < 1e-6


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_comes_out_in_single(dtype):
    kernels = torch.tensor(np.random.default_rng(0).standard_normal((3, 4))).to(getattr(torch, dtype))
    found = srnc.solve_batch(kernels, 9, stable_rank_fraction=0.8)
    doubles = srnc.solve_batch(kernels.double(), 9, stable_rank_fraction=0.8)
    assert found.kernels.dtype == torch.float32
    np.testing.assert_allclose(found.kernels.numpy(), doubles.kernels.numpy(), atol=1e-6)  # rounded once


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_integers(library):
    kernels = np.array([[1, 0, 2], [3, -1, 1], [100, 7, -20]])
    found = srnc.solve_batch(LIBRARIES[library](kernels), 8, stable_rank_fraction=0.9)
    own = np.array([srnc.stable_rank(kernel, 8) for kernel in kernels])
    assert str(found.kernels.dtype).endswith("float64")
    assert_as_one_by_one(found, kernels.astype(float), 8, 0.9 * own, {})


def test_lists_are_kernels_too():
    found = srnc.solve_batch([[1.0, 0.5, 2.0], [3.0, -1.0, 1.0]], 8, stable_rank_fraction=0.9)
    again = srnc.solve_batch(np.array([[1.0, 0.5, 2.0], [3.0, -1.0, 1.0]]), 8, stable_rank_fraction=0.9)
    np.testing.assert_array_equal(found.kernels, again.kernels)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_kernels_that_have_their_target_already_stay_as_they_are(layout):
    shape, size, options = layout
    kernels = np.random.default_rng(0).standard_normal((3, *shape))
    found = srnc.solve_batch(kernels, size, stable_rank_fraction=1.0, **options)
    np.testing.assert_allclose(found.kernels, kernels, rtol=1e-12)  # the norm's rounding
    units = Geometry.of(shape, size, **options).n_points * np.sum(kernels.reshape(3, -1) ** 2, axis=1)
    np.testing.assert_allclose(found.objectives / units, 0, atol=1e-13)


@pytest.mark.parametrize(("library", "layout"), WITH_LIBRARIES, ids=str)
def test_certificates_of_a_batch_are_verified_as_those_of_single_solutions(layout, library):
    shape, size, options = layout
    kernels = kernels_of(np.random.default_rng(3), shape, 7)
    targets = targets_of(np.random.default_rng(3), kernels, size, options)
    targets[2] = srnc.stable_rank(kernels[2], size, **options)  # one that stays as it is
    geometry = Geometry.of(shape, size, **options)
    memory = 3 * reduce.bytes_per_kernel(geometry)
    found = srnc.solve_batch(LIBRARIES[library](kernels), size, stable_rank=targets, max_memory=memory, **options)
    for k, target in enumerate(targets):
        problem = srnc.SRNProblem(kernels[k], size, stable_rank=target, **options)
        bound = found.bound(k)
        assert bound.objective == float(found.bounds[k])
        # The same certificate, of a direction that was scaled in another way: rounding.
        assert bound.verify(problem) == pytest.approx(bound.objective, abs=1e-12 * problem.squared_norm)
    assert found.bound(-1).objective == found.bound(6).objective
    with pytest.raises(IndexError):
        found.bound(7)


def extreme_kernels(rng, shape, size, options):
    """Kernels at the ends of the feasible range and within it: of every kind one."""
    geometry = Geometry.of(shape, size, **options)
    channels, taps = geometry.channels, geometry.taps
    members = (geometry.groups, channels[0] // geometry.groups, channels[1], *taps)
    flat = np.zeros(members)
    u, v = rng.standard_normal(members[1]), rng.standard_normal(members[2])
    largest = np.argmax(geometry.taps_per_phase)
    flat[0].reshape(*members[1:3], -1)[..., geometry.phase_of_tap == largest] = np.outer(u, v)[..., None]
    noise = rng.standard_normal(shape)
    delta = atoms.nearest_delta(noise, geometry)
    flat = flat.reshape(shape)
    return np.stack([noise, flat, flat + 1e-7 * noise, delta, delta + 1e-6 * noise, np.round(noise)])


@pytest.mark.parametrize("layout", [*LAYOUTS, ((5, 5), (), {}), ((2, 3, 2, 2, 2), (2, 3, 2), {})], ids=str)
@pytest.mark.parametrize("library", sorted(LIBRARIES))
@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 13), marks=slow)], ids=str)
def test_own_and_almost_own_targets_are_scored_by_a_dense_operator(layout, library, seeds, dense):
    shape, size, options = layout
    geometry = Geometry.of(shape, size, **options)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kernels = extreme_kernels(rng, shape, size, options)
        kernels[~np.any(kernels.reshape(len(kernels), -1), axis=1)] = 1.0
        own = np.array([srnc.stable_rank(kernel, size, **options) for kernel in kernels])
        below = 10.0 ** rng.uniform(-17, -2, len(kernels)) if seed else 0.0
        targets = np.maximum(own * (1 - below), geometry.stable_rank_range[0])
        found = srnc.solve_batch(LIBRARIES[library](kernels), size, stable_rank=targets, **options)
        for k, target in enumerate(targets):
            a = dense(kernels[k], geometry.input_size, **options)
            x = dense(as_numpy(found.kernels[k]), geometry.input_size, **options)
            norm, new, unit = np.linalg.norm(a, 2), np.linalg.norm(x, 2), np.linalg.norm(a) ** 2
            rank_error = abs(np.linalg.norm(x) ** 2 / new**2 / target - 1)
            violation = max(rank_error, abs(new / norm - 1))
            # Norms of matrices of a few hundred rows: hundreds of ulps. The second one is the search's own accuracy.
            assert float(found.violations[k]) == pytest.approx(violation, abs=1e-13)
            assert violation < 1e-9
            assert float(found.objectives[k]) == pytest.approx(np.sum((x - a) ** 2), abs=1e-13 * unit)
            # Where nothing is proved there is an honest gap, but nothing claims to be better than it is.
            assert float(found.bounds[k]) <= np.sum((x - a) ** 2) + 1e-9 * unit
            assert float(found.gaps[k]) < AGREEMENT


@pytest.mark.parametrize(("library", "layout"), WITH_LIBRARIES, ids=str)
def test_parts_of_a_batch_are_solved_as_the_whole(layout, library, monkeypatch):
    shape, size, options = layout
    rng = np.random.default_rng(1)
    kernels = kernels_of(rng, shape, 7)
    targets = targets_of(rng, kernels, size, options)
    given = LIBRARIES[library](kernels)
    whole = srnc.solve_batch(given, size, stable_rank=targets, **options)
    geometry = Geometry.of(shape, size, **options)
    alone = [
        srnc.solve(srnc.SRNProblem(kernel, size, stable_rank=target, **options))
        for kernel, target in zip(kernels, targets, strict=True)
    ]
    for at_once in (1, 3):
        chunks, solve_chunk = [], batch._solve_chunk

        def counted(part, *args, chunks=chunks, solve_chunk=solve_chunk):
            chunks.append(len(part))
            return solve_chunk(part, *args)

        with monkeypatch.context() as patch:
            memory = at_once * reduce.bytes_per_kernel(geometry)
            patch.setattr(batch, "_solve_chunk", counted)
            parts = srnc.solve_batch(given, size, stable_rank=targets, max_memory=memory, **options)
        assert chunks == {1: [1] * 7, 3: [3, 3, 1]}[at_once]
        # Products of other shapes are summed in another order, which also chooses between minimizers that are tied.
        for k, part in enumerate(as_numpy(parts.kernels)):
            minimizers = [as_numpy(whole.kernels)[k], alone[k].kernel, *alone[k].alternatives]
            assert min(np.max(np.abs(part - x)) for x in minimizers) <= 1e-6 * np.max(np.abs(kernels[k]))
        np.testing.assert_allclose(as_numpy(parts.objectives), as_numpy(whole.objectives), rtol=1e-8)
        np.testing.assert_allclose(as_numpy(parts.stable_ranks), targets, rtol=1e-14)


@pytest.mark.parametrize("library", sorted(LIBRARIES))
@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
def test_kernels_of_all_sizes_in_one_batch(library, shape):
    rng = np.random.default_rng(2)
    kernels = rng.standard_normal((7, *shape))
    targets = targets_of(rng, kernels, 8, {})
    powers = 10.0 ** np.array([-150, -100, -3, 0, 8, 100, 150.0]).reshape(-1, *[1] * len(shape))
    one = srnc.solve_batch(kernels, 8, stable_rank=targets)
    found = srnc.solve_batch(LIBRARIES[library](kernels * powers), 8, stable_rank=targets)
    # The answer scales with the kernel, to what the rounding of the scaled kernels leaves.
    np.testing.assert_allclose(as_numpy(found.kernels) / powers, one.kernels, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(as_numpy(found.objectives) / powers.ravel() ** 2, one.objectives, rtol=1e-9)
    np.testing.assert_allclose(as_numpy(found.gaps), one.gaps, atol=1e-9)


GOOD = np.random.default_rng(0).standard_normal((4, 3))


def bad_at(k, value):
    kernels = GOOD.copy()
    kernels[k] = value
    return kernels


@pytest.mark.parametrize("library", sorted(LIBRARIES))
@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (bad_at(2, [1, np.nan, 1]), r"kernels\[2\]: some entries are NaN or infinite"),
        (bad_at(3, [1, np.inf, 1]), r"kernels\[3\]: some entries are NaN or infinite"),
        (bad_at(1, 0.0), r"kernels\[1\]: all entries are zero"),
        (np.zeros((0, 3)), r"shape \(0, 3\) given, expected at least one kernel"),
        (np.zeros((4, 0)), r"shape \(4, 0\) given"),
        (np.array(1.0), r"shape \(\) given"),
        (np.ones((2, 9)), "9,.* taps are more than the input has points"),
    ],
)
def test_bad_kernels_are_named(library, kernels, message):
    with pytest.raises(ValueError, match=message):
        srnc.solve_batch(LIBRARIES[library](kernels), 8, stable_rank_fraction=0.9)


@pytest.mark.parametrize("library", sorted(LIBRARIES))
@pytest.mark.parametrize("dtype", [complex, bool])
def test_other_numbers_are_refused(library, dtype):
    with pytest.raises(TypeError, match="expected real numbers"):
        srnc.solve_batch(LIBRARIES[library](np.ones((2, 3), dtype)), 8, stable_rank_fraction=0.9)


@pytest.mark.parametrize("kernels", [np.array([["a", "b"]]), np.array([[None, 1.0]], object)])
def test_what_is_no_number_is_refused(kernels):
    with pytest.raises(TypeError, match="expected real numbers"):
        srnc.solve_batch(kernels, 8, stable_rank_fraction=0.9)


def test_the_layout_is_checked():
    with pytest.raises(ValueError, match="groups"):
        srnc.solve_batch(np.ones((2, 3, 1, 3)), 8, stable_rank_fraction=0.9, groups=2)
    with pytest.raises(ValueError, match="stride"):
        srnc.solve_batch(GOOD, 8, stable_rank_fraction=0.9, stride=3)
    with pytest.raises(ValueError, match="axes"):
        srnc.solve_batch(GOOD, (8, 8), stable_rank_fraction=0.9)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ({}, ValueError, "expected exactly one of stable_rank, .*none given"),
        ({"stable_rank": 3.0, "stable_rank_fraction": 0.5}, ValueError, "expected exactly one of"),
        ({"stable_rank": [3.0, 3.0]}, ValueError, r"stable_rank: shape \(2,\) given, .* 4 kernels"),
        ({"stable_rank": [[3.0] * 4]}, ValueError, r"stable_rank: shape \(1, 4\) given"),
        ({"stable_rank": "many"}, TypeError, "stable_rank: 'many' given, expected a real number"),
        ({"stable_rank_fraction": [1, 2, 3, {}]}, TypeError, "expected a real number or a sequence"),
    ],
)
def test_targets_are_checked(target, error, message):
    with pytest.raises(error, match=message):
        srnc.solve_batch(GOOD, 8, **target)


@pytest.mark.parametrize("name", ["stable_rank", "relative_stable_rank", "stable_rank_fraction"])
@pytest.mark.parametrize("value", ["low", "high", np.nan, np.inf, -1.0])
@pytest.mark.parametrize("memory", [None, 1])
def test_an_infeasible_target_names_the_kernel_and_its_range(name, value, memory):
    own = np.array([srnc.stable_rank(kernel, 8) for kernel in GOOD])
    low, high = Geometry.of((3,), 8).stable_rank_range
    unit = {"stable_rank": np.ones(4), "relative_stable_rank": np.full(4, high), "stable_rank_fraction": own}[name]
    values = 0.5 * (low + own) / unit
    values[2] = {"low": 0.99 * low / unit[2], "high": 1.01 * own[2] / unit[2]}.get(value, value)
    with pytest.raises(ValueError, match=rf"{name}: .* given for kernels\[2\]") as caught:
        srnc.solve_batch(GOOD, 8, **{name: values}, max_memory=memory)
    least, most = (f"{number / unit[2]:.6g}" for number in (low, own[2]))
    assert f"expected {least} <= {name} <= {most}" in str(caught.value)
    assert re.search(rf"own stable rank is {own[2]:.6g}", str(caught.value))


def test_raising_is_left_to_solve():
    own = max(float(srnc.stable_rank(kernel, 8)) for kernel in GOOD)
    with pytest.raises(ValueError, match=r"solve\(\) also raise"):
        srnc.solve_batch(GOOD, 8, stable_rank=0.5 * (own + 8))


def test_autograd_s_arrays_are_refused():
    import autograd

    with pytest.raises(TypeError, match="autograd"):
        autograd.grad(lambda x: srnc.solve_batch(x, 8, stable_rank_fraction=0.9).objectives[0])(GOOD)


def test_tensors_that_need_gradients_are_solved_as_others():  # their gradients: test_gradients.py
    kernels = torch.tensor(GOOD, requires_grad=True)
    found = srnc.solve_batch(kernels, 8, stable_rank_fraction=0.9)
    assert found.kernels.requires_grad
    expected = srnc.solve_batch(GOOD, 8, stable_rank_fraction=0.9)
    np.testing.assert_allclose(found.kernels.detach().numpy(), expected.kernels, atol=1e-12)  # the same sums


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_batch_does_not_die_of_one_kernel(library):
    kernels = np.random.default_rng(0).standard_normal((300, 3))
    with pytest.raises(ValueError, match=r"or clip=True"):
        srnc.solve_batch(kernels, 16, stable_rank_fraction=0.6)
    batch = srnc.solve_batch(LIBRARIES[library](kernels), 16, stable_rank_fraction=0.6, clip=True)
    clipped = np.asarray(batch.clipped)
    assert 0 < np.sum(clipped) < 300
    for k in [*np.flatnonzero(clipped)[:5], *np.flatnonzero(~clipped)[:5]]:
        problem = srnc.SRNProblem(kernels[k], 16, stable_rank_fraction=0.6, clip=True)
        assert problem.clipped == clipped[k]
        assert float(batch.stable_ranks[k]) == pytest.approx(problem.stable_rank, rel=1e-12)
        result = srnc.solve(problem)
        assert result.evaluation.objective == pytest.approx(float(batch.objectives[k]), rel=1e-6)
        assert problem.evaluate(np.asarray(batch.kernels[k])).violation < 1e-7
    above = srnc.solve_batch(kernels, 16, stable_rank=15.9, clip=True)  # kernels keep their own stable rank
    stay = above.clipped
    np.testing.assert_allclose(above.kernels[stay], kernels[stay], rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS[:6], ids=str)
@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_choosing_among_blocks_by_their_norms_changes_nothing(layout, library, monkeypatch):
    shape, size, options = layout
    rng = np.random.default_rng(4)
    kernels = kernels_of(rng, shape, 60)
    targets = targets_of(rng, kernels, size, options)
    found = []
    for many in (10**9, 0):  # all blocks; those that may hold the nearest points
        with monkeypatch.context() as patch:
            patch.setattr(rank_one, "_MANY", many)
            found.append(srnc.solve_batch(LIBRARIES[library](kernels), size, stable_rank=targets, **options))
    whole, chosen = found
    scale = np.sum(kernels.reshape(60, -1) ** 2, axis=1) * Geometry.of(shape, size, **options).n_points
    for name in ("objectives", "bounds"):
        np.testing.assert_allclose(
            as_numpy(getattr(chosen, name)) / scale, as_numpy(getattr(whole, name)) / scale, atol=1e-13
        )
    assert len(chosen.certificate.blocks) < len(whole.certificate.blocks)


def test_progress_is_told_and_memory_is_checked():
    kernels, told = np.random.default_rng(0).standard_normal((10, 3)), []
    geometry = Geometry.of((3,), 16)
    memory = 4 * reduce.bytes_per_kernel(geometry)
    args = {"stable_rank_fraction": 0.9, "clip": True}
    srnc.solve_batch(kernels, 16, **args, max_memory=memory, progress=lambda *numbers: told.append(numbers))
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert len(srnc.solve_batch(kernels, 16, **args, max_memory="1.5 GiB")) == 10
    for wrong, error in (
        (0, ValueError),
        ("much", ValueError),
        ("1 PiB", ValueError),
        (1.5, TypeError),
        (True, TypeError),
    ):
        with pytest.raises(error, match=r"max_memory: .* given, expected a number of bytes or a text such as '1GiB'"):
            srnc.solve_batch(kernels, 16, **args, max_memory=wrong)


def test_certificates_of_one_channel_hold_no_empty_columns():
    """They are most of what a large result takes in memory."""
    kernels = np.random.default_rng(0).standard_normal((10, 3, 3))
    at_once = 3 * reduce.bytes_per_kernel(Geometry.of((3, 3), 16))
    found = srnc.solve_batch(kernels, 16, stable_rank_fraction=0.9, clip=True, max_memory=at_once)
    assert found.certificate.parameters is None
    assert found.certificate.of(found.owners == 3).parameters is None
    assert "parameters" not in found.bound(3).certificate
