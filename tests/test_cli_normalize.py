"""The command ``srnc normalize`` and the table of layers that it reads."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiers import slow
from torch import nn

from srnc_manifold.cli import app
from srnc_manifold.networks import table

SRNC = Path(sys.executable).with_name("srnc")

TARGET = ("--stable-rank-fraction", "0.7")

TABLE = """
schema = 1

[defaults]
padding = 1
padding_mode = "zeros"

[layers."0.weight"]
input_size = 8

[layers."2.weight"]
input_size = [8]
stride = 2
groups = 2

[layers."3.weight"]
input_size = 4
groups = 4
padding_mode = "circular"

[layers."4.weight"]
input_size = 4
stride = 2
transposed = true
output_padding = 1

[layers."[56].weight"]
input_size = "dense"
"""


def model():
    """Zeros, a stride with groups, a depthwise circular layer, a transposed one and two matrices."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1),
        nn.BatchNorm1d(4),
        nn.Conv1d(4, 4, 3, padding=1, stride=2, groups=2),
        nn.Conv1d(4, 4, 3, padding=1, groups=4, padding_mode="circular"),
        nn.ConvTranspose1d(4, 2, 3, padding=1, stride=2, output_padding=1),
        nn.Linear(8, 4),
        nn.Linear(4, 3).double(),
    )


SIZES = {"0": (8,), "2": (8,), "3": (4,), "4": (4,), "5": (), "6": ()}


@pytest.fixture
def folder(tmp_path):
    state = {**model().state_dict(), "half": torch.arange(9).bfloat16()}
    save_file(state, tmp_path / "w.safetensors", {"author": "someone"})
    torch.save({**state, "epoch": 3}, tmp_path / "w.pt")
    (tmp_path / "layers.toml").write_text(TABLE)
    return tmp_path


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """The command in this process, in the folder."""
    monkeypatch.chdir(folder)

    def command(*arguments):
        app([*map(str, arguments)], standalone_mode=False)
        return capsys.readouterr().out

    return command


def normalize(command, *more, weights="w.safetensors", layers="layers.toml", output="o.safetensors", target=TARGET):
    return command("normalize", weights, "--layers", layers, "--output", output, *target, *more)


@pytest.mark.parametrize("weights", ["w.safetensors", "w.pt"])
def test_every_target_is_met_in_the_file(weights, folder, command, norm_and_rank):
    given = (folder / weights).read_bytes()
    out = normalize(command, "--rows", "rows.csv", weights=weights)
    assert (folder / weights).read_bytes() == given
    raw, new, written = model(), model(), load_file("o.safetensors")
    new.load_state_dict({name: tensor for name, tensor in written.items() if name != "half"})
    rows = pd.read_csv("rows.csv").set_index("layer")
    for name, size in SIZES.items():
        row = rows.loc[f"{name}.weight"]
        before, after = (norm_and_rank(one.get_submodule(name), size) for one in (raw, new))
        # Rounding to single precision leaves some 1e-8.
        assert after[0] == pytest.approx(before[0], rel=1e-6)
        assert after[1] == pytest.approx(row["target"], rel=1e-6)
        assert row["target"] == pytest.approx(0.7 * before[1], rel=1e-9) or row["clipped"]
        assert f"{row['stable_rank_after']:.5g}" in out
    assert list(rows.index[rows["clipped"]]) == ["6.weight"]  # less than rank one
    changed = {f"{name}.weight" for name in SIZES}
    before = {**raw.state_dict(), "half": torch.arange(9).bfloat16()}
    assert written.keys() == before.keys()
    for name, tensor in before.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor) == (name not in changed)
    with safe_open("o.safetensors", "pt") as opened:
        assert opened.metadata() == ({"author": "someone"} if weights == "w.safetensors" else {"format": "pt"})
    assert out.splitlines()[-1] == (
        "written o.safetensors, rows.csv" if weights == "w.safetensors" else "not written, as they are no arrays: epoch"
    )


