"""The report of a model: true numbers of every layer, and no bound that is claimed without a proof."""

import copy
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from networks import FFDNet, PNet, Silero, Standardized, matrix_of, small_cnn, with_weights
from tiers import slow
from torch import nn as layers
from torch.nn import functional

from srnc_manifold import nn
from srnc_manifold.nn.chain import chain_of
from srnc_manifold.nn.layout import obstacle
from srnc_manifold.nn.model import layers_of
from srnc_manifold.nn.report import _jacobian_norm as jacobian_at


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module_at(model, row):
    return model.get_submodule(row.layer.split(", ")[0])


def size_of(row):
    return tuple(int(n) for n in row.input_size.split("×")) if row.input_size else ()


def check_against_matrices(model, report):
    """Every row that has numbers, against the matrix of the module and the flattened weight."""
    model = copy.deepcopy(model).double()
    for row in report.table.itertuples():
        module = module_at(model, row)
        values = torch.linalg.svdvals(matrix_of(module, size_of(row))).detach().numpy()
        assert row.norm == pytest.approx(values[0], rel=1e-11)  # Lanczos or a decomposition
        assert values[0] * (1 - 1e-12) <= row.norm_upper
        assert row.stable_rank == pytest.approx(np.sum(values**2) / values[0] ** 2, rel=1e-11)
        assert row.least_stable_rank <= row.stable_rank <= row.largest_stable_rank
        # As torch's own spectral norm flattens it.
        dim = 1 if isinstance(module, layers.modules.conv._ConvTransposeNd) else 0
        flat = torch.linalg.svdvals(module.weight.movedim(dim, 0).flatten(1)).detach().numpy()
        assert row.matrix_norm == pytest.approx(flat[0], rel=1e-12)
        assert row.matrix_stable_rank == pytest.approx(np.sum(flat**2) / flat[0] ** 2, rel=1e-12)
        assert row.norm_error == pytest.approx(flat[0] / values[0] - 1, abs=1e-10)


# -- the table ---------------------------------------------------------------------------------------------------


def test_all_kinds_of_layers_are_measured_as_their_matrices():
    model = small_cnn(8)
    report = nn.report(model, random(2, 3, 8, 8))
    check_against_matrices(model, report)
    assert report.table["layer"].tolist() == ["0", "2", "4", "6", "9"]
    assert report.table["input_size"].tolist() == ["8×8", "8×8", "4×4", "4×4", ""]
    assert report.table["geometry"].tolist() == [
        "zeros 1",
        "zeros 1, stride 2, groups 4",
        "reflect 2, dilation 2",
        "zeros 1, stride 2, output padding 1",
        "",
    ]
    assert (report.table["norm_error"].iloc[:4] < -0.08).all()  # the flattened weight promises too little
    assert report.table["norm_error"].iloc[4] == 0
    assert not report.skipped.size
    assert report.jacobian.value <= report.product_bound * (1 + 1e-9)


def test_a_face_detector_is_measured():
    model = with_weights("P-Net", PNet())
    report = nn.report(model, random(1, 3, 14, 14))
    check_against_matrices(model, report)
    assert (report.table["norm_error"].iloc[:3] < -0.35).all()  # more on larger images
    assert report.skipped["module"].tolist() == ["prelu1", "prelu2", "prelu3"]
    assert "conv4_1 takes an output that is not the last one" in report.caveat
    assert math.isnan(report.product_bound)


def test_a_speech_detector_is_measured():
    model = with_weights("silero-vad", Silero())
    report = nn.report(model, 0.05 * random(1, 576))
    check_against_matrices(model, report)
    assert report.table["norm_error"].min() < -0.3
    assert report.skipped["module"].tolist() == ["lstm_cell"]
    assert report.jacobian.value > 0


@slow
def test_a_denoiser_is_measured():
    model = with_weights("FFDNet", FFDNet())
    report = nn.report(model, (random(1, 3, 8, 8), torch.full((1, 1, 1, 1), 0.06)))
    check_against_matrices(model, report)
    assert report.caveat == "its input has 2 tensors, not one"


