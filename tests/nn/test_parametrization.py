"""Stable rank normalization in training: exact where it has converged, and a parametrization like PyTorch's own."""

import copy
import io
import math
import warnings

import numpy as np
import pytest
import torch
from normalized_layers import CASES, NAMES, inputs, normalized, numbers, random_like, seeded
from tiers import slow, some
from torch import nn as layers
from torch.nn.utils import parametrize

import srnc_manifold as srnc
from srnc_manifold import nn
from srnc_manifold.exact.reduce.general import Alternation


@pytest.mark.parametrize(("make", "size", "layout"), some(CASES), ids=NAMES)
def test_norm_and_stable_rank_are_the_operator_s(make, size, layout, dense):
    raw, module = seeded(make), normalized(make, size)
    norm, rank = numbers(raw.weight, size, dense, layout)
    target = float(module.parametrizations.weight[0].target)
    least = srnc.Geometry.of(raw.weight.shape, size, **layout).stable_rank_range[0]
    assert target == pytest.approx(max(0.7 * rank, least), rel=1e-5)  # of the norm after 15 power steps
    assert numbers(module.weight, size, dense, layout) == pytest.approx((norm, target), rel=1e-5)  # likewise
    for _ in range(60):
        module(inputs(module, size))
    assert numbers(module.weight, size, dense, layout) == pytest.approx((norm, target), rel=1e-9)
    result = nn.certify(module)
    assert result.result.status is srnc.Status.CONVERGED
    module.eval()
    assert numbers(module.weight, size, dense, layout) == pytest.approx((norm, target), rel=1e-12)
    np.testing.assert_allclose(module.weight.detach().numpy(), result.result.kernel, atol=1e-12)


@pytest.mark.parametrize(("make", "size", "layout"), some(CASES), ids=NAMES)
def test_a_pair_without_a_cap_is_left(make, size, layout, dense):
    """At the least stable rank few pairs have one. A layer that followed another one stayed there for ever."""
    least = srnc.Geometry.of(seeded(make).weight.shape, size, **layout).stable_rank_range[0]
    module = normalized(make, size, stable_rank_fraction=None, stable_rank=least)
    part, norm = module.parametrizations.weight[0], numbers(seeded(make).weight, size, dense, layout)[0]
    for place in range(len(part.raw.blocks)):
        with torch.no_grad():
            part.result.start_as(part.raw, part.iteration, module.parametrizations.weight.original)
            part.result.sizes[place] *= 1e3
            part.result.gradient.copy_(part.iteration.gradient(part.result.top()))
        for _ in range(60):
            module(inputs(module, size))
        found = numbers(module.weight, size, dense, layout)
        assert found == pytest.approx((norm, least), rel=1e-6)  # of the norm of the raw weight


@pytest.mark.parametrize(("make", "size", "layout"), some(CASES), ids=NAMES)
@pytest.mark.parametrize("goal", ["stable_rank", "relative_stable_rank"])
def test_other_ways_to_give_the_target(make, size, layout, goal, dense):
    raw = seeded(make)
    rank = numbers(raw.weight, size, dense, layout)[1]
    highest = srnc.Geometry.of(raw.weight.shape, size, **layout).stable_rank_range[1]
    value = 0.9 * rank / (highest if goal == "relative_stable_rank" else 1.0)
    module = normalized(make, size, stable_rank_fraction=None, **{goal: value})
    assert float(module.parametrizations.weight[0].target) == pytest.approx(0.9 * rank)


def test_a_weight_below_the_target_is_left_bitwise_alone():
    make, size, _ = CASES[0]
    module = normalized(make, size, stable_rank_fraction=1.0)
    raw = seeded(make).weight
    assert torch.equal(module.weight, raw)
    with torch.no_grad():  # almost all of it is at one frequency
        module.parametrizations.weight.original.mul_(0.01).add_(1.0)
    for _ in range(5):
        module(inputs(module, size))
    assert torch.equal(module.weight, module.parametrizations.weight.original)