def test_tied_weights_of_a_file(command):
    weight = torch.randn(4, 4)
    torch.save({"a.weight": weight, "b.weight": weight, "c.weight": weight.clone()}, "tied.pt")
    Path("t.toml").write_text('schema = 1\n[layers."[ab].weight"]\ninput_size = "dense"\n')
    out = normalize(command, weights="tied.pt", layers="t.toml")
    assert "tied b.weight: to a.weight" in out
    assert "skipped c.weight: not in the table" in out
    found = load_file("o.safetensors")
    assert torch.equal(found["a.weight"], found["b.weight"])
    assert not torch.equal(found["a.weight"], weight)
    assert torch.equal(found["c.weight"], weight)
    Path("t.toml").write_text(
        'schema = 1\n[layers."b.weight"]\ninput_size = []\n[layers."a.weight"]\ninput_size = 8\npadding = 0\n'
    )
    with pytest.raises(ValueError, match=r"b.weight: it is the same memory as a.weight, expected the same words"):
        normalize(command, weights="tied.pt", layers="t.toml")
    Path("t.toml").write_text('schema = 1\n[layers."b.weight"]\ninput_size = []\n')
    normalize(command, weights="tied.pt", layers="t.toml")
    assert torch.equal(load_file("o.safetensors")["a.weight"], found["a.weight"])


