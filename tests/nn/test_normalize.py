"""A whole model at once: every target met, by dense matrices, in place, and all or nothing."""

import copy
import json
import math
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from networks import FFDNet, PNet, Silero, small_cnn, with_weights
from safetensors.torch import load_file
from tiers import slow, some
from torch import nn as layers

from srnc_manifold import nn
from srnc_manifold.cli import app
from srnc_manifold.networks import Goal, NetworkLayer, normalization, normalize
from srnc_manifold.nn.model import layers_of


class Mixed(layers.Module):
    """Zeros, a stride with groups, a depthwise and a circular layer, replicated borders, a transposed one, a matrix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.zeros = layers.Conv1d(2, 4, 3, padding=1)
        self.norm = layers.BatchNorm1d(4)
        self.strided = layers.Conv1d(4, 4, 3, padding=1, stride=2, groups=2)
        self.depthwise = layers.Conv1d(4, 4, 3, padding=1, groups=4, padding_mode="circular")
        self.circular = layers.Conv2d(1, 3, 3, padding=1, padding_mode="circular")
        self.replicated = layers.Conv2d(3, 2, 3, padding=1, padding_mode="replicate")
        self.up = layers.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1)
        self.head = layers.Linear(8, 5)

    def forward(self, x):
        x = self.depthwise(self.strided(self.norm(self.zeros(x)).relu()))  # (batch, 4, 4)
        return self.head(self.up(self.replicated(self.circular(x[:, None]))).mean((1, 2)))


SIZES = {
    "zeros": (8,), "strided": (8,), "depthwise": (4,), "circular": (4, 4), "replicated": (4, 4), "up": (4, 4),
    "head": (),
}  # fmt: skip
INPUT = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))


def state(model):
    """Everything that a model has, to compare bit for bit."""
    return {name: value.clone() for name, value in model.state_dict().items()}, [m.training for m in model.modules()]


def require_same(model, before):
    tensors, modes = before
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes


def quiet(model, example=INPUT, **settings):
    return nn.normalize_(model, example, **({"stable_rank_fraction": 0.7, "progress": False} | settings))


@pytest.mark.parametrize(("dtype", "tolerance"), some([(torch.float64, 1e-9), (torch.float32, 1e-6)], 1))
def test_every_layer_has_its_target_and_its_norm(dtype, tolerance, norm_and_rank, matrix_of):
    # In single precision what is left is the rounding of the weights, some 1e-8.
    raw = Mixed().to(dtype)
    model = copy.deepcopy(raw)
    found = quiet(model, INPUT.to(dtype))
    for name, size in SIZES.items():
        row, before = found[name], norm_and_rank(getattr(raw, name), size)
        assert (row.norm_before, row.stable_rank_before) == pytest.approx(before, rel=1e-9)
        norm, rank = norm_and_rank(getattr(model, name), size)
        assert norm == pytest.approx(before[0], rel=tolerance)
        assert rank == pytest.approx(row.target, rel=tolerance)
        assert (row.norm_after, row.stable_rank_after) == pytest.approx((norm, rank), rel=1e-9)
        assert row.error <= tolerance
        assert row.clipped or row.target == pytest.approx(0.7 * before[1])
        own, new = (matrix_of(getattr(one, name), size) for one in (raw, model))
        assert row.relative_distance == pytest.approx(np.linalg.norm(new - own) / np.linalg.norm(own), rel=1e-9)
    assert {found[name].status for name in ("circular", "depthwise", "head")} == {"optimal"}
    assert all(0 <= found[name].gap < 0.1 for name in ("zeros", "strided", "up"))
    assert found["norm"].status == "skipped"
    assert "neither linear nor a convolution" in found["norm"].message
    for name in ("zeros.bias", "norm.running_mean", "head.bias"):
        assert torch.equal(model.state_dict()[name], raw.state_dict()[name])


class Dense(layers.Module):
    """Matrices in all the ways in which a model may have them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.third = (layers.Linear(4, 4) for _ in range(3))
        self.third.weight = self.first.weight
        self.embedding = layers.Embedding(4, 4)
        self.embedding.weight = self.second.weight
        self.rnn = layers.GRU(4, 3)
        self.computed = layers.utils.parametrizations.spectral_norm(layers.Linear(3, 3))
        self.conv = layers.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.unused = layers.Conv1d(2, 2, 3)
        self.zero = layers.Linear(4, 4)
        layers.init.zeros_(self.zero.weight)

    def forward(self, x, *, twice=True):
        x = self.third(self.second(self.first(x)))
        maps = self.conv(x.T[None])
        if twice:
            self.conv(maps[..., :3])
        return self.computed(self.rnn(x + self.zero(x))[0])