@pytest.mark.parametrize("norm", [0.5, 50.0])
def test_a_spectral_norm_is_set(norm, dense):
    make, size, layout = CASES[0]
    module = normalized(make, size, spectral_norm=norm)
    nn.certify(module)
    found = numbers(module.weight, size, dense, layout)
    assert found == pytest.approx((norm, float(module.parametrizations.weight[0].target)), rel=1e-10)
    free = normalized(make, size, spectral_norm=norm, stable_rank_fraction=1.0).eval()
    assert numbers(free.weight, size, dense, layout)[0] == pytest.approx(norm, rel=1e-5)  # of 15 power steps


def test_the_size_is_learned_from_the_first_forward(dense):
    make, size, layout = CASES[0]
    module = seeded(make)
    raw = module.weight.detach().clone()
    assert nn.stable_rank_norm(module, stable_rank_fraction=0.7) is module
    assert torch.equal(module.weight, raw)
    clone = copy.deepcopy(module)
    for some_module in (module, clone):
        some_module(inputs(module, size))
        assert tuple(some_module.parametrizations.weight[0].input_size.tolist()) == size
        nn.certify(some_module)
        rank, target = (
            numbers(some_module.eval().weight, size, dense, layout)[1],
            0.7 * numbers(raw, size, dense, layout)[1],
        )
        assert rank == pytest.approx(float(some_module.parametrizations.weight[0].target), rel=1e-10)
        assert rank == pytest.approx(target, rel=1e-5)


def test_fractions_of_the_current_weight_follow_it(dense):
    make, size, layout = CASES[0]
    module = normalized(make, size, fraction_of="current")
    for _ in range(3):
        with torch.no_grad():
            module.parametrizations.weight.original.add_(torch.randn(4, 3, 3, 3, dtype=torch.float64))
        nn.certify(module)
        own, found = (
            numbers(weight, size, dense, layout)[1]
            for weight in (module.parametrizations.weight.original, module.eval().weight)
        )
        assert found == pytest.approx(0.7 * own, rel=1e-10)


def slope_of(module, weights):
    """Of a linear function of the weight, by the raw weight."""
    raw = module.parametrizations.weight.original
    (found,) = torch.autograd.grad((module.weight * weights).sum(), raw)
    return found


@pytest.mark.parametrize("gradient", ["detached", "one-step", "implicit"])
@pytest.mark.parametrize(("make", "size", "layout"), some(CASES[:3]), ids=NAMES[:3])
def test_gradients_against_those_of_the_explicit_solution(make, size, layout, gradient):
    module = normalized(make, size, gradient=gradient, stable_rank_fraction=0.9)
    nn.certify(module)
    module.eval()
    raw = module.parametrizations.weight.original
    weights = random_like(raw, 2)
    found = slope_of(module, weights)
    target = float(module.parametrizations.weight[0].target)
    kernels = raw.detach()[None].clone().requires_grad_()
    solved = srnc.solve_batch(kernels, size, stable_rank=target, **layout)
    (expected,) = torch.autograd.grad((solved.kernels[0] * weights).sum(), kernels)
    error = torch.linalg.vector_norm(found - expected[0]) / torch.linalg.vector_norm(expected)
    # What the change of the atom contributes is left out, or taken from one power step, or solved for.
    assert error < {"detached": 0.2, "one-step": 0.1, "implicit": 1e-8}[gradient]


@pytest.mark.parametrize("of", ["initial", "current"])
@pytest.mark.parametrize(
    "make",
    [lambda: layers.Conv2d(3, 4, 3, padding=1), lambda: layers.Conv2d(3, 4, 3, padding=1, padding_mode="circular")],
    ids=["zeros", "circular"],
)
def test_implicit_gradients_against_differences(make, of):
    module = normalized(make, (6, 5), gradient="implicit", stable_rank_fraction=0.8, fraction_of=of)
    raw = module.parametrizations.weight.original
    weights, direction = random_like(raw, 2), random_like(raw, 3)

    module.eval()
    part = module.parametrizations.weight[0]

    def settled(steps=50):
        """By the top pairs of the results, one after another: solutions of padded layers are not as exact as these."""
        part.raw.settle(part.iteration, raw.detach().numpy())
        for _ in range(steps):
            part.result.settle(part.iteration, module.weight.detach().numpy())
        return float((module.weight.detach() * weights).sum())

    settled()
    found = float((slope_of(module, weights) * direction).sum())
    values, step = [], 1e-4
    for sign in (1, -1):
        with torch.no_grad():
            raw.add_(sign * step * direction)
        values.append(settled())
        with torch.no_grad():
            raw.sub_(sign * step * direction)
    # Central differences are off by the third derivative times the square of the step.
    assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6)