class Parts(layers.Module):
    """Weights that are shared, sizes that differ, modules that are not called or not known."""

    def __init__(self):
        super().__init__()
        self.first, self.again = layers.Conv2d(3, 3, 3, padding=1), layers.Conv2d(3, 3, 3, padding=1)
        self.wider = layers.Conv2d(3, 3, 3, padding=2)
        self.again.weight = self.wider.weight = self.first.weight
        self.up = layers.ConvTranspose2d(3, 3, 3, stride=2, padding=1)
        self.never = layers.Conv1d(2, 2, 3)
        self.own, self.norm = Standardized(3, 3, 1), layers.GroupNorm(3, 3)
        self.head, self.words = layers.Linear(3, 5), layers.Embedding(5, 3)
        self.words.weight = self.head.weight
        self.same = self.first

    def forward(self, x, words):
        x = self.wider(self.norm(self.again(self.first(x))))
        x = self.up(self.first(x)) + self.up(x)
        x = self.up(x, output_size=[2 * n for n in x.shape[-2:]])
        return self.head(self.own(x).mean((2, 3))), self.words(words)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    return Parts()


def test_shared_weights_several_sizes_and_what_is_not_known_are_told(parts):
    report = nn.report(parts, (random(1, 3, 4, 5), torch.tensor([1, 2])))
    table = report.table.set_index(["layer", "input_size"])
    assert [(*key, calls) for key, calls in table["calls"].items()] == [
        ("first, same, again", "4×5", 2),
        ("first, same, again", "6×7", 1),
        ("wider", "4×5", 1),
        ("up", "6×7", 2),
        ("up", "11×13", 1),
        ("never", "", 0),
        ("head", "", 1),
    ]
    assert table.loc[("up", "11×13"), "geometry"] == "zeros 1, stride 2, output padding 1"
    assert table.loc[("never", ""), "note"] == "not called, so the size of its input is not known"
    assert np.isnan(table.loc[("never", ""), "norm"])
    assert table.loc[("head", ""), "note"] == "its weight is shared with words.weight"
    assert table.loc[("wider", "4×5"), "note"] == "its weight is shared with first.weight, again.weight, same.weight"
    assert dict(report.skipped.itertuples(index=False)) == {
        "own": "Standardized has a forward of its own, not that of torch.nn",
        "norm": "GroupNorm is neither linear nor a convolution",
        "words": "Embedding is neither linear nor a convolution",
    }
    first = torch.linalg.matrix_norm(matrix_of(copy.deepcopy(parts.first).double(), (6, 7)), 2).item()
    assert table.loc[("first, same, again", "6×7"), "norm"] == pytest.approx(first, rel=1e-12)
    up = copy.deepcopy(parts.up).double()
    up.output_padding = (1, 1)
    other = torch.linalg.matrix_norm(matrix_of(up, (11, 13)), 2).item()
    assert table.loc[("up", "11×13"), "norm"] == pytest.approx(other, rel=1e-12)
    assert report.product == pytest.approx((table["norm"] ** table["calls"]).dropna().prod())


def test_a_parametrized_weight_counts_as_it_is_applied():
    torch.manual_seed(0)
    model = layers.Sequential(layers.Conv2d(3, 4, 3, padding=1), layers.ReLU(), layers.Flatten(), layers.Linear(144, 2))
    nn.stable_rank_norm(model[0], stable_rank_fraction=0.5, input_size=6)
    torch.nn.utils.parametrizations.spectral_norm(model[3], n_power_iterations=20)
    model.double()
    report = nn.report(model, random(1, 3, 6, 6).double())
    check_against_matrices(model.eval(), report)
    assert report.table["kind"].tolist() == ["Conv2d", "Linear"]
    assert report.table["stable_rank"].iloc[0] == pytest.approx(
        float(model[0].parametrizations.weight[0].target), rel=1e-3
    )


