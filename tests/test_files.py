import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import srnc_manifold as srnc

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


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name ending in \.npy"):
        srnc.read_arrays("kernel.mat")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        srnc.read_arrays(tmp_path / "none.npy")