def test_other_targets_and_limits(folder, command):
    out = normalize(command, "--max-time", "20", target=("--stable-rank", "2"), layers=only("3.weight", 4, 4))
    name, *_, after, target = out.splitlines()[1].split()[:7]
    assert (name, after, target) == ("3.weight", "2", "2")
    before = (folder / "w.safetensors").read_bytes()
    assert "layers: 6 unchanged" in normalize(command, target=("--relative-stable-rank", "1"))
    assert (folder / "o.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match=r"^3.weight: stable_rank_fraction: 0.05 given, infeasible"):
        normalize(command, "--no-clip", target=("--stable-rank-fraction", "0.05"), layers=only("3.weight", 4, 4))
    with pytest.raises(ValueError, match="target: expected exactly one of"):
        normalize(command, target=())


def only(name, size, groups):
    """A table with one layer."""
    Path("one.toml").write_text(
        f'schema = 1\n[layers."{name}"]\ninput_size = {size}\ngroups = {groups}\npadding_mode = "circular"\n'
    )
    return "one.toml"


# -- files that are refused -------------------------------------------------------------------------------------


def test_what_is_read_is_never_written(folder, command):
    os.link("w.safetensors", "hard.safetensors")
    os.symlink("w.safetensors", "soft.safetensors")
    before = (folder / "w.safetensors").read_bytes()
    for output in ("w.safetensors", "./w.safetensors", "hard.safetensors", "soft.safetensors"):
        with pytest.raises(ValueError, match="output: '.*safetensors' given, which is read; expected another file"):
            normalize(command, output=output)
    with pytest.raises(ValueError, match=r"output: 'o.pt' given, expected a name ending in .safetensors"):
        normalize(command, output="o.pt")
    with pytest.raises(ValueError, match="output: 'no/o.safetensors' given, but its folder does not exist"):
        normalize(command, output="no/o.safetensors")
    with pytest.raises(ValueError, match=r"rows: 'r.txt' given, expected a name ending in .csv"):
        normalize(command, "--rows", "r.txt")
    with pytest.raises(ValueError, match=r"rows: 'o.safetensors.csv' given, which is output|which is read"):
        normalize(command, "--rows", "layers.csv", layers=linked("layers.toml", "layers.csv"))
    assert (folder / "w.safetensors").read_bytes() == before


def linked(name, link):
    os.link(name, link)
    return name


BAD = {
    "no TOML": ("schema = 1\nlayers = = 2\n", r"'t.toml' is not TOML: Invalid value \(at line 2, column 10\)"),
    "no text": (b"\xff\xfe", "'t.toml' is not TOML: 'utf-8' codec"),
    "twice": ('schema = 1\n[layers.a]\n[layers.a]\n', r"is not TOML: Cannot declare .* \(at line 3, column 10\)"),
    "no schema": ('[layers."0.weight"]\ninput_size = 8\n', "'t.toml' has no schema, expected schema = 1"),
    "new schema": ("schema = 2\n", "schema 2 given in 't.toml'; this release knows schema 1"),
    "odd schema": ("schema = true\n", "schema True given"),
    "no layers": ("schema = 1\n", r"'t.toml' has no layers, expected tables such as \[layers"),
    "unknown table": ("schema = 1\n[layer.a]\n", "'layer' is unknown in 't.toml', expected defaults and layers"),
    "no table": ("schema = 1\nlayers = 3\n", "layers is 3 in 't.toml', expected a table"),
    "no entry": ('schema = 1\n[layers]\n"0.weight" = 8\n', "'0.weight': 8 given, expected a table"),
    "unknown key": ("input = 8", "'0.weight': 'input' is unknown, expected some of input_size, stride, .*, skip"),
    "unknown default": (
        'schema = 1\n[defaults]\nskip = true\n[layers."0.weight"]\n',
        "'defaults': 'skip' is unknown",
    ),
    "unknown layer": (
        'schema = 1\n[layers."9.weight"]\ninput_size = 8\n',
        "'9.weight' given, which is no array of 'w.safetensors' and fits the name of none",
    ),
    "no size": ("padding = 1", "'0.weight': input_size missing, expected an integer or a list of them, or 'dense'"),
    "size to fill in": ('input_size = "?"', r"'0.weight': input_size is still '\?', expected an integer"),
    "word to fill in": ('input_size = 8\npadding = "?"', r"'0.weight': padding is still '\?', expected"),
    "no padding": ("input_size = 8", "'0.weight': padding missing, expected .* or padding_mode = 'circular'"),
    "no mode": ("input_size = 8\npadding = 1", "'0.weight': padding_mode missing, expected one of zeros, circular"),
    "odd size": ("input_size = 8.0", "'0.weight': input_size is 8.0, expected an integer"),
    "odd sizes": ("input_size = [8, true]", r"'0.weight': input_size is \[8, True\], expected"),
    "odd word": ('input_size = "big"', "'0.weight': input_size is 'big', expected"),
    "odd groups": ("input_size = 8\ngroups = [2]", r"'0.weight': groups is \[2\], expected an integer"),
    "odd mode": ('input_size = 8\npadding_mode = "mirror"', "'0.weight': padding_mode is 'mirror', expected one of"),
    "odd transposed": ("input_size = 8\ntransposed = 1", "'0.weight': transposed is 1, expected true or false"),
    "odd skip": ("skip = 1", "'0.weight': skip is 1, expected true or false"),
    "negative size": ("input_size = -8\npadding = 0", r"0.weight: input_size: -8 given, expected positive"),
    "no such groups": ("input_size = 8\ngroups = 3\npadding = 0", "0.weight: groups: 3 given, expected a divisor"),
    "many axes": ("input_size = [8, 8]\npadding = 0", r"0.weight: kernel: 3 axes, shape \(4, 2, 3\), do not fit"),
    "small size": ("input_size = 2\npadding = 0", "0.weight: .*input"),
    "no divisor": ('input_size = 8\nstride = 3\npadding_mode = "circular"', "0.weight: stride: .* expected divisors"),
    "dense": ('input_size = "dense"', "0.weight: kernel: 3 axes"),
    "dense words": ('input_size = "dense"\nstride = 2', "'0.weight': stride given for a dense layer, which has none"),
    "two patterns": (
        'schema = 1\n[layers."0*"]\ninput_size = 8\n[layers."*weight"]\ninput_size = 8\n',
        r"'0.weight': fits '0\*' and '\*weight', expected one entry for it",
    ),
    "no weight": ('schema = 1\n[layers."1.num_batches_tracked"]\ninput_size = 8\npadding = 0\n', "dtype I64 given"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_one_line(name, command):
    content, message = BAD[name]
    if isinstance(content, str) and "schema" not in content and "[layers" not in content:
        content = f'schema = 1\n[layers."0.weight"]\n{content}\n'
    Path("t.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        normalize(command, layers="t.toml")
    assert str(caught.value).isprintable()
    assert not Path("o.safetensors").exists()


def test_other_bad_files(command):
    with pytest.raises(FileNotFoundError, match="layers: 'none.toml' does not exist"):
        normalize(command, layers="none.toml")
    with pytest.raises(FileNotFoundError, match="file: 'none.pt' does not exist"):
        normalize(command, weights="none.pt")


@slow
def test_the_command_ends_with_one_line(folder):
    (folder / "t.toml").write_text("schema = 1\nlayers = = 2\n")
    line = "srnc: layers: 't.toml' is not TOML: Invalid value (at line 2, column 10)\n"
    assert end(start(folder, "t.toml")) == (2, "", line)


def test_patterns_and_what_is_left_alone(command):
    Path("t.toml").write_text(
        'schema = 1\n[defaults]\npadding_mode = "circular"\n[layers."[034].weight"]\ninput_size = 6\n'
        '[layers."3.weight"]\ninput_size = 4\ngroups = 4\n[layers."4.weight"]\nskip = true\n'
    )
    out = normalize(command, layers="t.toml")
    assert "skipped 4.weight: the table says so" in out
    assert "skipped 2.weight: not in the table" in out
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["0.weight", "4×2×3", "6"],
        ["3.weight", "4×1×3", "4"],
    ]


# -- the first table --------------------------------------------------------------------------------------------


def test_a_first_table_is_refused_until_it_is_filled_in(command):
    out = command("inspect", "w.safetensors", "--write-layers", "first.toml")
    assert "written first.toml: 6 layers; fill in every '?' and check the rest" in out
    assert "left out 1.running_mean: statistics of a normalization" in out
    text = Path("first.toml").read_text()
    data = tomllib.loads(text)
    assert data["schema"] == table.SCHEMA
    assert set(data["layers"]) == {f"{name}.weight" for name in SIZES}
    assert data["layers"]["5.weight"] == {"input_size": "dense"}
    assert "# one input channel; if the layer is depthwise: groups = 4" in text
    seen = []
    for key, value in (("stride", "1"), ("padding", "1"), ("padding_mode", '"zeros"'), *[("input_size", "8")] * 4):
        with pytest.raises(ValueError, match=r"is still '\?'") as caught:
            normalize(command, layers="first.toml")
        seen.append(str(caught.value).split()[2])
        text = text.replace(f'{key} = "?"', f"{key} = {value}", 1)
        Path("first.toml").write_text(text)
    assert seen == ["stride", "padding", "padding_mode", *["input_size"] * 4]
    everything = ("--stable-rank-fraction", "1")
    assert "layers: 6 unchanged" in normalize(command, layers="first.toml", target=everything)
    with pytest.raises(FileExistsError, match="write-layers: 'first.toml' given, which exists"):
        command("inspect", "w.safetensors", "--write-layers", "first.toml")


def test_a_first_table_with_what_is_assumed(command):
    words = ("-n", "8", "--padding", "1", "--padding-mode", "zeros", "--groups", "2")
    out = command("inspect", "w.safetensors", *words, "--write-layers", "first.toml")
    assert "input size 8, groups 2, stride 1, dilation 1, padding 1 of the mode zeros" in out
    data = tomllib.loads(Path("first.toml").read_text())
    assert data["defaults"]["padding_mode"] == "zeros"
    assert data["defaults"]["groups"] == 2
    assert data["layers"]["2.weight"] == {"input_size": 8}
    with pytest.raises(ValueError, match="input-size: none given, expected"):
        command("inspect", "w.safetensors")
    command("inspect", "w.safetensors", "-n", "8", "--write-layers", "circular.toml")
    assert "padding" not in tomllib.loads(Path("circular.toml").read_text())["defaults"]


def test_names_of_a_table_are_quoted(tmp_path):
    names = ['a"b\\c', "ü\t\x7f\x1b", "x.y", "#", "ends in \U0001f600"]
    text = table.first_table("w\n.pt", dict.fromkeys(names, (2, 2, 3)), {names[0]: "a\nnote"}, 8, {"padding": 0})
    (tmp_path / "t.toml").write_text(text, encoding="utf-8")
    found = table.read_table(tmp_path / "t.toml")
    assert list(found.entries) == names
    assert found.defaults["padding"] == 0


# -- killed -----------------------------------------------------------------------------------------------------


def start(folder, layers="layers.toml", before=""):
    """The command in a process of its own, after some code."""
    arguments = ["srnc", "normalize", "w.safetensors", "--layers", layers, "--output", "o.safetensors", *TARGET]
    code = f"import sys, os, signal\nsys.argv = {arguments}\n{before}\nfrom srnc_manifold.cli import main\nmain()"
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, text=True, **files)


def end(process):
    """How it ended, what it printed, and its errors."""
    out, errors = process.communicate()
    return process.returncode, out, errors


def require_old_or_new(folder, new=None):
    """Whatever has happened: no file, the old one or the whole new one, and nothing else."""
    names = sorted(set(os.listdir(folder)) - {"o.safetensors"})
    assert names == ["layers.toml", "w.pt", "w.safetensors"]
    output = folder / "o.safetensors"
    assert output.read_bytes() in (b"old", new) if new else output.read_bytes() == b"old"


# While the file is written, and as late as it can be: the new file is whole, and not yet in its place.
WHILE_WRITING = "os.{0} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("when", ["fsync", "link"])
def test_killed_while_it_writes(when, folder):
    (folder / "o.safetensors").write_bytes(b"old")
    assert end(start(folder, before=WHILE_WRITING.format(when)))[0] == -signal.SIGKILL
    require_old_or_new(folder)


# At its end the processor time since then, which is what a timer counts.
TELL_THE_TIME = (
    "import atexit, time; began = time.process_time(); "
    "atexit.register(lambda: print(time.process_time() - began, file=sys.stderr))"
)


@slow
def test_killed_at_ten_moments(folder, command):
    normalize(command, output="o.safetensors")
    new = (folder / "o.safetensors").read_bytes()
    codes, _, told = zip(*(end(start(folder, before=TELL_THE_TIME)) for _ in range(2)), strict=True)
    assert codes == (0, 0)
    took = min(float(text.split()[-1]) for text in told)
    ended = []
    for k in range(1, 11):
        (folder / "o.safetensors").write_bytes(b"old")
        # Its own processor time, which other work on the machine does not change much. Nothing handles this signal:
        # the process ends as abruptly as by SIGKILL.
        timer = f"signal.setitimer(signal.ITIMER_PROF, {took * (k - 0.5) / 10})"
        ended.append(end(start(folder, before=timer))[0])
        require_old_or_new(folder, new)
    assert ended.count(-signal.SIGPROF) >= 8  # the last ones may need less than the first


@slow
def test_ctrl_c_writes_nothing(folder):
    (folder / "o.safetensors").write_bytes(b"old")
    raise_it = (
        "from srnc_manifold.networks import normalization as n\nfirst = n.solve\n"
        "n.solve = lambda *a, **k: (os.kill(os.getpid(), signal.SIGINT), first(*a, **k))[1]"
    )
    assert end(start(folder, before=raise_it))[0] == 130
    require_old_or_new(folder)


NO_TORCH = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
"""


def test_safetensors_need_no_torch(folder):
    code, out, errors = end(start(folder, before=NO_TORCH))
    assert code == 0, errors
    assert "written o.safetensors" in out