def test_the_flattened_weight_of_groups_can_be_too_large():
    layer = layers.Conv2d(4, 4, 3, padding=1, groups=4)
    torch.nn.init.zeros_(layer.weight)
    layer.weight.data[:, 0, 1, 1] = 1  # the identity; flattened, four times the same row
    report = nn.report(layer, random(1, 4, 5, 5))
    assert report.table[["norm", "matrix_norm", "norm_error"]].values.tolist() == [pytest.approx([1, 2, 1])]


def test_a_layer_is_a_model_too_and_weights_may_be_zero():
    layer = layers.Conv2d(2, 2, 3)
    torch.nn.init.zeros_(layer.weight)
    report = nn.report(layer, random(2, 5, 5))
    (row,) = report.table.itertuples()
    assert (row.layer, row.norm, row.norm_upper, report.product_bound) == ("Conv2d", 0, 0, 0)
    assert np.isnan(row.stable_rank)
    assert "derivative is zero" in report.no_jacobian
    layer.weight.data[0, 0, 0, 0] = torch.inf
    report = nn.report(layer, random(2, 5, 5))
    assert "not measured" in report.table["note"][0]
    assert report.caveat == "not all norms are known"


# -- what it leaves -----------------------------------------------------------------------------------------------


class Stateful(layers.Module):
    """Everything that a forward may change."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = layers.Conv1d(2, 2, 3), layers.BatchNorm1d(2)
        self.norm.eval()  # its own mode, not that of the model
        self.count: torch.Tensor
        self.register_buffer("count", torch.zeros(1))
        self.last = None

    def forward(self, x, fail=False):
        self.count += 1
        self.last = x
        x = self.norm(self.conv(x)) + 0.0 * torch.rand(1)
        if fail:
            raise KeyError("nothing of the name")
        return x


def state(model):
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return (
        modes,
        hooks,
        model.last,
        torch.get_rng_state().tolist(),
        model.count.item(),
        model.norm.running_mean.tolist(),
    )


def test_the_model_is_left_as_it_was():
    model, x = Stateful(), random(4, 2, 8)
    before, count = state(model), model.count
    nn.report(model, x)
    nn.jacobian_norm(model, x)
    assert state(model) == before
    assert model.count is count
    with pytest.raises(ValueError, match="example_input: the model cannot be called with it: KeyError"):
        nn.report(model, {"x": x, "fail": True})
    assert state(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inputs_are_passed_as_they_are_given():
    class Model(layers.Module):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv1d(1, 1, 3)

        def forward(self, x, scale=None, *, batch=None):
            return {"out": self.conv(input=x if batch is None else batch["x"])}

    x = random(1, 1, 7)
    for given in (x, (x,), (x, 3.0), {"x": x}, {"x": None, "batch": {"x": x}}):
        report = nn.report(Model(), given)
        assert report.table["input_size"].tolist() == ["7"]
        assert report.jacobian.value == pytest.approx(report.table["norm"][0], rel=1e-6)  # of a linear model


def test_compiled_layers_are_seen_too():
    model = layers.Sequential(layers.Linear(3, 3), layers.Conv1d(1, 1, 2))
    compiled = torch.compile(model, backend="eager")
    report = nn.report(compiled, random(1, 3))
    assert report.table["layer"].tolist() == ["_orig_mod.0", "_orig_mod.1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        scripted = torch.jit.script(model)
    report = nn.report(scripted, random(1, 3))
    assert not len(report.table)
    assert "skipped 0: Linear is a compiled ScriptModule" in str(report)
    assert report.skipped["reason"].tolist() == [f"{kind} is a compiled ScriptModule" for kind in ("Linear", "Conv1d")]


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="model: list given"):
        nn.report([], None)
    with pytest.raises(TypeError, match="model: int given"):
        nn.jacobian_norm(3, None)
    with pytest.raises(ValueError, match="example_input: the model cannot be called with it: RuntimeError"):
        nn.report(layers.Conv1d(2, 2, 3), random(1, 3, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lazy modules
        lazy = layers.Sequential(layers.LazyConv1d(2, 3))
    with pytest.raises(ValueError, match=r"model: its 0 \(LazyConv1d\) has no weight yet"):
        nn.report(lazy, random(1, 3, 5))
    assert lazy[0].has_uninitialized_params()


# -- how it is shown ----------------------------------------------------------------------------------------------


def test_it_is_shown_and_written(tmp_path, parts):
    seen = []
    report = nn.report(parts, (random(1, 3, 4, 5), torch.tensor([1, 2])), progress=lambda *at: seen.append(at))
    assert seen == [(k, 7) for k in range(1, 8)]
    assert report == nn.report(parts, (random(1, 3, 4, 5), torch.tensor([1, 2])))
    assert report != nn.report(parts, (random(1, 3, 5, 5), torch.tensor([1, 2])), jacobian=False)
    text = str(report)
    for words in ("first, same, again", "skipped own: Standardized has a forward", "note never: not called", "calls"):
        assert words in text
    assert "not a bound of the model" in repr(report)
    assert "<table" in report._repr_html_()
    path = tmp_path / "report.csv"
    report.to_csv(path)
    read = pd.read_csv(path, keep_default_na=False, na_values={"norm": ""})
    np.testing.assert_array_equal(read["norm"], report.table["norm"])
    assert read["layer"].tolist() == report.table["layer"].tolist()
    with pytest.raises(ValueError, match="path: .* which exists"):
        report.to_csv(path)
    report.to_csv(path, overwrite=True)


# -- the product --------------------------------------------------------------------------------------------------


def known(model):
    return {module: name for name, module in model.named_modules() if not obstacle(module)}


torch.manual_seed(0)
NORM = layers.BatchNorm2d(4).eval()
with torch.no_grad():
    NORM.running_var.uniform_(0.1, 3)
    NORM.weight.uniform_(-3, 3)


class Between(layers.Module):
    """A convolution, and a function after it."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function, self.norm = layers.Conv2d(4, 4, 3, padding=1), function, NORM

    def forward(self, x):
        return self.function(self.conv(x))


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return 3 * x