def test_a_linear_system_that_is_not_solved_is_told(monkeypatch):
    from srnc_manifold.nn import differentiation

    monkeypatch.setattr(differentiation, "_MOST_PRODUCTS", 1)
    module = normalized(CASES[0][0], CASES[0][1], gradient="implicit").eval()
    with pytest.warns(UserWarning, match="relative residual .* of its linear system"):
        slope_of(module, random_like(module.weight, 2))


def test_a_coarser_grid_is_followed_where_there_are_too_many_frequencies(monkeypatch, dense):
    from srnc_manifold.nn import frequencies

    make, size = lambda: layers.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), (64,)
    monkeypatch.setattr(frequencies, "MOST_STATE", 1_500)
    with pytest.warns(UserWarning, match=r"input_size: \(64,\) .* can be larger by up to [0-9.]+%"):
        module = nn.stable_rank_norm(seeded(make), stable_rank_fraction=0.7, input_size=size)
    part = module.parametrizations.weight[0]
    assert "norm within" in repr(part)
    followed, factor = len(part.raw.blocks), part.iteration.overlooked
    assert followed == 17 + 1  # every second of 33, and that of the best
    assert 1 < factor < 1.1
    raw = part.raw.gradient  # of the best frequency that is followed: the norm is at most the factor times its value
    norm = numbers(seeded(make).weight, size, dense, {})[0]
    seen = float((raw * module.parametrizations.weight.original.detach()).sum())
    assert norm / factor <= seen * (1 + 1e-6)
    assert seen <= norm * (1 + 1e-12)
    nn.certify(module)  # the best frequency of all is followed, too
    found = numbers(module.eval().weight, size, dense, {})
    assert found == pytest.approx((norm, float(part.target)), rel=1e-10)


@pytest.mark.parametrize(
    ("mode", "spectral_norm"),
    [("circular", None), ("circular", 2.0), pytest.param("zeros", None, marks=slow)],
)
def test_a_layer_may_stay_at_the_solution_that_it_followed(mode, spectral_norm):
    """The raw weight changes until another solution is nearer than the one that is followed."""
    torch.manual_seed(6)
    module = layers.Conv2d(3, 4, 3, padding=1, padding_mode=mode, dtype=torch.float64)
    layout = {"padding": 1, "padding_mode": mode}
    nn.stable_rank_norm(module, stable_rank_fraction=0.4, input_size=8, spectral_norm=spectral_norm)
    raw = module.parametrizations.weight.original
    drift = random_like(raw, 4)
    found = []
    for _ in range(3):
        with torch.no_grad():
            raw += 0.03 * drift
        for _ in range(60):
            module(inputs(module, (8, 8)))
        stayed, explicit = copy.deepcopy(module), nn.certify(copy.deepcopy(module))
        followed = nn.certify(stayed, followed=True)
        now = stayed.eval().weight.detach().numpy()
        # Near what was followed, with the norm and the stable rank that are asked: right to a millionth.
        assert followed.change < 0.05
        kept = spectral_norm or srnc.spectral_norm(raw.detach().numpy(), 8, **layout)
        assert srnc.spectral_norm(now, 8, **layout) == pytest.approx(kept, rel=2e-6)
        target = float(stayed.parametrizations.weight[0].target)
        assert srnc.stable_rank(now, 8, **layout) == pytest.approx(target, rel=4e-6)
        assert followed.excess >= -1e-9
        assert explicit.excess == pytest.approx(0, abs=1e-9)
        # Where no other one is nearer they are the same, and where one is it is far away.
        assert (explicit.change < 0.05) == (followed.excess < 1e-5)
        found.append(followed.excess)
    if mode == "circular":  # both were seen
        assert min(found) < 1e-5
        assert max(found) > 1e-3