def test_each_weight_once_and_the_reason_for_what_is_left():
    model = Dense()
    before, _ = state(model)
    found = quiet(model, {"x": torch.randn(5, 4), "twice": True}, stable_rank_fraction=0.8)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        "first.weight", "third.weight", "second.weight", "embedding.weight", "conv.weight", "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
    }  # fmt: skip
    assert model.third.weight is model.first.weight
    assert {row.layer: row.status for row in found.rows if row.status in ("tied", "skipped")} == {
        "third": "tied", "embedding.weight": "tied", "computed": "skipped", "unused": "skipped", "zero": "skipped",
    }  # fmt: skip
    assert found["third"].message == "its weight is that of first"
    assert "computed, by a parametrization" in found["computed"].message
    assert "not called with this example" in found["unused"].message
    assert "all zero" in found["zero"].message
    assert found["conv"].input_size == (5,)
    assert found["conv"].note == "it sees inputs of 5, 3; the largest counts"
    for name in ("weight_ih_l0", "weight_hh_l0"):
        values = torch.linalg.svdvals(getattr(model.rnn, name).detach().double())
        assert float((values**2).sum() / values[0] ** 2) == pytest.approx(found[f"rnn.{name}"].target, rel=1e-6)


def test_the_table():
    found = quiet(Dense(), torch.randn(5, 4))
    frame = found.to_frame()
    assert list(frame["layer"]) == [row.layer for row in found.rows]
    assert frame.loc[0, "stable_rank_after"] == pytest.approx(frame.loc[0, "target"], rel=1e-6)
    text = str(found)
    assert text == repr(found)
    assert text.splitlines()[0].split() == (
        ["layer", "weight", "input", "stable", "rank", "target", "norm", "moved", "gap", "error", "status", "time"]
    )
    assert "skipped unused: it is not called with this example" in text
    assert "tied third: its weight is that of first" in text
    assert "note conv: it sees inputs of" in text
    assert f"<pre>{text[:5]}" in found._repr_html_()


def test_rows_are_saved(tmp_path):
    found = quiet(layers.Linear(4, 3), torch.randn(1, 4))
    found.to_csv(tmp_path / "rows.csv")
    read = pd.read_csv(tmp_path / "rows.csv")
    assert read.loc[0, "target"] == pytest.approx(found.rows[0].target, rel=1e-15)
    with pytest.raises(ValueError, match="which exists"):
        found.to_csv(tmp_path / "rows.csv")


@pytest.mark.parametrize("goal", [{"stable_rank": 1e9}, {"relative_stable_rank": 1.0}, {"stable_rank_fraction": 1.0}])
def test_a_layer_at_its_target_or_below_is_left_bitwise_alone(goal):
    model = Mixed()
    before = state(model)
    found = quiet(model, **{"stable_rank_fraction": None} | goal)
    require_same(model, before)
    assert {row.status for row in found.rows} == {"unchanged", "skipped"}
    assert not any(row.clipped for row in found.rows)


def test_targets_that_are_not_feasible(norm_and_rank):
    def depthwise():
        torch.manual_seed(0)
        return layers.Conv1d(4, 4, 3, padding=1, groups=4, padding_mode="circular")

    model, before, example = depthwise(), depthwise(), torch.randn(1, 4, 9)
    found = quiet(model, example, stable_rank_fraction=0.05)
    (row,) = found.rows
    assert row.clipped
    assert row.layer == "Conv1d"
    assert row.target == pytest.approx(3)  # nine points over three taps
    assert norm_and_rank(model, (9,)) == pytest.approx((norm_and_rank(before, (9,))[0], 3), rel=1e-6)
    assert "* moved, because what was asked for is not feasible" in str(found)
    again = quiet(model, example, stable_rank_fraction=0.05)
    assert again.rows[0].stable_rank_after == pytest.approx(3, rel=1e-6)
    model = depthwise()
    with pytest.raises(ValueError, match=r"^Conv1d: stable_rank_fraction: 0.05 given, infeasible .* clip=True"):
        quiet(model, example, stable_rank_fraction=0.05, clip=False)
    assert torch.equal(model.weight, before.weight)


def test_targets_below_all_that_is_found(norm_and_rank):
    # With reflected borders the least feasible stable rank is only bounded, and the bound is not reached.
    torch.manual_seed(0)
    model = layers.Conv1d(2, 2, 3, padding=1, padding_mode="reflect")
    norm, _ = norm_and_rank(model, (5,))
    with pytest.raises(ValueError, match=r"no kernel of this stable rank was found, .*, or clip=True"):
        quiet(model, torch.randn(1, 2, 5), stable_rank=1.3, stable_rank_fraction=None, clip=False)
    found = quiet(model, torch.randn(1, 2, 5), stable_rank=1.3, stable_rank_fraction=None)
    (row,) = found.rows
    assert row.clipped
    assert 1.3 < row.target < row.stable_rank_before
    assert "no kernel of this stable rank was found" in row.message
    assert norm_and_rank(model, (5,)) == pytest.approx((norm, row.target), rel=1e-6)