CONTRACTIONS = {
    "relu": torch.relu,
    "relu in place": layers.ReLU(inplace=True),
    "relu6": layers.ReLU6(),
    "leaky relu": layers.LeakyReLU(-2.5),
    "elu": layers.ELU(1.7),
    "prelu": layers.PReLU(4, init=-1.5),
    "hardtanh": layers.Hardtanh(),
    "sigmoid": torch.sigmoid,
    "hardsigmoid": layers.Hardsigmoid(),
    "tanh": torch.tanh,
    "softsign": layers.Softsign(),
    "softplus": layers.Softplus(3.0),
    "logsigmoid": layers.LogSigmoid(),
    "softmax": layers.Softmax(1),
    "dropout": layers.Dropout(0.7),
    "batch norm": NORM,
    "max": layers.MaxPool2d(2),
    "max of windows that meet": layers.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
    "max of windows that meet much": layers.MaxPool2d((3, 2), stride=1),
    "mean": layers.AvgPool2d(2),
    "mean of windows that meet": layers.AvgPool2d(3, stride=1),
    "mean of all": layers.AdaptiveAvgPool2d(1),
    "flatten": layers.Flatten(),
    "shapes": lambda x: x.view(x.shape[0], 2, -1).transpose(1, 2).reshape(x.size(0), -1).unsqueeze(0),
    "shuffle": layers.PixelShuffle(2),
    "clamped": lambda x: torch.maximum(x.clamp(-0.5, 1), torch.zeros(())),
    "slices": lambda x: x[:, 1:, ::2, None],
    "pad": lambda x: functional.pad(x, (1, -1)),
    "numbers": lambda x: 3 - 0.5 * x / 0.2 + 1,
    "parameters": lambda x: NORM.weight[:, None, None] * (x - NORM.bias[:, None, None]),
    "layer again": None,
}