def test_certify_says_how_far_the_layer_was():
    make, size, _ = CASES[0]
    module = normalized(make, size)
    assert nn.certify(module).change < 1e-3
    with torch.no_grad():
        module.parametrizations.weight.original.add_(0.3 * random_like(seeded(make).weight, 0))
    far = nn.certify(module)
    assert min(far.norm_error, far.change) > 1e-3
    near = nn.certify(module)
    assert max(near.norm_error, near.stable_rank_error, near.change) < 1e-12
    assert "explicit solution: converged" in repr(near)
    below = normalized(make, size, stable_rank_fraction=None, relative_stable_rank=1.0)
    found = nn.certify(below)
    assert (found.norm_error, found.stable_rank_error, found.change, found.result) == (0.0, 0.0, 0.0, None)
    found = nn.certify(normalized(make, size, stable_rank_fraction=1.0))
    assert found.result is None
    assert max(found.norm_error, found.stable_rank_error, found.change) < 1e-14  # at its limit rounding decides


PADDED = [
    (lambda: layers.Conv2d(3, 4, 3, padding=1), (6, 5)),
    (lambda: layers.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=2), (6, 6)),
    (lambda: layers.Conv1d(2, 3, 4, stride=3, padding=2, padding_mode="replicate"), (17,)),
    (lambda: layers.Conv2d(2, 3, 3, stride=2), (8, 7)),
    (lambda: layers.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (4, 5)),
    (lambda: layers.Conv3d(2, 2, 2, padding=1, dilation=2), (4, 4, 3)),
    (lambda: layers.Conv2d(2, 2, 3, padding=2, padding_mode="circular"), (6, 6)),
    (lambda: layers.ConvTranspose1d(4, 4, 3, groups=4), (9,)),
]


def applied_to_the_identity(module, size):
    """The dense matrix of a layer, without its bias."""
    channels = module.in_channels
    basis = torch.eye(channels * int(np.prod(size)), dtype=torch.float64).reshape(-1, channels, *size)
    with torch.no_grad(), parametrize.cached():
        images = module(basis) - module(torch.zeros_like(basis[:1]))
    return images.flatten(1).T.numpy()


@pytest.mark.parametrize(("make", "size"), some(PADDED, keep=2))
def test_any_padding(make, size):
    raw = applied_to_the_identity(seeded(make), size)
    norm, module = np.linalg.norm(raw, 2), normalized(make, size, stable_rank_fraction=0.8)
    least = max(module.parametrizations.weight[0].iteration.stable_rank_range[0], 0.8 * np.sum(raw**2) / norm**2)
    target = float(module.parametrizations.weight[0].target)
    assert target == pytest.approx(least, rel=1e-9)
    found = applied_to_the_identity(module.eval(), size)
    assert np.linalg.norm(found, 2) == pytest.approx(norm, rel=1e-2)  # 15 power steps of the result
    nn.certify(module)
    found = applied_to_the_identity(module, size)
    assert np.linalg.norm(found, 2) == pytest.approx(norm, rel=1e-8)
    assert np.sum(found**2) / np.linalg.norm(found, 2) ** 2 == pytest.approx(target, rel=1e-8)