def test_half_precision_is_told_as_it_is(norm_and_rank):
    torch.manual_seed(0)
    model = layers.Linear(16, 16).bfloat16()
    found = quiet(model, torch.randn(1, 16).bfloat16())
    assert model.weight.dtype is torch.bfloat16
    norm, rank = norm_and_rank(model, ())
    row = found.rows[0]
    assert (row.norm_after, row.stable_rank_after) == pytest.approx((norm, rank), rel=1e-9)
    errors = abs(norm / row.norm_before - 1), abs(rank / row.target - 1)
    assert row.error == pytest.approx(max(errors), rel=1e-6)
    assert 1e-6 < row.error < 1e-2  # eight bits, 0.4 % of each entry


def test_time_is_limited(norm_and_rank):
    torch.manual_seed(0)
    model = layers.Conv2d(4, 4, 3, padding=1, padding_mode="replicate")
    norm, _ = norm_and_rank(model, (6, 6))
    began = time.process_time()
    (row,) = quiet(model, torch.randn(1, 4, 6, 6), stable_rank_fraction=0.3, max_time=0.3).rows
    assert time.process_time() - began < 6  # it takes ten times as long without a limit
    assert row.status == "limit"
    assert norm_and_rank(model, (6, 6)) == pytest.approx((norm, row.target), rel=1e-6)


# -- all or nothing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", some([MemoryError("none left"), ValueError("broken"), KeyboardInterrupt], 1))
def test_an_error_in_the_middle_changes_nothing(error, monkeypatch):
    model, solved = Mixed().train(), []
    before = state(model)

    def broken(problem, **settings):
        solved.append(problem)
        if len(solved) == 4:
            raise error
        return normalization_solve(problem, **settings)

    normalization_solve = normalization.solve
    monkeypatch.setattr(normalization, "solve", broken)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        quiet(model)
    assert len(solved) == 4
    require_same(model, before)


def test_a_layer_that_is_not_finite_changes_nothing():
    model = Mixed()
    with torch.no_grad():
        model.head.weight[0, 0] = math.nan
    before = copy.deepcopy(model.zeros.weight)
    with pytest.raises(ValueError, match="^head: entries that are not finite"):
        quiet(model)
    assert torch.equal(model.zeros.weight, before)


def test_ctrl_c_while_a_layer_is_solved_changes_nothing():
    torch.manual_seed(0)
    model = layers.ModuleList([layers.Linear(4, 4), layers.Conv2d(8, 8, 3, padding=1)])
    before, seen = state(model), []

    def progress(*what):
        seen.append(what)
        if what[1] == 1:  # the second layer takes seconds
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        quiet(Both(model), (torch.randn(1, 4), torch.randn(1, 8, 8, 8)), progress=progress)
    assert [done for _, done, _ in seen] == [0, 1]
    require_same(model, before)


class Both(layers.Module):
    """Two modules that do not see each other."""

    def __init__(self, both):
        super().__init__()
        self.both = both

    def forward(self, first, second):
        return self.both[0](first), self.both[1](second)


@pytest.mark.parametrize("interrupt", [True, False])
def test_what_happens_while_weights_are_exchanged_undoes_all(interrupt, monkeypatch):
    model, copied = layers.Sequential(layers.Linear(4, 4), layers.Linear(4, 4)), []
    before, copy_ = state(model), torch.Tensor.copy_

    def counted(tensor, *values):
        copied.append(tensor)
        if len(copied) == 2:
            if interrupt:
                signal.raise_signal(signal.SIGINT)
            else:
                raise RuntimeError("no memory")
        return copy_(tensor, *values)

    monkeypatch.setattr(torch.Tensor, "copy_", counted)
    with pytest.raises(KeyboardInterrupt if interrupt else RuntimeError):
        quiet(model, torch.randn(1, 4))
    monkeypatch.undo()
    assert len(copied) == 4  # two new ones, and both as they were
    require_same(model, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread():
    model, found = layers.Linear(4, 4), []
    thread = threading.Thread(target=lambda: found.append(quiet(model, torch.randn(1, 4))))
    thread.start()
    thread.join()
    assert found[0].rows[0].status == "optimal"


# -- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"stable_rank_fraction": None}, ValueError, "target: expected exactly one of .*, none given"),
        ({"stable_rank": 3.0}, ValueError, "target: .* stable_rank, stable_rank_fraction given"),
        ({"stable_rank_fraction": 1.5}, ValueError, "stable_rank_fraction: 1.5 given, expected at most 1"),
        ({"stable_rank_fraction": "half"}, TypeError, "stable_rank_fraction: 'half' given, expected a real number"),
        ({"max_time": 0}, ValueError, "max_time: 0 given, expected a positive number"),
        ({"progress": 3}, TypeError, "progress: 3 given, expected True, False or a function"),
    ],
)
def test_bad_arguments(settings, error, message):
    with pytest.raises(error, match=message):
        quiet(layers.Linear(4, 4), torch.randn(1, 4), **settings)