OTHERS = {
    "residual": lambda x, conv: x + conv(x),
    "residual in place": lambda x, conv: conv(x).add_(x),
    "written over": lambda x, conv: conv(x).copy_(x),
    "part written over": lambda x, conv: conv(x).index_copy_(1, torch.tensor([0]), x[:, :1]),
    "two branches": lambda x, conv: torch.cat([conv(x), conv(x)], 1),
    "two outputs": lambda x, conv: (conv(x), x),
    "square": lambda x, conv: conv(x) * conv.bias.norm() * conv(x),
    "product with itself": lambda x, conv: (lambda y: y * y)(conv(x)),
    "control by values": lambda x, conv: conv(x) if x.sum() > 0 else 2 * conv(x),
    "through numpy": lambda x, conv: conv(x) + torch.from_numpy(x.numpy()),
    "an unseen function": lambda x, conv: conv(x) + torch.from_dlpack(x),
    "an unseen function alone": lambda x, conv: conv(torch.from_dlpack(x.detach())),
    "a function of its own": lambda x, conv: conv(x) + Tripled.apply(x),
    "repeated": lambda x, conv: conv(x).expand(5, -1, -1, -1),
    "broadcast": lambda x, conv: conv(x).mean((2, 3), keepdim=True) + torch.zeros(9, 9),
    "indices that repeat": lambda x, conv: conv(x)[:, [0, 0, 0]],
    "steep": lambda x, conv: functional.gelu(conv(x)),
    "normalized": lambda x, conv: functional.layer_norm(conv(x), (9,)),
    "statistics of the batch": lambda x, conv: functional.batch_norm(conv(x), None, None, training=True),
    "dropout in training": lambda x, conv: functional.dropout(conv(x), 0.5),
    "reflected": lambda x, conv: functional.pad(conv(x), (1, 1, 1, 1), "reflect"),
    "divided by it": lambda x, conv: 1 / conv(x),
    "a jump": lambda x, conv: functional.softplus(conv(x), threshold=0.0),
    "bits": lambda x, conv: conv(x).view(torch.int32).view(torch.float32),
    "rounded": lambda x, conv: torch.round(conv(x)),
    "a constant": lambda x, conv: torch.zeros(3) if conv(x) is not None else None,
    "a hook": None,
}


