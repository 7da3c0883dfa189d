import io
import shutil
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tiers import slow

import srnc_manifold as srnc
from srnc_manifold import exchange
from srnc_manifold.files import read_file

ARRAYS = {"conv.weight": np.arange(12, dtype=np.float32).reshape(2, 2, 3), "bias": np.ones(2, np.float32)}


def write(path):
    if path.suffix == ".npz":
        np.savez(path, **ARRAYS)
    elif path.suffix == ".safetensors":
        save_file(ARRAYS, path)
    else:
        torch.save({"conv": {"weight": torch.tensor(ARRAYS["conv.weight"])}, "bias": torch.ones(2), "epoch": 3}, path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".pth"])
def test_named_arrays_are_read(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    write(path)
    found = srnc.read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array)


def test_single_arrays_are_called_by_their_file(tmp_path):
    np.save(tmp_path / "kernel.npy", np.ones(3))
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    assert list(srnc.read_arrays(tmp_path / "kernel.npy")) == ["kernel"]
    assert list(srnc.read_arrays(tmp_path / "tensor.pt")) == ["tensor"]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"not what it says", b"\x80\x04K\x01."])
def test_unreadable_files(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad.* cannot be read"):
        srnc.read_arrays(path)


def test_what_numpy_lacks_is_read_in_single_precision(tmp_path):
    from safetensors.torch import save_file as save_tensors

    kernel = torch.arange(6).reshape(2, 3).to(torch.bfloat16)
    torch.save({"k": kernel, "s": kernel.to_sparse()}, tmp_path / "k.pt")
    save_tensors({"k": kernel}, tmp_path / "k.safetensors")
    for name in ("k.pt", "k.safetensors"):
        for array in srnc.read_arrays(tmp_path / name).values():
            assert array.dtype == np.float32
            assert np.array_equal(array, np.arange(6).reshape(2, 3))


def test_files_without_arrays(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="holds no arrays"):
        srnc.read_arrays(tmp_path / "empty.pt")


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        srnc.read_arrays(tmp_path / "objects.npy")
    torch.save(torch.nn.Conv1d(1, 1, 1), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        srnc.read_arrays(tmp_path / "model.pt")
    assert str(caught.value).isprintable()  # torch's message has escape sequences


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name ending in \.npy"):
        srnc.read_arrays("kernel.mat")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        srnc.read_arrays(tmp_path / "none.npy")


# -- no array is lost, none hides another -----------------------------------------------------------------------

A, B = torch.ones(2), torch.zeros(3)


def read(tmp_path, data, name="weights.pt"):
    torch.save(data, tmp_path / name)
    return read_file(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({0: A, "0": B}, ["0", "0 (2)"]),
        ({"ema": {"conv.weight": A}, "ema.conv.weight": B}, ["ema.conv.weight", "ema.conv.weight (2)"]),
        ({"": {"a": A}, "a": B}, ["a", "a (2)"]),
        ({1: A, "1": B, "1 (2)": A}, ["1", "1 (2)", "1 (2) (2)"]),
        ({"layers": [A, {"w": B}], "pair": (A, B)}, ["layers.0", "layers.1.w", "pair.0", "pair.1"]),
        ([A, B], ["0", "1"]),
    ],
)
def test_arrays_of_one_name_are_all_read(tmp_path, data, names):
    found = read(tmp_path, data)
    assert list(found.arrays) == names
    assert not found.skipped
    assert {array.shape for array in found.arrays.values()} == {(2,), (3,)}


def test_npz_members_of_one_name_are_all_read(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, a=np.ones(2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a", npy(np.ones(4)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy(np.zeros(3)))
    found = srnc.read_arrays(path)
    assert {name: array.shape for name, array in found.items()} == {"a": (2,), "a (2)": (4,), "a (3)": (3,)}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def odd_tensors():
    eye = torch.eye(3)
    numbers = torch.arange(4.0).reshape(2, 2)
    complexes = torch.complex(numbers, -numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "conjugated": (complexes.clone().conj(), complexes.numpy().conj()),
            "negated": (complexes.clone().conj().imag, numbers.numpy()),
            "half complex": (complexes.to(torch.complex32), complexes.numpy()),
            "sparse": (eye.to_sparse(), np.eye(3)),
            "rows": (eye.to_sparse_csr(), np.eye(3)),
            "columns": (eye.to_sparse_csc(), np.eye(3)),
            "bfloat16": (numbers.bfloat16(), numbers.numpy()),
            "float8": (numbers.to(torch.float8_e4m3fn), numbers.numpy()),
            "gradient": (numbers.clone().requires_grad_(), numbers.numpy()),
            "parameter": (torch.nn.Parameter(numbers.clone()), numbers.numpy()),
            "large integers": (torch.full((2,), 2**64 - 1, dtype=torch.uint64), np.full(2, 2**64 - 1, np.uint64)),
            "quantized": (torch.quantize_per_tensor(numbers, 0.1, 0, torch.qint8), "quantized"),
            "meta": (torch.ones(2, device="meta"), "no values"),
            "nested": (torch.nested.nested_tensor([A, B]), "rows differ in length"),
            "four bits": (torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "not implemented"),
            "repeated": (torch.ones(1).expand(10**12), "far more than its file"),
            "empty sparse": (torch.sparse_coo_tensor(torch.zeros(1, 0), [], (10**12,)), "far more than its file"),
        }


def test_an_odd_tensor_hides_no_other(tmp_path):
    odd = odd_tensors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read(tmp_path, {"first": A, **{name: tensor for name, (tensor, _) in odd.items()}, "last": B})
    assert {"first", "last"} <= found.arrays.keys()
    for name, (_, expected) in odd.items():
        if isinstance(expected, str):
            assert expected in found.skipped[name]
            assert name not in found.arrays
        else:
            np.testing.assert_array_equal(found.arrays[name], expected)
            assert found.arrays[name].dtype.kind == expected.dtype.kind


@slow  # it imports much
def test_a_jagged_tensor_hides_no_other(tmp_path):
    found = read(tmp_path, {"jagged": torch.nested.nested_tensor([A, B], layout=torch.jagged), "a": A})
    assert list(found.arrays) == ["a"]
    assert "rows differ in length" in found.skipped["jagged"]


def test_a_sparse_tensor_with_wrong_indices_writes_nowhere(tmp_path):
    wrong = torch.sparse_coo_tensor([[0, 10**9]], [1.0, 2.0], (3,), check_invariants=False)
    found = read(tmp_path, {"wrong": wrong, "right": A})
    assert list(found.arrays) == ["right"]
    assert "size" in found.skipped["wrong"]


def test_a_file_nested_in_itself(tmp_path):
    loop: dict[str, Any] = {"a": A}
    loop["loop"] = loop
    found = read(tmp_path, loop)
    assert list(found.arrays) == ["a"]
    assert "nested in itself" in found.skipped["loop"]


def test_references_to_one_list_do_not_grow_without_end(tmp_path):
    data = [A]
    for _ in range(60):
        data = [data, data]
    torch.save(data, tmp_path / "many.pt")
    with pytest.raises(ValueError, match="more than 100000 entries"):
        read_file(tmp_path / "many.pt")


def test_an_odd_member_of_an_npz_hides_no_other(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, kernel=np.ones((3, 3)), objects=np.array([{}], object), text=np.array("a"), pair=np.ones(2, "f,i"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("float8.npy", npy(np.zeros(2, np.uint8)).replace(b"|u1", b"|V1"))
        archive.writestr("large.npy", npy(np.ones(2)).replace(b"(2,)", b"(10000000000000,)"))
        archive.writestr("README", "read me")
    found = read_file(path)
    assert list(found.arrays) == ["kernel"]
    assert set(found.skipped) == {"objects", "text", "pair", "float8", "large", "README"}
    assert "Object arrays" in found.skipped["objects"]
    assert "not numbers" in found.skipped["float8"]


@pytest.mark.parametrize("array", [np.array([{}], object), np.ones(2, "f,i"), np.array("a"), np.array(["2020"], "M8")])
def test_npy_files_without_numbers_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="a.npy' cannot be read") as caught:
        srnc.read_arrays(tmp_path / "a.npy")
    assert len(str(caught.value).splitlines()) == 1


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "_ROOM", 2**20)
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(2**20), b=np.ones(2))
    shutil.copy(tmp_path / "bomb.npz", tmp_path / "bomb.pt")
    found = read_file(tmp_path / "bomb.npz")
    assert list(found.arrays) == ["b"]
    assert "far more than its file" in found.skipped["a"]
    with pytest.raises(ValueError, match="far more than its size"):
        read_file(tmp_path / "bomb.pt")
    with pytest.raises(ValueError, match="not a saved problem .*far more than its file"):
        srnc.load_problem(tmp_path / "bomb.npz")


# -- safetensors ------------------------------------------------------------------------------------------------

FLOAT8 = [name for name in dir(torch) if name.startswith("float8_")]


@pytest.mark.parametrize("dtype", [*FLOAT8, "bfloat16"])
def test_short_floating_point_is_read_exactly(tmp_path, dtype):
    from safetensors.torch import save_file as save_tensors

    codes = np.arange(256, dtype=np.uint8) if dtype in FLOAT8 else np.arange(2**16, dtype=np.uint16)
    tensor = torch.tensor(codes).view(getattr(torch, dtype)).reshape(16, -1)
    save_tensors({"w": tensor, "b": torch.ones(2)}, tmp_path / "w.safetensors")
    found = srnc.read_arrays(tmp_path / "w.safetensors")["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.float().numpy())
    zeros = found == 0
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(tensor.float().numpy()[zeros]))
    np.testing.assert_array_equal(read(tmp_path, {"w": tensor}).arrays["w"], found)


def test_an_odd_safetensor_hides_no_other(tmp_path):
    from safetensors.torch import save_file as save_tensors

    four = torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    save_tensors({"four": four, "w": A, "c": torch.ones(2, dtype=torch.complex64)}, tmp_path / "w.safetensors")
    found = read_file(tmp_path / "w.safetensors")
    assert set(found.arrays) == {"w", "c"}
    assert "F4" in found.skipped["four"]


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_safetensors_keep_their_types(tmp_path, dtype):
    array = np.arange(6).astype(dtype).reshape(2, 3)
    save_file({"w": array, "empty": array[:0]}, tmp_path / "w.safetensors")
    found = srnc.read_arrays(tmp_path / "w.safetensors")
    assert found["w"].dtype == array.dtype
    assert np.array_equal(found["w"], array)
    assert found["empty"].shape == (0, 3)


def test_what_is_left_out_is_told_if_nothing_remains(tmp_path):
    torch.save({"q": odd_tensors()["quantized"][0]}, tmp_path / "q.pt")
    with pytest.raises(ValueError, match="holds no arrays that can be read: 'q': a tensor that is quantized"):
        srnc.read_arrays(tmp_path / "q.pt")