@pytest.mark.parametrize(("make", "size"), some(PADDED, keep=2))
def test_with_padding_a_pair_without_a_cap_is_left(make, size):
    module = normalized(make, size, stable_rank_fraction=None, relative_stable_rank=1e-9)
    part, raw = module.parametrizations.weight[0], applied_to_the_identity(seeded(make), size)
    operator, norm, least = part.operator, np.linalg.norm(raw, 2), part.iteration.stable_rank_range[0]
    assert float(part.target) == pytest.approx(least, rel=1e-12)
    # No atom that is made longer step by step from a random one is longer than that of the layer.
    lifts = Alternation(operator, operator.coordinates(np.ones(operator.kernel_shape)), math.inf, lambda: True, print)
    for seed in range(20):
        random = np.random.default_rng(seed).standard_normal(operator.kernel_shape)
        lifts.lifted(operator.dominant_atoms(operator.coordinates(random), 1)[0])
    assert lifts.longest**2 <= operator.gram_weight / least * (1 + 1e-7)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            part.result.u.copy_(
                torch.linalg.qr(torch.randn(part.result.u.shape[::-1], generator=generator).double())[0].T
            )
            part.result.v.copy_(
                torch.linalg.qr(torch.randn(part.result.v.shape[::-1], generator=generator).double())[0].T
            )
            part.result.gradient.copy_(part.iteration.gradient(part.result.top()))
        for _ in range(400):
            module.weight  # noqa: B018
        found = applied_to_the_identity(module.eval(), size)
        module.train()
        # Of the raw weight, whose pair is followed, too, and at whose value the norm is.
        assert np.linalg.norm(found, 2) == pytest.approx(norm, rel=1e-6)
        assert np.sum(found**2) / np.linalg.norm(found, 2) ** 2 == pytest.approx(least, rel=1e-6)


# -- as PyTorch's own parametrizations ------------------------------------------------------------------------------


@pytest.fixture
def conv():
    make, size, _ = CASES[0]
    return normalized(make, size, torch.float32)


def test_nothing_changes_in_eval_mode(conv):
    conv.eval()
    state, x = copy.deepcopy(conv.state_dict()), inputs(conv, (8, 6), torch.float32)
    first = conv(x)
    assert torch.equal(first, conv(x))
    assert all(torch.equal(value, conv.state_dict()[name]) for name, value in state.items())
    conv.train()
    conv(x)
    assert any(not torch.equal(value, conv.state_dict()[name]) for name, value in state.items())


def test_two_forwards_and_two_backwards(conv):
    x = inputs(conv, (8, 6), torch.float32)
    loss = conv(x).sum() + conv(x).sum()
    loss.backward()
    original = conv.parametrizations.weight.original
    assert torch.isfinite(original.grad).all()
    (slope,) = torch.autograd.grad(conv(x).square().sum(), original, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), original)
    assert torch.isfinite(second).all()
    with parametrize.cached():
        assert conv.weight is conv.weight


def test_functional_calls_and_transforms(conv):
    x = inputs(conv, (8, 6), torch.float32)
    parameters = dict(conv.named_parameters())

    def loss(values):
        return torch.func.functional_call(conv, values, (x,)).square().mean()

    gradients = torch.func.grad(loss)(parameters)
    conv.eval()
    expected = torch.func.grad(loss)(parameters)
    assert set(gradients) == set(parameters)
    for name, value in gradients.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)  # a power step apart
    assert conv.parametrizations.weight[0].result.u.grad_fn is None
    conv.train()
    conv(x)


@pytest.mark.parametrize("training", some([False, True], keep=1))
def test_compiled_without_a_break(conv, training):
    conv.train(training)
    x = inputs(conv, (8, 6), torch.float32)
    expected = copy.deepcopy(conv)(x)
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=1e-6)
    compiled(x).sum().backward()


def test_exported(conv):
    x = inputs(conv.eval(), (8, 6), torch.float32)
    exported = torch.export.export(conv, (x,))
    torch.testing.assert_close(exported.module()(x), conv(x), rtol=1e-5, atol=1e-6)


def test_copies_are_apart(conv):
    clone, x = copy.deepcopy(conv), inputs(conv, (8, 6), torch.float32)
    before = clone.parametrizations.weight[0].result.u.clone()
    with torch.no_grad():
        conv.parametrizations.weight.original.add_(1.0)
    conv(x)
    assert torch.equal(clone.parametrizations.weight[0].result.u, before)
    buffer = io.BytesIO()
    torch.save(conv.state_dict(), buffer)