class Other(layers.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = layers.Conv2d(4, 4, 3, padding=1), function

    def forward(self, x):
        return self.function(x, self.conv)


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_the_product_is_a_bound_for_chains(name):
    torch.manual_seed(2)
    between = Between(CONTRACTIONS[name] or torch.relu)
    model = layers.Sequential(between, between) if name == "layer again" else between
    x = random(2, 4, 6, 6)
    chain = chain_of(model, x, known(model))
    assert chain.broken == ""
    # The function between alone, at points where it is steep, never exceeds its factor.
    function = between.function
    for scale in (0.01, 1.0):
        found, reason = jacobian_at(Wrapped(function), scale * random(1, 4, 4, 4, seed=3))
        assert "derivative is zero" in reason if found is None else found.value <= chain.factor * (1 + 1e-6)
    report = nn.report(model, x, jacobian=False)
    assert report.caveat == ""
    with torch.no_grad():
        model.eval()
        a, b = (random(2, 4, 6, 6, seed=seed) for seed in (4, 5))
        stretch = torch.linalg.vector_norm(model(a) - model(b)) / torch.linalg.vector_norm(a - b)
    assert stretch.item() <= report.product_bound * (1 + 1e-5)  # of single precision


class Wrapped(layers.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(1.0 * x)


@pytest.mark.parametrize("name", OTHERS)
def test_no_bound_is_claimed_for_other_models(name):
    torch.manual_seed(2)
    model = Other(OTHERS[name] or (lambda x, conv: conv(x)))
    if name == "a hook":
        model.conv.register_forward_hook(lambda _, args, output: output + args[0])
    chain = chain_of(model, random(2, 4, 9, 9), known(model))
    assert chain.broken
    assert math.isnan(chain.factor)


def test_what_is_no_chain_is_named():
    assert (
        chain_of(layers.Embedding(3, 3), torch.tensor([1]), {}).broken
        == "embedding has no Lipschitz constant that is known"
    )
    residual = Other(OTHERS["residual"])
    report = nn.report(residual, random(2, 4, 9, 9))
    assert report.caveat == "add takes an output that is not the last one"
    assert f"{report.product:.6g}, not a bound of the model: add takes" in str(report)
    # And it is none: at a positive definite layer.
    torch.nn.init.dirac_(residual.conv.weight)
    report = nn.report(residual, random(2, 4, 9, 9))
    assert report.product == pytest.approx(1)
    assert report.jacobian.value == pytest.approx(2)


# -- the Jacobian -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 40])
def test_the_norm_of_the_jacobian_is_that_of_the_matrix(width):
    torch.manual_seed(0)
    model = layers.Sequential(
        layers.Conv1d(2, 5, 3, padding=1),
        layers.Tanh(),
        layers.BatchNorm1d(5),
        layers.Flatten(),
        layers.Linear(100, width),
    )
    x = random(2, 2, 20)
    found = nn.jacobian_norm(model, x)
    exact = torch.autograd.functional.jacobian(model.eval().double(), x.double()).reshape(2 * width, -1)
    assert found.precision == "float64"
    assert found.value == pytest.approx(torch.linalg.matrix_norm(exact, 2).item(), rel=1e-6)
    assert found.residual < 1e-2
    assert model[0].weight.dtype == torch.float64
    assert "float64" in repr(found)


def test_a_model_that_needs_its_own_precision_keeps_it():
    class Single(layers.Linear):
        def forward(self, x):
            return super().forward(x.float() @ torch.eye(3))

    found = nn.jacobian_norm(Single(3, 4), random(5, 3))
    assert found.precision == "float32"


def test_inputs_and_outputs_that_are_no_numbers_are_left_out(parts):
    found = nn.jacobian_norm(parts, (random(1, 3, 4, 5), torch.tensor([1, 2])))
    assert found.value > 0
    with pytest.raises(ValueError, match="example_input: no floating-point tensor in it"):
        nn.jacobian_norm(layers.Embedding(3, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="model: no floating-point tensor in its output"):
        nn.jacobian_norm(Wrapped(torch.argmax), random(3))
    with pytest.raises(ValueError, match="model: its derivative is zero"):
        nn.jacobian_norm(Wrapped(torch.round), random(3))
    with pytest.raises(ValueError, match="model: its derivative is not finite"):
        nn.jacobian_norm(Wrapped(torch.sqrt), torch.zeros(3))
    with pytest.raises(ValueError, match="model: PyTorch cannot differentiate it"):
        nn.jacobian_norm(Wrapped(lambda x: torch.from_numpy(x.numpy())), random(3))


def test_attention_and_recurrences_have_a_jacobian():
    torch.manual_seed(0)
    for model, shape in (
        (layers.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 3, 8)),
        (layers.LSTM(3, 4), (5, 2, 3)),
    ):
        report = nn.report(model, random(*shape))
        assert report.jacobian.value > 0
        assert report.caveat


# -- the walk -----------------------------------------------------------------------------------------------------


def test_plain_and_computed_weights_are_told_apart(parts):
    found = layers_of(parts, (random(1, 3, 4, 5), torch.tensor([1, 2])))
    assert found.seen[0].parameter is parts.first.weight
    assert found.seen[0].modules == (parts.first, parts.again)
    model = torch.nn.utils.parametrizations.weight_norm(layers.Linear(3, 3))
    assert layers_of(model, random(1, 3)).seen[0].parameter is None
