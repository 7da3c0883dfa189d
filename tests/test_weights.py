"""Files of weights that are written anew: what is not changed is what it was, bit for bit."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from srnc_manifold.files import WeightsFile

NUMBERS = torch.arange(6.0).reshape(2, 3)

KINDS = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
    "u8": torch.uint8, "bool": torch.bool, "c64": torch.complex64, "f8": torch.float8_e4m3fn,
    "f8 too": torch.float8_e5m2,
}  # fmt: skip


def odd():
    """Tensors of all types, and one with numbers that a calculation would change."""
    codes = np.array([0x7FC00001, 0x7F800001, 0x80000000, 1], np.uint32)  # not numbers, zero with a sign, denormal
    return {name: NUMBERS.to(dtype) for name, dtype in KINDS.items()} | {
        "special": torch.from_numpy(codes.view(np.float32)),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.5),
        "gate.weight": NUMBERS.clone(),
    }


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


def saved(folder, suffix, tensors=None):
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(odd() if tensors is None else tensors, path, {"format": "pt", "author": "someone"})
    else:
        torch.save(odd() if tensors is None else tensors, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_all_else_is_carried_over_bit_for_bit(suffix, tmp_path):
    path, output = saved(tmp_path, suffix), tmp_path / "new.safetensors"
    before = path.read_bytes()
    file = WeightsFile(path)
    new = file.rounded("gate.weight", np.full((2, 3), 1 / 3))
    file.write(output, {"gate.weight": new})
    assert path.read_bytes() == before
    found = load_file(output)
    assert {name: bits(tensor) for name, tensor in found.items() if name != "gate.weight"} == {
        name: bits(tensor) for name, tensor in odd().items() if name != "gate.weight"
    }
    assert bits(found["gate.weight"]) == bits(torch.full((2, 3), 1 / 3))
    with safe_open(output, "pt") as opened:
        assert opened.metadata()["format"] == "pt"
        assert opened.metadata().get("author") == ("someone" if suffix == ".safetensors" else None)


def test_the_layout_of_a_file_of_safetensors_stays(tmp_path):
    path, output = saved(tmp_path, ".safetensors"), tmp_path / "new.safetensors"
    file = WeightsFile(path)
    file.write(output, {})
    assert output.read_bytes() == path.read_bytes()
    file.write(output, {"f64": np.full((2, 3), 7.0), "bf16": np.full((2, 3), 3.0)})
    length = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert output.read_bytes()[:length] == path.read_bytes()[:length]
    assert json.loads(output.read_bytes()[8:length])["__metadata__"]["author"] == "someone"
    assert torch.equal(load_file(output)["bf16"], torch.full((2, 3), 3.0, dtype=torch.bfloat16))


@pytest.mark.parametrize("name", ["f64", "f32", "f16", "bf16"])
def test_values_are_rounded_as_torch_rounds_them(name, tmp_path):
    file = WeightsFile(saved(tmp_path, ".safetensors"))
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(1000), [1 + 2**-9, 1 + 3 * 2**-9, 1 - 2**-10, 0.0, -0.0, 3e-5]])
    found = file.rounded(name, values)
    # From single precision, as the numbers of a layer are; from double, torch rounds to bfloat16 in one step.
    expected = torch.from_numpy(values.astype(np.float32) if name == "bf16" else values).to(KINDS[name])
    assert np.array_equal(found.astype(float), expected.double().numpy())
    assert np.array_equal(file.rounded(name, found), found)


def test_tied_tensors_of_a_file_are_one(tmp_path):
    tied = torch.randn(2, 3)
    path = saved(tmp_path, ".pt", {"a": tied, "b": {"c": tied}, "d": tied.clone(), "step": 3, "notes": ["x"]})
    file = WeightsFile(path)
    assert file.same_memory("a") == file.same_memory("b.c") == ("a", "b.c")
    assert file.same_memory("d") == ("d",)
    assert file.others == ["step", "notes.0"]
    file.write(tmp_path / "o.safetensors", dict.fromkeys(file.same_memory("a"), np.ones((2, 3))))
    found = load_file(tmp_path / "o.safetensors")
    assert torch.equal(found["a"], torch.ones(2, 3))
    assert torch.equal(found["b.c"], torch.ones(2, 3))
    assert torch.equal(found["d"], tied)


def test_memory_that_is_shared_in_part_is_refused(tmp_path):
    whole = torch.randn(4, 4)
    file = WeightsFile(
        saved(tmp_path, ".pt", {"whole": whole, "turned": whole.T, "rows": whole[1:3], "last": whole[3:]})
    )
    for name in ("whole", "turned", "rows"):
        with pytest.raises(ValueError, match=rf"^{name}: it shares memory with \w+, in another shape or type"):
            file.same_memory(name)
    flat = torch.randn(8)  # as the weights of a recurrent module
    file = WeightsFile(saved(tmp_path, ".pt", {"one": flat[:4].view(2, 2), "other": flat[4:].view(2, 2)}))
    assert file.same_memory("one") == ("one",)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.eye(2).to_sparse(), "it is sparse"),
        (torch.ones(2, dtype=torch.complex128), "safetensors has no type complex128"),
        (torch.ones(2, device="meta"), "on the meta device"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(tensor, reason, tmp_path):
    path = saved(tmp_path, ".pt", {"fine": NUMBERS, "odd": tensor, "odd too": tensor})
    with pytest.raises(
        ValueError, match=rf"'odd' of '.*weights.pt' cannot be carried over: .*{reason}.*\(and 1 more\)"
    ):
        WeightsFile(path)


def test_files_of_other_kinds_are_refused(tmp_path):
    np.save(tmp_path / "k.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"expected a name ending in \.safetensors, \.pt, \.pth"):
        WeightsFile(tmp_path / "k.npy")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        WeightsFile(tmp_path / "none.safetensors")


def test_a_file_that_has_changed_is_refused(tmp_path):
    path, output = saved(tmp_path, ".safetensors"), tmp_path / "new.safetensors"
    file = WeightsFile(path)
    save_file({"gate.weight": NUMBERS}, path)
    with pytest.raises(ValueError, match="has changed since it was read"):
        file.write(output, {})
    assert not output.exists()
    assert os.listdir(tmp_path) == ["weights.safetensors"]