@pytest.mark.parametrize("known", [True, False])
def test_states_are_saved_and_loaded(conv, known):
    make, size, _ = CASES[0]
    conv(inputs(conv, size, torch.float32))
    fresh = nn.stable_rank_norm(make(), stable_rank_fraction=0.9, input_size=size if known else None)
    state = conv.state_dict()
    assert fresh.load_state_dict(state).missing_keys == []
    conv.eval()
    fresh.eval()
    assert torch.equal(fresh.weight, conv.weight)
    assert fresh.load_state_dict({}, strict=False).unexpected_keys == []


def test_plain_checkpoints_go_in_and_out(conv):
    plain = CASES[0][0]()
    state = {name.replace("weight", "parametrizations.weight.original"): v for name, v in plain.state_dict().items()}
    found = conv.load_state_dict(state, strict=False)
    assert found.unexpected_keys == []
    assert torch.equal(conv.parametrizations.weight.original, plain.weight)
    nn.certify(conv)
    conv.eval()
    weight = conv.weight.detach().clone()
    parametrize.remove_parametrizations(conv, "weight")
    assert torch.equal(conv.weight, weight)
    assert type(conv) is layers.Conv2d
    plain.load_state_dict(conv.state_dict())


def test_a_weight_is_assigned(conv):
    given = torch.randn(4, 3, 3, 3)
    conv.weight = given
    assert torch.equal(conv.parametrizations.weight.original, given)


def test_tied_weights_are_one(conv):
    pair = layers.ModuleList([conv, conv])
    assert len(list(pair.parameters())) == 2  # the weight and the bias
    with pytest.raises(ValueError, match="has a stable rank norm already"):
        nn.stable_rank_norm(conv, stable_rank_fraction=0.5)


def test_layers_with_one_weight_have_one_parametrization():
    make, size, _ = CASES[0]
    first, second = seeded(make), make()
    second.weight = first.weight
    for module in (first, second):
        nn.stable_rank_norm(module, stable_rank_fraction=0.7, input_size=size)
    assert first.parametrizations.weight[0] is second.parametrizations.weight[0]
    assert first.parametrizations.weight.original is second.parametrizations.weight.original
    assert torch.equal(first.eval().weight, second.eval().weight)
    model = copy.deepcopy(layers.ModuleList([first, second]))
    assert model[0].parametrizations.weight[0] is model[1].parametrizations.weight[0]
    third = make()
    third.weight = first.parametrizations.weight.original
    for wrong in ({"stable_rank_fraction": 0.6}, {"gradient": "one-step"}, {"input_size": 9}):
        with pytest.raises(ValueError, match="its weight is that of another layer, which has a stable rank norm"):
            nn.stable_rank_norm(third, **({"stable_rank_fraction": 0.7, "input_size": size} | wrong))
    for module in (first, second):
        parametrize.remove_parametrizations(module, "weight")
    nn.stable_rank_norm(third, stable_rank_fraction=0.6, input_size=9)  # nothing of the others is left


def test_optimizers_act_on_the_original(conv):
    x = inputs(conv, (8, 6), torch.float32)
    optimizer = torch.optim.AdamW(conv.parameters(), lr=1e-2, weight_decay=0.1)
    before = conv.parametrizations.weight.original.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        conv(x).square().mean().backward()
        optimizer.step()
    assert not torch.equal(before, conv.parametrizations.weight.original)
    averaged = torch.optim.swa_utils.AveragedModel(conv)
    averaged.update_parameters(conv)
    averaged(x)


def test_half_precision_is_computed_in_single(conv):
    x = inputs(conv, (8, 6), torch.float32)
    expected = conv.eval().weight.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
        assert torch.equal(conv.weight, expected)
    half = copy.deepcopy(conv).to(torch.bfloat16)
    part = half.parametrizations.weight[0]
    assert part.raw.u.dtype == torch.float32
    assert half.weight.dtype == torch.bfloat16
    half.train()
    for _ in range(3):
        half(x.to(torch.bfloat16)).sum().backward()
    torch.testing.assert_close(half.weight.float(), expected, rtol=0.02, atol=0.01)  # rounding to eight bits


