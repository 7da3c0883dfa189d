"""Problems in files: every kind comes back bit for bit, and files that hold something else are refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import srnc_manifold as srnc

RNG = np.random.default_rng(0)
LAYER = srnc.SRNProblem(RNG.standard_normal((4, 1, 3)), 8, stable_rank_fraction=0.8, groups=4, stride=2, dilation=3)
PROBLEMS = {
    "layer": LAYER,
    "matrix": srnc.SRNProblem(RNG.standard_normal((3, 4)), (), stable_rank_fraction=0.7),
    "number": srnc.SRNProblem(np.array(2.0), (), stable_rank_fraction=1.0),
    "single precision": srnc.SRNProblem(RNG.standard_normal((3, 3)).astype("f"), (5, 4), stable_rank_fraction=0.7),
    "dense": srnc.SRNProblem(RNG.standard_normal(3), srnc.Dense(RNG.standard_normal((3, 4, 5))), stable_rank=1.5),
    "padded": srnc.SRNProblem(
        RNG.standard_normal((4, 2, 3, 3)),
        (5, 4),
        stable_rank_fraction=0.8,
        padding=(1, 2),
        padding_mode="zeros",
        groups=2,
    ),
    "same": srnc.SRNProblem(
        RNG.standard_normal((2, 2, 4)), 7, stable_rank_fraction=0.8, padding="same", padding_mode="reflect", dilation=2
    ),
    "transposed": srnc.SRNProblem(
        RNG.standard_normal((2, 3, 3)),
        4,
        stable_rank_fraction=0.8,
        padding=1,
        padding_mode="zeros",
        stride=2,
        transposed=True,
        output_padding=1,
    ),
    "circulant": srnc.SRNProblem(
        RNG.standard_normal((2, 2, 3)), srnc.Padded((2, 2, 3), 6, padding=1, padding_mode="circular"), stable_rank=4.0
    ),
    "separable": srnc.SeparableProblem(RNG.standard_normal((3, 2)), 6, stable_rank_fraction=0.8, stride=2),
    "stack": srnc.StackProblem([LAYER, srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=32)]),
}


def same(one, other):
    return one.digest() == other.digest() and np.array_equal(one.kernel, other.kernel) and one.dtype == other.dtype


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_saved_and_read_back_bit_for_bit(tmp_path, name, suffix):
    problem, path = PROBLEMS[name], tmp_path / f"problem{suffix}"
    problem.save(path)
    for again in (type(problem).load(path), srnc.load_problem(path)):
        assert type(again) is type(problem)
        assert same(again, problem)
        for mine, read in zip(problem.parts, again.parts, strict=True):
            assert np.array_equal(mine.kernel, read.kernel)
            assert (mine.stable_rank, mine.input_size) == (read.stable_rank, read.input_size)
            assert mine.operator.to_fields().keys() == read.operator.to_fields().keys()
            assert type(mine.operator) is type(read.operator)
            y = mine.operator.coordinates(mine.kernel)
            assert np.array_equal(y, read.operator.coordinates(read.kernel))
            assert mine.operator.gain(y) == read.operator.gain(y)


def test_digests_differ_where_problems_do():
    kernel = LAYER.kernel
    others = [
        srnc.SRNProblem(kernel, 8, stable_rank=LAYER.stable_rank, groups=4, stride=2, dilation=5),
        srnc.SRNProblem(kernel, 8, stable_rank=np.nextafter(LAYER.stable_rank, 0), groups=4, stride=2, dilation=3),
        srnc.SRNProblem(-kernel, 8, stable_rank=LAYER.stable_rank, groups=4, stride=2, dilation=3),
        srnc.SRNProblem(kernel.astype("f"), 8, stable_rank_fraction=0.8, groups=4, stride=2, dilation=3),
        srnc.StackProblem([LAYER]),
    ]
    assert len({problem.digest() for problem in [LAYER, *others, *PROBLEMS.values()]}) == 5 + len(PROBLEMS)
    assert (
        LAYER.digest()
        == srnc.SRNProblem(kernel, 8, stable_rank=LAYER.stable_rank, groups=4, stride=2, dilation=3).digest()
    )


def test_the_digest_is_the_same_in_another_process():
    code = "import srnc_manifold as srnc; print(srnc.SRNProblem([1.0, 2.0], 8, stable_rank=5).digest())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == srnc.SRNProblem([1.0, 2.0], 8, stable_rank=5).digest()


def test_other_endings_and_operators_are_refused(tmp_path, paper):
    with pytest.raises(ValueError, match=r"\.npz or \.json"):
        paper(32).save(tmp_path / "problem.txt")

    class Unknown(srnc.Dense):
        def to_fields(self):
            return srnc.Operator.to_fields(self)

    problem = srnc.SRNProblem(np.ones(3), Unknown(RNG.standard_normal((3, 4, 5))), stable_rank_fraction=1)
    with pytest.raises(TypeError, match="cannot be saved"):
        problem.save(tmp_path / "problem.json")
    assert not os.listdir(tmp_path)


def broken(change):
    fields = {**LAYER.to_fields(), "kernel": LAYER.kernel.tolist()}
    change(fields)
    return json.dumps(fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "1e999",
        "[" * 100_000,
        broken(lambda fields: fields.pop("kernel")),
        broken(lambda fields: fields.update(kind=["SRNProblem"])),
        broken(lambda fields: fields.update(kind="Result")),
        broken(lambda fields: fields.update(dtype="object")),
        broken(lambda fields: fields.update(dtype="nothing")),
        broken(lambda fields: fields.update(kernel={"a": 1})),
        broken(lambda fields: fields.update(kernel=[[1.0], [2.0, 3.0]])),
        broken(lambda fields: fields.update(stable_rank=None)),
        broken(lambda fields: fields.update(stable_rank=float("nan"))),
        broken(lambda fields: fields.update(input_size=[10**30])),
        broken(lambda fields: fields.update(stride="2")),
        broken(lambda fields: fields.update(groups=0)),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, text):
    for name in ("bad.json", "bad.npz"):
        path = tmp_path / name
        path.write_text(text)
        for load in (srnc.SRNProblem.load, srnc.load_problem):
            with pytest.raises(ValueError, match="not a saved problem") as caught:
                load(path)
            assert len(str(caught.value).splitlines()) == 1


def test_a_file_of_another_kind_is_named(tmp_path):
    PROBLEMS["stack"].save(tmp_path / "stack.npz")
    with pytest.raises(ValueError, match="it holds 'StackProblem', expected 'SRNProblem'"):
        srnc.SRNProblem.load(tmp_path / "stack.npz")
    with pytest.raises(FileNotFoundError):
        srnc.load_problem(tmp_path / "missing.npz")