def test_what_is_no_model():
    with pytest.raises(TypeError, match="model: int given"):
        quiet(3)
    with pytest.raises(ValueError, match="example_input: the model cannot be called with it"):
        quiet(Mixed(), torch.randn(3))
    with pytest.raises(ValueError, match="model: ReLU has no layers, expected a model with some"):
        quiet(layers.ReLU(), torch.randn(3))


def test_progress_goes_on_to_the_end(capsys):
    seen = []
    quiet(layers.Sequential(layers.Linear(3, 3)), torch.randn(1, 3), progress=lambda *what: seen.append(what))
    assert seen == [("0 3×3", 0, 1), ("", 1, 1)]
    nn.normalize_(layers.Linear(3, 3), torch.randn(1, 3), stable_rank_fraction=0.9)
    assert capsys.readouterr().out == ""


def test_layers_are_independent_of_torch():
    rng = np.random.default_rng(0)
    layer = NetworkLayer("a", rng.standard_normal((2, 2, 3)), 8)
    found = normalize([layer], Goal.of(None, None, 0.8))
    assert found["a"].status == "optimal"
    assert found.weights["a"].shape == (2, 2, 3)
    bad = NetworkLayer("b", rng.standard_normal((2, 2, 3)), 2)
    with pytest.raises(ValueError, match="^b: kernel: .* taps are more than the input has points"):
        normalize([layer, bad], Goal.of(None, None, 0.8))


# -- published networks -----------------------------------------------------------------------------------------


NETWORKS = {
    "P-Net": (PNet, lambda: torch.rand(1, 3, 24, 24)),
    "silero-vad": (Silero, lambda: torch.rand(1, 576)),
    "FFDNet": (FFDNet, lambda: (torch.rand(1, 3, 8, 8), torch.full((1, 1, 1, 1), 0.1))),
    "small": (small_cnn, lambda: torch.rand(1, 3, 16, 16)),
}


@slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_and_their_files(name, tmp_path, norm_and_rank):
    make, example = NETWORKS[name]
    raw = make() if name == "small" else with_weights(name, make())
    model, given = copy.deepcopy(raw), example()
    found = quiet(model, given, stable_rank_fraction=0.6)
    for row in found.rows:
        *path, weight = row.layer.split(".")
        if row.status == "skipped":
            assert "PReLU" in row.message
            continue
        if weight.startswith("weight_"):  # of a recurrent module
            before, after = (dense(getattr(one.get_submodule(".".join(path)), weight)) for one in (raw, model))
        else:
            before, after = (norm_and_rank(one.get_submodule(row.layer), row.input_size) for one in (raw, model))
        # Single precision.
        assert after[0] == pytest.approx(before[0], rel=1e-6)
        assert after[1] == pytest.approx(row.target, rel=1e-6)
        assert row.clipped or row.target == pytest.approx(0.6 * before[1], rel=1e-9)
    written = by_command(raw, given, tmp_path)
    assert written.keys() == model.state_dict().keys()
    assert all(torch.equal(written[key], value) for key, value in model.state_dict().items())


def dense(weight):
    values = torch.linalg.svdvals(weight.detach().double())
    return float(values[0]), float((values**2).sum() / values[0] ** 2)


def by_command(model, example, folder):
    """What the command makes of a file with the weights of a model, of which a table tells the layers."""
    lines = ["schema = 1"]
    for layer in layers_of(model, example).seen:
        words = {"input_size": layer.input_sizes[0] or "dense", **layer.layout.words}
        lines.append(f'[layers."{layer.name}.weight"]')
        lines += [f"{key} = {json.dumps(value)}" for key, value in words.items()]
    lines += [f'[layers."{key}"]\ninput_size = []' for key in model.state_dict() if ".weight_" in key]
    (folder / "layers.toml").write_text("\n".join(lines))
    torch.save(model.state_dict(), folder / "w.pt")
    paths = [str(folder / name) for name in ("w.pt", "layers.toml", "o.safetensors")]
    arguments = ["normalize", paths[0], "--layers", paths[1], "--output", paths[2], "--stable-rank-fraction", "0.6"]
    app(arguments, standalone_mode=False)
    return load_file(paths[2])
