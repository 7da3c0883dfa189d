"""Files that were damaged, or made to harm, are read or refused in one line. They run no code and take no memory."""

import io
import json
import os
import pickle
import resource
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tiers import slow

import srnc_manifold as srnc

MARKER = "marker"
READERS = {
    ".npy": [srnc.read_arrays],
    ".npz": [srnc.read_arrays, srnc.load_problem],
    ".safetensors": [srnc.read_arrays],
    ".pt": [srnc.read_arrays],
    ".json": [srnc.load_problem, srnc.Result.load],
}


class Harm:
    """What makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def saved(write, *arguments):
    file = io.BytesIO()
    write(*arguments, file)
    return file.getvalue()


def valid_files(folder):
    """Contents of valid files by ending."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((4, 2, 3)).astype("f")
    tensors = {"w": torch.tensor(kernel), "b": torch.ones(2).bfloat16(), "s": torch.eye(3).to_sparse(), "epoch": 3}
    problem = srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.8)
    stack = srnc.StackProblem([problem, srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=32)])
    result = srnc.solve(srnc.SRNProblem([1.0, 2.0, 3.0], 16, stable_rank_fraction=0.9))
    found = {
        ".npy": [saved(lambda file: np.save(file, kernel)), saved(lambda file: np.save(file, np.ones(3), False))],
        ".npz": [
            saved(lambda file: np.savez(file, w=kernel, b=np.ones(2))),
            saved(lambda file: np.savez_compressed(file, w=kernel)),
        ],
        ".safetensors": [save({"w": kernel, "b": np.ones(2)})],
        ".pt": [
            saved(lambda file: torch.save(tensors, file)),
            saved(lambda file: torch.save(tensors, file, _use_new_zipfile_serialization=False)),
        ],
        ".json": [result.to_json().encode()],
    }
    for k, each in enumerate((problem, stack)):
        for suffix in (".npz", ".json"):
            path = folder / f"valid{k}{suffix}"
            each.save(path)
            found[suffix].append(path.read_bytes())
    return found


def npy_header(shape, descr="<f8"):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return file.getvalue()


def safetensors_header(entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def made_to_harm(marker, valid):
    """Pairs of an ending and contents, which are no damaged valid files."""
    harm = pickle.dumps({"w": Harm(marker)})
    huge = 10**18
    yield from ((suffix, harm) for suffix in READERS)
    yield ".pt", saved(lambda file: torch.save({"w": torch.ones(3), "harm": Harm(marker)}, file))
    legacy = {"w": torch.ones(3), "harm": Harm(marker)}
    yield ".pt", saved(lambda file: torch.save(legacy, file, _use_new_zipfile_serialization=False))
    objects = saved(lambda file: np.save(file, np.array([Harm(marker)], object)))
    yield ".npy", objects
    yield ".npz", archive({"w.npy": objects, "problem.npy": objects})
    for shape in ((huge,), (huge, 0), (2**62, 4), (-1,), (10**10,), (10,) * 33, "a", (1.5,), (True,)):
        yield ".npy", npy_header(shape) + bytes(64)
        yield ".npz", archive({"w.npy": npy_header(shape) + bytes(64), "problem.npy": npy_header((), "<U9999999")})
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 64]}
        yield ".safetensors", safetensors_header({"w": entry}) + bytes(64)
    for descr in ("|O", "<U1000000000", "|V8", [("a", "|O")], [("a", "<f8", (10**9,))], "nonsense", "<f3", "\\d"):
        yield ".npy", npy_header((2,), descr) + bytes(64)
        yield ".npz", archive({"w.npy": npy_header((2,), descr) + bytes(64)})
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        size = 300 * 2**20
        bomb = archive({"problem.npy": npy_header((size,), "|u1") + bytes(size), "data.pkl": b"."}, compression)
        yield ".npz", bomb
        yield ".pt", bomb
    for text in ("(" * 5000, "[" * 10**5, '{"a":' * 10**5, "1" * 10**5, "1e999", '"\\ud800"', "\x00", "nan"):
        for suffix in READERS:
            yield suffix, text.encode("utf-8", "surrogatepass")
        yield ".npz", archive({"problem.npy": saved(lambda file, text=text: np.save(file, np.array(text)))})
        yield ".safetensors", len(text).to_bytes(8, "little") + text.encode("utf-8", "surrogatepass")
    yield ".safetensors", huge.to_bytes(8, "little") + b"{}"
    for content in valid[".json"]:
        for old, new in (
            (b"[8]", b"[1000000000000]"),
            (b"[8]", b"[10000000000]"),
            (b"[8]", b"[8.5]"),
            (b"float64", b"float16"),
            (b"float64", b"object"),
            (b"0.", b"1e300"),
            (b"0.", b'{"nonfinite": "x"}'),
            (b"-", b"-9"),
            (b": 1,", b": -1,"),
            (b'"', b'"\\n'),
        ):
            yield ".json", content.replace(old, new)


def files(folder, marker, count, seed):
    """Pairs of an ending and contents, as many as asked for."""
    rng = np.random.default_rng(seed)
    valid = valid_files(folder)
    suffixes = list(READERS)
    yield from made_to_harm(marker, valid)
    for _ in range(count):
        suffix = suffixes[rng.integers(len(suffixes))]
        contents = valid[suffix][rng.integers(len(valid[suffix]))]
        kind = rng.integers(5)
        if kind == 0:
            yield suffix, rng.bytes(int(rng.integers(1, 400)))
        elif kind == 1:
            yield suffix, contents[: rng.integers(len(contents))]
        elif kind == 2:
            yield suffixes[rng.integers(len(suffixes))], contents
        else:
            changed = bytearray(contents)
            # Half of the flips are in the header, or in the directory at the end, where they do more.
            places = rng.integers(len(changed), size=rng.integers(1, 9))
            near = rng.integers(min(300, len(changed)), size=len(places))
            for place, end, side in zip(places, near, rng.integers(4, size=len(places)), strict=True):
                changed[(place, place, end, -1 - end)[side]] ^= 1 << int(rng.integers(8))
            yield suffix, bytes(changed)


def outcome(read, path):
    """The error that reading a file gives, of a kind that users are told of; nothing if it is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read(path)
        except (ValueError, FileNotFoundError, ImportError) as error:
            return str(error)
    return ""


@slow
@pytest.mark.parametrize("seed", range(3))
def test_hostile_files_are_read_or_refused(tmp_path, seed):
    marker = tmp_path / MARKER
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, refused = 0, 0
    for count, (suffix, contents) in enumerate(files(tmp_path, str(marker), 300, seed), start=1):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(contents)
        for read in READERS[suffix]:
            try:
                message = outcome(read, path)
            except BaseException as error:
                error.add_note(f"file {count} of seed {seed}: {read.__qualname__} of {suffix}, {contents[:300]!r}")
                raise
            refused += bool(message)
            assert len(message.splitlines()) <= 1
            assert len(message) < 2000
            assert not marker.exists(), (count, suffix, read)
    assert count >= 300
    assert refused > 200
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2 * 2**20  # in KiB; the bombs themselves are made here
    assert MARKER not in os.listdir(tmp_path)