def test_data_parallel(conv):
    x = inputs(conv, (8, 6), torch.float32)
    expected = copy.deepcopy(conv)(x)
    torch.testing.assert_close(layers.DataParallel(conv)(x), expected)
    unknown = nn.stable_rank_norm(CASES[0][0](), stable_rank_fraction=0.7)
    vars(unknown)["_is_replica"] = True  # as those on the devices are
    with pytest.raises(ValueError, match="input_size: not known in a replica of DataParallel"):
        unknown(x)


def trained_by_two(rank, place, results):
    """What one of two processes does: some steps on inputs of its own."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = layers.Sequential(
        nn.stable_rank_norm(layers.Conv2d(2, 3, 3, padding=1), stable_rank_fraction=0.8),
        nn.stable_rank_norm(
            layers.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), stable_rank_fraction=0.7, input_size=6
        ),
    )
    model(torch.zeros(1, 2, 6, 6))
    shared = layers.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        x = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(10 * step + rank))
        shared(x).square().mean().backward()
        optimizer.step()
    model.eval()
    torch.save([layer.weight.detach() for layer in model], f"{results}/{rank}.pt")
    torch.distributed.destroy_process_group()


@slow
def test_two_processes_keep_one_state(tmp_path):
    torch.multiprocessing.spawn(trained_by_two, (tmp_path / "meeting", tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_zero_weights_stay_zero_and_finite():
    module = layers.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    layers.init.zeros_(module.weight)
    nn.stable_rank_norm(module, stable_rank_fraction=0.5, input_size=8)
    module(torch.randn(1, 3, 8, 8)).sum().backward()
    assert torch.equal(module.weight, torch.zeros(4, 3, 3, 3))
    assert torch.isfinite(module.parametrizations.weight.original.grad).all()


@pytest.mark.parametrize(
    ("make", "settings", "error", "message"),
    [
        (lambda: layers.LSTM(3, 4), {"name": "weight_hh_l0"}, TypeError, "LSTM is recurrent, and its compiled kernels"),
        (lambda: layers.LazyConv2d(4, 3), {}, TypeError, "LazyConv2d has no weight yet"),
        (
            lambda: layers.BatchNorm2d(4),
            {},
            TypeError,
            "BatchNorm2d is neither linear nor a convolution; expected Linear",
        ),
        (lambda: layers.Conv2d(3, 4, 9), {"input_size": 5}, ValueError, "input_size"),
        (CASES[0][0], {"name": "bias_2"}, ValueError, "name: 'bias_2' given"),
        (CASES[0][0], {"input_size": (8,)}, ValueError, r"input_size: \(8,\) given"),
        (CASES[0][0], {"input_size": 0}, ValueError, "expected integers >= 1"),
        (CASES[0][0], {"stable_rank": 3.0}, ValueError, "expected exactly one of stable_rank, "),
        (CASES[0][0], {"stable_rank_fraction": -1.0}, ValueError, "stable_rank_fraction"),
        (CASES[0][0], {"gradient": "exact"}, ValueError, "gradient: 'exact' given"),
        (CASES[0][0], {"n_frequencies": 0}, ValueError, "n_frequencies"),
        (
            CASES[0][0],
            {"clip": False, "input_size": 8, "stable_rank_fraction": 0.01},
            ValueError,
            "0.01 given, expected",
        ),
        (lambda: 3, {}, TypeError, "module: int given"),
    ],
)
def test_wrong_arguments_are_named(make, settings, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of lazy modules
        module = make()
    with pytest.raises(error, match=message):
        nn.stable_rank_norm(module, **({"stable_rank_fraction": 0.5} | settings))


def test_targets_that_are_not_feasible_are_moved_with_a_warning():
    with pytest.warns(UserWarning, match=r"stable_rank_fraction: 0\.01 given, expected .* moved to"):
        nn.stable_rank_norm(CASES[0][0](), stable_rank_fraction=0.01, input_size=8)


def test_layers_that_are_not_normalized_cannot_be_certified():
    with pytest.raises(ValueError, match="no stable rank norm"):
        nn.certify(layers.Linear(2, 2))
